"""The ladder as people read it: stages down, rungs across, mean and standard deviation over events."""

from __future__ import annotations

from collections.abc import Sequence

from trkx.runtime.bench.report import Row, duration, ratio, reference_of
from trkx.tables import Column, FittedTable, Line

CUGRAPH = "cuGraph, the third rung of the talk: not available here (RAPIDS, for GPUs); in its place what is named above."


def tables(rows: Sequence[Row], title: str, memory: str = "peak memory", notes: Sequence[str] = (CUGRAPH,)) -> list[FittedTable]:
    """Return the table of times and peak memory by rung, and below it by what means each stage was done and what came out.

    memory: what the peak is called. notes: what stands below the table of times, before what is missing.
    """
    return [_times(rows, title, memory, notes), _means(rows)]


def _times(rows: Sequence[Row], title: str, memory: str, notes: Sequence[str]) -> FittedTable:
    rungs, stages, cells = _grid(rows)
    lines = [Line((stage, *(_time(cells[stage, rung]) for rung in rungs))) for stage in stages]
    last = [cells[stages[-1], rung] for rung in rungs]
    reference = reference_of(rows, stages[-1])
    ratios = [ratio(row, reference) for row in last]
    lines.append(Line(("total, to ours", *("-" if value is None else f"{value:.1f}" for value in ratios))))
    lines.append(Line((memory, *(_bytes(row.timing.peak_bytes if row.timing.available else None) for row in last))))
    if any("used_bytes" in row.facts for row in last):
        lines.append(Line(("GPU memory in use", *(_bytes(row.facts.get("used_bytes")) for row in last))))
    instead = dict.fromkeys(
        f"* {row.graph}: {row.facts['by']} in place of {row.facts['in place of']}, which is not installed"
        for row in rows if "in place of" in row.facts
    )
    missing = dict.fromkeys(f"{row.graph}: {row.timing.note}" for row in rows if _missing(row) and row.graph != stages[-1])
    columns = [Column("stage"), *(Column(rung, starts=True) for rung in rungs)]
    return FittedTable(columns, lines, title, "\n".join([*notes, *instead, *missing]))


def _means(rows: Sequence[Row]) -> FittedTable:
    rungs, stages, cells = _grid(rows)
    lines = [Line((stage, *(_by(cells[stage, rung]) for rung in rungs))) for stage in stages[:-1]]
    columns = [Column("stage"), *(Column(rung, words=True, starts=True) for rung in rungs)]
    return FittedTable(columns, lines, "by what means, and how many hits, edges or tracks came out")


def _grid(rows: Sequence[Row]) -> tuple[list[str], list[str], dict[tuple[str, str], Row]]:
    """Return names of rungs and of stages, and the row of each stage and rung."""
    rungs, stages = list(dict.fromkeys(row.timing.name for row in rows)), list(dict.fromkeys(row.graph for row in rows))
    return rungs, stages, {(row.graph, row.timing.name): row for row in rows}


def _missing(row: Row) -> bool:
    return not row.timing.available and "at least" not in row.facts


def _time(row: Row) -> str:
    star = " *" if "in place of" in row.facts else ""
    if "at least" in row.facts:
        return f"> {row.facts['at least']:.4g} s{star}"
    if not row.timing.available:
        return ("not installed" if "not installed" in row.facts else "not available here") + star
    mean, deviation = row.facts["mean"], row.facts["std"]
    return (duration(mean) if len(row.timing.seconds) == 1 else f"{duration(mean)} ± {duration(deviation)}") + star


def _bytes(size: int | None) -> str:
    return "-" if size is None else f"{size / 1e9:.2f} GB"


def _by(row: Row) -> str:
    out = row.facts["out"]
    if not out:
        return str(row.facts["by"])
    return f"{row.facts['by']}: {sum(out) / len(out):,.0f}"
