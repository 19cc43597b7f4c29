"""The original and the repaired file, ready to be evaluated, and what the original was meant to give."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

from trkx.errors import ExportError
from trkx.export.lint.doors import Doors
from trkx.export.onnx_graph import Graph, reduction_of
from trkx.export.repair.change import Request, doors_in
from trkx.export.repair.float64 import Array, Evaluate, evaluator, types_of
from trkx.export.repair.trials import Maker, Trial, joined, padded, small, zoo

Float64 = NDArray[np.float64]
Sizes = tuple[int | None, int | None]
ENGINE_ERRORS: tuple[type[Exception], ...] = (RuntimeError, ValueError, *(
    item for item in vars(onnxruntime.capi.onnxruntime_pybind11_state).values()
    if isinstance(item, type) and issubclass(item, Exception)
))
"""What ONNX Runtime raises; its classes have no base of their own."""


@dataclass(frozen=True)
class Side:
    """A file with its doors.

    exact: it in float64, with scatters as they are meant. met: scatters (by their output) that overwrote each other's updates in
    zeros wherever `exact` was asked so far.
    """

    model: onnx.ModelProto
    doors: Doors
    exact: Evaluate
    met: set[str]

    def wanted(self, trial: Trial) -> Float64:
        """Return the output in float64, [rows, columns]."""
        return flat(self.exact(trial.feeds(self.doors)))

    def rows(self, trial: Trial) -> int:
        """Return how many rows the output must have: edges of a classifier, hits otherwise."""
        return trial.edges.shape[1] if self.doors.classifier else len(trial.x)

    @property
    def output(self) -> str:
        """Name of the output."""
        return output_of(self.doors)

    @property
    def races(self) -> bool:
        """Whether the file holds a ScatterND with a reduction, which ONNX Runtime's CPU kernel computes with a race."""
        graph = Graph(self.model, infer=False)
        return any(node.op_type == "ScatterND" and reduction_of(node) != "none" for part in graph.all() for node in part.nodes)

    def session(self, threads: int) -> Evaluate:
        """Return a function that runs the file on ONNX Runtime's CPU provider; raises ENGINE_ERRORS."""
        options = onnxruntime.SessionOptions()
        options.log_severity_level, options.intra_op_num_threads, options.inter_op_num_threads = 4, threads, 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # waiting threads leave the cores to others
        data = self.model.SerializeToString()
        session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        kinds = types_of(self.doors.inputs)

        def run(feeds: Mapping[str, Array]) -> Array:
            given = {name: value.astype(kinds[name]) for name, value in feeds.items()}
            return np.asarray(session.run([self.output], given)[0])

        return run


def side_of(model: onnx.ModelProto, request: Request, meant: Sequence[tuple[str, str]] = ()) -> Side:
    """Return a file as a side; ExportError if the reference evaluator can't read it."""
    doors = doors_in(model, request)
    met: set[str] = set()
    return Side(model, doors, evaluator(model, output_of(doors), meant, met=met), met)


def output_of(doors: Doors) -> str:
    """Return the name of the output; ExportError if there is none or more than one, of which the others would go unchecked."""
    if doors.output is None or len(doors.outputs) != 1:
        raise ExportError(f"expected one output, found {len(doors.outputs)}; export the network with its logits as the only one.")
    return str(doors.output.name)


def flat(output: Array) -> Float64:
    """Return outputs as float64 [rows, columns], also those of rank 1."""
    wide = np.asarray(output).astype(np.float64)
    return wide.reshape(len(wide), -1) if wide.size else wide.reshape(wide.shape[0] if wide.ndim else 0, 1)


def expected(old: Side, maker: Maker, sizes: Sizes, rng: np.random.Generator) -> Iterator[tuple[Trial, Float64]]:
    """Yield (graph, output that the original is meant to give for it, float64 [rows, columns]).

    An original that takes one size only (`sizes`: hits, edges) is asked for smaller graphs as a part of one of that size, and
    for larger ones that are made of several of that size: what a network says of edges depends on nothing that they are not
    connected with. One for which that is not so can't be told from one that was freed wrongly, and fails.
    """
    hits, edges = sizes
    if sizes == (None, None):
        yield from ((trial, old.wanted(trial)) for trial in zoo(maker, rng))
        return
    for trial in small(maker, hits, edges, rng):
        yield trial, old.wanted(padded(trial, hits, edges, maker, rng))[:old.rows(trial)]
    for count in (1, 3):
        links = [rng.integers(0, hits or 9, (2, 30 if edges is None else edges)) for _ in range(count)]
        parts = [maker.trial("part", hits or 9, pairs, rng) for pairs in links]
        yield joined(parts), np.concatenate([old.wanted(part) for part in parts])
