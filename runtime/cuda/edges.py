"""Edges on the device of the hits: orientation and the one order, as `trkx.runtime.edges` has them."""

from __future__ import annotations

from collections.abc import Callable

import torch

from trkx.runtime.cuda.rows import empty_pairs
from trkx.spec import Direction


def orientation_on_device(position: torch.Tensor, direction: Direction) -> Callable[[torch.Tensor], torch.Tensor]:
    """Return the function that turns unordered pairs, int64 [2, E], into edges; as `trkx.runtime.edges.orientation`.

    position: hits, float32 [N, 3], mm. Squared distances in float64, summed over the axes in turn as on the host: ties are ties.
    """
    wide = position.to(torch.float64)
    x, y, z = wide.unbind(1)
    distance = x * x + y * y + z * z

    def orient(pairs: torch.Tensor) -> torch.Tensor:
        out = empty_pairs(pairs.shape[1], pairs.device)
        low, high = torch.minimum(pairs[0], pairs[1]), torch.maximum(pairs[0], pairs[1])
        swap = None if direction == "by_index" else distance[high] < distance[low]
        out[0] = low if swap is None else torch.where(swap, high, low)
        out[1] = high if swap is None else torch.where(swap, low, high)
        return out

    return orient


def canonical_on_device(edge_index: torch.Tensor, num_hits: int) -> torch.Tensor:
    """Return edges, int64 [2, E], sorted by (target, source), in `empty_pairs`; hits in [0, num_hits), below 2^31."""
    out = empty_pairs(edge_index.shape[1], edge_index.device)
    if out.numel():
        key = torch.sort(edge_index[1] * num_hits + edge_index[0]).values
        torch.remainder(key, num_hits, out=out[0])
        torch.div(key, num_hits, rounding_mode="floor", out=out[1])
    return out
