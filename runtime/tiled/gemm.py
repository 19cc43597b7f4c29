"""Matrix products of a tile of rows with packed weights: as many sums in registers as the processor has room for.

Weights are packed in panels of a few vectors' width, so that they are read in one run; of a block of rows each number is
read once a panel and multiplied with the whole width. Sums run over the inputs in their order, so results do not depend
on tiles or threads.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trkx.errors import SpecError
from trkx.runtime.tiled.emit import INT64, POINTER, Code, Module, Value
from trkx.runtime.tiled.host import Host
from trkx.runtime.tiled.rounding import rounded_array

Float = NDArray[np.float32]
UNROLL = 4
ROWS = 24
"""Rows of a tile are a multiple of this, which every block of rows divides; buffers have room for as many more."""


@dataclass(frozen=True)
class Blocking:
    """rows and vectors of sums that are held in registers; panels: how many of these widths the output has."""

    rows: int
    vectors: int
    panels: int


def padded(width: int, lanes: int) -> int:
    """Return `width` rounded up to whole vectors."""
    return -(-width // lanes) * lanes


def blocking(width: int, target: Host) -> Blocking:
    """Return how the product with `width` output columns is blocked: few vectors left over, many sums in registers."""
    vectors = padded(width, target.lanes) // target.lanes
    sums = target.registers * 3 // 4
    widest = 4 if target.registers >= 32 else 3
    best = max(range(1, widest + 1), key=lambda wide: (-(-(-vectors // wide) * wide), wide))
    rows = max(row for row in (1, 2, 3, 4, 6, 8, 12, 24) if row * best <= sums)
    return Blocking(rows, best, -(-vectors // best))


def packed(weight: Float, target: Host) -> Float:
    """Return weights [out, in] in panels, float32 [panels, in, columns of a panel], filled with zeros."""
    plan = blocking(weight.shape[0], target)
    columns = plan.vectors * target.lanes
    wide = np.zeros((weight.shape[1], plan.panels * columns), np.float32)
    wide[:, : weight.shape[0]] = weight.T
    return np.ascontiguousarray(wide.reshape(weight.shape[1], plan.panels, columns).transpose(1, 0, 2))


def packed_rounded(weight: Float, target: Host) -> NDArray[np.float32] | NDArray[np.int32]:
    """Return the same in the precision of hidden layers.

    Where they read pairs: int32 [panels, in / 2, columns of a panel], of each pair of inputs the first in the low half.
    SpecError if a weight lies beyond the precision.
    """
    near = rounded_array(weight, target.precision)
    lost = np.isfinite(weight) & ~np.isfinite(near)
    if lost.any():
        raise SpecError(f"a weight of {weight[lost][0]:g} lies beyond {target.precision}: run this network in fp32 or bf16.")
    if not target.pairs:
        return packed(near, target)
    even = np.pad(near, ((0, 0), (0, weight.shape[1] % 2)))
    low, high = (packed(part, target).view(np.uint32) >> np.uint32(16) for part in (even[:, ::2], even[:, 1::2]))
    return (low | high << np.uint32(16)).view(np.int32)


def rounded_stride(width: int, target: Host) -> int:
    """Return the row length of rows of `width` rounded numbers, in 4 bytes."""
    return padded(width, target.lanes) // (2 if target.pairs else 1)


def rounding(module: Module, width: int, row_step: int) -> Value:
    """Return the function (A, out, rows): rows of `width` rounded, rounded_stride apart, the rest of the last vector 0."""
    lanes = module.lanes

    def body(code: Code, arguments: Sequence[Value]) -> None:
        a, out, rows = arguments

        def row_body(row: Value) -> None:
            place = code.at(a, code.b.mul(row, code.integer(row_step)))
            to = code.at(out, code.b.mul(row, code.integer(rounded_stride(width, module.target))))
            whole = width - width % lanes
            code.loop(
                code.integer(0), code.integer(whole), lanes, lambda at: code.store_rounded(code.load(place, at), to, at)
            )
            if width > whole:
                code.store_rounded(code.first(code.load(place, whole), width - whole), to, whole)

        code.loop(code.integer(0), rows, 1, row_body)

    return module.function(f"rounding_{width}_{row_step}", [POINTER, POINTER, INT64], body)


def rounded_gemm(module: Module, inputs: int, outputs: int, onto: bool) -> Value:
    """Return `gemm` for rows that `rounding` wrote and weights of `packed_rounded`."""
    step = rounded_stride(inputs, module.target)
    if module.target.pairs:
        return gemm(module, -(-inputs // 2), outputs, step, 1, onto, pairs=True)
    return gemm(module, inputs, outputs, step, 1, onto)


def widened(vector: Float, target: Host) -> Float:
    """Return a bias [out] filled with zeros to the width of the packed product."""
    plan = blocking(len(vector), target)
    wide = np.zeros(plan.panels * plan.vectors * target.lanes, np.float32)
    wide[: len(vector)] = vector
    return wide


def stride(width: int, target: Host) -> int:
    """Return the row length of arrays that hold `width` columns: what a product writes, padding included."""
    plan = blocking(width, target)
    return plan.panels * plan.vectors * target.lanes


def gemm(
    module: Module, inputs: int, outputs: int, row_step: int, column_step: int, onto: bool, pairs: bool = False
) -> Value:
    """Return the function (A, weights, start, C, rows) that writes C = start + A W.

    A: element (row, column) at row * row_step + column * column_step. start: bias, one for all rows; C itself if `onto`.
    C: rows of stride(outputs). Works on whole blocks of rows, up to 23 beyond `rows`. pairs: A and W are pairs of
    bfloat16 numbers; `inputs` and steps count pairs.
    """
    plan = blocking(outputs, module.target)
    key = f"gemm_{inputs}_{outputs}_{row_step}_{column_step}_{int(onto)}_{int(pairs)}"
    one_of, vector_of = (Code.one_pair, Code.pairs) if pairs else (Code.one, Code.load)
    step_of = Code.dot if pairs else Code.fma
    columns = plan.vectors * module.lanes
    width = plan.panels * columns

    def body(code: Code, arguments: Sequence[Value]) -> None:
        a, weights, start, c, rows = arguments

        def steps(a_block: Value, panel: Value, first: Value, count: int, sums: list[Value]) -> list[Value]:
            for step in range(count):
                k = code.b.add(first, code.integer(step))
                place = code.b.mul(k, code.integer(columns))
                wide = [vector_of(code, panel, code.b.add(place, code.integer(v * module.lanes))) for v in range(plan.vectors)]
                column = code.at(a_block, code.b.mul(k, code.integer(column_step)))
                new = []
                for row in range(plan.rows):
                    one = one_of(code, column, row * row_step)
                    new += [step_of(code, one, wide[v], sums[row * plan.vectors + v]) for v in range(plan.vectors)]
                sums = new
            return sums

        def block(panel_number: Value, row: Value) -> None:
            panel = code.at(weights, code.b.mul(panel_number, code.integer(inputs * columns)))
            left = code.b.mul(panel_number, code.integer(columns))
            a_block = code.at(a, code.b.mul(row, code.integer(row_step)))
            c_block = code.at(c, code.b.add(code.b.mul(row, code.integer(width)), left))
            places = [(r, v) for r in range(plan.rows) for v in range(plan.vectors)]
            if onto:
                sums = [code.load(c_block, r * width + v * module.lanes) for r, v in places]
            else:
                bias = [code.load(start, code.b.add(left, code.integer(v * module.lanes))) for v in range(plan.vectors)]
                sums = [bias[v] for _, v in places]
            whole = inputs - inputs % UNROLL
            if whole:
                sums = code.reduce(
                    code.integer(0), code.integer(whole), UNROLL, sums, lambda k, now: steps(a_block, panel, k, UNROLL, now)
                )
            sums = steps(a_block, panel, code.integer(whole), inputs - whole, sums)
            for (r, v), value in zip(places, sums, strict=True):
                code.store(value, c_block, r * width + v * module.lanes)

        code.loop(
            code.integer(0),
            code.integer(plan.panels),
            1,
            lambda panel: code.loop(code.integer(0), rows, plan.rows, lambda row: block(panel, row)),
        )

    return module.function(key, [POINTER, POINTER, POINTER, POINTER, INT64], body)
