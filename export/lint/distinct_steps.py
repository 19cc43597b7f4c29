"""How distinctness is carried through an operator: the result is distinct along these axes if that holds of its inputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import onnx

from trkx.export.lint.counting_sort import places_of_sort
from trkx.export.lint.extents import aligned, before, rank_of, same
from trkx.export.lint.lengths import may_repeat
from trkx.export.lint.walking import constant
from trkx.export.onnx_graph import attribute, whole

if TYPE_CHECKING:
    from trkx.export.lint.distinct import Proof

EXACT = (onnx.TensorProto.INT32, onnx.TensorProto.INT64, onnx.TensorProto.UINT32, onnx.TensorProto.UINT64)
LARGEST, LARGEST_FACTOR = 2**40, 2**20
"""A number and a factor whose product certainly fits into 64 bits."""
Axes = frozenset[int]


class Asked(NamedTuple):
    """A question to a node: which output, its rank, the axes, and how many operators further back may be looked at."""

    output: int
    rank: int
    axes: Axes
    steps: int


def _moved(proof: Proof, node: onnx.NodeProto, asked: Asked) -> bool:
    if node.op_type in ("Cast", "CastLike") and not proof.exact(node):
        return False
    inner = [before(proof.graph, node, axis, asked.rank) for axis in asked.axes]
    kept = [axis for axis in inner if axis is not None and axis >= 0]
    return len(kept) == len(inner) and proof.distinct(node.input[0], kept, asked.steps)


def _reshaped(proof: Proof, node: onnx.NodeProto, asked: Asked) -> bool:
    return proof.everywhere(node.input[0], asked.steps) or _moved(proof, node, asked)


def _part(proof: Proof, node: onnx.NodeProto, asked: Asked) -> bool:
    """A selection of what is distinct. Compress without an axis flattens first."""
    flat = node.op_type == "Compress" and attribute(node, "axis") is None
    return proof.everywhere(node.input[0], asked.steps) if flat else proof.distinct(node.input[0], asked.axes, asked.steps)


def _operand(proof: Proof, node: onnx.NodeProto, name: str, asked: Asked) -> bool:
    """Return whether an operand that is broadcast is distinct along the axes, and not repeated along any."""
    graph, given, made = proof.graph, proof.graph.shape(name) or (), proof.graph.shape(node.output[0]) or ()
    inner = {axis: aligned(graph, name, axis, asked.rank) for axis in asked.axes}
    kept = {axis: place for axis, place in inner.items() if place is not None and place >= 0}
    if len(kept) < len(inner) or any(may_repeat(graph, node, name, axis, asked.rank) for axis in kept):
        return False
    spread = any(isinstance(made[axis], int) and made[axis] != given[place] for axis, place in kept.items())
    return not spread and proof.distinct(name, kept.values(), asked.steps)


def _still(proof: Proof, name: str, asked: Asked) -> bool:
    """Return whether an operand that is broadcast does not change along the axes."""
    inner = [aligned(proof.graph, name, axis, asked.rank) for axis in asked.axes]
    return all(axis is not None and (axis < 0 or same(proof.graph, name, axis, asked.steps)) for axis in inner)


def _shifted(proof: Proof, node: onnx.NodeProto, asked: Asked) -> bool:
    if proof.graph.dtype(node.output[0]) not in EXACT:
        return False
    one, other = node.input[:2]
    return any(_operand(proof, node, a, asked) and _still(proof, b, asked) for a, b in ((one, other), (other, one)))


def _scaled(proof: Proof, node: onnx.NodeProto, asked: Asked) -> bool:
    if proof.graph.dtype(node.output[0]) not in EXACT:
        return False
    for name, factor in (tuple(node.input[:2]), tuple(node.input[1::-1])):
        value, (low, high) = constant(proof.graph, factor), proof.intervals.of(name)
        small = low >= -LARGEST and high <= LARGEST
        if value is not None and small and value.size and value.all() and np.abs(value).max() < LARGEST_FACTOR:
            return _operand(proof, node, name, asked) and _still(proof, factor, asked)
    return False


def _gathered(proof: Proof, node: onnx.NodeProto, asked: Asked) -> bool:
    """Different places of a value that is distinct there. GatherND takes places of the first axes, Gather of one axis."""
    data, index = node.input[:2]
    depth, spread = rank_of(proof.graph, data), proof.graph.shape(index)
    if not depth or spread is None or not proof.one_sign(index):
        return False
    if node.op_type == "GatherElements":
        axis = whole(node, "axis") % depth
        return asked.axes == {axis} and proof.distinct(data, {axis}, asked.steps) and proof.distinct(index, {axis}, asked.steps)
    pairs = node.op_type == "GatherND"
    axis = 0 if pairs else whole(node, "axis") % depth
    width = len(spread) - pairs
    taken = (spread or (None,))[-1] if pairs else 1
    if not isinstance(taken, int) or (pairs and whole(node, "batch_dims")):
        return False
    own = frozenset(place - axis for place in asked.axes if axis <= place < axis + width)
    rest = {place if place < axis else place - width + taken for place in asked.axes if not axis <= place < axis + width}
    places = rest | set(range(axis, axis + taken)) if own else rest
    told = proof.rows(index, width, own, asked.steps) if pairs else proof.distinct(index, own, asked.steps)
    return told and proof.distinct(data, places, asked.steps)


def _joined(proof: Proof, node: onnx.NodeProto, asked: Asked) -> bool:
    along = whole(node, "axis") % asked.rank
    return along not in asked.axes and all(proof.distinct(name, asked.axes, asked.steps) for name in node.input)


def _counted(proof: Proof, node: onnx.NodeProto, asked: Asked) -> bool:
    low, high = proof.intervals.of(node.input[2])
    return low > 0 or high < 0


def _places(proof: Proof, node: onnx.NodeProto, asked: Asked) -> bool:
    return asked.axes == {1} and rank_of(proof.graph, node.input[0]) == 1


def _chosen(proof: Proof, node: onnx.NodeProto, asked: Asked) -> bool:
    along = whole(node, "axis", -1) % asked.rank
    return asked.axes == {along} and (asked.output == 1 or proof.distinct(node.input[0], asked.axes, asked.steps))


def _deduplicated(proof: Proof, node: onnx.NodeProto, asked: Asked) -> bool:
    return asked.rank == 1 and asked.output in (0, 1)


def _running(proof: Proof, node: onnx.NodeProto, asked: Asked) -> bool:
    axis = constant(proof.graph, node.input[1])
    low, high = proof.intervals.of(node.input[0])
    along = {int(axis.reshape(-1)[0]) % asked.rank} if axis is not None and axis.size == 1 else set()
    return asked.axes == along and (low > 0 or high < 0)


def _sorted(proof: Proof, node: onnx.NodeProto, asked: Asked) -> bool:
    return places_of_sort(proof.graph, node.output[0])


STEPS: Mapping[str, Callable[[Proof, onnx.NodeProto, Asked], bool]] = {
    **dict.fromkeys(("Identity", "Cast", "CastLike", "Transpose", "Slice", "Neg"), _moved),
    **dict.fromkeys(("Reshape", "Flatten", "Squeeze", "Unsqueeze"), _reshaped),
    **dict.fromkeys(("Split", "Compress"), _part),
    **dict.fromkeys(("Gather", "GatherND", "GatherElements"), _gathered),
    **dict.fromkeys(("Add", "Sub"), _shifted),
    "Expand": lambda proof, node, asked: _operand(proof, node, node.input[0], asked),
    "Mul": _scaled,
    "Concat": _joined,
    "Range": _counted,
    "NonZero": _places,
    "TopK": _chosen,
    "Unique": _deduplicated,
    "CumSum": _running,
    "ReduceSum": _sorted,
}
NEEDS: Mapping[str, int] = {
    **dict.fromkeys(("Gather", "GatherND", "GatherElements", "Add", "Sub", "Mul", "CumSum"), 2), "Range": 3,
}
"""Inputs that an operator of STEPS must have, if more than one; a damaged graph may lack them."""
