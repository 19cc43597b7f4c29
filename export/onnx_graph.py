"""Questions asked of an ONNX graph: who makes a value, who reads it, is it constant, what is its type and shape."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from trkx.export.inference import inferred

SCATTERS = ("Scatter", "ScatterElements", "ScatterND")
HALF = (onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16)
LARGEST_CONSTANT = 2**24
"""Elements of a constant that is still unpacked to look at its values."""

FIRST_WITH_DEFAULTS = 4
"""IR version from which an initialiser that is an input too is a default value and no constant."""


class Graph:
    """An index over one graph; a change to the graph needs a new index. Bodies of If, Loop and Scan are graphs of their own.

    Types and shapes are what the file says, plus what `onnx.shape_inference` can add if `infer`; unknown is None.
    """

    def __init__(self, model: onnx.ModelProto, graph: onnx.GraphProto | None = None, outer: Graph | None = None,
                 infer: bool = True) -> None:
        if infer and outer is None and graph is None:
            model = inferred(model)
        self.model = model
        self.graph = graph if graph is not None else model.graph
        self.outer = outer
        self.nodes: list[onnx.NodeProto] = list(self.graph.node)
        self._producer = {name: node for node in self.nodes for name in node.output if name}
        self._consumers: dict[str, list[onnx.NodeProto]] = {}
        for node in self.nodes:
            for name in node.input:
                self._consumers.setdefault(name, []).append(node)
        self._initializers = {item.name: item for item in self.graph.initializer}
        given = {value.name for value in self.graph.input} if model.ir_version >= FIRST_WITH_DEFAULTS else set()
        self._defaults = given & self._initializers.keys()
        values = (*self.graph.value_info, *self.graph.input, *self.graph.output)
        self._values = {value.name: value for value in values}

    @property
    def opset(self) -> int:
        """Version of the default domain, 0 if the file imports none."""
        return next((item.version for item in self.model.opset_import if item.domain in ("", "ai.onnx")), 0)

    def producer(self, name: str) -> onnx.NodeProto | None:
        """Return the node that makes a value, None for inputs, initialisers and unknown names."""
        return self._producer.get(name) or (self.outer.producer(name) if self.outer else None)

    def consumers(self, name: str) -> list[onnx.NodeProto]:
        """Return the nodes of this graph that read a value."""
        return self._consumers.get(name, [])

    def constant(self, name: str) -> NDArray[Any] | None:
        """Return the value of an initialiser or Constant node; None if it is not constant, outside of the file, or huge.

        An initialiser that is an input as well is a default, which a caller may replace; before IR version 4 all were inputs.
        """
        if name in self._defaults:
            return None
        tensor = self._initializers.get(name)
        node = self._producer.get(name)
        if tensor is None and node is not None and node.op_type == "Constant":
            return _constant_node(node)
        if tensor is None:
            return self.outer.constant(name) if self.outer and node is None else None
        if tensor.data_location == onnx.TensorProto.EXTERNAL or np.prod(tensor.dims, dtype=float) > LARGEST_CONSTANT:
            return None
        return np.asarray(numpy_helper.to_array(tensor))

    def dtype(self, name: str) -> int | None:
        """Return the element type of a value (onnx.TensorProto.FLOAT, …)."""
        if name in self._initializers:
            return int(self._initializers[name].data_type)
        value = self._values.get(name)
        if value is not None and value.type.HasField("tensor_type"):
            return int(value.type.tensor_type.elem_type) or None
        return self.outer.dtype(name) if self.outer else None

    def shape(self, name: str) -> tuple[int | str | None, ...] | None:
        """Return the dimensions of a value: a number, the name of an axis, None for an unknown one; None if not even the rank."""
        if name in self._initializers:
            return tuple(int(size) for size in self._initializers[name].dims)
        value = self._values.get(name)
        if value is None or not value.type.tensor_type.HasField("shape"):
            return self.outer.shape(name) if self.outer and value is None else None
        dims = value.type.tensor_type.shape.dim
        return tuple(dim.dim_param or (int(dim.dim_value) if dim.HasField("dim_value") else None) for dim in dims)

    def bodies(self) -> Iterator[Graph]:
        """Yield the graphs inside If, Loop and Scan nodes of this graph, and those inside them."""
        for node in self.nodes:
            for item in node.attribute:
                for body in (*([item.g] if item.HasField("g") else []), *item.graphs):
                    inner = Graph(self.model, body, self)
                    yield inner
                    yield from inner.bodies()

    def all(self) -> Iterator[Graph]:
        """Yield this graph and every body in it."""
        yield self
        yield from self.bodies()


def attribute(node: onnx.NodeProto, name: str, default: Any = None) -> Any:
    """Return an attribute of a node as a Python value (bytes as text), `default` if it is absent."""
    for item in node.attribute:
        if item.name == name:
            value = helper.get_attribute_value(item)
            return value.decode("utf-8", "replace") if isinstance(value, bytes) else value
    return default


def whole(node: onnx.NodeProto, name: str, default: int = 0) -> int:
    """Return an attribute that is a whole number; `default` if it is absent, or of another type in a damaged file."""
    value = attribute(node, name, default)
    return value if isinstance(value, int) else default


def reduction_of(node: onnx.NodeProto) -> str:
    """Return what a scatter does with elements that meet: "none" (the last one stays), "add", "mul", "max" or "min"."""
    return str(attribute(node, "reduction", "none"))


def _constant_node(node: onnx.NodeProto) -> NDArray[Any] | None:
    for item in node.attribute:
        if item.name == "value":
            return np.asarray(numpy_helper.to_array(item.t))
        if item.name in ("value_int", "value_ints", "value_float", "value_floats"):
            return np.asarray(helper.get_attribute_value(item), np.int64 if "int" in item.name else np.float32)
    return None
