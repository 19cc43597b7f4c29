"""Pictures of a validation: score differences, flips against distance to the cut, efficiency with and without."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from trkx.export.validation.report import EdgeScores, Efficiency, Report
from trkx.runtime.metrics.plots import plot_style
from trkx.spec import logit_of_cut

COLOURS = ("#1f4e9e", "#d1662a", "#4c956c", "#7b4fa3", "#b0892f", "#3b8ea5")
MARKERS = ("o", "s", "^", "D", "v", "P")
FLIP, BAND = "#c1121f", "#e9c46a"
SMALLEST = 1e-9
"""Differences below it are drawn at it: a logarithm has no place for 0."""
DPI = 130
SMALLER = {"axes.labelsize": 10, "axes.titlesize": 10, "xtick.labelsize": 9, "ytick.labelsize": 9, "legend.fontsize": 8}


@dataclass(frozen=True)
class Picture:
    """A picture to put into a page: where it belongs ("decisions", "tracks"), PNG as a data URI, alternative text, caption."""

    group: str
    uri: str
    alt: str
    caption: str


def pictures(report: Report) -> list[Picture]:
    """Return the pictures of a report; none where it has no numbers to show.

    Raises:
        MissingExtraError: matplotlib or mplhep is not installed.
    """
    settings = {**plot_style(), **SMALLER}
    todo: list[tuple[str, tuple[float, float], Callable[[Any], None], str, str]] = []
    if report.scores:
        todo.append(("decisions", (7.6, 3.4), partial(draw_differences, scores=report.scores), difference_words(report.scores),
                     "How far the logits of each file are from those of the float64 network. Dashed: what rounding may move an "
                     "edge near the cut."))
    for stage in sorted({scores.stage for scores in report.scores}):
        own = [scores for scores in report.scores if scores.stage == stage]
        todo.append(("decisions", (7.6, 3.7), partial(draw_flips, scores=own), flip_words(own),
                     f"Edges of the {stage}: how far the file is from the float64 network, against how far the edge is from the "
                     "cut. Yellow: where rounding may decide; a flip (red) outside of it is a fault. Axes are linear up to the "
                     "band and logarithmic beyond."))
    todo += [
        ("tracks", (7.6, 4.4), partial(draw_efficiency, efficiency=one), efficiency_words(one),
         f"Efficiency against {one.variable} with the float64 networks and with the files, 68 % intervals; differences below.")
        for one in report.efficiencies
    ]
    return [Picture(group, _png(settings, size, draw), alt, caption) for group, size, draw, alt, caption in todo]


def _label(scores: EdgeScores) -> str:
    return f"{scores.file}, {scores.engine}"


def _plain(text: str) -> str:
    """Return text that matplotlib draws as it stands: a dollar would start a formula, a leading "_" hides a legend's line."""
    return " " * text.startswith("_") + text.replace("$", r"\$")


def draw_differences(figure: Any, scores: Sequence[EdgeScores]) -> None:
    """Draw a histogram of |logit - logit of the float64 network| for each file and engine, one panel a stage."""
    stages = sorted({one.stage for one in scores})
    panels = figure.subplots(1, len(stages), squeeze=False)[0]
    for panel, stage in zip(panels, stages, strict=True):
        own = [one for one in scores if one.stage == stage]
        distances = {name: _pooled(own, name) for name in dict.fromkeys(_label(one) for one in own)}
        bands = [one.band for one in own]
        high = max(max(values.max(initial=SMALLEST) for values in distances.values()), *bands)
        bins = np.geomspace(SMALLEST, 3.0 * high, 60)
        for number, (name, values) in enumerate(distances.items()):
            panel.hist(values, bins, histtype="step", lw=1.4, color=COLOURS[number % len(COLOURS)], label=_plain(name))
        panel.axvline(float(np.median(bands)), color="0.35", ls="--", lw=1.1)
        panel.set(xscale="log", yscale="log", xlabel="|logit \u2212 float64 logit|", ylabel="edges of the sample", title=stage)
        panel.set_ylim(bottom=0.5)
        panel.legend(frameon=False, fontsize=7.5, loc="upper left", bbox_to_anchor=(0.0, -0.22))


def _pooled(scores: Sequence[EdgeScores], name: str) -> Any:
    parts = [np.abs(np.asarray(one.found) - np.asarray(one.exact)) for one in scores if _label(one) == name]
    return np.maximum(np.concatenate(parts), SMALLEST)


def draw_flips(figure: Any, scores: Sequence[EdgeScores]) -> None:
    """Draw each edge's distance to the cut against how far the file is from the float64 network; flips are red."""
    panel = figure.subplots()
    band = float(np.median([one.band for one in scores]))
    drawn: list[str] = []
    for one in scores:
        name, boundary = _label(one), logit_of_cut(one.cut)
        if name not in drawn:
            drawn.append(name)
        exact, found = np.asarray(one.exact) - boundary, np.asarray(one.found) - np.asarray(one.exact)
        number = drawn.index(name)
        panel.plot(exact, found, MARKERS[number % len(MARKERS)], ms=2.5, alpha=0.5, mew=0, color=COLOURS[number % len(COLOURS)])
        flipped = (exact > 0.0) != (exact + found > 0.0)
        panel.plot(exact[flipped], found[flipped], "X", ms=8, color=FLIP, mec="white", mew=0.6, zorder=5)
    panel.axvspan(-band, band, color=BAND, alpha=0.35, lw=0, zorder=0)
    panel.axvline(0.0, color="0.3", lw=0.9)
    limit = 1.5 * max(band, float(np.abs(panel.get_xlim()).max()))
    line = np.concatenate([-np.geomspace(limit, band / 100.0, 200), np.geomspace(band / 100.0, limit, 200)])
    reach = max(2.0 * band, float(np.abs(panel.get_ylim()).max()))
    panel.plot(line, -line, color=FLIP, lw=0.9, ls=":", zorder=1)
    panel.set_xscale("symlog", linthresh=band)
    panel.set_yscale("symlog", linthresh=band)
    panel.set_xticks(*_ticks(band, limit))
    panel.set_yticks(*_ticks(band, reach))
    panel.minorticks_off()
    panel.set(xlim=(-limit, limit), ylim=(-reach, reach))
    panel.set(xlabel="float64 logit \u2212 logit of the cut", ylabel="logit \u2212 float64 logit")
    handles = [_handle(MARKERS[i % len(MARKERS)], COLOURS[i % len(COLOURS)], name) for i, name in enumerate(drawn)]
    handles += [_handle("X", FLIP, f"flips: {sum(one.flips for one in scores)}")]
    panel.legend(handles=handles, frameon=False, fontsize=7.5, loc="upper left", bbox_to_anchor=(1.0, 1.0))


def _ticks(band: float, limit: float) -> tuple[list[float], list[str]]:
    """Return 0 and, on both sides, at most three powers of ten from the band to the limit (or one number there), with labels."""
    low, high = int(np.ceil(np.log10(band))), int(np.floor(np.log10(limit)))
    steps = [10.0**power for power in range(high, low - 1, -max(1, (high - low + 3) // 3))]
    if not steps:
        steps = [max(one for one in (10.0**high, 2.0 * 10.0**high, 5.0 * 10.0**high) if one <= limit)]
    ticks = [*(-step for step in steps), 0.0, *reversed(steps)]
    return ticks, [f"{tick:g}".replace("-", "\u2212", tick < 0.0) for tick in ticks]


def _handle(marker: str, colour: str, label: str) -> Any:
    from matplotlib.lines import Line2D

    return Line2D([], [], marker=marker, color=colour, ls="", ms=5, label=_plain(label))


def draw_efficiency(figure: Any, efficiency: Efficiency) -> None:
    """Draw efficiency with intervals, the first series as a line with a band, the others as points; differences below."""
    top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    edges = np.asarray(efficiency.edges, np.float64)
    places = np.arange(len(edges))  # equal widths: bins of pT grow from 0.1 to 30 GeV
    (first, base), *others = efficiency.series.items()
    value, low, high = (np.asarray(base[key], np.float64) for key in ("value", "low", "high"))
    has = np.isfinite(value)
    top.stairs(np.where(has, high, np.nan), places, baseline=np.where(has, low, np.nan), fill=True, color="0.85", lw=0)
    top.stairs(value, places, color="0.2", lw=1.4, label=_plain(first))
    for number, (name, series) in enumerate(others):
        one, lower, upper = (np.asarray(series[key], np.float64) for key in ("value", "low", "high"))
        centre = places[:-1] + 0.5 + 0.16 * (number - (len(others) - 1) / 2.0)
        style = {"fmt": MARKERS[number % len(MARKERS)], "color": COLOURS[number % len(COLOURS)], "ms": 4.5}
        errors = np.maximum(np.stack([one - lower, upper - one]), 0.0)
        top.errorbar(centre[has], one[has], yerr=errors[:, has], lw=1.0, capsize=2, label=_plain(name), **style)
        bottom.plot(centre[has], 100.0 * (one - value)[has], style["fmt"], color=style["color"], ms=4.5)
    smallest = float(np.nanmin(low)) if has.any() else 0.0
    top.set_ylim(max(0.0, np.floor(smallest * 10.0) / 10.0), 1.05)
    top.set_ylabel("efficiency")
    top.legend(frameon=False, ncols=4, loc="lower center", bbox_to_anchor=(0.5, 1.0), fontsize=9)
    bottom.axhline(0.0, color="0.2", lw=1.0)
    bottom.set_ylim(*(sign * max(0.5, 1.2 * float(np.abs(bottom.get_ylim()).max())) for sign in (-1.0, 1.0)))
    bottom.set_ylabel("difference [%]", fontsize=9)
    bottom.set_xlabel(f"{efficiency.variable} [{efficiency.unit}]" if efficiency.unit else efficiency.variable)
    bottom.set_xticks(places, [f"{edge:g}" for edge in edges])
    bottom.minorticks_off()


def difference_words(scores: Sequence[EdgeScores]) -> str:
    """Return the histogram in words: the largest difference of each file."""
    largest = [np.abs(np.asarray(one.found) - np.asarray(one.exact)).max() for one in scores]
    parts = [f"{_label(one)} on {one.event}: at most {most:.2g}" for one, most in zip(scores, largest, strict=True)]
    return f"Histograms of score differences. {'; '.join(parts)}."


def flip_words(scores: Sequence[EdgeScores]) -> str:
    """Return the flips in words: how many of how many edges, and how many outside of the band."""
    counts = [f"{one.flips} of {one.edges} edges flip, {one.flips_outside} outside the band" for one in scores]
    parts = [f"{_label(one)} on {one.event}: {words}" for one, words in zip(scores, counts, strict=True)]
    return f"Flips against distance to the cut. {'; '.join(parts)}."


def efficiency_words(efficiency: Efficiency) -> str:
    """Return the efficiency in words: the largest difference to the first series in any bin."""
    (first, base), *others = efficiency.series.items()
    value = np.asarray(base["value"], np.float64)
    worst = {name: np.nan_to_num(np.abs(np.asarray(series["value"], np.float64) - value)).max() for name, series in others}
    shown = "; ".join(f"{name} differs by at most {100.0 * most:.2g} % in any bin" for name, most in worst.items())
    return f"Efficiency against {efficiency.variable}: {first}; {shown or 'no other series'}."


def _png(settings: Any, size: tuple[float, float], draw: Callable[[Any], None]) -> str:
    """Return a figure as a data URI."""
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    data = io.BytesIO()
    with mpl.rc_context(settings):
        figure = Figure(figsize=size, layout="constrained")
        FigureCanvasAgg(figure)
        draw(figure)
        figure.savefig(data, format="png", dpi=DPI)
    return "data:image/png;base64," + base64.b64encode(data.getvalue()).decode("ascii")
