"""Writes nodes of an ONNX graph one after the other; names are made up and never collide."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper


class Builder:
    """Collects nodes and constants that are to be put into a graph.

    `taken`: names that the graph uses already. Equal constants are held once.
    """

    def __init__(self, prefix: str, taken: Iterable[str] = ()) -> None:
        self._prefix = prefix
        self._taken = set(taken)
        self._count = 0
        self._constants: dict[tuple[str, tuple[int, ...], bytes], str] = {}
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []

    def name(self, hint: str) -> str:
        """Return a name that nothing has yet."""
        while True:
            found = f"{self._prefix}_{hint}_{self._count}"
            self._count += 1
            if found not in self._taken:
                self._taken.add(found)
                return found

    def constant(self, value: Any, dtype: Any = np.int64) -> str:
        """Return the name of a constant."""
        array = np.asarray(value, dtype)
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self._constants:
            self._constants[key] = self.name("constant")
            self.initializers.append(numpy_helper.from_array(array, self._constants[key]))
        return self._constants[key]

    def __call__(self, op_type: str, *inputs: str, **attributes: Any) -> str:
        """Write a node with one output and return the name of the output."""
        return self.many(op_type, 1, *inputs, **attributes)[0]

    def many(self, op_type: str, outputs: int, *inputs: str, **attributes: Any) -> list[str]:
        """Write a node with several outputs and return their names."""
        names = [self.name(op_type) for _ in range(outputs)]
        self.nodes.append(helper.make_node(op_type, list(inputs), names, names[0], **attributes))
        return names

    # Small things that every lowering needs.

    def length(self, value: str) -> str:
        """Return the number of rows of a value, int64 [1]."""
        return self("Shape", value, start=0, end=1)

    def filled(self, number: float, rows: str, like: str) -> str:
        """Return rows of one number, [rows, trailing dimensions of `like`], of the type of `like`."""
        shape = self("Concat", rows, self("Shape", like, start=1), axis=0)
        return self("Expand", self("CastLike", self.constant(number, np.float64), like), shape)

    def whole(self, number: int, rows: str) -> str:
        """Return `rows` times a whole number, int64 [rows]."""
        return self("ConstantOfShape", rows, value=helper.make_tensor("value", onnx.TensorProto.INT64, [1], [number]))

    def cut(self, value: str, first: str, last: str) -> str:
        """Return rows first to last - 1."""
        return self("Slice", value, first, last, self.constant([0]))

    def argsort(self, value: str, length: str) -> tuple[str, str]:
        """Return (sorted values, where they were) of int64 [length]; equal values keep their order, as TopK promises."""
        ordered, order = self.many("TopK", 2, value, length, axis=0, largest=0, sorted=1)
        return ordered, order

    def counted_from_zero(self, index: str, size: str) -> str:
        """Return an index in which -1 is not the last row, but `size` - 1: sorting wants it so."""
        return self("Where", self("Less", index, self.constant(0)), self("Add", index, size), index)

    def running(self, value: str) -> tuple[str, str]:
        """Return (start, end) of consecutive runs of the given int64 lengths."""
        end = self("CumSum", value, self.constant(0))
        return self("Sub", end, value), end

    def degrees(self, index: str, size: str) -> str:
        """Return how often each number occurs in `index`, int64 [size]. Sums of whole numbers are exact in any order."""
        return self("ScatterElements", self.whole(0, size), index, self.whole(1, self.length(index)), axis=0, reduction="add")
