"""What an engine on a GPU is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import torch


class DeviceFilter(Protocol):
    """The filter for the edges of one event; what it needs of the hits is computed already."""

    def __call__(self, edge_index: torch.Tensor) -> torch.Tensor:
        """Return the logit of each edge, float32 [E], of edges int64 [2, E], E at least 1, on the engine's device."""
        ...


class DeviceEngine(Protocol):
    """The three networks of one bundle, on one device; all tensors are on it.

    device: where its tensors are. x: hit features, float32 [N, F], N at least 1. edge_index: int64 [2, E], E at least 1, in any
    order. edge_attr: float32 [E, A], for a graph network with edge features. Logits are float32 [E].
    """

    device: torch.device

    def embed(self, x: torch.Tensor) -> torch.Tensor:
        """Return the place of each hit, float32 [N, D]."""
        ...

    def edge_filter(self, x: torch.Tensor) -> DeviceFilter:
        """Return the filter for the edges of the event with hits x; one that looks at all rows takes all edges in one call."""
        ...

    def gnn(self, x: torch.Tensor, edge_index: torch.Tensor, edge_attr: torch.Tensor | None = None) -> torch.Tensor:
        """Return the graph network's logit of each edge, float32 [E]."""
        ...
