"""The kernel of edge contraction: a heap of positive edges, and for each cluster a list of its edges."""

from __future__ import annotations

import heapq

import numpy as np
from numpy.typing import NDArray

from trkx.runtime.jit import compiled

Int = NDArray[np.int64]
MIX = -7046029254386353131  # odd, close to 2^64 / golden ratio as a signed number: spreads keys over the table


@compiled
def _place(keys: Int, key: int) -> int:
    """Return where a key stands in the table of edges, or the free place where it would."""
    mask = len(keys) - 1
    at = ((key * MIX) >> 20) & mask
    while keys[at] != -1 and keys[at] != key:
        at = (at + 1) & mask
    return at


@compiled
def _table(ends: Int, alive: NDArray[np.bool_], num_hits: int) -> tuple[Int, Int, int]:
    """Return a table of the living edges by the pair of clusters that they join: keys, edges, number of keys."""
    count = int(np.count_nonzero(alive))
    size = 16
    while size < 4 * count:
        size *= 2
    keys, edges = np.full(size, -1, np.int64), np.empty(size, np.int64)
    for edge in range(len(alive)):
        if alive[edge]:
            a, b = ends[2 * edge], ends[2 * edge + 1]
            key = min(a, b) * num_hits + max(a, b)
            at = _place(keys, key)
            keys[at], edges[at] = key, edge
    return keys, edges, count


@compiled
def contract(low: Int, high: Int, weight: Int, num_hits: int) -> Int:
    """Return the lowest hit of the cluster of each hit, int64 [num_hits].

    low, high: ends of each edge, int64 [E], no pair twice. weight: int64 [E], changed in place. Of pairs of clusters with the
    same weight the one with the first edge between them is joined first: where two edges become one, the one that comes first
    stays. Takes E log(E) steps: the cluster with the shorter list of edges moves its edges into the other one. An edge stands in
    the lists of both its ends, as entry 2 * edge + side; those that are no more drop out when their list is moved.
    """
    edges = len(low)
    room = np.empty(4 * edges + 3 * num_hits, np.int64)  # at once: there are many small components
    ends, following = room[: 2 * edges], room[2 * edges : 4 * edges]
    head, length, parent = room[4 * edges :].reshape(3, num_hits)
    ends[0::2], ends[1::2] = low, high
    head[:], length[:] = -1, 0
    lowest = np.arange(num_hits)
    for entry in range(2 * edges):
        following[entry] = head[ends[entry]]
        head[ends[entry]] = entry
        length[ends[entry]] += 1
    alive = np.ones(edges, np.bool_)
    keys, joins, used = _table(ends, alive, num_hits)
    parent[:] = lowest
    heap = [(np.int64(0), np.int64(0))]
    heap.pop()
    for edge in range(edges):
        if weight[edge] > 0:
            heap.append((-weight[edge], np.int64(edge)))  # noqa: PERF401 - Numba has no such extend
    heapq.heapify(heap)
    positive = len(heap)
    while positive > 0:  # what is left in the heap then is from before
        negative, joining = heapq.heappop(heap)
        if not alive[joining] or weight[joining] != -negative:
            continue  # from before the weight changed
        keep, gone = ends[2 * joining], ends[2 * joining + 1]
        if length[keep] < length[gone]:
            keep, gone = gone, keep
        alive[joining] = False
        positive -= 1
        parent[gone] = keep
        lowest[keep] = min(lowest[keep], lowest[gone])
        entry = head[gone]
        while entry >= 0:
            after, edge = following[entry], entry >> 1
            if alive[edge]:
                other = ends[entry ^ 1]
                key = min(keep, other) * num_hits + max(keep, other)
                at = _place(keys, key)
                joined = keys[at] == key
                first = edge
                if joined:  # that cluster has an edge already: weights add up
                    twin = joins[at]
                    first = min(edge, twin)
                    alive[edge + twin - first] = False
                    total = weight[edge] + weight[twin]
                    positive += int(total > 0) - int(weight[edge] > 0) - int(weight[twin] > 0)
                    weight[first] = total
                    if total > 0:
                        heapq.heappush(heap, (-total, first))
                if first == edge:
                    ends[entry] = keep
                    following[entry] = head[keep]
                    head[keep] = entry
                    length[keep] += 1
                    keys[at], joins[at] = key, edge
                    if not joined:
                        used += 1
                        if 2 * used > len(keys):  # full of pairs that are no more
                            keys, joins, used = _table(ends, alive, num_hits)
            entry = after
    for hit in range(num_hits):
        root = hit
        while parent[root] != root:
            parent[root] = parent[parent[root]]
            root = parent[root]
        lowest[hit] = lowest[root]  # of no cluster that is still looked at, or the same
    return lowest


@compiled
def contract_each(low: Int, high: Int, weight: Int, component: Int, place: Int, first: Int) -> Int:
    """Return the lowest hit of the cluster of each hit, int64 [N], for hits in components.

    low, high: ends of each edge as places, sorted, int64 [E], no pair twice and both in one component. weight: int64 [E],
    changed in place. component: of each hit, int64 [N]. place: where each hit stands in the order of components, int64 [N].
    first: where each component begins in it, int64 [C + 1]. A component without edges is one cluster.
    """
    hits = len(component)
    at = np.empty(hits, np.int64)
    for hit in range(hits):
        at[place[hit]] = hit
    lowest = np.empty(hits, np.int64)
    for hit in range(hits):
        lowest[hit] = at[first[component[hit]]]
    begin = 0
    while begin < len(low):
        number = component[at[low[begin]]]
        start, stop = first[number], first[number + 1]
        end = begin
        while end < len(low) and low[end] < stop:
            end += 1
        found = contract(low[begin:end] - start, high[begin:end] - start, weight[begin:end], stop - start)
        for hit in range(start, stop):
            lowest[at[hit]] = at[start + found[hit - start]]
        begin = end
    return lowest
