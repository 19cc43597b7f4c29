"""TRKX007: a sort over more elements than the target can sort."""

from __future__ import annotations

from collections.abc import Iterator

from trkx.export.lint.finding import Remark, Rule, Subject
from trkx.export.lint.intervals import COUNT, Intervals
from trkx.export.lint.walking import STANDARD, label, place
from trkx.export.onnx_graph import whole

LARGEST = 3840
"""Largest k of TensorRT's TopK."""


def _check(subject: Subject) -> Iterator[Remark]:
    if subject.target.sort:
        return
    for graph in subject.graph.all() if subject.graph is not None else ():
        intervals = Intervals(graph)
        for node in graph.nodes:
            if node.op_type != "TopK" or node.domain not in STANDARD or not node.input:
                continue
            most = intervals.of(node.input[1])[1] if len(node.input) > 1 else whole(node, "k")
            shape = graph.shape(node.input[0])
            axis = whole(node, "axis", -1)
            length = shape[axis] if shape is not None and -len(shape) <= axis < len(shape) else None
            if min(most, length if isinstance(length, int) else most) > LARGEST:
                number = f"{most} elements" if most < COUNT else "as many elements as the event has"
                yield Remark(f"{label(node)} sorts {number}, {subject.target.runs} at most {LARGEST}", place(node))


RULE = Rule(
    id="TRKX007",
    name="sort-over-edges",
    title="a sort or TopK over edges or hits, which the target can't do",
    severity="error",
    kinds=("onnx",),
    reason="TensorRT's TopK takes at most 3840 elements, and ONNX has no other sort. Building the engine fails.",
    affected="TensorRT, all versions; networks that sort edges or choose neighbours in the graph",
    fix=(
        "Sort before the network: the runtime and ACTS hand over edges in their order. Of our lowerings `segments` sorts by "
        "counting, and `scatter` sorts nothing; both are for TensorRT."
    ),
    link="https://docs.nvidia.com/deeplearning/tensorrt/latest/_static/operators/TopK.html",
    check=_check,
)
