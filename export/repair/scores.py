"""Rewrite: a classifier that ends with a sigmoid gives the logits before it."""

from __future__ import annotations

import onnx

from trkx.export.lint.walking import STANDARD, label, place, scalar
from trkx.export.onnx_graph import Graph
from trkx.export.repair.change import Change, Outcome, Refusal, Request, doors_in
from trkx.export.repair.editing import Editor

_RULE = "TRKX015"
_MOVES = ("Identity", "Reshape", "Squeeze", "Unsqueeze", "Flatten", "Cast")
_TODO = "Export the network without its last sigmoid."


def unsquashed(model: onnx.ModelProto, request: Request) -> Outcome:
    """Read the sigmoid's input where its result went to the output, through nodes that only move or cast it."""
    graph = Graph(model)
    doors = doors_in(graph.model, request, graph)
    if not doors.classifier or doors.output is None:
        return Outcome(model)
    results = {value.name for value in doors.outputs}
    name, reader = doors.output.name, None
    node = graph.producer(name)
    while node is not None and node.op_type in _MOVES and node.domain in STANDARD:
        name, reader = node.input[0], node
        if len(graph.consumers(name)) != 1 or name in results:
            node = graph.producer(name)
            if node is not None and _logits(graph, node):
                break
            return Outcome(model)
        node = graph.producer(name)
    logits = _logits(graph, node) if node is not None else ""
    if node is None or not logits:
        return Outcome(model)
    number = next(place for place, item in enumerate(graph.nodes) if item.output[:1] == [name])
    if reader is None and (graph.consumers(name) or logits in results):
        why = "the score is read inside the graph as well as given out, or the logits are an output already"
        return Outcome(model, refusals=(Refusal("unsquashed", _RULE, label(node), why, _TODO),))
    if reader is None:
        editor = Editor(graph)
        editor.after(number, "Identity", [logits], name)
        editor.drop(number)
        editor.done()
    else:
        reader.input[0] = logits
    what = f"output '{doors.output.name}' gives logits now, the {node.op_type} before it is left out"
    why = "the value before the sigmoid; the sigmoid of the new output is the old one"
    return Outcome(graph.model, (Change("unsquashed", _RULE, place(node), what, why),))


def _logits(graph: Graph, node: onnx.NodeProto) -> str:
    """Return the value of which a node makes the sigmoid (1 / (1 + exp(-x)) too), "" if it makes none."""
    if node.domain not in STANDARD or not node.input:
        return ""
    if node.op_type == "Sigmoid":
        return str(node.input[0])
    if node.op_type == "Reciprocal":
        below = node.input[0]
    elif node.op_type == "Div" and scalar(graph, node.input[0]) == 1.0:
        below = node.input[1]
    else:
        return ""
    add = graph.producer(below)
    if add is None or add.op_type != "Add" or 1.0 not in [scalar(graph, item) for item in add.input]:
        return ""
    exp = next((maker for maker in map(graph.producer, add.input) if maker is not None and maker.op_type == "Exp"), None)
    minus = graph.producer(exp.input[0]) if exp is not None else None
    return str(minus.input[0]) if minus is not None and minus.op_type == "Neg" else ""
