"""TRKX015: a classifier that gives scores instead of logits."""

from __future__ import annotations

from collections.abc import Iterator

import onnx

from trkx.export.lint.doors import doors_of
from trkx.export.lint.finding import Remark, Rule, Subject
from trkx.export.lint.walking import bodies_of, label, place, scalar
from trkx.export.onnx_graph import Graph

_SQUASHING = ("Sigmoid", "HardSigmoid", "Softmax", "LogSoftmax")
_THROUGH = frozenset(("Identity", "Reshape", "Squeeze", "Unsqueeze", "Flatten", "Transpose", "Cast", "Dropout", "Expand"))
_PICKING = frozenset(("Gather", "Slice", "Split"))


def _check(subject: Subject) -> Iterator[Remark]:
    doors = doors_of(subject)
    if doors is None or subject.graph is None or not doors.classifier or doors.output is None:
        return
    for graph, node in _makers(subject.graph, doors.output.name):
        what = _squashes(graph, node)
        if not what:
            continue
        inner = next((maker for within, maker in _makers(graph, node.input[0]) if _squashes(within, maker)), None)
        twice = f", of a value that {label(inner)} has already made" if inner is not None and node.op_type in _SQUASHING else ""
        yield Remark(f"output '{doors.output.name}' is {what} of {label(node)}{twice}, expected logits", place(node))


def _makers(graph: Graph, name: str) -> Iterator[tuple[Graph, onnx.NodeProto]]:
    """Yield the nodes that make a value, back through those that only move it, and into the branches of If."""
    waiting, seen, kept = [(graph, name)], set[tuple[int, str]](), list[Graph]()  # kept: so that no id is used twice
    while waiting:
        part, current = waiting.pop()
        node = part.producer(current)
        if node is None or (id(part), current) in seen or not node.input:
            continue
        seen.add((id(part), current))
        if node.op_type in _THROUGH or (node.op_type in _PICKING and _picks_column(part, node)):
            waiting.append((part, node.input[0]))
        elif node.op_type == "If":
            which = list(node.output).index(current)
            branches = [Graph(part.model, body, part) for body in bodies_of(node) if which < len(body.output)]
            waiting += [(body, body.graph.output[which].name) for body in branches]
            kept += branches
        else:
            yield part, node


def _picks_column(graph: Graph, node: onnx.NodeProto) -> bool:
    """Return whether a node picks from scores of two classes, as networks with two outputs do."""
    maker = graph.producer(node.input[0])
    return maker is not None and maker.op_type in _SQUASHING


def _squashes(graph: Graph, node: onnx.NodeProto) -> str:
    if node.op_type in _SQUASHING and node.input:
        return f"the {node.op_type}"
    name = ""
    if node.op_type == "Reciprocal":
        name = node.input[0]
    elif node.op_type == "Div" and len(node.input) == 2 and scalar(graph, node.input[0]) == 1.0:
        name = node.input[1]
    add = graph.producer(name) if name else None
    if add is None or add.op_type != "Add" or len(add.input) != 2:
        return ""
    numbers = [scalar(graph, item) for item in add.input]
    makers = [graph.producer(item) for item, number in zip(add.input, numbers, strict=True) if number is None]
    written_out = 1.0 in numbers and any(maker is not None and maker.op_type == "Exp" for maker in makers)
    return "the sigmoid 1 / (1 + exp(-x))" if written_out else ""


RULE = Rule(
    id="TRKX015",
    name="scores-out",
    title="a classifier gives scores (sigmoid, softmax) instead of logits",
    severity="error",
    kinds=("onnx",),
    reason=(
        "ACTS, acorn and this runtime apply the sigmoid themselves. Sigmoid of a sigmoid is above 0.5 for every edge, so every "
        "edge passes the default cut and nothing says so. In float16 a score is exactly 1 from a logit of 8.32."
    ),
    affected="networks that end with a sigmoid; all engines",
    fix="Export the network without its last sigmoid, or take the node out: the value before it is the output.",
    link="https://github.com/acts-project/acts/tree/main/Plugins/Gnn",
    check=_check,
)
