"""Kernels that put points in the order of a k-d tree whose leaves are full blocks of 16 points."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from trkx.runtime.jit import compiled
from trkx.runtime.neighbours.lanes import LANES

Float = NDArray[np.float32]
Int = NDArray[np.int64]
SAMPLE = 64  # points that decide along which axis a node is cut, and at which value a first trial is made


@compiled
def _widest(points: Float, order: Int, first: int, last: int) -> tuple[int, bool]:
    """Return the axis along which points order[first:last] are widest, by a sample if it has any extent, and if there is any."""
    step = max(1, (last - first) // SAMPLE)
    best, axis = np.float32(0.0), 0
    while True:
        for d in range(points.shape[1]):
            low = high = points[order[first], d]
            for n in range(first + step, last, step):
                value = points[order[n], d]
                low, high = min(low, value), max(high, value)
            if high - low > best:
                best, axis = high - low, d
        if best > 0.0 or step == 1:
            return axis, bool(best > 0.0)
        step = 1


@compiled
def _pivot(values: Float, first: int, last: int, place: int) -> float:
    """Return a value of values[first:last] that is near its (place - first)-th smallest: from a sorted sample."""
    step = max(1, (last - first) // SAMPLE)
    sample = np.sort(values[first:last:step])
    return float(sample[min(len(sample) - 1, (place - first) // step)])


@compiled
def _part(values: Float, order: Int, first: int, last: int, pivot: float, equal: bool) -> int:
    """Move what is below the pivot (or equal to it, if so asked) to the front of [first, last) and return where it ends."""
    end = first
    for n in range(first, last):
        value, index = values[n], order[n]
        values[n], order[n] = values[end], order[end]
        values[end], order[end] = value, index
        end += (value < pivot) | (equal & (value == pivot))
    return end


@compiled
def cut(points: Float, order: Int, values: Float, first: int, last: int, place: int) -> bool:
    """Reorder order[first:last] so that along its widest axis nothing before `place` is above anything from it on.

    points: [N, D]. values: scratch, as long as order. Returns False, and does nothing, where all are equal.
    """
    axis, wide = _widest(points, order, first, last)
    if not wide:
        return False
    for n in range(first, last):
        values[n] = points[order[n], axis]
    while last - first > 1:
        pivot = _pivot(values, first, last, place)
        middle = _part(values, order, first, last, pivot, False)
        if place <= middle:
            if place == middle:
                break
            last = middle
            continue
        first = middle
        middle = _part(values, order, first, last, pivot, True)
        if place <= middle:
            break
        first = middle
    return True


@compiled
def larger_half(leaves: int) -> int:
    """Return the largest power of two below `leaves`: a tree cut there has complete subtrees of 16, 256, … leaves."""
    half = 1
    while 2 * half < leaves:
        half *= 2
    return half


@compiled
def sort_subtree(points: Float, order: Int, first: int, last: int) -> None:
    """Cut points order[first:last], `first` a multiple of 16, until each block of 16 is a leaf."""
    count = last - first
    local = np.empty((count, points.shape[1]), np.float32)  # near in memory, however far the points are
    for n in range(count):
        local[n] = points[order[first + n]]
    place = np.arange(count)
    values = np.empty(count, np.float32)
    begins, ends = np.empty(64, np.int64), np.empty(64, np.int64)
    begins[0], ends[0], depth = 0, count, 1
    while depth:
        depth -= 1
        begin, end = begins[depth], ends[depth]
        if end - begin <= LANES:
            continue
        middle = begin + LANES * larger_half((end - begin + LANES - 1) // LANES)
        if cut(local, place, values, begin, end, middle):
            begins[depth], ends[depth] = begin, middle
            begins[depth + 1], ends[depth + 1] = middle, end
            depth += 2
    order[first:last] = order[first:last][place]
