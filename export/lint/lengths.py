"""Which length an element of a shape is, and whether a broadcast may repeat an axis that has length 1 in some event."""

from __future__ import annotations

import onnx

from trkx.export.lint.extents import STEPS_BACK, aligned, before, rank_of, single
from trkx.export.lint.intervals import made_by
from trkx.export.lint.walking import constant, scalar
from trkx.export.onnx_graph import Graph, attribute, whole

FAR = 2**31
"""No axis is longer."""
Element = int | tuple[str, int] | None
"""A number, the length of an axis (from 0) of a value, or unknown."""
_SCALARS = ("Identity", "Cast", "Squeeze", "Unsqueeze", "Reshape")
_SAME = frozenset((
    "Identity", "Cast", "CastLike", "Relu", "Neg", "Abs", "Exp", "Log", "Sqrt", "Tanh", "Sigmoid", "Not", "CumSum",
))
"""Operators whose result is as long as their first input."""


_CUTTING = ("NonZero", "TopK", "Unique", "Compress", "Range", "Slice")


def may_repeat(graph: Graph, node: onnx.NodeProto, name: str, axis: int, rank: int) -> bool:
    """Return whether Expand or arithmetic may repeat an operand along axis `axis` of its result, which has rank `rank`."""
    inner = aligned(graph, name, axis, rank)
    if inner is None or inner < 0:
        return True
    own = root(graph, name, inner)
    if node.op_type == "Expand":
        others = [element(graph, node.input[1], axis, rank)]
    else:
        others = [_length(graph, other, aligned(graph, other, axis, rank)) for other in node.input if other != name]
    if all(other == 1 or (isinstance(other, tuple) and root(graph, *other) in (own, 1)) for other in others):
        return False
    return shortened(graph, name, inner)


def _length(graph: Graph, name: str, axis: int | None) -> Element:
    if axis is None:
        return None
    return 1 if axis < 0 or single(graph, name, axis) else (name, axis)


def element(graph: Graph, shape: str, place: int, rank: int | None = None, steps: int = STEPS_BACK) -> Element:
    """Return what an element of a vector of lengths, or a single length, is.

    rank: of what is expanded to the shape, which may have fewer elements: those that are missing in front count as 1.
    """
    value = constant(graph, shape)
    if value is not None:
        own = place if rank is None else place - (rank - value.size)
        return 1 if own < 0 else int(value.reshape(-1)[own]) if own < value.size and value.dtype.kind in "iu" else None
    node, dims = made_by(graph, shape), graph.shape(shape)
    if node is None or steps == 0 or dims is None or len(dims) > 1:
        return None
    if rank is not None and dims:
        if not isinstance(dims[0], int):
            return None
        place -= rank - dims[0]
    if place < 0:
        return 1
    if node.op_type == "Shape":
        known = rank_of(graph, node.input[0])
        start = whole(node, "start")
        start += known if start < 0 and known is not None else 0
        return (node.input[0], start + place) if known is not None and 0 <= start + place < known else None
    if node.op_type in _SCALARS:
        return element(graph, node.input[0], place, None, steps - 1)
    if node.op_type == "Gather" and whole(node, "axis") == 0 and len(node.input) > 1:
        index, inside = constant(graph, node.input[1]), graph.shape(node.input[0])
        if index is None or index.dtype.kind not in "iu" or place >= index.size or not inside or not isinstance(inside[0], int):
            return None
        return element(graph, node.input[0], int(index.reshape(-1)[place]) % max(inside[0], 1), None, steps - 1)
    if node.op_type == "Concat":
        for name in node.input:
            size = graph.shape(name)
            if size is None or len(size) != 1 or not isinstance(size[0], int):
                return None
            if place < size[0]:
                return element(graph, name, place, None, steps - 1)
            place -= size[0]
    if node.op_type == "Where" and len(node.input) > 2:  # torch's older exporter: 1 where the shape says -1
        one, other = (element(graph, name, place, None, steps // 2) for name in node.input[1:3])
        return other if one == 1 else None
    if node.op_type == "ConstantOfShape":
        filled = attribute(node, "value")
        return int(onnx.numpy_helper.to_array(filled).reshape(-1)[0]) if filled is not None else 0
    return None


def root(graph: Graph, name: str, axis: int, steps: int = STEPS_BACK) -> Element:
    """Return the value and axis that an axis takes its length from: 1 if it is put in, or has length 1 in every event."""
    for _ in range(steps):
        node, rank = made_by(graph, name), rank_of(graph, name)
        if single(graph, name, axis):
            return 1
        if node is None or rank is None or axis >= rank:
            break
        inner = before(graph, node, axis, rank) if node.op_type != "Slice" else None
        if node.op_type in _SAME:
            inner = axis
        if inner is not None:
            if inner < 0:
                return 1
            name, axis = node.input[0], inner
            continue
        if node.op_type in ("Add", "Sub", "Mul") and len(node.input) == 2:
            places = [(item, aligned(graph, item, axis, rank)) for item in node.input]
            long = [(item, at) for item, at in places if at is not None and _length(graph, item, at) != 1]
            if len(long) != 1 or None in (at for _, at in places):
                break
            name, axis = long[0]
            continue
        if node.op_type == "TopK":
            return node.output[0], axis
        if node.op_type == "Gather" and len(node.input) > 1:
            own, depth = rank_of(graph, node.input[1]), rank_of(graph, node.input[0])
            if own is None or not depth:
                break
            start = whole(node, "axis") % depth
            if start <= axis < start + own:
                name, axis = node.input[1], axis - start
            else:
                name, axis = node.input[0], axis if axis < start else axis - own + 1
            continue
        if node.op_type == "GatherND" and len(node.input) > 1 and not whole(node, "batch_dims"):
            own = rank_of(graph, node.input[1])
            if own is None or axis >= own - 1:
                break
            name = node.input[1]
            continue
        break
    return name, axis


def counts_back(graph: Graph, name: str, steps: int = STEPS_BACK) -> bool:
    """Return whether a value holds places counted from the end, n - 1 - i for i below n, which are never negative."""
    node = _moved_from(graph, name, steps)
    if node is None or node.op_type != "Sub" or len(node.input) < 2:
        return False
    places, most = _moved_from(graph, node.input[1], steps), _moved_from(graph, node.input[0], steps)
    if places is None or places.op_type != "Range" or len(places.input) < 3 or most is None or len(most.input) < 2:
        return False
    start, step = (scalar(graph, places.input[at]) for at in (0, 2))
    less = scalar(graph, most.input[1]) if most.op_type in ("Add", "Sub") else None
    if start is None or start < 0 or step is None or step <= 0 or less is None or (less if most.op_type == "Sub" else -less) > 1:
        return False
    length = element(graph, most.input[0], 0)
    return isinstance(length, tuple) and length == element(graph, places.input[1], 0)


def _moved_from(graph: Graph, name: str, steps: int) -> onnx.NodeProto | None:
    """Return the node that makes the elements of a value, back through operators that move them."""
    for _ in range(steps):
        node = made_by(graph, name)
        if node is None or node.op_type not in (*_SCALARS, "Expand", "Transpose", "Slice", "Flatten"):
            return node
        name = node.input[0]
    return None


def shortened(graph: Graph, name: str, axis: int, steps: int = STEPS_BACK) -> bool:
    """Return whether an axis may have been cut to length 1, so that it could be spread over any length again.

    The lengths of hits and edges are taken as they are: with one edge, all are 1 together. What passes a cut, and what is
    computed, may be one of many.
    """
    if constant(graph, name) is not None or any(item.name == name for item in graph.graph.input):
        return single(graph, name, axis)
    node, rank = made_by(graph, name), rank_of(graph, name)
    if node is None or rank is None or steps == 0 or axis >= rank or (graph.shape(name) or ())[axis] == 1:
        return True
    inner = before(graph, node, axis, rank)
    if node.op_type in ("Reshape", "Flatten") and rank_of(graph, node.input[0]) == 1:
        inner = 0
    if node.op_type == "Slice" and _cut(graph, node, axis, rank):
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
    if node.op_type == "Range" and len(node.input) > 2:
        first, last, step = (scalar(graph, item) for item in node.input[:3])
        if first is not None and last is not None and step:
            return (last - first) / step <= 1
        return first is None or not _grows(graph, node.input[1], steps - 1)
    if node.op_type == "TopK" and len(node.input) > 1 and axis == whole(node, "axis", -1) % rank:
        count = scalar(graph, node.input[1])
        return count <= 1 if count is not None else not _grows(graph, node.input[1], steps - 1)
    return True


def _cut(graph: Graph, node: onnx.NodeProto, axis: int, rank: int) -> bool:
    """Return whether a Slice may leave one of several elements: it begins later, ends earlier, or takes only every second."""
    values = [constant(graph, name) if name else None for name in node.input[1:5]]
    starts, ends, axes, strides = [None if value is None else value.reshape(-1) for value in (*values, None, None)[:4]]
    if starts is None or ends is None or (len(node.input) > 3 and node.input[3] and axes is None):
        return True
    if len(node.input) > 4 and node.input[4] and strides is None:
        return True
    along = [int(item) % rank for item in axes] if axes is not None else list(range(len(starts)))
    if axis not in along:
        return False
    place = along.index(axis)
    start, end, stride = int(starts[place]), int(ends[place]), 1 if strides is None else int(strides[place])
    if stride == 1:
        return not ((start == 0 and end > 1) or (start < -1 and end >= FAR))
    return not (stride == -1 and (start == -1 or start >= FAR) and end <= -FAR)


def _few(graph: Graph, name: str, axis: int, steps: int) -> bool:
    """Return whether the length of an axis is known to come from what cuts it: a selection, a computed Range, a Slice."""
    for _ in range(max(steps, 0)):
        found = root(graph, name, axis)
        if not isinstance(found, tuple):
            return True
        name, axis = found
        node, rank = made_by(graph, name), rank_of(graph, name)
        if node is None or rank is None or axis >= rank:
            return False
        if node.op_type in _CUTTING:
            return shortened(graph, name, axis, steps - 1)
        same = [item for item in node.input if item and rank_of(graph, item) == rank and not single(graph, item, axis)]
        if not same:
            return False
        name = same[0]
    return True


def _grows(graph: Graph, name: str, steps: int) -> bool:
    """Return whether a number is the length of an axis that is not shortened, or a multiple of one, or one and more."""
    found = element(graph, name, 0, None, steps)
    if isinstance(found, tuple):
        return not _few(graph, *found, steps - 1)
    node = made_by(graph, name)
    while node is not None and node.op_type in _SCALARS and steps > 0:
        node, steps = made_by(graph, node.input[0]), steps - 1
    if node is None or node.op_type not in ("Add", "Mul") or steps <= 0:
        return False
    numbers = [scalar(graph, item) for item in node.input]
    return None in numbers and all(
        number >= 1 if number is not None else _grows(graph, item, steps // 2)
        for item, number in zip(node.input, numbers, strict=True)
    )
