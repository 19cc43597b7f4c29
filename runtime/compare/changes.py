"""What another precision changes: counts of one event that add up to those of many."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import reduce
from operator import add
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from trkx.runtime.compare.physics import TruthChanges
from trkx.runtime.compare.scores import Decisions, Differences

Int = NDArray[np.int64]
EDGES_AFTER = ("graph", "filter", "gnn")


@dataclass(frozen=True)
class StageChange:
    """One network, given what the reference gave it.

    scores: how far its output is from the reference's: distances of hits in the embedding, differences of logits. decisions: of
    pairs at the radius, of edges at the cut.
    """

    scores: Differences = field(default_factory=Differences)
    decisions: Decisions = field(default_factory=Decisions)

    def __add__(self, other: StageChange) -> StageChange:
        """Return both together."""
        return StageChange(self.scores + other.scores, self.decisions + other.decisions)

    def to_dict(self) -> dict[str, Any]:
        """Return the numbers by name."""
        return {"scores": self.scores.to_dict(), "decisions": dict(self.decisions.to_dict())}


@dataclass(frozen=True)
class EdgeChanges:
    """Edges after one stage of the whole pipeline.

    edges: those of the reference. gained, lost: edges that are only in the other, only in the reference. follow: of these, the
    ones that the stage decides as the reference does when it is given the same: they follow from what changed before it.
    """

    edges: int = 0
    gained: int = 0
    lost: int = 0
    follow: int = 0

    def __add__(self, other: EdgeChanges) -> EdgeChanges:
        """Return both together."""
        return _sums(self, other)

    @classmethod
    def between(cls, reference: Int, other: Int, own: Int | None) -> EdgeChanges:
        """Compare keys of edges, int64, none twice. own: those that the stage alone flips; None: nothing is before it."""
        gained = np.setdiff1d(other, reference, assume_unique=True)
        lost = np.setdiff1d(reference, other, assume_unique=True)
        follow = 0 if own is None else sum(len(changed) - int(np.isin(changed, own).sum()) for changed in (gained, lost))
        return cls(len(reference), len(gained), len(lost), follow)

    def to_dict(self) -> dict[str, int]:
        """Return the counts by name."""
        return {"edges": self.edges, "gained": self.gained, "lost": self.lost, "follow": self.follow}


@dataclass(frozen=True)
class TrackChanges:
    """Components and tracks of the whole pipeline.

    hits: all hits. moved: hits whose component is not the same set of hits in both. tracks: tracks of the reference and of the
    other. lost, new: tracks of the one that are, as sets of hits, none of the other.
    """

    hits: int = 0
    moved: int = 0
    tracks: int = 0
    tracks_other: int = 0
    lost: int = 0
    new: int = 0

    def __add__(self, other: TrackChanges) -> TrackChanges:
        """Return both together."""
        return _sums(self, other)

    @classmethod
    def between(cls, reference: Int, other: Int, same: NDArray[np.bool_]) -> TrackChanges:
        """Compare the track of each hit, int64 [N], below 0 for none; same: `same_components` of the labels, bool [N]."""

        def counts(track: Int) -> tuple[int, int]:
            ids, first = np.unique(track, return_index=True)
            real = ids >= 0
            return int(real.sum()), int((real & ~same[first]).sum())

        (tracks, lost), (tracks_other, new) = counts(reference), counts(other)
        return cls(len(same), int(np.count_nonzero(~same)), tracks, tracks_other, lost, new)

    def to_dict(self) -> dict[str, int]:
        """Return the counts by name."""
        return {item.name: getattr(self, item.name) for item in fields(self)}


@dataclass(frozen=True)
class Changes:
    """All that a precision changes.

    alone: by network, on the reference's inputs. edges: by stage, in the whole pipeline. gnn: the GNN in the whole pipeline, on
    the edges that it reads in both; None if there are none yet. truth: against particles; None without truth.
    """

    alone: Mapping[str, StageChange] = field(default_factory=dict)
    edges: Mapping[str, EdgeChanges] = field(default_factory=dict)
    gnn: StageChange = field(default_factory=StageChange)
    tracks: TrackChanges = field(default_factory=TrackChanges)
    truth: TruthChanges | None = None

    def __add__(self, other: Changes) -> Changes:
        """Return those of both events."""
        truths = [one.truth for one in (self, other) if one.truth is not None]
        return Changes(
            _by_name(self.alone, other.alone), _by_name(self.edges, other.edges), self.gnn + other.gnn,
            self.tracks + other.tracks,
            reduce(add, truths) if truths else None,
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the numbers by name; "truth" only where there is any."""
        plain: dict[str, Any] = {
            "alone": {stage: change.to_dict() for stage, change in self.alone.items()},
            "whole": {"edges": {stage: change.to_dict() for stage, change in self.edges.items()}, "gnn": self.gnn.to_dict(),
                      "tracks": self.tracks.to_dict()},
        }
        return plain if self.truth is None else plain | {"truth": self.truth.to_dict()}


S = TypeVar("S", bound="EdgeChanges | TrackChanges")


def _sums(first: S, second: S) -> S:
    return type(first)(*(getattr(first, item.name) + getattr(second, item.name) for item in fields(first)))


def _by_name(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Any]:
    return {name: first[name] + second[name] if name in first and name in second else {**first, **second}[name]
            for name in dict.fromkeys((*first, *second))}
