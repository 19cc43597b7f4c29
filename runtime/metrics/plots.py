"""Efficiency against a property of the particle, as a picture."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from trkx.errors import MissingExtraError
from trkx.runtime.events.output import write_files
from trkx.runtime.metrics.binning import AXES
from trkx.runtime.metrics.intervals import clopper_pearson
from trkx.runtime.metrics.report import Report

SHOWN = {"double_majority": "double majority", "lhc": "LHC 75 %", "perfect": "perfect"}
STYLE = (("#1f4e9e", "o"), ("#d1662a", "s"), ("#4c956c", "^"), ("#7b4fa3", "D"))


def plot_style() -> Any:
    """Return the matplotlib settings of every picture: mplhep's ATLAS axes and ticks, at a size for a page.

    Raises:
        MissingExtraError: matplotlib or mplhep is not installed.
    """
    try:
        import matplotlib as mpl
        import mplhep
    except ImportError as error:
        raise MissingExtraError(f'pictures need matplotlib and mplhep ({error}): pip install "trkx[plot]".') from error
    groups = ("xtick", "ytick", "axes")
    known = {key: value for key, value in mplhep.style.ATLAS.items() if key.startswith(groups) and key in mpl.rcParams}
    sizes = {"font.size": 11, "axes.labelsize": 12, "xtick.labelsize": 10, "ytick.labelsize": 10, "legend.fontsize": 10}
    return {**known, **sizes, "font.family": ["DejaVu Sans"], "axes.grid": False, "figure.facecolor": "white"}


def plot_efficiency(report: Report, axis: str, path: Path, rules: Sequence[str] = tuple(SHOWN)) -> Path:
    """Write efficiency against one axis of `AXES` as PNG, with 68.3 % Clopper-Pearson intervals and the particles in each bin.

    Raises:
        MissingExtraError: matplotlib or mplhep is not installed.
        InputError: no particle passes the cuts.
        TrkxError: the file can't be written.
    """
    settings = plot_style()
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    report.require_particles()
    counts, kind = report.binned[axis], AXES[axis]
    total = np.asarray(counts.total)
    filled = np.flatnonzero(total)
    shown = slice(int(filled[0]), int(filled[-1]) + 1)
    edges = np.asarray(kind.edges)[shown.start : shown.stop + 1].copy()
    if kind.logarithmic and edges[0] <= 0:
        edges[0] = edges[1] / 2
    total = total[shown]
    width = np.diff(np.log(edges) if kind.logarithmic else edges)
    with mpl.rc_context(settings):
        figure = Figure(figsize=(7.2, 5.6), layout="constrained")
        FigureCanvasAgg(figure)
        top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
        for number, rule in enumerate(rules):
            found = np.asarray(counts.found[rule])[shown]
            low, high = clopper_pearson(found, total)
            value = found / np.maximum(total, 1)
            # Points of different rules sit side by side within their bin.
            shift = (0.5 + 0.14 * (number - (len(rules) - 1) / 2)) * width
            centre = np.exp(np.log(edges[:-1]) + shift) if kind.logarithmic else edges[:-1] + shift
            has = total > 0
            colour, marker = STYLE[number % len(STYLE)]
            top.errorbar(
                centre[has],
                value[has],
                yerr=np.maximum(np.stack([value - low, high - value]), 0.0)[:, has],
                fmt=marker,
                color=colour,
                ms=5,
                lw=1.2,
                capsize=2,
                label=f"{SHOWN.get(rule, rule)}: {100 * found.sum() / total.sum():.2f} %",
            )
        smallest = min(min(np.asarray(counts.found[rule])[shown][total > 0] / total[total > 0]) for rule in rules)
        top.set_ylim(max(0.0, np.floor(smallest * 10 - 1) / 10), 1.05)
        top.axhline(1.0, color="0.6", lw=0.8, ls=":", zorder=0)
        top.set_ylabel("track-finding efficiency")
        top.legend(frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=len(rules), handletextpad=0.3)
        events = f"{len(report.events)} event{'' if len(report.events) == 1 else 's'}"
        figure.suptitle(f"{report.selection.describe()}\n{int(total.sum())} particles in {events}", fontsize=9.5)
        bottom.stairs(total, edges, fill=True, color="0.75")
        if total.max() > 30 * total[total > 0].min():
            bottom.set_yscale("log")
            bottom.set_ylim(0.5, 3.0 * total.max())
        else:
            bottom.set_ylim(0.0, 1.2 * total.max())
        bottom.set_ylabel("particles")
        bottom.set_xlabel({"eta": "η", "pt": "pT [GeV]"}.get(axis, kind.title))
        bottom.set_xlim(edges[0], edges[-1])
        if kind.logarithmic:
            bottom.set_xscale("log")
            bottom.set_xticks(edges, [f"{edge:g}" for edge in edges])
            bottom.minorticks_off()
        save_picture(figure, path, dpi=150)
    return path


def save_picture(figure: Any, path: Path, dpi: int) -> None:
    """Write a matplotlib figure as PNG, whole or not at all; TrkxError if it can't be written."""
    data = io.BytesIO()
    figure.savefig(data, format="png", dpi=dpi)
    write_files({path: data.getvalue()})
