"""TRKX025: indices or counts in a type that does not hold them exactly."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx

from trkx.export.lint.axes import Axes
from trkx.export.lint.axis_steps import sizes_held
from trkx.export.lint.doors import Doors, doors_of
from trkx.export.lint.finding import Remark, Rule, Subject
from trkx.export.lint.walking import INTEGERS, MOVING, constant, dtype_name, label, place, sources
from trkx.export.onnx_graph import HALF, Graph, attribute

EXACT: dict[int, int] = {
    onnx.TensorProto.FLOAT16: 2**11, onnx.TensorProto.BFLOAT16: 2**8, onnx.TensorProto.FLOAT: 2**24,
    onnx.TensorProto.INT8: 2**7 - 1, onnx.TensorProto.UINT8: 2**8 - 1,
    onnx.TensorProto.INT16: 2**15 - 1, onnx.TensorProto.UINT16: 2**16 - 1,
}  # fmt: skip
"""Largest whole number up to which a type holds all of them."""
_COUNTING = (
    "Shape", "Size", "NonZero", "ArgMax", "ArgMin", "Unique", "Range", "CumSum", "ReduceSum", "ScatterElements", "ScatterND",
)
_ARITHMETIC = frozenset(("Add", "Sub", "Mul", "Neg", "Max", "Min", "Clip", "Cast", "ReduceMax", "ReduceMin", "Where"))


def _check(subject: Subject) -> Iterator[Remark]:
    doors = doors_of(subject)
    if doors is None or subject.graph is None:
        return
    axes = Axes(subject.graph, doors)
    for graph in subject.graph.all():
        for node in graph.nodes:
            if node.op_type in ("Cast", "CastLike") and node.input and node.output:
                yield from _cast(subject, axes, graph, node, doors)
            elif node.op_type in ("CumSum", "ReduceSum") and node.input:
                dtype = graph.dtype(node.input[0])
                if dtype in HALF and _ones(graph, node.input[0]) and _moving(axes, graph, node):
                    yield Remark(f"{label(node)} counts in {dtype_name(dtype)}, which stops at {EXACT[dtype]}", place(node))


def _cast(subject: Subject, axes: Axes, graph: Graph, node: onnx.NodeProto, doors: Doors) -> Iterator[Remark]:
    to = attribute(node, "to") if node.op_type == "Cast" else graph.dtype(node.output[0])
    limit = EXACT.get(to or 0)
    if limit is None or graph.dtype(node.input[0]) not in INTEGERS or subject.max_edges <= limit:
        return
    value = constant(graph, node.input[0])
    if value is not None:
        if value.size and float(np.abs(value.astype(np.float64)).max()) > limit:
            yield Remark(f"{label(node)} rounds constants above {limit} to {dtype_name(to)}", place(node))
        return
    held = sizes_held(axes, graph, node.input[0])
    if held is not None and all(size is not None and not size.dynamic and abs(size.fixed) <= limit for size in held):
        return  # a number of features
    for name, maker in sources(graph, node.input[0], MOVING | _ARITHMETIC):
        if doors.edge_index is not None and name == doors.edge_index.name:
            what = "hit indices"
        elif maker is not None and (maker.op_type in _COUNTING or (maker.op_type == "TopK" and name == maker.output[-1])):
            what = "indices or counts"
        else:
            continue
        message = f"{label(node)} turns {what} into {dtype_name(to)}, which holds whole numbers only up to {limit}"
        yield Remark(message, place(node), "warning" if to == onnx.TensorProto.FLOAT else "error")
        return


def _ones(graph: Graph, name: str) -> bool:
    """Return whether a value holds nothing but ones, or zeros and ones of a comparison: its sum is a count."""
    found = list(sources(graph, name, (MOVING - {"Gather", "Concat", "Split"}) | {"Cast"}))
    return bool(found) and all(_is_one(graph, item, maker) for item, maker in found)


def _is_one(graph: Graph, name: str, maker: onnx.NodeProto | None) -> bool:
    if graph.dtype(name) == onnx.TensorProto.BOOL:
        return True
    if maker is not None and maker.op_type == "ConstantOfShape":
        fill = attribute(maker, "value")
        return fill is not None and bool((onnx.numpy_helper.to_array(fill) == 1).all())
    value = constant(graph, name)
    return value is not None and value.size > 0 and bool((value == 1).all())


def _moving(axes: Axes, graph: Graph, node: onnx.NodeProto) -> bool:
    """Return whether what is summed is as long as the event."""
    sizes = axes.of(graph, node.input[0])
    return sizes is not None and any(size is not None and size.dynamic for size in sizes)


RULE = Rule(
    id="TRKX025",
    name="rounded-indices",
    title="indices or counts in a type that does not hold them exactly",
    severity="error",
    kinds=("onnx",),
    reason=(
        "float16 holds whole numbers up to 2048, bfloat16 up to 256, float32 up to 16.8 million; int16 wraps at 32768. A wrong "
        "index points to another hit; a sum of ones in float16 stops at 2048, so the mean of a large neighbourhood is wrong."
    ),
    affected="converters to half precision; means that allocate their count in the type of the messages",
    fix="Keep indices in int64 and counts in float32 or int64, and cast the quotient, not the count.",
    link="https://en.wikipedia.org/wiki/Half-precision_floating-point_format#Precision_limitations",
    check=_check,
)
