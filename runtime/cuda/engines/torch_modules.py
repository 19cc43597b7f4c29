"""The networks as PyTorch modules on a GPU, as they are or through torch.compile: what our own kernels are compared with.

Sums over edges are `index_add` and `scatter_reduce`, on a GPU atomic additions in whatever order they come: the last digits of a
logit differ from run to run. Half precisions are torch's own autocast.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import nn

from trkx.bundle import Bundle
from trkx.errors import SpecError
from trkx.runtime.cuda.engines.base import DeviceFilter
from trkx.runtime.cuda.engines.rounding import multiplying
from trkx.runtime.cuda.engines.table import require_precision
from trkx.runtime.engines.eager import load_networks
from trkx.spec import PipelineSpec

CHUNK = 1 << 17
"""Edges that the filter sees at once: its memory is CHUNK times the hidden width, however many candidates there are."""

Network = Callable[..., torch.Tensor]


class TorchEngine:
    """One callable a stage, on one device, without gradients.

    spec: of the pipeline. networks: stage to callable. precision: stage to "fp32", "tf32", "bf16" or "fp16". chunk: edges that
    the filter sees at once, unless its norms look at all.
    """

    def __init__(
        self, spec: PipelineSpec, networks: Mapping[str, Network], device: torch.device, precision: Mapping[str, str],
        chunk: int = CHUNK,
    ) -> None:
        self.device = device
        self._networks = networks
        self._precision = precision
        self._chunk = None if spec.filter is not None and spec.filter.looks_at_all_rows else chunk

    def _run(self, stage: str, *inputs: torch.Tensor) -> torch.Tensor:
        if stage not in self._networks:
            raise SpecError(f"this bundle has no {stage}; it has {', '.join(self._networks)}.")
        with torch.no_grad(), multiplying(self._precision[stage], self.device):
            return self._networks[stage](*inputs).to(torch.float32)

    def embed(self, x: torch.Tensor) -> torch.Tensor:
        """Return the place of each hit, float32 [N, D]."""
        return self._run("embedding", x)

    def edge_filter(self, x: torch.Tensor) -> DeviceFilter:
        """Return the filter for the edges of the event with hits x."""

        def judge(edge_index: torch.Tensor) -> torch.Tensor:
            edges = edge_index.shape[1]
            chunk = self._chunk or edges
            if edges <= chunk:
                return self._run("filter", x, edge_index.contiguous()).reshape(-1)
            logits = torch.empty(edges, dtype=torch.float32, device=self.device)
            for start in range(0, edges, chunk):
                part = edge_index[:, start : start + chunk].contiguous()
                logits[start : start + chunk] = self._run("filter", x, part).reshape(-1)
            return logits

        return judge

    def gnn(self, x: torch.Tensor, edge_index: torch.Tensor, edge_attr: torch.Tensor | None = None) -> torch.Tensor:
        """Return the graph network's logit of each edge, float32 [E]."""
        more = () if edge_attr is None else (edge_attr,)
        return self._run("gnn", x, edge_index.contiguous(), *more).reshape(-1)


class Compiled:
    """A module through torch.compile with dynamic sizes: one piece of code for all events.

    torch.compile makes code of its own for sizes 0 and 1; such inputs run as the plain module, so that nothing is compiled again.
    edges: the module reads edges, whose number varies as well. backend: of torch.compile.
    """

    def __init__(self, module: nn.Module, backend: str = "inductor") -> None:
        self._module = module
        self._compiled = torch.compile(module, dynamic=True, fullgraph=True, backend=backend)

    def __call__(self, x: torch.Tensor, *edges: torch.Tensor) -> torch.Tensor:
        """Return what the module returns. x: float32 [N, F]. edges: edge_index, int64 [2, E], and edge_attr if it reads any."""
        if len(x) < 2 or any(size < 2 for tensor in edges[:1] for size in tensor.shape):
            found: torch.Tensor = self._module(x, *edges)
            return found
        torch._dynamo.mark_dynamic(x, 0)
        for tensor, axis in zip(edges, (1, 0), strict=False):
            torch._dynamo.mark_dynamic(tensor, axis)
        answer: torch.Tensor = self._compiled(x, *edges)
        return answer


def open_engine(bundle: Bundle, device: torch.device, precision: str) -> TorchEngine:
    """Return the engine "torch-cuda" for a bundle's weights; errors as in `trkx.runtime.engines.eager.load_networks`."""
    modules = {stage: module.to(device) for stage, module in load_networks(bundle).items()}
    return TorchEngine(bundle.spec, modules, device, require_precision("torch-cuda", precision, bundle.spec.stages))


def open_compiled(bundle: Bundle, device: torch.device, precision: str, backend: str = "inductor") -> TorchEngine:
    """Return the engine "torch-compile", as `open_engine`; code is compiled when a stage first runs."""
    modules = {stage: Compiled(module.to(device), backend) for stage, module in load_networks(bundle).items()}
    return TorchEngine(bundle.spec, modules, device, require_precision("torch-compile", precision, bundle.spec.stages))
