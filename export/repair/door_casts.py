"""Rewrite: float32 and int64 at the doors, whatever the types inside; and the rank of a classifier's output."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto

from trkx.export.lint.walking import FLOATS, INTEGERS, bodies_of, dtype_name
from trkx.export.onnx_graph import Graph
from trkx.export.repair.change import Change, Outcome, Request, doors_in
from trkx.export.repair.editing import Editor

_RULE = "TRKX017"


def cast_doors(model: onnx.ModelProto, request: Request) -> Outcome:
    """Cast features and logits that are double or half at the doors, and edge indices that are not int64, just inside of them."""
    graph = Graph(model)
    doors = doors_in(graph.model, request, graph)
    changes = []
    for role, value in doors.roles():
        wanted, kinds = (TensorProto.INT64, INTEGERS) if role == "edge_index" else (TensorProto.FLOAT, FLOATS)
        found = int(value.type.tensor_type.elem_type)
        if found == wanted or found not in kinds:
            continue
        editor = Editor(Graph(graph.model, infer=False))
        inside = editor.before(0, "Cast", [value.name], f"{value.name}_inside", {"to": found})
        for node in editor.graph.nodes:
            _read_instead(node, value.name, inside)
        editor.done()
        next(item for item in graph.model.graph.input if item.name == value.name).type.tensor_type.elem_type = wanted
        changes.append(_change(value.name, found, wanted))
    result = doors.output
    found = int(result.type.tensor_type.elem_type) if result is not None else 0
    if result is not None and found in FLOATS and found != TensorProto.FLOAT:
        name = result.name
        _give_instead(graph.model, name, "Cast", TensorProto.FLOAT)
        next(item for item in graph.model.graph.output if item.name == name).type.tensor_type.elem_type = TensorProto.FLOAT
        changes.append(_change(name, found, TensorProto.FLOAT))
    return Outcome(graph.model, tuple(changes))


def ranked(model: onnx.ModelProto, request: Request) -> Outcome:
    """Give a classifier's output a second axis of length 1 where the target does not take one logit an edge without it."""
    graph = Graph(model)
    doors = doors_in(graph.model, request, graph)
    if not doors.classifier or doors.output is None or 1 in request.target.output_ranks:
        return Outcome(model)
    name = doors.output.name
    shape = graph.shape(name)
    if shape is None or len(shape) != 1:
        return Outcome(model)
    _give_instead(graph.model, name, "Unsqueeze", 1)
    value = next(item for item in graph.model.graph.output if item.name == name)
    if not value.type.tensor_type.shape.dim:  # a rank that was inferred
        value.type.tensor_type.shape.dim.add()
    value.type.tensor_type.shape.dim.add().dim_value = 1
    why = f"{request.target.name} takes outputs of rank {' or '.join(map(str, request.target.output_ranks))}; the same numbers"
    return Outcome(graph.model, (Change("ranked", _RULE, name, "output [num_edges] is [num_edges, 1] now", why),))


def _change(name: str, found: int, wanted: int) -> Change:
    what = f"{dtype_name(wanted)} at the door now, {dtype_name(found)} inside as before"
    return Change("cast_doors", _RULE, name, what, "a cast at the door; what is computed inside is the same")


def _read_instead(node: onnx.NodeProto, old: str, new: str) -> None:
    for place, name in enumerate(node.input):
        if name == old:
            node.input[place] = new
    for body in bodies_of(node):
        for inner in body.node:
            _read_instead(inner, old, new)
        for value in body.output:
            if value.name == old:
                value.name = new


def _give_instead(model: onnx.ModelProto, name: str, op: str, how: int) -> None:
    """Put a Cast to type `how`, or an Unsqueeze of axis `how`, between a value and the output that it is."""
    graph = Graph(model, infer=False)
    editor = Editor(graph)
    inner = editor.name(f"{name}_inside")
    for node in graph.nodes:
        _read_instead(node, name, inner)
        for place, made in enumerate(node.output):
            if made == name:
                node.output[place] = inner
    if op == "Cast":
        editor.after(len(graph.nodes) - 1, op, [inner], name, {"to": how})
    elif graph.opset >= 13:
        axes = editor.constant(np.array([how]), f"{name}_axes")
        editor.after(len(graph.nodes) - 1, op, [inner, axes], name)
    else:
        editor.after(len(graph.nodes) - 1, op, [inner], name, {"axes": [how]})
    editor.done()
