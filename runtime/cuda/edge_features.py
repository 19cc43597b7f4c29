"""Edge features on the device of the hits: the numbers of `trkx.runtime.edge_features`, formula by formula in float64."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch

from trkx.errors import SpecError
from trkx.runtime.edge_features import FORMULAS, STEEPEST, edge_problem
from trkx.spec import PipelineSpec

Values = Mapping[str, torch.Tensor]


def _wrapped(d: torch.Tensor) -> torch.Tensor:
    """Return differences of phi / pi in [-1, 1]."""
    return torch.where(d > 1.0, d - 2.0, torch.where(d < -1.0, d + 2.0, d))


def _phislope(start: Values, end: Values) -> torch.Tensor:
    dr, dphi = end["r"] - start["r"], _wrapped(end["phi"] - start["phi"])
    return torch.nan_to_num(dphi / dr, nan=0.0, posinf=STEEPEST, neginf=-STEEPEST).clamp(-STEEPEST, STEEPEST)


DEVICE_FORMULAS: Mapping[str, Callable[[Values, Values], torch.Tensor]] = {
    "dr": lambda start, end: end["r"] - start["r"],
    "dphi": lambda start, end: _wrapped(end["phi"] - start["phi"]),
    "dz": lambda start, end: end["z"] - start["z"],
    "deta": lambda start, end: end["eta"] - start["eta"],
    "phislope": _phislope,
    "rphislope": lambda start, end: 0.5 * (start["r"] + end["r"]) * _phislope(start, end),
}
"""Name to formula; what each reads stands in `trkx.runtime.edge_features.FORMULAS`."""


def edge_features_on_device(spec: PipelineSpec, x: torch.Tensor, edge_index: torch.Tensor) -> torch.Tensor:
    """Return what a graph network reads of each edge, float32 [E, A], A = 0 for most; same numbers and errors as on the host.

    x: scaled node features, float32 [N, F]. edge_index: int64 [2, E].
    """
    if problem := edge_problem(spec):
        raise SpecError(f"{spec.name}: {problem}.")
    column = {feature.name: place for place, feature in enumerate(spec.features)}
    held = {feature.name: feature.scale for feature in spec.features}
    own = getattr(spec.gnn, "features", None) or spec.features
    factor = {feature.name: held[feature.name] / feature.scale for feature in own}  # x has the scales of the first who reads it
    found = x.new_empty((edge_index.shape[1], len(spec.edge_features)))
    for place, name in enumerate(spec.edge_features):
        reads, _ = FORMULAS[name]
        values = {item: x[:, column[item]].to(torch.float64) * factor.get(item, 1.0) for item in reads}
        start, end = ({item: value[edge_index[row]] for item, value in values.items()} for row in (0, 1))
        found[:, place] = DEVICE_FORMULAS[name](start, end)
    return found
