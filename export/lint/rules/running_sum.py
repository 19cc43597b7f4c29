"""TRKX008: sums over edges taken as differences of a running sum that is not computed in float64."""

from __future__ import annotations

from collections.abc import Iterator

import onnx

from trkx.export.lint.finding import Remark, Rule, Subject
from trkx.export.lint.walking import FLOATS, MOVING, STANDARD, dtype_name, label, place, scalar
from trkx.export.onnx_graph import HALF, Graph

SHORT = 1024
"""Length of an axis over which a running sum in float32 keeps enough digits."""
_PASSING = MOVING | {"Cast", "CastLike", "GatherND", "GatherElements", "Pad"}
_TAKING = ("Gather", "GatherND", "GatherElements")


def _check(subject: Subject) -> Iterator[Remark]:
    for graph in subject.graph.all() if subject.graph is not None else ():
        for node in graph.nodes:
            known = node.op_type == "CumSum" and node.domain in STANDARD and len(node.input) > 1 and node.output
            if not known or _short(graph, node):
                continue
            difference = _difference(graph, node)
            dtypes = [graph.dtype(name) for name in (node.input[0], difference.output[0])] if difference is not None else []
            if not dtypes or any(dtype not in FLOATS for dtype in dtypes):
                continue
            narrow = next((dtype for dtype in dtypes if dtype != onnx.TensorProto.DOUBLE), None)
            sums = f"{label(node)} runs over all edges, and sums are differences of it"
            if narrow is not None:
                yield Remark(f"{sums} in {dtype_name(narrow)}: the digits of a small sum are lost in the large one", place(node))
            elif not subject.target.double:
                yield Remark(f"{sums}: right in float64, but {subject.target.runs} computes it in float32", place(node))


def _short(graph: Graph, node: onnx.NodeProto) -> bool:
    shape, axis = graph.shape(node.input[0]), scalar(graph, node.input[1])
    if shape is None or axis is None or not -len(shape) <= axis < len(shape):
        return False
    length = shape[int(axis)]
    return isinstance(length, int) and length <= SHORT and graph.dtype(node.input[0]) not in HALF


def _difference(graph: Graph, node: onnx.NodeProto) -> onnx.NodeProto | None:
    """Return the Sub of two values that are both taken from a running sum, at least one of them by index."""
    taken = {node.output[0]: False}
    waiting = [node.output[0]]
    while waiting:
        name = waiting.pop()
        for reader in graph.consumers(name):
            if reader.domain not in STANDARD or not reader.output:
                continue
            if reader.op_type == "Sub" and all(item in taken for item in reader.input) and any(map(taken.get, reader.input)):
                return reader
            moved = reader.op_type in _PASSING and (reader.input[0] == name or reader.op_type == "Concat")
            by_index = taken[name] or reader.op_type in _TAKING
            for output in reader.output if moved else ():
                if output not in taken or by_index > taken[output]:
                    taken[output] = by_index
                    waiting.append(output)
    return None


RULE = Rule(
    id="TRKX008",
    name="running-sum",
    title="sums over edges as differences of a running sum in less than float64",
    severity="error",
    kinds=("onnx",),
    reason=(
        "The running sum grows over all edges while the sum of one hit stays small, so that their difference keeps no digit: "
        "messages of one sign were 1e-3 off at 20 000 edges and entirely wrong at a million. float64 is right, but TensorRT "
        "computes float64 in float32 without a word."
    ),
    affected="hand-written segment sums; every engine in float32; TensorRT 8 to 10.1 and probably newer in float64",
    fix="Cast to float64 before the CumSum and back after the difference; for TensorRT use another lowering (`segments`).",
    link="https://github.com/onnx/onnx-tensorrt/blob/main/docs/operators.md",
    check=_check,
)
