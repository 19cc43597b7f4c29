"""Sixteen points at once: the vector instructions of the neighbour search, as Numba intrinsics.

Numba has no vector type, and LLVM turns neither a comparison of sixteen lanes into a bit mask nor a small tile into registers
by itself. Each function below is a few lines of vector code for any processor: where registers hold fewer than sixteen
floats, LLVM uses several.

`lanes` arrays hold, for each axis, sixteen float32 side by side; the number of axes is a multiple of UNROLL, padded with zeros.
A lane that holds no point is at infinity, and so never near.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from llvmlite import binding, ir
from numba.core import cgutils, types
from numba.extending import intrinsic

LANES = 16
UNROLL = 4

FLOAT = ir.FloatType()
VECTOR = ir.VectorType(FLOAT, LANES)
MASK = ir.IntType(LANES)
NUMBER = ir.IntType(32)
WORD = ir.IntType(64)
FIRST_LLVM = 19  # that knows the packing of lanes
FUSED = ("contract",)  # screening may use fused multiply-add: what is close is decided again in float64


def vector(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return what compiled code calls without `typing`: Numba's intrinsic of a function that returns signature and code."""
    return cast(Callable[..., Any], intrinsic(function))


def _pointer(context: Any, builder: Any, kind: Any, array: Any) -> Any:
    return context.make_array(kind)(context, builder, array).data


def _lanes(builder: Any, data: Any, place: Any) -> Any:
    """Return lanes [place, place + 16) of a float32 array."""
    address = builder.bitcast(builder.gep(data, [place]), VECTOR.as_pointer())
    return builder.load(address, align=4)


def _all(builder: Any, value: Any) -> Any:
    """Return a vector with `value` in every lane."""
    one = builder.insert_element(ir.Constant(VECTOR, ir.Undefined), value, NUMBER(0))
    return builder.shuffle_vector(one, ir.Constant(VECTOR, ir.Undefined), ir.Constant(ir.VectorType(NUMBER, LANES), [0] * LANES))


def _sum_over_axes(builder: Any, axes: Any, gap: Callable[[Any], Any]) -> Any:
    """Return the sum of gap(axis) squared."""
    total = cgutils.alloca_once_value(builder, ir.Constant(VECTOR, [0.0] * LANES))
    with cgutils.for_range_slice(builder, axes.type(0), axes, axes.type(UNROLL), axes.type) as (first, _):
        value = builder.load(total)
        for n in range(UNROLL):
            delta = gap(builder.add(first, axes.type(n)))
            value = builder.fadd(builder.fmul(delta, delta, flags=FUSED), value, flags=FUSED)
        builder.store(value, total)
    return builder.load(total)


def _mask(builder: Any, relation: str, values: Any, limit: Any) -> Any:
    return builder.zext(builder.bitcast(builder.fcmp_ordered(relation, values, _all(builder, limit)), MASK), WORD)


@vector
def near_points(typing: Any, lanes: Any, block: Any, query: Any, lane: Any, axes: Any, reach2: Any, sure2: Any) -> Any:
    """Return which of the 16 points of a block are near a point: bits 0 to 15, d * d <= reach2; bits 16 to 31, d * d < sure2.

    lanes: float32 array; block: place of the block's first value in it. query, lane: place of the point's first coordinate,
    one in every 16 values. axes: number of axes. reach2, sure2: float32.
    """
    signature = types.int64(lanes, types.intp, lanes, types.intp, types.intp, types.float32, types.float32)

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        array, block, query, lane, axes, reach2, sure2 = args
        points = _pointer(context, builder, signature.args[0], array)
        queries = _pointer(context, builder, signature.args[2], query)

        def gap(axis: Any) -> Any:
            step = builder.mul(axis, axis.type(LANES))
            value = builder.load(builder.gep(queries, [builder.add(lane, step)]))
            return builder.fsub(_lanes(builder, points, builder.add(block, step)), _all(builder, value))

        total = _sum_over_axes(builder, axes, gap)
        sure = builder.shl(_mask(builder, "<", total, sure2), WORD(LANES))
        return builder.or_(_mask(builder, "<=", total, reach2), sure)

    return signature, code


@vector
def near_boxes(typing: Any, lanes: Any, low: Any, high: Any, boxes: Any, under: Any, over: Any, axes: Any, reach2: Any) -> Any:
    """Return which of 16 boxes (or points, where low and high are the same) are near a box: bits 0 to 15, gap * gap <= reach2.

    lanes: float32 array; low, high: places of the first lower and upper bounds in it. boxes: float32 array; under, over: places
    of the box's first lower and upper bound in it, one in every 16 values. axes: number of axes. reach2: float32.
    """
    signature = types.int64(lanes, types.intp, types.intp, boxes, types.intp, types.intp, types.intp, types.float32)

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        _, low, high, _, under, over, axes, reach2 = args
        bounds, sides = (_pointer(context, builder, signature.args[n], args[n]) for n in (0, 3))
        zero = ir.Constant(VECTOR, [0.0] * LANES)

        def largest(first: Any, second: Any) -> Any:
            return builder.select(builder.fcmp_ordered(">", first, second), first, second)

        def gap(axis: Any) -> Any:
            step = builder.mul(axis, axis.type(LANES))
            bottom, top = (_all(builder, builder.load(builder.gep(sides, [builder.add(side, step)]))) for side in (under, over))
            above = builder.fsub(_lanes(builder, bounds, builder.add(low, step)), top)
            below = builder.fsub(bottom, _lanes(builder, bounds, builder.add(high, step)))
            return largest(largest(above, below), zero)

        return _mask(builder, "<=", _sum_over_axes(builder, axes, gap), reach2)

    return signature, code


@vector
def lowest_bit(typing: Any, mask: Any) -> Any:
    """Return the place of the lowest bit that is set in an int64 that is not 0."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.cttz(args[0], ir.Constant(ir.IntType(1), 1))

    return types.int64(types.int64), code


@vector
def keep_lanes(typing: Any, values: Any, block: Any, mask: Any, out: Any, place: Any) -> Any:
    """Write those of values[block : block + 16] whose bit is set to out[place], out[place + 1] …; return how many.

    values, out: int32 arrays; up to out[place + 15] anything may be written.
    """
    signature = types.int64(values, types.intp, types.int64, out, types.intp)

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        values, block, mask, out, place = args
        source = builder.gep(_pointer(context, builder, signature.args[0], values), [block])
        target = builder.gep(_pointer(context, builder, signature.args[3], out), [place])
        bits = builder.trunc(mask, MASK)
        if _compresses(context):
            kind = ir.VectorType(NUMBER, LANES)
            wanted = ir.VectorType(ir.IntType(1), LANES)
            name = f"llvm.experimental.vector.compress.v{LANES}i32"
            compress = cgutils.get_or_insert_function(builder.module, ir.FunctionType(kind, [kind, wanted, kind]), name)
            all_values = builder.load(builder.bitcast(source, kind.as_pointer()), align=4)
            packed = builder.call(compress, [all_values, builder.bitcast(bits, wanted), ir.Constant(kind, ir.Undefined)])
            builder.store(packed, builder.bitcast(target, kind.as_pointer()), align=4)
            return builder.zext(builder.ctpop(bits), WORD)
        left = cgutils.alloca_once_value(builder, builder.and_(mask, WORD((1 << LANES) - 1)))
        count = builder.zext(builder.ctpop(bits), WORD)
        with cgutils.for_range(builder, count) as loop:
            rest = builder.load(left)
            lane = builder.cttz(rest, ir.Constant(ir.IntType(1), 1))
            builder.store(builder.load(builder.gep(source, [lane])), builder.gep(target, [loop.index]))
            builder.store(builder.and_(rest, builder.sub(rest, WORD(1))), left)
        return count

    return signature, code


def _compresses(context: Any) -> bool:
    """Return whether the processor that code is made for, and this LLVM, pack lanes by a mask in one instruction."""
    _, _, features = context.codegen().magic_tuple()
    return "+avx512f" in features.split(",") and int(binding.llvm_version_info[0]) >= FIRST_LLVM
