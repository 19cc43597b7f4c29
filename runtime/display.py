"""One event as a picture: r-z and x-y, tracks coloured, hits in no track grey."""

from __future__ import annotations

import colorsys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trkx.runtime.events.event import Event
from trkx.runtime.metrics.plots import plot_style, save_picture
from trkx.runtime.metrics.report import HitTracks, tracks_of_hits

Int = NDArray[np.int64]
Real = NDArray[np.float64]

GREY = "#b4b4b4"


def event_display(event: Event, tracks: HitTracks, path: Path, max_lines: int = 150) -> Path:
    """Write an event display as PNG and return its path.

    Hits in no track are grey; hits of a track have the track's colour. Lines join the hits of the `max_lines` tracks with
    most hits (ties: the lower track id), in order of their distance from the origin; with more, a crowded event would be a blot.

    Args:
        event: the hits, N of them, in mm.
        tracks: the track of each hit.
        path: the PNG to write; its folder is made.
        max_lines: how many tracks get a line.

    Raises:
        MissingExtraError: matplotlib or mplhep is not installed.
        InputError: tracks of another event.
        TrkxError: the file can't be written.
    """
    settings = plot_style()
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    track_id = tracks_of_hits(event, tracks)
    position = event.position.astype(np.float64)
    x, y, z = position.T
    r = np.hypot(x, y)
    lines = lines_of_tracks(position, track_id, max_lines)
    on_track = track_id >= 0
    number = len(np.unique(track_id[on_track]))
    colours = np.asarray([track_colour(int(track)) for track in track_id[on_track]]).reshape(-1, 3)
    with mpl.rc_context(settings):
        figure = Figure(figsize=(15.0, 6.6), layout="constrained")
        FigureCanvasAgg(figure)
        left, right = figure.subplots(1, 2, width_ratios=(1.42, 1.0))
        for axes, first, second in ((left, z, r), (right, x, y)):
            _draw(axes, first, second, on_track, colours, lines)
        left.set_xlabel("z [mm]")
        left.set_ylabel("r [mm]")
        left.set_ylim(bottom=0.0)
        right.set_xlabel("x [mm]")
        right.set_ylabel("y [mm]")
        right.set_aspect("equal")
        missed = int((~on_track).sum())
        drawn = "" if len(lines) == number else f" (the {len(lines)} longest drawn as lines)"
        title = f"Event {event.event_id}   ·   {_count(len(event), 'hit')}   ·   {_count(number, 'track')}{drawn}"
        figure.suptitle(f"{title}   ·   {_count(missed, 'hit')} in no track", fontsize=13)
        marks: list[Any] = [
            Line2D([], [], marker="o", ls="-", lw=1.2, ms=4, color=track_colour(0), label="track"),
            Line2D([], [], marker="o", ls="", ms=4, color=GREY, label="hit in no track"),
        ]
        left.legend(handles=marks, loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=2, frameon=False)
        save_picture(figure, path, dpi=140)
    return path


def track_colour(track: int) -> tuple[float, float, float]:
    """Return the colour of a track, red, green and blue in [0, 1]: hues by the golden ratio, so that neighbours differ."""
    hue = (0.61 + track * 0.618033988749895) % 1.0
    red, green, blue = colorsys.hls_to_rgb(hue, (0.42, 0.52, 0.34)[track % 3], (0.70, 0.65, 0.60)[track % 3])
    return red, green, blue


def lines_of_tracks(position: Real, track_id: Int, max_lines: int) -> list[tuple[int, Int]]:
    """Return (track id, indices of its hits from the inside out) of the tracks with most hits, at least two, longest first.

    Args:
        position: float64 [N, 3], mm.
        track_id: int64 [N], negative for a hit in no track.
        max_lines: at most so many.
    """
    distance = np.sqrt((position**2).sum(axis=1))
    order = np.lexsort((distance, track_id))
    order = order[track_id[order] >= 0]
    ids, start, hits = np.unique(track_id[order], return_index=True, return_counts=True)
    longest = np.lexsort((ids, -hits))[:max_lines]
    return [(int(ids[i]), order[start[i] : start[i] + hits[i]]) for i in longest if hits[i] >= 2]


def _draw(
    axes: Any, first: Real, second: Real, on_track: NDArray[np.bool_], colours: Real, lines: list[tuple[int, Int]]
) -> None:
    from matplotlib.collections import LineCollection

    crowd = np.clip(4000.0 / max(len(first), 1), 0.02, 1.0)
    size = 0.4 + 7.0 * crowd
    rest = ~on_track
    style = {"linewidths": 0, "rasterized": True}
    axes.scatter(first[rest], second[rest], s=size, c=GREY, alpha=0.6 + 0.3 * crowd, zorder=1, **style)
    axes.scatter(first[on_track], second[on_track], s=1.6 * size, c=colours, zorder=3, **style)
    segments = [np.stack([first[hits], second[hits]], axis=1) for _, hits in lines]
    shades = [track_colour(track) for track, _ in lines]
    axes.add_collection(LineCollection(segments, colors=shades, linewidths=0.9, alpha=0.75, zorder=2), autolim=False)
    axes.margins(0.03)


def _count(number: int, noun: str) -> str:
    return f"{number:,}".replace(",", "\N{NARROW NO-BREAK SPACE}") + f" {noun}{'' if number == 1 else 's'}"
