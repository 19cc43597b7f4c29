"""Connected components by scipy.sparse.csgraph: the reference."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from trkx.runtime.indices import require_inside

Int = NDArray[np.int64]


def label(edge_index: Int, num_hits: int) -> Int:
    """Return labels, int64 [num_hits], numbered by lowest hit index; InputError for edges outside the hits."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    require_inside(edge_index, num_hits)
    if num_hits == 0:
        return np.empty(0, np.int64)
    ones = np.ones(edge_index.shape[1], np.int8)
    graph = coo_array((ones, (edge_index[0], edge_index[1])), shape=(num_hits, num_hits))
    _, found = connected_components(graph, directed=False)
    _, first, inverse = np.unique(found, return_index=True, return_inverse=True)
    number = np.empty(len(first), np.int64)
    number[np.argsort(first)] = np.arange(len(first))
    return number[inverse]
