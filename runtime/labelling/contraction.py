"""Tracks from signed edges: greedy additive edge contraction, which undoes false bridges that components can't.

Connected components join two tracks through a single false edge, however many other edges between them say no. Here
an edge weighs logit - logit(cut). The pair of clusters with the largest sum of weights between them is joined, again and
again, as long as that sum is above 0; weights of parallel edges add up as clusters grow.

Source: Keuper et al., "Efficient decomposition of image and mesh graphs by lifted multicuts", arXiv:1505.06973, algorithm 1.
"""

from __future__ import annotations

import heapq

import numpy as np
from numpy.typing import NDArray

from trkx.errors import InputError
from trkx.runtime.jit import compiled
from trkx.runtime.labelling.table import connected_components

Int = NDArray[np.int64]

UNIT = 2.0**20
"""Weights are whole numbers of 1 / UNIT: sums do not depend on their order."""
LIMIT = 1e4
"""Largest weight of one edge. No logit of a sound network is near it."""


def edge_contraction(edge_index: Int, weight: NDArray[np.floating], num_hits: int, components: str = "union_find") -> Int:
    """Return the cluster of each hit, int64 [num_hits], numbered 0, 1, 2 … by the lowest hit index in the cluster.

    Args:
        edge_index: edges, int64 [2, E]; direction and order do not matter, weights of repeated edges add up.
        weight: float [E]; above 0 speaks for one track, below 0 against.
        num_hits: number of hits; a hit without an edge above 0 is its own cluster.
        components: backend of `connected_components`, which splits the work.

    Raises:
        InputError: weights that are NaN or of another length than the edges, edges that name a hit that does not exist.
    """
    if weight.shape != edge_index.shape[1:]:
        raise InputError(f"edge contraction: expected {edge_index.shape[1]} weights, found {list(weight.shape)}.")
    if np.isnan(weight).any():
        raise InputError("edge contraction: a weight is NaN; look at the logits of the GNN.")
    units = np.rint(np.clip(weight.astype(np.float64), -LIMIT, LIMIT) * UNIT).astype(np.int64)
    # Only an edge above 0 starts a contraction, so no cluster ever leaves a component of these edges.
    component = connected_components(edge_index[:, units > 0], num_hits, components)
    inside = (component[edge_index[0]] == component[edge_index[1]]) & (edge_index[0] != edge_index[1])
    low, high = edge_index[:, inside].min(axis=0), edge_index[:, inside].max(axis=0)
    order = np.lexsort((high, low))
    low, high, units = low[order], high[order], units[inside][order]
    first = np.ones(len(low), bool)
    first[1:] = (low[1:] != low[:-1]) | (high[1:] != high[:-1])
    if not first.all():
        units = np.add.reduceat(units, np.flatnonzero(first))
        low, high = low[first], high[first]
    root: Int = _contract(low, high, units, num_hits)
    return np.unique(root, return_inverse=True)[1].astype(np.int64, copy=False)  # a root is its cluster's lowest hit


@compiled
def _contract(low: Int, high: Int, weight: Int, num_hits: int) -> Int:
    """Return the root of each hit. Each edge stands in the lists of both its ends, as entry 2 * edge + side."""
    edges = len(low)
    ends = np.empty(2 * edges, np.int64)
    ends[0::2], ends[1::2] = low, high
    following = np.full(2 * edges, -1, np.int64)
    head = np.full(num_hits, -1, np.int64)
    for entry in range(2 * edges - 1, -1, -1):
        following[entry] = head[ends[entry]]
        head[ends[entry]] = entry
    alive = np.ones(edges, np.bool_)
    parent = np.arange(num_hits)
    via = np.full(num_hits, -1, np.int64)  # edge that joins the growing cluster with another one
    heap = [(np.int64(0), np.int64(0))]
    heap.pop()
    for edge in range(edges):
        if weight[edge] > 0:
            heap.append((-weight[edge], np.int64(edge)))  # noqa: PERF401 - Numba has no such extend
    heapq.heapify(heap)
    while len(heap) > 0:
        negative, joining = heapq.heappop(heap)
        if not alive[joining] or weight[joining] != -negative:
            continue  # from before the weight changed
        keep, gone = min(ends[2 * joining], ends[2 * joining + 1]), max(ends[2 * joining], ends[2 * joining + 1])
        alive[joining] = False
        parent[gone] = keep
        kept_list = np.int64(-1)
        entry = head[keep]
        while entry >= 0:
            after = following[entry]
            if alive[entry >> 1]:
                via[ends[entry ^ 1]] = entry >> 1
                following[entry] = kept_list
                kept_list = entry
            entry = after
        entry = head[gone]
        while entry >= 0:
            after, edge = following[entry], entry >> 1
            if alive[edge]:
                other = ends[entry ^ 1]
                twin = via[other]
                if twin >= 0:
                    alive[edge] = False
                    weight[twin] += weight[edge]
                    if weight[twin] > 0:
                        heapq.heappush(heap, (-weight[twin], twin))
                else:
                    ends[entry] = keep
                    via[other] = edge
                    following[entry] = kept_list
                    kept_list = entry
            entry = after
        head[keep] = kept_list
        entry = kept_list
        while entry >= 0:
            via[ends[entry ^ 1]] = -1
            entry = following[entry]
    for hit in range(num_hits):  # a parent's index is below its child's
        parent[hit] = parent[parent[hit]]
    return parent
