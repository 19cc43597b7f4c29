"""What first layers see of hits, in numpy: a network's own columns and scales, and features that follow from positions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trkx.errors import InputError
from trkx.runtime.tiled.gemm import padded
from trkx.runtime.tiled.pairs import PAIR_FEATURES
from trkx.runtime.tiled.program import aligned
from trkx.spec import FeatureSpec

Float = NDArray[np.float32]
METRE = 1000.0  # mm


@dataclass(frozen=True)
class Positions:
    """Columns of x that hold r, phi and z, and the factors that make them m, radians and m."""

    columns: tuple[int, int, int]
    scales: tuple[float, float, float]


def positions(features: Sequence[FeatureSpec]) -> Positions:
    """Return where geometry finds r, phi and z; the specification has them (PipelineSpec sees to it)."""
    place = {feature.name: (column, feature.scale) for column, feature in enumerate(features)}
    columns = (place["r"][0], place["phi"][0], place["z"][0])
    return Positions(columns, (place["r"][1] / METRE, place["phi"][1], place["z"][1] / METRE))


@dataclass(frozen=True)
class Inputs:
    """How a network reads x. own: (column, factor) of each of its columns, or None if `geometry` makes them from positions."""

    own: tuple[tuple[int, float], ...] | None
    geometry: Positions | None
    others: tuple[int, ...]
    width: int
    pair_width: int
    given: int

    def of(self, x: Float) -> Float:
        """Return the node values, float32 [N, width], of x, float32 [N, F], in an array with room for a tile's tail.

        InputError if x has other columns than the pipeline has features.
        """
        if x.ndim != 2 or x.shape[1] != self.given:
            raise InputError(f"x must be float32 [N, {self.given}], found {list(x.shape)}.")
        values = aligned(len(x), self.width)
        if self.geometry is None:
            for place, (column, factor) in enumerate(self.own or ()):
                values[:, place] = x[:, column] if factor == 1.0 else x[:, column] * np.float32(factor)
            return values
        r, phi, z = (x[:, c] * np.float32(s) for c, s in zip(self.geometry.columns, self.geometry.scales, strict=True))
        values[:, 0], values[:, 1], values[:, 2], values[:, 3] = r, np.cos(phi), np.sin(phi), z
        values[:, 4] = np.arcsinh(z / np.maximum(r, np.float32(1e-6))) * np.float32(0.25)
        for place, column in enumerate(self.others):
            values[:, 5 + place] = x[:, column]
        return values

    def columns(self, x: Float) -> dict[str, Float]:
        """Return r, phi and z as they stand in x, contiguous, for the features of pairs; empty without geometry."""
        if self.geometry is None:
            return {}
        names = ("r", "phi", "z")
        return {name: np.ascontiguousarray(x[:, c], np.float32) for name, c in zip(names, self.geometry.columns, strict=True)}


def geometric(features: Sequence[FeatureSpec], geometry: bool) -> Inputs:
    """Return the inputs of a network of this project."""
    if not geometry:
        return chosen(features, None)
    others = tuple(column for column, feature in enumerate(features) if feature.name not in ("r", "phi", "z"))
    return Inputs(None, positions(features), others, 5 + len(others), PAIR_FEATURES, len(features))


def chosen(features: Sequence[FeatureSpec], own: Sequence[FeatureSpec] | None) -> Inputs:
    """Return the inputs of another code base's network: its own columns, in its own scales."""
    place = {feature.name: (column, feature.scale) for column, feature in enumerate(features)}
    columns = tuple((place[f.name][0], place[f.name][1] / f.scale) for f in (features if own is None else own))
    return Inputs(columns, None, (), len(columns), 0, len(features))


def pair_column(tile: int, lanes: int) -> int:
    """Return the length of a column of pair features of one tile, with room for a product's whole blocks of rows."""
    return padded(tile, lanes) + 2 * lanes
