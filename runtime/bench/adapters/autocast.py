"""The eager networks under torch's bfloat16 autocast: mixed precision as the 2021 talk used it, on a CPU."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from trkx.bundle import Bundle
from trkx.runtime.engines.eager import load_networks
from trkx.runtime.engines.torch_cpu import TorchEngine


class Autocast:
    """A module that runs under bfloat16 autocast and answers in float32."""

    def __init__(self, module: nn.Module) -> None:
        self._module = module

    def __call__(self, *inputs: Tensor) -> Tensor:
        """Return the module's output, float32."""
        with torch.autocast("cpu", torch.bfloat16):
            output: Tensor = self._module(*inputs)
        return output.float()


def open_engine(bundle: Bundle, threads: int) -> TorchEngine:
    """Return the eager engine with every network under bfloat16 autocast. Its logits are not those of the bundle's precision."""
    return TorchEngine({stage: Autocast(module) for stage, module in load_networks(bundle).items()}, threads)
