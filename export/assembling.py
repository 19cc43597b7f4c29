"""Checkpoints of other code bases to one pipeline: what they say, what a user adds, and what is still missing is asked for."""

from __future__ import annotations

import dataclasses
import math
import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from trkx.errors import SpecError, TrkxWarning
from trkx.models.checkpoints.opening import open_checkpoint
from trkx.models.families.reading import Reading
from trkx.models.families.table import recognise
from trkx.runtime.edge_features import edge_problem
from trkx.runtime.features import FROM_POSITION, IDENTIFIERS
from trkx.spec import STAGES, FeatureSpec, PipelineSpec

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
    names = [feature.name for feature in found]
    if len(set(names)) < len(names):
        raise SpecError(f"{where}: a feature is listed twice in {', '.join(names)}.")
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
    _refuse_idle(files, given)
    readings = {}
    notes: list[str] = []
    for stage in (stage for stage in STAGES if stage in files):
        checkpoint = open_checkpoint(files[stage], given.hparams.get(stage))
        reading = recognise(checkpoint, stage, given.families.get(stage))
        readings[stage] = reading
        told = [note for note in (*checkpoint.notes, *reading.assumed) if not note.endswith(UNREAD)]
        notes += [f"{stage}: read as {reading.family}", *(f"{stage}: {note}" for note in told)]
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
    notes += _taken(readings, columns, graph, cuts)
    notes += _unmade(union, readings)
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
    made = PipelineSpec.from_dict(there, where)
    problem = edge_problem(made)
    if problem and made.makes_tracks:
        raise SpecError(f"{where}: {problem}, so the runtime can't make edge_attr; export the gnn alone for who makes edges.")
    if made.edge_features:
        who = "whoever makes the edges" if problem or not made.makes_tracks else "the runtime"
        notes.append(f"gnn: edge_attr holds {', '.join(made.edge_features)}; {who} makes it")
    return Assembled(made, readings, tuple(notes))


def _columns(stage: str, reading: Reading, given: Given, missing: list[str], file: Path) -> tuple[FeatureSpec, ...]:
    """Return the columns of a network: those given for it, those of its file, those given for all."""
    own, facts = tuple(given.features.get(stage, ())), reading.facts
    option = f'--{stage}-features "NAME=SCALE …" (or --features for all networks)'
    named = given.features.get(stage)
    if named and facts.features is not None and tuple(feature.name for feature in named) != facts.features:
        wrong = ", ".join(feature.name for feature in named)
        raise SpecError(f"{file}: its hyper-parameters list the columns {', '.join(facts.features)} in this order, but "
                        f"--{stage}-features has {wrong}; give them as in the training.")
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


UNREAD = "is there and is not read"
"""End of notes on what a checkpoint holds beside the network; they say nothing of what was assumed."""


def _refuse_idle(files: Mapping[str, Path], given: Given) -> None:
    """Raise SpecError for options of networks that are not given: whoever gives them believes that they do something."""
    idle = [f"--{stage}-{name}" for name, values in (("family", given.families), ("hparams", given.hparams),
                                                     ("features", given.features), ("cut", given.values.get("cuts", {})))
            for stage in values if stage and stage not in files]
    if "embedding" not in files:
        idle += [f"--{name.replace('_', '-')}" for name in given.values.get("graph", {})]
    if idle:
        raise SpecError(f"{', '.join(idle)}: there is no such network to use it with; give its checkpoint or leave it out.")


def _taken(
    readings: Mapping[str, Reading], columns: Mapping[str, Sequence[FeatureSpec]], graph: Mapping[str, Any],
    cuts: Mapping[str, Any],
) -> list[str]:
    """Return what each network's settings are and where they come from, one sentence each."""
    found = []
    for stage, reading in readings.items():
        listed = ", ".join(f"{feature.name} / {feature.scale:g}" for feature in columns[stage])
        source = "its file" if reading.facts.scales is not None else "the options"
        found.append(f"{stage}: reads {listed} (from {source})")
        if stage == "embedding":
            where = "its file" if graph["radius"] == reading.facts.radius else "the options"
            found.append(f"{stage}: radius {graph['radius']:g} (from {where})")
        elif stage in cuts:
            where = "its file" if cuts[stage] == reading.facts.cut else "the options"
            found.append(f"{stage}: cut {cuts[stage]:g} (from {where})")
    return found


def _unmade(union: Sequence[FeatureSpec], readings: Mapping[str, Reading]) -> list[str]:
    """Return a note on columns that trkx can't make from positions, and warn of those that look like a slip of the pen."""
    known = (*FROM_POSITION, *IDENTIFIERS)
    others = [feature.name for feature in union if feature.name not in known]
    for name in others:
        near = get_close_matches(name, known, n=1, cutoff=0.6)
        if near:
            message = f"feature '{name}' is none that trkx makes from positions; is '{near[0]}' meant?"
            warnings.warn(message, TrkxWarning, stacklevel=2)
    return [f"features: {', '.join(others)} must come with the events; positions give {', '.join(known)}"] if others else []


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
    if not hasattr(spec, "undirected"):
        if given.undirected and stage == "gnn":
            raise SpecError(f"--undirected: a {reading.family} can't run edges in both directions; leave it out.")
        return spec
    wanted = given.undirected if given.undirected is not None else bool(reading.facts.undirected) or spec.undirected
    if wanted and not spec.undirected:
        notes.append(f"{stage}: it was trained on edges in both directions, so every edge runs in both and has the mean of its "
                     "two logits; --directed leaves that out")
    return replace(spec, undirected=wanted)
