"""TRKX010: float64 in a file for an engine that computes it in float32."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx

from trkx.export.lint.finding import Remark, Rule, Subject
from trkx.export.lint.walking import INTEGERS, MOVING, constant, label, listed, place, sources
from trkx.export.onnx_graph import Graph

DOUBLE = onnx.TensorProto.DOUBLE
_HARMLESS = MOVING | {"Cast", "CastLike", "Constant", "ConstantOfShape", "Shape", "Size", "If", "Loop", "Scan"}


def _check(subject: Subject) -> Iterator[Remark]:
    if subject.graph is None or subject.target.double:
        return
    for graph in subject.graph.all():
        found = [node for node in graph.nodes if _computes(graph, node) or _loses_integers(graph, node)]
        if found:
            message = f"{len(found)} node(s) compute in float64, which {subject.target.runs} turns into float32 without a word"
            yield Remark(f"{message}: {listed(label(node) for node in found)}", place(found[0]))


def _computes(graph: Graph, node: onnx.NodeProto) -> bool:
    names = (*node.input, *node.output)
    return node.op_type not in _HARMLESS and any(graph.dtype(name) == DOUBLE for name in names if name)


def _loses_integers(graph: Graph, node: onnx.NodeProto) -> bool:
    """Return whether integers pass through float64 and come out again: in float32 those above 2^24 are others."""
    if node.op_type not in ("Cast", "CastLike") or not node.input or not node.output:
        return False
    if graph.dtype(node.input[0]) != DOUBLE or graph.dtype(node.output[0]) not in INTEGERS:
        return False
    value = constant(graph, node.input[0])
    if value is not None:
        with np.errstate(over="ignore"):
            return not bool(np.array_equal(value.astype(np.float32).astype(np.float64), value, equal_nan=True))
    makers = (maker for _, maker in sources(graph, node.input[0]))
    return any(maker is not None and maker.op_type == "Cast" and graph.dtype(maker.input[0]) in INTEGERS for maker in makers)


RULE = Rule(
    id="TRKX010",
    name="float64-demoted",
    title="float64 is computed in float32 by the target, without a message",
    severity="error",
    kinds=("onnx",),
    reason=(
        "TensorRT's parser casts DOUBLE down to FLOAT. A sum that is right only in float64, such as a difference of prefix sums, "
        "is then silently wrong: relative error 1.0 at a million edges. Constants that are cast away before use are no harm."
    ),
    affected="TensorRT, all versions of its ONNX parser",
    fix="Export for the target, with an aggregation that needs no float64 (`segments`, or ScatterElements with reduction add).",
    link="https://github.com/onnx/onnx-tensorrt/blob/main/docs/operators.md",
    check=_check,
)
