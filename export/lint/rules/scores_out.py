"""TRKX015: a classifier that gives scores instead of logits."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import onnx

from trkx.export.lint.doors import doors_of
from trkx.export.lint.finding import Remark, Rule, Subject
from trkx.export.lint.walking import bodies_of, label, place, scalar
from trkx.export.onnx_graph import Graph

_SQUASHING = ("Sigmoid", "HardSigmoid", "Softmax", "LogSoftmax")
_CURVES = {"Sigmoid": (0.0, 1.0), "HardSigmoid": (0.0, 1.0), "Softmax": (0.0, 1.0), "Tanh": (-1.0, 1.0), "Erf": (-1.0, 1.0)}
"""Operator to the numbers between which its result lies."""
_THROUGH = frozenset(("Identity", "Reshape", "Squeeze", "Unsqueeze", "Flatten", "Transpose", "Cast", "Dropout", "Expand"))
_CUTTING = frozenset(("Clip", "Min", "Max"))
_PICKING = frozenset(("Gather", "Slice", "Split"))
_COMPARING = frozenset(("Greater", "GreaterOrEqual", "Less", "LessOrEqual"))
NEAR = 1e-3
"""By how much a score may lie beyond 0 and 1, so that factors and bounds near 1 are seen through."""


class _Made(NamedTuple):
    """A node that makes a value, in the graph or body it stands in, and factor and shift between its result and the value."""

    graph: Graph
    node: onnx.NodeProto
    factor: float = 1.0
    shift: float = 0.0

    def within(self, low: float, high: float) -> bool:
        """Return whether a result between two numbers makes a value between 0 and 1."""
        ends = sorted((self.factor * low + self.shift, self.factor * high + self.shift))
        return self.factor != 0.0 and ends[0] >= -NEAR and ends[1] <= 1.0 + NEAR


def _check(subject: Subject) -> Iterator[Remark]:
    doors = doors_of(subject)
    if doors is None or subject.graph is None or not doors.classifier or doors.output is None:
        return
    for made in _makers(subject.graph, doors.output.name):
        what = _squashes(made)
        if not what:
            continue
        graph, node = made.graph, made.node
        inner = next((item.node for item in _makers(graph, node.input[0]) if _squashes(item)), None)
        twice = f", of a value that {label(inner)} has already made" if inner is not None and node.op_type in _SQUASHING else ""
        yield Remark(f"output '{doors.output.name}' is {what} of {label(node)}{twice}, expected logits", place(node))


def _makers(graph: Graph, name: str) -> Iterator[_Made]:
    """Yield the nodes that make a value: back through those that move, cut, scale or shift it, and into the branches of If."""
    waiting, seen, kept = [(graph, name, 1.0, 0.0)], set[tuple[int, str]](), list[Graph]()  # kept: so that no id is used twice
    while waiting:
        part, current, factor, shift = waiting.pop()
        node = part.producer(current)
        if node is None or (id(part), current) in seen or not node.input:
            continue
        seen.add((id(part), current))
        scaled = _scaled(part, node)
        if node.op_type in _THROUGH or (node.op_type in _PICKING and _picks_column(part, node)):
            waiting.append((part, node.input[0], factor, shift))
        elif scaled is not None:
            source, more, further = scaled
            waiting.append((part, source, factor * more, factor * further + shift))
        elif node.op_type == "If":
            which = list(node.output).index(current)
            branches = [Graph(part.model, body, part) for body in bodies_of(node) if which < len(body.output)]
            waiting += [(body, body.graph.output[which].name, factor, shift) for body in branches]
            kept += branches
        else:
            yield _Made(part, node, factor, shift)


def _scaled(graph: Graph, node: onnx.NodeProto) -> tuple[str, float, float] | None:
    """Return (value, factor, shift) of a node that scales, shifts or cuts one value by constants, None for any other."""
    if node.op_type == "Clip":
        return node.input[0], 1.0, 0.0
    if node.op_type == "Neg":
        return node.input[0], -1.0, 0.0
    if node.op_type not in ("Add", "Sub", "Mul", "Div", *_CUTTING) or len(node.input) != 2:
        return None
    first, second = (scalar(graph, name) for name in node.input)
    if (first is None) == (second is None):
        return None
    source, number = (node.input[1], first) if first is not None else (node.input[0], second)
    assert number is not None  # one of them is
    if node.op_type in _CUTTING:
        return source, 1.0, 0.0
    if node.op_type == "Add":
        return source, 1.0, number
    if node.op_type == "Mul":
        return source, number, 0.0
    if node.op_type == "Sub":
        return (source, 1.0, -number) if second is not None else (source, -1.0, number)
    return (source, 1.0 / number, 0.0) if second is not None and number else None


def _picks_column(graph: Graph, node: onnx.NodeProto) -> bool:
    """Return whether a node picks from scores of two classes, as networks with two outputs do."""
    maker = graph.producer(node.input[0])
    return maker is not None and maker.op_type in _SQUASHING


def _squashes(made: _Made) -> str:
    """Return what a value is of a node's result if it lies between 0 and 1 by that node, or is 0 or 1; "" otherwise."""
    graph, node = made.graph, made.node
    if node.op_type == "LogSoftmax":
        return f"the {node.op_type}" if made.factor == 1.0 else ""
    if node.op_type in _CURVES:
        same = (made.factor, made.shift) == (1.0, 0.0) or node.op_type in ("Tanh", "Erf")
        what = f"the {node.op_type}" if same else f"the scaled {node.op_type}"
        return what if made.within(*_CURVES[node.op_type]) else ""
    if not made.within(0.0, 1.0):
        return ""
    if node.op_type in _COMPARING:
        return "the decision"
    if node.op_type == "Exp":
        return "the exponential of a logarithm of the sigmoid" if _logarithm(graph, node.input[0]) else ""
    name = ""
    if node.op_type == "Reciprocal":
        name = node.input[0]
    elif node.op_type == "Div" and len(node.input) == 2 and scalar(graph, node.input[0]) == 1.0:
        name = node.input[1]
    elif node.op_type == "Pow" and len(node.input) == 2 and scalar(graph, node.input[1]) == -1.0:
        name = node.input[0]
    return "the sigmoid 1 / (1 + exp(-x))" if _one_and_exp(graph, name) else ""


def _one_and_exp(graph: Graph, name: str) -> bool:
    """Return whether a value is 1 + exp(…)."""
    add = graph.producer(name) if name else None
    if add is None or add.op_type != "Add" or len(add.input) != 2:
        return False
    numbers = [scalar(graph, item) for item in add.input]
    makers = [graph.producer(item) for item, number in zip(add.input, numbers, strict=True) if number is None]
    return 1.0 in numbers and any(maker is not None and maker.op_type == "Exp" for maker in makers)


def _logarithm(graph: Graph, name: str) -> bool:
    """Return whether a value is log(sigmoid(x)) or log(softmax(x)): never above 0."""
    node = graph.producer(name)
    if node is None or not node.input:
        return False
    if node.op_type == "Neg":
        inner = graph.producer(node.input[0])
        if inner is not None and inner.op_type == "Log" and inner.input:
            return _one_and_exp(graph, inner.input[0])
        return inner is not None and inner.op_type == "Softplus"
    log = graph.producer(node.input[0]) if node.op_type == "Log" else None
    return node.op_type == "LogSoftmax" or (log is not None and log.op_type in ("Sigmoid", "Softmax"))


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
    affected="networks that end with a sigmoid, clipped, scaled or written out, or with a decision; all engines",
    fix="Export the network without its last sigmoid, or take the node out: the value before it is the output.",
    link="https://github.com/acts-project/acts/tree/main/Plugins/Gnn",
    check=_check,
)
