"""What an export starts from: `pipeline.toml` with a checkpoint for each network, or checkpoints of other code bases."""

from __future__ import annotations

import json
import tomllib
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from trkx.errors import CheckpointError, SpecError, TrkxWarning, unknown_name
from trkx.export.assembling import Given, assembled
from trkx.models.checkpoint import fit
from trkx.models.checkpoints.opening import open_checkpoint
from trkx.models.families.building import weights_of
from trkx.models.families.reading import Reading
from trkx.models.networks import build_network
from trkx.runtime.events.event import Event
from trkx.runtime.scaled_sample import event_of, read_sample, scale_problem, with_ranges
from trkx.spec import STAGES, FeatureSpec, PipelineSpec, from_dict

PIPELINE = "pipeline.toml"
CARD = "MODEL_CARD.md"


@dataclass(frozen=True)
class Source:
    """A pipeline before its export.

    spec: everything but the weights. checkpoints: stage to file. card: the model card, or None. origin: what messages call it.
    readings: stage to what the checkpoint of another code base was recognised as. hparams: stage to the file with its
    hyper-parameters. notes: what was assumed, one sentence each.
    """

    spec: PipelineSpec
    checkpoints: Mapping[str, Path]
    card: Path | None
    origin: str
    readings: Mapping[str, Reading] = field(default_factory=dict)
    hparams: Mapping[str, Path] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def open_source(
    path: Path | None, spec: Path | None = None, files: Mapping[str, Path | None] | None = None, given: Given | None = None
) -> Source:
    """Read a pipeline folder (or its pipeline.toml), or checkpoints alone.

    A file without tables for the networks takes them from the checkpoints, which are recognised by
    `trkx.models.families.table`; then its other tables add what the checkpoints do not say.

    Args:
        path: folder with pipeline.toml, or a TOML or JSON file of the same keys; None for checkpoints alone.
        spec: use this specification file instead of the folder's pipeline.toml.
        files: checkpoints that replace those of the file's [checkpoints] table, None for none.
        given: what is known of checkpoints of other code bases.

    Raises:
        SpecError: no such file, not TOML, an unknown or missing key.
        CheckpointError: a checkpoint that is not there, or of no known family.
    """
    chosen = {stage: file for stage, file in (files or {}).items() if file is not None}
    given = given or Given()
    if path is None and spec is None:
        return _foreign({}, chosen, given, None, "the checkpoints")
    file = spec or (path / PIPELINE if path is not None and path.is_dir() else path)
    assert file is not None
    if not file.is_file():
        found = "an empty folder or one without it" if path is not None and path.is_dir() else "nothing there"
        raise SpecError(f"{file}: expected a pipeline file ({PIPELINE}), found {found}; give a pipeline folder or --spec FILE.")
    values = read_table(file)
    table = values.pop("checkpoints", {})
    where = str(file)
    if not isinstance(table, Mapping):
        raise SpecError(f"{where}: [checkpoints] must be a table of {', '.join(STAGES)}, found {table!r}.")
    for key, value in table.items():
        if key not in STAGES:
            raise SpecError(f"{where}: [checkpoints] has an " + unknown_name("key", str(key), STAGES))
        if not isinstance(value, str):
            raise SpecError(f"{where}: checkpoints.{key} must be a file name, found {value!r}.")
    base = path if path is not None and path.is_dir() else file.parent
    checkpoints = {key: base / value for key, value in table.items()} | chosen
    card = base / CARD if (base / CARD).is_file() else None
    if checkpoints and not any(stage in values for stage in STAGES):
        return _foreign(values, checkpoints, given, card, where)
    parsed = PipelineSpec.from_dict(values, where)
    missing = [stage for stage in parsed.stages if stage not in checkpoints]
    if missing:
        raise CheckpointError(
            f"{where}: no checkpoint for {', '.join(missing)}; name it in [checkpoints] or give "
            f"{' '.join(f'--{stage} FILE' for stage in missing)}."
        )
    spare = [stage for stage in checkpoints if stage not in parsed.stages]
    if spare:
        raise SpecError(f"{where}: a checkpoint is given for {', '.join(spare)}, but there is no such table; add [{spare[0]}].")
    return Source(parsed, {stage: checkpoints[stage] for stage in parsed.stages}, card, where)


KEYS = ("name", "features", "graph", "cuts", "labelling")
"""What a pipeline file may say beside the checkpoints of other code bases."""


def _foreign(values: Mapping[str, Any], files: Mapping[str, Path], given: Given, card: Path | None, where: str) -> Source:
    for key in values:
        if key not in KEYS:
            raise SpecError(f"{where}: " + unknown_name("key", str(key), (*KEYS, "checkpoints", *STAGES)))
    joined = {**values, **{key: {**values.get(key, {}), **value} if isinstance(value, Mapping) else value
                           for key, value in given.values.items()}}
    features = dict(given.features)
    if "features" in values and "" not in features:
        features[""] = features_of(values["features"], where)
    made = assembled(files, replace(given, values=joined, features=features), where)
    ordered = {stage: files[stage] for stage in made.spec.stages}
    return Source(made.spec, ordered, card, where, made.readings, given.hparams, made.notes)


def read_table(file: Path) -> dict[str, Any]:
    """Return the keys of a pipeline file, TOML or JSON; SpecError if it can't be read as that."""
    try:
        text = file.read_text(encoding="utf-8")
        values = json.loads(text) if file.suffix == ".json" else tomllib.loads(text)
    except UnicodeDecodeError:
        what = f"no pipeline file ({PIPELINE}); a checkpoint is given with --embedding, --filter or --gnn"
        raise SpecError(f"{file}: {what}.") from None
    except (OSError, ValueError) as error:  # TOML and JSON errors are ValueErrors
        raise SpecError(f"{file}: can't be read as {'JSON' if file.suffix == '.json' else 'TOML'}: {error}.") from error
    if not isinstance(values, dict):
        raise SpecError(f"{file}: expected a table of keys, found {type(values).__name__}.")
    return values


def with_sample(source: Source, path: Path | None) -> tuple[Source, Event | None]:
    """Return a source whose features have the ranges of a sample of scaled features, and its hits (None without r, phi, z).

    Warns (TrkxWarning), naming both, if the sample has other scales than the source; then ranges are not taken over.

    Raises:
        InputError: the file is no table of as many columns as there are features.
    """
    if path is None:
        return source, None
    features = source.spec.features
    x = read_sample(path, features)
    problem = scale_problem(x, features)
    if problem:
        warnings.warn(f"{path}: {problem}. The ranges of this sample are not taken over.", TrkxWarning, stacklevel=2)
        return replace(source, notes=(*source.notes, f"features: contradicted by the sample {path.name}: {problem}")), None
    ranged = replace(source, spec=replace(source.spec, features=with_ranges(features, x)))
    names = [feature.name for feature in features]
    return ranged, event_of(x, features, str(path)) if {"r", "phi", "z"} <= set(names) else None


def features_of(rows: object, where: str) -> tuple[FeatureSpec, ...]:
    """Return the features of a pipeline file's [[features]]; SpecError if they are no such tables."""
    if not isinstance(rows, list) or not all(isinstance(row, Mapping) for row in rows):
        raise SpecError(f"{where}: expected [[features]] with name and scale, found {rows!r}.")
    return tuple(from_dict(FeatureSpec, row, f"{where}.features[{place}]") for place, row in enumerate(rows))


def load_weights(source: Source, stage: str) -> dict[str, Tensor]:
    """Return the weights of one network under our keys, as its checkpoint holds them; CheckpointError if it can't be read."""
    checkpoint = open_checkpoint(source.checkpoints[stage], source.hparams.get(stage))
    if stage in source.readings:
        return weights_of(source.readings[stage], checkpoint)
    return checkpoint.tensors(checkpoint.shapes)


def load_network(source: Source, stage: str) -> nn.Module:
    """Return one network in float32 and eval mode, with the weights of its checkpoint.

    Raises:
        CheckpointError: the file can't be read, or does not fit the spec (missing, unexpected and mis-shaped keys are listed).
    """
    network = build_network(source.spec, stage)
    fit(network, load_weights(source, stage), f"{source.checkpoints[stage]} (stage {stage} of {source.origin})")
    return network.float().eval()
