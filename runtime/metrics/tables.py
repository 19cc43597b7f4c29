"""A report as tables for a terminal."""

from __future__ import annotations

from trkx.runtime.metrics.intervals import clopper_pearson
from trkx.runtime.metrics.report import Report
from trkx.tables import Column, FittedTable, Line

LABELS = {
    "efficiency_double_majority": "efficiency, double majority",
    "efficiency_lhc": "efficiency, LHC 75 %",
    "efficiency_perfect": "efficiency, perfect",
    "efficiency_atlas": "efficiency, ATLAS",
    "fake_rate": "fake rate (no particle owns > 50 % of the track)",
    "unmatched_rate": "tracks that double-majority match no particle",
    "duplicate_rate": "duplicate rate",
}


def track_table(report: Report) -> FittedTable:
    """Return efficiencies, rates and score: counts pooled over events with intervals, and mean ± std over events."""
    total, spread = report.total(), report.spread()
    lines = []
    for name, label in LABELS.items():
        efficiency = name.startswith("efficiency_")
        count = total.found[name.removeprefix("efficiency_")] if efficiency else getattr(total, name.removesuffix("_rate"))
        of = total.particles if efficiency else total.tracks
        low, high = clopper_pearson(count, of)
        value, interval = (percent(count / of), f"{100 * float(low):.2f} to {100 * float(high):.2f} %") if of else ("-", "-")
        kind = "particles" if efficiency else "tracks"
        lines.append(Line((label, value, interval, mean_and_std(spread.get(name)), str(count), f"{of} {kind}")))
    score = "-" if total.score is None else f"{total.score:.4f}"
    weights = {"event": "the event's weights", "uniform": "uniform weights"}.get(total.score_weights, total.score_weights)
    over = spread.get("trackml_score")
    lines.append(Line((f"TrackML score ({weights})", score, "", mean_and_std(over, 1.0, "", 4), "", "")))
    numbers = (Column("value"), Column("68.3 % interval"), Column("over events"), Column("count", starts=True), Column("of"))
    return FittedTable((Column("tracks against particles"), *numbers), lines)


def edge_table(report: Report) -> FittedTable | None:
    """Return edge-wise efficiency and purity after each stage, or None where the graphs were not kept."""
    stages = report.edges()
    if not stages:
        return None
    names = ("edges per event", "efficiency, selected", "efficiency, all", "purity, same particle", "purity, consecutive hits")
    lines = [
        Line((stage.stage, f"{stage.edges / len(report.events):.0f}",
              *("-" if rate is None else percent(rate) for rate in stage.rates.values())))
        for stage in stages
    ]
    return FittedTable((Column("edges after"), *map(Column, names)), lines)


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
