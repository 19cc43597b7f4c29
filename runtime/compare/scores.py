"""How far numbers are from what they should be, and what that does to decisions: counts that add up over chunks and events."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Int = NDArray[np.int64]
Real = NDArray[np.float64]

SHIFT = 14
"""Bits of a float32 that a bin drops: its edges are 2^-9 (0.2 %) apart."""
BINS = 1 << (32 - 1 - SHIFT)
QUANTILES = (0.5, 0.9, 0.99, 0.999)


def _no_counts() -> Int:
    return np.zeros(BINS, np.int64)


@dataclass(frozen=True, eq=False)
class Differences:
    """How large differences are, without holding them.

    largest: the largest, exactly; 0 if there are none. counts: how many there are in each bin, int64 [BINS]; bins are those of
    the highest bits of a float32, so that their width is 0.2 % of their place, wherever that is.
    """

    largest: float = 0.0
    counts: Int = field(default_factory=_no_counts)

    @classmethod
    def between(cls, first: NDArray[np.floating], second: NDArray[np.floating]) -> Differences:
        """Return the differences, whatever their sign, of numbers of one shape."""
        apart = np.abs(np.subtract(first, second, dtype=np.float64)).ravel()
        if not len(apart):
            return cls()
        bins = apart.astype(np.float32).view(np.uint32) >> np.uint32(SHIFT)
        return cls(float(apart.max()), np.bincount(bins, minlength=BINS).astype(np.int64, copy=False))

    def __add__(self, other: Differences) -> Differences:
        """Return all of both."""
        return Differences(max(self.largest, other.largest), self.counts + other.counts)

    def __len__(self) -> int:
        return int(self.counts.sum())

    def quantile(self, part: float) -> float:
        """Return what that part of the differences does not exceed, at most 0.2 % too large; 0 if there are none."""
        total = len(self)
        if not total:
            return 0.0
        place = int(np.searchsorted(np.cumsum(self.counts), max(np.ceil(part * total), 1)))
        return min(float(_upper_edges(np.array([place]))[0]), self.largest)

    def exceeding(self) -> tuple[Real, Real]:
        """Return sizes, float64 [n], rising, and which part of the differences is larger, float64 [n]: what a plot shows."""
        used = np.flatnonzero(self.counts)
        total = max(len(self), 1)
        return np.minimum(_upper_edges(used), self.largest), 1.0 - np.cumsum(self.counts[used]) / total

    def to_dict(self) -> dict[str, float]:
        """Return the largest and the quantiles, by name."""
        return {"largest": self.largest} | {f"{100 * part:g} %": self.quantile(part) for part in QUANTILES}


def _upper_edges(bins: Int) -> Real:
    """Return the largest float32 in each bin; 0 for the first, whose numbers are none that a network tells from 0."""
    last = ((bins.astype(np.uint32) + np.uint32(1)) << np.uint32(SHIFT)) - np.uint32(1)
    return np.where(bins == 0, 0.0, last.view(np.float32).astype(np.float64))


@dataclass(frozen=True)
class Decisions:
    """Yes or no, twice, for the same things: edges at a cut, pairs at a radius.

    decided: how many. gained: those that only the second takes. lost: those that only the first takes. outside: of gained and
    lost, those that the first decides clearly: farther from the cut than the band. farthest: the greatest distance from the cut,
    in the first, of one that the second decides otherwise; 0 if there is none.
    """

    decided: int = 0
    gained: int = 0
    lost: int = 0
    outside: int = 0
    farthest: float = 0.0

    @classmethod
    def between(cls, first: Real, second: Real, band: float) -> Decisions:
        """Compare distances from the cut [n], of which those above 0 are taken."""
        gained, lost = (first <= 0.0) & (second > 0.0), (first > 0.0) & (second <= 0.0)
        return cls.of(len(first), np.abs(first[gained]), np.abs(first[lost]), band)

    @classmethod
    def of(cls, decided: int, gained: Real, lost: Real, band: float) -> Decisions:
        """Return the counts of `decided` decisions; gained, lost: distances from the cut, above 0, of those that changed."""
        distances = np.concatenate([gained, lost])
        outside = int(np.count_nonzero(distances > band))
        return cls(decided, len(gained), len(lost), outside, float(distances.max(initial=0.0)))

    def __add__(self, other: Decisions) -> Decisions:
        """Return all of both."""
        return Decisions(
            self.decided + other.decided, self.gained + other.gained, self.lost + other.lost, self.outside + other.outside,
            max(self.farthest, other.farthest),
        )

    @property
    def flipped(self) -> int:
        """How many changed."""
        return self.gained + self.lost

    @property
    def inside(self) -> int:
        """How many of them were within the band."""
        return self.flipped - self.outside

    @property
    def outside_part(self) -> float:
        """Which part of the decisions changed outside of the band; 0 if nothing was decided."""
        return self.outside / self.decided if self.decided else 0.0

    def to_dict(self) -> Mapping[str, float]:
        """Return the counts by name."""
        return {"decided": self.decided, "gained": self.gained, "lost": self.lost, "flipped": self.flipped, "inside": self.inside,
                "outside": self.outside, "outside_part": self.outside_part, "farthest": self.farthest}
