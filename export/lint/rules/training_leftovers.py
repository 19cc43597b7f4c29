"""TRKX023: operators that behave as in training, or at random."""

from __future__ import annotations

from collections.abc import Iterator

import onnx

from trkx.export.lint.finding import Remark, Rule, Subject
from trkx.export.lint.walking import STANDARD, constant, label, place, scalar
from trkx.export.onnx_graph import Graph, attribute

_RANDOM = ("RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Bernoulli", "Multinomial")


def _check(subject: Subject) -> Iterator[Remark]:
    if subject.graph is None or subject.model is None:
        return
    if subject.model.training_info:
        yield Remark("the file carries training information (a graph that updates weights)", "training_info", "warning")
    for graph in subject.graph.all():
        for node in graph.nodes:
            if node.domain in STANDARD:
                yield from _node(graph, node)


def _node(graph: Graph, node: onnx.NodeProto) -> Iterator[Remark]:
    if node.op_type in _RANDOM:
        yield Remark(f"{label(node)} draws random numbers", place(node))
    elif node.op_type == "Dropout" and len(node.input) > 2 and node.input[2]:
        if len(node.input) > 1 and node.input[1] and scalar(graph, node.input[1]) == 0.0:
            return  # drops nothing
        training = constant(graph, node.input[2])
        if training is None:
            message = f"{label(node)} drops values if '{node.input[2]}' says so, which is not constant"
            yield Remark(message, place(node), "warning")
        elif training.any():
            yield Remark(f"{label(node)} is in training mode: it drops values at random", place(node))
    elif node.op_type == "BatchNormalization":
        batch = attribute(node, "training_mode", 0) if graph.opset >= 14 else sum(1 for name in node.output if name) > 1
        if batch:
            yield Remark(f"{label(node)} is in training mode: it uses means of the event, not of the training", place(node))


RULE = Rule(
    id="TRKX023",
    name="training-leftovers",
    title="an operator behaves as in training, or at random",
    severity="error",
    kinds=("onnx",),
    reason="The result of an edge then depends on chance, or on the other edges of the event, and differs from run to run.",
    affected="networks exported in training mode (without network.eval()), or with training=TrainingMode.TRAINING or PRESERVE",
    fix="Call network.eval() and export again.",
    link="https://onnx.ai/onnx/operators/onnx__Dropout.html",
    check=_check,
)
