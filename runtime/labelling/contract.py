"""The kernel of edge contraction: a heap of positive edges, linked lists of each cluster's edges."""

from __future__ import annotations

import heapq

import numpy as np
from numpy.typing import NDArray

from trkx.runtime.jit import compiled

Int = NDArray[np.int64]


@compiled
def contract(low: Int, high: Int, weight: Int, num_hits: int) -> Int:
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
        entry = head[keep]
        while entry >= 0:
            via[ends[entry ^ 1]] = -1
            entry = following[entry]
    for hit in range(num_hits):  # a parent's index is below its child's
        parent[hit] = parent[parent[hit]]
    return parent
