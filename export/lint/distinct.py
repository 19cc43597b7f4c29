"""Proves that a value holds different numbers: asked of some of its axes, answered back to where the numbers are made.

Constants, Range, NonZero, TopK, Unique, running sums of positive numbers and the places of a counting sort are different numbers;
operators that move indices keep them so. What is not proven may repeat.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from trkx.export.lint.counting_sort import places_of_sort
from trkx.export.lint.distinct_steps import EXACT, NEEDS, STEPS, Asked, Axes
from trkx.export.lint.extents import STEPS_BACK, before, rank_of, same, single
from trkx.export.lint.intervals import COUNT, Intervals, made_by
from trkx.export.lint.lengths import counts_back
from trkx.export.lint.walking import constant
from trkx.export.onnx_graph import Graph, whole


class Proof:
    """Answers about the values of one graph, remembered; follows at most STEPS_BACK operators."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.intervals = Intervals(graph)
        self._known: dict[tuple[str, Axes], bool] = {}

    def distinct(self, name: str, axes: Iterable[int], steps: int = STEPS_BACK) -> bool:
        """Return whether elements of a value that differ in `axes` only are different."""
        key = (name, frozenset(axes))
        if key not in self._known:
            self._known[key] = False  # while it is being worked out: a circle proves nothing
            self._known[key] = self._distinct(*key, steps)
        return self._known[key]

    def everywhere(self, name: str, steps: int = STEPS_BACK) -> bool:
        """Return whether all elements of a value are different."""
        rank = rank_of(self.graph, name)
        return rank is not None and self.distinct(name, range(rank), steps)

    def rows(self, name: str, tuples: int, axes: Axes, steps: int = STEPS_BACK) -> bool:
        """Return whether the tuples along axis `tuples` of a value are different where they differ in `axes`."""
        if not axes or self.distinct(name, axes, steps):
            return True
        value = constant(self.graph, name)
        if value is not None:
            return value.ndim == tuples + 1 and rows_differ(value)
        node, rank = made_by(self.graph, name), rank_of(self.graph, name)
        if node is None or rank is None or steps == 0:
            return False
        if node.op_type == "NonZero":  # each column is the place of another element
            return tuples == 0 and axes == {1}
        if node.op_type == "Concat" and whole(node, "axis") % rank == tuples:
            return self._joint(list(node.input), axes, steps - 1)
        if node.op_type in ("Identity", "Transpose") or (node.op_type == "Cast" and self.exact(node)):
            places = [before(self.graph, node, axis, rank) for axis in (tuples, *axes)]
            inner = [place for place in places if place is not None]
            return len(inner) == len(places) and self.rows(node.input[0], inner[0], frozenset(inner[1:]), steps - 1)
        return False

    def moving(self, name: str, axes: Iterable[int], steps: int = STEPS_BACK) -> Axes:
        """Return those of `axes` that are not known to have length 1."""
        return frozenset(axis for axis in axes if not single(self.graph, name, axis, steps))

    def exact(self, node: onnx.NodeProto) -> bool:
        """Return whether a Cast changes no number: between integer types that hold them all."""
        types = (self.graph.dtype(node.input[0]), self.graph.dtype(node.output[0]))
        if not all(dtype in EXACT for dtype in types):
            return False
        low, high = self.intervals.of(node.input[0])
        return types[0] == types[1] or types[1] == onnx.TensorProto.INT64 or (low >= 0 and high <= COUNT)

    def one_sign(self, name: str) -> bool:
        """Return whether the elements of a value are all negative or all not."""
        low, high = self.intervals.of(name)
        return low >= 0 or high < 0 or counts_back(self.graph, name) or self._places(name)

    def _places(self, name: str) -> bool:
        """Return whether a value is the places of a counting sort in one row: numbers from 0 on."""
        node = made_by(self.graph, name)
        return node is not None and node.op_type == "Reshape" and places_of_sort(self.graph, node.input[0])

    def _distinct(self, name: str, axes: Axes, steps: int) -> bool:
        axes = self.moving(name, axes, steps)
        value = constant(self.graph, name)
        if not axes or value is not None:
            return not axes or (value is not None and differ(value, axes))
        node, rank = made_by(self.graph, name), rank_of(self.graph, name)
        if node is None or rank is None or steps == 0 or max(axes) >= rank or node.op_type not in STEPS:
            return False
        needed = node.input[: NEEDS.get(node.op_type, 1)]
        if len(needed) < NEEDS.get(node.op_type, 1) or not all(needed):
            return False
        return STEPS[node.op_type](self, node, Asked(list(node.output).index(name), rank, axes, steps - 1))

    def _joint(self, names: list[str], axes: Axes, steps: int) -> bool:
        """Return whether values side by side tell `axes` apart: each tells some, and does not change along those still open."""
        for _ in range(len(axes)):
            for name in names:
                own = frozenset(axis for axis in axes if not same(self.graph, name, axis, steps))
                if own and self.distinct(name, own, steps):
                    axes -= own
        return not axes


def differ(value: NDArray[Any], axes: Axes) -> bool:
    """Return whether the elements of an array that differ in `axes` only are different."""
    if max(axes) >= value.ndim or value.dtype.kind not in "iuf":
        return False
    rest = [axis for axis in range(value.ndim) if axis not in axes]
    table = np.sort(value.transpose(*rest, *sorted(axes)).reshape(*(value.shape[axis] for axis in rest), -1), axis=-1)
    return bool((table[..., 1:] != table[..., :-1]).all())


def rows_differ(value: NDArray[Any]) -> bool:
    """Return whether the tuples along the last axis of an array are different."""
    table = value.reshape(-1, value.shape[-1])
    return len(np.unique(table, axis=0)) == len(table)
