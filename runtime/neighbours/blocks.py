"""Points in blocks of sixteen, the leaves of a k-d tree, and the boxes around them: what the neighbour search walks over."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from trkx.runtime.crew import in_threads
from trkx.runtime.jit import compiled
from trkx.runtime.neighbours.exact import Int, Points
from trkx.runtime.neighbours.lanes import LANES, UNROLL
from trkx.runtime.neighbours.order import Float, cut, larger_half, sort_subtree

SUBTREE = 1 << 14  # points that one thread sorts by itself


Index = NDArray[np.int32]


class Blocks(NamedTuple):
    """Points in the order of a k-d tree, sixteen to a block; a tuple, because compiled code takes it whole.

    ids: int32 [blocks * 16], the original index of each point, 0 where there is none. points: float32 [N, D], in that order.
    lanes: float32, flat, of [blocks, axes, 16]; axes: D rounded up to a multiple of 4, filled with zeros; lanes without a point
    are infinite. bounds: float32, flat, of [groups, 2, axes, 16]: lower and upper bounds of sixteen boxes at a time, first those
    of the blocks, then those of 16 blocks each, of 256, … levels: int64, at which group each of these begins; the last has one.
    """

    ids: Index
    points: Points
    lanes: Float
    bounds: Float
    levels: Int
    axes: int


def blocks_from_points(points: Points, threads: int) -> Blocks:
    """Return points, float32 [N, D], finite, N at least 1, in blocks. The same for any number of threads."""
    order = _tree_order(points, threads)
    count, dim = points.shape
    blocks, axes = -(-count // LANES), -(-dim // UNROLL) * UNROLL
    lanes = np.zeros((blocks, axes, LANES), np.float32)
    rows = np.empty_like(points)
    low = np.zeros((blocks, axes), np.float32)
    high = np.zeros((blocks, axes), np.float32)
    fill_blocks(points, order, rows, lanes, low, high)
    groups: list[Float] = []
    levels = [0]
    while True:
        size = -(-len(low) // LANES)
        group = np.empty((size, 2, axes, LANES), np.float32)
        for side, bound, empty in ((0, low, np.inf), (1, high, -np.inf)):
            padded = np.full((size * LANES, axes), empty, np.float32)
            padded[: len(bound)] = bound
            group[:, side] = padded.reshape(size, LANES, axes).transpose(0, 2, 1)
        groups.append(group)
        low, high = group[:, 0].min(axis=2), group[:, 1].max(axis=2)
        if size == 1:
            break
        levels.append(levels[-1] + size)
    ids = np.zeros(blocks * LANES, np.int32)
    ids[:count] = order
    return Blocks(ids, rows, lanes.ravel(), np.concatenate(groups).ravel(), np.array(levels), axes)


def _tree_order(points: Points, threads: int) -> Int:
    """Return the order of the points, int64 [N]: the top of the tree level by level, then subtrees, shared by the threads."""
    order = np.arange(len(points))
    values = np.empty(len(points), np.float32)
    nodes, subtrees = [(0, len(points))], []
    while nodes:
        subtrees += [node for node in nodes if node[1] - node[0] <= SUBTREE]
        large = [(*node, _middle(*node)) for node in nodes if node[1] - node[0] > SUBTREE]
        wide = in_threads(partial(_cut, points, order, values, large), len(large), threads)
        nodes = [part for (first, last, middle), done in zip(large, wide, strict=True) if done
                 for part in ((first, middle), (middle, last))]
    in_threads(lambda n: sort_subtree(points, order, *subtrees[n]), len(subtrees), threads)
    return order


def _middle(first: int, last: int) -> int:
    return first + LANES * larger_half(-(-(last - first) // LANES))


def _cut(points: Points, order: Int, values: Float, nodes: list[tuple[int, int, int]], number: int) -> bool:
    return cut(points, order, values, *nodes[number])


@compiled
def fill_blocks(points: Points, order: Int, rows: Points, lanes: Float, low: Float, high: Float) -> None:
    """Write points [N, D] in their order to rows [N, D] and lanes [blocks, axes, 16], and each block's bounds [blocks, axes]."""
    count, dim = points.shape
    for block in range(len(lanes)):
        first = block * LANES
        last = min(first + LANES, count)
        for n in range(first, last):
            for d in range(dim):
                value = points[order[n], d]
                rows[n, d] = value
                lanes[block, d, n - first] = value
                if n == first:
                    low[block, d] = high[block, d] = value
                low[block, d], high[block, d] = min(low[block, d], value), max(high[block, d], value)
        lanes[block, :, last - first :] = np.inf
