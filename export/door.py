"""Checks of what lies around the networks: features and scales in the written bundle, and the weights, bit by bit."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load

from trkx.export.check import CheckRow
from trkx.runtime.events.event import Event
from trkx.runtime.features import node_features
from trkx.spec import FeatureSpec, PipelineSpec

Float64 = NDArray[np.float64]
MANIFEST, WEIGHTS = "bundle.json", "weights.safetensors"

# Written down a second time, on purpose: what the runtime's table says is what is being checked.
FORMULAS: Mapping[str, Callable[[Float64, Float64, Float64], Float64]] = {
    "r": lambda x, y, z: np.sqrt(x * x + y * y),
    "phi": lambda x, y, z: np.angle(x + 1j * y),
    "z": lambda x, y, z: z,
    "x": lambda x, y, z: x,
    "y": lambda x, y, z: y,
    "eta": lambda x, y, z: np.arctanh(z / np.sqrt(x * x + y * y + z * z)),
    "theta": lambda x, y, z: np.arccos(z / np.sqrt(x * x + y * y + z * z)),
    "cos_phi": lambda x, y, z: x / np.sqrt(x * x + y * y),
    "sin_phi": lambda x, y, z: y / np.sqrt(x * x + y * y),
    "distance": lambda x, y, z: np.sqrt(x * x + y * y + z * z),
}


def independent_feature(event: Event, feature: FeatureSpec) -> Float64:
    """Return one scaled feature, float64 [N], by formulas that share nothing with the runtime's."""
    if feature.name in FORMULAS:
        x, y, z = event.position.astype(np.float64).T
        return FORMULAS[feature.name](x, y, z) / feature.scale
    column = event.cells[feature.name] if feature.name in event.cells else getattr(event, feature.name)
    return np.asarray(column, np.float64) / feature.scale


def check_features(source: PipelineSpec, written: PipelineSpec, event: Event) -> list[CheckRow]:
    """Compare the features that the runtime makes with the written bundle's spec with those that the checkpoints expect.

    Raw positions go in at one end, scaled features come out at the other: a scale that is not applied, applied twice or
    exchanged between two features is seen here, and nowhere else.

    Args:
        source: the spec that the checkpoints were trained with.
        written: the spec as read back from the bundle.
        event: real or made up.
    """
    rows = []
    found = node_features(event, written.features)
    if found.shape != (len(event), len(source.features)):
        problem = f"{found.shape[1]} features, the checkpoints expect {len(source.features)}"
        return [CheckRow(MANIFEST, "features", "event", float("nan"), 0.0, False, problem)]
    for column, feature in enumerate(source.features):
        expected = independent_feature(event, feature)
        tolerance = 4.0 * float(np.finfo(np.float32).eps) * max(float(np.abs(expected).max(initial=0.0)), 1e-30)
        difference = float(np.abs(found[:, column].astype(np.float64) - expected).max(initial=0.0))
        problem = ""
        if not difference <= tolerance:
            problem = (
                f"feature {feature.name} differs by {difference:.3g} (tolerance {tolerance:.2g}) from value / {feature.scale:g}: "
                "the scale is not applied as in training"
            )
        rows.append(CheckRow(MANIFEST, f"feature {feature.name}", "event", difference, tolerance, not problem, problem))
    same = source == written
    problem = "" if same else "the written specification is not that of the checkpoints"
    rows.append(CheckRow(MANIFEST, "specification", "-", 0.0 if same else float("nan"), 0.0, same, problem))
    return rows


def check_weights(data: bytes, checkpoints: Mapping[str, Mapping[str, torch.Tensor]]) -> list[CheckRow]:
    """Compare the bundle's weights with those of the checkpoints, read again from their files, bit by bit.

    Args:
        data: content of weights.safetensors, keys "STAGE.KEY".
        checkpoints: stage to the tensors of its checkpoint.
    """
    try:
        held = load(data)
    except Exception as error:  # safetensors has an error class of its own
        return [CheckRow(WEIGHTS, "all", "-", float("nan"), 0.0, False, f"can't be read: {error}")]
    rows = []
    for stage, tensors in checkpoints.items():
        own = {key.removeprefix(f"{stage}."): value for key, value in held.items() if key.startswith(f"{stage}.")}
        bad = sorted(own.keys() ^ tensors.keys())
        differing = sorted(key for key in own.keys() & tensors.keys() if not _same_bits(own[key], tensors[key]))
        problem = f"keys differ from the checkpoint: {', '.join(bad[:5])}" if bad else ""
        if differing and not bad:
            problem = f"values differ from the checkpoint: {', '.join(differing[:5])}"
        rows.append(CheckRow(WEIGHTS, stage, "-", float("nan") if problem else 0.0, 0.0, not problem, problem))
    return rows


def _same_bits(a: torch.Tensor, b: torch.Tensor) -> bool:
    return a.dtype == b.dtype and a.shape == b.shape and a.numpy().tobytes() == b.numpy().tobytes()
