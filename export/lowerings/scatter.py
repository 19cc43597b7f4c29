"""ScatterElements with a reduction, a few columns at a time: portable, right in float32, slow on a CPU.

ONNX Runtime copies the index, which is as large as what is scattered, at 64 bits; a few columns at a time keep both small.
"""

from __future__ import annotations

from dataclasses import dataclass

from trkx.export.lowerings.builder import Builder

COLUMNS = 12
"""Columns that one ScatterElements adds up."""


@dataclass(frozen=True)
class Column:
    """Names of what all sums over one index share: the index as a column, int64 [E, 1] (TensorRT's plugin takes no other)."""

    index: str
    size: str


def prepare(b: Builder, index: str, size: str) -> Column:
    """Write the column. index: int64 [E]. size: number of nodes, int64 [1]."""
    return Column(b("Unsqueeze", index, b.constant([1])), size)


def _reduced(b: Builder, p: Column, values: str, width: int | None, empty: float, reduction: str) -> str:
    if width is None or width <= COLUMNS:
        rows = b("Expand", p.index, b("Shape", values))
        return b("ScatterElements", b.filled(empty, p.size, values), rows, values, axis=0, reduction=reduction)
    parts, one = [], b.constant([1])
    for start in range(0, width, COLUMNS):
        part = b("Slice", values, b.constant([start]), b.constant([min(start + COLUMNS, width)]), one)
        parts.append(_reduced(b, p, part, None, empty, reduction))
    return b("Concat", *parts, axis=1)


def total(b: Builder, prepared: Column, values: str, width: int | None = None) -> str:
    """Write the sums. values: float32 or float64 [E, width]. Returns [N, width], 0 for a node without edges."""
    return _reduced(b, prepared, values, width, 0.0, "add")


def largest(b: Builder, prepared: Column, values: str, width: int | None = None) -> str:
    """Write the largest values. values: [E, width]. Returns [N, width], -infinity for a node without edges."""
    return _reduced(b, prepared, values, width, float("-inf"), "max")
