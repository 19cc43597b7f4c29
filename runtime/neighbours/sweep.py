"""Kernels of the grid search: a sweep over cells that meets every pair once, and the sorting of what it finds."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from trkx.runtime.jit import compiled

Float = NDArray[np.float32]
Int = NDArray[np.int64]
WINDOW = 256  # points screened at once


@compiled
def _screen(turned: Float, i: int, begin: int, width: int, buffer: Float) -> None:
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
def _first_from(sweep: Float, begin: int, end: int, value: np.float32) -> int:
    """Return the first place in sorted sweep[begin:end] that is not below `value`, `end` if there is none."""
    while begin < end:
        middle = (begin + end) // 2
        if sweep[middle] < value:
            begin = middle + 1
        else:
            end = middle
    return begin


@compiled
def _gap2(turned: Float, i: int, boxes: Float, cell: int) -> np.float32:
    """Return the squared distance of point i from the box of a cell, over all axes but the sweep axis."""
    total = np.float32(0.0)
    for axis in range(1, turned.shape[0]):
        value = turned[axis, i]
        gap = max(boxes[0, cell, axis] - value, value - boxes[1, cell, axis], np.float32(0.0))
        total += gap * gap
    return total


@compiled
def search_range(
    number: int, first: int, last: int, turned: Float, points: Float, order: Int, starts: Int, stencil: Int, boxes: Float,
    reach: np.float32, sure: np.float32, radius: float, max_pairs: int, found: Int,
) -> Int:
    """Return keys (low << 32 | high) of the pairs that points [first, last) make with those after them.

    turned: [axes, N], axes a multiple of 4, and points [N, D], both in cell order; order: original index of each.
    starts: first point of each cell, [C + 1]. stencil: cells after this one that touch it, [C, S], -1 for none.
    boxes: smallest and largest coordinate in each cell, [2, C, axes]. reach: nothing beyond it is a pair; sure: everything
    nearer is one; between them the exact test with radius decides. found [tasks]: receives the number of pairs at
    `number`; beyond max_pairs in all the search is given up.
    """
    dim = points.shape[1]
    reach2 = reach * reach
    sure2 = sure * abs(sure)
    radius2 = radius * radius
    sweep = turned[0]
    out = np.empty(4096, np.int64)
    size = 0
    buffer = np.empty(WINDOW, np.float32)
    passed = np.empty(WINDOW, np.int64)
    cell = np.searchsorted(starts, first, side="right") - 1
    for i in range(first, last):
        while i >= starts[cell + 1]:
            cell += 1
        here = sweep[i]
        for n in range(-1, stencil.shape[1]):
            if n < 0:
                begin = i + 1
                end = _first_from(sweep, begin, starts[cell + 1], np.nextafter(here + reach, np.float32(np.inf)))
            else:
                other = stencil[cell, n]
                if other < 0:
                    continue
                left = reach2 - _gap2(turned, i, boxes, other)
                if left < 0.0:
                    continue
                half = np.sqrt(left)
                begin = _first_from(sweep, starts[other], starts[other + 1], here - half)
                end = _first_from(sweep, begin, starts[other + 1], np.nextafter(here + half, np.float32(np.inf)))
            while begin < end:
                width = min(WINDOW, end - begin)
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
                    grown = np.empty(2 * len(out) + WINDOW, np.int64)
                    grown[:size] = out[:size]
                    out = grown
                for m in range(kept):
                    j = passed[m]
                    inside = buffer[j - begin] < sure2
                    if not inside:
                        total = 0.0
                        for axis in range(dim):
                            delta = np.float64(points[i, axis]) - np.float64(points[j, axis])
                            total += delta * delta
                        inside = total <= radius2
                    if inside:
                        a, b = order[i], order[j]
                        out[size] = (min(a, b) << 32) | max(a, b)
                        size += 1
                begin += width
    found[number] = size
    return out[:size].copy()


@compiled
def count_rows(keys: Int, low: Int, high: Int) -> None:
    """Add the number of keys of each low and high index to low[index + 1] and high[index + 1]."""
    for key in keys:
        low[(key >> 32) + 1] += 1
        high[(key & 0xFFFFFFFF) + 1] += 1


@compiled
def fill_by_high(keys: Int, end: Int, lows: NDArray[np.int32]) -> None:
    """Append each key's low index to the row of its high index in `lows`; the rows' ends move."""
    for key in keys:
        high = key & 0xFFFFFFFF
        lows[end[high]] = key >> 32
        end[high] += 1


@compiled
def fill_by_low(lows: NDArray[np.int32], high: Int, end: Int, pairs: Int) -> None:
    """Write pairs [2, E]: rows of low indices by ascending high index become rows of sorted high indices."""
    for index in range(len(high) - 1):
        for n in range(high[index], high[index + 1]):
            place = end[lows[n]]
            pairs[0, place] = lows[n]
            pairs[1, place] = index
            end[lows[n]] = place + 1
