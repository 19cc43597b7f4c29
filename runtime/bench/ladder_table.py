"""The ladder as people read it: stages down, rungs across, mean and standard deviation over events."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from trkx.runtime.bench.report import Row, duration, ratio, reference_of

if TYPE_CHECKING:
    from rich.table import Table

CUGRAPH = "cuGraph, the third rung of the talk: not available here (RAPIDS, for GPUs); in its place what is named above."


def tables(rows: Sequence[Row], title: str) -> list[Table]:
    """Return the table of times and peak memory by rung, and below it by what means each stage was done and what came out."""
    return [_times(rows, title), _means(rows)]


def _times(rows: Sequence[Row], title: str) -> Table:
    from rich.text import Text

    shown, rungs, stages, cells = _grid(rows, title)
    for stage in stages:
        if stage == stages[-1]:
            shown.add_section()
        shown.add_row(stage, *(_time(cells[stage, rung]) for rung in rungs))
    last = [cells[stages[-1], rung] for rung in rungs]
    reference = reference_of(rows, stages[-1])
    ratios = [ratio(row, reference) for row in last]
    shown.add_row("total, to ours", *("-" if value is None else f"{value:.1f}" for value in ratios))
    peaks = [row.timing.peak_bytes if row.timing.available else None for row in last]
    shown.add_row("peak memory", *("-" if peak is None else f"{peak / 1e9:.2f} GB" for peak in peaks))
    missing = dict.fromkeys(f"{row.graph}: {row.timing.note}" for row in rows if _missing(row) and row.graph != stages[-1])
    shown.caption = Text("\n".join([CUGRAPH, *missing]))  # not markup: extras stand in brackets
    return shown


def _means(rows: Sequence[Row]) -> Table:
    shown, rungs, stages, cells = _grid(rows, "by what means, and how many hits, edges or tracks came out")
    for stage in stages[:-1]:
        shown.add_row(stage, *(_by(cells[stage, rung]) for rung in rungs))
    return shown


def _grid(rows: Sequence[Row], title: str) -> tuple[Table, list[str], list[str], dict[tuple[str, str], Row]]:
    from rich.table import Table

    rungs, stages = list(dict.fromkeys(row.timing.name for row in rows)), list(dict.fromkeys(row.graph for row in rows))
    shown = Table(title=title, caption_justify="left")
    shown.add_column("stage")
    for rung in rungs:
        shown.add_column(rung, justify="right", overflow="fold")
    return shown, rungs, stages, {(row.graph, row.timing.name): row for row in rows}


def _missing(row: Row) -> bool:
    return not row.timing.available and "at least" not in row.facts


def _time(row: Row) -> str:
    if "at least" in row.facts:
        return f"> {row.facts['at least']:.4g} s"
    if not row.timing.available:
        return "not available here"
    mean, deviation = row.facts["mean"], row.facts["std"]
    return duration(mean) if len(row.timing.seconds) == 1 else f"{duration(mean)} ± {duration(deviation)}"


def _by(row: Row) -> str:
    out = row.facts["out"]
    if not out:
        return str(row.facts["by"])
    return f"{row.facts['by']}: {sum(out) / len(out):,.0f}"
