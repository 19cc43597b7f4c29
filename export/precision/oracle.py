"""What a half-precision file must give: the float64 network's outputs, within what rounding in its precision explains.

The tolerance is made from the float32 file and the plan of the conversion, never from the file that is judged: a file that
sums in half precision, where the plan sums in float32, gets no wider tolerance for it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import onnx
from numpy.typing import NDArray

from trkx.export.check import Expectation
from trkx.export.precision.convert import in_half
from trkx.export.precision.rounding import How, RoundedGraph
from trkx.export.precision.table import HalfType
from trkx.export.validation.bounds import tolerance_from
from trkx.export.validation.oracle import Oracle
from trkx.export.zoo import Case, feeds_of

PORTION = 50_000
"""Edges of a filter that are computed at a time; a filter sees each edge alone."""
FEW, MANY, SMALL = 1, 2, 5_000
"""Samples of each kind of move, and of graphs with at most SMALL hits and edges: there chance has few outputs to even out."""


def half_oracle(float32: bytes, half: HalfType, stage: str, oracle: Oracle, together: bool = False) -> Oracle:
    """Return the oracle of a file in half precision.

    Args:
        float32: the float32 ONNX file that it was made from, which has passed its own checks.
        half: type of the file.
        stage: "embedding", "filter" or "gnn".
        oracle: of the float64 network.
        together: the network looks at all edges of an event, so that it can't be computed in portions.
    """
    graph = RoundedGraph(in_half(onnx.load_model_from_string(float32), half).model)

    def compute(case: Case, samples: int) -> Expectation:
        exact = oracle.expect(case, samples)
        generator, moves = np.random.default_rng(0), np.zeros_like(exact.output)
        kinds: tuple[How, ...] = ("moved", "moved alike")
        for how in kinds * (MANY if len(case.x) + case.edge_index.shape[1] <= SMALL else FEW):
            parts = [graph.run(feeds_of(part, graph.inputs), how, generator) for part in portions(case, stage, together)]
            moves = np.fmax(moves, np.abs(np.concatenate(parts).reshape(exact.output.shape) - exact.output))
        return replace(exact, tolerance=tolerance_from(exact.output, moves, 1) + exact.tolerance)

    return Oracle(f"{oracle.title}, within {half.name}", oracle.independent, compute)


def portions(case: Case, stage: str, together: bool = False) -> Iterator[Case]:
    """Yield a graph in parts that a network of its stage sees alone: a filter's edges PORTION at a time, all else as it is."""
    edges = case.edge_index.shape[1]
    if stage != "filter" or together or edges <= PORTION:
        yield case
        return
    for start in range(0, edges, PORTION):
        yield case.with_edges(np.arange(start, min(start + PORTION, edges)))


def emulated(data: bytes, half: HalfType, stage: str, case: Case, together: bool = False) -> NDArray[np.float32]:
    """Return what a file gives where half values are rounded and all else is float64: engines with float32 sums, near enough."""
    graph = RoundedGraph(onnx.load_model_from_string(data))
    parts = [graph.run(feeds_of(part, graph.inputs), "rounded") for part in portions(case, stage, together)]
    return np.concatenate(parts).astype(np.float32)
