"""The types that half-precision files compute in; the words of `--precision` are those of `trkx.runtime.precision`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray

from trkx.errors import ExportError
from trkx.runtime.precision import EXACT, FILE_TYPES, precisions

FLOAT32 = FILE_TYPES[EXACT]


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


TYPES: Mapping[str, HalfType] = {
    row.name: row
    for row in (
        HalfType("float16", "fp16", onnx.TensorProto.FLOAT16, 2.0**-11, 65504.0, 2.0**-14),
        HalfType("bfloat16", "bf16", onnx.TensorProto.BFLOAT16, 2.0**-8, float(2**128 - 2**120), 2.0**-126),
    )
}


def file_precision(word: str, stage: str) -> str:
    """Return the `FileEntry.precision` that a stage's file has under a word of `--precision`: "float32" where it stays so.

    word: as `trkx.runtime.precision.precisions` reads it, with the same meaning for files as for runs.

    Raises:
        SpecError: an unknown precision or stage.
        ExportError: "tf32", which no file can say.
    """
    name = precisions(word)[stage]
    if name not in FILE_TYPES:
        raise ExportError(
            f"--precision {word}: there is no {name} file: {name} is how a device multiplies float32, and is said when a bundle "
            f"is run. Files can be: {', '.join(FILE_TYPES)}."
        )
    return FILE_TYPES[name]


def types_of(words: Sequence[str], stage: str) -> tuple[HalfType, ...]:
    """Return the types that a stage gets files in for several words, each once."""
    found = dict.fromkeys(file_precision(word, stage) for word in words)
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
