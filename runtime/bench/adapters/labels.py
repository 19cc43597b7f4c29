"""Labels by other libraries: connected components of scipy and scikit-network, DBSCAN as the first Exa.TrkX pipeline used it."""

from __future__ import annotations

from typing import cast

import numpy as np
from numpy.typing import NDArray

Int = NDArray[np.int64]


def scipy_components(edge_index: Int, num_hits: int) -> NDArray[np.integer]:
    """Return a component for each hit, [N], numbered as scipy.sparse.csgraph likes."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    graph = coo_array((np.ones(edge_index.shape[1], np.int8), (edge_index[0], edge_index[1])), shape=(num_hits, num_hits))
    return cast("NDArray[np.integer]", connected_components(graph, directed=False)[1])


def scikit_network_components(edge_index: Int, num_hits: int) -> NDArray[np.integer]:
    """Return a component for each hit, [N], numbered as scikit-network likes; weak components, as in the 2021 talk."""
    from scipy.sparse import csr_matrix
    from sknetwork.topology import get_connected_components

    if edge_index.shape[1] == 0:  # scikit-network refuses a matrix without entries
        return np.arange(num_hits)
    graph = csr_matrix((np.ones(edge_index.shape[1], bool), (edge_index[0], edge_index[1])), shape=(num_hits, num_hits))
    return cast("NDArray[np.integer]", get_connected_components(graph, connection="weak"))


def dbscan(edge_index: Int, score: NDArray[np.floating], num_hits: int, cut: float) -> NDArray[np.integer]:
    """Return a cluster for each hit, [N], -1 for noise: DBSCAN of scikit-learn on 1 - score as distance.

    The matrix of distances holds each edge both ways, what it does not hold is far. eps = 1 - cut and min_samples = 2, so that
    two hits with an edge of at least the cut make a cluster. Exa.TrkX wrote eps = 0.25, for its cut of 0.75.

    Args:
        edge_index: edges with their scores, cut or not, int64 [2, E]; each pair once.
        score: of the GNN, 0 to 1, [E].
        num_hits: number of hits.
        cut: on the score.
    """
    from scipy.sparse import csr_matrix
    from sklearn.cluster import DBSCAN

    distance = 1.0 - np.concatenate([score, score]).astype(np.float64)
    ends = (np.concatenate([edge_index[0], edge_index[1]]), np.concatenate([edge_index[1], edge_index[0]]))
    graph = csr_matrix((distance, ends), shape=(num_hits, num_hits))
    return cast("NDArray[np.integer]", DBSCAN(eps=1.0 - cut, metric="precomputed", min_samples=2).fit_predict(graph))


def renumbered(found: NDArray[np.integer]) -> Int:
    """Return labels numbered 0, 1, 2 … by lowest hit, int64 [N]; each hit below 0 (noise) is on its own."""
    alone = found < 0
    if alone.any():
        found = np.where(alone, int(found.max(initial=-1)) + 1 + np.arange(len(found)), found)
    _, first, inverse = np.unique(found, return_index=True, return_inverse=True)
    number = np.empty(len(first), np.int64)
    number[np.argsort(first)] = np.arange(len(first))
    return number[inverse]
