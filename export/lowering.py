"""How each target's ONNX file adds messages up: one safe translation per aggregation operator and target."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from onnxscript import FLOAT, INT32, opset18

from trkx.errors import ExportError, unknown_name

Table = dict[Callable[..., Any], Callable[..., Any]]
op: Any = opset18
HALF = ("FLOAT16", "BFLOAT16")
COLUMNS = 12
"""Columns that one ScatterElements adds up."""


def _index_add_as_scatter_elements(self, dim: int, index, source, alpha: float = 1.0):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """Write `index_add` along rows as ScatterElements(reduction="add"), accumulated in float32.

    self: [N, F]. index: int64 [E]. source: [E, F]. The exporter reads this signature, hence the bare arguments.
    ScatterND, torch's own choice, loses updates on ONNX Runtime's CPU provider with more than one thread.
    """
    if dim != 0:
        raise ExportError(f"index_add along dimension {dim} has no lowering; aggregate along dimension 0 (segment_sum does).")
    half = self.dtype is not None and self.dtype.name in HALF
    data, updates = self, source
    if half:
        data, updates = op.Cast(data, to=FLOAT.dtype), op.Cast(updates, to=FLOAT.dtype)
    if alpha != 1.0:
        updates = op.Mul(updates, op.CastLike(op.Constant(value_float=float(alpha)), updates))
    column = op.Unsqueeze(op.Cast(index, to=INT32.dtype), op.Constant(value_ints=[1]))
    known = source.shape[1] if source.shape is not None else None
    width = known if isinstance(known, int) else 0
    # The index is as large as what is scattered, and ONNX Runtime copies it at 64 bits: scattering a few columns at a time
    # keeps both small beside the messages.
    starts = range(0, width, COLUMNS)
    if len(starts) < 2:
        total = op.ScatterElements(data, op.Expand(column, op.Shape(updates)), updates, axis=0, reduction="add")
        return op.CastLike(total, self) if half else total
    one, parts = op.Constant(value_ints=[1]), []
    for start in starts:
        low, high = op.Constant(value_ints=[start]), op.Constant(value_ints=[min(start + COLUMNS, width)])
        part = op.Slice(updates, low, high, one)
        rows = op.Expand(column, op.Shape(part))
        parts.append(op.ScatterElements(op.Slice(data, low, high, one), rows, part, axis=0, reduction="add"))
    total = op.Concat(*parts, axis=1)
    return op.CastLike(total, self) if half else total


def _scatter_elements_table() -> Table:
    return {torch.ops.aten.index_add.default: _index_add_as_scatter_elements}


@dataclass(frozen=True)
class Lowering:
    """One way to write the aggregation. `reduced` lists the scatter operators it writes, all with reduction "add"."""

    name: str
    table: Callable[[], Table]
    reduced: tuple[str, ...]


SCATTER_ELEMENTS = Lowering("ScatterElements(reduction=add)", _scatter_elements_table, ("ScatterElements",))

LOWERINGS: Mapping[str, Lowering] = {
    "ort-cpu": SCATTER_ELEMENTS,
    "acts-onnx": SCATTER_ELEMENTS,
}


def lowering_of(target: str) -> Lowering:
    """Return the lowering of a target; ExportError lists the known targets."""
    try:
        return LOWERINGS[target]
    except KeyError:
        raise ExportError(unknown_name("target", target, LOWERINGS)) from None
