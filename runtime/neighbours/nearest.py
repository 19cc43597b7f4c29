"""The nearest K without the pairs: how far each hit's K-th neighbour is, and which pairs that leaves."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from trkx.runtime.jit import compiled
from trkx.runtime.neighbours.blocks import Blocks
from trkx.runtime.neighbours.lanes import LANES
from trkx.runtime.neighbours.tiles import FULL, Float, Index, Int, Reach, near_blocks, near_lanes, near_one, squared_distance

Double = NDArray[np.float64]
CHECK = 1 << 16  # neighbours between two looks at what all tasks have found


class Limits(NamedTuple):
    """How far each hit's K-th neighbour is; neighbours are ranked by distance, ties by lower id.

    distance: squared, float64 [N], by original index, infinite where a hit has no more than K neighbours. id: int32 [N], the
    neighbour's original index.
    """

    distance: Double
    id: Index


@compiled
def kth(values: Double, k: int) -> float:
    """Return the k-th smallest value, k from 1 on; reorders the values. Quickselect, any number of equal values."""
    first, last, place = 0, len(values), k - 1
    while True:
        low, middle, high = values[first], values[(first + last) // 2], values[last - 1]
        pivot = max(min(low, middle), min(max(low, middle), high))
        below, equal_end = first, first  # [first, below) is below the pivot, [below, equal_end) equals it
        for n in range(first, last):
            value = values[n]
            if value <= pivot:
                values[n] = values[equal_end]
                values[equal_end] = value
                if value < pivot:
                    values[equal_end], values[below] = values[below], value
                    below += 1
                equal_end += 1
        if place < below:
            last = below
        elif place < equal_end:
            return float(pivot)
        else:
            first = equal_end


@compiled
def limit_blocks(
    number: int, first: int, last: int, blocks: Blocks, reach: Reach, max_pairs: int, found: Int, k_max: int, places: Index,
    limits: Limits,
) -> int:
    """Fill in the limits of the points of blocks [first, last); return how many of them have more than k_max neighbours.

    found [tasks]: receives the number of neighbours at `number`; beyond 2 * max_pairs in all the search is given up.
    places: 0, 1, 2 …, as long as blocks.ids.
    """
    ids, points, count = blocks.ids, blocks.points, len(blocks.points)
    room = len(ids) // LANES
    near, masks, listed = np.empty(room, np.int64), np.empty(room, np.int64), np.empty(room, np.int64)
    mates, distance = np.empty(0, np.int32), np.empty(0, np.float64)
    truncated, unchecked = 0, 0
    for block in range(first, last):
        width = near_blocks(block, 0, blocks, reach.outer, near)
        near_lanes(block, blocks, reach.outer, near, width, masks)
        if (width + 1) * LANES > len(mates):
            mates, distance = np.empty(2 * (width + 1) * LANES, np.int32), np.empty(2 * (width + 1) * LANES, np.float64)
        for i in range(block * LANES, min((block + 1) * LANES, count)):
            others = FULL & ~(1 << (i % LANES))
            size = near_one(i, others, near, masks, width, blocks, places, reach, listed, mates)
            found[number] += size
            unchecked += size
            if unchecked > CHECK:
                unchecked = 0
                if found.sum() > 2 * max_pairs:
                    return truncated
            limits.distance[ids[i]] = np.inf
            if size <= k_max:
                continue
            truncated += 1
            for n in range(size):
                distance[n] = squared_distance(points, i, mates[n])
            cut = kth(distance[:size].copy(), k_max)
            ties, nearer = 0, 0
            for n in range(size):
                nearer += distance[n] < cut
                if distance[n] == cut:
                    mates[ties] = ids[mates[n]]
                    ties += 1
            limits.distance[ids[i]] = cut
            limits.id[ids[i]] = np.sort(mates[:ties])[k_max - nearer - 1]
    return truncated


@compiled
def admitted(keys: Int, half: int, points: Float, limits: Limits) -> Int:
    """Return the keys (low << half | high) of pairs that at least one of their ends counts among its nearest; order is kept.

    points: [N, D], by original index. Reuses the memory of keys.
    """
    limit, limit_id = limits.distance, limits.id
    size = 0
    for key in keys:
        low, high = key >> half, key & ((1 << half) - 1)
        stays = np.isinf(limit[low]) or np.isinf(limit[high])
        if not stays:
            distance = squared_distance(points, low, high)
            for own, other in ((low, high), (high, low)):
                stays |= distance < limit[own] or (distance == limit[own] and other <= limit_id[own])
        if stays:
            keys[size] = key
            size += 1
    return keys[:size]
