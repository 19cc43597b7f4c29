"""TRKX026: constant indices that are negative, or beyond the axis that they point into."""

from __future__ import annotations

from collections.abc import Iterator

import onnx

from trkx.export.lint.axes import Axes
from trkx.export.lint.axis_steps import input_of
from trkx.export.lint.doors import doors_of
from trkx.export.lint.finding import Remark, Rule, Subject
from trkx.export.lint.walking import constant, label, on_tensorrt, place
from trkx.export.onnx_graph import SCATTERS, Graph, attribute

_INDEXED = ("Gather", "GatherElements", *(name for name in SCATTERS if name != "ScatterND"))
_TUPLES = ("GatherND", "ScatterND")


def _check(subject: Subject) -> Iterator[Remark]:
    doors = doors_of(subject)
    if doors is None or subject.graph is None:
        return
    axes = Axes(subject.graph, doors)
    for graph in subject.graph.all():
        for node in graph.nodes:
            if node.op_type in (*_INDEXED, *_TUPLES):
                yield from _node(subject, axes, graph, node)


def _node(subject: Subject, axes: Axes, graph: Graph, node: onnx.NodeProto) -> Iterator[Remark]:
    index = constant(graph, input_of(node, 1)) if input_of(node, 1) else None
    if index is None or not index.size or index.dtype.kind not in "iu":
        return
    length = _length(axes, graph, node)
    low, high = int(index.min()), int(index.max())
    if length is not None and (high >= length or low < -length):
        wrong = high if high >= length else low
        yield Remark(f"{label(node)} has the index {wrong}, beyond an axis of length {length}", place(node))
    elif low < 0 and on_tensorrt(subject.target):
        scatters = node.op_type in SCATTERS
        wraps = "does not wrap" if scatters else "does not promise to wrap"
        message = f"{label(node)} has the negative index {low}, which TensorRT {wraps}"
        yield Remark(message, place(node), "error" if scatters else "warning")


def _length(axes: Axes, graph: Graph, node: onnx.NodeProto) -> int | None:
    table = axes.of(graph, input_of(node, 0))
    axis = attribute(node, "axis", 0)
    if not table or node.op_type in _TUPLES or not -len(table) <= axis < len(table):
        return None
    size = table[axis]
    return size.fixed if size is not None and not size.dynamic else None


RULE = Rule(
    id="TRKX026",
    name="constant-indices",
    title="constant indices are negative, or beyond their axis",
    severity="error",
    kinds=("onnx",),
    reason=(
        "Indices beyond an axis are an error on a CPU, skipped or clamped on CUDA, and reach other memory in TensorRT's "
        "plugin. Negative ones count from the end in ONNX; TensorRT's scatter plugin does not wrap them, its Gather wants none."
    ),
    affected="negative: TensorRT 10 and 11; beyond the axis: all engines, each in its own way",
    fix="Write the index from the front: length - 1 instead of -1.",
    link="https://docs.nvidia.com/deeplearning/tensorrt/latest/_static/operators/Gather.html",
    check=_check,
)
