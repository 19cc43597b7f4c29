"""Network input from an event: known features, scaled, and a warning where they contradict what the bundle was trained on."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from trkx.errors import InputError, TrkxWarning, unknown_name
from trkx.runtime.events.event import Event
from trkx.spec import FeatureSpec

Wide = NDArray[np.float64]

FAR_FRACTION = 0.05
"""Share of hits outside the trained range, widened by MARGIN of its width at both ends, that is worth a warning."""
MARGIN = 0.1
SMALL_FRACTION = 0.7
"""Share of the largest trained value that the largest values of an event must reach; otherwise there is a warning."""
SMALL_HITS = 200
"""Fewer hits than that need not reach far."""
SCALE_FREE = ("phi", "cos_phi", "sin_phi", "theta", "eta")
"""Features that stay the same when positions are given in another unit."""
SMALLEST_R = 1e-3  # mm, keeps eta finite on the beam axis


def _r(p: Wide) -> Wide:
    return np.hypot(p[:, 0], p[:, 1])


def _eta(p: Wide) -> Wide:
    return np.arcsinh(p[:, 2] / np.maximum(_r(p), SMALLEST_R))


def _phi(p: Wide) -> Wide:
    return np.arctan2(p[:, 1], p[:, 0])


FROM_POSITION: dict[str, Callable[[Wide], Wide]] = {
    "x": lambda p: p[:, 0],
    "y": lambda p: p[:, 1],
    "z": lambda p: p[:, 2],
    "r": _r,
    "phi": _phi,
    "cos_phi": lambda p: np.cos(_phi(p)),
    "sin_phi": lambda p: np.sin(_phi(p)),
    "theta": lambda p: np.arctan2(_r(p), p[:, 2]),
    "eta": _eta,
    "distance": lambda p: np.hypot(_r(p), p[:, 2]),
}
"""Features that every event has, of position float64 [N, 3] in mm; eta takes r as at least 1 micrometre."""

IDENTIFIERS = ("volume", "layer", "module")


def _where(event: Event) -> str:
    return f"event {event.event_id}" + (f" ({event.source})" if event.source else "")


def _raw(event: Event, name: str, position: Wide) -> Wide:
    if name in FROM_POSITION:
        return FROM_POSITION[name](position)
    if name in event.cells:
        return event.cells[name].astype(np.float64)
    column = getattr(event, name) if name in IDENTIFIERS else None
    if column is not None:
        return np.asarray(column, np.float64)
    has = [*FROM_POSITION, *event.cells, *(n for n in IDENTIFIERS if getattr(event, n) is not None)]
    raise InputError(
        f"{_where(event)}: the bundle needs the feature '{name}', which this event does not have; "
        f"{unknown_name('feature', name, has)} Read the event from files with that column (TrackML: the cells file), "
        "or use a bundle that needs positions only."
    )


def node_features(event: Event, features: Sequence[FeatureSpec]) -> NDArray[np.float32]:
    """Return the network input, float32 [N, F]: each feature computed in float64, divided by its scale, then rounded.

    Raises:
        InputError: a feature that the event lacks; the message lists those it has.
    """
    position = event.position.astype(np.float64)
    x = np.empty((len(event), len(features)), np.float32)
    for column, feature in enumerate(features):
        x[:, column] = _raw(event, feature.name, position) / feature.scale
    return x


def range_problems(x: NDArray[np.float32], features: Sequence[FeatureSpec]) -> dict[str, str]:
    """Return the features of x [N, F] whose values contradict the range seen in training: name to one sentence.

    Contradicting: more than 5 % of the hits lie outside [low, high] widened by a tenth at both ends, or the largest values (the
    99.9 % quantile of at least 200 hits) stay below 0.7 of the largest trained value. Either way the unit, the scale or the
    detector is probably another one.
    """
    found = {}
    for column, feature in enumerate(features):
        if feature.low is None or feature.high is None or not len(x) or feature.high == feature.low:
            continue
        values = x[:, column].astype(np.float64)
        margin = MARGIN * (feature.high - feature.low)
        far = float(np.mean((values < feature.low - margin) | (values > feature.high + margin)))
        size = float(np.quantile(np.abs(values), 0.999))
        small = size < SMALL_FRACTION * max(abs(feature.low), abs(feature.high))
        small = small and len(x) >= SMALL_HITS and feature.name not in SCALE_FREE
        if far <= FAR_FRACTION and not small:
            continue
        found[feature.name] = (
            f"feature '{feature.name}' (value / {feature.scale:g}) runs from {values.min():.4g} to {values.max():.4g} in the "
            f"event, but the bundle was trained on {feature.low:.4g} to {feature.high:.4g}"
        )
    return found


def warn_if_out_of_range(event: Event, x: NDArray[np.float32], features: Sequence[FeatureSpec]) -> bool:
    """Warn (TrkxWarning) where the input x [N, F] contradicts the trained ranges; return whether it does."""
    problems = range_problems(x, features)
    if problems:
        warnings.warn(
            f"{_where(event)}: {'; '.join(problems.values())}. Are the units mm and radians, and is this the detector "
            "that the bundle was trained for, whole? If not, tracks will be wrong.",
            TrkxWarning,
            stacklevel=3,
        )
    return bool(problems)
