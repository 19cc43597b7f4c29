"""Hits to tracks behind Triton Inference Server's Python backend: runs the bundle that this file came with.

Written by `export-models --target triton`, for an environment of the server in which trkx is installed. How the bundle is run
is said in `config.pbtxt`, parameters `bundle` (folder, relative to the model repository), `engine`, `precision`, `threads` (0
for one per core). An event that makes no sense is answered with an error that says why; the model goes on with the next one.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trkx.errors import InputError, SpecError, TrkxError
from trkx.runtime.cuda.engines.table import DEVICE_ENGINES
from trkx.runtime.events.event import Event
from trkx.runtime.features import FROM_POSITION, IDENTIFIERS
from trkx.runtime.pipeline import Pipeline

PARAMETERS = ("bundle", "engine", "precision", "threads")


class TritonPythonModel:
    """One instance of the model: Triton calls `initialize` once, then `execute` for every list of requests."""

    def initialize(self, args: Mapping[str, str]) -> None:
        """Open the bundle and compile what runs it.

        Args:
            args: of Triton: `model_config` as JSON, `model_repository` (the folder of this model), `model_name`,
                `model_instance_device_id`, …

        Raises:
            TritonModelException: the bundle, a parameter, or a package that the engine needs is not as it should be. Triton then
                reports the model as not available, and serves the others.
        """
        self._triton: Any = importlib.import_module("triton_python_backend_utils")  # only there inside the server
        try:
            said = parameters(args["model_config"])
            engine, threads = said["engine"], number_of_threads(said["threads"])
            device = f"cuda:{args.get('model_instance_device_id', '0')}" if engine in DEVICE_ENGINES else None
            folder = repository(args) / said["bundle"]
            self._pipeline = Pipeline.open(folder, engine, threads=threads, precision=said["precision"], device=device)
            self._further = [feature.name for feature in self._pipeline.spec.features if feature.name not in FROM_POSITION]
            self._pipeline.warm_up()
        except TrkxError as error:
            raise self._triton.TritonModelException(str(error)) from error

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """Return one response a request: `label` and `track_id` int64 [N], `event_id` int64 [1], or an error."""
        return [self._answer(request) for request in requests]

    def finalize(self) -> None:
        """Let go of the networks."""
        self._pipeline = None  # type: ignore[assignment]

    def _answer(self, request: Any) -> Any:
        triton = self._triton
        try:
            event = self._event(request)
            tracks = self._pipeline.run(event)
        except InputError as error:
            return self._refused(str(error), triton.TritonError.INVALID_ARG)
        except TrkxError as error:
            return self._refused(str(error), triton.TritonError.INTERNAL)
        except Exception as error:  # this request fails alone; one that leaves would fail the whole list
            return self._refused(f"{type(error).__name__}: {error}", triton.TritonError.INTERNAL)
        tensors = {"label": tracks.label, "track_id": tracks.track_id, "event_id": np.array([tracks.event_id], np.int64)}
        return triton.InferenceResponse([triton.Tensor(name, values) for name, values in tensors.items()])

    def _refused(self, message: str, code: Any) -> Any:
        return self._triton.InferenceResponse(error=self._triton.TritonError(message, code))

    def _event(self, request: Any) -> Event:
        position = self._column(request, "position", np.float32, 2)
        if position is None:
            raise InputError("input position, float32 [N, 3] in mm, is missing from the request; send the hits of one event.")
        hits = len(position)
        given = self._column(request, "event_id", np.int64, 1)
        if given is not None and len(given) != 1:
            raise InputError(f"input event_id must be one number, int64 [1], found {len(given)}; send one event a request.")
        event_id = 0 if given is None else int(given[0])
        ids = self._column(request, "hit_id", np.int64, 1)
        if ids is None:
            ids = np.arange(hits, dtype=np.int64)
        columns: dict[str, NDArray[Any]] = {}
        for name in self._further:
            column = self._column(request, name, np.int32 if name in IDENTIFIERS else np.float32, 1)
            if column is None:
                raise InputError(f"input {name}, [{hits}], is missing from the request: the bundle's networks read it.")
            columns[name] = column
        volume, layer, module = (columns.pop(name, None) for name in IDENTIFIERS)
        return Event(event_id, ids, position, volume, layer, module, columns, source="request")

    def _column(self, request: Any, name: str, dtype: type[np.generic], rank: int) -> NDArray[Any] | None:
        """Return an input, None if the request does not have it. Triton frees its memory when `execute` returns."""
        tensor = self._triton.get_input_tensor_by_name(request, name)
        if tensor is None:
            return None
        values: NDArray[Any] = tensor.as_numpy()
        if values.dtype != dtype or values.ndim != rank:
            wanted = f"{np.dtype(dtype).name} with {rank} axis" if rank == 1 else f"{np.dtype(dtype).name} [N, 3]"
            raise InputError(f"input {name} must be {wanted}, found {values.dtype.name} {list(values.shape)}.")
        return np.ascontiguousarray(values)


def parameters(model_config: str) -> dict[str, str]:
    """Return what config.pbtxt says of the pipeline, from Triton's JSON of it; SpecError names what is unknown or missing."""
    table = json.loads(model_config).get("parameters", {})
    said = {key: str(value["string_value"]) for key, value in table.items()}
    missing = [key for key in PARAMETERS if key not in said]
    unknown = [key for key in said if key not in PARAMETERS and not key.isupper()]  # upper case: the backend's own
    if missing or unknown:
        what = [f"lacks {', '.join(missing)}"] * bool(missing) + [f"has the unknown {', '.join(unknown)}"] * bool(unknown)
        raise SpecError(f"config.pbtxt {' and '.join(what)}; its parameters are {', '.join(PARAMETERS)}.")
    return said


def number_of_threads(text: str) -> int | None:
    """Return the number of threads, None for 0 (one per core); SpecError for what is no number."""
    if not text.isdecimal():
        raise SpecError(f"config.pbtxt: parameter threads must be a whole number, 0 for one per core, found '{text}'.")
    return int(text) or None


def repository(args: Mapping[str, str]) -> Path:
    """Return the model repository: Triton hands over the folder of the model in it."""
    given = Path(args["model_repository"])
    return given if (given / args["model_name"]).is_dir() else given.parent
