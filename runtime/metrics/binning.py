"""Efficiency in bins of a particle's property: counts that add up over events, and their intervals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from trkx.errors import InputError
from trkx.runtime.metrics.intervals import clopper_pearson


@dataclass(frozen=True)
class Axis:
    """Bins of one property of a particle. Values beyond the edges fall into the outermost bins, so that no particle is lost."""

    name: str
    label: str
    unit: str
    edges: tuple[float, ...]
    logarithmic: bool = False

    @property
    def title(self) -> str:
        """Label with unit, for plots and tables."""
        return f"{self.label} [{self.unit}]" if self.unit else self.label

    def index(self, values: NDArray[np.float64]) -> NDArray[np.int64]:
        """Return the bin of each value, int64 of the same shape; a bin holds its lower edge and not its upper one."""
        return np.searchsorted(np.asarray(self.edges[1:-1]), values, side="right").astype(np.int64, copy=False)


RADIUS_EDGES = (0.0, 0.1, 1.0, 10.0, 30.0, 60.0, 100.0, 150.0, 250.0, 400.0, 1000.0)
PT_EDGES = (0.0, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9, 1.2, 1.6, 2.2, 3.0, 4.5, 7.0, 12.0, 20.0, 50.0)

AXES: Mapping[str, Axis] = MappingProxyType(
    {
        axis.name: axis
        for axis in (
            Axis("pt", "pT", "GeV", PT_EDGES, logarithmic=True),
            Axis("eta", "eta", "", tuple(float(x) for x in np.arange(-4.0, 4.01, 0.5))),
            Axis("vertex_r", "production radius", "mm", RADIUS_EDGES, logarithmic=True),
        )
    }
)
"""Properties against which efficiency is reported."""


@dataclass(frozen=True)
class Binned:
    """Selected particles in bins of one axis, and those found by each matching rule. total and each found[rule]: ints [B]."""

    axis: str
    total: tuple[int, ...]
    found: Mapping[str, tuple[int, ...]]

    def __add__(self, other: Binned) -> Binned:
        """Return both pooled; InputError if they don't have the same axis and rules."""
        if self.axis != other.axis or self.found.keys() != other.found.keys():
            raise InputError(f"binned counts of '{self.axis}' can't be added to those of '{other.axis}'.")
        found = {rule: _sum(counts, other.found[rule]) for rule, counts in self.found.items()}
        return Binned(self.axis, _sum(self.total, other.total), found)

    def to_dict(self) -> dict[str, object]:
        """Return edges, counts, efficiencies and their intervals, ready for JSON; efficiency is None in an empty bin."""
        axis = AXES[self.axis]
        rules: dict[str, object] = {}
        for rule, found in self.found.items():
            low, high = clopper_pearson(found, self.total)
            efficiency = [k / n if n else None for k, n in zip(found, self.total, strict=True)]
            rules[rule] = {"found": list(found), "efficiency": efficiency, "low": low.tolist(), "high": high.tolist()}
        shape = {"unit": axis.unit, "edges": list(axis.edges), "outermost_bins_open": True}
        return {**shape, "total": list(self.total), "rules": rules}


def _sum(first: tuple[int, ...], second: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(a + b for a, b in zip(first, second, strict=True))


def fill(axis: str, values: NDArray[np.float64], found: Mapping[str, NDArray[np.bool_]]) -> Binned:
    """Count particles in the bins of an axis.

    Args:
        axis: a name in `AXES`.
        values: the property of each selected particle, float64 [P].
        found: by rule, which of them are found, bool [P].
    """
    bins = AXES[axis].index(values)
    size = len(AXES[axis].edges) - 1

    def count(mask: NDArray[np.bool_]) -> tuple[int, ...]:
        return tuple(np.bincount(bins[mask], minlength=size).tolist())

    return Binned(axis, count(np.ones(len(values), dtype=bool)), {rule: count(mask) for rule, mask in found.items()})
