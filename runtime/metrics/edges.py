"""Edges against the truth: how many of the wanted pairs a graph holds, and how much else."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trkx.errors import InputError
from trkx.runtime.events.event import Event
from trkx.runtime.metrics.selection import require_truth

Int = NDArray[np.int64]
Bool = NDArray[np.bool_]

CHUNK = 1 << 20
"""Edges looked at together, so that memory does not grow with the graph."""


@dataclass(frozen=True)
class EdgeCounts:
    """Edges of one stage, counted against the truth. True edges are pairs of consecutive hits of one particle.

    Attributes:
        stage: the stage that the edges come out of ("graph", "filter", "gnn").
        edges: edges in the graph.
        same_particle: of them, those that join two hits of one particle.
        consecutive: of them, those that join consecutive hits of one particle.
        true: true edges in the event.
        found: true edges that the graph holds, in either direction.
        wanted: true edges of the selected particles.
        found_wanted: of them, those that the graph holds.
    """

    stage: str
    edges: int
    same_particle: int
    consecutive: int
    true: int
    found: int
    wanted: int
    found_wanted: int

    def __add__(self, other: EdgeCounts) -> EdgeCounts:
        """Return the counts of both together; InputError if they belong to different stages."""
        if self.stage != other.stage:
            raise InputError(f"edge counts of stage '{self.stage}' can't be added to those of stage '{other.stage}'.")
        return EdgeCounts(
            self.stage,
            self.edges + other.edges,
            self.same_particle + other.same_particle,
            self.consecutive + other.consecutive,
            self.true + other.true,
            self.found + other.found,
            self.wanted + other.wanted,
            self.found_wanted + other.found_wanted,
        )

    @property
    def rates(self) -> dict[str, float | None]:
        """Efficiency and purity by name, None where the denominator is 0.

        efficiency_wanted: found_wanted / wanted. efficiency_all: found / true. purity: same_particle / edges.
        purity_consecutive: consecutive / edges.
        """
        pairs = {
            "efficiency_wanted": (self.found_wanted, self.wanted),
            "efficiency_all": (self.found, self.true),
            "purity": (self.same_particle, self.edges),
            "purity_consecutive": (self.consecutive, self.edges),
        }
        return {name: part / whole if whole else None for name, (part, whole) in pairs.items()}


def consecutive_pairs(event: Event) -> Int:
    """Return the true edges of an event: pairs of hits that one particle left one after the other.

    Hits of a particle are sorted by `truth.order`, ties by index. Nothing is removed: two hits on overlapping modules of one
    layer are a pair like any other. Noise has no pairs.

    Returns:
        int64 [2, M], row 0 the earlier hit, row 1 the later one; sorted by particle, then order.

    Raises:
        InputError: the event has no truth.
    """
    if event.truth is None:
        require_truth(event)
    assert event.truth is not None
    particle = event.truth.particle_id
    path = np.lexsort((event.truth.order, particle))
    first, second = path[:-1], path[1:]
    same = (particle[first] == particle[second]) & (particle[first] != 0)
    return np.stack([first[same], second[same]]).astype(np.int64, copy=False)


def count_edges(stage: str, edge_index: Int, event: Event, wanted_hits: Bool) -> EdgeCounts:
    """Count the edges of one stage against the truth.

    Direction does not matter. An edge that is listed twice counts twice in `edges`, `same_particle` and `consecutive` (so it
    can't raise a purity), once in `found`.

    Args:
        stage: name of the stage.
        edge_index: edges, int64 [2, E].
        event: an event with truth, N hits.
        wanted_hits: hits of selected particles, bool [N].

    Raises:
        InputError: no truth, or an edge that names a hit which the event lacks.
    """
    pairs = consecutive_pairs(event)
    assert event.truth is not None
    particle = event.truth.particle_id
    if edge_index.ndim != 2 or edge_index.shape[0] != 2:
        raise InputError(f"stage {stage}: edge_index must be [2, E], found {list(edge_index.shape)}.")
    if edge_index.size and not (edge_index.min() >= 0 and edge_index.max() < len(event)):
        raise InputError(
            f"stage {stage}: edge_index names hits {edge_index.min()} to {edge_index.max()}, but the event "
            f"has {len(event)} hits; give the graph of this event."
        )
    following = np.full(len(event), -1, dtype=np.int64)
    following[pairs[0]] = pairs[1]
    found = np.zeros(len(event), dtype=bool)  # by the earlier hit of a pair
    same_particle = consecutive = 0
    for start in range(0, edge_index.shape[1], CHUNK):
        source, target = edge_index[0, start : start + CHUNK], edge_index[1, start : start + CHUNK]
        same = (particle[source] == particle[target]) & (particle[source] != 0) & (source != target)
        source, target = source[same], target[same]
        forward, backward = following[source] == target, following[target] == source
        found[source[forward]] = True
        found[target[backward]] = True
        same_particle += int(same.sum())
        consecutive += int((forward | backward).sum())
    wanted = wanted_hits[pairs[0]]
    hit = found[pairs[0]]
    return EdgeCounts(
        stage=stage,
        edges=edge_index.shape[1],
        same_particle=same_particle,
        consecutive=consecutive,
        true=len(hit),
        found=int(hit.sum()),
        wanted=int(wanted.sum()),
        found_wanted=int((hit & wanted).sum()),
    )
