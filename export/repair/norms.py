"""Rewrite: a LayerNorm that is computed in half precision from its parts becomes one LayerNormalization operator."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import helper

from trkx.export.lint.walking import constant, place, scalar
from trkx.export.onnx_graph import HALF, Graph, attribute
from trkx.export.repair.change import Change, Outcome, Refusal, Request
from trkx.export.repair.editing import Editor

OPSET = 17
"""First opset that has LayerNormalization."""
_RULE = "TRKX011"


@dataclass(frozen=True)
class Norm:
    """A LayerNorm over the last axis. end: the node that makes its result. weight, bias: names of constants, "" if none."""

    end: onnx.NodeProto
    x: str
    width: int
    epsilon: float
    weight: str
    bias: str


def normed(model: onnx.ModelProto, request: Request) -> Outcome:
    """Replace each half-precision LayerNorm of the form that torch writes below opset 17; the operator computes in float32."""
    graph = Graph(model)
    changes: list[Change] = []
    refusals: list[Refusal] = []
    for part in graph.all():
        editor = Editor(part)
        for norm in half_norms(part):
            if norm.epsilon <= 0.0:
                why = "the epsilon of the norm is 0 in half precision, and what it was is lost"
                todo = "Export in float32 with opset 17 or newer, and convert to half precision after that."
                refusals.append(Refusal("normed", _RULE, place(norm.end), why, todo))
                continue
            _write(part, editor, norm)
            what = "ReduceMean, Sub, Pow, Sqrt, Div are one LayerNormalization now, computed in float32"
            changes.append(Change("normed", _RULE, place(norm.end), what, "the same formula, over the last axis"))
        editor.done()
    return Outcome(graph.model, tuple(changes), tuple(refusals))


def half_norms(graph: Graph) -> Iterator[Norm]:
    """Yield the LayerNorms of a graph that are written out in half precision."""
    for node in graph.nodes:
        if node.op_type == "Div" and graph.dtype(node.output[0]) in HALF:
            norm = _norm(graph, node)
            if norm is not None:
                yield norm


def _norm(graph: Graph, div: onnx.NodeProto) -> Norm | None:
    sub, root = graph.producer(div.input[0]), graph.producer(div.input[1])
    if sub is None or sub.op_type != "Sub" or root is None or root.op_type != "Sqrt":
        return None
    x, shape = sub.input[0], graph.shape(sub.input[0])
    mean, add = graph.producer(sub.input[1]), graph.producer(root.input[0])
    if mean is None or not shape or mean.input[0] != x or not _over_last(graph, mean, len(shape)) or add is None:
        return None
    if add.op_type != "Add" or not isinstance(shape[-1], int):
        return None
    numbers = [scalar(graph, name) for name in add.input]
    if (numbers[0] is None) == (numbers[1] is None):
        return None
    epsilon, moving = (numbers[1], add.input[0]) if numbers[0] is None else (numbers[0], add.input[1])
    variance = graph.producer(moving)
    squares = graph.producer(variance.input[0]) if variance is not None else None
    if variance is None or squares is None or epsilon is None or not _over_last(graph, variance, len(shape)):
        return None
    if not _square_of(graph, squares, sub.output[0]):
        return None
    weighted, weight = _then(graph, div, "Mul", shape[-1])
    end, bias = _then(graph, weighted, "Add", shape[-1])
    return Norm(end, x, shape[-1], epsilon, weight, bias)


def _over_last(graph: Graph, node: onnx.NodeProto, rank: int) -> bool:
    if node.op_type != "ReduceMean" or attribute(node, "keepdims", 1) != 1:
        return False
    axes = attribute(node, "axes")
    if axes is None and len(node.input) > 1:
        held = constant(graph, node.input[1])
        axes = held.reshape(-1).tolist() if held is not None else None
    return list(axes or ()) in ([-1], [rank - 1])


def _square_of(graph: Graph, node: onnx.NodeProto, name: str) -> bool:
    if node.op_type == "Mul":
        return list(node.input) == [name, name]
    return node.op_type == "Pow" and node.input[0] == name and scalar(graph, node.input[1]) == 2.0


def _then(graph: Graph, node: onnx.NodeProto, op: str, width: int) -> tuple[onnx.NodeProto, str]:
    """Return (the only reader of a node, its constant of `width` numbers) if it is such an `op`, else (the node, "")."""
    name = node.output[0]
    readers = graph.consumers(name)
    if len(readers) != 1 or readers[0].op_type != op or name in {value.name for value in graph.graph.output}:
        return node, ""
    other = [item for item in readers[0].input if item != name]
    value = constant(graph, other[0]) if len(other) == 1 else None
    return (readers[0], other[0]) if value is not None and value.shape == (width,) else (node, "")


def _write(graph: Graph, editor: Editor, norm: Norm) -> None:
    number = next(place for place, node in enumerate(graph.nodes) if node.output[:1] == norm.end.output[:1])
    dtype = graph.dtype(norm.x) or onnx.TensorProto.FLOAT16
    stem = norm.end.output[0]
    weight = norm.weight or editor.constant(np.ones(norm.width, helper.tensor_dtype_to_np_dtype(dtype)), f"{stem}_weight")
    inputs = [norm.x, weight, *([norm.bias] if norm.bias else [])]
    editor.after(number, "LayerNormalization", inputs, stem, {"axis": -1, "epsilon": float(norm.epsilon)})
    editor.drop(number)
