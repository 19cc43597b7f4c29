"""Edges of a hit graph: which end is the source, and the one order in which edges are kept."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from trkx.spec import Direction

Int = NDArray[np.int64]


def orientation(position: NDArray[np.float32], direction: Direction) -> Callable[[Int], Int]:
    """Return the function that turns unordered pairs [2, E] of an event's hits into edges; arguments as in `oriented`."""
    wide = position.astype(np.float64) if direction == "by_radius" else np.empty((0, 3))
    distance = wide[:, 0] ** 2 + wide[:, 1] ** 2 + wide[:, 2] ** 2

    def orient(pairs: Int) -> Int:
        low, high = np.minimum(pairs[0], pairs[1]), np.maximum(pairs[0], pairs[1])
        if direction == "by_index":
            return np.stack([low, high])
        swap = distance[high] < distance[low]
        return np.stack([np.where(swap, high, low), np.where(swap, low, high)])

    return orient


def oriented(pairs: Int, position: NDArray[np.float32], direction: Direction) -> Int:
    """Return edges, int64 [2, E], row 0 source and row 1 target, for unordered pairs [2, E] of hits.

    position: hits, float32 [N, 3], mm. "by_index": the lower index is the source. "by_radius": the hit nearer to the
    origin in 3-D is (squared distance in float64), on a tie the lower index. The order of the pairs is kept.
    """
    return orientation(position, direction)(pairs)


def canonical_order(edge_index: Int) -> Int:
    """Return the permutation, int64 [E], that sorts edges [2, E] by (target, source): the runtime's one order."""
    if not edge_index.size:
        return np.empty(0, np.int64)
    size = int(edge_index.max()) + 1
    by_source, _ = stable_order(edge_index[0], size)
    by_target, _ = stable_order(edge_index[1, by_source], size)
    return by_source[by_target]


def canonical(edge_index: Int) -> Int:
    """Return edges [2, E] sorted by (target, source), contiguous."""
    return np.ascontiguousarray(edge_index[:, canonical_order(edge_index)])


def stable_order(index: NDArray[np.integer], size: int) -> tuple[Int, Int]:
    """Return the order that sorts `index`, int [E], each in [0, size), and the ends of each value's run, int64 [size + 1]."""
    from trkx.runtime.counting import counting_order  # Numba is loaded when it is needed

    order, ends = counting_order(index, size)
    return order, ends
