"""What makes two hits neighbours: the exact test, the nearest K, and the limit on the number of pairs."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from trkx.errors import InputError

Points = NDArray[np.float32]
Int = NDArray[np.int64]
CHUNK = 1 << 18


def squared_distances(points: Points, pairs: Int) -> NDArray[np.float64]:
    """Return squared distances, float64 [E], of float32 points [N, D]: summed in float64 over axes 0, 1, 2 … in turn.

    Every backend decides by this sum, in this order of operations, so that all find the same pairs to the last bit.
    """
    out = np.zeros(pairs.shape[1], np.float64)
    for start in range(0, len(out), CHUNK):
        part = slice(start, start + CHUNK)
        first, second = points[pairs[0, part]], points[pairs[1, part]]
        for axis in range(points.shape[1]):
            delta = first[:, axis].astype(np.float64) - second[:, axis]
            out[part] += delta * delta
    return out


def keep_nearest(points: Points, pairs: Int, k_max: int | None) -> tuple[Int, int]:
    """Return the pairs that at least one of their hits counts among its nearest `k_max`, and how many hits were truncated.

    pairs: int64 [2, E], each unordered pair once. Neighbours of a hit are ranked by distance, ties by lower index.
    A hit is truncated where more than `k_max` neighbours lie within the radius. The order of pairs is kept.
    None keeps all. The reference for what the grid does without holding all pairs.
    """
    if k_max is None:
        return pairs, 0
    count = len(points)
    degree = np.bincount(pairs.ravel(), minlength=count)
    full = degree > k_max
    truncated = int(full.sum())
    if not truncated:
        return pairs, 0
    keep = ~(full[pairs[0]] & full[pairs[1]])  # an end that is not truncated keeps all of its pairs
    rows = [np.flatnonzero(full[pairs[side]]) for side in (0, 1)]
    edge = np.concatenate(rows)
    hit = np.concatenate([pairs[0, rows[0]], pairs[1, rows[1]]])
    other = np.concatenate([pairs[1, rows[0]], pairs[0, rows[1]]])
    order = np.lexsort((other, squared_distances(points, pairs[:, edge]), hit))
    starts = np.r_[0, np.cumsum(degree[full])[:-1]]
    rank = np.arange(len(order)) - np.repeat(starts, degree[full])
    keep[edge[order[rank < k_max]]] = True
    return pairs[:, keep], truncated


def too_many_pairs(count: int, radius: float, limit: int) -> InputError:
    """Return the error for more than `limit` pairs among `count` points."""
    return InputError(
        f"neighbour search: more than {limit:,} pairs within {radius:g} among {count:,} hits (the limit, "
        f"{limit * 16 / 1e9:.1f} GB of pairs); are the hits nearly identical, or is the radius too large for this embedding? "
        "Lower spec.graph.radius, or pass a larger max_pairs."
    )
