"""A half-precision graph computed in float64: exactly, with every half value moved by a rounding, or rounded as engines do.

Engines multiply half numbers, add in float32 and round the result once; so do norms and activations. Hence the result of an
operator in half precision moves by one unit of its type, and so does a cast into the type. What float32 rounds besides is the
business of the float32 tolerances, which are added to what comes of this.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx.reference import ReferenceEvaluator

from trkx.export.lint.walking import reads
from trkx.export.loops import Rounds, counting_loop
from trkx.export.onnx_graph import Graph
from trkx.export.precision.table import TYPES, HalfType, rounded
from trkx.export.validation.onnx_float64 import widened
from trkx.export.validation.onnx_roundings import EXACT
from trkx.export.validation.reference_ops import REFERENCE_OPS, recording

Array = NDArray[Any]
How = Literal["exact", "moved", "moved alike", "rounded"]
_BY_ONNX: Mapping[int, HalfType] = {half.onnx: half for half in TYPES.values()}


class RoundedGraph:
    """A model whose values are float64 and know the type that they have in the file. Values are freed after their last use."""

    def __init__(self, model: onnx.ModelProto) -> None:
        graph = Graph(model)
        self._rounds = Rounds()
        wide = widened(model)
        operators = [*recording(REFERENCE_OPS, None), counting_loop(self._rounds)]
        self._evaluator = ReferenceEvaluator(wide, new_ops=operators)
        self._types = [graph.dtype(node.output[0]) or onnx.TensorProto.FLOAT for node in model.graph.node]
        self._ends: list[list[str]] = [[] for _ in model.graph.node]
        last: dict[str, int] = {}
        for place, node in enumerate(model.graph.node):
            last |= dict.fromkeys((*reads(node), *(name for name in node.output if name)), place)
        self._output = model.graph.output[0].name
        for name, place in last.items():
            if name != self._output:
                self._ends[place].append(name)

    @property
    def inputs(self) -> list[str]:
        """Names of the inputs."""
        return list(self._evaluator.input_names)

    def run(
        self, feeds: Mapping[str, Array], how: How = "exact", generator: np.random.Generator | None = None
    ) -> NDArray[np.float64]:
        """Return the output, float64.

        Args:
            feeds: inputs by name; float ones are widened.
            how: "exact": only weights are rounded, as they are in the file. "moved": every half value is moved by its unit
                roundoff, with signs from `generator`; "moved alike": with the same signs in all rows, as hits and edges that
                are alike are rounded alike, so that errors add up in a sum over them. "rounded": values in half precision are
                rounded to it, all others are float64.
            generator: for the moves.
        """
        values: dict[str, Any] = {"": None, **self._evaluator.rt_inits_}
        values |= {name: value.astype(np.float64) if value.dtype.kind == "f" else value for name, value in feeds.items()}
        self._rounds.start()
        with np.errstate(all="ignore"):
            for place, node in enumerate(self._evaluator.rt_nodes_):
                inputs = [values[name] for name in node.input]
                more = {"context": values} if node.need_context() else {}
                outputs = list(node.run(*inputs, **more))
                if how != "exact":
                    outputs[0] = self._changed(node, outputs[0], self._types[place], how, generator)
                values |= dict(zip(node.output, outputs, strict=False))
                for name in self._ends[place]:
                    values.pop(name, None)
                values[""] = None
        return np.asarray(values[self._output], np.float64)

    def _changed(self, node: Any, first: Any, type_: int, how: How, generator: np.random.Generator | None) -> Any:
        half = _BY_ONNX.get(type_)
        if half is None or first.dtype != np.float64 or (node.op_type in EXACT and node.op_type != "Cast"):
            return first
        if how == "rounded":
            return rounded(first, half)
        assert generator is not None  # moves need one
        shape = (*[1] * (first.ndim - 1), *first.shape[-1:]) if how == "moved alike" else first.shape
        signs = generator.integers(0, 2, shape, np.int8) * np.int8(2) - np.int8(1)
        return first + half.unit * np.abs(first) * signs
