"""Writes `config.pbtxt`: Triton's ModelConfig in protobuf's text form, of each stage and of the whole pipeline."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from trkx.errors import ExportError
from trkx.runtime.features import FROM_POSITION, IDENTIFIERS
from trkx.spec import PipelineSpec

TRACKS = "tracks"
"""The model that runs the whole pipeline."""
MODEL_FILE = {"onnxruntime_onnx": "model.onnx", "python": "model.py"}
_ANY = -1
_EVENT = ("position", "hit_id", "event_id")
"""Inputs of `tracks` whatever the bundle; a feature may not have such a name."""


@dataclass(frozen=True)
class Port:
    """An input or output: name, type as Triton writes it (TYPE_FP32 …), sizes with -1 for any, may a request leave it out."""

    name: str
    type: str
    dims: tuple[int, ...]
    optional: bool = False


@dataclass(frozen=True)
class Served:
    """How `tracks` runs the bundle.

    Attributes:
        bundle: its folder, relative to the model repository, or absolute.
        engine: a key of `trkx.runtime.engines.ENGINES`, or of those on a GPU.
        precision: as `trkx run --precision` takes it.
        threads: of each instance, 0 for one per core.
        instances: how many events run at once, each in a process of its own.
    """

    bundle: str = ".."
    engine: str = "tiled"
    precision: str = "fp32"
    threads: int = 0
    instances: int = 1


def stage_config(spec: PipelineSpec, stage: str) -> str:
    """Return the config of one network, for Triton's ONNX Runtime backend."""
    x = Port("x", "TYPE_FP32", (_ANY, len(spec.features)))
    edge_index = Port("edge_index", "TYPE_INT64", (2, _ANY))
    edge_attr = Port("edge_attr", "TYPE_FP32", (_ANY, len(spec.edge_features)))
    inputs = [x]
    if stage != "embedding":
        inputs.append(edge_index)
    if stage == "gnn" and spec.edge_features:
        inputs.append(edge_attr)
    output = Port("output", "TYPE_FP32", (_ANY, spec.width(stage)))
    return _config(stage, "onnxruntime_onnx", inputs, [output], 1, "KIND_AUTO", {}, _about_stage(spec, stage))


def _about_stage(spec: PipelineSpec, stage: str) -> list[str]:
    scaled = ", ".join(f"{_quoted(feature.name)} / {feature.scale!r}" for feature in spec.features)
    about = [
        f"Network {stage} alone; the model {TRACKS} takes hits as they are." if spec.makes_tracks else f"Network {stage}.",
        "A client scales x itself, in float64, then rounds to float32. Columns (mm, rad) and what each is divided by:",
        scaled,
    ]
    if stage != "embedding":
        about.append("edge_index: rows of x, from 0; sources, then targets. output: a logit an edge, no sigmoid.")
    if stage == "gnn" and spec.edge_features:
        names = ", ".join(_quoted(name) for name in spec.edge_features)
        about.append(f"Columns of edge_attr, of features scaled as gnn.features of bundle.json says: {names}.")
    return about


def tracks_config(spec: PipelineSpec, served: Served | None = None) -> str:
    """Return the config of the whole pipeline, for Triton's Python backend.

    Inputs: `position`, `hit_id` and `event_id` if the client has them, and each feature that does not follow from the position.
    Outputs: `label` and `track_id`, one a hit, and `event_id`.

    Raises:
        ExportError: a feature has the name of another input.
    """
    served = served or Served()
    inputs = [
        Port("position", "TYPE_FP32", (_ANY, 3)),
        Port("hit_id", "TYPE_INT64", (_ANY,), optional=True),
        Port("event_id", "TYPE_INT64", (1,), optional=True),
    ]
    for name in further_features(spec):
        if name in _EVENT:
            raise ExportError(f"feature '{name}' has the name of an input of Triton's model '{TRACKS}'; leave target triton out.")
        inputs.append(Port(name, "TYPE_INT32" if name in IDENTIFIERS else "TYPE_FP32", (_ANY,)))
    outputs = [
        Port("label", "TYPE_INT64", (_ANY,)),
        Port("track_id", "TYPE_INT64", (_ANY,)),
        Port("event_id", "TYPE_INT64", (1,)),
    ]
    parameters = {
        "bundle": served.bundle,
        "engine": served.engine,
        "precision": served.precision,
        "threads": str(served.threads),
    }
    about = [
        "Hits to tracks. position: mm; further inputs as the detector gives them, none is scaled.",
        "Parameters: bundle is a folder, absolute or relative to the model repository (the folder that holds tracks/);",
        "engine and precision are the words of `trkx run`; threads are those of each instance, 0 for one per core.",
        "instance_group: count is how many events run at once, each in a process of its own.",
        "A bundle whose own copy of this file is edited is refused: edit a copy of the repository, with bundle as a full path.",
    ]
    return _config(TRACKS, "python", inputs, outputs, served.instances, "KIND_CPU", parameters, about)


def further_features(spec: PipelineSpec) -> list[str]:
    """Return the features that do not follow from the position of a hit, in the order of the specification."""
    return [feature.name for feature in spec.features if feature.name not in FROM_POSITION]


def _config(
    name: str, backend: str, inputs: Sequence[Port], outputs: Sequence[Port], instances: int, kind: str,
    parameters: Mapping[str, str], about: Sequence[str],
) -> str:
    """Return a whole config, headed by comments; max_batch_size 0: an event is a request, events are never stacked."""
    field = "platform" if backend == "onnxruntime_onnx" else "backend"
    lines = [
        *(f"# {line}" for line in about),
        f"name: {_quoted(name)}",
        f"{field}: {_quoted(backend)}",
        f"default_model_filename: {_quoted(MODEL_FILE[backend])}",
        "max_batch_size: 0",
        *(line for port in inputs for line in _port("input", port)),
        *(line for port in outputs for line in _port("output", port)),
        f"instance_group {{ count: {instances} kind: {kind} }}",
    ]
    for key, value in parameters.items():
        lines.append(f"parameters {{ key: {_quoted(key)} value {{ string_value: {_quoted(value)} }} }}")
    return "\n".join(lines) + "\n"


def _port(field: str, port: Port) -> list[str]:
    dims = ", ".join(str(size) for size in port.dims)
    optional = ["  optional: true"] if port.optional else []
    return [f"{field} {{", f"  name: {_quoted(port.name)}", f"  data_type: {port.type}", f"  dims: [ {dims} ]", *optional, "}"]


def _quoted(text: str) -> str:
    """Return a string literal of protobuf's text form: UTF-8, with quotes, backslashes and control characters escaped."""
    return json.dumps(text, ensure_ascii=False)
