"""Simplifies an ONNX model with onnxsim, and keeps the result only if it is as right as before and no larger."""

from __future__ import annotations

import collections
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx

from trkx.export.check import Expectation, run_onnx
from trkx.export.onnx_graph import SCATTERS, reduction_of

LARGER, SLACK = 1.05, 4096
"""A simplified model may be larger by this factor and so many bytes (names and split weights), not more."""


@dataclass(frozen=True)
class Simplified:
    """What came of it. model: simplified or as it was. note: one sentence for the manifest."""

    model: onnx.ModelProto
    changed: bool
    note: str


def simplified(stage: str, model: onnx.ModelProto, expected: Sequence[Expectation]) -> Simplified:
    """Return the simplified model if its outputs stay within the tolerances of all graphs, else the model as it was.

    A simplifier that fails is no reason to refuse a right file, but it is told: the note goes into the bundle's manifest.
    """
    before = len(model.graph.node)

    def kept(reason: str) -> Simplified:
        return Simplified(model, False, f"not simplified: {reason}")

    try:
        import onnxsim  # its failure to load must not stop an export

        result, valid = onnxsim.simplify(model)
    except Exception as error:  # compiled code with its own error classes
        return kept(f"onnxsim failed ({type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'no message'})")
    del result.graph.value_info[:]
    if not valid:
        return kept("onnxsim's own check failed")
    if _scatters(result) != _scatters(model):
        return kept("onnxsim changed the scatter operators")
    if result.ByteSize() > LARGER * model.ByteSize() + SLACK:
        return kept(f"onnxsim made it larger ({model.ByteSize()} to {result.ByteSize()} bytes)")
    try:
        old, new = run_onnx(stage, model.SerializeToString()), run_onnx(stage, result.SerializeToString())
        for expectation in expected:
            first, second = old(expectation.case), new(expectation.case)
            if first.shape != second.shape or first.dtype != second.dtype:
                return kept(f"outputs changed their shape on graph '{expectation.case.name}'")
            change = np.abs(first.astype(np.float64) - second.astype(np.float64))
            if not (change <= expectation.tolerance).all():
                return kept(f"outputs changed by {change.max():.2g} on graph '{expectation.case.name}'")
    except Exception as error:  # ONNX Runtime's own error classes
        return kept(f"the simplified model does not run ({str(error).splitlines()[0]})")
    note = f"simplified by onnxsim, {before} to {len(result.graph.node)} nodes; outputs compared on {len(expected)} graphs"
    return Simplified(result, True, note)


def _scatters(model: onnx.ModelProto) -> collections.Counter[tuple[str, str]]:
    return collections.Counter(
        (node.op_type, reduction_of(node)) for node in model.graph.node if node.op_type in SCATTERS
    )
