"""Neighbours by a Numba grid: cells over the widest principal axes, points sorted along the widest one inside a cell.

The points are turned to their principal directions. The widest axis is the sweep axis; the next ones (up to three) are
cut into cells as wide as the radius. A point meets those behind it in its own cell and those of half of the surrounding
cells, in each a window of one radius on either side along the sweep axis, so that every pair is met once. Windows are
contiguous in memory, axis by axis, and are screened in float32 with a slightly enlarged radius; what passes is decided in
float64 on the original coordinates where it is close, so that neither rotation nor rounding changes the result.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from trkx.runtime.neighbours.exact import Int, Points, too_many_pairs
from trkx.runtime.neighbours.sweep import count_rows, fill_by_high, fill_by_low, search_range

GRID_AXES = 3
BITS = 20  # of a cell's number along one axis
TASK = 1024  # points a task
SMALLEST_REACH = 1e-15  # its square is a normal float32

T = TypeVar("T")
Float = NDArray[np.float32]


def search(points: Points, radius: float, max_pairs: int, threads: int | None) -> Int:
    """Return sorted pairs, int64 [2, E]."""
    count = len(points)
    turned, reach = _turned(points, radius)
    order, turned, starts, stencil = _cells(turned, reach)
    boxes = np.stack([bound.reduceat(turned, starts[:-1], axis=1).T for bound in (np.minimum, np.maximum)])
    points = points[order]
    found = np.zeros((count + TASK - 1) // TASK, np.int64)

    def task(number: int) -> Int:
        return search_range(
            number, number * TASK, min((number + 1) * TASK, count), turned, points, order, starts, stencil, boxes,
            np.float32(reach), np.float32(2.0 * radius - reach), radius, max_pairs, found,
        )

    workers = threads or os.cpu_count() or 1
    keys = _in_threads(task, len(found), workers)
    if int(found.sum()) > max_pairs:
        raise too_many_pairs(count, radius, max_pairs)
    return _sorted_pairs(keys, count)


def _in_threads(task: Callable[[int], T], count: int, workers: int) -> list[T]:
    if workers == 1 or count == 1:
        return [task(number) for number in range(count)]
    with ThreadPoolExecutor(workers) as pool:
        return list(pool.map(task, range(count)))


def _sorted_pairs(keys: list[Int], count: int) -> Int:
    """Return pairs sorted by (low, high), int64 [2, E], of keys `low << 32 | high`; empties `keys`. Two counting sorts."""
    low, high = np.zeros(count + 1, np.int64), np.zeros(count + 1, np.int64)
    for part in keys:
        count_rows(part, low, high)
    low, high = np.cumsum(low), np.cumsum(high)
    lows = np.empty(int(high[-1]), np.int32)
    end = high.copy()
    while keys:
        fill_by_high(keys.pop(), end, lows)
    pairs = np.empty((2, len(lows)), np.int64)
    fill_by_low(lows, high, low, pairs)
    return pairs


def _turned(points: Points, radius: float) -> tuple[Float, float]:
    """Return points along principal directions, widest first, float32 [axes, N], and the radius that absorbs rounding.

    axes: D rounded up to a multiple of 4, filled with zeros.
    """
    count, dim = points.shape
    wide = points.astype(np.float64)
    wide -= np.median(wide, axis=0)
    scale = float(np.abs(wide).max())
    unit = wide / scale if scale > 0.0 else wide
    _, directions = np.linalg.eigh(unit.T @ unit)
    turned = np.zeros((-(-dim // 4) * 4, count), np.float32)
    turned[:dim] = (wide @ directions[:, ::-1]).T
    # each float32 coordinate is within eps / 2 * |x| of its place, and |x| <= sqrt(dim) * scale
    rounding = 2.0 * float(np.finfo(np.float32).eps) * dim * scale
    return turned, max(radius * (1.0 + 1e-5) + rounding, SMALLEST_REACH)


def _cells(turned: Float, reach: float) -> tuple[Int, Float, Int, Int]:
    """Return the points in cell order: order int64 [N], turned [axes, N], cell starts [C + 1], neighbour cells [C, S].

    Far points share the outermost cells: clipping never moves two cells apart, so nothing is lost.
    """
    count = turned.shape[1]
    middle = 1 << (BITS - 1)
    axes = turned[1 : 1 + GRID_AXES]
    key = np.zeros(count, np.int64)
    for axis in axes:
        cell = np.floor((axis.astype(np.float64) - float(np.median(axis))) / (reach * (1.0 + 1e-6)))
        key = (key << BITS) + (np.clip(cell, 2 - middle, middle - 2).astype(np.int64) + middle)
    order = np.lexsort((turned[0], key))
    key = key[order]
    starts = np.flatnonzero(np.r_[True, key[1:] != key[:-1]])
    cells = key[starts]
    steps = [sum(s << (BITS * n) for n, s in enumerate(step)) for step in itertools.product((-1, 0, 1), repeat=len(axes))]
    steps = [step for step in steps if step > 0]
    stencil = np.full((len(cells), len(steps)), -1, np.int64)
    for column, step in enumerate(steps):
        place = np.searchsorted(cells, cells + step)
        place[place == len(cells)] = 0
        hit = cells[place] == cells + step
        stencil[hit, column] = place[hit]
    return order, np.ascontiguousarray(turned[:, order]), np.r_[starts, count], stencil
