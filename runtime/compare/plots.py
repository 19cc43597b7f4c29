"""A comparison as pictures: times, how far logits are apart, decisions that changed, efficiency."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import numpy as np

from trkx.runtime.compare.changes import Changes
from trkx.runtime.compare.recommend import EMULATED
from trkx.runtime.compare.report import Comparison
from trkx.runtime.compare.times import TOTAL
from trkx.runtime.metrics.plots import plot_style

COLOURS = ("#1f4e9e", "#d1662a", "#4c956c", "#7b4fa3", "#b0892f", "#3b8ea5", "#c1121f", "#5c6b73", "#9c6644", "#386641")
SMALLER = {"axes.labelsize": 10, "axes.titlesize": 10, "xtick.labelsize": 9, "ytick.labelsize": 9, "legend.fontsize": 8.5}
DASHES: tuple[Any, ...] = ("-", "-", (0, (5, 4)), (0, (5, 4)), (0, (1.5, 2)), (0, (1.5, 2)))
"""Of curves that may lie on one another: tf32 and fp16, bf16 and mixed."""
DPI = 150
SHORT = 36
"""Letters of all names together that fit under a panel, or three times into a line below; longer ones are turned."""
PALER: dict[str, Any] = {"alpha": 0.45, "hatch": "////", "edgecolor": "white", "linewidth": 0.0}
"""Bars of what is computed in float32."""
APART = 0.02
"""Part that times are apart by, from which on a bar has a number."""
BAND = "half width of the band"
ROOM = 12
"""Letters of a number over each of the bars that fit into a panel of three, times groups of bars."""


def pictures(comparison: Comparison) -> dict[str, tuple[bytes, str]]:
    """Return name to PNG and caption, of what there are numbers for.

    Raises:
        MissingExtraError: matplotlib or mplhep is not installed.
    """
    settings: Any = {**plot_style(), **SMALLER}
    changes, first = comparison.found.changes, comparison.first
    todo: list[tuple[str, tuple[float, float], Callable[[Any, Comparison], None], str]] = []
    if comparison.times.stages:
        todo.append(("times", (_width_of_times(comparison), 3.6), draw_times, _caption_of_times(comparison)))
    if changes:
        below = 0.25 * -(-len(changes) // _in_a_line(comparison))
        turned = 0.0 if _short(comparison) else 0.085 * max(map(len, changes))
        todo.append(("differences", (9.6, 3.4 + below), draw_differences, f"On the inputs of {first}: which part of hits or "
                     "edges is farther from it than that. Dotted: half width of the band (of logits; for hits the band is one of "
                     "pairs)."))
        todo.append(("decisions", (9.6, 3.4 + turned), draw_decisions, f"Decisions that differ from {first} when a network is "
                     "given the same (inside and outside the band), and edges gained and lost after its stage in the whole "
                     "pipeline."))
    if any(one.truth is not None and one.truth.efficiency is not None for one in changes.values()):
        todo.append(("efficiency", (7.6, 1.2 + 0.42 * len(changes) + 0.8), draw_efficiency,
                     f"Change of efficiency and fake rate against {first}, in percentage points, with 95 % intervals. Dashed: "
                     "the largest loss that the recommendation allows to the central value."))
    return {name: (_png(settings, size, draw, comparison), caption) for name, size, draw, caption in todo}


def _png(settings: Any, size: tuple[float, float], draw: Callable[[Any, Comparison], None], of: Comparison) -> bytes:
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with mpl.rc_context(settings):
        figure = Figure(figsize=size, layout="constrained")
        FigureCanvasAgg(figure)
        draw(figure, of)
        data = io.BytesIO()
        figure.savefig(data, format="png", dpi=DPI)
    return data.getvalue()


def _colour(comparison: Comparison, name: str) -> str:
    return COLOURS[list(comparison.runs).index(name) % len(COLOURS)]


def _short(comparison: Comparison) -> bool:
    return sum(map(len, comparison.found.changes)) <= SHORT


def _width_of_times(comparison: Comparison) -> float:
    """Return the inches that bars need for the numbers above them, stages for their names, and the legend."""
    times = comparison.times.stages
    stages = len(next(iter(times.values())))
    return max(7.6, 1.0 + stages * max(0.8, 0.13 * len(times) + 0.16) + 0.09 * max(map(len, times)) + 0.5)


def _caption_of_times(comparison: Comparison) -> str:
    paler = f" Hatched and paler: {EMULATED}, which says nothing, and has no number." if _any_computed(comparison) else ""
    return (f"Mean time of each stage; above bars: how many times as fast as {comparison.first}, where it is 2 % or more apart."
            f"{paler}")


def _any_computed(comparison: Comparison) -> bool:
    return any(comparison.computed(name, TOTAL) for name in comparison.times.stages)


def _in_a_line(comparison: Comparison) -> int:
    return 6 if _short(comparison) else 3


def draw_times(figure: Any, comparison: Comparison) -> None:
    """Draw a group of bars for each stage, one bar a precision."""
    from matplotlib.patches import Patch

    times = comparison.times.stages
    axes = figure.subplots()
    stages = list(next(iter(times.values())))
    width = 0.8 / len(times)
    for number, (name, own) in enumerate(times.items()):
        place = np.arange(len(stages)) + (number - (len(times) - 1) / 2) * width
        mean = [1e3 * own[stage].mean for stage in stages]
        bars = axes.bar(place, mean, width, color=_colour(comparison, name), label=name)
        for bar, at, height, stage in zip(bars, place, mean, stages, strict=True):
            if comparison.computed(name, stage):
                bar.set(**PALER)
            ratio = comparison.faster(name, stage)
            if ratio is not None and abs(ratio - 1.0) >= APART:
                text, turned = (f" {ratio:.2f}", 90) if len(times) > 2 else (f"{ratio:.2f}", 0)
                axes.text(at, height, text, ha="center", va="bottom", fontsize=7, rotation=turned)
    axes.set_xticks(np.arange(len(stages)), ["all" if stage == TOTAL else stage for stage in stages])
    axes.set_xlim(-0.6, len(stages) - 0.4)
    axes.tick_params(axis="x", which="both", length=0)
    axes.tick_params(axis="y", which="both", right=False)  # these would lie on the last bars
    axes.set_ylabel("time [ms]")
    axes.margins(y=0.12)
    labels = list(times)
    plain = [Patch(color=_colour(comparison, name)) for name in labels]
    if _any_computed(comparison):
        plain.append(Patch(facecolor="0.4", **PALER))
        labels.append("computed in\nfloat32 here")
    title = f"numbers: times as\nfast as {comparison.first}"
    found = figure.legend(plain, labels, title=title, frameon=False, loc="outside right upper")  # beside the axes
    found.get_title().set_fontsize(7.5)


def draw_differences(figure: Any, comparison: Comparison) -> None:
    """Draw, for each network, which part of the differences exceeds a size."""
    changes = comparison.found.changes
    stages = list(next(iter(changes.values())).alone)
    lines: dict[str, Any] = {}
    band: Any = None
    for axes, stage in zip(figure.subplots(1, len(stages), squeeze=False)[0], stages, strict=True):
        shown = False
        for name, change in changes.items():
            sizes, parts = change.alone[stage].scores.exceeding()
            seen = (sizes > 0.0) & (parts > 0.0)
            if seen.any():
                dashes = DASHES[list(changes).index(name) % len(DASHES)]
                (lines[name],) = axes.plot(sizes[seen], parts[seen], color=_colour(comparison, name), lw=1.5, ls=dashes,
                                           label=name)
                shown = True
        axes.set_title(stage)
        if not shown:
            axes.text(0.5, 0.5, "no differences", ha="center", va="center", transform=axes.transAxes, color="0.4")
            axes.set_axis_off()
            continue
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_ylim(top=1.5)
        if stage == "embedding":
            axes.set_xlabel("distance moved")
        else:
            axes.set_xlabel("difference of logits")
            band = axes.axvline(comparison.bands.logit, color="0.5", ls=":", lw=1.0)
        axes.set_ylabel("part that is larger")
    if lines:
        lines = {name: lines[name] for name in changes if name in lines}
        if band is not None:
            lines[BAND] = band
        figure.legend(lines.values(), lines, frameon=False, loc="outside lower center", ncols=_in_a_line(comparison))


def draw_decisions(figure: Any, comparison: Comparison) -> None:
    """Draw, for each network, flips inside and outside the band, and edges that changed in the whole pipeline."""
    changes = comparison.found.changes
    stages = list(next(iter(changes.values())).alone)
    kinds = (("inside the band", "#e9c46a"), ("outside the band", "#c1121f"), ("whole pipeline", "#7d8597"))
    rows = figure.subplots(1, len(stages), squeeze=False)[0]
    counted = {stage: [_counted(change, stage) for change in changes.values()] for stage in stages}
    letters = max(len(f"{count:,}") for columns in counted.values() for column in columns for count in column)
    turned = letters * (len(changes) + 0.8) > ROOM * 3 / len(stages)  # else numbers of neighbouring bars meet; alike in all
    for axes, stage in zip(rows, stages, strict=True):
        columns = counted[stage]
        for number, (kind, colour) in enumerate(kinds):
            place = np.arange(len(columns)) + (number - 1) * 0.27
            counts = [column[number] for column in columns]
            axes.bar(place, counts, 0.27, color=colour, label=kind)
            for at, count in zip(place, counts, strict=True):
                axes.text(at, count, f" {count:,} " if turned else f"{count:,}", ha="center", va="bottom", fontsize=6.5,
                          rotation=90 if turned else 0)
        axes.set_yscale("symlog", linthresh=1.0)
        top = max(max(column) for column in columns)
        axes.set_ylim(0.0, max(30.0 * top, 3.0))
        axes.set_xlim(-0.6, len(columns) - 0.4)
        axes.set_xticks(np.arange(len(columns)), list(changes), rotation=0 if _short(comparison) else 90)
        axes.tick_params(axis="x", which="both", length=0)
        axes.tick_params(axis="y", which="both", direction="out", length=4, right=False)  # inside, they would lie on bars
        axes.set_title(stage)
        axes.set_ylabel("pairs" if stage == "embedding" else "edges")
    handles, labels = rows[0].get_legend_handles_labels()
    figure.legend(handles, labels, frameon=False, loc="outside lower center", ncols=len(kinds))


def _counted(change: Changes, stage: str) -> tuple[int, int, int]:
    edges, own = change.edges["graph" if stage == "embedding" else stage], change.alone[stage].decisions
    return own.inside, own.outside, edges.gained + edges.lost


def draw_efficiency(figure: Any, comparison: Comparison) -> None:
    """Draw the change of efficiency and of fake rate, a point with its interval for each precision."""
    truths = {name: one.truth for name, one in comparison.found.changes.items() if one.truth is not None}
    left, right = figure.subplots(1, 2, sharey=True)
    zero: Any = None
    for axes, label, of in ((left, "efficiency", "efficiency"), (right, "fake rate", "fake_rate")):
        for number, (name, truth) in enumerate(truths.items()):
            change = getattr(truth, of)
            if change is not None:
                low, high = 100 * (change.value - change.low), 100 * (change.high - change.value)
                axes.errorbar(100 * change.value, number, xerr=[[max(low, 0.0)], [max(high, 0.0)]], fmt="o", capsize=3,
                              color=_colour(comparison, name))
        zero = axes.axvline(0.0, color="0.5", ls=":", lw=1.0)
        axes.locator_params(axis="x", nbins=5)
        axes.set_xlabel(f"change of {label}\n[percentage points]")
        axes.tick_params(axis="y", which="both", length=0)
    most = left.axvline(-100 * comparison.rule.loss, color="#c1121f", ls="--", lw=1.0)
    interval = left.errorbar([np.nan], [0.0], xerr=[[0.0], [0.0]], fmt="o", capsize=3, color="0.35")
    figure.legend([interval, zero, most], ["95 % interval", "no change", "largest loss allowed (central value)"], frameon=False,
                  loc="outside lower center", ncols=3)
    left.set_yticks(np.arange(len(truths)), list(truths))
    left.set_ylim(len(truths) - 0.5, -0.5)
