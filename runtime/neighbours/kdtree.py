"""Neighbours by scipy's cKDTree.query_pairs: the reference that the field uses on CPUs."""

from __future__ import annotations

import numpy as np

from trkx.runtime.neighbours.exact import Int, Points, keep_nearest, squared_distances, too_many_pairs


def search(points: Points, radius: float, k_max: int | None, max_pairs: int, threads: int | None) -> tuple[Int, int]:
    """Return sorted pairs, int64 [2, E], and how many hits have more than k_max neighbours; `threads` is not used.

    The tree is asked for a slightly larger radius, so that the exact test alone decides. A sliding-midpoint tree
    stays shallow where many points coincide.
    """
    from scipy.spatial import cKDTree

    count = len(points)
    tree = cKDTree(points.astype(np.float64), balanced_tree=False)
    enlarged = radius * (1.0 + 1e-9)
    if (int(tree.count_neighbors(tree, enlarged)) - count) // 2 > 2 * max_pairs:
        raise too_many_pairs(count, radius, max_pairs)
    candidates = tree.query_pairs(enlarged, output_type="ndarray").astype(np.int64, copy=False).T
    inside = squared_distances(points, candidates) <= radius * radius
    if int(inside.sum()) > max_pairs:
        raise too_many_pairs(count, radius, max_pairs)
    pairs = candidates[:, inside]
    key = np.sort(pairs.min(axis=0) * count + pairs.max(axis=0))
    return keep_nearest(points, np.stack(np.divmod(key, count)), k_max)
