"""The words of `--precision`, and the types that they put into files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray

from trkx.errors import ExportError, unknown_name

FLOAT32 = "float32"


@dataclass(frozen=True)
class HalfType:
    """A type of 16 bits.

    name: as `FileEntry.precision` calls it. short: as file names call it. onnx: its number in ONNX. unit: unit roundoff.
    largest: finite number. smallest: normal number; below it digits are lost, or all of them where an engine flushes to zero.
    """

    name: str
    short: str
    onnx: int
    unit: float
    largest: float
    smallest: float


@dataclass(frozen=True)
class Precision:
    """A word of `--precision`: what it is, its type, and the stages whose files get it; the others stay float32."""

    name: str
    title: str
    type: str
    stages: tuple[str, ...]


TYPES: Mapping[str, HalfType] = {
    row.name: row
    for row in (
        HalfType("float16", "fp16", onnx.TensorProto.FLOAT16, 2.0**-11, 65504.0, 2.0**-14),
        HalfType("bfloat16", "bf16", onnx.TensorProto.BFLOAT16, 2.0**-8, float(2**128 - 2**120), 2.0**-126),
    )
}
PRECISIONS: Mapping[str, Precision] = {
    row.name: row
    for row in (
        Precision("fp16", "all three networks with float16 products", "float16", ("embedding", "filter", "gnn")),
        Precision("mixed", "filter and GNN with float16 products, the embedding in float32", "float16", ("filter", "gnn")),
        Precision("bf16", "filter and GNN with bfloat16 products, the embedding in float32", "bfloat16", ("filter", "gnn")),
    )
}
"""The neighbours hang on the embedding: pairs near the radius come and go with its last digits, hence "mixed"."""


def precision_of(name: str) -> Precision:
    """Return the row of a word; ExportError lists the known ones."""
    if name not in PRECISIONS:
        raise ExportError(unknown_name("precision", name, PRECISIONS))
    return PRECISIONS[name]


def file_precision(name: str, stage: str) -> str:
    """Return the `FileEntry.precision` that a stage's file has under a word of `--precision`: "float32" where it stays so."""
    row = precision_of(name)
    return row.type if stage in row.stages else FLOAT32


def types_of(names: tuple[str, ...] | list[str], stage: str) -> tuple[HalfType, ...]:
    """Return the types that a stage gets files in for several words, each once."""
    found = dict.fromkeys(file_precision(name, stage) for name in names)
    return tuple(TYPES[name] for name in found if name != FLOAT32)


def rounded(values: NDArray[np.floating], half: HalfType) -> NDArray[np.float64]:
    """Return values rounded to the nearest number of a type (ties to even; beyond its largest: infinity), as float64."""
    wide = np.asarray(values, np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        if half.onnx == onnx.TensorProto.FLOAT16:
            return wide.astype(np.float16).astype(np.float64)
        # Numbers of 8 bits: scale the mantissa, round to an integer (ties to even), scale back; exact in float64.
        mantissa, exponent = np.frexp(wide)
        result = np.ldexp(np.round(np.ldexp(mantissa, 8)), np.maximum(exponent - 8, -1000))
        tiny = np.abs(wide) < half.smallest  # subnormal: a fixed grid of 2^-133
        result = np.where(tiny, np.round(wide * 2.0**133) * 2.0**-133, result)
        result = np.where(np.abs(result) > half.largest, np.copysign(np.inf, wide), result)
    return np.asarray(np.where(np.isfinite(wide), result, wide))


def tensor_of(values: NDArray[np.floating], half: HalfType, name: str) -> onnx.TensorProto:
    """Return an initialiser of a type with the rounded values; the shape is kept."""
    exact = rounded(values, half)
    if half.onnx == onnx.TensorProto.FLOAT16:
        raw = exact.astype("<f2").tobytes()
    else:  # bfloat16 is the upper half of float32, which holds every rounded value
        raw = (exact.astype("<f4").view("<u4") >> 16).astype("<u2").tobytes()
    return onnx.helper.make_tensor(name, half.onnx, exact.shape, raw, raw=True)
