"""What one number that is scattered into zeros is: a mask, which may be overwritten, or a count, which then is lost."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Mapping

import numpy as np
import onnx

from trkx.export.lint.intervals import made_by
from trkx.export.lint.uniform import KEEPING, uniform
from trkx.export.lint.walking import MOVING, STANDARD, constant, scalar
from trkx.export.onnx_graph import Graph, whole
from trkx.export.repair.zeros import all_zeros, equal_numbers

Pair = tuple[float, float] | None
"""What a mask's two numbers have become: that of elements that nothing went to, and the other. None: not known."""
FARTHEST = 64
"""Values that are followed from a scatter; from a degree to the division by it there are a dozen."""
STEPS_BACK = 16
_CASTS = ("Cast", "CastLike")
_PASSING = MOVING | {*_CASTS, "GatherND"}
_OF_COUNTS = frozenset(("Sqrt", "Reciprocal", "Pow", "Log", "Tanh", "Exp", "Sigmoid", "Softplus", "Erf"))
"""Operators that make no sense of two numbers."""
_COMPARING: Mapping[str, Callable[[float, float], bool]] = {
    "Greater": operator.gt, "GreaterOrEqual": operator.ge, "Less": operator.lt, "LessOrEqual": operator.le, "Equal": operator.eq,
}
_ARITHMETIC: Mapping[str, Callable[[float, float], float]] = {"Add": operator.add, "Sub": operator.sub, "Mul": operator.mul}
_LOGIC = ("And", "Or", "Xor", "Not")
_PRODUCTS = ("MatMul", "Gemm")


def counts(graph: Graph, node: onnx.NodeProto) -> bool:
    """Return whether what is made of a scatter of one number into zeros makes sense for a count only.

    A count is divided by, bounded from below, given to a root or another curve, compared with a number that a mask does not
    reach, or (as torch writes `scatter_add` up to opset 15) added to zeros; or the number is added to what was there. A mask is
    multiplied by, compared with zero, or chosen by.
    """
    return _countable(graph, node) and (_increments(graph, node) or _Uses(graph, node).counted)


def may_count(graph: Graph, node: onnx.NodeProto) -> bool:
    """Return whether a scatter of one number into zeros becomes a factor, where a mask and a count look the same."""
    return _countable(graph, node) and _Uses(graph, node).factor


def _countable(graph: Graph, node: onnx.NodeProto) -> bool:
    return all_zeros(graph, node.input[0]) and not all_zeros(graph, node.input[2])


def _increments(graph: Graph, node: onnx.NodeProto) -> bool:
    """Return whether the updates are what stood at the same places and something more: `count[index] += 1`."""
    add = made_by(graph, node.input[2])
    if add is None or add.op_type != "Add":
        return False
    reads = [read for read in (made_by(graph, name) for name in add.input) if read is not None]
    return any(read.op_type.startswith("Gather") and read.input[0] == node.input[0] for read in reads)


class _Uses:
    """Follows a scattered number forward. counted: something is made of it that only a count is for. factor: it is multiplied."""

    def __init__(self, graph: Graph, node: onnx.NodeProto) -> None:
        self.graph = graph
        filled = _number(graph, node.input[2])
        self.numbers: dict[str, Pair] = {node.output[0]: None if filled is None else (0.0, filled)}
        self.flags: set[str] = set()
        self.factor = False
        self.counted = any(self._counts(reader) for reader in self._readers(node.output[0]))

    def _readers(self, name: str) -> Iterator[onnx.NodeProto]:
        """Yield what reads the number and what is made of it alone, each as often as one of its inputs becomes known."""
        waiting = [name]
        while waiting and len(self.numbers) + len(self.flags) < FARTHEST:
            for reader in self.graph.consumers(waiting.pop()):
                if reader.domain not in STANDARD or not reader.output or not all(reader.input[:1]):
                    continue
                yield reader
                result = reader.output[0]
                if result not in self.numbers and result not in self.flags and self._follow(reader):
                    waiting.append(result)

    def _follow(self, node: onnx.NodeProto) -> bool:
        """Take the result of a node as a number or flag if it is made of the scattered number and constants only."""
        kind, result, names = node.op_type, node.output[0], list(node.input)
        names = names[:1] if kind in _PASSING - {"Concat"} else names[1:] if kind == "Where" else names
        if not all(name in self.numbers or name in self.flags or uniform(self.graph, name) for name in names):
            return False
        own = [name for name in names if name in self.numbers]
        flags = kind in _COMPARING or kind in _LOGIC or (kind == "Cast" and whole(node, "to") == onnx.TensorProto.BOOL)
        if kind in (*_COMPARING, *_LOGIC, *_PASSING) and (flags or not own):
            self.flags.add(result)
        elif own and kind in ("Where", "Relu", "Neg", "Div", "Min", "Clip", *_PASSING, *_ARITHMETIC):
            if kind in ("Min", "Clip") and self._saturates(node):
                return False
            self.numbers[result] = self._pair(node, names)
        else:
            return False
        return True

    def _pair(self, node: onnx.NodeProto, names: list[str]) -> Pair:
        pairs = [self.numbers.get(name) if name in self.numbers else self._fixed(name) for name in names]
        first = pairs[0]
        if first is None or node.op_type in ("Where", "Min", "Clip", "Concat"):
            return None
        if node.op_type == "Neg":
            return -first[0], -first[1]
        if node.op_type == "Relu":
            return first if min(first) >= 0 else None
        if node.op_type in _PASSING:
            return first
        second = pairs[-1]
        if second is None or node.op_type not in _ARITHMETIC:
            return None
        made = _ARITHMETIC[node.op_type]
        return made(first[0], second[0]), made(first[1], second[1])

    def _fixed(self, name: str) -> Pair:
        value = None if name in self.flags else _number(self.graph, name)
        return None if value is None else (value, value)

    def _counts(self, node: onnx.NodeProto) -> bool:
        """Return whether a node that reads the number is for counts."""
        kind, names = node.op_type, list(node.input)
        others = [name for name in names if name not in self.numbers]
        if len(others) == len(names):
            return False
        plain = all(uniform(self.graph, name) for name in others if name)
        self.factor = self.factor or kind in _PRODUCTS or (kind == "Mul" and not plain)
        if kind == "Add":
            return len(others) == 1 and all_zeros(self.graph, others[0])
        if kind == "Max":  # the larger of two masks is a mask
            return plain
        if kind == "Clip":
            return names[0] in self.numbers and self._raised(names)
        if kind in _COMPARING and len(names) == 2 and len(others) == 1:
            return self._beyond(kind, names)
        return names[-1 if kind == "Div" else 0] in self.numbers and kind in (*_OF_COUNTS, "Div")

    def _raised(self, names: list[str]) -> bool:
        """Return whether Clip lifts what nothing went to. A bound that isn't known is taken to."""
        pair, least = self.numbers[names[0]], scalar(self.graph, names[1]) if len(names) > 1 and names[1] else -np.inf
        return pair is None or least is None or least > pair[0]

    def _saturates(self, node: onnx.NodeProto) -> bool:
        """Return whether a count is cut to what a mask would be."""
        most = scalar(self.graph, node.input[-1]) if node.op_type == "Min" or len(node.input) > 2 else None
        pair = self.numbers.get(node.input[0])
        return pair is not None and most is not None and most <= pair[1]

    def _beyond(self, kind: str, names: list[str]) -> bool:
        """Return whether a comparison has one answer for a mask, and more than one for a count."""
        place = 0 if names[0] in self.numbers else 1
        pair, limit = self.numbers[names[place]], _number(self.graph, names[1 - place])
        if pair is None or limit is None or pair[0] == pair[1] or not np.isfinite((*pair, limit)).all():
            return False
        compare, step = _COMPARING[kind], pair[1] - pair[0]
        nearest = round((limit - pair[0]) / step)
        values = [pair[0] + step * count for count in (0, 1, *(near for near in range(nearest - 1, nearest + 2) if near > 1))]
        answers = [compare(value, limit) if place == 0 else compare(limit, value) for value in values]
        return answers[0] == answers[1] and len(set(answers)) > 1


def _number(graph: Graph, name: str) -> float | None:
    """Return the number that all elements of a value are, None if it is not known."""
    for _ in range(STEPS_BACK):
        value, node = equal_numbers(graph, name), made_by(graph, name)
        if value is not None:
            return float(value[0]) if value.dtype.kind in "iufb" else None
        if node is None or node.op_type not in KEEPING or constant(graph, name) is not None:
            return None
        name = node.input[0]
    return None
