"""Flips: edges on different sides of a cut for a file and the float64 network, and which of them rounding explains."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trkx.export.check import Expectation
from trkx.runtime.neighbours import radius_graph

Float64 = NDArray[np.float64]
Int = NDArray[np.int64]

ALWAYS = 3
"""Flips that are always allowed inside the band: with a handful of edges there, a share of them says nothing."""
SHARE = 0.1
"""Largest share of the edges inside the band that may flip. An error as large as the whole band, the same for all edges, would
flip half of them. Right files use at most 0.22 of a tolerance, and most outputs far less, so they flip a few percent at most;
more than a tenth is a shift of all outputs."""
BLIND = 0.02
"""A band that holds more than this share of all edges proves nothing about decisions: not checked."""
WIDEST = 0.05
"""Pairs are looked for up to this share of the radius beyond it, to count those inside the band."""


@dataclass(frozen=True)
class Flips:
    """Edges on different sides of a cut for a file and the float64 network.

    Attributes:
        edges: number of edges compared.
        band: number of edges that float32 rounding may put on either side.
        flipped: indices of the flips, int64.
        wild: indices of the flips that rounding does not explain, int64: the float64 network puts the edge beyond the band, or
            the file's value is farther from the float64 network's than rounding moves it.
    """

    edges: int
    band: int
    flipped: Int
    wild: Int

    @property
    def cap(self) -> int:
        """Number of flips that are allowed inside the band."""
        return ALWAYS + int(SHARE * self.band)

    @property
    def problem(self) -> str:
        """Say what is wrong with the flips; "" if rounding explains them all."""
        if len(self.wild):
            return f"{len(self.wild)} of {self.edges} edges change sides of the cut, and rounding does not explain it"
        if len(self.flipped) > self.cap:
            return (f"{len(self.flipped)} of the {self.band} edges within rounding of the cut change sides, where at most "
                    f"{self.cap} should: the outputs are shifted as a whole")
        return ""

    @property
    def blind(self) -> bool:
        """Whether so many edges lie inside the band that nothing is proved."""
        return self.edges > 0 and self.band > max(ALWAYS, BLIND * self.edges)


def flips(exact: Float64, tolerance: Float64, found: Float64, boundary: float) -> Flips:
    """Compare decisions: an edge is kept if its value is above the boundary.

    Args:
        exact: value of each edge by the float64 network, float64 [E].
        tolerance: by how much rounding may move it, float64 [E].
        found: value of each edge by the file, finite, float64 [E].
        boundary: in units of the values.
    """
    flipped = (exact > boundary) != (found > boundary)
    inside = np.abs(exact - boundary) <= tolerance
    explained = inside & (np.abs(found - exact) <= tolerance)
    return Flips(exact.size, int(inside.sum()), np.flatnonzero(flipped), np.flatnonzero(flipped & ~explained))


@dataclass(frozen=True)
class Compared:
    """Flips with the values they came from, float64 [E] each: by the float64 network, by the file, and what rounding moves."""

    flips: Flips
    exact: Float64
    found: Float64
    tolerance: Float64


def edge_flips(expectation: Expectation, output: NDArray[np.generic], boundary: float) -> Compared:
    """Compare the decisions of a classifier, logits [E, 1] or [E], at a boundary in logit."""
    exact, tolerance = expectation.output.reshape(-1), expectation.tolerance.reshape(-1)
    found = np.asarray(output, np.float64).reshape(-1)
    return Compared(flips(exact, tolerance, found, boundary), exact, found, tolerance)


def pair_flips(expectation: Expectation, output: NDArray[np.generic], radius: float) -> Compared:
    """Compare which pairs of hits lie within the radius for places [N, D]. Values are distances of pairs.

    The pairs are those near enough in either space, and those beyond the radius by less than rounding could bridge.

    Raises:
        InputError: so many pairs lie within the radius that no graph can be made.
    """
    exact, tolerance, found = expectation.output, expectation.tolerance, np.asarray(output, np.float64)
    reach = 2.0 * float(np.linalg.norm(tolerance, axis=1).max(initial=0.0))
    wide = min(radius + reach, (1.0 + WIDEST) * radius)
    pairs = [radius_graph(places.astype(np.float32), r, backend="kdtree").pairs for places, r in ((exact, wide), (found, radius))]
    low, high = np.unique(np.concatenate(pairs, axis=1), axis=1)
    lengths, lengths_found = (np.linalg.norm(places[low] - places[high], axis=1) for places in (exact, found))
    slack = np.linalg.norm(tolerance[low] + tolerance[high], axis=1)
    # A pair stays up to and with the radius, an edge only above its cut: hence the signs.
    result = flips(-lengths, slack, -lengths_found, float(np.nextafter(-radius, -np.inf)))
    return Compared(result, lengths, lengths_found, slack)
