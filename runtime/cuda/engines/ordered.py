"""Torch modules on a device in plain float32, with sums over edges in a fixed order: for networks that have no kernels here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from trkx.errors import InputError
from trkx.runtime.cuda.engines.rounding import multiplying
from trkx.runtime.cuda.networks.graph_layout import require_edges, require_inside
from trkx.runtime.cuda.networks.sums import SUM, Segments, reduced, segments_from_index
from trkx.runtime.precision import EXACT


class OrderedSums(TorchFunctionMode):
    """While it is on, in this thread, `index_add` over float32 rows adds those of one index in the order in which they stand.

    On a GPU torch adds them with atomics, in another order each time.
    """

    def __init__(self) -> None:
        super().__init__()
        self._known: dict[tuple[int, int, int, int], tuple[torch.Tensor, Segments]] = {}

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run one torch function."""
        if func is not torch.Tensor.index_add or kwargs or len(args) != 4 or args[1] != 0 or args[3].dtype != torch.float32:
            return func(*args, **(kwargs or {}))
        total, _, index, values = args
        return total + reduced(SUM, values.contiguous(), self._segments(index, len(total)))

    def _segments(self, index: torch.Tensor, size: int) -> Segments:
        """Return the segments of an index. The index is held, so that no other takes its place in memory."""
        key = (index.data_ptr(), len(index), index.stride(0), size)
        if key not in self._known:
            self._known[key] = (index, segments_from_index(index, size))
        return self._known[key][1]


class OrderedModule:
    """A module of trkx.models with its weights on a device, in float32; the same numbers in every run."""

    def __init__(self, module: nn.Module, features: int, device: torch.device) -> None:
        """Move it there. features: columns of x."""
        self._module = module.to(device).eval().requires_grad_(False)
        self._features = features

    def embed(self, x: torch.Tensor) -> torch.Tensor:
        """Return what an embedding makes of hits, float32 [N, F]: float32 [N, D]."""
        return self._run(x)

    def judge(self, x: torch.Tensor, edge_index: torch.Tensor, edge_attr: torch.Tensor | None = None) -> torch.Tensor:
        """Return the logit of each edge, float32 [E], of hits [N, F], edges int64 [2, E] and attributes [E, A], if any.

        Raises:
            InputError: other shapes, or edges that name a hit that does not exist.
        """
        require_edges(edge_index)
        if not edge_index.shape[1]:
            return torch.empty(0, dtype=torch.float32, device=x.device)
        require_inside(edge_index, len(x))
        edges = edge_index.to(torch.int64).contiguous()
        return self._run(x, edges, *([] if edge_attr is None else [edge_attr])).squeeze(1)

    def _run(self, x: torch.Tensor, *others: torch.Tensor) -> torch.Tensor:
        if x.ndim != 2 or x.shape[1] != self._features:
            raise InputError(f"x must be float32 [N, {self._features}], found {list(x.shape)}.")
        with torch.no_grad(), multiplying(EXACT, x.device), OrderedSums():
            found: torch.Tensor = self._module(x.to(torch.float32), *others)
        return found
