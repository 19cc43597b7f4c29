"""What ACTS's performance writers measured, as plain numbers: rates in bins, and widths of residuals and pulls."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

PARAMETERS = {"d0": "mm", "z0": "mm", "phi": "rad", "theta": "rad", "qop": "1/GeV"}
"""Track parameters at the beam line, by ACTS's name, and their units."""
SLICE = re.compile(r"(res|pull)_(\w+)_vs_(\w+)_slice_[\d_]+")
"""Names of the histograms that ACTS's writer has fitted: quantity, parameter, axes."""

Fit = Callable[[Any, tuple[float, float] | None], tuple[float, float, float, float] | None]

RATES = {"efficiency": "trackeff", "fake_rate": "fakeRatio", "duplicate_rate": "duplicationRatio"}
AXES = {"eta": "eta", "pt": "pT"}
"""Names in the results, and in ACTS's histograms."""


def counts(stats: dict[str, Any], anywhere: dict[str, Any]) -> dict[str, Any]:
    """Return particles and tracks of a writer's `stats()`, and of another's that counts particles produced anywhere."""
    return {
        "particles": int(stats["nTotalParticles"]),
        "found": int(stats["nTotalMatchedParticles"]),
        "particles_anywhere": int(anywhere["nTotalParticles"]),
        "found_anywhere": int(anywhere["nTotalMatchedParticles"]),
        "tracks": int(stats["nTotalTracks"]),
        "fakes": int(stats["nTotalFakeTracks"]),
        "duplicates": int(stats["nTotalDuplicateTracks"]),
        "completeness": _finite(stats["meanCompleteness"]),
        "purity": _finite(stats["meanPurity"]),
    }


def binned_rates(histograms: dict[str, Any]) -> dict[str, Any]:
    """Return efficiency, fake and duplicate rate by axis: edges of the bins, counts and totals."""
    return {axis: {rate: _ratio(histograms[f"{name}_vs_{key}"]) for rate, name in RATES.items()} for axis, key in AXES.items()}


def gaussian_fit() -> Fit:
    """Return ACTS's own Gaussian fit with scipy, quiet about bins with too few entries: it returns None for them."""
    from acts.examples.scipy import makeScipyHistogramFitFunction

    fit: Fit = makeScipyHistogramFitFunction()

    def quiet_fit(histogram: Any, window: tuple[float, float] | None) -> tuple[float, float, float, float] | None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return fit(histogram, window)

    return quiet_fit


def wanted_fits() -> Fit:
    """Return a fit that leaves out what no result reads: pulls in bins, maps, other parameters; nine tenths of all fits."""
    fit = gaussian_fit()

    def wanted(histogram: Any, window: tuple[float, float] | None) -> tuple[float, float, float, float] | None:
        found = SLICE.fullmatch(histogram.name)
        if found and not (found[1] == "res" and found[2] in PARAMETERS and found[3] in ("eta", "pT")):
            return None
        return fit(histogram, window)

    return wanted


def resolution_of(histograms: dict[str, Any], name: str) -> dict[str, Any]:
    """Return widths of residual and pull of one parameter: over all tracks, and of the residual in bins."""
    whole: dict[str, Any] = {"unit": PARAMETERS[name]}
    for kind in ("res", "pull"):
        histogram = histograms[f"{kind}_{name}"]
        mean, width, mean_error, width_error = core(histogram)
        whole |= {
            f"{kind}_mean": mean, f"{kind}_mean_error": mean_error, f"{kind}_width": width, f"{kind}_width_error": width_error,
            f"{kind}_entries": int(np.sum(histogram.histogram.values())),
        }  # fmt: skip
    for axis, key in AXES.items():
        profile = histograms[f"reswidth_{name}_vs_{key}"].histogram
        whole[axis] = {"edges": _edges(profile), "width": _filled(profile.values()), "error": _filled(profile.errors())}
    return whole


def core(histogram: Any, passes: int = 3, sigmas: float = 3.0) -> tuple[float | None, float | None, float | None, float | None]:
    """Return mean, width and their errors of a Gaussian fitted to the core of a distribution, as ACTS's writers do in bins.

    The fit is repeated within `sigmas` widths of the last mean. None four times where there is nothing to fit.
    """
    fit, window, found = gaussian_fit(), None, None
    for _ in range(passes):
        again = fit(histogram, window)
        if again is None:
            break
        found = again
        window = (found[0] - sigmas * found[1], found[0] + sigmas * found[1])
    return found if found is not None else (None, None, None, None)


def _ratio(efficiency: Any) -> dict[str, Any]:
    passed, total = efficiency.accepted.values(), efficiency.total.values()
    return {"edges": _edges(efficiency.total), "count": passed.astype(int).tolist(), "of": total.astype(int).tolist()}


def _edges(histogram: Any) -> list[float]:
    return [round(float(edge), 6) for edge in histogram.axis(0).edges]


def _filled(values: Any) -> list[float | None]:
    """Return values with None where a bin had too few entries to be fitted: the writers leave 0 there."""
    return [float(value) if np.isfinite(value) and value != 0.0 else None for value in values]


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
