"""Samples of network input as others publish them: tables of scaled features. Which scales they have shows in their ranges."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from trkx.errors import InputError
from trkx.runtime.events.event import Event
from trkx.runtime.features import FROM_POSITION, range_problems
from trkx.spec import FeatureSpec

Float = NDArray[np.float32]

LARGEST = 2**30
"""Bytes of a table that is read."""
LARGEST_REACH = 15_000.0
"""mm; no tracker's hits lie farther from its centre."""
CONVENTIONS: Mapping[str, Mapping[str, float]] = {
    "r / 1000, phi / pi, z / 1000 (Tracking-ML, acorn)": {"r": 1000.0, "phi": math.pi, "z": 1000.0},
    "r / 3000, phi / pi, z / 400 (Exa.TrkX, LRT)": {"r": 3000.0, "phi": math.pi, "z": 400.0},
}
"""Scales that public models were trained with."""
LENGTH = 2.9
"""Half length over radius of the trackers that these models are for (TrackML, ODD, ITk: 3 m and 1 m)."""
FAR, NEAR = 2.5, 1.5
"""Factors from LENGTH: beyond FAR the scales contradict the detector, within NEAR others explain it."""


def read_sample(path: Path, features: Sequence[FeatureSpec]) -> Float:
    """Return a table of scaled features, float32 [N, F], from CSV or whitespace, with or without a line of names.

    Raises:
        InputError: not such a table, not as many columns as features, no rows, NaN.
    """
    names = ", ".join(feature.name for feature in features)
    what = f"expected a table of {len(features)} columns of numbers ({names}, scaled), one row a hit"
    try:
        if path.stat().st_size > LARGEST:
            raise InputError(f"{path}: {what}, found {path.stat().st_size} bytes; at most {LARGEST} are read.")
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: {what}, but it can't be read ({error}).") from None
    rows = [line.replace(",", " ").split() for line in lines if line.strip()]
    if rows and not _is_number(rows[0][0]):
        rows = rows[1:]
    if not rows:
        raise InputError(f"{path}: {what}, found none.")
    wrong = next((place for place, row in enumerate(rows) if len(row) != len(features) or not all(map(_is_number, row))), None)
    if wrong is not None:
        raise InputError(f"{path}: {what}, found {' '.join(rows[wrong])[:80]!r} as row {wrong + 1}.")
    x = np.asarray([[float(value) for value in row] for row in rows], np.float32)
    if not np.isfinite(x).all():
        raise InputError(f"{path}: {what}, found NaN or infinity.")
    return x


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def event_of(x: Float, features: Sequence[FeatureSpec], source: str) -> Event:
    """Return the hits that give these scaled features [N, F]: positions from r, phi and z, all others as cell features.

    Raises:
        InputError: r, phi and z are not among the features.
    """
    values = {feature.name: x[:, place].astype(np.float64) * feature.scale for place, feature in enumerate(features)}
    missing = [name for name in ("r", "phi", "z") if name not in values]
    if missing:
        raise InputError(f"{source}: positions can't be had from a sample without {', '.join(missing)}; give an event instead.")
    position = np.stack([values["r"] * np.cos(values["phi"]), values["r"] * np.sin(values["phi"]), values["z"]], axis=1)
    cells = {name: value.astype(np.float32) for name, value in values.items() if name not in FROM_POSITION}
    return Event(0, np.arange(1, len(x) + 1), position.astype(np.float32), cells=cells, source=source)


def with_ranges(features: Sequence[FeatureSpec], x: Float) -> tuple[FeatureSpec, ...]:
    """Return the features with the ranges of a sample [N, F] as those of their training."""
    low, high = x.min(axis=0), x.max(axis=0)
    return tuple(replace(f, low=float(low[place]), high=float(high[place])) for place, f in enumerate(features))


def scale_problem(x: Float, features: Sequence[FeatureSpec]) -> str:
    """Return what speaks against a sample [N, F] having the scales of these features, naming both; "" if nothing does.

    Compared with the ranges of the training where they are known; otherwise with the shape of a tracker, 3 m long on either side
    and 1 m in radius, under these scales and under those of other public models.
    """
    return _impossible(x, features) or _against_training(x, features) or _against_detector(x, features)


def _impossible(x: Float, features: Sequence[FeatureSpec]) -> str:
    """Return what no hit of any detector can have under these scales: azimuths beyond pi, radii below 0, sizes of a house."""
    for place, feature in enumerate(features):
        low, high = float(x[:, place].min()) * feature.scale, float(x[:, place].max()) * feature.scale
        reach = max(abs(low), abs(high))
        where = f"column {place + 1} holds {feature.name} / {feature.scale:g}, which then runs from {low:.4g} to {high:.4g}"
        if feature.name == "phi" and reach > 1.01 * math.pi:
            return f"{where} rad: columns are exchanged, or the azimuth is scaled otherwise"
        if feature.name == "r" and low < 0.0:
            return f"{where} mm: a radius is not below 0, so columns are exchanged"
        if feature.name in ("r", "z", "x", "y") and reach > LARGEST_REACH:
            return f"{where} mm, farther than {LARGEST_REACH:g}: columns are exchanged, or lengths are scaled otherwise"
    return ""


def _against_training(x: Float, features: Sequence[FeatureSpec]) -> str:
    problems = range_problems(x, features)
    if not problems:
        return ""
    words = []
    for place, feature in enumerate(features):
        if feature.name not in problems or feature.low is None or feature.high is None:
            continue
        trained, found = max(abs(feature.low), abs(feature.high)), float(np.abs(x[:, place]).max())
        if found > 0.0 and trained > 0.0:
            likely = _likely(feature.name, feature.scale * trained / found)
            words.append(f"{feature.name} / {likely} instead of {feature.name} / {feature.scale:g}")
    return "the sample looks scaled by " + ", ".join(words) + ": " + "; ".join(problems.values())


def _against_detector(x: Float, features: Sequence[FeatureSpec]) -> str:
    place = {feature.name: column for column, feature in enumerate(features)}
    scale = {feature.name: feature.scale for feature in features}
    if not {"r", "z"} <= place.keys() or len(x) < 2:
        return ""
    r, z = (float(np.abs(x[:, place[name]]).max()) for name in ("r", "z"))
    if r == 0.0 or z == 0.0 or _factor(z * scale["z"] / (r * scale["r"])) < FAR:
        return ""
    own = f"r / {scale['r']:g}, z / {scale['z']:g}"
    for title, other in CONVENTIONS.items():
        if _factor(z * other["z"] / (r * other["r"])) < NEAR:
            then, now = _reach(r * other["r"], z * other["z"]), _reach(r * scale["r"], z * scale["z"])
            return (f"the sample looks scaled by {title}: its hits then reach {then}. With the given scales ({own}) they would "
                    f"reach {now}, which is no tracker that trkx knows")
    return ""


def _reach(r: float, z: float) -> str:
    return f"r = {r:.0f} mm and |z| = {z:.0f} mm"


def _factor(ratio: float) -> float:
    return max(ratio / LENGTH, LENGTH / ratio)


def _likely(name: str, value: float) -> str:
    """Return a scale as a public model has it, if one is near, else to two digits: ranges of two samples agree no better."""
    known = [scales[name] for scales in CONVENTIONS.values() if name in scales]
    near = [scale for scale in known if max(scale / value, value / scale) < NEAR]
    return f"{min(near, key=lambda scale: abs(scale - value)):g}" if near else f"{float(f'{value:.2g}'):g}"
