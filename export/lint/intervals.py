"""Between which bounds the whole numbers of a value lie, whatever the inputs are: signs of indices, sizes of sorts."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import onnx

from trkx.export.lint.walking import MOVING, STANDARD, constant
from trkx.export.onnx_graph import Graph, attribute, whole

Interval = tuple[int, int]
ANY: Interval = (-(2**63), 2**63 - 1)
COUNT = 2**31 - 1
"""Longest axis that is thought of: no event has more hits or edges."""
STEPS_BACK = 40
_TYPES: Mapping[int, Interval] = {
    onnx.TensorProto.INT8: (-(2**7), 2**7 - 1), onnx.TensorProto.INT16: (-(2**15), 2**15 - 1),
    onnx.TensorProto.INT32: (-(2**31), 2**31 - 1), onnx.TensorProto.INT64: ANY,
    onnx.TensorProto.UINT8: (0, 2**8 - 1), onnx.TensorProto.UINT16: (0, 2**16 - 1),
    onnx.TensorProto.UINT32: (0, 2**32 - 1), onnx.TensorProto.UINT64: (0, 2**63 - 1), onnx.TensorProto.BOOL: (0, 1),
}
_PARTS = MOVING - {"Concat", "Split"} | {"GatherElements", "GatherND", "Compress", "ReduceMax", "ReduceMin", "TopK", "Unique"}
"""Operators whose results are elements of their first input."""
_POSITIONS = frozenset((
    ("TopK", 1), ("Unique", 1), ("Unique", 2), ("Unique", 3), ("ArgMax", 0), ("ArgMin", 0), ("Shape", 0),
    ("NonZero", 0),
))
"""(operator, output) that gives positions, lengths or counts."""


class Intervals:
    """Bounds of the integer values of a graph (`ANY` where nothing is known); follows at most STEPS_BACK operators."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self._known: dict[str, Interval] = {}

    def of(self, name: str, steps: int = STEPS_BACK) -> Interval:
        """Return (smallest, largest) that an element of a value can be."""
        if name not in self._known:
            self._known[name] = ANY  # while it is being worked out: a circle proves nothing
            self._known[name] = self._of(name, steps)
        return self._known[name]

    def _of(self, name: str, steps: int) -> Interval:
        value = constant(self.graph, name)
        if value is not None:
            whole = value.dtype.kind in "iub" and value.size > 0
            return (int(value.min()), int(value.max())) if whole else ANY
        node = made_by(self.graph, name)
        if node is None or steps == 0:
            return ANY
        place, limits = list(node.output).index(name), _TYPES.get(self.graph.dtype(name) or 0, ANY)
        if (node.op_type, place) in _POSITIONS:
            return 0, COUNT
        parts = [self.of(item, steps - 1) for item in node.input if item]
        found = ANY
        if (node.op_type in _PARTS and place == 0) or node.op_type == "Split":
            found = parts[0]
        elif node.op_type in _RULES:
            found = _RULES[node.op_type](node, parts)
        return found if limits[0] <= found[0] <= found[1] <= limits[1] else limits  # what its type can't hold wraps


def made_by(graph: Graph, name: str) -> onnx.NodeProto | None:
    """Return the standard operator that makes a value out of others; None for an input of the graph or body, or anything else."""
    if not name or any(value.name == name for value in graph.graph.input):
        return None
    node = graph.producer(name)
    return node if node is not None and node.domain in STANDARD and node.input and node.input[0] else None


def _range(node: onnx.NodeProto, parts: list[Interval]) -> Interval:
    if len(parts) != 3:
        return ANY
    (start, last), (least, limit), (low, high) = parts
    if low > 0:
        return start, max(start, limit - 1)
    if high < 0:
        return min(least + 1, last), last
    return min(start, least), max(last, limit)


def _cast(node: onnx.NodeProto, parts: list[Interval]) -> Interval:
    low, high = _TYPES.get(whole(node, "to"), ANY)
    return parts[0] if low <= parts[0][0] and parts[0][1] <= high else (low, high)


def _product(node: onnx.NodeProto, parts: list[Interval]) -> Interval:
    corners = [a * b for a in parts[0] for b in parts[-1]]
    return min(corners), max(corners)


def _filled(node: onnx.NodeProto, parts: list[Interval]) -> Interval:
    tensor = attribute(node, "value")
    if tensor is None:
        return 0, 0
    try:
        value = onnx.numpy_helper.to_array(tensor)
    except (AttributeError, TypeError, ValueError):  # no tensor, or one that does not hold what it declares
        return ANY
    return (int(value.min()), int(value.max())) if value.dtype.kind in "iub" and value.size else ANY


def _remainder(node: onnx.NodeProto, parts: list[Interval]) -> Interval:
    low, high = parts[-1]
    return (0, high - 1) if low > 0 and not whole(node, "fmod") else ANY


def _running(node: onnx.NodeProto, parts: list[Interval]) -> Interval:
    low, high = parts[0]
    return (0, min(high * COUNT, ANY[1])) if low >= 0 else ANY


def _union(node: onnx.NodeProto, parts: list[Interval]) -> Interval:
    parts = (parts[1:] or [ANY]) if node.op_type == "Where" else parts
    return min(low for low, _ in parts), max(high for _, high in parts)


def _truth(node: onnx.NodeProto, parts: list[Interval]) -> Interval:
    return 0, 1


_RULES: Mapping[str, Callable[[onnx.NodeProto, list[Interval]], Interval]] = {
    "Range": _range,
    "Cast": _cast,
    "ConstantOfShape": _filled,
    "Concat": _union,
    "Where": _union,
    "Add": lambda node, parts: (parts[0][0] + parts[-1][0], parts[0][1] + parts[-1][1]),
    "Sub": lambda node, parts: (parts[0][0] - parts[-1][1], parts[0][1] - parts[-1][0]),
    "Mul": _product,
    "Neg": lambda node, parts: (-parts[0][1], -parts[0][0]),
    "Min": lambda node, parts: (min(low for low, _ in parts), min(high for _, high in parts)),
    "Max": lambda node, parts: (max(low for low, _ in parts), max(high for _, high in parts)),
    "Mod": _remainder,
    "CumSum": _running,
    "ReduceSum": _running,  # of at most COUNT elements too
    **dict.fromkeys(("Equal", "Less", "LessOrEqual", "Greater", "GreaterOrEqual", "And", "Or", "Xor", "Not"), _truth),
}
