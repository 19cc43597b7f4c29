"""Neighbours task by task, so that the candidates of an event never exist all at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from trkx.runtime.neighbours.exact import Int
from trkx.runtime.neighbours.table import MAX_PAIRS, checked_points, radius_graph

TASK_PAIRS = 1 << 15


@dataclass(frozen=True)
class PairStream:
    """The neighbours of an event, task by task.

    tasks: number of tasks. truncated: hits that have more than k_max neighbours, 0 without k_max.
    """

    tasks: int
    truncated: int
    _search: Callable[[int], Int]

    def pairs(self, task: int) -> NDArray[np.int64]:
        """Return the pairs of one task, int64 [2, n], row 0 below row 1; each pair of the event is in exactly one task.

        Indices are those of the points. The order is always the same, and neighbours in space come together. May be called from
        many threads at once, for any task, any number of times; the search does not hold the GIL.

        Raises:
            IndexError: no such task.
            InputError: the tasks asked for so far hold more than max_pairs pairs.
        """
        if not 0 <= task < self.tasks:
            raise IndexError(f"pair stream: tasks are 0 to {self.tasks - 1}, found {task}")
        return self._search(task)


def pair_stream(
    points: NDArray[np.float32],
    radius: float,
    k_max: int | None = None,
    backend: str = "grid",
    threads: int | None = None,
    max_pairs: int = MAX_PAIRS,
    task_pairs: int = TASK_PAIRS,
) -> PairStream:
    """Return the pairs of `radius_graph` as a stream: the same set, and no more of it in memory than is being looked at.

    Args:
        points: as for `radius_graph`.
        radius: as for `radius_graph`.
        k_max: as for `radius_graph`; which hits have more neighbours is found up front.
        backend: only "grid" streams; the others find all pairs and slice them.
        threads: worker threads of what is done up front.
        max_pairs: as for `radius_graph`.
        task_pairs: pairs that a task should hold, roughly.

    Raises:
        InputError, SpecError: as `radius_graph`; too many pairs may be found here or by `PairStream.pairs`.
    """
    points = checked_points(points, radius, k_max, backend)
    if backend == "grid" and len(points) > 1:
        from trkx.runtime.neighbours import grid  # Numba is loaded when it is needed

        return PairStream(*grid.stream(points, float(radius), k_max, max_pairs, threads, task_pairs))
    found = radius_graph(points, radius, k_max, backend, threads, max_pairs)
    bounds = list(pairwise([*range(0, found.pairs.shape[1], task_pairs), found.pairs.shape[1]]))
    return PairStream(len(bounds), found.truncated, lambda task: found.pairs[:, slice(*bounds[task])])
