"""What must hold of a half-precision file whatever its numbers: what is float32 in it, and that only casts were added.

The rules are written down a second time, on the file as it is; the plan that made it is not asked.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from trkx.errors import ExportError
from trkx.export.lint.walking import STANDARD, label
from trkx.export.onnx_graph import HALF, SCATTERS, Graph, attribute
from trkx.export.precision.table import HalfType, rounded

FLOAT = onnx.TensorProto.FLOAT
MAY = frozenset((
    "Gemm", "MatMul", "Cast", "LayerNormalization", "Add", "Mul", "Gather", "Identity", "Dropout", "Relu", "LeakyRelu", "Elu",
    "Gelu", "Mish", "HardSwish", "Swish", "Tanh", "Sigmoid", "Erf",
))
"""Operators that may compute in half precision. No sum over rows, no root, no quotient is among them."""
_SUMS = frozenset((*SCATTERS, "ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "CumSum", "Sum"))


def problems(model: onnx.ModelProto, half: HalfType) -> list[str]:
    """Return what computes in half precision and must not, in sentences; an empty list if nothing does."""
    graph, found = Graph(model), list[str]()
    for value in (*model.graph.input, *model.graph.output):
        if value.type.tensor_type.elem_type in HALF:
            found.append(f"'{value.name}' is half at the door, expected float32")
    raw = {value.name for value in model.graph.input}
    for part in graph.all():
        for node in part.nodes:
            found += _of_node(part, node, half, inside=part is not graph)
    for node in graph.nodes:
        if any(name in raw for name in node.input) and node.op_type not in ("Gemm", "MatMul"):
            raw |= {name for name in node.output if graph.dtype(name) not in (onnx.TensorProto.INT64, onnx.TensorProto.BOOL)}
            if any(graph.dtype(name) in HALF for name in node.output):
                found.append(f"{label(node)} rounds raw features to {half.name}")
    return found + _at_the_end(graph, half)


def _of_node(graph: Graph, node: onnx.NodeProto, half: HalfType, inside: bool) -> list[str]:
    types = {graph.dtype(name) for name in (*node.input, *node.output) if name} & set(HALF)
    if not types:
        return []
    if types != {half.onnx}:
        return [f"{label(node)} computes in another type than {half.name}"]
    if node.op_type not in MAY or node.domain not in STANDARD or inside:
        what = "sums" if node.op_type in _SUMS else "computes"
        return [f"{label(node)} {what} in {half.name}, expected float32"]
    if node.op_type == "LayerNormalization" and attribute(node, "stash_type", FLOAT) != FLOAT:
        return [f"{label(node)} takes mean and variance in {half.name}, expected float32"]
    return []


def _at_the_end(graph: Graph, half: HalfType) -> list[str]:
    """Return what is half between the outputs and the products that make them, those included."""
    waiting, seen = [value.name for value in graph.graph.output], set[str]()
    while waiting:
        name = waiting.pop()
        node = graph.producer(name)
        if name in seen or node is None:
            continue
        seen.add(name)
        if any(graph.dtype(item) in HALF for item in (*node.input, *node.output) if item):
            return [f"{label(node)} makes the output from {half.name}, expected float32 from the last product on"]
        if node.op_type not in ("Gemm", "MatMul"):
            waiting += [item for item in node.input if item]
    return []


def unrounded(model: onnx.ModelProto, float32: onnx.ModelProto, half: HalfType) -> onnx.ModelProto:
    """Return the file with every half weight replaced by the float32 weight that it was rounded from.

    Computed in float64, where casts do nothing, it must give the float64 network's outputs to float32's last digits: so a cast
    is all that was added, and nothing was left out, however wide the tolerance of half precision is.

    Raises:
        ExportError: a half weight is no weight of the float32 file, rounded to nearest.
    """
    known: dict[tuple[tuple[int, ...], bytes], dict[str, NDArray[np.float32]]] = {}
    for name, value in _constants(float32).items():
        known.setdefault(_key(rounded(value, half)), {})[name] = value
    result = onnx.ModelProto()  # half casts around float32 weights are no valid file, but the evaluator makes all of it float64
    result.CopyFrom(model)
    for tensor in result.graph.initializer:
        if tensor.data_type not in HALF:
            continue
        fitting = known.get(_key(numpy_helper.to_array(tensor).astype(np.float64)), {})
        if not fitting:
            raise ExportError(f"half weights '{tensor.name}' are none of the float32 file's, rounded to {half.name}")
        name = max(fitting, key=lambda name: (tensor.name.startswith(name), len(name)))
        tensor.CopyFrom(numpy_helper.from_array(fitting[name], tensor.name))
    return result


def _constants(model: onnx.ModelProto) -> Mapping[str, NDArray[np.float32]]:
    graph = Graph(model, infer=False)
    names = [item.name for item in model.graph.initializer]
    names += [name for node in graph.nodes if node.op_type == "Constant" for name in node.output]
    values = {name: graph.constant(name) for name in names}
    return {name: value for name, value in values.items() if value is not None and value.dtype == np.float32}


def _key(values: NDArray[np.float64]) -> tuple[tuple[int, ...], bytes]:
    return values.shape, (values + 0.0).tobytes()  # -0 is 0
