"""Edge features as acorn and ACTS compute them, for graph networks that read `edge_attr`."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from trkx.errors import SpecError, unknown_name
from trkx.runtime.events.event import Event
from trkx.runtime.features import node_features
from trkx.spec import PipelineSpec

Float = NDArray[np.float32]
Wide = NDArray[np.float64]
Int = NDArray[np.int64]

STEEPEST = 100.0
"""Slopes are clamped to this, as in training."""


def _wrapped(d: Wide) -> Wide:
    """Return differences of phi / pi in [-1, 1]."""
    return np.where(d > 1.0, d - 2.0, np.where(d < -1.0, d + 2.0, d))


def _phislope(start: Mapping[str, Wide], end: Mapping[str, Wide]) -> Wide:
    dr, dphi = end["r"] - start["r"], _wrapped(end["phi"] - start["phi"])
    with np.errstate(divide="ignore", invalid="ignore"):
        slope = np.where(dr == 0.0, 0.0, dphi / dr)
    return np.clip(slope, -STEEPEST, STEEPEST)


Formula = Callable[[Mapping[str, Wide], Mapping[str, Wide]], Wide]
FORMULAS: Mapping[str, tuple[tuple[str, ...], Formula]] = {
    "dr": (("r",), lambda start, end: end["r"] - start["r"]),
    "dphi": (("phi",), lambda start, end: _wrapped(end["phi"] - start["phi"])),
    "dz": (("z",), lambda start, end: end["z"] - start["z"]),
    "deta": (("eta",), lambda start, end: end["eta"] - start["eta"]),
    "phislope": (("r", "phi"), _phislope),
    "rphislope": (("r", "phi"), lambda start, end: 0.5 * (start["r"] + end["r"]) * _phislope(start, end)),
}
"""Name to the node features that it is made from, and how: of scaled values (r / scale, phi / pi, …) at start and end.

Sources: acorn `handle_edge_features`, ACTS `ModuleMapCuda`. Slopes of hits at the same r are 0.
"""


def edge_features(spec: PipelineSpec, x: Float, edge_index: Int) -> Float:
    """Return what a graph network reads of each edge, float32 [E, A], A = 0 for most.

    Args:
        spec: of the pipeline; `spec.edge_features` lists the columns.
        x: scaled node features, float32 [N, F].
        edge_index: int64 [2, E].

    Raises:
        SpecError: an edge feature that trkx does not know, or that needs a node feature which the pipeline has not.
    """
    column = {feature.name: place for place, feature in enumerate(spec.features)}
    found = np.empty((edge_index.shape[1], len(spec.edge_features)), np.float32)
    for place, name in enumerate(spec.edge_features):
        if name not in FORMULAS:
            raise SpecError(f"{spec.name}: " + unknown_name("edge feature", name, FORMULAS))
        reads, formula = FORMULAS[name]
        missing = [item for item in reads if item not in column]
        if missing:
            need = f"edge feature {name} is made from {', '.join(reads)}"
            raise SpecError(f"{spec.name}: {need}; features has no {', '.join(missing)}.")
        values = {item: x[:, column[item]].astype(np.float64) for item in reads}
        start, end = ({item: value[edge_index[row]] for item, value in values.items()} for row in (0, 1))
        found[:, place] = formula(start, end)
    return found


def attributes_of(spec: PipelineSpec, event: Event, edge_index: Int) -> Float | None:
    """Return `edge_attr` of the edges [2, E] of an event, None if the graph network reads none; errors as in `edge_features`."""
    return edge_features(spec, node_features(event, spec.features), edge_index) if spec.edge_features else None
