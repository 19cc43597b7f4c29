"""Checkpoints of other code bases to one pipeline: what they say, what a user adds, and what is still missing is asked for."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from trkx.errors import SpecError
from trkx.models.checkpoints.opening import open_checkpoint
from trkx.models.families.reading import Reading
from trkx.models.families.table import recognise
from trkx.spec import STAGES, FeatureSpec, MessagePassingSpec, PipelineSpec

NUMBERS = {"pi": math.pi}


@dataclass(frozen=True)
class Given:
    """What a user says of checkpoints beside the files; {} and None for what the files must say themselves.

    Attributes:
        families: stage to the row of `trkx.models.families.table` that its checkpoint must be.
        hparams: stage to the file with its hyper-parameters.
        features: stage to the columns that its network reads; "" for all stages that have none of their own.
        values: keys of a pipeline file (name, graph, cuts, labelling, features); they win over what checkpoints say.
        undirected: whether networks that can run edges in both directions do; None for as they were trained.
    """

    families: Mapping[str, str] = field(default_factory=dict)
    hparams: Mapping[str, Path] = field(default_factory=dict)
    features: Mapping[str, Sequence[FeatureSpec]] = field(default_factory=dict)
    values: Mapping[str, Any] = field(default_factory=dict)
    undirected: bool | None = None


@dataclass(frozen=True)
class Assembled:
    """A pipeline of foreign checkpoints. readings: stage to what its file is; notes: what was assumed, one sentence each."""

    spec: PipelineSpec
    readings: Mapping[str, Reading]
    notes: tuple[str, ...]


def features_from(text: str, where: str = "--features") -> tuple[FeatureSpec, ...]:
    """Return the features that a text lists, as "r=1000 phi=pi z=1000" or with commas: names and what each is divided by.

    Raises:
        SpecError: not of that form.
    """
    found = []
    for part in re.split(r"[,\s]+", text.strip()):
        name, sign, scale = part.partition("=")
        try:
            value = NUMBERS[scale] if scale in NUMBERS else float(scale)
        except ValueError:
            value = math.nan
        if not (name and sign and math.isfinite(value)):
            raise SpecError(f'{where}: expected "NAME=SCALE NAME=SCALE …", as in "r=1000 phi=pi z=1000", found {part!r}.')
        found.append(FeatureSpec(name, value))
    return tuple(found)


def assembled(files: Mapping[str, Path], given: Given, where: str = "the checkpoints") -> Assembled:
    """Return the pipeline that foreign checkpoints make.

    Args:
        files: stage to checkpoint, at least one.
        given: what the user adds.
        where: how messages call it.

    Raises:
        CheckpointError: a file can't be read, or is no network that trkx knows, or several.
        SpecError: something is missing (all of it is listed, with the options that give it), or contradicts.
    """
    readings = {}
    notes: list[str] = []
    for stage in (stage for stage in STAGES if stage in files):
        checkpoint = open_checkpoint(files[stage], given.hparams.get(stage))
        reading = recognise(checkpoint, stage, given.families.get(stage))
        readings[stage] = reading
        notes += [f"{stage}: read as {reading.family}", *(f"{stage}: {note}" for note in (*checkpoint.notes, *reading.assumed))]
    missing: list[str] = []
    columns = {stage: _columns(stage, reading, given, missing, files[stage]) for stage, reading in readings.items()}
    graph = _graph(readings, given, missing)
    if graph and "direction" not in graph:
        notes.append("graph: the source of an edge is taken to be the hit nearer to the origin; --direction by_index makes it "
                     "the lower index, as ACTS does")
    cuts = _cuts(readings, given, missing)
    if missing:
        lines = "\n".join(f"  {line}" for line in missing)
        raise SpecError(f"{where}: the files do not say everything, and nothing is guessed. Please add:\n{lines}")
    union = _union(columns)
    parts: dict[str, Any] = {}
    for stage, reading in readings.items():
        own = None if columns[stage] == union else columns[stage]
        spec: Any = reading.spec  # each of its classes has features
        parts[stage] = _directed(stage, replace(spec, features=own), reading, given, notes)
    values = {
        "name": given.values.get("name") or next(iter(files.values())).stem,
        "features": [dataclasses.asdict(feature) for feature in union],
        "graph": graph, "cuts": cuts, "labelling": given.values.get("labelling", {}),
        **{stage: dataclasses.asdict(part) for stage, part in parts.items()},
    }
    there = {key: value for key, value in values.items() if value}
    return Assembled(PipelineSpec.from_dict(there, where), readings, tuple(notes))


def _columns(stage: str, reading: Reading, given: Given, missing: list[str], file: Path) -> tuple[FeatureSpec, ...]:
    """Return the columns of a network: those given for it, those of its file, those given for all."""
    own, facts = tuple(given.features.get(stage, ())), reading.facts
    option = f'--{stage}-features "NAME=SCALE …" (or --features for all networks)'
    if not own and facts.features is not None and facts.scales is not None:
        own = tuple(FeatureSpec(name, scale) for name, scale in zip(facts.features, facts.scales, strict=True))
    if not own:
        own = tuple(given.features.get("", ()))
    if not own:
        known = f" It names them ({', '.join(facts.features)}), but not their scales." if facts.features else ""
        missing.append(f"{option}: {file.name} ({stage}) reads {reading.inputs} columns, in the order of its training.{known}")
        return ()
    if len(own) != reading.inputs:
        names = ", ".join(feature.name for feature in own)
        found = f"the {stage} reads {reading.inputs} columns, but {len(own)} features are given for it ({names})"
        raise SpecError(f"{file}: {found}; give them with {option}.")
    return own


def _graph(readings: Mapping[str, Reading], given: Given, missing: list[str]) -> dict[str, Any]:
    if "embedding" not in readings:
        return {}
    facts = readings["embedding"].facts
    found = {"radius": facts.radius, "k_max": facts.k_max} | dict(given.values.get("graph", {}))
    if found["radius"] is None:
        missing.append("--radius NUMBER: hits within this distance in the embedding become edges; its file does not say it")
    return {key: value for key, value in found.items() if value is not None}


def _cuts(readings: Mapping[str, Reading], given: Given, missing: list[str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    own = dict(given.values.get("cuts", {}))
    for stage in ("filter", "gnn"):
        if stage not in readings:
            continue
        value = own.get(stage, readings[stage].facts.cut)
        if value is None:
            missing.append(f"--{stage}-cut NUMBER: the score above which the {stage} lets an edge stay; its file does not say it")
        found[stage] = value
    return found


def _union(columns: Mapping[str, Sequence[FeatureSpec]]) -> tuple[FeatureSpec, ...]:
    """Return the columns of all networks, each name once: with the scale of the first that reads it."""
    found: dict[str, FeatureSpec] = {}
    for features in columns.values():
        for feature in features:
            found.setdefault(feature.name, feature)
    return tuple(found.values())


def _directed(stage: str, spec: Any, reading: Reading, given: Given, notes: list[str]) -> Any:
    """Return a spec that runs edges in both directions if its network was trained so: the runtime has each edge once."""
    if not isinstance(spec, MessagePassingSpec):
        if given.undirected and stage == "gnn":
            raise SpecError(f"--undirected: a {reading.family} can't run edges in both directions; leave it out.")
        return spec
    wanted = given.undirected if given.undirected is not None else bool(reading.facts.undirected) or spec.undirected
    if wanted and not spec.undirected:
        notes.append(f"{stage}: it was trained on edges in both directions, so every edge runs in both and has the mean of its "
                     "two logits; --directed leaves that out")
    return replace(spec, undirected=wanted)
