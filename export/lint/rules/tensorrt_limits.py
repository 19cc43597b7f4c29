"""TRKX027: operators that TensorRT lacks, or takes only with constant arguments."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import onnx

from trkx.export.lint.axis_steps import input_of
from trkx.export.lint.finding import Remark, Rule, Subject
from trkx.export.lint.parser_table import LACKING
from trkx.export.lint.walking import FLOATS, STANDARD, bodies_of, constant, dtype_name, label, on_tensorrt, place
from trkx.export.onnx_graph import Graph

_REDUCING = ("L1", "L2", "LogSum", "LogSumExp", "Max", "Mean", "Min", "Prod", "Sum", "SumSquare")
CONSTANT: Mapping[str, tuple[int, str]] = {
    "OneHot": (1, "depth"), "CumSum": (1, "axis"), "Squeeze": (1, "axes"), "Unsqueeze": (1, "axes"),
    **{f"Reduce{name}": (1, "axes") for name in _REDUCING},
}
"""Operator: (input that must be a constant, its name)."""


def _check(subject: Subject) -> Iterator[Remark]:
    if subject.graph is None or not on_tensorrt(subject.target):
        return
    for graph in subject.graph.all():
        for node in graph.nodes:
            if node.domain in STANDARD:
                yield from _node(graph, node)


def _node(graph: Graph, node: onnx.NodeProto) -> Iterator[Remark]:
    if node.op_type in LACKING:
        yield Remark(f"{label(node)}: TensorRT has no {node.op_type}", place(node))
    wanted, name = CONSTANT.get(node.op_type, (0, ""))
    if name and input_of(node, wanted) and constant(graph, input_of(node, wanted)) is None:
        yield Remark(f"{label(node)} computes its {name}, which TensorRT wants as a constant", place(node))
    if node.op_type == "NonZero":
        dtype = graph.dtype(input_of(node, 0))
        if dtype is not None and dtype not in FLOATS and dtype != onnx.TensorProto.BOOL:
            yield Remark(f"{label(node)} reads {dtype_name(dtype)}, TensorRT's takes floats", place(node))
        else:
            message = f"{label(node)}: the length of its result depends on values; keep such steps outside"
            yield Remark(message, place(node), "warning")
    if node.op_type == "Loop" and input_of(node, 0) and constant(graph, input_of(node, 0)) is None:
        body = next(bodies_of(node), None)
        carried = max(0, len(node.input) - 2)
        if body is not None and len(body.output) > 1 + carried:
            yield Remark(f"{label(node)} stacks one result a round, and the number of rounds is not constant", place(node))
    if node.op_type == "LayerNormalization" and sum(1 for item in node.output if item) > 1:
        yield Remark(f"{label(node)} has {len(node.output)} outputs, TensorRT gives the first only", place(node))


RULE = Rule(
    id="TRKX027",
    name="tensorrt-limits",
    title="an operator that TensorRT lacks, or takes only with constant arguments",
    severity="error",
    kinds=("onnx",),
    reason="The engine can't be built from the file, and its builder says so only on the machine with the GPU.",
    affected="TensorRT 10 and newer, by the table of its ONNX parser",
    fix="Keep graph building, sorting and selection outside of the network, and sizes that are not N or E constant.",
    link="https://github.com/onnx/onnx-tensorrt/blob/main/docs/operators.md",
    check=_check,
)
