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
FAR = 2**62


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
    if node.op_type in ("Reshape", "Expand", "ConstantOfShape"):
        shape = constant(graph, node.input[-1])
        told = shape is not None and shape.size == rank and int(shape.reshape(-1)[axis]) == 1
        if node.op_type != "Expand" or not told:
            return told
        inner = aligned(graph, node.input[0], axis, rank)
        return inner is not None and (inner < 0 or single(graph, node.input[0], inner, steps - 1))
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


def shortened(graph: Graph, name: str, axis: int, steps: int = STEPS_BACK) -> bool:
    """Return whether an axis may have been cut to length 1, so that it could be spread over any length again.

    The lengths of graphs (hits, edges, what passes a cut) are taken as they are: with one edge, all are 1 together.
    """
    if constant(graph, name) is not None or any(item.name == name for item in graph.graph.input):
        return single(graph, name, axis)
    node, rank = made_by(graph, name), rank_of(graph, name)
    if node is None or rank is None or steps == 0 or axis >= rank or (graph.shape(name) or ())[axis] == 1:
        return True
    inner = before(graph, node, axis, rank)
    if node.op_type in ("Reshape", "Flatten") and rank_of(graph, node.input[0]) == 1:
        inner = 0
    if node.op_type == "Slice" and _longest(graph, node, axis, rank) <= 1:
        return True
    if inner is not None and inner >= 0:
        return shortened(graph, node.input[0], inner, steps - 1)
    if node.op_type in ("Gather", "GatherND", "GatherElements") and len(node.input) > 1:
        start, own = whole(node, "axis"), rank_of(graph, node.input[1])
        if own is None or node.op_type == "GatherND":
            return own is None or axis >= own - 1 or shortened(graph, node.input[1], axis, steps - 1)
        start += rank - own + 1 if start < 0 else 0
        if node.op_type == "GatherElements" or start <= axis < start + own:
            return shortened(graph, node.input[1], axis - (start if node.op_type == "Gather" else 0), steps - 1)
        return shortened(graph, node.input[0], axis if axis < start else axis - own + 1, steps - 1)
    if node.op_type in ("Add", "Sub", "Mul", "Expand"):
        places = [(name, aligned(graph, name, axis, rank)) for name in node.input[: 1 if node.op_type == "Expand" else 2]]
        return all(inner is None or inner < 0 or shortened(graph, name, inner, steps // 2) for name, inner in places)
    if node.op_type == "Range":
        return constant(graph, node.input[0]) is None
    return node.op_type not in ("NonZero", "TopK", "Unique")


def _longest(graph: Graph, node: onnx.NodeProto, axis: int, rank: int) -> int:
    """Return the most elements that a Slice can leave of an axis, 0 if that can't be told."""
    values = [constant(graph, name) if name else None for name in node.input[1:5]]
    starts, ends, axes, strides = [None if value is None else value.reshape(-1) for value in (*values, None, None)[:4]]
    if starts is None or ends is None or (len(node.input) > 3 and node.input[3] and axes is None):
        return 0
    if len(node.input) > 4 and node.input[4] and strides is None:
        return 0
    along = [int(item) % rank for item in axes] if axes is not None else list(range(len(starts)))
    if axis not in along:
        return FAR
    place = along.index(axis)
    start, end, stride = int(starts[place]), int(ends[place]), 1 if strides is None else int(strides[place])
    if (start < 0) == (end < 0):
        length = end - start if stride > 0 else start - end
    elif stride > 0:
        length = -start if start < 0 else FAR
    else:
        length = start + 1 if start >= 0 else FAR
    return -(-length // max(abs(stride), 1))


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
