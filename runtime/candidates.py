"""From places of hits to the edges that a filter keeps, without ever holding all candidates."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from trkx.runtime.crew import Crew
from trkx.runtime.engines import EdgeFilter

if TYPE_CHECKING:
    from trkx.runtime.neighbours.stream import PairStream

Int = NDArray[np.int64]
Float = NDArray[np.float32]


@dataclass(frozen=True)
class Kept:
    """Edges, int64 [2, E'], in the order in which the stream has them; how many candidates there were; all of them if wanted.

    searching: of the seconds that this took, those of the search, if it and the filter share the time as their threads did.
    """

    edges: Int
    candidates: int
    all_edges: Int | None
    searching: float


def kept_edges(
    stream: PairStream,
    orient: Callable[[Int], Int],
    judge: EdgeFilter,
    checked: Callable[[Float], Float],
    cut: float,
    threads: int,
    keep_all: bool,
) -> Kept:
    """Return the edges with a logit above `cut`. Each thread searches the pairs of a task and judges them where they are.

    checked: called with logits; raises if they make no sense. The result does not depend on the number of threads.
    """
    kept: list[Int] = [np.empty((2, 0), np.int64)] * stream.tasks
    everything: list[Int] = [np.empty((2, 0), np.int64)] * (stream.tasks if keep_all else 0)
    counts = np.zeros(stream.tasks, np.int64)
    seconds = np.zeros((stream.tasks, 2))

    def task(number: int, _: None) -> None:
        start = time.perf_counter()
        pairs = stream.pairs(number)
        found = time.perf_counter()
        counts[number] = pairs.shape[1]
        if pairs.shape[1]:
            edges = orient(pairs)
            kept[number] = edges[:, checked(judge(edges)) > cut]
            if keep_all:
                everything[number] = edges
        seconds[number] = found - start, time.perf_counter() - found

    began = time.perf_counter()
    with Crew(threads) as crew:
        crew.work(stream.tasks, task, lambda: None)
    empty = [np.empty((2, 0), np.int64)]
    share = float(seconds[:, 0].sum()) / max(float(seconds.sum()), 1e-9)
    return Kept(
        np.concatenate(kept + empty, axis=1),
        int(counts.sum()),
        np.concatenate(everything + empty, axis=1) if keep_all else None,
        share * (time.perf_counter() - began),
    )
