"""Edges on the device of the hits: orientation and the one order, as `trkx.runtime.edges` has them."""

from __future__ import annotations

from collections.abc import Callable

import torch

from trkx.spec import Direction


def orientation_on_device(position: torch.Tensor, direction: Direction) -> Callable[[torch.Tensor], torch.Tensor]:
    """Return the function that turns unordered pairs, int64 [2, E], into edges; as `trkx.runtime.edges.orientation`.

    position: hits, float32 [N, 3], mm. Squared distances in float64, summed over the axes in turn as on the host: ties are ties.
    """
    wide = position.to(torch.float64)
    x, y, z = wide.unbind(1)
    distance = x * x + y * y + z * z

    def orient(pairs: torch.Tensor) -> torch.Tensor:
        low, high = torch.minimum(pairs[0], pairs[1]), torch.maximum(pairs[0], pairs[1])
        if direction == "by_index":
            return torch.stack([low, high])
        swap = distance[high] < distance[low]
        return torch.stack([torch.where(swap, high, low), torch.where(swap, low, high)])

    return orient


def canonical_on_device(edge_index: torch.Tensor, num_hits: int) -> torch.Tensor:
    """Return edges, int64 [2, E], sorted by (target, source), contiguous; each in [0, num_hits), num_hits below 2^31."""
    if not edge_index.numel():
        return edge_index.contiguous()
    key = torch.sort(edge_index[1] * num_hits + edge_index[0]).values
    return torch.stack([key % num_hits, key // num_hits])
