"""Compares what a file computes with the float64 network. A file that differs, in any way, does not leave."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray
from torch import nn

from trkx.errors import ExportError
from trkx.export.torchscript_file import load_torchscript, problems_in_torchscript
from trkx.export.validation.bounds import SAMPLES, exact_and_moves, tolerance_from
from trkx.export.zoo import Case, copied, feeds_of

Float64 = NDArray[np.float64]
Run = Callable[[Case], NDArray[np.generic]]

BLIND = 0.02
"""A tolerance above this fraction of the largest output (or 1) could hide a fault; so wide, an output proves nothing."""
SEEING = 0.9
"""Least fraction of a graph's outputs that must prove something, otherwise the check itself fails."""
SMALL = 20_000
"""Edges up to which one thread is faster than several that wait for each other."""


@dataclass(frozen=True)
class CheckRow:
    """One comparison.

    difference: largest absolute difference, NaN if there is nothing to compare. tolerance: of that same output. If outputs
    are beyond their tolerance, both are of the one that is farthest beyond. problem: "" if passed. engine: that
    ran it, "" if none did. detail: what was counted, for checks that count.
    """

    file: str
    stage: str
    graph: str
    difference: float
    tolerance: float
    passed: bool
    problem: str = ""
    engine: str = ""
    detail: str = ""

    def __str__(self) -> str:
        where = ", ".join(filter(None, (self.file, self.engine, f"graph '{self.graph}'")))
        return f"{where}: {self.problem or 'passed'}"


@dataclass(frozen=True)
class Expectation:
    """What a network says of a graph: output, float64 [rows, D], by how much float32 may differ, [rows, D], and who says so."""

    case: Case
    output: Float64
    tolerance: Float64
    source: str = "the float64 network"

    @property
    def problem(self) -> str:
        """Say why this graph can't prove anything, "" if it can."""
        if not np.isfinite(self.output).all():
            return "the network itself gives NaN or infinity in float64; look at its weights and at the scales"
        limit = BLIND * _size(self.output)
        blind = float(np.mean(~(self.tolerance <= limit))) if self.output.size else 0.0
        if blind > 1.0 - SEEING:
            return f"float32 rounding moves {blind:.0%} of the outputs so much (tolerance above {limit:.2g}) that faults can hide"
        return ""


def seeing(expectations: Sequence[Expectation]) -> tuple[list[Expectation], list[Expectation]]:
    """Return the expectations that can prove something, and those that can't.

    For networks whose batch norms take their statistics from the event: where all hits are alike they divide rounding by the
    spread of rounding, so that no engine can be right or wrong there.
    """
    return [item for item in expectations if not item.problem], [item for item in expectations if item.problem]


def _size(output: Float64) -> float:
    return max(1.0, float(np.abs(output).max(initial=0.0)))


def inputs_of(stage: str, case: Case, dtype: torch.dtype) -> tuple[torch.Tensor, ...]:
    """Return a graph as what a network of that stage is called with: contiguous, which AOTInductor takes for granted."""
    arrays = [np.ascontiguousarray(array) for array in case.arrays(stage)]
    return tuple(torch.tensor(array, dtype=dtype if array.dtype.kind == "f" else None) for array in arrays)


def oracle_of(network: nn.Module) -> nn.Module:
    """Return a float64 copy of a network, in eval mode."""
    return copy.deepcopy(network).double().eval()


def expectations(stage: str, network: nn.Module, cases: Sequence[Case]) -> list[Expectation]:
    """Return what the float64 network says of each graph, and by how much float32 may differ, output by output.

    The tolerance is what `trkx.export.validation.bounds` makes of the rounding bounds of the network's own operators. It
    replaces one that was measured as float32 noise: that one had to move the inputs as well, went blind where all hits are
    alike, and was up to 100 times wider for two hits at nearly the same place.

    Args:
        stage: "embedding" (whose result does not depend on edges), "filter" or "gnn".
        network: the float32 network in eval mode.
        cases: the graphs.
    """
    oracle = oracle_of(network)
    return [expectation_of(case, lambda graph: oracle(*inputs_of(stage, graph, torch.float64))) for case in cases]


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Give torch so many threads, and put its own number back at the end."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def expectation_of(
    case: Case, run: Callable[[Case], torch.Tensor], samples: int = SAMPLES, source: str = Expectation.source
) -> Expectation:
    """Return the expectation of one graph; `run` gives the float64 output of a graph, see `trkx.export.validation.bounds`."""
    small = case.edge_index.shape[1] <= SMALL
    with torch_threads(1) if small else nullcontext():
        exact, moves = exact_and_moves(lambda copies: run(copied(case, copies)), samples)
    return Expectation(case, exact, tolerance_from(exact, moves, samples), source)


def run_onnx(stage: str, data: bytes) -> Run:
    """Return a function that runs an ONNX file on ONNX Runtime's CPU provider with its default optimisations."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_inputs()]

    def run(case: Case) -> NDArray[np.generic]:
        return np.asarray(session.run(["output"], feeds_of(case, names))[0])

    return run


def run_torchscript(stage: str, data: bytes) -> Run:
    """Return a function that runs a TorchScript file; it refuses one that writes into its inputs or returns a shared buffer."""
    module = load_torchscript(data)

    def run(case: Case) -> NDArray[np.generic]:
        inputs = inputs_of(stage, case, torch.float32)
        kept = [value.clone() for value in inputs]
        with torch.no_grad():
            output = module(*inputs)
            if not isinstance(output, torch.Tensor):
                raise ExportError(f"expected one tensor, found {type(output).__name__}")
            first = output.clone()
            output.sigmoid_()  # what ACTS does to it
            second = module(*inputs)
        if not all(torch.equal(a, b) for a, b in zip(inputs, kept, strict=True)):
            raise ExportError("the model writes into its inputs, or returns one")
        if output.numel() and output.data_ptr() == second.data_ptr():
            raise ExportError("the model returns a buffer that it keeps")
        if not second.is_contiguous():
            raise ExportError("the output is not contiguous, and ACTS reads it through a raw pointer")
        return np.asarray(first.numpy())

    return run


def run_aoti(stage: str, data: bytes) -> Run:
    """Return a function that runs an AOTInductor package on the CPU. Loading it runs machine code: know where it comes from."""
    with tempfile.TemporaryDirectory(prefix="trkx-aoti-") as folder:
        path = Path(folder) / "model.pt2"
        path.write_bytes(data)
        package = torch._inductor.aoti_load_package(str(path))

    def run(case: Case) -> NDArray[np.generic]:
        with torch.no_grad():
            return np.asarray(package(*inputs_of(stage, case, torch.float32)).numpy())

    return run


RUNNERS: Mapping[str, Callable[[str, bytes], Run]] = {"onnx": run_onnx, "torchscript": run_torchscript, "aoti": run_aoti}


def compared(expectation: Expectation, found: NDArray[np.generic]) -> tuple[float, float, str]:
    """Return (largest absolute difference, tolerance, problem or "") of an output against what was expected."""
    expected, allowed = expectation.output, expectation.tolerance
    if found.dtype != np.float32:
        return float("nan"), 0.0, f"output is {found.dtype}, expected float32"
    if found.shape != expected.shape:
        return float("nan"), 0.0, f"output has shape {list(found.shape)}, expected {list(expected.shape)}"
    if not np.isfinite(found).all():
        bad = np.argwhere(~np.isfinite(found))
        return float("inf"), 0.0, f"{len(bad)} of {found.size} outputs are NaN or infinite, the first in row {bad[0][0]}"
    if found.size == 0:
        return 0.0, 0.0, expectation.problem
    distance = np.abs(found.astype(np.float64) - expected)
    with np.errstate(invalid="ignore"):  # infinity over infinity, where the network itself overflows
        worst = np.unravel_index((distance / allowed).argmax(), distance.shape)
    if distance[worst] > allowed[worst]:
        beyond, there, limit = int((distance > allowed).sum()), float(distance[worst]), float(allowed[worst])
        problem = f"{beyond} of {found.size} outputs differ from {expectation.source}, row {worst[0]} by {there:.3g}"
        return there, limit, f"{problem}, where at most {limit:.2g} is rounding"
    largest = np.unravel_index(distance.argmax(), distance.shape)
    return float(distance[largest]), float(allowed[largest]), expectation.problem


def check_file(file: str, stage: str, data: bytes, format: str, expected: Sequence[Expectation]) -> list[CheckRow]:
    """Run a file on every graph and compare it with the float64 network.

    Args:
        file: its name, for messages.
        stage: "embedding", "filter" or "gnn".
        data: its content.
        format: a key of RUNNERS.
        expected: from `expectations`.

    Returns:
        One row a graph, or a single failed row, graph "load", if the file can't be loaded.
    """
    rows = []
    try:
        problems = problems_in_torchscript(data) if format == "torchscript" else []
        if problems:
            raise ExportError("; ".join(problems))
        run = RUNNERS[format](stage, data)
    except Exception as error:  # the engines have error classes of their own
        return [CheckRow(file, stage, "load", float("nan"), 0.0, False, f"can't be loaded: {error}")]
    for expectation in expected:
        try:
            difference, tolerance, problem = compared(expectation, run(expectation.case))
        except Exception as error:  # as above
            difference, tolerance, problem = float("nan"), 0.0, f"can't be run: {error}"
        rows.append(CheckRow(file, stage, expectation.case.name, difference, tolerance, not problem, problem))
    return rows
