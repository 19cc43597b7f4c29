"""Results of a benchmark: rows, the table that people read, JSON, and time against size as a picture."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trkx.runtime.bench.measure import Timing
from trkx.runtime.bench.roofline import Rates
from trkx.tables import Column, FittedTable, Line


@dataclass(frozen=True)
class Row:
    """One case on one input.

    graph: what it was measured on, in words. sizes: "hits", "edges", … to a number. timing: of the case. ours: whether the other
    rows of the graph are compared with this one. flops, bytes: what the work needs at least, 0 if not counted. facts: further
    columns, name to number or word. series: what the graph has in common with those that only differ in size, "" where all do:
    no line of a picture joins two of them.
    """

    graph: str
    sizes: Mapping[str, int]
    timing: Timing
    ours: bool = False
    flops: float = 0.0
    bytes: float = 0.0
    facts: Mapping[str, Any] = field(default_factory=dict)
    series: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain containers, ready for JSON."""
        own = {"graph": self.graph, "sizes": dict(self.sizes), "ours": self.ours, "flops": self.flops, "bytes": self.bytes}
        return {**own, **self.timing.to_dict(), **self.facts}


def reference_of(rows: Iterable[Row], graph: str) -> Row | None:
    """Return the row that the others of a graph are compared with: the fastest of ours; None if none of ours ran."""
    own = [row for row in rows if row.graph == graph and row.ours and row.timing.available]
    return min(own, key=lambda row: row.timing.median, default=None)


def ratio(row: Row, reference: Row | None) -> float | None:
    """Return how many times longer than ours a row takes; None if one of them did not run."""
    if reference is None or not row.timing.available or reference.timing.median <= 0.0:
        return None
    return row.timing.median / reference.timing.median


TIMES = ("median", "quartiles", "to ours", "best", "best to ours", "first call", "memory", "% GEMM", "% copy")
STARTS = ("best", "first call", "% GEMM")
"""Columns that begin another matter: they may stand below, where room is short, as any fact may."""


def table(rows: Sequence[Row], title: str, rates: Rates | None = None) -> FittedTable:
    """Return the table: medians, quartiles, ratio to ours, share of the machine's rates, memory, facts, by graph."""
    facts = list(dict.fromkeys(name for row in rows for name in row.facts))
    used = {"% GEMM": rates is not None and any(row.flops for row in rows), "memory": any(_memory(row) for row in rows),
            "% copy": rates is not None and any(row.bytes for row in rows)}
    names = [name for name in ("case", *TIMES, *facts) if used.get(name, True)]
    columns = [Column(name, starts=name not in TIMES or name in STARTS) for name in names]
    lines = []
    for graph in dict.fromkeys(row.graph for row in rows):
        reference = reference_of(rows, graph)
        for row in (row for row in rows if row.graph == graph):
            cells = _cells(row, reference, rates)
            lines.append(Line([cells.get(name, "") for name in names], section=graph))
    return FittedTable(columns, lines, title, _missing(rows))


def _missing(rows: Sequence[Row]) -> str:
    """Return why cases are not available, once each; with the graphs where that is not so of all."""
    graphs: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        if not row.timing.available:
            graphs.setdefault((row.timing.name, row.timing.note), []).append(row.graph)
    tried = Counter(row.timing.name for row in rows)
    return "\n".join(
        f"{name}{'' if len(on) == tried[name] else ' (' + '; '.join(on) + ')'}: not available here: {why}"
        for (name, why), on in graphs.items()
    )


def _cells(row: Row, reference: Row | None, rates: Rates | None) -> dict[str, str]:
    timing = row.timing
    if not timing.available:
        return {"case": timing.name, "median": "-"}
    compared = ratio(row, reference)
    first = "" if math.isnan(timing.warm_up) else duration(timing.warm_up)
    said = ", ".join(word for word in ("ours" if row.ours else "", timing.note) if word)  # "WRONG RESULT" beside every number
    cells = {
        "case": timing.name + (f" ({said})" if said else ""), "median": duration(timing.median),
        "quartiles": f"{duration(timing.low)} to {duration(timing.high)}",
        "to ours": "" if compared is None else f"{compared:.2f}", "best": duration(timing.best),
        "best to ours": "" if compared is None or reference is None else f"{timing.best / reference.timing.best:.2f}",
        "first call": first, "memory": _memory(row),
    }
    if rates is not None and row.flops:
        cells["% GEMM"] = f"{100.0 * row.flops / timing.median / rates.gemm:.0f}"
    if rates is not None and row.bytes:
        cells["% copy"] = f"{100.0 * row.bytes / timing.median / rates.copy:.0f}"
    return cells | {name: _fact(value) for name, value in row.facts.items()}


def _memory(row: Row) -> str:
    return "" if row.timing.peak_bytes is None else f"{row.timing.peak_bytes / 1e6:,.0f} MB"


def _fact(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def duration(seconds: float) -> str:
    """Return a time for people: "1.23 s", "4.56 ms", "7.8 us"."""
    for factor, unit in ((1.0, "s"), (1e-3, "ms"), (1e-6, "us")):
        if seconds >= factor or unit == "us":
            return f"{seconds / factor:.3g} {unit}"
    raise AssertionError


def write_json(
    path: Path, what: str, rows: Sequence[Row], facts: Mapping[str, Any], rates: Rates | None, load: Mapping[str, float | None]
) -> Path:
    """Write what was measured, with machine and versions; rows with their ratio to ours. `load`: how busy the machine was."""
    from trkx.runtime.events.output import write_files

    plain = []
    for row in rows:
        reference = reference_of(rows, row.graph)
        compared = ratio(row, reference)
        best = None if compared is None or reference is None else row.timing.best / reference.timing.best
        plain.append(row.to_dict() | {"ratio_to_ours": compared, "ratio_of_best": best})
    values = {"benchmark": what, "machine": dict(facts), "load": dict(load), "rates": rates and rates.to_dict(), "rows": plain}
    write_files({path: (json.dumps(values, indent=1) + "\n").encode()})
    return path


def plot(path: Path, rows: Sequence[Row], title: str) -> Path | None:
    """Write time against number of hits and of edges as PNG; None if no size has more than one value.

    One panel a series: against hits where there are several of them.

    Raises:
        MissingExtraError: matplotlib or mplhep is not installed.
    """
    panels = panels_of(rows)
    if not panels:
        return None
    from trkx.runtime.metrics.plots import plot_style, save_picture

    settings = plot_style()
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    columns = min(len(panels), 3)
    lines = -(-len(panels) // columns)
    with mpl.rc_context(settings):
        names = list(dict.fromkeys(name for panel in panels for name in panel.cases))
        figure = Figure(figsize=(5.6 * columns, 4.2 * lines + 0.3 * (1 + len(names) / columns)), layout="constrained")
        FigureCanvasAgg(figure)
        all_axes = figure.subplots(lines, columns, squeeze=False).ravel()
        shown: dict[str, Any] = {}
        for axes, panel in zip(all_axes, panels, strict=False):
            for name, points in panel.cases.items():
                timings = [row.timing for row in points]
                spread = [[t.median - t.low for t in timings], [t.high - t.median for t in timings]]
                thick = 2.2 if any(row.ours for row in points) else 1.1
                style: dict[str, Any] = {"marker": "o", "ms": 4, "capsize": 2, "lw": thick}
                at = [row.sizes[panel.size] for row in points]
                drawn = axes.errorbar(at, [t.median for t in timings], yerr=spread, color=f"C{names.index(name) % 10}", **style)
                shown[name] = drawn
            axes.set(xscale="log", yscale="log", xlabel=f"number of {panel.size}", ylabel="time [s]")
            axes.set_title(panel.series, fontsize=11)
        for axes in all_axes[len(panels) :]:
            axes.set_axis_off()
        figure.legend(shown.values(), shown, frameon=False, fontsize=9, loc="outside lower center", ncols=columns)
        figure.suptitle(title, fontsize=11)
        save_picture(figure, path, dpi=110)
    return path


@dataclass(frozen=True)
class Panel:
    """What is joined by lines: series; size, "hits" or "edges"; cases: name to rows by rising size."""

    series: str
    size: str
    cases: Mapping[str, Sequence[Row]]


def panels_of(rows: Sequence[Row]) -> list[Panel]:
    """Return what a picture shows: of each series the sizes that have more than one value, of several series the first such."""
    ran = [row for row in rows if row.timing.available]
    found: list[Panel] = []
    several = len({row.series for row in ran}) > 1
    for series in dict.fromkeys(row.series for row in ran):
        own = [row for row in ran if row.series == series]
        sizes = [size for size in ("hits", "edges") if len({row.sizes[size] for row in own if size in row.sizes}) > 1]
        for size in sizes[: 1 if several else None]:
            sized = sorted((row for row in own if size in row.sizes), key=lambda row: row.sizes[size])
            names = dict.fromkeys(row.timing.name for row in sized)
            cases = {name: [row for row in sized if row.timing.name == name] for name in names}
            found.append(Panel(series, size, cases))
    return found
