"""Neighbours by testing every pair: the reference that needs no explanation, N * N work."""

from __future__ import annotations

import numpy as np

from trkx.runtime.neighbours.exact import Int, Points, keep_nearest, too_many_pairs

BLOCK = 1 << 21


def search(points: Points, radius: float, k_max: int | None, max_pairs: int, threads: int | None) -> tuple[Int, int]:
    """Return sorted pairs, int64 [2, E], and how many hits have more than k_max neighbours; `threads` is not used."""
    count, dim = points.shape
    wide = points.astype(np.float64)
    rows = max(1, BLOCK // count)
    found: list[Int] = []
    total = 0
    for start in range(0, count - 1, rows):
        stop = min(start + rows, count)
        distance = np.zeros((stop - start, count - start))
        for axis in range(dim):
            delta = wide[start:stop, axis, None] - wide[None, start:, axis]
            distance += delta * delta
        first, second = np.nonzero(distance <= radius * radius)
        once = first < second
        found.append(np.stack([first[once] + start, second[once] + start]))
        total += int(once.sum())
        if total > max_pairs:
            raise too_many_pairs(count, radius, max_pairs)
    return keep_nearest(points, np.concatenate(found, axis=1).astype(np.int64, copy=False), k_max)
