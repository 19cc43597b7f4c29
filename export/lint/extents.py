"""What is certain of the axes of a value: that one has length 1, or that nothing changes along it.

Only operators, constants and inputs count as witnesses: shapes that a file notes beside its values may be wrong.
"""

from __future__ import annotations

import numpy as np
import onnx

from trkx.export.lint.intervals import made_by
from trkx.export.lint.walking import constant
from trkx.export.onnx_graph import Graph, attribute, whole

STEPS_BACK = 40


def rank_of(graph: Graph, name: str) -> int | None:
    """Return the number of axes of a value, None if it is unknown."""
    shape = graph.shape(name)
    return None if shape is None else len(shape)


def single(graph: Graph, name: str, axis: int, steps: int = STEPS_BACK) -> bool:
    """Return whether an axis (from 0) of a value has length 1, or none, in every event."""
    value = constant(graph, name)
    if value is not None:
        return axis < value.ndim and value.shape[axis] <= 1
    if any(item.name == name for item in graph.graph.input):
        return (graph.shape(name) or ())[axis : axis + 1] in ((0,), (1,))
    node, rank = made_by(graph, name), rank_of(graph, name)
    if node is None or rank is None or steps == 0 or axis >= rank:
        return False
    inner = before(graph, node, axis, rank)
    if inner is not None and inner < 0:
        return True
    if node.op_type in ("Identity", "Cast", "Slice", "Unsqueeze", "Transpose"):
        return inner is not None and single(graph, node.input[0], inner, steps - 1)
    if node.op_type in ("Add", "Sub", "Mul", "Div") and len(node.input) == 2:
        places = [(item, aligned(graph, item, axis, rank)) for item in node.input]
        return all(at is not None and (at < 0 or single(graph, item, at, steps // 2)) for item, at in places)
    if node.op_type == "Concat" and whole(node, "axis") % rank != axis:
        return any(single(graph, item, axis, steps // 2) for item in node.input)
    if node.op_type in ("Reshape", "ConstantOfShape"):
        shape = constant(graph, node.input[-1])
        return shape is not None and shape.size == rank and int(shape.reshape(-1)[axis]) == 1
    if node.op_type == "Expand" and len(node.input) > 1:
        inner = aligned(graph, node.input[0], axis, rank)
        kept = inner is not None and (inner < 0 or single(graph, node.input[0], inner, steps - 1))
        return kept and _asks_for_one(graph, node.input[1], axis, rank, steps - 1)
    return False


def _asks_for_one(graph: Graph, shape: str, axis: int, rank: int, steps: int) -> bool:
    """Return whether a shape to which something of rank `rank` is expanded says 1 there, or is that of a value with length 1."""
    value, node = constant(graph, shape), made_by(graph, shape)
    if value is not None:
        place = axis - (rank - value.size)
        return place < 0 or (value.dtype.kind in "iu" and int(value.reshape(-1)[place]) in (1, -1))
    if node is None or steps == 0:
        return False
    if node.op_type == "Shape" and not whole(node, "start") and attribute(node, "end") is None:
        inner = aligned(graph, node.input[0], axis, rank)
        return inner is not None and (inner < 0 or single(graph, node.input[0], inner, steps - 1))
    if node.op_type == "Where" and len(node.input) > 2:  # torch's older exporter: 1 where the shape says -1
        return all(_asks_for_one(graph, item, axis, rank, steps // 2) for item in node.input[1:3])
    return node.op_type == "ConstantOfShape" and _ones(node)


def _ones(node: onnx.NodeProto) -> bool:
    value = attribute(node, "value")
    try:
        return value is not None and bool((onnx.numpy_helper.to_array(value) == 1).all())
    except (AttributeError, TypeError, ValueError):  # no tensor, or one that does not hold what it declares
        return False


def same(graph: Graph, name: str, axis: int, steps: int = STEPS_BACK) -> bool:
    """Return whether a value does not change along an axis (from 0)."""
    value = constant(graph, name)
    if value is not None:
        return axis < value.ndim and bool((value == value.take([0], axis)).all() if value.shape[axis] else True)
    node, rank = made_by(graph, name), rank_of(graph, name)
    if node is None or rank is None or steps == 0:
        return single(graph, name, axis, steps)
    if node.op_type == "ConstantOfShape":
        return True
    if node.op_type == "Expand":
        inner = aligned(graph, node.input[0], axis, rank)
        return inner is not None and (inner < 0 or same(graph, node.input[0], inner, steps - 1))
    if node.op_type in ("Identity", "Cast", "Unsqueeze", "Transpose", "Slice"):
        inner = before(graph, node, axis, rank)
        return inner is not None and (inner < 0 or same(graph, node.input[0], inner, steps - 1))
    return single(graph, name, axis, steps)


def before(graph: Graph, node: onnx.NodeProto, axis: int, rank: int) -> int | None:
    """Return which axis of a node's first input is axis `axis` of its result, -1 for one that the node puts in.

    Of operators that keep, insert, remove or exchange axes; None for all others, and where it can't be told.
    """
    if node.op_type in ("Identity", "Cast", "CastLike", "Slice", "Neg", "CumSum"):
        return axis
    if node.op_type == "Transpose":
        perm = attribute(node, "perm") or list(range(rank - 1, -1, -1))
        if not isinstance(perm, list):
            return None
        return int(perm[axis]) if sorted(perm) == list(range(rank)) else None
    if node.op_type in ("Unsqueeze", "Squeeze"):
        inside = rank if node.op_type == "Unsqueeze" else rank_of(graph, node.input[0])
        places = _axes(graph, node, inside)
        if inside is None or places is None:
            return None
        kept = [place for place in range(inside) if place not in places]
        if node.op_type == "Squeeze":
            return kept[axis] if axis < len(kept) else None
        return -1 if axis in places else kept.index(axis)
    return None


def aligned(graph: Graph, name: str, axis: int, rank: int) -> int | None:
    """Return which axis of an operand is axis `axis` of a result of rank `rank` that it is broadcast to; below 0 for none."""
    own = rank_of(graph, name)
    return None if own is None or own > rank else axis - (rank - own)


def _axes(graph: Graph, node: onnx.NodeProto, rank: int | None) -> set[int] | None:
    value = constant(graph, node.input[1]) if len(node.input) > 1 and node.input[1] else None
    found = value.reshape(-1) if value is not None else np.asarray(attribute(node, "axes", []))
    if rank is None or found.size == 0 or found.dtype.kind not in "iu" or not all(-rank <= axis < rank for axis in found):
        return None
    return {int(axis) % rank for axis in found}
