"""What the exporter writes for torch's aggregation operators: ScatterElements with the reduction that is meant.

Torch's own translations go wrong silently: `index_add` and `index_put(accumulate=True)` become ScatterND, whose CPU kernel
loses updates; the mean of `scatter_reduce` becomes no reduction at all; an index with fewer rows than its source makes a file
that does not run. The exporter reads the signatures below, hence the bare arguments.
"""
# ruff: noqa: ANN001, ANN202

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx_ir
import torch
from onnxscript import FLOAT, opset18
from onnxscript.function_libs.torch_lib.ops.core import aten_index_put

from trkx.errors import ExportError

Table = dict[Callable[..., Any], Callable[..., Any]]
op: Any = opset18
HALF = ("FLOAT16", "BFLOAT16")
REDUCTIONS = {"sum": "add", "mean": "add", "prod": "mul", "amax": "max", "amin": "min"}
BEFORE = {"sum": 0.0, "mean": 0.0, "prod": 1.0, "amax": float("-inf"), "amin": float("inf")}
"""What an element of `self` counts as where it is not to be included."""


def translations() -> Table:
    """Return the table for `torch.onnx.export(custom_translation_table=...)`."""
    aten = torch.ops.aten
    return {
        aten.index_add.default: _index_add,
        aten.index_put.default: _index_put,
        aten.index_reduce.default: _index_reduce,
        aten.scatter_add.default: _scatter_add,
        aten.scatter_reduce.two: _scatter_reduce,
        aten.scatter.reduce: _scatter_with_reduce,
    }


def _index_add(self, dim: int, index, source, alpha: float = 1.0):  # type: ignore[no-untyped-def]
    rows = _spread(index, dim, source)
    if alpha != 1.0:
        source = op.Mul(source, op.CastLike(op.Constant(value_float=float(alpha)), source))
    return _reduced(self, dim, rows, source, "sum", True)


def _index_reduce(self, dim: int, index, source, reduce: str, include_self: bool = True):  # type: ignore[no-untyped-def]
    return _reduced(self, dim, _spread(index, dim, source), source, reduce, include_self)


def _index_put(self, indices, values, accumulate: bool = False):  # type: ignore[no-untyped-def]
    if not accumulate:
        return aten_index_put(self, indices, values, accumulate)
    if len(indices) != 1 or _rank(indices[0]) != 1 or indices[0].dtype == onnx_ir.DataType.BOOL:
        raise ExportError("index_put(accumulate=True) has a lowering for one index [E] along dimension 0 only; use index_add.")
    rows = op.Concat(op.Shape(indices[0]), op.Shape(self, start=1), axis=0)
    spread = op.Expand(values, rows)  # torch broadcasts the values
    return _reduced(self, 0, _spread(indices[0], 0, spread, _rank(self)), spread, "sum", True)


def _scatter_add(self, dim: int, index, src):  # type: ignore[no-untyped-def]
    return _reduced(self, dim, index, _as_large_as(src, index), "sum", True)


def _scatter_with_reduce(self, dim: int, index, src, reduce: str):  # type: ignore[no-untyped-def]
    return _reduced(self, dim, index, _as_large_as(src, index), {"add": "sum", "multiply": "prod"}[reduce], True)


def _scatter_reduce(self, dim: int, index, src, reduce: str, include_self: bool = True):  # type: ignore[no-untyped-def]
    return _reduced(self, dim, index, _as_large_as(src, index), reduce, include_self)


def _reduced(data: Any, dim: int, index: Any, source: Any, reduce: str, include_self: bool) -> Any:
    if reduce not in REDUCTIONS:
        raise ExportError(f"reduction '{reduce}' has no lowering; known are {', '.join(REDUCTIONS)}.")
    kind = data.dtype
    half = kind is not None and kind.name in HALF
    if half:
        data, source = op.Cast(data, to=FLOAT.dtype), op.Cast(source, to=FLOAT.dtype)
    if reduce == "mean" and (kind is None or not kind.is_floating_point()):
        raise ExportError("the mean of whole numbers rounds in a way that ONNX has not; take the mean of floating-point numbers.")
    counted = None
    if reduce == "mean" or not include_self:
        counted = _count(data, dim, index)
    if not include_self:
        fill = BEFORE[reduce]
        if kind is not None and not kind.is_floating_point() and np.isinf(fill):
            raise ExportError(f"'{reduce}' of whole numbers without `self` has no lowering; cast to floating point first.")
        data = op.Where(op.Greater(counted, _int(0)), op.CastLike(op.Constant(value_float=fill), data), data)
    result = op.ScatterElements(data, index, source, axis=dim, reduction=REDUCTIONS[reduce])
    if reduce == "mean":
        own = _int(1) if include_self else _int(0)
        divisor = op.Max(op.Add(counted, own), _int(1))
        result = op.Div(result, op.CastLike(divisor, result))
    return op.Cast(result, to=kind.value) if half else result


def _count(data: Any, dim: int, index: Any) -> Any:
    """Return how often each element is scattered to, int64, in the shape of the data or [N, 1]. Whole numbers: never rounded."""
    row = _row(index) if dim in (0, -2) and _rank(data) == 2 == _rank(index) else None
    if row is not None:
        zeros = op.ConstantOfShape(op.Shape(data, start=0, end=1), value=_tensor(0))
        ones = op.ConstantOfShape(op.Shape(row), value=_tensor(1))
        return op.Unsqueeze(op.ScatterElements(zeros, row, ones, axis=0, reduction="add"), op.Constant(value_ints=[1]))
    zeros = op.ConstantOfShape(op.Shape(data), value=_tensor(0))
    ones = op.ConstantOfShape(op.Shape(index), value=_tensor(1))
    return op.ScatterElements(zeros, index, ones, axis=dim, reduction="add")


def _row(index: Any) -> Any:
    """Return the [E] that an index [E, F] repeats in every column, None if it is not seen to be one."""
    node = index.producer()
    if node is None or node.op_type != "Expand":
        return None
    column = node.inputs[0]
    if column is None or column.shape is None or len(column.shape) != 2 or column.shape[1] != 1:
        return None
    return op.Reshape(column, op.Constant(value_ints=[-1]))


def _spread(index: Any, dim: int, source: Any, rank: int | None = None) -> Any:
    """Return the index [E], or one number, in the shape of the source."""
    rank = _rank(source) if rank is None else rank
    if rank is None:
        raise ExportError("an aggregation whose number of dimensions is unknown has no lowering.")
    others = [axis for axis in range(rank) if axis != dim % rank]
    if _rank(index) == 0:
        index = op.Unsqueeze(index, op.Constant(value_ints=[0]))
    column = op.Unsqueeze(index, op.Constant(value_ints=others)) if others else index
    return op.Expand(column, op.Shape(source))


def _as_large_as(source: Any, index: Any) -> Any:
    """Return the part of the source that an index in its corner covers; torch allows the source to be larger."""
    if source.shape is not None and index.shape is not None and list(source.shape) == list(index.shape):
        return source
    rank = _rank(source)
    if rank is None:
        raise ExportError("a scatter whose number of dimensions is unknown has no lowering.")
    axes = op.Constant(value_ints=list(range(rank)))
    return op.Slice(source, op.Constant(value_ints=[0] * rank), op.Shape(index), axes)


def _rank(value: Any) -> int | None:
    return None if value.shape is None else len(value.shape)


def _int(value: int) -> Any:
    return op.Constant(value_int=value)


def _tensor(value: int) -> Any:
    return onnx_ir.Tensor(np.array([value], np.int64))
