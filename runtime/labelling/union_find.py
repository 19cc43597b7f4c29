"""Connected components by union-find in Numba: path halving, and the lowest hit index is the root."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from trkx.runtime.jit import compiled

Int = NDArray[np.int64]


def label(edge_index: Int, num_hits: int) -> Int:
    """Return labels, int64 [num_hits], numbered by lowest hit index."""
    labels: Int = _label(edge_index[0], edge_index[1], num_hits)
    return labels


@compiled
def _label(source: Int, target: Int, num_hits: int) -> Int:
    parent = np.arange(num_hits)
    for edge in range(len(source)):
        a, b = source[edge], target[edge]
        while parent[a] != a:
            parent[a] = parent[parent[a]]
            a = parent[a]
        while parent[b] != b:
            parent[b] = parent[parent[b]]
            b = parent[b]
        if a < b:
            parent[b] = a
        else:
            parent[a] = b
    # A parent's index is never above its child's, so one pass upwards meets every root before its members.
    labels = np.empty(num_hits, np.int64)
    count = 0
    for hit in range(num_hits):
        if parent[hit] == hit:
            labels[hit] = count
            count += 1
        else:
            labels[hit] = labels[parent[hit]]
    return labels
