"""TRKX032: element types and ranks that TensorRT has not."""

from __future__ import annotations

from collections.abc import Iterator

import onnx

from trkx.export.lint.finding import Remark, Rule, Subject
from trkx.export.lint.walking import dtype_name, label, listed, on_tensorrt, place
from trkx.export.onnx_graph import Graph

LARGEST_RANK = 8
_HAS = frozenset((
    onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16, onnx.TensorProto.INT8, onnx.TensorProto.INT32,
    onnx.TensorProto.INT64, onnx.TensorProto.BOOL, onnx.TensorProto.FLOAT8E4M3FN, onnx.TensorProto.INT4,
    onnx.TensorProto.FLOAT4E2M1,
))
_OTHERS = frozenset((onnx.TensorProto.DOUBLE, onnx.TensorProto.UINT8, onnx.TensorProto.UNDEFINED))
"""DOUBLE is another rule's; UINT8 is taken at the doors."""


def _check(subject: Subject) -> Iterator[Remark]:
    if subject.graph is None or not on_tensorrt(subject.target):
        return
    for graph in subject.graph.all():
        yield from _of(graph)


def _of(graph: Graph) -> Iterator[Remark]:
    lacking: dict[int, list[onnx.NodeProto]] = {}
    for node in graph.nodes:
        for name in node.output:
            dtype, shape = graph.dtype(name) if name else None, graph.shape(name) if name else None
            if dtype is not None and dtype not in _HAS | _OTHERS:
                lacking.setdefault(dtype, []).append(node)
            if shape is not None and len(shape) > LARGEST_RANK:
                message = f"{label(node)} makes a tensor of rank {len(shape)}, TensorRT's have at most {LARGEST_RANK}"
                yield Remark(message, place(node))
    for dtype, nodes in lacking.items():
        names = listed(label(node) for node in nodes)
        yield Remark(f"{len(nodes)} node(s) make {dtype_name(dtype)}, which TensorRT has not: {names}", place(nodes[0]))


RULE = Rule(
    id="TRKX032",
    name="tensorrt-types",
    title="an element type or a rank that TensorRT has not",
    severity="error",
    kinds=("onnx",),
    reason="The parser refuses the file. Integers of other widths are no faster anywhere, and wrap where nobody expects it.",
    affected="TensorRT 10 and 11: FLOAT, FLOAT16, BFLOAT16, INT8, INT32, INT64, BOOL and quantised types; up to 8 axes",
    fix="Cast indices and counts to INT64 (or INT32), values to FLOAT; fold axes together with Reshape.",
    link="https://docs.nvidia.com/deeplearning/tensorrt/api/c_api/classnvinfer1_1_1_dims64.html",
    check=_check,
)
