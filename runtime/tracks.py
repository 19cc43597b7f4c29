"""What the pipeline gives: a label for each hit, the tracks among them, and a report of every stage."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Int = NDArray[np.int64]


@dataclass(frozen=True)
class StageReport:
    """What one stage cost and did.

    seconds: wall time. peak_bytes: highest memory of the whole process seen during the stage; of stages on a GPU, highest memory
    that torch held there.
    count_in, count_out: number of `unit` (hits, edges, tracks) before and after.
    """

    name: str
    seconds: float
    peak_bytes: int
    count_in: int
    count_out: int
    unit: str


@dataclass(frozen=True)
class Tracks:
    """Tracks of one event.

    event_id: number of the event. hit_id: int64 [N], as in the event. label: int64 [N], component of each hit, numbered
    by lowest hit index; an isolated hit is its own component. min_hits: the smallest component that is a track.
    stages: one report a stage, in order. graphs: int64 [2, E] edges after "graph", "filter" and "gnn", if kept.
    truncated: hits that had more than spec.graph.k_max neighbours.
    """

    event_id: int
    hit_id: Int
    label: Int
    min_hits: int = 1
    stages: tuple[StageReport, ...] = ()
    graphs: Mapping[str, Int] = field(default_factory=dict)
    truncated: int = 0

    @cached_property
    def track_id(self) -> Int:
        """Track of each hit, int64 [N]: 0, 1, 2 … in order of each track's first hit, -1 for a hit that is on no track."""
        if len(self.label) == 0:
            return np.empty(0, np.int64)
        _, inverse, size = np.unique(self.label, return_inverse=True, return_counts=True)
        large = size >= self.min_hits
        number = np.where(large, np.cumsum(large) - 1, -1)
        return number[inverse].astype(np.int64, copy=False)

    @property
    def num_tracks(self) -> int:
        """Number of tracks with at least min_hits hits."""
        return int(self.track_id.max(initial=-1)) + 1

    def __len__(self) -> int:
        return self.num_tracks

    def hits_of_tracks(self) -> list[Int]:
        """Return the hit ids of each track, in order of track number; within a track in the order of the event."""
        order = np.argsort(self.track_id, kind="stable")
        ids = self.track_id[order]
        first = int(np.searchsorted(ids, 0))
        if first == len(ids):
            return []
        cuts = np.flatnonzero(np.diff(ids[first:])) + 1
        return np.split(self.hit_id[order[first:]], cuts)
