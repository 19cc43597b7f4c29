"""Neighbours by a Numba grid: cells over the widest principal axes, points sorted along the widest one inside a cell.

The points are turned to their principal directions. The widest axis is the sweep axis; the next ones (up to three) are
cut into cells as wide as the radius. A point meets those behind it in its own cell and those of half of the surrounding
cells, in each a window of one radius on either side along the sweep axis, so that every pair is met once. Windows are
contiguous in memory, axis by axis, and are screened in float32 with a slightly enlarged radius; what passes is decided in
float64 on the original coordinates, so that neither rotation nor rounding changes the result.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from trkx.runtime.jit import compiled
from trkx.runtime.neighbours.exact import Int, Points, too_many_pairs

GRID_AXES = 3
BITS = 20  # of a cell's number along one axis
TASK = 1024  # points a task

T = TypeVar("T")
Float = NDArray[np.float32]


def search(points: Points, radius: float, max_pairs: int, threads: int | None) -> Int:
    """Return sorted pairs, int64 [2, E]."""
    count = len(points)
    turned, reach = _turned(points, radius)
    order, turned, starts, stencil = _cells(turned, reach)
    points = points[order]
    found = np.zeros((count + TASK - 1) // TASK, np.int64)

    def task(number: int) -> Int:
        return _search_range(
            number, number * TASK, min((number + 1) * TASK, count), turned, points, order, starts, stencil,
            np.float32(reach), np.float32(reach) * np.float32(reach), radius * radius, max_pairs, found,
        )

    workers = threads or os.cpu_count() or 1
    keys = _in_threads(task, len(found), workers)
    if int(found.sum()) > max_pairs:
        raise too_many_pairs(count, radius, max_pairs)
    return _sorted_pairs(keys, count, workers)


def _in_threads(task: Callable[[int], T], count: int, workers: int) -> list[T]:
    if workers == 1 or count == 1:
        return [task(number) for number in range(count)]
    with ThreadPoolExecutor(workers) as pool:
        return list(pool.map(task, range(count)))


def _sorted_pairs(keys: list[Int], count: int, workers: int) -> Int:
    """Return pairs sorted by (low, high), int64 [2, E], of keys `low << 32 | high`; empties `keys`."""
    degree = np.zeros(count + 1, np.int64)
    for part in keys:
        _count_rows(part, degree)
    begin = np.cumsum(degree)
    end = begin[:-1].copy()
    pairs = np.empty((2, int(begin[-1])), np.int64)
    keys.reverse()
    while keys:
        _fill_rows(keys.pop(), end, pairs)
    step = -(-count // (8 * workers))
    _in_threads(lambda n: _sort_rows(begin, n * step, min((n + 1) * step, count), pairs), -(-count // step), workers)
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
    return turned, radius * (1.0 + 1e-5) + rounding


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


@compiled
def _search_range(  # noqa: ANN202
    number, first, last, turned, points, order, starts, stencil, reach, reach2, radius2, max_pairs, found
):  # type: ignore[no-untyped-def]
    """Return keys (low << 32 | high) of the pairs that sorted points [first, last) make with those after them."""
    dim = points.shape[1]
    sweep = turned[0]
    out = np.empty(4096, np.int64)
    size = 0
    buffer = np.empty(256, np.float32)
    passed = np.empty(256, np.int64)
    low = np.empty(stencil.shape[1], np.int64)
    cell = np.searchsorted(starts, first, side="right") - 1
    fresh = True
    for i in range(first, last):
        while i >= starts[cell + 1]:
            cell += 1
            fresh = True
        if fresh:
            fresh = False
            for n in range(stencil.shape[1]):
                if stencil[cell, n] >= 0:
                    low[n] = starts[stencil[cell, n]]
        here = sweep[i]
        for n in range(-1, stencil.shape[1]):
            if n < 0:
                begin, end = i + 1, starts[cell + 1]
            else:
                other = stencil[cell, n]
                if other < 0:
                    continue
                begin, end = low[n], starts[other + 1]
                while begin < end and sweep[begin] < here - reach:
                    begin += 1
                low[n] = begin
            while begin < end and sweep[begin] <= here + reach:
                width = min(256, end - begin)
                if sweep[begin + width - 1] > here + reach:
                    a, b = begin, begin + width - 1
                    while a < b:
                        middle = (a + b) // 2
                        if sweep[middle] > here + reach:
                            b = middle
                        else:
                            a = middle + 1
                    width = a - begin
                _screen(turned, i, begin, width, buffer)
                kept = 0
                for j in range(width):
                    passed[kept] = begin + j
                    kept += buffer[j] <= reach2
                if size + kept > len(out):
                    found[number] = size
                    if found.sum() > max_pairs:
                        found[number] = size + kept
                        return out[:0].copy()
                    grown = np.empty(2 * len(out) + 256, np.int64)
                    grown[:size] = out[:size]
                    out = grown
                for m in range(kept):
                    j = passed[m]
                    total = 0.0
                    for axis in range(dim):
                        delta = np.float64(points[i, axis]) - np.float64(points[j, axis])
                        total += delta * delta
                    if total <= radius2:
                        a, b = order[i], order[j]
                        out[size] = (min(a, b) << 32) | max(a, b)
                        size += 1
                begin += width
    found[number] = size
    return out[:size].copy()


@compiled
def _screen(turned, i, begin, width, buffer):  # type: ignore[no-untyped-def]  # noqa: ANN202
    """Write squared float32 distances of points [begin, begin + width) from point i to `buffer`."""
    for axis in range(0, turned.shape[0], 4):
        a, b, c, d = turned[axis, i], turned[axis + 1, i], turned[axis + 2, i], turned[axis + 3, i]
        pa = turned[axis, begin : begin + width]
        pb = turned[axis + 1, begin : begin + width]
        pc = turned[axis + 2, begin : begin + width]
        pd = turned[axis + 3, begin : begin + width]
        if axis == 0:
            for j in range(width):
                da, db, dc, dd = pa[j] - a, pb[j] - b, pc[j] - c, pd[j] - d
                buffer[j] = (da * da + db * db) + (dc * dc + dd * dd)
        else:
            for j in range(width):
                da, db, dc, dd = pa[j] - a, pb[j] - b, pc[j] - c, pd[j] - d
                buffer[j] += (da * da + db * db) + (dc * dc + dd * dd)


@compiled
def _count_rows(keys, degree):  # type: ignore[no-untyped-def]  # noqa: ANN202
    """Add the number of keys of each low index to degree[low + 1]."""
    for key in keys:
        degree[(key >> 32) + 1] += 1


@compiled
def _fill_rows(keys, end, pairs):  # type: ignore[no-untyped-def]  # noqa: ANN202
    """Append each key's high index to the row of its low index, whose end moves."""
    for key in keys:
        low = key >> 32
        pairs[1, end[low]] = key & 0xFFFFFFFF
        end[low] += 1


@compiled
def _sort_rows(begin, first, last, pairs):  # type: ignore[no-untyped-def]  # noqa: ANN202
    """Sort the high indices of rows [first, last) and write their low index."""
    for low in range(first, last):
        a, b = begin[low], begin[low + 1]
        pairs[0, a:b] = low
        row = pairs[1, a:b]
        if b - a > 64:
            row.sort()
            continue
        for n in range(1, b - a):
            value = row[n]
            m = n
            while m > 0 and row[m - 1] > value:
                row[m] = row[m - 1]
                m -= 1
            row[m] = value
