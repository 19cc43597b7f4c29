"""An ONNX graph computed in float64, by the standard, with every operator moved by its rounding bound where that is asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, numpy_helper
from onnx.reference import ReferenceEvaluator

from trkx.export.loops import Rounds, counting_loop
from trkx.export.onnx_graph import Graph
from trkx.export.validation.onnx_roundings import move_of
from trkx.export.validation.reference_ops import REFERENCE_OPS, recording

Array = NDArray[Any]
FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16)
UNITS: Mapping[int, float] = {
    TensorProto.FLOAT: 2.0**-24,
    TensorProto.FLOAT16: 2.0**-11,
    TensorProto.BFLOAT16: 2.0**-8,
    TensorProto.DOUBLE: 2.0**-53,
}
"""Unit roundoff of each type; a value of unknown type counts as float32."""


def widened(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the model with every float32, float16 and bfloat16 made float64: doors, constants, casts and fills.

    Inner types are left to be found again. Constants keep their value, which float64 holds exactly.
    """
    result = onnx.ModelProto()
    result.CopyFrom(model)
    _widen(result.graph)
    for function in result.functions:
        _widen_nodes(function.node)
    return result


def _widen(graph: onnx.GraphProto) -> None:
    del graph.value_info[:]
    for value in (*graph.input, *graph.output):
        if value.type.tensor_type.elem_type in FLOATS:
            value.type.tensor_type.elem_type = TensorProto.DOUBLE
    for tensor in graph.initializer:
        _widen_tensor(tensor)
    _widen_nodes(graph.node)


def _widen_nodes(nodes: Sequence[onnx.NodeProto]) -> None:
    for node in nodes:
        for item in node.attribute:
            if item.name in ("to", "dtype") and item.i in FLOATS:
                item.i = TensorProto.DOUBLE
            elif item.HasField("t"):
                _widen_tensor(item.t)
            elif item.name in ("value_float", "value_floats") and node.op_type == "Constant":
                values = np.asarray(item.f if item.name == "value_float" else item.floats, np.float64)
                item.CopyFrom(onnx.helper.make_attribute("value", numpy_helper.from_array(values)))
            for body in (*([item.g] if item.HasField("g") else []), *item.graphs):
                _widen(body)
        if node.op_type == "ConstantOfShape" and not node.attribute:
            zero = numpy_helper.from_array(np.zeros(1, np.float64))
            node.attribute.append(onnx.helper.make_attribute("value", zero))


def _widen_tensor(tensor: onnx.TensorProto) -> None:
    if tensor.data_type in FLOATS:
        tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float64), tensor.name))


class _Moved:
    """A node of the evaluator whose first result is moved after it has run."""

    def __init__(self, node: Any, unit: float, generator: Callable[[], np.random.Generator | None]) -> None:
        self._node, self._unit, self._generator = node, unit, generator

    def __getattr__(self, name: str) -> Any:
        return getattr(self._node, name)

    def run(self, *inputs: Any, **context: Any) -> tuple[Any, ...]:
        outputs: tuple[Any, ...] = self._node.run(*inputs, **context)
        generator, first = self._generator(), outputs[0]
        if generator is None or not isinstance(first, np.ndarray) or first.dtype != np.float64 or not first.size:
            return outputs
        move = move_of(self._node, inputs, first, generator)
        return outputs if move is None else (first + self._unit * move, *outputs[1:])


class Float64Graph:
    """A model in float64. met: scatters (by their output) that overwrote each other's updates in zeros in any run.

    Raises what onnx raises for a model that it does not know how to compute.
    """

    def __init__(self, model: onnx.ModelProto) -> None:
        graph = Graph(model)
        self.met: set[str] = set()
        self._rounds = Rounds()
        operators = [*recording(REFERENCE_OPS, self.met), counting_loop(self._rounds)]
        self._evaluator = ReferenceEvaluator(widened(model), new_ops=operators)
        self._generator: np.random.Generator | None = None
        nodes = self._evaluator.rt_nodes_
        for place, (node, proto) in enumerate(zip(nodes, model.graph.node, strict=True)):
            unit = UNITS.get(graph.dtype(proto.output[0]) or 0, UNITS[TensorProto.FLOAT])
            nodes[place] = _Moved(node, unit, lambda: self._generator)

    @property
    def inputs(self) -> list[str]:
        """Names of the inputs."""
        return list(self._evaluator.input_names)

    def run(self, feeds: Mapping[str, Array], generator: np.random.Generator | None = None) -> NDArray[np.float64]:
        """Return the first output for inputs by name, float ones widened; moved at random if there is a generator."""
        wide = {name: value.astype(np.float64) if value.dtype.kind == "f" else value for name, value in feeds.items()}
        self._generator = generator
        self._rounds.start()
        with np.errstate(all="ignore"):  # exp of a large number is infinity, and its reciprocal 0, as in the engines
            outputs: Any = self._evaluator.run(None, wide)
        return np.asarray(outputs[0], np.float64)
