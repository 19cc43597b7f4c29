"""What edge contraction has to look at: the components with a negative edge inside, one after the other in memory.

Only an edge above 0 starts a contraction, so no cluster ever leaves a component of these edges. And a component that has no edge
below 0 between its hits becomes one cluster: sums between its parts never fall, and there is always a positive one left. In
events that is most of them.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from trkx.runtime.jit import compiled

Int = NDArray[np.int64]

SOUND, NOT_A_NUMBER, NOT_A_HIT = 0, 1, 2


@compiled
def _whole(weight: float, unit: float, limit: float) -> np.int64:
    return np.int64(np.rint(min(max(weight, -limit), limit) * unit))


@compiled
def positive_edges(
    source: Int, target: Int, weight: NDArray[np.float64], num_hits: int, unit: float, limit: float
) -> tuple[int, Int, Int]:
    """Return SOUND or what is wrong, and the ends of the edges with a weight of at least one unit above 0, int64 [P] each."""
    found = np.empty(len(weight), np.int64)  # pages that are not written are never there
    count, nan, strange = 0, False, False
    for edge in range(len(weight)):  # without branches, which no processor could predict
        a, b = source[edge], target[edge]
        nan |= np.isnan(weight[edge])
        strange |= (a < 0) | (b < 0) | (a >= num_hits) | (b >= num_hits)
        found[count] = edge
        count += int(_whole(weight[edge], unit, limit) > 0)
    return NOT_A_NUMBER if nan else NOT_A_HIT if strange else SOUND, source[found[:count]], target[found[:count]]


@compiled
def inside(
    source: Int, target: Int, weight: NDArray[np.float64], component: Int, unit: float, limit: float
) -> tuple[Int, Int, Int]:
    """Return the edges inside components that have a negative one: low and high end, weight in whole units, int64 [E'] each."""
    found = np.empty(len(weight), np.int64)
    count = 0
    for edge in range(len(weight)):
        a, b = source[edge], target[edge]
        found[count] = edge
        count += (component[a] == component[b]) & (a != b)
    mixed = np.zeros(len(component), np.bool_)
    for edge in found[:count]:
        if _whole(weight[edge], unit, limit) < 0:
            mixed[component[source[edge]]] = True
    low, high, units = np.empty(count, np.int64), np.empty(count, np.int64), np.empty(count, np.int64)
    kept = 0
    for edge in found[:count]:
        a, b = source[edge], target[edge]
        if mixed[component[a]]:
            low[kept], high[kept], units[kept] = min(a, b), max(a, b), _whole(weight[edge], unit, limit)
            kept += 1
    return low[:kept], high[:kept], units[:kept]


@compiled
def places(component: Int) -> tuple[Int, Int]:
    """Return each hit's place in the order of (component, hit), int64 [N], and each component's first place, int64 [C + 1]."""
    count = 0
    for hit in range(len(component)):
        count = max(count, component[hit] + 1)
    first = np.zeros(count + 1, np.int64)
    for hit in range(len(component)):
        first[component[hit] + 1] += 1
    for number in range(count):
        first[number + 1] += first[number]
    place, free = np.empty(len(component), np.int64), first[:-1].copy()
    for hit in range(len(component)):
        place[hit] = free[component[hit]]
        free[component[hit]] += 1
    return place, first
