"""TRKX033: operators that TensorRT takes and computes wrong."""

from __future__ import annotations

from collections.abc import Iterator

import onnx

from trkx.export.lint.axis_steps import input_of
from trkx.export.lint.finding import Remark, Rule, Subject
from trkx.export.lint.intervals import Intervals
from trkx.export.lint.walking import STANDARD, constant, label, listed, on_tensorrt, place
from trkx.export.onnx_graph import Graph, whole

EXACT = 2**24
"""Whole numbers below it are exact in float32."""


def _check(subject: Subject) -> Iterator[Remark]:
    if subject.graph is None or not on_tensorrt(subject.target):
        return
    kinds: dict[tuple[object, ...], onnx.NodeProto] = {}
    for graph in subject.graph.all():
        yield from _remainders(graph)
        for node in graph.nodes:
            if node.op_type == "CumSum" and node.domain in STANDARD:
                kinds.setdefault(_kind(graph, node), node)
    if len(kinds) > 1:
        names = listed(label(node) for node in kinds.values())
        message = f"CumSum along several axes or in several ways in one file ({names}), which TensorRT may compute all alike"
        yield Remark(message, place(next(iter(kinds.values()))))


def _kind(graph: Graph, node: onnx.NodeProto) -> tuple[object, ...]:
    """Return axis and direction of a running sum; of an axis that is counted from an end which is not known, as it is written."""
    given = constant(graph, input_of(node, 1)) if input_of(node, 1) else None
    axis = None if given is None or given.size != 1 else int(given.reshape(-1)[0])
    shape = graph.shape(node.input[0])
    if axis is not None and axis < 0 and shape is not None:
        axis += len(shape)
    return axis, whole(node, "exclusive"), whole(node, "reverse")


def _remainders(graph: Graph) -> Iterator[Remark]:
    integers, intervals = (onnx.TensorProto.INT32, onnx.TensorProto.INT64), Intervals(graph)
    for node in graph.nodes:
        if node.op_type != "Mod" or node.domain not in STANDARD or whole(node, "fmod") or len(node.input) < 2:
            continue
        low, high = intervals.of(node.input[0])
        if graph.dtype(node.input[0]) in integers and (low <= -EXACT or high >= EXACT):
            yield Remark(f"{label(node)} of whole numbers that may pass 2^24: TensorRT may give -1 for 31", place(node))


RULE = Rule(
    id="TRKX033",
    name="tensorrt-wrong",
    title="an operator that TensorRT takes and computes wrong",
    severity="error",
    kinds=("onnx",),
    reason=(
        "Engines are built without a word, and were reported to give other numbers. Since running sums are a layer (10.8), those "
        "of one file that differ in axis or direction came out alike. The parser makes the remainder of whole numbers out of a "
        "quotient that is rounded: 18542495 % 32 gave -1, as if it were divided in float32."
    ),
    affected="TensorRT 10.8 to at least 10.11 (NVIDIA/TensorRT issues 4551, 4513), 10.7 (4702); open when last seen",
    fix="Keep one kind of CumSum in a file, or none; take remainders of small numbers only. The lowering `segments` has neither.",
    link="https://github.com/NVIDIA/TensorRT/issues/4551",
    check=_check,
)
