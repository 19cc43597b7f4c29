"""What every search refuses before it begins, on whatever device: one set of words for all."""

from __future__ import annotations

import math
from collections.abc import Sequence

from trkx.errors import InputError, SpecError

MAX_DIM = 32
MAX_SIZE = 1e15  # of coordinates and radius: squared distances in 32 dimensions stay finite in float32


def require_sense(shape: Sequence[int], radius: float, k_max: int | None, who: str) -> None:
    """Raise SpecError or InputError, whose message begins with `who`, for settings or a shape of points that make no sense."""
    if not (radius > 0.0 and math.isfinite(radius)):
        raise SpecError(f"{who}: radius must be a finite number above 0, found {radius}.")
    if k_max is not None and k_max < 1:
        raise SpecError(f"{who}: k_max must be at least 1, found {k_max}.")
    if len(shape) != 2 or not 1 <= shape[1] <= MAX_DIM:
        raise InputError(f"{who}: points must be [N, D] with D from 1 to {MAX_DIM}, found {list(shape)}.")


def not_finite(bad: int, count: int, first: int, who: str) -> InputError:
    """Return the error for `bad` points of `count` that are NaN or infinite, the first of them number `first`."""
    return InputError(
        f"{who}: {bad} of {count} points are NaN or infinite, the first is point {first}; look at the features of that hit and "
        "at the embedding's weights."
    )


def require_size(largest: float, radius: float, who: str) -> None:
    """Raise InputError where the largest coordinate, or the radius, is too large for squared distances in float32."""
    if max(largest, radius) > MAX_SIZE:
        raise InputError(
            f"{who}: coordinates and radius must be at most {MAX_SIZE:g}, beyond which squared distances overflow float32; found "
            f"{max(largest, radius):g}; look at the embedding's weights, or scale embedding and radius down."
        )
