"""Connected components by union-find in Numba: Rem's algorithm with splicing, and the lowest hit index is the root.

Serial on purpose: on the edges that survive the graph network it takes under a millisecond, about what threads take to start;
two threads that each join half of the edges gain from some millions of edges on (docs/ladder.md has the figures).

Source: Patwary, Blair and Manne, "Experiments on union-find algorithms for the disjoint-set data structure", SEA 2010.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from trkx.runtime.indices import outside
from trkx.runtime.jit import compiled

Int = NDArray[np.int64]
Parents = NDArray[np.signedinteger]


def label(edge_index: Int, num_hits: int) -> Int:
    """Return labels, int64 [num_hits], numbered by lowest hit index; InputError for edges outside the hits."""
    parent = np.arange(num_hits, dtype=parents_type(num_hits))
    source, target = np.ascontiguousarray(edge_index)
    if not join(source, target, parent):
        raise outside(edge_index, num_hits)
    labels: Int = numbered(parent)
    return labels


def parents_type(num_hits: int) -> type[np.signedinteger]:
    """Return int32 where it holds every hit, since half the bytes stay in a nearer cache; int64 beyond."""
    return np.int32 if num_hits <= np.iinfo(np.int32).max else np.int64


@compiled
def join(source: Int, target: Int, parent: Parents) -> bool:
    """Join the hits of each edge in `parent`, changed in place; return False at an edge outside the hits.

    A parent's index is never above its child's. Both ends climb in turn, always the one with the higher parent, which takes the
    lower parent on its way.
    """
    count = len(parent)
    for edge in range(len(source)):
        a, b = source[edge], target[edge]
        if a < 0 or b < 0 or a >= count or b >= count:
            return False
        above_a, above_b = np.int64(parent[a]), np.int64(parent[b])
        while above_a != above_b:
            if above_a < above_b:
                parent[b] = above_a
                if above_b == b:
                    break
                b = above_b
                above_b = np.int64(parent[b])
            else:
                parent[a] = above_b
                if above_a == a:
                    break
                a = above_a
                above_a = np.int64(parent[a])
    return True


@compiled
def numbered(parent: Parents) -> Int:
    """Return labels 0, 1, 2 … by lowest hit, int64 [N], of parents that are never above their children."""
    labels = np.empty(len(parent), np.int64)
    count = 0
    for hit in range(len(parent)):  # upwards: a root comes before its members
        labels[hit] = count  # without a branch, which no processor could predict
        labels[hit] = labels[parent[hit]]
        count += parent[hit] == hit
    return labels
