"""TRKX011: a norm that is computed in half precision from its parts, or whose epsilon is 0 in its type."""

from __future__ import annotations

from collections.abc import Iterator

import onnx

from trkx.export.lint.finding import Remark, Rule, Subject
from trkx.export.lint.walking import dtype_name, label, listed, place, scalar
from trkx.export.onnx_graph import HALF, Graph, attribute

STEPS_BACK = 8
_ZERO = "the epsilon of {nodes} is 0 in {dtype}: a row without spread gives 0 / 0"


def _check(subject: Subject) -> Iterator[Remark]:
    for graph in subject.graph.all() if subject.graph is not None else ():
        overflow: dict[int, list[onnx.NodeProto]] = {}
        for node in graph.nodes:
            if node.op_type in ("LayerNormalization", "RMSNormalization"):
                yield from _of_operator(graph, node)
            elif node.op_type == "Sqrt" or _power(graph, node) == 0.5:
                squares, epsilon, dtype = _behind(graph, node)
                if squares is None:
                    continue
                if dtype in HALF:
                    overflow.setdefault(int(dtype or 0), []).append(squares)
                if epsilon == 0.0:
                    message = _ZERO.format(nodes=label(node), dtype=dtype_name(dtype))
                    yield Remark(message, place(node), "error" if dtype in HALF else "warning")
        for dtype, nodes in overflow.items():
            yield _overflow(dtype, nodes)


def _of_operator(graph: Graph, node: onnx.NodeProto) -> Iterator[Remark]:
    if attribute(node, "epsilon", 1e-5) == 0.0:
        dtype = attribute(node, "stash_type", onnx.TensorProto.FLOAT)
        yield Remark(_ZERO.format(nodes=label(node), dtype=dtype_name(dtype)), place(node), "warning")
    if attribute(node, "stash_type", onnx.TensorProto.FLOAT) == onnx.TensorProto.FLOAT16:
        yield _overflow(onnx.TensorProto.FLOAT16, [node])


def _overflow(dtype: int, nodes: list[onnx.NodeProto]) -> Remark:
    names = f"{listed(label(node) for node in nodes)}: {len(nodes)} norm(s) square and sum in {dtype_name(dtype)}"
    if dtype == onnx.TensorProto.FLOAT16:
        return Remark(f"{names}, which overflows where a deviation exceeds 255", place(nodes[0]))
    return Remark(f"{names}, which keeps 8 bits of each square", place(nodes[0]), "warning")


def _behind(graph: Graph, root: onnx.NodeProto) -> tuple[onnx.NodeProto | None, float | None, int | None]:
    """Return (node that squares, epsilon, element type of the squares) of a root of a mean of squares; None if it is none."""
    name, epsilon, dtype = root.input[0] if root.input else "", None, None
    for _ in range(STEPS_BACK):
        node = graph.producer(name)
        if node is None or not node.input:
            break
        if node.op_type == "Add" and dtype is None and len(node.input) == 2:
            numbers = [scalar(graph, item) for item in node.input]
            if (numbers[0] is None) == (numbers[1] is None):
                break
            moving = 0 if numbers[0] is None else 1
            epsilon, name = numbers[1 - moving], node.input[moving]
        elif node.op_type in ("Cast", "Identity"):
            name = node.input[0]
        elif node.op_type in ("ReduceMean", "ReduceSum") and dtype is None:
            dtype, name = graph.dtype(node.input[0]), node.input[0]
        elif dtype is not None and _squares(graph, node):
            made = graph.dtype(node.output[0])
            return node, epsilon, made if made in HALF else dtype
        else:
            break
    return None, None, None


def _squares(graph: Graph, node: onnx.NodeProto) -> bool:
    if node.op_type == "Mul" and len(node.input) == 2:
        return bool(node.input[0] == node.input[1])
    return _power(graph, node) == 2.0


def _power(graph: Graph, node: onnx.NodeProto) -> float | None:
    return scalar(graph, node.input[1]) if node.op_type == "Pow" and len(node.input) == 2 else None


RULE = Rule(
    id="TRKX011",
    name="half-norm",
    title="a norm is computed in half precision from its parts, or its epsilon is 0",
    severity="error",
    kinds=("onnx",),
    reason=(
        "Squares above 65504 are infinite in float16: a decomposed LayerNorm fails at deviations above 255, and the mean of a "
        "wide row overflows earlier. An epsilon of 1e-8 is 0 in float16. The LayerNormalization operator computes in float32."
    ),
    affected="exports below opset 17 that were converted to half precision; converters that do not keep the norm in float32",
    fix="Export with opset 17 or newer, so that the norm is one LayerNormalization, and convert to half precision after that.",
    link="https://github.com/pytorch/pytorch/issues/86580",
    check=_check,
)
