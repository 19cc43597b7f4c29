"""What was measured: counts of each event, their totals over events, and the same ready for JSON."""

from __future__ import annotations

import functools
import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from trkx.errors import InputError
from trkx.runtime.events.event import Event
from trkx.runtime.events.tables import rows_of
from trkx.runtime.metrics.binning import AXES, Binned, fill
from trkx.runtime.metrics.edges import EdgeCounts, count_edges
from trkx.runtime.metrics.intervals import LEVEL, clopper_pearson
from trkx.runtime.metrics.matching import RATES, RULES, match_tracks
from trkx.runtime.metrics.score import trackml_score
from trkx.runtime.metrics.selection import Selection, require_truth, select_particles

Int = NDArray[np.int64]
SCHEMA = 1


class HitTracks(Protocol):
    """The track of each hit: `trkx.runtime.tracks.Tracks`, or tracks read back from a file."""

    @property
    def hit_id(self) -> Int:
        """Hit ids, int64 [N]."""

    @property
    def track_id(self) -> Int:
        """Track of each hit, int64 [N], negative for a hit in no track."""


class FoundTracks(HitTracks, Protocol):
    """What an evaluation reads of tracks: as `HitTracks`, with edges."""

    @property
    def graphs(self) -> Mapping[str, Int]:
        """Edges after each stage, int64 [2, E], by stage; empty where they were not kept."""


@dataclass(frozen=True)
class EventCounts:
    """Counts of one event.

    hits, noise_hits, assigned_hits: all hits, those of no particle, those on a track that counts. particles: particles that
    pass the cuts. found: of them, those found, by matching rule. tracks: tracks that are long enough. fake, unmatched,
    duplicate: of them (`matching.RATES`). score: TrackML score, None where no hit has weight. edges: one entry a stage.
    """

    event_id: int
    hits: int
    noise_hits: int
    assigned_hits: int
    particles: int
    found: Mapping[str, int]
    tracks: int
    fake: int
    unmatched: int
    duplicate: int
    score: float | None
    score_weights: str
    edges: tuple[EdgeCounts, ...] = ()

    @property
    def rates(self) -> dict[str, float | None]:
        """Efficiency by rule, fake, unmatched and duplicate rate, by name; None where the denominator is 0."""
        rates = {f"efficiency_{rule}": self.found[rule] / self.particles if self.particles else None for rule in RULES}
        return rates | {f"{name}_rate": getattr(self, name) / self.tracks if self.tracks else None for name in RATES}


@dataclass(frozen=True)
class Report:
    """Counts of any number of events under one selection; reports merge."""

    selection: Selection
    events: tuple[EventCounts, ...] = ()
    binned: Mapping[str, Binned] = field(default_factory=dict)

    def merge(self, other: Report) -> Report:
        """Return the report of both; InputError if the cuts differ or an event is in both."""
        if self.selection != other.selection:
            cuts = f"{self.selection.describe()} | {other.selection.describe()}"
            raise InputError(f"reports with different cuts can't be merged: {cuts}; evaluate again with the same cuts.")
        twice = sorted({event.event_id for event in self.events} & {event.event_id for event in other.events})
        if twice:
            raise InputError(f"event {twice[0]} is in both reports; each may count once: give every event its own number.")
        if not self.events or not other.events:
            return self if self.events else other
        binned = {name: counts + other.binned[name] for name, counts in self.binned.items()}
        return Report(self.selection, self.events + other.events, binned)

    def total(self) -> EventCounts:
        """Return the counts summed over events, with event_id -1; the score is the mean over events that have one."""
        names = ("hits", "noise_hits", "assigned_hits", "particles", "tracks", "fake", "unmatched", "duplicate")
        sums = {name: sum(getattr(event, name) for event in self.events) for name in names}
        found = {rule: sum(event.found[rule] for event in self.events) for rule in RULES}
        scores = [event.score for event in self.events if event.score is not None]
        weights = sorted({event.score_weights for event in self.events})
        return EventCounts(
            event_id=-1,
            found=found,
            score=sum(scores) / len(scores) if scores else None,
            score_weights=" and ".join(weights),
            edges=self.edges(),
            **sums,
        )

    def edges(self) -> tuple[EdgeCounts, ...]:
        """Return the edge counts of each stage summed over events, in the order of the stages."""
        by_stage: dict[str, list[EdgeCounts]] = {}
        for event in self.events:
            for counts in event.edges:
                by_stage.setdefault(counts.stage, []).append(counts)
        return tuple(functools.reduce(operator.add, counts) for counts in by_stage.values())

    def spread(self) -> dict[str, tuple[float, float | None]]:
        """Return mean and standard deviation over events of each rate and the score, by name.

        Events where a rate has no denominator are left out; the deviation is of the sample (ddof 1), None for one event.
        """
        columns: dict[str, list[float]] = {}
        for event in self.events:
            for name, value in (event.rates | {"trackml_score": event.score}).items():
                if value is not None:
                    columns.setdefault(name, []).append(value)
        return {name: mean_and_deviation(values) for name, values in columns.items()}

    def require_particles(self) -> None:
        """Raise InputError unless at least one particle passes the cuts: an efficiency of nothing is not 0 and not 1."""
        if not any(event.particles for event in self.events):
            raise InputError(
                f"no particle passes the cuts ({self.selection.describe()}) in {len(self.events)} event(s); "
                "widen them (--pt-min, --eta-max, --min-hits-particle) or give more events."
            )

    def to_dict(self) -> dict[str, object]:
        """Return everything as plain containers, ready for JSON: cuts, definitions, totals, spread, edges, bins, each event."""
        return {
            "schema": SCHEMA,
            "selection": {**self.selection.to_dict(), "words": self.selection.describe()},
            "definitions": {**RULES, **RATES},
            "interval_level": LEVEL,
            "events": len(self.events),
            "total": _as_dict(self.total()),
            "over_events": {name: {"mean": mean, "std": std} for name, (mean, std) in self.spread().items()},
            "binned": {name: counts.to_dict() for name, counts in self.binned.items()},
            "by_event": [{"event_id": event.event_id, **_as_dict(event)} for event in self.events],
        }


def mean_and_deviation(values: Sequence[float]) -> tuple[float, float | None]:
    """Return the mean and the sample's standard deviation (None for a single value)."""
    return float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else None


def _as_dict(counts: EventCounts) -> dict[str, object]:
    pairs = {f"efficiency_{rule}": (counts.found[rule], counts.particles) for rule in RULES}
    pairs |= {f"{name}_rate": (getattr(counts, name), counts.tracks) for name in RATES}
    rates: dict[str, object] = {}
    for name, (part, whole) in pairs.items():
        low, high = clopper_pearson(part, whole)
        value = part / whole if whole else None
        rates[name] = {"value": value, "count": part, "of": whole, "low": float(low), "high": float(high)}
    return {
        "hits": counts.hits,
        "noise_hits": counts.noise_hits,
        "assigned_hits": counts.assigned_hits,
        "particles": counts.particles,
        "tracks": counts.tracks,
        "rates": rates,
        "trackml_score": counts.score,
        "trackml_weights": counts.score_weights,
        "edges": {
            stage.stage: {
                "edges": stage.edges,
                "same_particle": stage.same_particle,
                "consecutive": stage.consecutive,
                "true": stage.true,
                "found": stage.found,
                "wanted": stage.wanted,
                "found_wanted": stage.found_wanted,
                **stage.rates,
            }
            for stage in counts.edges
        },
    }


def tracks_of_hits(event: Event, tracks: HitTracks) -> Int:
    """Return the track of each hit of the event, int64 [N], in the event's order; InputError if the hits are not the event's."""
    if np.array_equal(tracks.hit_id, event.hit_id):
        return tracks.track_id
    where = f"event {event.event_id}" + (f" ({event.source})" if event.source else "")
    row = rows_of(event.hit_id, tracks.hit_id)
    unknown = np.flatnonzero(row < 0)
    if len(unknown):
        first = int(tracks.hit_id[unknown[0]])
        raise InputError(
            f"{where}: tracks name {len(unknown)} hit(s) that the event lacks, the first is hit_id {first}; "
            "give the events that the tracks were made from."
        )
    result = np.full(len(event), -1, dtype=np.int64)
    result[row] = tracks.track_id
    return result


def evaluate_event(event: Event, tracks: FoundTracks, selection: Selection) -> Report:
    """Measure the tracks of one event, and its edges where tracks.graphs holds them.

    A hit that `tracks` doesn't name is in no track.

    Raises:
        InputError: no truth, no particle table, or tracks of another event.
    """
    truth = require_truth(event)
    track_id = tracks_of_hits(event, tracks)
    matching = match_tracks(track_id, truth.particle_id, selection.min_hits_track)
    selected = select_particles(event, matching.particle, matching.particle_hits, selection)
    found = {rule: matching.found(rule)[selected.mask] for rule in RULES}
    score = trackml_score(track_id, truth)
    wanted = np.isin(truth.particle_id, matching.particle[selected.mask])
    counts = EventCounts(
        event_id=event.event_id,
        hits=len(event),
        noise_hits=int((truth.particle_id == 0).sum()),
        assigned_hits=int(matching.hits.sum()),
        particles=int(selected.mask.sum()),
        found={rule: int(mask.sum()) for rule, mask in found.items()},
        tracks=len(matching.track),
        fake=int(matching.fakes().sum()),
        unmatched=int(matching.unmatched().sum()),
        duplicate=int(matching.duplicates().sum()),
        score=score.value,
        score_weights=score.weights,
        edges=tuple(count_edges(stage, edges, event, wanted) for stage, edges in tracks.graphs.items()),
    )
    return Report(selection, (counts,), {name: fill(name, getattr(selected, name)[selected.mask], found) for name in AXES})
