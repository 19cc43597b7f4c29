"""Kernels of the block search: which points are near which, sixteen at a time, each decided exactly where it is close."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from trkx.runtime.jit import compiled
from trkx.runtime.neighbours.blocks import Blocks
from trkx.runtime.neighbours.lanes import LANES, keep_lanes, lowest_bit, near_boxes, near_points

Float = NDArray[np.float32]
Int = NDArray[np.int64]
Index = NDArray[np.int32]
DEPTH = 16  # levels of groups of 16: more than any memory holds
FULL = (1 << LANES) - 1


class Reach(NamedTuple):
    """Squared distances that decide.

    outer: float32, nothing beyond is a pair. inner: float32, everything nearer is one; below 0 if that can't be said of any.
    radius: float64, decides between them.
    """

    outer: np.float32
    inner: np.float32
    radius: float


@compiled
def near_blocks(block: int, start: int, blocks: Blocks, outer: np.float32, near: Int) -> int:
    """Write to near those blocks from `start` on whose box is near that of `block`, in ascending order; return how many."""
    bounds, levels, axes = blocks.bounds, blocks.levels, blocks.axes
    side = axes * LANES
    under = (block // LANES) * 2 * side + block % LANES
    nodes, masks = np.empty(DEPTH, np.int64), np.empty(DEPTH, np.int64)
    level = top = len(levels) - 1
    size = 0
    node = 0
    while level <= top:
        if node >= 0:  # a node that was just entered: which of its 16 children are near?
            at = (levels[level] + node) * 2 * side
            mask = near_boxes(bounds, at, at + side, bounds, under, under + side, axes, outer)
            before = (start >> (4 * level)) - node * LANES
            if before > 0:
                mask &= FULL << before
            nodes[level], masks[level] = node, mask
        if masks[level] == 0:
            level += 1
            node = -1
            continue
        child = nodes[level] * LANES + lowest_bit(masks[level])
        masks[level] &= masks[level] - 1
        if level:
            level -= 1
            node = child
        else:
            near[size] = child
            size += 1
            node = -1
    return size


@compiled
def squared_distance(points: Float, i: int, j: int) -> float:
    """Return the sum that decides: float64, over axes in turn."""
    total = 0.0
    for axis in range(points.shape[1]):
        delta = np.float64(points[i, axis]) - np.float64(points[j, axis])
        total += delta * delta
    return total


@compiled
def near_lanes(block: int, blocks: Blocks, outer: np.float32, near: Int, size: int, masks: Int) -> None:
    """Write to masks [size] which of the block's points are near the box of each of the blocks near[:size]."""
    side = blocks.axes * LANES
    own = block * side
    for n in range(size):
        under = (near[n] // LANES) * 2 * side + near[n] % LANES
        masks[n] = near_boxes(blocks.lanes, own, own, blocks.bounds, under, under + side, blocks.axes, outer)


@compiled
def near_one(
    i: int, allowed: int, near: Int, masks: Int, size: int, blocks: Blocks, ids: Index, reach: Reach, listed: Int, out: Index
) -> int:
    """Write to `out` the ids of the points of blocks near[:size] that are neighbours of point i, in their order; return how many.

    masks: for each block, which points of i's block are near its box. allowed: which lanes of its own block may count.
    ids: what to write of each point. listed: scratch, as long as near. out: room for all points of these blocks, and 16 more.
    """
    block, lane = i // LANES, i % LANES
    side = blocks.axes * LANES
    query = block * side + lane
    width = 0
    for n in range(size):  # no branch here nor below that a processor can't foresee
        listed[width] = near[n]
        width += (masks[n] >> lane) & 1
    found = 0
    for n in range(width):
        other = listed[n]
        bits = near_points(blocks.lanes, other * side, blocks.lanes, query, blocks.axes, reach.outer, reach.inner)
        sure = bits >> LANES
        bits &= allowed if other == block else FULL
        close = bits & ~sure
        while close:
            bit = lowest_bit(close)
            if squared_distance(blocks.points, i, other * LANES + bit) > reach.radius:
                bits &= ~(1 << bit)
            close &= close - 1
        found += keep_lanes(ids, other * LANES, bits, out, found)
    return found


@compiled
def search_blocks(
    number: int, first: int, last: int, blocks: Blocks, reach: Reach, max_pairs: int, found: Int, half: int
) -> Int:
    """Return keys (low << half | high) of the pairs that the points of blocks [first, last) make with those after them.

    found [tasks]: receives the number of pairs at `number`; beyond max_pairs in all the search is given up.
    """
    ids, count = blocks.ids, len(blocks.points)
    room = len(ids) // LANES - first
    near, masks, listed = np.empty(room, np.int64), np.empty(room, np.int64), np.empty(room, np.int64)
    mates = np.empty(0, np.int32)
    out = np.empty(4096, np.int64)
    size = 0
    for block in range(first, last):
        width = near_blocks(block, block, blocks, reach.outer, near)
        near_lanes(block, blocks, reach.outer, near, width, masks)
        if (width + 1) * LANES > len(mates):
            mates = np.empty(2 * (width + 1) * LANES, np.int32)
        for i in range(block * LANES, min((block + 1) * LANES, count)):
            later = FULL & (-2 << (i % LANES))
            new = near_one(i, later, near, masks, width, blocks, ids, reach, listed, mates)
            if size + new > len(out):
                found[number] = size
                if found.sum() > max_pairs:
                    found[number] = size + new
                    return out[:0]
                grown = np.empty(2 * len(out) + new, np.int64)
                grown[:size] = out[:size]
                out = grown
            own = np.int64(ids[i])
            for n in range(new):
                other = np.int64(mates[n])
                out[size + n] = (min(own, other) << half) | max(own, other)
            size += new
    found[number] = size
    return out[:size]
