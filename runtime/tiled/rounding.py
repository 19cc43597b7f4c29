"""Rounding of float32 numbers to narrower formats, in float32: in machine code for rows, in numpy for weights.

To nearest, ties to even. NaN stays NaN; beyond the largest number of a format lies infinity.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from trkx.runtime.tiled.emit import Code, Value

Float = NDArray[np.float32]
DROPPED = {"bf16": 16, "tf32": 13, "fp16": 13}
"""Bits of float32's fraction that a format lacks."""
LARGEST_HALF = 65504.0
SMALLEST_NORMAL_HALF = 2.0**-14
SHIFT = 0.75
"""float32 numbers near it are as far apart as the subnormal numbers of fp16: adding and subtracting it rounds to these."""


def rounded(code: Code, value: Value, precision: str) -> Value:
    """Return a vector of float32 numbers, rounded."""
    b, dropped = code.b, DROPPED[precision]
    bits = b.bitcast(value, code.module.ints)
    odd = b.and_(b.lshr(bits, code.ints(dropped)), code.ints(1))
    near = b.add(b.add(bits, code.ints((1 << (dropped - 1)) - 1)), odd)
    found = b.bitcast(b.and_(near, code.ints(-(1 << dropped))), code.vector)
    if precision == "fp16":
        size = code.call("fabs", value)
        small = code.sub(code.add(size, code.number(SHIFT)), code.number(SHIFT))
        found = b.select(b.fcmp_ordered("<", size, code.number(SMALLEST_NORMAL_HALF)), code.call("copysign", small, value), found)
        too_large = b.fcmp_ordered(">", code.call("fabs", found), code.number(LARGEST_HALF))
        found = b.select(too_large, code.call("copysign", code.number(float("inf")), value), found)
    return b.select(b.fcmp_unordered("uno", value, value), value, found)


def rounded_array(values: Float, precision: str) -> Float:
    """Return an array, rounded."""
    if precision == "fp16":
        with np.errstate(over="ignore"):
            half: Float = values.astype(np.float16).astype(np.float32)
        return half
    dropped = np.uint32(DROPPED[precision])
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    near = bits + (np.uint32(1) << (dropped - np.uint32(1))) - np.uint32(1) + (bits >> dropped & np.uint32(1))
    found = (near & ~((np.uint32(1) << dropped) - np.uint32(1))).view(np.float32)
    return np.where(np.isnan(values), np.float32(np.nan), found)
