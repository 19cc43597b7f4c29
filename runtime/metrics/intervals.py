"""Confidence intervals of an efficiency."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from trkx.errors import InputError

LEVEL = 0.683
"""Confidence level of every interval in a report."""


def clopper_pearson(found: ArrayLike, total: ArrayLike, level: float = LEVEL) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the Clopper-Pearson interval of found / total, float64 arrays (low, high) in [0, 1].

    The interval covers the true efficiency with at least the given probability, whatever it is; (0, 1) where total is 0.
    Source: Clopper and Pearson, Biometrika 26 (1934) 404; quantiles of the beta distribution.

    Args:
        found: successes, integers in [0, total].
        total: trials, integers of the same shape.
        level: coverage; both tails get half of the rest.

    Raises:
        InputError: found outside [0, total], or a level outside (0, 1).
    """
    from scipy.special import betaincinv

    k, n = np.asarray(found, dtype=np.float64), np.asarray(total, dtype=np.float64)
    if not 0.0 < level < 1.0:
        raise InputError(f"level of an interval must lie in (0, 1), found {level}.")
    if ((k < 0) | (k > n)).any():
        raise InputError("found must lie between 0 and total; check which particles were counted.")
    tail = (1.0 - level) / 2.0
    low = np.where(k > 0, betaincinv(np.maximum(k, 1.0), n - k + 1.0, tail), 0.0)
    high = np.where(k < n, betaincinv(k + 1.0, np.maximum(n - k, 1.0), 1.0 - tail), 1.0)
    return low, high
