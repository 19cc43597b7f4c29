"""Efficiency, fakes and purity of files beside the float64 pipeline's: paired differences with intervals, and series to plot."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trkx.export.validation.report import Efficiency, Row
from trkx.runtime.events.event import Event
from trkx.runtime.metrics.binning import AXES, Binned, fill
from trkx.runtime.metrics.intervals import clopper_pearson
from trkx.runtime.metrics.matching import match_tracks
from trkx.runtime.metrics.report import tracks_of_hits
from trkx.runtime.metrics.selection import Selection, select_particles
from trkx.runtime.tracks import Tracks

Bool = NDArray[np.bool_]
RULE = "double_majority"
LEVEL = 0.95
"""Level of the intervals of differences. A difference whose interval excludes 0 fails."""
QUANTITIES = {
    "efficiency": "particles that a track matches by double majority",
    "fake rate": "tracks of which no particle owns more than half of the hits",
    "purity": "hits on tracks that the track's owner left",
}


@dataclass(frozen=True)
class Trials:
    """Outcomes of one quantity on one event. key: what each trial is, int64 [T], unique; yes: bool [T]."""

    key: NDArray[np.int64]
    yes: Bool


@dataclass(frozen=True)
class Measured:
    """One pipeline on one event: trials of each quantity, and the selected particles in bins of "pt" and "eta"."""

    trials: Mapping[str, Trials]
    binned: Mapping[str, Binned]


def can_be_measured(event: Event) -> bool:
    """Return whether an event says which particle made which hit, and what the particles are."""
    return event.truth is not None and event.truth.particles is not None


def measured(event: Event, tracks: Tracks, selection: Selection) -> Measured:
    """Return what the truth says of tracks.

    Particles are known by their id, hits by their index, tracks by their first hit: so the trials of two pipelines on the same
    event can be compared one by one.
    """
    assert event.truth is not None
    label, particle_id = tracks_of_hits(event, tracks), event.truth.particle_id
    matching = match_tracks(label, particle_id, selection.min_hits_track)
    selected = select_particles(event, matching.particle, matching.particle_hits, selection)
    found = matching.found(RULE)[selected.mask]
    on_track = np.flatnonzero(np.isin(label, matching.track))
    row = np.searchsorted(matching.track, label[on_track])
    owner = np.append(matching.particle, 0)[matching.owner[row]]
    first = np.full(len(matching.track), len(event), np.int64)
    np.minimum.at(first, row, on_track)
    trials = {
        "efficiency": Trials(matching.particle[selected.mask], found),
        "fake rate": Trials(first, matching.fakes()),
        "purity": Trials(on_track, (owner == particle_id[on_track]) & (owner != 0)),
    }
    axes = ("pt", "eta")
    return Measured(trials, {name: fill(name, getattr(selected, name)[selected.mask], {RULE: found}) for name in axes})


def interval_of_difference(gained: int, lost: int, total: int, level: float = LEVEL) -> tuple[float, float]:
    """Return the interval of (gained - lost) / total: trials that only one of two pipelines passes, of all trials.

    Both counts get a Clopper-Pearson interval at half the error each (Bonferroni), so the difference is covered with at least
    `level`. No discordant trial still leaves a width: the next event could have one.
    """
    low, high = clopper_pearson([gained, lost], [total, total], 1.0 - (1.0 - level) / 2.0)
    return float(low[0] - high[1]), float(high[0] - low[1])


def difference_rows(engine: str, exact: Sequence[Measured], found: Sequence[Measured]) -> list[Row]:
    """Return a row for each quantity, pooled over events, of one engine against the float64 pipeline."""
    case = f"{len(exact)} event{'' if len(exact) == 1 else 's'}"
    return [_row(engine, f"{name}, {case}", name, exact, found) for name in QUANTITIES]


def _row(engine: str, case: str, name: str, exact: Sequence[Measured], found: Sequence[Measured]) -> Row:
    gained = lost = total = 0
    sums = np.zeros((2, 2), np.int64)
    for one, two in zip(exact, found, strict=True):
        a, b = one.trials[name], two.trials[name]
        yes_a, yes_b = a.key[a.yes], b.key[b.yes]
        gained += len(np.setdiff1d(yes_b, yes_a))
        lost += len(np.setdiff1d(yes_a, yes_b))
        total += len(np.union1d(a.key, b.key))
        sums += [[len(yes_a), len(a.key)], [len(yes_b), len(b.key)]]
    if not total:
        return Row("tracks", "pipeline", "", engine, case, "not checked", detail=f"nothing to count: no {QUANTITIES[name]}")
    low, high = interval_of_difference(gained, lost, total)
    before, after = (int(yes) / max(int(of), 1) for yes, of in sums)
    detail = (f"{after:.2%}, float64 networks {before:.2%}; difference {after - before:+.3%}, {LEVEL:.0%} interval "
              f"{low:+.2%} to {high:+.2%} ({gained} gained, {lost} lost of {total} {QUANTITIES[name].split(' ')[0]})")
    passed = low <= 0.0 <= high
    if not passed:
        detail += ": more than chance; look at the decisions of each file"
    return Row("tracks", "pipeline", "", engine, case, "passed" if passed else "failed", abs(after - before), None, detail)


def efficiency_series(measurements: Mapping[str, Sequence[Measured]]) -> list[Efficiency]:
    """Return efficiency in bins of pT and eta, with 68 % intervals, one series for each pipeline (name to its events)."""
    series: dict[str, dict[str, Binned]] = {}
    for name, events in measurements.items():
        for event in events:
            held = series.setdefault(name, {})
            for axis, counts in event.binned.items():
                held[axis] = held[axis] + counts if axis in held else counts
    result = []
    for axis in ("pt", "eta"):
        filled = [i for counts in series.values() for i, total in enumerate(counts[axis].total) if total]
        if not filled:
            continue
        shown = slice(min(filled), max(filled) + 1)
        edges = AXES[axis].edges[shown.start : shown.stop + 1]
        values = {name: _values(counts[axis], shown) for name, counts in series.items()}
        result.append(Efficiency(AXES[axis].label, AXES[axis].unit, edges, values))
    return result


def _values(counts: Binned, shown: slice) -> dict[str, list[float]]:
    found, total = counts.found[RULE][shown], counts.total[shown]
    low, high = clopper_pearson(found, total)
    value = [k / n if n else math.nan for k, n in zip(found, total, strict=True)]
    return {"value": value, "low": low.tolist(), "high": high.tolist()}
