"""What acorn's and gnn4itk_cf's hyper-parameters say of a graph network, and whether there are enough of them to know it."""

from __future__ import annotations

from collections.abc import Mapping

from trkx.models.checkpoints.checkpoint import Checkpoint
from trkx.models.families.hyper import flag, listed, model_name, names_class, needed, optional, plain_feature, score_cut
from trkx.models.families.reading import Facts, Mismatch
from trkx.spec import Aggregation

AGGREGATIONS: Mapping[str, Aggregation] = {"sum": "sum", "add": "sum", "mean": "mean", "max": "max", "std": "std"}
"""Names of PyTorch Geometric's aggregations to ours."""
JOINED: Mapping[str, tuple[Aggregation, ...]] = {
    "sum": ("sum",), "mean": ("mean",), "max": ("max",),
    "sum_max": ("max", "sum"), "mean_max": ("max", "mean"), "mean_sum": ("mean", "sum"), "sum_mean_max": ("max", "mean", "sum"),
}
"""gnn4itk_cf's words for aggregations to the order of their columns."""
NEWER = ("track_running_stats", "bn_track_running_stats", "output_layer_norm", "output_batch_norm")
"""Hyper-parameters that only a make_mlp with output norms of their own knows; acorn writes the first into each checkpoint."""


def check_class(checkpoint: Checkpoint, *classes: str) -> bool:
    """Return whether the file names one of these classes; Mismatch if it names another, or is of another code base."""
    named = names_class(checkpoint, *classes)
    if named is False:
        name = checkpoint.class_name or model_name(checkpoint.hyper_parameters)
        raise Mismatch(f"the file says that it is {name}, not {' or '.join(classes)}")
    held = checkpoint.hyper_parameters
    other = [name for name in ("spatial_channels", "in_channels") if name in held]
    if other and "node_features" not in held:
        raise Mismatch(f"hyper-parameters have {other[0]} and no node_features: they are not acorn's")
    return bool(named)


def is_newer(checkpoint: Checkpoint) -> bool:
    """Return whether hyper-parameters show that acorn's make_mlp was used, not the earlier one of gnn4itk_cf."""
    held = checkpoint.hyper_parameters
    return any(name in held for name in NEWER) or any(str(name).startswith("hit_") for name in held.get("node_features") or ())


def absent_means_default(checkpoint: Checkpoint, name: str) -> None:
    """Raise Mismatch if a hyper-parameter is absent, and not from acorn's table, in which node_features always are."""
    if name not in checkpoint.hyper_parameters and "node_features" not in checkpoint.hyper_parameters:
        needed(checkpoint, name, str)


def text(checkpoint: Checkpoint, name: str) -> str:
    """Return a hyper-parameter that names something, "" if it is null or left at its default of none."""
    absent_means_default(checkpoint, name)
    return optional(checkpoint, name, str) or ""


def switch(checkpoint: Checkpoint, name: str, default: bool = False) -> bool:
    """Return a hyper-parameter that is true or false, or its default."""
    absent_means_default(checkpoint, name)
    value = flag(checkpoint, name)
    return default if value is None else value


def check_numbers(checkpoint: Checkpoint, found: Mapping[str, int]) -> None:
    """Raise Mismatch where a hyper-parameter is another number than the one that shapes and keys show."""
    for name, value in found.items():
        said = optional(checkpoint, name, int)
        if said is not None and said != value:
            raise Mismatch(f"hyper-parameter '{name}' is {said}, but the tensors have {value}: is it of another training?")


def check_switches(checkpoint: Checkpoint, found: Mapping[str, bool]) -> None:
    """Raise Mismatch where a hyper-parameter says the opposite of what shapes and keys show."""
    for name, value in found.items():
        said = flag(checkpoint, name)
        if said is not None and said != value:
            raise Mismatch(f"hyper-parameter '{name}' is {said}, but the tensors show the opposite: is it of another training?")


def aggregation_list(checkpoint: Checkpoint) -> tuple[Aggregation, ...]:
    """Return aggregations as acorn reads them: a list keeps its order, one word is a list of one, none is a sum."""
    value = checkpoint.hyper_parameters.get("aggregation")
    if isinstance(value, str):
        names = [value]
    else:
        absent_means_default(checkpoint, "aggregation")
        names = ["sum"] if value is None else [str(name) for name in listed(checkpoint, "aggregation") or ()]
    unknown = [name for name in names if name not in AGGREGATIONS]
    if unknown:
        raise Mismatch(f"hyper-parameter 'aggregation' has '{unknown[0]}', which is none of {', '.join(AGGREGATIONS)}")
    found = tuple(AGGREGATIONS[name] for name in names)
    if not found or len(set(found)) != len(found):
        raise Mismatch(f"hyper-parameter 'aggregation' is {value!r}: each of sum, mean, max, std at most once, at least one")
    return found


def early_aggregations(checkpoint: Checkpoint) -> tuple[Aggregation, ...]:
    """Return aggregations as gnn4itk_cf reads them: words joined by _ have an order of columns of their own."""
    value = checkpoint.hyper_parameters.get("aggregation")
    return JOINED[value] if isinstance(value, str) and value in JOINED else aggregation_list(checkpoint)


def plain_names(checkpoint: Checkpoint, name: str) -> tuple[str, ...] | None:
    """Return a list of features, without prefixes if they stay different; None if there is none."""
    found = listed(checkpoint, name)
    if not found:
        return None
    full = tuple(str(item) for item in found)
    plain = tuple(plain_feature(item) for item in full)
    return plain if len(set(plain)) == len(plain) else full


def facts_of(
    checkpoint: Checkpoint, inputs: int, cut: bool = True, undirected: bool | None = None
) -> tuple[Facts, tuple[str, ...]]:
    """Return what hyper-parameters say of the pipeline, and sentences on what of it is left aside.

    Args:
        checkpoint: opened.
        inputs: columns that the network reads.
        cut: whether the cut is one of the score that the network gives.
        undirected: whether the class runs edges in both directions; None if it does not read that hyper-parameter.

    Raises:
        Mismatch: the features are not as many as the columns.
    """
    features, scales = plain_names(checkpoint, "node_features"), listed(checkpoint, "node_scales")
    if features is not None and len(features) != inputs:
        raise Mismatch(f"hyper-parameter 'node_features' lists {len(features)}, but the network takes {inputs} columns")
    if scales is not None and (len(scales) != inputs or not all(isinstance(scale, int | float) for scale in scales)):
        raise Mismatch(f"hyper-parameter 'node_scales' must be {inputs} numbers, one for each column, found {scales}")
    found, assumed = score_cut(checkpoint, "edge_cut", "score_cut") if cut else (None, ())
    facts = Facts(
        features=features, scales=None if scales is None else tuple(float(scale) for scale in scales),
        cut=found, undirected=undirected,
    )
    return facts, assumed
