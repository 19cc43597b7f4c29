"""What the grid search has to do for an event: the distances that it evaluates, counted without evaluating them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from trkx.runtime.jit import compiled
from trkx.runtime.neighbours.blocks import Blocks, blocks_from_points
from trkx.runtime.neighbours.exact import Int, Points
from trkx.runtime.neighbours.grid import reach_of
from trkx.runtime.neighbours.lanes import LANES
from trkx.runtime.neighbours.tiles import near_blocks, near_lanes


class Work(NamedTuple):
    """What a search does.

    distances: evaluated between two points, each 3 operations an axis. boxes: tests of a point against the box of a block.
    """

    distances: int
    boxes: int


def search_work(points: Points, radius: float) -> Work:
    """Return how many distances `radius_graph` with the grid evaluates for points, float32 [N, D], without k_max.

    Comparable with the number of pairs: a perfect search would evaluate as many distances as there are pairs.
    """
    if len(points) < 2:
        return Work(0, 0)
    blocks = blocks_from_points(np.ascontiguousarray(points, np.float32), 1)
    counts = np.zeros(2, np.int64)
    count_work(blocks, reach_of(radius).outer, counts)
    return Work(int(counts[0]), int(counts[1]))


@compiled
def count_work(blocks: Blocks, outer: np.float32, counts: Int) -> None:
    """Add to counts [2] the distances and the tests of points against boxes."""
    size = len(blocks.ids) // LANES
    near, masks = np.empty(size, np.int64), np.empty(size, np.int64)
    for block in range(size):
        width = near_blocks(block, block, blocks, outer, near)
        near_lanes(block, blocks, outer, near, width, masks)
        for n in range(width):
            counts[1] += LANES
            left = masks[n]
            while left:
                counts[0] += LANES
                left &= left - 1
