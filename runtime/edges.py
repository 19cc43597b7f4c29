"""Edges of a hit graph: which end is the source, and the one order in which edges are kept."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from trkx.spec import Direction

Int = NDArray[np.int64]


def oriented(pairs: Int, position: NDArray[np.float32], direction: Direction) -> Int:
    """Return edges, int64 [2, E], row 0 source and row 1 target, for unordered pairs [2, E] of hits.

    position: hits, float32 [N, 3], mm. "by_index": the lower index is the source. "by_radius": the hit nearer to the
    origin in 3-D is (squared distance in float64), on a tie the lower index. The order of the pairs is kept.
    """
    low, high = np.minimum(pairs[0], pairs[1]), np.maximum(pairs[0], pairs[1])
    if direction == "by_index":
        return np.stack([low, high])
    wide = position.astype(np.float64)
    distance = wide[:, 0] ** 2 + wide[:, 1] ** 2 + wide[:, 2] ** 2
    swap = distance[high] < distance[low]
    return np.stack([np.where(swap, high, low), np.where(swap, low, high)])


def canonical_order(edge_index: Int) -> NDArray[np.intp]:
    """Return the permutation that sorts edges [2, E] by (target, source): the order in which the runtime keeps them."""
    return np.lexsort((edge_index[0], edge_index[1]))


def canonical(edge_index: Int) -> Int:
    """Return edges [2, E] sorted by (target, source), contiguous."""
    return np.ascontiguousarray(edge_index[:, canonical_order(edge_index)])
