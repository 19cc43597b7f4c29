"""A comparison as tables of text: the same for a terminal and for a page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from trkx.runtime.compare.changes import Changes, StageChange
from trkx.runtime.compare.physics import Change
from trkx.runtime.compare.recommend import EMULATED
from trkx.runtime.compare.report import Comparison
from trkx.runtime.compare.scores import QUANTILES
from trkx.runtime.compare.times import TOTAL, StageTime
from trkx.tables import Column, FittedTable, Line

POINTS = "change in percentage points (95 %)"
WIDE = 5
"""Runs that the tables of times and memory have columns for; more are their lines."""


@dataclass(frozen=True)
class Sheet:
    """A table. title, note: a line above and below it. head: names of columns. rows: cells; the first `words` are words.

    words: with two of them the first is a heading of neighbouring rows where room is short. starts: places of columns that begin
    another matter: the first to stand below where room is short.
    """

    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""
    words: int = 1
    starts: tuple[int, ...] = ()

    def table(self) -> FittedTable:
        """Return it for a terminal."""
        own = self.words - 1
        columns = [Column(name, starts=place in self.starts) for place, name in enumerate(self.head)][own:]
        lines = [Line(row[own:], ", ".join(row[:own])) for row in self.rows]
        return FittedTable(columns, lines, self.title, self.note)


def sheets(comparison: Comparison) -> list[Sheet]:
    """Return the tables of a comparison, in the order in which they are read; those without rows are left out."""
    found = [_times(comparison), _memory(comparison), _alone(comparison), _whole(comparison), _tracks(comparison)]
    if comparison.found.with_truth:
        found.append(_truth(comparison))
    return [sheet for sheet in found if sheet.rows]


def _times(comparison: Comparison) -> Sheet:
    times = comparison.times.stages
    first = times.get(comparison.first, {})
    cells = {
        name: [_time(own[stage], None if own is first else comparison.faster(name, stage)) for stage in first]
        for name, own in times.items()
    }
    note = "Mean ± std over events, the shortest round of each; in brackets: times as fast."
    if comparison.emulated:
        note += f" {', '.join(comparison.emulated)}: {EMULATED}; such times say nothing, and have no factor."
    return _by_stage(comparison, "Time (ms)", cells, note)


def _memory(comparison: Comparison) -> Sheet:
    times = comparison.times.stages
    cells = {
        name: [f"{own[stage].peak_bytes / 1e6:,.0f}" for stage in times[comparison.first]] for name, own in times.items()
    }
    note = ("Largest size, on the largest event, of a process that does nothing else; on a device: of what is held there.")
    return _by_stage(comparison, "Peak memory (MB)", cells, note)


def _by_stage(comparison: Comparison, title: str, cells: Mapping[str, Sequence[str]], note: str) -> Sheet:
    """Return a table of stages by runs; of runs by stages where there are many runs."""
    stages = [_stage(stage) for stage in comparison.times.stages.get(comparison.first, {})]
    if len(cells) > WIDE:
        rows = tuple((name, *own) for name, own in cells.items())
        return Sheet(title, (comparison.what, *stages), rows, note)
    return Sheet(title, ("stage", *cells), tuple(zip(stages, *cells.values(), strict=True)), note)


def _time(time: StageTime, faster: float | None) -> str:
    spread = f" ± {1e3 * time.deviation:,.1f}" if len(time.seconds) > 1 else ""
    return f"{1e3 * time.mean:,.1f}{spread}" + ("" if faster is None else f" ({faster:.2f})")


def _alone(comparison: Comparison) -> Sheet:
    rows = [
        (stage, name, *_stage_cells(changes.alone[stage]))
        for stage in _networks(comparison)
        for name, changes in comparison.found.changes.items()
    ]
    bands = comparison.bands
    note = (
        f"Differences: distances of hits in the embedding, of logits. Decisions: pairs within the radius, edges above the cut. "
        f"Inside the band: in {comparison.first} within {bands.logit:g} in logit of the cut, or within "
        f"{100 * bands.radius:g} % of the radius. Farthest: from cut or radius."
    )
    head = ("network", comparison.what, *_STAGE_HEAD)
    title = f"Each network on the inputs of {comparison.first}: its own rounding"
    return Sheet(title, head, tuple(rows), note, words=2, starts=(head.index("decisions"),))


_STAGE_HEAD = ("largest difference", *(f"{100 * part:g} %" for part in QUANTILES), "decisions", "gained",
               "lost", "inside the band", "outside", "of all", "farthest")


def _stage_cells(change: StageChange) -> tuple[str, ...]:
    scores, decisions = change.scores, change.decisions
    return (
        _small(scores.largest), *(_small(scores.quantile(part)) for part in QUANTILES), f"{decisions.decided:,}",
        f"{decisions.gained:,}", f"{decisions.lost:,}", f"{decisions.inside:,}", f"{decisions.outside:,}",
        _part(decisions.outside_part), _small(decisions.farthest),
    )


def _whole(comparison: Comparison) -> Sheet:
    rows = []
    for name, changes in comparison.found.changes.items():
        for stage, edges in changes.edges.items():
            changed = edges.gained + edges.lost
            counts = (edges.edges, edges.gained, edges.lost, changed - edges.follow, edges.follow)
            part = _part(changed / edges.edges if edges.edges else 0.0)
            rows.append((name, stage, *(f"{count:,}" for count in counts), part))
    head = (comparison.what, "after", f"edges in {comparison.first}", "gained", "lost", "by own rounding", "that follow",
            "changed in all")
    note = ("After graph: neighbour pairs. By own rounding: the stage decides so on the same inputs as well. That follow: it "
            "does not, but what it is given has changed.")
    return Sheet("The whole pipeline: edges gained and lost after each stage", head, tuple(rows), note, words=2)


def _tracks(comparison: Comparison) -> Sheet:
    rows = [(name, *_track_cells(changes)) for name, changes in comparison.found.changes.items()]
    head = (comparison.what, f"tracks in {comparison.first}", "tracks", "lost", "new", "hits in other components", "of all hits",
            "GNN logits, whole: largest", *(f"{100 * part:g} %" for part in QUANTILES))
    note = ("Lost, new: tracks that are not the same set of hits in both. GNN logits: on the edges that it reads in both, whose "
            "neighbourhood may have changed.")
    return Sheet("The whole pipeline: tracks", head, tuple(rows), note, starts=(len(head) - len(QUANTILES) - 1,))


def _track_cells(changes: Changes) -> tuple[str, ...]:
    tracks, scores = changes.tracks, changes.gnn.scores
    return (
        f"{tracks.tracks:,}", f"{tracks.tracks_other:,}", f"{tracks.lost:,}", f"{tracks.new:,}", f"{tracks.moved:,}",
        _part(tracks.moved / tracks.hits if tracks.hits else 0.0), _small(scores.largest),
        *(_small(scores.quantile(part)) for part in QUANTILES),
    )


def _truth(comparison: Comparison) -> Sheet:
    rows = []
    for name, changes in comparison.found.changes.items():
        if (truth := changes.truth) is None:
            continue
        rows.append((
            name, _percent(truth.found, truth.particles), _percent(truth.found_other, truth.particles), f"{truth.gained:,}",
            f"{truth.lost:,}", _change(truth.efficiency), _percent(truth.fakes, truth.tracks),
            _percent(truth.fakes_other, truth.tracks_other), _change(truth.fake_rate),
        ))
    head = (comparison.what, f"efficiency in {comparison.first}", "efficiency", "gained", "lost", POINTS,
            f"fake rate in {comparison.first}", "fake rate", POINTS)
    with_truth, events = comparison.found.with_truth, comparison.found.events
    particles = next((one.truth.particles for one in comparison.found.changes.values() if one.truth is not None), 0)
    note = (f"{particles:,} {comparison.selection.describe()}. Double majority; the same particles, twice (Tango's score "
            "interval).")
    if with_truth < events:
        note += f" {with_truth} of {events} events have truth."
    return Sheet("Efficiency and fake rate", head, tuple(rows), note, starts=(head.index("lost") + 2,))


def _networks(comparison: Comparison) -> Sequence[str]:
    return list(next(iter(comparison.found.changes.values())).alone) if comparison.found.changes else []


def _stage(name: str) -> str:
    return "all stages" if name == TOTAL else name


def _small(value: float) -> str:
    return "0" if value == 0.0 else f"{value:.2g}"


def _part(value: float) -> str:
    return "0" if value == 0.0 else f"{100 * value:.2g} %"


def _percent(count: int, of: int) -> str:
    return f"{100 * count / of:.2f} %" if of else "-"


def _change(change: Change | None) -> str:
    if change is None:
        return "-"
    return f"{100 * change.value:+.3f} ({100 * change.low:+.3f} to {100 * change.high:+.3f})"
