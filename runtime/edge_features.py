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
        slope = np.nan_to_num(dphi / dr, nan=0.0, posinf=STEEPEST, neginf=-STEEPEST)
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
"""Name to the node features that it is made from, and how: of values with the GNN's own scales (phi / pi) at start and end.

Source: acorn `handle_edge_features`: slopes of hits at the same r are the steepest there are, and 0 at the same phi as well.
"""


def edge_problem(spec: PipelineSpec) -> str:
    """Return why a pipeline's edge features can't be made from its node features, "" if they can (or if it has none)."""
    names = [feature.name for feature in spec.features]
    for name in spec.edge_features:
        if name not in FORMULAS:
            return unknown_name("edge feature", name, FORMULAS).rstrip(".")
        missing = [item for item in FORMULAS[name][0] if item not in names]
        if missing:
            return f"edge feature {name} is made from {', '.join(FORMULAS[name][0])}, and features has no {', '.join(missing)}"
    return ""


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
    held = {feature.name: feature.scale for feature in spec.features}
    own = getattr(spec.gnn, "features", None) or spec.features
    factor = {feature.name: held[feature.name] / feature.scale for feature in own}  # x has the scales of the first who reads it
    if problem := edge_problem(spec):
        raise SpecError(f"{spec.name}: {problem}.")
    found = np.empty((edge_index.shape[1], len(spec.edge_features)), np.float32)
    for place, name in enumerate(spec.edge_features):
        reads, formula = FORMULAS[name]
        values = {item: x[:, column[item]].astype(np.float64) * factor.get(item, 1.0) for item in reads}
        start, end = ({item: value[edge_index[row]] for item, value in values.items()} for row in (0, 1))
        found[:, place] = formula(start, end)
    return found


def attributes_of(spec: PipelineSpec, event: Event, edge_index: Int) -> Float | None:
    """Return `edge_attr` of the edges [2, E] of an event, None if the graph network reads none or it can't be made here."""
    if not spec.edge_features or edge_problem(spec):
        return None
    return edge_features(spec, node_features(event, spec.features), edge_index)
