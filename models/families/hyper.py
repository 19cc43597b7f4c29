"""Hyper-parameters as they come from files: typed, or refused with the name of the key."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from trkx.models.checkpoints.checkpoint import Checkpoint
from trkx.models.families.reading import Mismatch, Missing

CLASSES: Mapping[str, tuple[str, ...]] = {
    "embedding": ("LayerlessEmbedding", "NewLayerlessEmbedding", "MetricLearning", "DoubleMetricLearning"),
    "filter": ("VanillaFilter", "PyramidFilter", "Filter", "GNNFilter"),
    "gnn": (
        "ResAGNN", "CheckpointedResAGNN", "SliceCheckpointedResAGNN", "VanillaResAGNN", "VanillaCheckResAGNN",
        "DirectedCheckResAGNN", "CheckpointedPyramid", "InteractionGNN", "MultiInteractionGNN", "InteractionMultistepGNN",
        "CheckpointedInteractionMultistepGNN", "InteractionGNNWithPyG", "InteractionGNN2", "InteractionGNN2WithPyG",
        "RecurrentInteractionGNN", "RecurrentInteractionGNN2", "ChainedInteractionGNN2",
    ),
}
"""Classes of the table by stage: what names one of another stage is of another network, however its keys fit."""
T = TypeVar("T", int, float, str)
PREFIXES = ("hit_", "x_", "edge_", "node_")
"""What code bases put before the names of features; they are the same features."""
RENAMED = {"cell_val": "cell_value"}


def needed(checkpoint: Checkpoint, name: str, kind: type[T]) -> T:
    """Return a hyper-parameter; Missing says that it is not there."""
    found = optional(checkpoint, name, kind)
    if found is None:
        raise Missing(f"hyper-parameter '{name}' is needed")
    return found


def optional(checkpoint: Checkpoint, name: str, kind: type[T]) -> T | None:
    """Return a hyper-parameter, None if it is absent or null; Mismatch if it is of another type."""
    value = checkpoint.hyper_parameters.get(name)
    if value is None:
        return None
    wide = kind is float and isinstance(value, int)
    if isinstance(value, bool) or not (wide or isinstance(value, kind)):
        raise Mismatch(f"hyper-parameter '{name}' is {value!r}, expected {kind.__name__}")
    return kind(value)


def flag(checkpoint: Checkpoint, name: str) -> bool | None:
    """Return a hyper-parameter that is true or false, None if it is absent; Mismatch if it is something else."""
    value = checkpoint.hyper_parameters.get(name)
    if value is None or isinstance(value, bool):
        return value
    raise Mismatch(f"hyper-parameter '{name}' is {value!r}, expected true or false")


def listed(checkpoint: Checkpoint, name: str) -> list[Any] | None:
    """Return a hyper-parameter that is a list, None if it is absent; Mismatch if it is something else."""
    value = checkpoint.hyper_parameters.get(name)
    if value is None or isinstance(value, list):
        return value
    if isinstance(value, tuple):
        return list(value)
    raise Mismatch(f"hyper-parameter '{name}' is {value!r}, expected a list")


def plain_feature(name: str) -> str:
    """Return the name of a feature without the prefix of its code base: "r" for "hit_r" and "x_r"."""
    for prefix in PREFIXES:
        if name.startswith(prefix) and len(name) > len(prefix):
            return plain_feature(name[len(prefix):])
    return RENAMED.get(name, name)


def model_name(hyper_parameters: Mapping[str, Any]) -> str:
    """Return the class that hyper-parameters name ("name" in Tracking-ML, "model" in acorn), "" if none."""
    for key in ("model", "name"):
        value = hyper_parameters.get(key)
        if isinstance(value, str) and value:
            return value
    return ""


def names_class(checkpoint: Checkpoint, *classes: str) -> bool | None:
    """Return whether the file says that it is one of these classes, None if it says no class."""
    name = checkpoint.class_name or model_name(checkpoint.hyper_parameters)
    return name in classes if name else None


def check_stage(checkpoint: Checkpoint, stage: str) -> None:
    """Raise Mismatch if the file or its hyper-parameters name a class of another stage: they are those of another network."""
    name = checkpoint.class_name or model_name(checkpoint.hyper_parameters)
    other = [known for known, classes in CLASSES.items() if name in classes]
    if other and stage not in other:
        raise Mismatch(f"the file or its hyper-parameters name {name}, which is of stage {other[0]}: they are another network's")


def score_cut(checkpoint: Checkpoint, *names: str) -> tuple[float | None, tuple[str, ...]]:
    """Return the cut of the first of these hyper-parameters that is there, and a sentence if it is left aside."""
    for name in names:
        cut = optional(checkpoint, name, float)
        if cut is not None:
            return (cut, ()) if 0.0 < cut < 1.0 else (None, (f"{name} {cut:g} is no score between 0 and 1, and is left aside.",))
    return None, ()
