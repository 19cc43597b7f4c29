"""Before and after every optimiser: what users' engines and tools make of a file must still be right.

ONNX Runtime optimises every file that it loads, so a level at which the result is wrong fails the file. Other tools are the
user's choice: if one of them breaks a file that is right itself, the tool is at fault (up to onnxscript 0.7.2, its rewriter
takes `x + 1e-12` for `x`, and a guard against 0 / 0 is gone). Such a row says so and counts as not checked, since nothing
that can be shipped with the file has failed; it must not be put through that tool.
"""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import onnx
import onnxruntime
import torch

from trkx.export.check import Expectation, compared
from trkx.export.torchscript_file import load_torchscript, torchscript_is_meant
from trkx.export.validation.engines import Run, module_run, session_run
from trkx.export.validation.graphs import brief, output_of, row_of
from trkx.export.validation.model_file import ModelFile
from trkx.export.validation.report import Row

LEVELS: Mapping[str, Any] = {
    "none": onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL,
    "basic": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC,
    "extended": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED,
    "all": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL,
}
"""ONNX Runtime's levels of graph optimisation."""
Tool = Callable[[bytes], bytes]


def optimiser_rows(file: ModelFile, expectations: Sequence[Expectation], tools: bool = True) -> list[Row]:
    """Return one row for each optimiser: all graphs before and after, on one thread.

    Args:
        file: ONNX or TorchScript; others have no rows, their compiler has optimised already.
        expectations: from `trkx.export.validation.oracle`.
        tools: also those that users may or may not put a file through.
    """
    if file.format == "onnx":
        rows = [_level(file, name, expectations) for name in LEVELS]
        wrong = any(row.status == "failed" for row in rows)
        return rows + ([_tool(file, *tool, expectations, wrong) for tool in ONNX_TOOLS] if tools else [])
    if file.format == "torchscript" and tools:
        wrong = _is_wrong(file, expectations)
        return [_tool(file, *tool, expectations, wrong) for tool in TORCH_TOOLS]
    return []


def _level(file: ModelFile, name: str, expectations: Sequence[Expectation]) -> Row:
    engine, case = "ONNX Runtime CPU, 1 thread", f"optimisation level: {name}"
    try:
        run = _session(file.data, LEVELS[name])
    except Exception as error:  # ONNX Runtime has its own error classes
        return Row("optimisers", file.stage, file.path, engine, case, "failed", detail=f"It can't load the file: {brief(error)}.")
    difference, tolerance, problem = farthest(run, expectations)
    return row_of("optimisers", file, engine, case, difference, tolerance, problem)


def _session(data: bytes, level: Any) -> Run:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    options.graph_optimization_level = level
    return session_run(data, options)


def farthest(run: Run, expectations: Sequence[Expectation]) -> tuple[float, float, str]:
    """Return (difference, tolerance, problem or "") of the graph that comes nearest to its tolerance, or of the first beyond."""
    worst = (0.0, 0.0, "")
    for expectation in expectations:
        found, failure = output_of(run, expectation.case)
        where = f"graph '{expectation.case.name}'"
        if found is None:
            return float("nan"), 0.0, f"{where}: can't be run: {failure}"
        difference, tolerance, problem = compared(expectation, found)
        if problem:
            return difference, tolerance, f"{where}: {problem}"
        if tolerance and difference / tolerance >= (worst[0] / worst[1] if worst[1] else 0.0):
            worst = (difference, tolerance, "")
    return worst


def _is_wrong(file: ModelFile, expectations: Sequence[Expectation]) -> bool:
    try:
        return bool(farthest(RUNS[file.format](file, file.data), expectations)[2])
    except Exception:  # what can't be loaded is wrong, whatever the engine calls it
        return True


def _tool(file: ModelFile, name: str, package: str, tool: Tool, expectations: Sequence[Expectation], wrong: bool) -> Row:
    def row(detail: str) -> Row:
        return Row("optimisers", file.stage, file.path, name, "before and after", "not checked", detail=detail)

    if wrong:
        return row("The file is wrong before any tool has touched it.")
    if find_spec(package) is None:
        return row(f"The package {package} is not installed.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the tools' advice on their own future
            run = RUNS[file.format](file, tool(file.data))
    except Exception as error:  # the tools have error classes of their own
        return row(f"{name} fails on this file: {brief(error)}.")
    difference, tolerance, problem = farthest(run, expectations)
    if problem:
        return row(f"Do not use it: {name} breaks this file, {problem}. The file itself is not at fault.")
    return row_of("optimisers", file, name, "before and after", difference, tolerance, "")


def _onnxsim(data: bytes) -> bytes:
    model, valid = import_module("onnxsim").simplify(onnx.load_model_from_string(data))
    if not valid:
        raise ValueError("its own check failed")
    return bytes(model.SerializeToString())


def _onnxslim(data: bytes) -> bytes:
    return bytes(import_module("onnxslim").slim(onnx.load_model_from_string(data)).SerializeToString())


def _onnxscript(data: bytes) -> bytes:
    optimizer, logger = import_module("onnxscript.optimizer"), logging.getLogger("onnxscript.optimizer._constant_folding")
    level = logger.level
    logger.setLevel(logging.ERROR)  # it tells of every fold that it does not take
    try:
        return bytes(optimizer.optimize(onnx.load_model_from_string(data)).SerializeToString())
    finally:
        logger.setLevel(level)


def _saved(module: Any) -> bytes:
    buffer = io.BytesIO()
    torch.jit.save(module, buffer)
    return buffer.getvalue()


def _frozen(data: bytes) -> bytes:
    with torchscript_is_meant():
        return _saved(torch.jit.freeze(load_torchscript(data).eval()))


def _for_inference(data: bytes) -> bytes:
    with torchscript_is_meant():
        return _saved(torch.jit.optimize_for_inference(load_torchscript(data).eval()))


def _torch_run(file: ModelFile, data: bytes) -> Run:
    return module_run(file.stage, load_torchscript(data), 1, "cpu")


ONNX_TOOLS: Sequence[tuple[str, str, Tool]] = (
    ("onnxsim", "onnxsim", _onnxsim),
    ("onnxslim", "onnxslim", _onnxslim),
    ("onnxscript's optimiser", "onnxscript", _onnxscript),
)
TORCH_TOOLS: Sequence[tuple[str, str, Tool]] = (
    ("torch.jit.freeze", "torch", _frozen),
    ("torch.jit.optimize_for_inference", "torch", _for_inference),
)
"""Name, package, and what turns a file into an optimised one."""
RUNS: Mapping[str, Callable[[ModelFile, bytes], Run]] = {
    "onnx": lambda file, data: _session(data, LEVELS["all"]),
    "torchscript": _torch_run,
}
