"""What a file is compared with: its network in float64, else a twin that is known to be right, else itself in float64."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
import onnx
import torch
from numpy.typing import NDArray

from trkx.errors import ExportError
from trkx.export.check import Expectation, expectation_of, inputs_of, oracle_of
from trkx.export.functions import without_functions
from trkx.export.onnx_graph import Graph
from trkx.export.torchscript_file import load_torchscript
from trkx.export.validation.bounds import SAMPLES, largest_move, tolerance_from
from trkx.export.validation.model_file import ModelFile
from trkx.export.validation.onnx_float64 import Float64Graph
from trkx.export.zoo import Case, copied, feeds_of
from trkx.shown import shown

Float64 = NDArray[np.float64]


@dataclass(frozen=True)
class Oracle:
    """What is right, and how sure that is.

    title: what it is, in words. independent: it was not made from the file itself, so it can tell a wrong graph from a right
    one; otherwise it only tells whether engines compute what the file says. compute: (graph, samples) to the expectation.
    kept: what was computed, so share an oracle among the files of a network. met: of a file that is its own oracle, scatters (by
    their output) that overwrote each other's updates in zeros.
    """

    title: str
    independent: bool
    compute: Callable[[Case, int], Expectation]
    kept: dict[tuple[bytes, int], Expectation] = field(default_factory=dict, compare=False)
    met: set[str] = field(default_factory=set, compare=False)

    def expect(self, case: Case, samples: int = SAMPLES) -> Expectation:
        """Return what is right for a graph, with the tolerances of `trkx.export.validation.bounds`; computed once a graph."""
        key = (hashlib.sha256(b"".join(array.tobytes() for array in case.arrays())).digest(), samples)
        if key not in self.kept:
            self.kept[key] = self.compute(case, samples)
        return replace(self.kept[key], case=case)

    def expectations(self, cases: Sequence[Case], samples: int = SAMPLES) -> list[Expectation]:
        """Return what is right for each graph; see `expect`."""
        return [self.expect(case, samples) for case in cases]


def oracle_for(file: ModelFile, reference: bytes | None = None) -> Oracle:
    """Return the best oracle that there is for a file.

    Args:
        file: with its network, if that is known.
        reference: a TorchScript file of the same network that is known to be right; runs in float64.

    Raises:
        ExportError: there is none, or it can't be read.
    """
    if file.network is not None:
        return _torch_oracle(Expectation.source, True, file.stage, oracle_of(file.network), None)
    if reference is not None:
        return _torch_oracle("the reference in float64", True, file.stage, _script(reference, "the reference"), _rank(file))
    if file.format == "torchscript":
        return _torch_oracle("the file's own code in float64", False, file.stage, _script(file.data, file.path), None)
    if file.format == "onnx":
        title = "the file's own graph in float64"
        graph = _graph(file)
        return Oracle(title, False, partial(_onnx, graph, title), met=graph.met)
    raise ExportError(
        f"{file.path}: nothing says what is right for a file of format {file.format} alone; "
        "validate the bundle that it belongs to, or give a TorchScript reference."
    )


def _torch_oracle(title: str, independent: bool, stage: str, network: Callable[..., torch.Tensor], rank: int | None) -> Oracle:
    return Oracle(title, independent, partial(_torch, stage, network, rank, title))


def _script(data: bytes, name: str) -> Callable[..., torch.Tensor]:
    try:
        module: torch.nn.Module = load_torchscript(data).double().eval()
    except Exception as error:  # torch raises RuntimeError, pickle and zip errors
        raise ExportError(f"{name}: expected a TorchScript file, found {error}") from error
    return module


def _graph(file: ModelFile) -> Float64Graph:
    try:
        return Float64Graph(without_functions(onnx.load_model_from_string(file.data)))
    except Exception as error:  # protobuf and the evaluator raise many kinds
        reason = str(error).strip() or type(error).__name__
        raise ExportError(f"{shown(file.path)}: can't be computed in float64: {reason}") from error


def _rank(file: ModelFile) -> int | None:
    """Return the rank of a file's output as it declares it; the reference may leave out the column of one."""
    if file.format != "onnx":
        return None
    model = onnx.load_model_from_string(file.data)
    shape = Graph(model, infer=False).shape(model.graph.output[0].name)
    return None if shape is None else len(shape)


def _torch(
    stage: str, network: Callable[..., torch.Tensor], rank: int | None, title: str, case: Case, samples: int
) -> Expectation:
    def run(graph: Case) -> torch.Tensor:
        output = network(*inputs_of(stage, graph, torch.float64))
        wide = output.unsqueeze(1) if output.ndim == 1 else output.flatten(1)  # reshape can't without any edge
        return wide if rank == 2 else output.reshape(-1) if rank == 1 else output

    return expectation_of(case, run, samples, title)


def _onnx(graph: Float64Graph, title: str, case: Case, samples: int) -> Expectation:
    samples = 1  # onnx's evaluator is slow, and what the file says of itself needs no finer measure
    generator = np.random.default_rng(0)

    def moved(copies: int) -> Float64:
        return graph.run(feeds_of(copied(case, copies), graph.inputs), generator)

    try:
        exact = graph.run(feeds_of(case, graph.inputs))
    except Exception as error:  # the evaluator raises what numpy raises
        problem = f"the file can't be computed in float64 ({error}); look at what lint says"
        raise ExportError(f"graph '{case.name}': {problem}.") from error
    return Expectation(case, exact, tolerance_from(exact, largest_move(exact, moved, samples), samples), title)
