"""Rewrite: the pair of scatters that torch's exporter writes for scatter_reduce "mean" becomes a sum divided by a count."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper, numpy_helper

from trkx.export.lint.unique import indices_unique
from trkx.export.lint.walking import STANDARD, place, reads
from trkx.export.onnx_graph import Graph, attribute, reduction_of
from trkx.export.repair.change import Change, Outcome, Request
from trkx.export.repair.editing import Editor
from trkx.export.repair.zeros import all_zeros

_WHY = "zeros, then values, scattered to the same places is how onnxscript writes scatter_reduce(\"mean\", include_self=False)"


def averaged(model: onnx.ModelProto, request: Request) -> Outcome:
    """Write mean as sum / max(count, 1) where `scatter(scatter(zeros, index, zeros), index, values)` overwrites twice.

    The inner scatter clears the places that the outer one then overwrites, which an assignment would not do first
    (onnxscript, `aten_scatter_reduce`: ONNX has no "mean", and "none" is written). With include_self=True one scatter is
    written that can't be told from an assignment, and it is left for `summed` to refuse.
    """
    graph = Graph(model)
    changes, meant = [], []
    for part in graph.all():
        editor = Editor(part)
        for number, node in enumerate(part.nodes):
            if not _mean(part, node) or indices_unique(part, node):
                continue
            dtype = part.dtype(node.input[2]) or part.dtype(node.input[0])
            inner = part.producer(node.input[0])
            if dtype is None or inner is None:
                continue
            _write(editor, number, node, inner.input[0], dtype)
            what = "the mean is sum / max(count, 1) now, not the last value"
            changes.append(Change("averaged", "TRKX004", place(node), what, _WHY))
            meant.append((node.output[0], "mean"))
        editor.done()
    return Outcome(graph.model, tuple(changes), meant=tuple(meant))


def _mean(graph: Graph, node: onnx.NodeProto) -> bool:
    inner = graph.producer(node.input[0]) if len(node.input) > 2 else None
    if inner is None or not all(_overwrites(item) for item in (node, inner)) or _readers(graph, inner.output[0]) != 1:
        return False
    same = node.input[1] == inner.input[1] and attribute(node, "axis", 0) == attribute(inner, "axis", 0)
    return same and all_zeros(graph, inner.input[0]) and all_zeros(graph, inner.input[2])


def _readers(graph: Graph, name: str) -> int:
    given_out = any(value.name == name for value in graph.graph.output)
    return sum(name in reads(node) for node in graph.nodes) + given_out


def _overwrites(node: onnx.NodeProto) -> bool:
    return node.op_type == "ScatterElements" and node.domain in STANDARD and len(node.input) > 2 and reduction_of(node) == "none"


def _write(editor: Editor, number: int, node: onnx.NodeProto, zeros: str, dtype: int) -> None:
    data, index, values = zeros, node.input[1], node.input[2]
    kind = helper.tensor_dtype_to_np_dtype(dtype)
    how = {"axis": int(attribute(node, "axis", 0)), "reduction": "add"}
    one = numpy_helper.from_array(np.ones(1, kind))
    shape = editor.before(number, "Shape", [values], f"{node.output[0]}_shape")
    ones = editor.before(number, "ConstantOfShape", [shape], f"{node.output[0]}_ones", {"value": one})
    count = editor.before(number, "ScatterElements", [data, index, ones], f"{node.output[0]}_count", how)
    least = editor.constant(np.ones((), kind), f"{node.output[0]}_one")
    divisor = editor.before(number, "Max", [count, least], f"{node.output[0]}_divisor")
    total = editor.before(number, "ScatterElements", [data, index, values], f"{node.output[0]}_sum", how)
    editor.after(number, "Div", [total, divisor], node.output[0])
    editor.drop(number)
