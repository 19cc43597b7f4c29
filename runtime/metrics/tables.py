"""A report as tables for a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trkx.runtime.metrics.intervals import clopper_pearson
from trkx.runtime.metrics.report import Report

if TYPE_CHECKING:
    from rich.table import Table

LABELS = {
    "efficiency_double_majority": "efficiency, double majority",
    "efficiency_lhc": "efficiency, LHC 75 %",
    "efficiency_perfect": "efficiency, perfect",
    "efficiency_atlas": "efficiency, ATLAS",
    "fake_rate": "fake rate (no particle owns > 50 % of the track)",
    "unmatched_rate": "tracks that double-majority match no particle",
    "duplicate_rate": "duplicate rate",
}


def track_table(report: Report) -> Table:
    """Return efficiencies, rates and score: counts pooled over events with intervals, and mean ± std over events."""
    from rich.table import Table

    total, spread = report.total(), report.spread()
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("tracks against particles", overflow="fold")
    for column in ("count", "of", "value", "68.3 % interval", "over events"):
        table.add_column(column, justify="right", no_wrap=True)
    for name, label in LABELS.items():
        efficiency = name.startswith("efficiency_")
        count = total.found[name.removeprefix("efficiency_")] if efficiency else getattr(total, name.removesuffix("_rate"))
        of = total.particles if efficiency else total.tracks
        low, high = clopper_pearson(count, of)
        value, interval = (percent(count / of), f"{100 * float(low):.2f} to {100 * float(high):.2f} %") if of else ("-", "-")
        kind = "particles" if efficiency else "tracks"
        table.add_row(label, str(count), f"{of} {kind}", value, interval, mean_and_std(spread.get(name)))
    score = "-" if total.score is None else f"{total.score:.4f}"
    weights = {"event": "the event's weights", "uniform": "uniform weights"}.get(total.score_weights, total.score_weights)
    over = spread.get("trackml_score")
    table.add_row(f"TrackML score ({weights})", "", "", score, "", mean_and_std(over, 1.0, "", 4))
    return table


def edge_table(report: Report) -> Table | None:
    """Return edge-wise efficiency and purity after each stage, or None where the graphs were not kept."""
    from rich.table import Table

    stages = report.edges()
    if not stages:
        return None
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("edges after")
    columns = ("edges per event", "efficiency, selected", "efficiency, all", "purity, same particle", "purity, consecutive hits")
    for column in columns:
        table.add_column(column, justify="right")
    for stage in stages:
        cells = ["-" if rate is None else percent(rate) for rate in stage.rates.values()]
        table.add_row(stage.stage, f"{stage.edges / len(report.events):.0f}", *cells)
    return table


def percent(value: float) -> str:
    """Return a fraction as a percentage with two decimals."""
    return f"{100 * value:.2f} %"


def mean_and_std(spread: tuple[float, float | None] | None, scale: float = 100.0, unit: str = " %", digits: int = 2) -> str:
    """Return "mean ± std", "-" where there is none, and the mean alone for one event."""
    if spread is None:
        return "-"
    mean, deviation = spread
    tail = "" if deviation is None else f" ± {scale * deviation:.{digits}f}"
    return f"{scale * mean:.{digits}f}{tail}{unit}"
