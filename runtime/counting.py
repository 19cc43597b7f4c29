"""The kernel of a counting sort."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from trkx.runtime.jit import compiled

Int = NDArray[np.int64]


@compiled
def counting_order(index: NDArray[np.integer], size: int) -> tuple[Int, Int]:
    """Return the stable order of `index`, int [E], each in [0, size), and the ends of each value's run, int64 [size + 1]."""
    ends = np.zeros(size + 1, np.int64)
    for value in index:
        ends[value + 1] += 1
    for value in range(size):
        ends[value + 1] += ends[value]
    place = ends[:-1].copy()
    order = np.empty(len(index), np.int64)
    for row in range(len(index)):
        value = index[row]
        order[place[value]] = row
        place[value] += 1
    return order, ends
