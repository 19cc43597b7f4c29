"""TRKX032: element types and ranks that TensorRT has not, or has not for an operator."""

from __future__ import annotations

from collections.abc import Iterator

import onnx

from trkx.export.lint.axis_steps import input_of
from trkx.export.lint.finding import Remark, Rule, Severity, Subject
from trkx.export.lint.parser_table import JUDGED, LAYER_HAS, READS, TYPES
from trkx.export.lint.walking import STANDARD, dtype_name, label, listed, on_tensorrt, place
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
    yield from _unlisted(graph)
    for dtype, nodes in lacking.items():
        names = listed(label(node) for node in nodes)
        yield Remark(f"{len(nodes)} node(s) make {dtype_name(dtype)}, which TensorRT has not: {names}", place(nodes[0]))


def _unlisted(graph: Graph) -> Iterator[Remark]:
    """Yield the operators that read a type which the parser's table does not have in their row, those of one kind together."""
    found: dict[tuple[str, int], list[onnx.NodeProto]] = {}
    for node in graph.nodes:
        if node.domain in STANDARD and node.op_type in TYPES:
            place_of = READS.get(node.op_type, 0)
            name = node.output[0] if place_of < 0 else input_of(node, place_of)
            dtype = graph.dtype(name) if name else None
            if dtype in JUDGED - TYPES[node.op_type]:
                found.setdefault((node.op_type, dtype), []).append(node)
    for (kind, dtype), nodes in found.items():
        names, has = listed(label(node) for node in nodes), ", ".join(sorted(dtype_name(one) for one in TYPES[kind]))
        message = f"{len(nodes)} {kind} read {dtype_name(dtype)}, TensorRT's parser lists {has}: {names}"
        contested: Severity = "warning" if (kind, dtype) in LAYER_HAS else "error"
        yield Remark(message, place(nodes[0]), contested)


RULE = Rule(
    id="TRKX032",
    name="tensorrt-types",
    title="an element type or a rank that TensorRT has not",
    severity="error",
    kinds=("onnx",),
    reason=(
        "The parser refuses the file, or nobody says what it does with it. Integers of other widths are no faster anywhere, and "
        "wrap where nobody expects it."
    ),
    affected=(
        "TensorRT 10 and 11: FLOAT, FLOAT16, BFLOAT16, INT8, INT32, INT64, BOOL and quantised types; up to 8 axes; for each "
        "operator what the parser's table lists (10.15)"
    ),
    fix="Cast indices and counts to INT64 (or INT32), values to FLOAT; fold axes together with Reshape.",
    link="https://github.com/onnx/onnx-tensorrt/blob/main/docs/operators.md",
    check=_check,
)
