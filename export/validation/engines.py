"""The engines that a validation runs files on, as rows; those that are not here are rows too, with the reason."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray
from onnx.reference import ReferenceEvaluator
from safetensors.numpy import load

from trkx.errors import ExportError
from trkx.export.check import inputs_of, run_aoti, run_torchscript, torch_threads
from trkx.export.torchscript_file import load_torchscript
from trkx.export.validation.model_file import ModelFile
from trkx.export.validation.reference_ops import REFERENCE_OPS
from trkx.export.zoo import Case, feeds_of
from trkx.runtime.engines.tiled import TiledEngine

Run = Callable[[Case], NDArray[np.generic]]
"""Takes a graph, returns the output as the engine gave it."""
Open = Callable[[ModelFile, int], Run]
THREADS = (1, 2, 8)
CPU, CUDA, TENSORRT = "CPUExecutionProvider", "CUDAExecutionProvider", "TensorrtExecutionProvider"


@dataclass(frozen=True)
class Engine:
    """One engine in one setting.

    name: as rows call it, e.g. "ONNX Runtime CPU, 2 threads". formats: that it runs. why_not: "" if it can be used here.
    open: (file, threads) to a function that runs it; raises if the engine can't load the file. family: the name without the
    setting. threads: what `open` is to be called with. repeatable: the same input must give the same bits; an engine that adds
    with atomics can't promise that. decisive: a file that it can't load or run is wrong; onnx's own evaluator only lacks
    operators.
    """

    name: str
    formats: tuple[str, ...]
    why_not: str
    open: Open
    family: str = ""
    threads: int = 1
    repeatable: bool = True
    decisive: bool = True

    def start(self, file: ModelFile) -> Run:
        """Return a function that runs the file in this setting; raises if the engine can't load it."""
        if self.why_not:
            raise ExportError(f"{self.name}: {self.why_not}.")
        return self.open(file, self.threads)


def engines_for(format: str, threads: Sequence[int] = THREADS) -> list[Engine]:
    """Return every engine that runs files of a format, here or not, CPU engines once for each number of threads.

    format: "onnx", "torchscript", "aoti", "weights", or "eager" for a network without a file.
    """
    return [row for row in _engines(threads) if format in row.formats]


def _engines(threads: Sequence[int]) -> list[Engine]:
    cuda = "" if torch.cuda.is_available() else "no GPU that torch can use"
    rows: list[Engine] = []
    for family, format, open_, why_not in (
        ("ONNX Runtime CPU", "onnx", _onnxruntime, ""),
        ("TorchScript", "torchscript", _torchscript, ""),
        ("AOTInductor", "aoti", _aoti, ""),
        ("PyTorch float32", "eager", _eager, ""),
        ("trkx tiled", "weights", _tiled, ""),
    ):
        for count in threads:
            name = f"{family}, {count} thread{'s' * (count > 1)}"
            rows.append(Engine(name, (format,), why_not, open_, family, count))
    return [
        *rows,
        Engine("onnx reference evaluator", ("onnx",), "", _reference, "onnx reference evaluator", decisive=False),
        _gpu("ONNX Runtime CUDA", "onnx", _provider(CUDA), partial(_onnxruntime, provider=CUDA)),
        _gpu("ONNX Runtime TensorRT", "onnx", _provider(TENSORRT), partial(_onnxruntime, provider=TENSORRT)),
        _gpu("TensorRT", "onnx", _tensorrt(), _nowhere),
        _gpu("TorchScript CUDA", "torchscript", cuda, partial(_torchscript, device="cuda")),
        _gpu("PyTorch float32 CUDA", "eager", cuda, partial(_eager, device="cuda")),
    ]


def _gpu(name: str, format: str, why_not: str, open_: Open) -> Engine:
    return Engine(name, (format,), why_not, open_, name, repeatable=False)


def _provider(name: str) -> str:
    here = onnxruntime.get_available_providers()
    return "" if name in here else f"this onnxruntime has no {name}, only {', '.join(here)}"


def _tensorrt() -> str:
    if find_spec("tensorrt") is None:
        return "the package tensorrt is not installed"
    return "trkx validate builds no engines; run the bundle with --engine tensorrt and compare its tracks"


def _nowhere(file: ModelFile, threads: int) -> Run:
    raise ExportError(f"{file.path}: TensorRT engines are not run here.")


def _onnxruntime(file: ModelFile, threads: int, provider: str = CPU) -> Run:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = threads
    if threads > (os.cpu_count() or 1):  # more threads than cores: those that wait must not keep the others from working
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return session_run(file.data, options, provider)


def session_run(data: bytes, options: Any, provider: str = CPU) -> Run:
    """Return a function that runs an ONNX file on ONNX Runtime, inputs and outputs by position.

    Raises:
        ExportError: the provider that was asked for is not the one that is used first.
    """
    wanted: list[Any] = [(provider, {"use_tf32": "0"})] if provider == CUDA else [provider]
    session = onnxruntime.InferenceSession(data, options, providers=wanted)
    if session.get_providers()[0] != provider:
        raise ExportError(f"expected {provider}, ONNX Runtime fell back to {session.get_providers()[0]}")
    names, outputs = [item.name for item in session.get_inputs()], [session.get_outputs()[0].name]

    def run(case: Case) -> NDArray[np.generic]:
        return np.asarray(session.run(outputs, feeds_of(case, names))[0])

    return run


def _reference(file: ModelFile, threads: int) -> Run:
    evaluator = ReferenceEvaluator(onnx.load_model_from_string(file.data), new_ops=REFERENCE_OPS)

    def run(case: Case) -> NDArray[np.generic]:
        with np.errstate(all="ignore"):
            outputs: Any = evaluator.run(None, feeds_of(case, evaluator.input_names))
        return np.asarray(outputs[0])

    return run


def _torchscript(file: ModelFile, threads: int, device: str = "cpu") -> Run:
    if device == "cpu" and threads == 1:
        careful = run_torchscript(file.stage, file.data)  # also sees writes into inputs, and buffers that are kept

        def run(case: Case) -> NDArray[np.generic]:
            with torch_threads(1):
                return careful(case)

        return run
    return module_run(file.stage, load_torchscript(file.data).to(device), threads, device)


def _eager(file: ModelFile, threads: int, device: str = "cpu") -> Run:
    if file.network is None:
        raise ExportError(f"{file.path}: the network is not known, so there is nothing to run in PyTorch")
    return module_run(file.stage, copy.deepcopy(file.network).to(device), threads, device)


def _tiled(file: ModelFile, threads: int) -> Run:
    if file.spec is None:
        raise ExportError(f"{file.path}: the specification is not known, so the tiled engine can't run it")
    engine = TiledEngine(file.spec, load(file.data), threads, stages=(file.stage,))

    def run(case: Case) -> NDArray[np.generic]:
        if file.stage == "embedding":
            return engine.embed(case.x)
        if file.stage == "filter":
            return engine.filter(case.x, case.edge_index)[:, None]
        return engine.gnn(case.x, case.edge_index, case.edge_attr)[:, None]

    return run


def _aoti(file: ModelFile, threads: int) -> Run:
    plain = run_aoti(file.stage, file.data)

    def run(case: Case) -> NDArray[np.generic]:
        with torch_threads(threads):
            return plain(case)

    return run


def module_run(stage: str, module: Callable[..., Any], threads: int, device: str) -> Run:
    """Return a function that runs a torch module on a device with so many threads; torch's own number is put back."""

    def run(case: Case) -> NDArray[np.generic]:
        inputs = [value.to(device) for value in inputs_of(stage, case, torch.float32)]
        with torch.no_grad(), torch_threads(threads):
            output = module(*inputs)
        if not isinstance(output, torch.Tensor):
            raise ExportError(f"expected one tensor, found {type(output).__name__}")
        return np.asarray(output.cpu().numpy())

    return run
