"""Efficiency and fake rate with another precision, on the same particles and hits: the change and its interval."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trkx.errors import InputError
from trkx.runtime.events.event import Event
from trkx.runtime.metrics.matching import match_tracks
from trkx.runtime.metrics.selection import Selection, require_truth, select_particles

Int = NDArray[np.int64]
RULE = "double_majority"
LEVEL = 0.95
"""Coverage of the intervals."""
Z = 1.959964


@dataclass(frozen=True)
class Change:
    """A difference of two rates, other - reference, and its interval; all in [-1, 1]."""

    value: float
    low: float
    high: float

    def to_dict(self) -> dict[str, float]:
        """Return them by name."""
        return {"value": self.value, "low": self.low, "high": self.high}


@dataclass(frozen=True)
class TruthChanges:
    """Counts against the truth, over events that have one.

    events: number of them. particles: particles that pass the cuts. found, found_other: of them, those that a track of the
    reference (of the other) finds by double majority. gained, lost: found by one of them only. tracks, tracks_other: tracks that
    are long enough; fakes, fakes_other: of them. fakes_new, fakes_lost, real_new, real_lost: tracks that are, as sets of hits,
    in one of them only.
    """

    events: int = 0
    particles: int = 0
    found: int = 0
    found_other: int = 0
    gained: int = 0
    lost: int = 0
    tracks: int = 0
    tracks_other: int = 0
    fakes: int = 0
    fakes_other: int = 0
    fakes_new: int = 0
    fakes_lost: int = 0
    real_new: int = 0
    real_lost: int = 0

    def __add__(self, other: TruthChanges) -> TruthChanges:
        """Return those of both events."""
        return TruthChanges(*(getattr(self, item.name) + getattr(other, item.name) for item in fields(self)))

    @property
    def efficiency(self) -> Change | None:
        """Change of the efficiency; None without particles."""
        return paired_difference(self.gained, self.lost, self.particles) if self.particles else None

    @property
    def fake_rate(self) -> Change | None:
        """Change of the fake rate; None where one of them has no tracks.

        Tracks that both have are fake in both; the interval is that of the others, taken as Poisson counts, with one more fake
        and one more real track, so that it has a width where nothing changed.
        """
        if not self.tracks or not self.tracks_other:
            return None
        rate, rate_other = self.fakes / self.tracks, self.fakes_other / self.tracks_other
        mean = (rate + rate_other) / 2
        fakes, real = self.fakes_new + self.fakes_lost + 1, self.real_new + self.real_lost + 1
        half = Z * math.sqrt(fakes * (1.0 - mean) ** 2 + real * mean**2) / ((self.tracks + self.tracks_other) / 2)
        value = rate_other - rate
        return Change(value, max(value - half, -1.0), min(value + half, 1.0))

    def to_dict(self) -> dict[str, Any]:
        """Return counts and changes by name."""
        counts = {item.name: getattr(self, item.name) for item in fields(self)}
        changes = {"efficiency": self.efficiency, "fake_rate": self.fake_rate}
        return counts | {name: None if change is None else change.to_dict() for name, change in changes.items()}


def paired_difference(gained: int, lost: int, total: int) -> Change:
    """Return (gained - lost) / total and its 95 % score interval, for `total` particles that were looked at twice.

    Source: Tango, Statistics in Medicine 17 (1998) 891: the score interval of McNemar's difference. It has a width where nothing
    changed: +-z^2 / (total + z^2).

    Raises:
        InputError: counts below 0, more changes than particles, or no particle.
    """
    if min(gained, lost) < 0 or gained + lost > total or total < 1:
        raise InputError(f"paired difference: {gained} gained and {lost} lost of {total} make no sense; each counts once.")
    value = (gained - lost) / total

    def score(delta: float) -> float:
        b, c = -gained - lost + (2 * total - gained + lost) * delta, -lost * delta * (1.0 - delta)
        off = (math.sqrt(max(b * b - 8.0 * total * c, 0.0)) - b) / (4.0 * total)
        variance = total * (2.0 * off + delta * (1.0 - delta))
        distance = gained - lost - total * delta
        return distance / math.sqrt(variance) if variance > 0.0 else math.copysign(math.inf, distance)

    return Change(value, _crossing(score, Z, -1.0, value), _crossing(score, -Z, value, 1.0))


def _crossing(score: Any, wanted: float, low: float, high: float) -> float:
    """Return where a falling function passes `wanted` between low and high, by bisection."""
    for _ in range(60):
        middle = (low + high) / 2
        if score(middle) > wanted:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def has_truth(event: Event) -> bool:
    """Return whether efficiencies can be counted: there is truth, with a table of particles."""
    return event.truth is not None and event.truth.particles is not None


def truth_changes(event: Event, reference: Int, other: Int, same: NDArray[np.bool_], selection: Selection) -> TruthChanges:
    """Compare tracks with the truth, twice.

    Args:
        event: with truth and a table of particles, N hits.
        reference: track of each hit, int64 [N], below 0 for none.
        other: the same with the other precision.
        same: which hits are in the same component in both, bool [N].
        selection: cuts on particles, and the shortest track that counts.

    Raises:
        InputError: no truth.
    """
    truth = require_truth(event)
    first, second = (match_tracks(track, truth.particle_id, selection.min_hits_track) for track in (reference, other))
    mask = select_particles(event, first.particle, first.particle_hits, selection).mask
    found, found_other = first.found(RULE)[mask], second.found(RULE)[mask]
    changed, changed_other = ~_at_first_hit(same, reference, first.track), ~_at_first_hit(same, other, second.track)
    fakes, fakes_other = first.fakes(), second.fakes()
    return TruthChanges(
        events=1, particles=int(mask.sum()), found=int(found.sum()), found_other=int(found_other.sum()),
        gained=int((found_other & ~found).sum()), lost=int((found & ~found_other).sum()),
        tracks=len(first.track), tracks_other=len(second.track), fakes=int(fakes.sum()), fakes_other=int(fakes_other.sum()),
        fakes_new=int((fakes_other & changed_other).sum()), fakes_lost=int((fakes & changed).sum()),
        real_new=int((~fakes_other & changed_other).sum()), real_lost=int((~fakes & changed).sum()),
    )


def _at_first_hit(of_hit: NDArray[np.bool_], track: Int, wanted: Int) -> NDArray[np.bool_]:
    """Return a property of hits for the tracks `wanted`, int64 [T], of which every hit has the same."""
    ids, first = np.unique(track, return_index=True)
    return of_hit[first[np.searchsorted(ids, wanted)]]
