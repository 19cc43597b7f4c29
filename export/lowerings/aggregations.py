"""Finds the sums over edges of a graph: ScatterElements along the rows, with one index per row spread over the columns."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx

from trkx.export.onnx_graph import Graph, attribute, reduction_of

KINDS = (onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE)
INTEGERS = (onnx.TensorProto.INT64, onnx.TensorProto.INT32)


@dataclass(frozen=True)
class Aggregation:
    """One of them.

    Attributes:
        node: the ScatterElements.
        reduction: "add" or "max".
        data, index, values: names of what is added to, [N, F], of the number per row, integer [E], and of the rows, [E, F].
        kind: element type of the values.
        width: F if the file says so.
        size: name of the shape that the data were made of, if they are nothing but one number in that shape; its first
            element is N; None if that is not seen. Sums over the same index and the same such shape can share their preparation.
        blank: data are all 0 (for "add") or all -infinity (for "max"), so that nothing needs to be added to the result.
    """

    node: onnx.NodeProto
    reduction: str
    data: str
    index: str
    values: str
    kind: int
    width: int | None
    size: str | None
    blank: bool


def aggregations(graph: Graph) -> list[Aggregation]:
    """Return the sums and maxima over edges of a graph (not of the bodies in it), in its order.

    A scatter along another axis, of whole numbers, with an index that differs between columns, or whose types the file does
    not say, is not among them; it is left as it is.
    """
    found = []
    for node in graph.nodes:
        reduction = reduction_of(node)
        if node.op_type != "ScatterElements" or reduction not in ("add", "max") or len(node.input) < 3:
            continue
        data, index, values = node.input[:3]
        shape, onto = graph.shape(values), graph.shape(data)
        kind = graph.dtype(values) or graph.dtype(data)
        row = row_index(graph, index)
        if row is None or shape is None or len(shape) != 2 or kind not in KINDS or attribute(node, "axis", 0) not in (0, -2):
            continue
        if not _same(shape[1:], onto[1:] if onto else None) or not _same(shape[:1], graph.shape(row)):
            continue  # narrower than what it is added to, or one index for several rows: legal, and something else
        size, fill = filled_with(graph, data)
        blank = fill == (0.0 if reduction == "add" else float("-inf"))
        width = shape[1] if isinstance(shape[1], int) else None
        found.append(Aggregation(node, reduction, data, row, values, kind, width, size if fill is not None else None, blank))
    return found


def _same(one: tuple[int | str | None, ...], two: tuple[int | str | None, ...] | None) -> bool:
    """Return whether two shapes are known and equal: numbers, or axes of one name."""
    return None not in one and one == two


def row_index(graph: Graph, index: str) -> str | None:
    """Return the name of the integer [E] that an index [E, F] repeats in every column, None if that can't be seen."""
    node = graph.producer(index)
    if node is None or node.op_type != "Expand":
        return None
    return _column(graph, node.input[0])


def _column(graph: Graph, name: str) -> str | None:
    """Return the name of the [E] that is seen here as [E, 1]."""
    node = graph.producer(name)
    if node is None:
        return None
    if node.op_type == "Cast" and attribute(node, "to") in INTEGERS and graph.dtype(node.input[0]) in INTEGERS:
        return _column(graph, node.input[0])
    if node.op_type == "Unsqueeze" and _axes(graph, node) in ([1], [-1]) and _rank(graph, node.input[0]) == 1:
        return str(node.input[0])
    if node.op_type == "Reshape" and _rank(graph, node.input[0]) == 1:
        wanted = graph.constant(node.input[1])
        if wanted is not None and wanted.tolist() == [-1, 1]:
            return str(node.input[0])
    return None


def _axes(graph: Graph, node: onnx.NodeProto) -> list[int] | None:
    if len(node.input) > 1:
        value = graph.constant(node.input[1])
        return None if value is None else [int(axis) for axis in value.reshape(-1)]
    return list(attribute(node, "axes", [])) or None


def _rank(graph: Graph, name: str) -> int | None:
    shape = graph.shape(name)
    return None if shape is None else len(shape)


def filled_with(graph: Graph, name: str) -> tuple[str | None, float | None]:
    """Return (name of the shape, number) of a value that is one number everywhere; (None, None) if it is not seen to be."""
    node = graph.producer(name)
    if node is None:
        return None, None
    if node.op_type in ("Cast", "CastLike", "Identity"):
        return filled_with(graph, node.input[0])
    if node.op_type == "Expand":
        value = _single(graph, node.input[0])
        shape = node.input[1] if graph.shape(node.input[1]) == (2,) else None  # a shorter one does not begin with N
        return (shape, value) if value is not None else (None, None)
    if node.op_type == "ConstantOfShape":
        tensor = attribute(node, "value")
        return node.input[0], 0.0 if tensor is None else float(onnx.numpy_helper.to_array(tensor).reshape(-1)[0])
    return None, None


def _single(graph: Graph, name: str) -> float | None:
    value = graph.constant(name)
    if value is None:
        node = graph.producer(name)
        return _single(graph, node.input[0]) if node is not None and node.op_type in ("Cast", "CastLike") else None
    return float(value.reshape(-1)[0]) if value.size == 1 and np.issubdtype(value.dtype, np.number) else None
