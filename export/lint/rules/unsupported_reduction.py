"""TRKX009: a reduction that ONNX does not have, or that the target's engine does not have or gets wrong in that type."""

from __future__ import annotations

from collections.abc import Iterator

import onnx

from trkx.export.lint.finding import Remark, Rule, Subject
from trkx.export.lint.scatters import number_type, scatters
from trkx.export.lint.walking import dtype_name, label, on_tensorrt, place
from trkx.export.onnx_graph import Graph, reduction_of
from trkx.export.targets import Target

SINCE = {"none": 0, "add": 16, "mul": 16, "max": 18, "min": 18}
"""Reduction to the opset that brought it; what is older than 16 is another rule's."""
_INT32 = "ONNX Runtime adds INT32 as if it were float on CUDA before 1.30"


def _check(subject: Subject) -> Iterator[Remark]:
    for graph, node in scatters(subject):
        reduction = reduction_of(node)
        if reduction not in SINCE:
            known = ", ".join(SINCE)
            yield Remark(f"{label(node)} has reduction '{reduction}', ONNX has {known}", place(node))
        elif 16 <= graph.opset < SINCE[reduction]:
            message = f"{label(node)} has reduction '{reduction}' in opset {graph.opset}, it came with opset {SINCE[reduction]}"
            yield Remark(message, place(node))
        elif reduction != "none":
            yield from _of_engine(graph, node, subject.target)


def _of_engine(graph: Graph, node: onnx.NodeProto, target: Target) -> Iterator[Remark]:
    dtype, index = number_type(graph, node), graph.dtype(node.input[1])
    name, types = label(node), onnx.TensorProto
    if on_tensorrt(target):
        if node.op_type != "ScatterND" and index == types.INT32:
            yield Remark(f"{name} has indices of INT32; TensorRT's plugin takes INT64 only", place(node))
    elif "cuda" in target.devices and target.format == "onnx":
        if node.op_type == "ScatterND" and target.scatter_nd_add and dtype not in (types.FLOAT, types.FLOAT16, None):
            yield Remark(f"{name} reduces {dtype_name(dtype)}; on CUDA only FLOAT and FLOAT16 have a kernel", place(node))
        elif node.op_type != "ScatterND" and dtype == types.INT32:
            yield Remark(f"{name}: {_INT32}", place(node), "warning", "Count in INT64 or FLOAT, or use ONNX Runtime 1.30.")


RULE = Rule(
    id="TRKX009",
    name="unsupported-reduction",
    title="a reduction that ONNX, the opset or the target's engine does not have",
    severity="error",
    kinds=("onnx",),
    reason=(
        "Engines refuse an unknown reduction, or run something else: TensorRT's plugin takes \"mean\" and computes the sum. max "
        "and min came with opset 18. On CUDA some types have no kernel, or one that reads integers as floating-point numbers."
    ),
    affected="files written by hand or by converters; ONNX Runtime on CUDA before 1.30; TensorRT's plugin from 10.3",
    fix="Write the mean as sum / count, export with opset 18, keep indices in INT64 and what is added in FLOAT.",
    link="https://onnx.ai/onnx/operators/onnx__ScatterElements.html",
    check=_check,
)
