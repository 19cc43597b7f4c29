"""The sequence's picture: efficiency, fakes and duplicates, and resolutions of both chains."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from trkx.runtime.acts.report import NAMES, SCALES, SHOWN
from trkx.runtime.metrics.intervals import clopper_pearson
from trkx.runtime.metrics.plots import STYLE, plot_style, save_picture

PT_TICKS = (1.0, 2.0, 5.0, 10.0, 20.0, 50.0)
AXES = {"pt": "pT [GeV]", "eta": "η"}
RATES = {"fake_rate": "fakes", "duplicate_rate": "duplicates"}


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
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    chains = [results["chains"][name] for name in SHOWN]
    with mpl.rc_context(settings):
        figure = Figure(figsize=(15.0, 7.2), layout="constrained")
        FigureCanvasAgg(figure)
        panels = figure.subplots(2, 4)
        for panel, axis in zip(panels[0, :2], AXES, strict=True):
            for number, chain in enumerate(chains):
                _points(panel, chain["binned"][axis]["efficiency"], number, len(chains), chain["words"], axis == "pt")
            panel.axhline(1.0, color="0.6", lw=0.8, ls=":", zorder=0)
            panel.set(xlabel=AXES[axis], ylabel="efficiency", ylim=(max(0.0, _lowest(chains, axis) - 0.05), 1.02))
        for number, chain in enumerate(chains):
            for half, (rate, words) in enumerate(RATES.items()):
                _points(
                    panels[1, 0],
                    chain["binned"]["eta"][rate],
                    2 * number + half,
                    2 * len(chains),
                    f"{SHOWN[number]}, {words}",
                    False,
                )
        panels[1, 0].set(xlabel=AXES["eta"], ylabel="share of tracks")
        panels[1, 0].set_ylim(bottom=0.0)
        panels[1, 0].legend(frameon=False, fontsize=8)
        for panel, name in zip((panels[0, 2], panels[0, 3], *panels[1, 1:]), SCALES, strict=True):
            scale, unit = SCALES[name]
            for number, chain in enumerate(chains):
                _widths(panel, chain["resolution"][name]["eta"], number, scale)
            panel.set(xlabel=AXES["eta"], ylabel=f"residual of {NAMES[name]}: width [{unit}]")
            panel.set_ylim(bottom=0.0)
        handles, labels = panels[0, 1].get_legend_handles_labels()
        figure.legend(handles, labels, frameon=False, loc="outside upper center", ncols=len(chains))
        if "particles" in results:
            events = results["settings"]["events"]
            pileup = results["settings"]["pileup"]
            words = f"{results['particles']}; {results['tracks']}\n{events} events, top pair and {pileup} pile-up collisions"
            figure.supxlabel(words, fontsize=9)
        save_picture(figure, path, dpi=110)
    return path


def _points(panel: Any, binned: Mapping[str, Any], number: int, of: int, label: str, logarithmic: bool) -> None:
    edges, count, total = (np.asarray(binned[name], float) for name in ("edges", "count", "of"))
    has = total > 0
    low, high = clopper_pearson(count, total)
    value = count / np.maximum(total, 1.0)
    scale = np.log(edges) if logarithmic else edges
    place = scale[:-1] + (0.5 + 0.16 * (number - (of - 1) / 2)) * np.diff(scale)  # side by side within the bin
    place = np.exp(place) if logarithmic else place
    errors = np.maximum(np.stack([value - low, high - value]), 0.0)
    colour, marker = STYLE[number % len(STYLE)]
    panel.errorbar(place[has], value[has], yerr=errors[:, has], fmt=marker, color=colour, ms=5, lw=1.2, capsize=2, label=label)
    if logarithmic:
        panel.set_xscale("log")
        panel.set_xticks(PT_TICKS, [f"{tick:g}" for tick in PT_TICKS])
        panel.minorticks_off()
    shown = np.flatnonzero(has)
    if len(shown):
        panel.set_xlim(edges[shown[0]], edges[shown[-1] + 1])


def _widths(panel: Any, binned: Mapping[str, Any], number: int, scale: float) -> None:
    edges = np.asarray(binned["edges"], float)
    width, error = (np.array([np.nan if v is None else v for v in binned[name]], float) for name in ("width", "error"))
    colour, marker = STYLE[number]
    place = edges[:-1] + (0.5 + 0.16 * (number - 0.5)) * np.diff(edges)
    sure = error < width  # else too few tracks; NaN is not sure
    panel.errorbar(place[sure], scale * width[sure], yerr=scale * error[sure], fmt=marker, color=colour, ms=5, lw=1.2, capsize=2)
    panel.set_xlim(edges[0], edges[-1])


def _lowest(chains: list[Any], axis: str) -> float:
    values = [
        count / of
        for chain in chains
        for count, of in zip(chain["binned"][axis]["efficiency"]["count"], chain["binned"][axis]["efficiency"]["of"], strict=True)
        if of >= 20
    ]
    return min(values, default=0.0)
