"""Recognises the places of a stable counting sort: numbers 0 to E-1, each once, if their digits are what they should be.

The place of element i with digit d is the number of elements with a smaller digit plus the number of elements before i with the
same one. As operators, for D digits: hot = (digits[None, :] == [[0], …, [D - 1]]), integer [D, E]; place = sum over axis 0 of
hot * (exclusive running sum of hot along the elements + exclusive running sum over the digits of their counts).
"""

from __future__ import annotations

import numpy as np
import onnx

from trkx.export.lint.intervals import Intervals, made_by
from trkx.export.lint.walking import constant
from trkx.export.onnx_graph import Graph, whole

_INTEGERS = (onnx.TensorProto.INT32, onnx.TensorProto.INT64)


def places_of_sort(graph: Graph, node: onnx.NodeProto, intervals: Intervals) -> bool:
    """Return whether a ReduceSum is such a place [E] of elements whose digits are all among those counted."""
    if not _reduces(graph, node, 0, keeps=False):
        return False
    product = made_by(graph, node.input[0])
    if product is None or product.op_type != "Mul" or len(product.input) != 2:
        return False
    return any(_is_place(graph, hot, offset, intervals) for hot, offset in (product.input, product.input[::-1]))


def _is_place(graph: Graph, hot: str, offset: str, intervals: Intervals) -> bool:
    both = made_by(graph, offset)
    if both is None or both.op_type != "Add" or len(both.input) != 2 or not _one_hot(graph, hot, intervals):
        return False
    return any(_runs(graph, before, 1, hot) and _starts(graph, start, hot) for before, start in (both.input, both.input[::-1]))


def _one_hot(graph: Graph, name: str, intervals: Intervals) -> bool:
    """Return whether each column of an integer [D, E] holds a single 1, in the row of its digit."""
    cast = made_by(graph, name)
    if cast is None or cast.op_type != "Cast" or whole(cast, "to") not in _INTEGERS:
        return False
    equal = made_by(graph, cast.input[0])
    if equal is None or equal.op_type != "Equal" or len(equal.input) != 2:
        return False
    for digits, row in (equal.input, equal.input[::-1]):
        value, shape = constant(graph, digits), graph.shape(row)
        if value is None or value.ndim != 2 or shape is None or len(shape) != 2 or shape[0] != 1 or not value.size:
            continue
        if np.array_equal(value, np.arange(len(value)).reshape(-1, 1)):
            low, high = intervals.of(row)
            return low >= 0 and high < len(value)
    return False


def _runs(graph: Graph, name: str, axis: int, over: str) -> bool:
    """Return whether a value is the exclusive running sum of another along an axis, from the front."""
    node = made_by(graph, name)
    if node is None or node.op_type != "CumSum" or len(node.input) < 2 or node.input[0] != over:
        return False
    found = constant(graph, node.input[1])
    along = found is not None and found.size == 1 and int(found.reshape(-1)[0]) % 2 == axis
    return along and bool(whole(node, "exclusive")) and not whole(node, "reverse")


def _starts(graph: Graph, name: str, hot: str) -> bool:
    node = made_by(graph, name)
    counts = made_by(graph, node.input[0]) if node is not None else None
    if node is None or counts is None or not _runs(graph, name, 0, node.input[0]):
        return False
    return counts.input[0] == hot and _reduces(graph, counts, 1, keeps=True)


def _reduces(graph: Graph, node: onnx.NodeProto, axis: int, keeps: bool) -> bool:
    """Return whether a node sums a table along one axis."""
    axes = constant(graph, node.input[1]) if len(node.input) > 1 and node.input[1] else None
    summed = node.op_type == "ReduceSum" and axes is not None and axes.size == 1 and int(axes.reshape(-1)[0]) % 2 == axis
    shape = graph.shape(node.input[0])
    return summed and shape is not None and len(shape) == 2 and bool(whole(node, "keepdims", 1)) == keeps
