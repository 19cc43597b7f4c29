"""What Triton Inference Server's Python backend offers a model, as its documentation says, and a server around one such model.

Types, shapes and names are checked against config.pbtxt as Triton's core does before a model sees a request. A model's inputs are
overwritten when its `execute` returns, for their memory is the server's.
"""

from __future__ import annotations

import importlib.util
import json
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import grpc
import numpy as np
import pytest
from google.protobuf import json_format, text_format
from tritonclient.grpc import model_config_pb2, service_pb2, service_pb2_grpc

DTYPES = {"FP32": np.float32, "INT64": np.int64, "INT32": np.int32, "FP64": np.float64}
UTILS = "triton_python_backend_utils"


class Tensor:
    def __init__(self, name: str, values: np.ndarray) -> None:
        if not isinstance(name, str) or not isinstance(values, np.ndarray):
            raise TypeError("Tensor takes a name and a numpy array")
        self._name, self._values = name, values

    def name(self) -> str:
        return self._name

    def as_numpy(self) -> np.ndarray:
        return self._values


class TritonError:
    UNKNOWN, INTERNAL, NOT_FOUND, INVALID_ARG = range(4)

    def __init__(self, message: str, code: int = INTERNAL) -> None:
        self._message, self._code = message, code

    def message(self) -> str:
        return self._message

    def code(self) -> int:
        return self._code


class TritonModelException(Exception):  # noqa: N818 - its name in Triton
    pass


class InferenceResponse:
    def __init__(self, output_tensors: Sequence[Tensor] = (), error: TritonError | None = None) -> None:
        self._tensors, self._error = list(output_tensors), error

    def output_tensors(self) -> list[Tensor]:
        return self._tensors

    def has_error(self) -> bool:
        return self._error is not None

    def error(self) -> TritonError | None:
        return self._error


class InferenceRequest:
    def __init__(self, **inputs: np.ndarray) -> None:
        self.tensors = {name: Tensor(name, np.array(values)) for name, values in inputs.items()}

    def forget(self) -> None:
        """Take the inputs back, as the server does with its memory."""
        for tensor in self.tensors.values():
            tensor.as_numpy().fill(77)


def get_input_tensor_by_name(request: InferenceRequest, name: str) -> Tensor | None:
    return request.tensors.get(name)


def utils() -> ModuleType:
    """Return the module that a model imports."""
    module = ModuleType(UTILS)
    for part in (Tensor, TritonError, TritonModelException, InferenceResponse, get_input_tensor_by_name):
        setattr(module, part.__name__, part)
    return module


def config_of(path: Path) -> Any:
    """Return a config.pbtxt as Triton's own message; ParseError where it is not of its schema."""
    return text_format.Parse(path.read_text("utf-8"), model_config_pb2.ModelConfig())


class Model:
    """An instance of a Python model of a repository: `infer` as the server calls it, one request at a time."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, **changes: str) -> None:
        monkeypatch.setitem(sys.modules, UTILS, utils())
        monkeypatch.setattr(sys, "dont_write_bytecode", True)
        self.config = config_of(folder / "config.pbtxt")
        for key, value in changes.items():
            self.config.parameters[key].string_value = value
        file = folder / "1" / self.config.default_model_filename
        spec = importlib.util.spec_from_file_location(f"stand_in_{folder.name}", file)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, spec.name, module)
        spec.loader.exec_module(module)
        self.model = module.TritonPythonModel()
        self.model.initialize({
            "model_config": json.dumps(json_format.MessageToDict(self.config, preserving_proto_field_name=True)),
            "model_instance_kind": "CPU", "model_instance_device_id": "0", "model_repository": str(folder), "model_version": "1",
            "model_name": self.config.name,
        })
        self._lock = threading.Lock()

    def infer(self, **inputs: np.ndarray) -> dict[str, np.ndarray] | TritonError:
        """Return a request's outputs, or its error."""
        problem = self.problem_of(inputs)
        if problem:
            return TritonError(problem, TritonError.INVALID_ARG)
        request = InferenceRequest(**inputs)
        with self._lock:
            (response,) = self.model.execute([request])
            request.forget()
        if response.has_error():
            return response.error()
        outputs = {tensor.name(): tensor.as_numpy() for tensor in response.output_tensors()}
        assert list(outputs) == [port.name for port in self.config.output]
        for port in self.config.output:
            assert not _mismatch(port, outputs[port.name]), _mismatch(port, outputs[port.name])
        return outputs

    def problem_of(self, inputs: Mapping[str, np.ndarray]) -> str:
        """Return what Triton's core says of a request, "" if it passes."""
        ports = {port.name: port for port in self.config.input}
        strangers = [name for name in inputs if name not in ports]
        missing = [name for name, port in ports.items() if name not in inputs and not port.optional]
        if strangers or missing:
            return f"unexpected inference inputs {strangers}, missing {missing} for model '{self.config.name}'"
        return next(filter(None, (_mismatch(ports[name], values) for name, values in inputs.items())), "")


def _mismatch(port: Any, values: np.ndarray) -> str:
    type_name = model_config_pb2.DataType.Name(port.data_type).removeprefix("TYPE_")
    fits = len(port.dims) == values.ndim and all(d in (-1, size) for d, size in zip(port.dims, values.shape, strict=True))
    if fits and values.dtype == DTYPES[type_name]:
        return ""
    return f"'{port.name}': expected {type_name} {list(port.dims)}, got {values.dtype} {list(values.shape)}"


class _Service(service_pb2_grpc.GRPCInferenceServiceServicer):  # type: ignore[misc]
    def __init__(self, models: Mapping[str, Model]) -> None:
        self._models = models

    def ServerReady(self, request: Any, context: Any) -> Any:  # noqa: N802 - a name of the protocol
        return service_pb2.ServerReadyResponse(ready=True)

    def ModelReady(self, request: Any, context: Any) -> Any:  # noqa: N802
        return service_pb2.ModelReadyResponse(ready=request.name in self._models)

    def ModelInfer(self, request: Any, context: Any) -> Any:  # noqa: N802
        if request.model_name not in self._models:
            context.abort(grpc.StatusCode.NOT_FOUND, f"Request for unknown model: '{request.model_name}' is not found")
        inputs = {
            one.name: np.frombuffer(raw, DTYPES[one.datatype]).reshape(one.shape)
            for one, raw in zip(request.inputs, request.raw_input_contents, strict=True)
        }
        found = self._models[request.model_name].infer(**inputs)
        if isinstance(found, TritonError):
            invalid = found.code() == TritonError.INVALID_ARG
            context.abort(grpc.StatusCode.INVALID_ARGUMENT if invalid else grpc.StatusCode.INTERNAL, found.message())
        response = service_pb2.ModelInferResponse(model_name=request.model_name, model_version="1", id=request.id)
        names = {np.dtype(dtype): name for name, dtype in DTYPES.items()}
        for name, values in found.items():
            response.outputs.add(name=name, datatype=names[values.dtype], shape=values.shape)
            response.raw_output_contents.append(values.tobytes())
        return response


@contextmanager
def serving(models: Mapping[str, Model]) -> Iterator[str]:
    """Serve models by Triton's gRPC protocol on a free port of this machine; yields host:port."""
    server = grpc.server(ThreadPoolExecutor(4))
    service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(_Service(models), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(None).wait()
