"""Neighbours by Numba, the fast backend: blocks of sixteen points, tested against whole blocks at a time.

The points are put in the order of a k-d tree whose leaves are full blocks of sixteen. A block meets itself and the blocks after
it whose bounding box is within the radius, found by a walk down a tree of boxes; then each of its points meets those of them
whose box is within the radius of the point, sixteen distances at once. So each pair is met once, and how hits are spread (on a
curved surface, in clumps, far apart) does not matter. Distances are screened in float32 with a slightly enlarged radius; what is
close is decided in float64, so that rounding does not change the result.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from trkx.runtime.crew import available_cores, in_threads
from trkx.runtime.neighbours.blocks import Blocks, blocks_from_points
from trkx.runtime.neighbours.exact import Int, Points, too_many_pairs
from trkx.runtime.neighbours.lanes import LANES
from trkx.runtime.neighbours.nearest import Limits, admitted, limit_blocks
from trkx.runtime.neighbours.sort import bucket_counts, key_bits, sorted_pairs
from trkx.runtime.neighbours.tiles import Reach, search_blocks

TASK = 64  # blocks a task
SAMPLES = 256  # blocks whose pairs are counted to cut a stream into tasks
SLACK = 1e-5  # of the radius: float32 squared distances in 32 dimensions are good to 35 roundings, 2e-6
SMALLEST_REACH = 1e-15  # its square is a normal float32


def search(points: Points, radius: float, k_max: int | None, max_pairs: int, threads: int | None) -> tuple[Int, int]:
    """Return sorted pairs, int64 [2, E], and how many hits have more than k_max neighbours."""
    workers = _workers(threads)
    seeker = _Seeker.of(points, radius, k_max, max_pairs, workers)
    starts = range(0, seeker.count, TASK)
    found = np.zeros(len(starts), np.int64)

    def task(number: int) -> tuple[Int, Int]:
        keys = seeker.keys(number, starts[number], starts[number] + TASK, found)
        return keys, bucket_counts(keys, seeker.half)

    results = in_threads(task, len(starts), workers)
    keys, counts = [keys for keys, _ in results], [counts for _, counts in results]
    del results
    return sorted_pairs(keys, counts, seeker.half, workers), seeker.truncated


def stream(
    points: Points, radius: float, k_max: int | None, max_pairs: int, threads: int | None, task_pairs: int
) -> tuple[int, int, Callable[[int], Int]]:
    """Return the number of tasks, how many hits have more than k_max neighbours, and the search of one task: pairs [2, n]."""
    seeker = _Seeker.of(points, radius, k_max, max_pairs, _workers(threads))
    starts = seeker.starts(task_pairs)
    found = np.zeros(len(starts) - 1, np.int64)

    def task(number: int) -> Int:
        found[number] = 0
        keys = seeker.keys(number, int(starts[number]), int(starts[number + 1]), found)
        pairs = np.empty((2, len(keys)), np.int64)
        np.right_shift(keys, seeker.half, out=pairs[0])
        np.bitwise_and(keys, (1 << seeker.half) - 1, out=pairs[1])
        return pairs

    return len(found), seeker.truncated, task


def reach_of(radius: float) -> Reach:
    """Return the squared distances that decide for a radius: what float32 may get wrong lies between inner and outer."""
    outer = max(radius * (1.0 + SLACK), SMALLEST_REACH)
    inner = 2.0 * radius - outer
    return Reach(np.float32(outer * outer), np.float32(inner * abs(inner)), radius * radius)


def _workers(threads: int | None) -> int:
    return available_cores() if threads is None else max(1, threads)


@dataclass(frozen=True)
class _Seeker:
    """What a search of one event needs. points: by original index. half: bits of an index. limits: of each hit, given k_max."""

    points: Points
    blocks: Blocks
    radius: float
    max_pairs: int
    half: int
    limits: Limits | None
    truncated: int

    @classmethod
    def of(cls, points: Points, radius: float, k_max: int | None, max_pairs: int, workers: int) -> _Seeker:
        """Put the points in blocks, and find how far each hit's k_max-th neighbour is."""
        blocks = blocks_from_points(points, workers)
        seeker = cls(points, blocks, radius, max_pairs, key_bits(len(points)), None, 0)
        if k_max is None:
            return seeker
        seeker.sampled()  # ranking is slow: hits that are nearly identical are refused before it
        limits = Limits(np.empty(len(points), np.float64), np.zeros(len(points), np.int32))
        places = np.arange(len(blocks.ids), dtype=np.int32)
        starts = range(0, seeker.count, TASK)
        found = np.zeros(len(starts), np.int64)

        def task(number: int) -> int:
            last = min(starts[number] + TASK, seeker.count)
            return limit_blocks(number, starts[number], last, blocks, seeker.reach, max_pairs, found, k_max, places, limits)

        truncated = sum(in_threads(task, len(starts), workers))
        if int(found.sum()) > 2 * max_pairs:
            raise too_many_pairs(len(points), radius, max_pairs)
        return cls(points, blocks, radius, max_pairs, seeker.half, limits if truncated else None, truncated)

    @property
    def count(self) -> int:
        """Number of blocks."""
        return len(self.blocks.ids) // LANES

    @property
    def reach(self) -> Reach:
        """What is screened and what decides."""
        return reach_of(self.radius)

    def keys(self, number: int, first: int, last: int, found: Int) -> Int:
        """Return the keys of the pairs of blocks [first, last); found [tasks]: their number before k_max goes to `number`."""
        keys = search_blocks(number, first, min(last, self.count), self.blocks, self.reach, self.max_pairs, found, self.half)
        if int(found.sum()) > self.max_pairs:
            raise too_many_pairs(len(self.points), self.radius, self.max_pairs)
        return keys if self.limits is None else admitted(keys, self.half, self.points, self.limits)

    def sampled(self) -> tuple[Int, Int]:
        """Return some blocks, evenly spaced, int64 [S], and how many pairs each of them makes with those after it, int64 [S]."""
        sample = np.arange(0, self.count, -(-self.count // SAMPLES))
        found = np.zeros(len(sample), np.int64)
        pairs = [len(self.keys(number, int(block), int(block) + 1, found)) for number, block in enumerate(sample)]
        return sample, np.array(pairs)

    def starts(self, task_pairs: int) -> Int:
        """Return where to cut the blocks into tasks of about so many pairs, int64 [tasks + 1]: judged by a sample of blocks."""
        sample, pairs = self.sampled()
        # the 16 limits what an empty task costs
        cost = np.repeat(pairs + 16, np.diff(np.r_[sample, self.count])).cumsum()
        task = (cost - cost[0]) // max(1, task_pairs)
        starts: Int = np.r_[0, np.flatnonzero(np.diff(task)) + 1, self.count]
        return starts
