"""Neighbours by trees: scipy's cKDTree, scikit-learn's two, nanoflann by pynanoflann and by torch_cluster."""

from __future__ import annotations

from typing import cast

import numpy as np

from trkx.runtime.bench.adapters.exact import enlarged, flat
from trkx.runtime.neighbours.exact import Int, Points


def find_ckdtree(points: Points, radius: float, threads: int) -> Int:
    """Return pairs once each, lower index first, int64 [2, M]: scipy's cKDTree.query_pairs, which has no threads."""
    from scipy.spatial import cKDTree

    return cast(Int, cKDTree(points).query_pairs(enlarged(points, radius), output_type="ndarray").T)


def find_sklearn_kdtree(points: Points, radius: float, threads: int) -> Int:
    """Return pairs in both directions, with each point as its own neighbour, int64 [2, M]: scikit-learn's KDTree."""
    return _sklearn(points, radius, threads, "kd_tree")


def find_sklearn_balltree(points: Points, radius: float, threads: int) -> Int:
    """Return pairs in both directions, with each point as its own neighbour, int64 [2, M]: scikit-learn's BallTree."""
    return _sklearn(points, radius, threads, "ball_tree")


def find_pynanoflann(points: Points, radius: float, threads: int) -> Int:
    """Return pairs in both directions, with each point as its own neighbour, int64 [2, M]: nanoflann's k-d tree in float32."""
    from pynanoflann import KDTree

    tree = KDTree(radius=enlarged(points, radius), metric="l2")
    tree.fit(points)
    return flat(tree.radius_neighbors(points, return_distance=False, n_jobs=threads))


def find_torch_cluster(points: Points, radius: float, threads: int) -> Int:
    """Return pairs in both directions, int64 [2, M]: radius_graph of torch_cluster, which is nanoflann on a CPU."""
    import torch
    from torch_cluster import radius_graph

    most = len(points)  # neighbours of a point; beyond it torch_cluster would drop some
    found = radius_graph(torch.from_numpy(points), enlarged(points, radius), max_num_neighbors=most, num_workers=threads)
    return cast(Int, found.numpy())


def _sklearn(points: Points, radius: float, threads: int, algorithm: str) -> Int:
    from sklearn.neighbors import NearestNeighbors

    wide = points.astype(np.float64)
    search = NearestNeighbors(radius=enlarged(points, radius), algorithm=algorithm, n_jobs=threads).fit(wide)
    return flat(search.radius_neighbors(wide, return_distance=False))
