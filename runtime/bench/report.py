"""Results of a benchmark: rows, the table that people read, JSON, and time against size as a picture."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trkx.runtime.bench.measure import Timing
from trkx.runtime.bench.roofline import Rates

if TYPE_CHECKING:
    from rich.table import Table


@dataclass(frozen=True)
class Row:
    """One case on one input.

    graph: what it was measured on, in words. sizes: "hits", "edges", … to a number. timing: of the case. ours: whether the other
    rows of the graph are compared with this one. flops, bytes: what the work needs at least, 0 if not counted. facts: further
    columns, name to number or word.
    """

    graph: str
    sizes: Mapping[str, int]
    timing: Timing
    ours: bool = False
    flops: float = 0.0
    bytes: float = 0.0
    facts: Mapping[str, Any] = field(default_factory=dict)

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


def table(rows: Sequence[Row], title: str, rates: Rates | None = None) -> Table:
    """Return the rich table: medians, quartiles, ratio to ours, share of the machine's rates, memory, facts, by graph."""
    from rich.table import Table
    from rich.text import Text

    names = list(dict.fromkeys(name for row in rows for name in row.facts))
    shown = Table(title=Text(title))
    times = ("median", "quartiles", "best", "to ours", "best to ours")
    columns = ["case", *times, "% GEMM", "% copy", "first call", "memory", *names, "note"]
    used = {"% GEMM": rates is not None and any(row.flops for row in rows), "memory": any(_memory(row) for row in rows),
            "% copy": rates is not None and any(row.bytes for row in rows), "note": any(row.timing.note for row in rows)}
    columns = [name for name in columns if used.get(name, True)]
    for name in columns:
        shown.add_column(name, justify="left" if name in ("case", "note") else "right", overflow="fold")
    for graph in dict.fromkeys(row.graph for row in rows):
        shown.add_section()
        shown.add_row(Text(graph, style="bold"))
        reference = reference_of(rows, graph)
        for row in (row for row in rows if row.graph == graph):
            cells = _cells(row, reference, rates)
            shown.add_row(*(Text(cells.get(name, "")) for name in columns))  # Text: "trkx[peers]" is no markup
    return shown


def _cells(row: Row, reference: Row | None, rates: Rates | None) -> dict[str, str]:
    timing = row.timing
    if not timing.available:
        return {"case": timing.name, "note": f"not available here: {timing.note}", "median": "-"}
    compared = ratio(row, reference)
    first = "" if math.isnan(timing.warm_up) else duration(timing.warm_up)
    cells = {
        "case": timing.name + (" (ours)" if row.ours else ""), "median": duration(timing.median),
        "quartiles": f"{duration(timing.low)} to {duration(timing.high)}",
        "to ours": "" if compared is None else f"{compared:.2f}", "best": duration(timing.best),
        "best to ours": "" if compared is None or reference is None else f"{timing.best / reference.timing.best:.2f}",
        "first call": first, "memory": _memory(row), "note": timing.note,
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

    Raises:
        MissingExtraError: matplotlib or mplhep is not installed.
    """
    ran = [row for row in rows if row.timing.available]
    sizes = [name for name in ("hits", "edges") if len({row.sizes.get(name, 0) for row in ran if name in row.sizes}) > 1]
    if not sizes:
        return None
    from trkx.runtime.metrics.plots import plot_style, save_picture

    settings = plot_style()
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with mpl.rc_context(settings):
        figure = Figure(figsize=(6.4 * len(sizes), 5.2), layout="constrained")
        FigureCanvasAgg(figure)
        for axes, size in zip(figure.subplots(1, len(sizes), squeeze=False)[0], sizes, strict=True):
            for name in dict.fromkeys(row.timing.name for row in ran):
                own = [(row.sizes[size], row.ours, row.timing) for row in ran if row.timing.name == name and size in row.sizes]
                own.sort(key=lambda item: item[0])
                at, timings = [size for size, _, _ in own], [timing for _, _, timing in own]
                spread = [[t.median - t.low for t in timings], [t.high - t.median for t in timings]]
                style = {"marker": "o", "ms": 4, "capsize": 2, "lw": 2.2 if any(ours for _, ours, _ in own) else 1.1}
                axes.errorbar(at, [t.median for t in timings], yerr=spread, label=name, **style)
            axes.set(xscale="log", yscale="log", xlabel=f"number of {size}", ylabel="time [s]")
        figure.axes[0].legend(frameon=False, fontsize=8)
        figure.suptitle(title, fontsize=11)
        save_picture(figure, path, dpi=130)
    return path
