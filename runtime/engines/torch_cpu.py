"""What the two torch engines share: modules that are called on numpy arrays with a given number of threads."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import cast

import numpy as np
import torch

from trkx.runtime.engines.base import Float, Int


@contextmanager
def torch_threads(threads: int) -> Iterator[None]:
    """Let torch use `threads` threads inside the block, and as many as before after it."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class TorchEngine:
    """One callable module a stage, on the CPU, without gradients."""

    def __init__(self, modules: Mapping[str, Callable[..., torch.Tensor]], threads: int) -> None:
        self._modules = modules
        self._threads = threads

    def _run(self, stage: str, *inputs: Float | Int) -> Float:
        with torch.no_grad(), torch_threads(self._threads):
            output = self._modules[stage](*(torch.from_numpy(np.ascontiguousarray(array)) for array in inputs))
        return cast(Float, output.numpy())

    def embed(self, x: Float) -> Float:
        """Return the place of each hit, float32 [N, D]."""
        return self._run("embedding", x)

    def filter(self, x: Float, edge_index: Int) -> Float:
        """Return the filter's logit of each edge, float32 [E]."""
        return self._run("filter", x, edge_index).reshape(-1)

    def gnn(self, x: Float, edge_index: Int, edge_attr: Float | None = None) -> Float:
        """Return the graph network's logit of each edge, float32 [E]."""
        return self._run("gnn", x, edge_index, *(() if edge_attr is None else (edge_attr,))).reshape(-1)
