"""The sequence's picture: efficiency, fakes and duplicates, and resolutions of both chains."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from trkx.runtime.acts.report import NAMES, SCALES, SHOWN, run_words
from trkx.runtime.metrics.intervals import clopper_pearson
from trkx.runtime.metrics.plots import STYLE, plot_style, save_picture

PT_TICKS = (1.0, 2.0, 5.0, 10.0, 20.0, 50.0)
AXES = {"pt": "pT [GeV]", "eta": "η"}
RATES = {"fake_rate": ("fakes", "fake rate"), "duplicate_rate": ("duplicates", "duplicate rate")}
"""Counts of a chain, and the words on the axis, by rate."""


def plot_sequence(results: Mapping[str, Any], path: Path) -> Path:
    """Write efficiency against pT and eta, fake and duplicate rate and widths of residuals against eta, as PNG.

    Points of rates have 68.3 % Clopper-Pearson intervals; bins without particles or tracks, and residuals of bins with too few
    tracks to be fitted, are left out.

    Args:
        results: the record of a sequence, or what `run_sequence` returned.
        path: of the PNG.

    Raises:
        MissingExtraError: matplotlib or mplhep is not installed.
        TrkxError: the file can't be written.
    """
    settings = plot_style()
    import matplotlib as mpl

    with mpl.rc_context(settings):
        save_picture(draw_sequence(results), path, dpi=110)
    return path


def draw_sequence(results: Mapping[str, Any]) -> Any:
    """Return the matplotlib figure of `plot_sequence`: three rows of three panels."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    chains = [results["chains"][name] for name in SHOWN]
    figure = Figure(figsize=(13.0, 10.5), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(3, 3).ravel()
    for panel, axis in zip(panels[:2], AXES, strict=True):
        binned = [chain["binned"][axis]["efficiency"] for chain in chains]
        low, _ = _points(panel, binned, [chain["words"] for chain in chains], axis == "pt")
        panel.axhline(1.0, color="0.6", lw=0.8, ls=":", zorder=0)
        margin = 0.05 * (1.0 - low)
        panel.set(xlabel=AXES[axis], ylabel="efficiency", ylim=(low - margin, 1.0 + max(margin, 0.005)))
    for panel, (rate, (part, words)) in zip(panels[2:4], RATES.items(), strict=True):
        binned = [chain["binned"]["eta"][rate] for chain in chains]
        _, high = _points(panel, binned, [f"{chain[part]} of {chain['tracks']} tracks" for chain in chains], False)
        panel.set(xlabel=AXES["eta"], ylabel=words, ylim=(-0.03 * high, 1.3 * high))  # room for whole markers, and for the legend
        panel.legend(frameon=False, fontsize=9, loc="upper center", ncols=len(chains), handletextpad=0.2, columnspacing=1.0)
    for panel, name in zip(panels[4:], SCALES, strict=True):
        scale, unit = SCALES[name]
        _widths(panel, [chain["resolution"][name]["eta"] for chain in chains], scale)
        panel.set(xlabel=AXES["eta"], ylabel=f"residual of {NAMES[name]}: width [{unit}]")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, frameon=False, loc="outside upper center", ncols=len(chains))
    if "particles" in results:
        words = f"{results['particles']}\n{results['tracks']}\n{run_words(results)}"
        figure.supxlabel(words.replace("|eta|", "|η|"), fontsize=9)
    return figure


def _points(panel: Any, binned: Sequence[Mapping[str, Any]], labels: Sequence[str], logarithmic: bool) -> tuple[float, float]:
    """Draw a rate of each chain, side by side within a bin; return the lowest and the highest end of all intervals."""
    edges = np.asarray(binned[0]["edges"], float)
    scale = np.log(edges) if logarithmic else edges
    lowest, highest, shown = 1.0, 0.0, np.zeros(len(edges) - 1, bool)
    for number, (one, label) in enumerate(zip(binned, labels, strict=True)):
        count, total = (np.asarray(one[name], float) for name in ("count", "of"))
        has = total > 0
        low, high = clopper_pearson(count, total)
        value = count / np.maximum(total, 1.0)
        place = scale[:-1] + _shift(number, len(binned)) * np.diff(scale)
        errors = np.maximum(np.stack([value - low, high - value]), 0.0)
        colour, marker = STYLE[number]
        panel.errorbar(
            (np.exp(place) if logarithmic else place)[has], value[has], yerr=errors[:, has], fmt=marker, color=colour, ms=5,
            lw=1.2, capsize=2, label=label,
        )  # fmt: skip
        lowest, highest = min(lowest, *low[has], 1.0), max(highest, *high[has], 0.0)
        shown |= has
    if logarithmic:
        panel.set_xscale("log")
        panel.set_xticks(PT_TICKS, [f"{tick:g}" for tick in PT_TICKS])
        panel.minorticks_off()
    bins = np.flatnonzero(shown)
    if len(bins):
        panel.set_xlim(edges[bins[0]], edges[bins[-1] + 1])
        return lowest, highest
    _say(panel, "no tracks")
    return 0.0, 1.0


def _widths(panel: Any, binned: Sequence[Mapping[str, Any]], scale: float) -> None:
    highest = 0.0
    for number, one in enumerate(binned):
        edges = np.asarray(one["edges"], float)
        width, error = (np.array([np.nan if v is None else v for v in one[name]], float) * scale for name in ("width", "error"))
        colour, marker = STYLE[number]
        place = edges[:-1] + _shift(number, len(binned)) * np.diff(edges)
        sure = error < width  # else too few tracks; NaN is not sure
        panel.errorbar(place[sure], width[sure], yerr=error[sure], fmt=marker, color=colour, ms=5, lw=1.2, capsize=2)
        panel.set_xlim(edges[0], edges[-1])
        highest = max(highest, *(width + error)[sure], 0.0)
    if highest > 0.0:
        panel.set_ylim(0.0, 1.05 * highest)
    else:
        panel.set_yticks([])
        _say(panel, "too few tracks to fit")


def _shift(number: int, of: int) -> float:
    """Return where in a bin the points of one of several chains are, as a fraction of its width."""
    return 0.5 + 0.24 * (number - (of - 1) / 2)


def _say(panel: Any, words: str) -> None:
    panel.text(0.5, 0.5, words, transform=panel.transAxes, ha="center", va="center", color="0.4")
