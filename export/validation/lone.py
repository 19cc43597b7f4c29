"""Validation of one file on its own: ours without its bundle, or anybody's."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import torch

from trkx.errors import ExportError, TrkxError, unknown_name
from trkx.export.check import inputs_of
from trkx.export.functions import without_functions
from trkx.export.lint.opening import opened
from trkx.export.loops import refuse_endless
from trkx.export.onnx_graph import SCATTERS, Graph
from trkx.export.precision.lone import half_of, lone_rows
from trkx.export.targets import target_of
from trkx.export.torchscript_file import load_torchscript
from trkx.export.validation.facts import facts
from trkx.export.validation.memory import memory_rows
from trkx.export.validation.model_file import ModelFile
from trkx.export.validation.oracle import oracle_for
from trkx.export.validation.placement import placement_rows
from trkx.export.validation.report import Report, Row, overwrote
from trkx.export.validation.scores import score_rows
from trkx.export.validation.surroundings import lint_rows
from trkx.export.validation.validate import depth_of, engines_of, file_rows, large_expectation
from trkx.export.zoo import Case, cases, helix_event
from trkx.identity import SPEC_KEY, STAGE_KEY
from trkx.shown import shown
from trkx.spec import STAGES, CutSpec, EmbeddingSpec, FeatureSpec, FilterSpec, GNNSpec, GraphSpec, PipelineSpec

Tell = Callable[[str], None]
MOST_FEATURES = 256
"""Columns of x that are tried on a TorchScript file, which does not say how many it wants."""


def validate_file(
    path: Path | str,
    target: str | None = None,
    reference: Path | None = None,
    stage: str | None = None,
    level: str = "full",
    tell: Tell = lambda what: None,
) -> Report:
    """Validate one ONNX or TorchScript file without its network.

    It is compared with a reference, if one is given, else with its own graph in float64: then only lint and the tests that need
    no reference (order of edges and hits, repeated edges, repeated runs) can say that the graph itself is wrong. A file that lint
    can't read is not run.

    Args:
        path: the file. TorchScript is code, and it is executed: validate only what you trust, lint reads without running.
        target: what the file is for; its format's default if None.
        reference: a TorchScript file of the same network that is known to be right.
        stage: "embedding", "filter" or "gnn"; read from metadata or from the number of inputs if None.
        level: a key of `trkx.export.validation.validate.LEVELS`.
        tell: told what is done.

    Raises:
        ExportError: no model file, an unknown target, stage or level, a reference that can't be read, or a file that would not
            end: local functions that grow without measure, loops without end.
    """
    place, depth, start = Path(path), depth_of(level), time.perf_counter()
    if stage is not None and stage not in STAGES:
        raise ExportError(unknown_name("stage", stage, STAGES))
    tell("lint")
    rows = lint_rows(place, target)
    title = f"Validation of {place.name}"
    subject = opened(place, target_of(target) if target else None, stage=stage or "")
    if subject.kind not in ("onnx", "torchscript"):
        raise ExportError(f"{place}: {subject.kind} files can't be validated on their own; validate the bundle instead.")
    if subject.model is not None:
        refuse_endless(plain_of(subject.model, shown(str(place))), shown(str(place)))
    half = half_of(subject.model)
    if half is not None and reference is not None:
        raise ExportError(
            f"{place}: half precision is judged beside its own graph in float64, with tolerances that know its casts; leave "
            "--reference out, or validate its bundle, which has the network that it was made from."
        )
    file, spec = described(place, subject.kind, place.read_bytes(), subject.target.name, stage)
    try:
        oracle = oracle_for(file, reference.read_bytes() if reference else None)
    except OSError as error:
        raise ExportError(f"{reference}: can't be read: {error.strerror}.") from error
    tell(f"{oracle.title} on artificial graphs")
    try:
        zoo = oracle.expectations(cases(spec, helix_event(spec), _far_apart))
    except ExportError as error:
        if all(row.status != "failed" for row in rows):
            raise
        rows.append(Row("graphs", file.stage, file.path, "", "artificial graphs", "failed", detail=str(error)))
        return Report(title, place.name, rows, facts=facts(level, oracle.title) | {"stage": file.stage, "target": file.target})
    tell(f"checking {shown(file.path)}")
    if half is None:
        rows += file_rows(file, oracle, zoo, depth)
    else:
        large = large_expectation(file.stage, oracle, zoo, depth)
        rows += lone_rows(file, half, oracle, zoo, large, engines_of(file.format, depth))
    rows += score_rows(file, oracle, zoo)
    if depth.everything and half is None:
        rows += placement_rows(file, zoo[0].case) + memory_rows(file, zoo[0].case)
    if not oracle.independent:
        why = (f"it was compared with {oracle.title}, so a network that was translated wrongly is seen only by lint and by the "
               f"tests without reference; {'' if half else 'give --reference TWIN.pt, or '}validate its bundle")
        rows.append(Row("graphs", file.stage, file.path, "", "the network that it was made from", "not checked", detail=why))
    if oracle.met:
        rows.append(Row("graphs", file.stage, file.path, "", "what overwrites", "not checked", detail=overwrote(oracle.met)))
    rows += [
        Row(group, file.stage, file.path, "", "whole events", "not checked", detail="a file on its own has no pipeline")
        for group in ("decisions", "tracks")
    ]
    words = facts(level, oracle.title, seconds=time.perf_counter() - start)
    return Report(title, place.name, rows, facts=words | {"stage": file.stage, "target": file.target})


def plain_of(model: onnx.ModelProto, where: str) -> onnx.ModelProto:
    """Return a model without local functions; ExportError for those that grow without measure, which no engine should unfold."""
    try:
        return without_functions(model)
    except ExportError as error:
        raise ExportError(f"{where}: {error}") from None


def described(path: Path, format: str, data: bytes, target: str, stage: str | None = None) -> tuple[ModelFile, PipelineSpec]:
    """Return what a file says of itself, and a specification to draw graphs with (its own, or one made up to its width).

    Raises:
        ExportError: inputs that are not x and edge_index, or a width that can't be found.
    """
    if format == "onnx":
        features, width, guess, own = _onnx_doors(path, data)
    else:
        features, width, guess, own = _torchscript_doors(path, data)
    found = stage or guess
    spec = own if own is not None and len(own.features) == features else made_up_spec(features)
    cut = spec.cut(found) if own is not None else None
    return ModelFile(path.name, found, format, data, features, width, target, None, cut), spec


def made_up_spec(features: int) -> PipelineSpec:
    """Return a specification with so many features that have no meaning, drawn as |N(0, 1)|."""
    columns = tuple(FeatureSpec(f"column {number}", 1.0) for number in range(features))
    return PipelineSpec(
        "a file on its own", columns, EmbeddingSpec(1, 1, 1, geometry=False), GraphSpec(1.0), FilterSpec(1, 1, geometry=False),
        GNNSpec(1, 1, geometry=False), CutSpec(0.5, 0.5),
    )


def _far_apart(x: np.ndarray[tuple[int, ...], np.dtype[np.float32]]) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """Place no two hits near each other: the graph then joins neighbours in azimuth, since there is no embedding."""
    return np.arange(len(x), dtype=np.float64)[:, None] * 1e6


def _onnx_doors(path: Path, data: bytes) -> tuple[int, int, str, PipelineSpec | None]:
    model = onnx.load_model_from_string(data)
    graph = Graph(model)
    inputs = [value.name for value in model.graph.input if graph.producer(value.name) is None]
    inputs = [name for name in inputs if name not in {item.name for item in model.graph.initializer}]
    if not 1 <= len(inputs) <= 2 or not model.graph.output:
        raise ExportError(f"{path}: expected inputs x and edge_index and one output, found {', '.join(inputs) or 'no inputs'}.")
    columns, result = (graph.shape(name) or () for name in (inputs[0], model.graph.output[0].name))
    features, width = columns[-1] if len(columns) == 2 else None, result[-1] if len(result) == 2 else 1
    if not isinstance(features, int):
        shape = [str(size) for size in columns]
        raise ExportError(f"{path}: expected x of shape [num_hits, F] with a fixed F, found '{inputs[0]}' [{', '.join(shape)}].")
    held = {item.key: item.value for item in model.metadata_props}
    sums = any(node.op_type in SCATTERS or node.op_type == "ReduceSum" for one in graph.all() for node in one.nodes)
    guess = "embedding" if len(inputs) == 1 else "gnn" if sums else "filter"
    stage = held.get(STAGE_KEY, guess)
    return features, width if isinstance(width, int) else 1, stage if stage in STAGES else guess, _own_spec(held.get(SPEC_KEY))


def _own_spec(text: str | None) -> PipelineSpec | None:
    try:
        return PipelineSpec.from_dict(json.loads(text)) if text else None
    except (ValueError, TypeError, AttributeError, TrkxError):  # foreign or broken: a made-up one serves as well
        return None


def _torchscript_doors(path: Path, data: bytes) -> tuple[int, int, str, PipelineSpec | None]:
    module = load_torchscript(data)
    inputs = len(module._c._get_method("forward").schema.arguments) - 1  # self
    if not 1 <= inputs <= 2:
        raise ExportError(f"{path}: expected forward(x) or forward(x, edge_index), found {inputs} inputs.")
    stage = "embedding" if inputs == 1 else "gnn"
    rng = np.random.default_rng(0)
    for features in range(1, MOST_FEATURES + 1):
        case = Case("try", rng.normal(size=(3, features)).astype(np.float32), np.array([[0, 1], [1, 2]]))
        try:
            with torch.no_grad():
                output = module(*inputs_of(stage, case, torch.float32))
        except Exception:  # another width, or no width will do
            continue
        return features, int(output.shape[-1]) if output.ndim == 2 else 1, stage, None
    raise ExportError(f"{path}: runs with no x of 1 to {MOST_FEATURES} columns (and edge_index [2, 2]); expected one that does.")
