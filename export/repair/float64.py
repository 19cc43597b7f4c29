"""A second opinion on an ONNX graph: floats in float64, scatters by numpy, evaluated node by node without any engine."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun

from trkx.errors import ExportError
from trkx.export.lint.rules.external_data import tensors_of
from trkx.export.lint.walking import bodies_of
from trkx.export.loops import Rounds, counting_loop
from trkx.export.onnx_graph import HALF, SCATTERS, Graph, attribute, reduction_of
from trkx.export.validation.reference_ops import recording

Array = NDArray[Any]
Evaluate = Callable[[Mapping[str, Array]], Array]
_NARROW = (TensorProto.FLOAT, *HALF)
_OWN = "trkx.repair"
_AT: Mapping[str, np.ufunc] = {"add": np.add, "mul": np.multiply, "max": np.maximum, "min": np.minimum}


def evaluator(
    model: onnx.ModelProto, output: str, meant: Iterable[tuple[str, str]] = (), double: bool = True, met: set[str] | None = None,
) -> Evaluate:
    """Return a function from inputs (by name) to one output, of onnx's reference evaluator.

    Args:
        model: any opset; is not changed.
        output: name of the output.
        meant: scatters (by their output) that are evaluated as "sum" or "mean" instead of what the file says.
        double: every float is float64, weights too (casts to half become casts to float64); False: the types of the file.
        met: takes up the scatters (by their output) that overwrote each other's updates in zeros when they ran.

    Raises:
        ExportError: here or when called: an operator that the reference evaluator does not have, or inputs that do not fit.
    """
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    for name, how in meant:
        _replace(copy, name, how)
    if double:
        _widen(copy)
    for part in Graph(copy, infer=False).all():
        for node in part.nodes:
            node.op_type = "ScatterElements" if node.op_type == "Scatter" else node.op_type  # its name before opset 11
    del copy.graph.value_info[:]
    rounds = Rounds()
    try:
        operators: list[type[OpRun]] = [*recording((ScatterElements, ScatterND), met), Meant, counting_loop(rounds)]
        session = ReferenceEvaluator(copy, new_ops=operators)
    except Exception as error:  # NotImplementedError and onnx's own error classes
        raise ExportError(f"the reference evaluator can't read the graph: {_line(error)}") from error
    kinds = types_of(copy.graph.input)

    def run(feeds: Mapping[str, Array]) -> Array:
        rounds.start()
        try:
            with np.errstate(all="ignore"):
                results: Any = session.run([output], {name: value.astype(kinds[name]) for name, value in feeds.items()})
        except Exception as error:  # numpy's, onnx's and Python's, by what the graph does
            raise ExportError(f"the reference evaluator can't run the graph: {_line(error)}") from error
        return np.asarray(results[0]).astype(np.float64)

    return run


def types_of(values: Iterable[onnx.ValueInfoProto]) -> dict[str, np.dtype[Any]]:
    """Return numpy's element types of inputs, by name."""
    return {str(value.name): helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type) for value in values}


class ScatterElements(OpRun):
    """ScatterElements, and its older forms, with numpy's unbuffered `ufunc.at`."""

    op_domain = ""

    def _run(self, data: Array, indices: Array, updates: Array, axis: int = 0, reduction: str = "none") -> tuple[Array]:
        return (_scattered(data, _places(indices, axis), updates, reduction),)


class ScatterND(OpRun):
    """ScatterND with numpy's unbuffered `ufunc.at`."""

    op_domain = ""

    def _run(self, data: Array, indices: Array, updates: Array, reduction: str = "none") -> tuple[Array]:
        return (_scattered(data, tuple(np.moveaxis(indices, -1, 0)), updates, reduction),)


class Meant(OpRun):
    """A scatter as it was meant: the sum or the mean of the updates, not the last of them."""

    op_domain = _OWN

    def _run(self, data: Array, indices: Array, updates: Array, axis: int = 0, how: str = "sum", rows: int = 0) -> tuple[Array]:
        places = tuple(np.moveaxis(indices, -1, 0)) if rows else _places(indices, axis)
        total = _scattered(data, places, updates, "add")
        if how == "sum":
            return (total,)
        count = _scattered(np.zeros_like(data), places, np.ones_like(updates), "add")
        mean = (total - data) / np.maximum(count, 1)
        return (np.where(count > 0, mean, data).astype(data.dtype),)


def _places(indices: Array, axis: int) -> tuple[Array, ...]:
    places: list[Array] = list(np.indices(indices.shape, sparse=True))
    places[axis] = indices
    return tuple(places)


def _scattered(data: Array, places: tuple[Array, ...], updates: Array, reduction: str) -> Array:
    result = np.array(data)
    if reduction in _AT:
        _AT[reduction].at(result, places, updates)
    else:
        result[places] = updates  # of equal places the last one stays
    return result


def _replace(model: onnx.ModelProto, name: str, how: str) -> None:
    node = next((node for part in Graph(model, infer=False).all() for node in part.nodes if name in node.output), None)
    if node is None or node.op_type not in SCATTERS or reduction_of(node) != "none":
        raise ExportError(f"'{name}' is made by no overwriting scatter, so it can't be checked as a {how}.")
    by_rows, axis = node.op_type == "ScatterND", int(attribute(node, "axis", 0))
    del node.attribute[:]
    node.attribute.extend(
        helper.make_attribute(key, value) for key, value in (("axis", axis), ("how", how), ("rows", int(by_rows)))
    )
    node.op_type, node.domain = "Meant", _OWN
    if _OWN not in {item.domain for item in model.opset_import}:
        model.opset_import.append(helper.make_opsetid(_OWN, 1))


def _widen(model: onnx.ModelProto) -> None:
    for _, tensor in list(tensors_of(model)):
        if tensor.data_type in _NARROW:
            wide = numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float64), tensor.name)
            tensor.CopyFrom(wide)
    graphs = [model.graph]
    while graphs:
        graph = graphs.pop()
        for value in (*graph.input, *graph.output):
            if value.type.tensor_type.elem_type in _NARROW:
                value.type.tensor_type.elem_type = TensorProto.DOUBLE
        for node in graph.node:
            _widen_attributes(node)
            graphs += bodies_of(node)


def _widen_attributes(node: onnx.NodeProto) -> None:
    if node.op_type == "ConstantOfShape" and not node.attribute:  # zeros, float32 if nothing is said
        node.attribute.append(helper.make_attribute("value", numpy_helper.from_array(np.zeros(1))))
    for item in node.attribute:
        if item.name in ("to", "dtype", "output_dtype") and item.i in _NARROW and node.domain in ("", "ai.onnx"):
            item.i = TensorProto.DOUBLE
        elif node.op_type == "Constant" and item.name in ("value_float", "value_floats"):
            value = np.array(item.f if item.name == "value_float" else list(item.floats), np.float64)
            item.CopyFrom(helper.make_attribute("value", numpy_helper.from_array(value)))


def _line(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else 'no message'}"
