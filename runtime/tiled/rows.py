"""What happens to a tile of rows between matrix products: gathered products, norms, activations, sums over segments."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from llvmlite import ir

from trkx.runtime.tiled.emit import FLOAT, INT32, INT64, POINTER, Code, Module, Value
from trkx.runtime.tiled.gemm import rounded_stride
from trkx.runtime.tiled.maths import ACTIVATIONS, larger
from trkx.spec import Activation, Aggregation

IN_REGISTERS = 8  # vectors of a row that are kept there from one step to the next
SMALLEST_VARIANCE = 1e-5  # as in trkx.models.gathering


@dataclass(frozen=True)
class Step:
    """One step on rows.

    "norm": to mean 0 and spread 1, eps as in torch.nn.LayerNorm. "scale": times one vector, plus another. "act": an activation.
    """

    kind: Literal["norm", "scale", "act"]
    activation: Activation = "none"
    eps: float = 1e-5


def _vectors(module: Module, width: int) -> range:
    return range(0, width, module.lanes)


def _each(code: Code, width: int, most: int, body: Callable[[Value, int], None]) -> None:
    """Run body(offset, vectors) over a row of `width` numbers, `most` vectors at a time; offset is an int64 value."""
    lanes = code.lanes
    vectors = -(-width // lanes)
    whole = vectors - vectors % most
    if whole:
        code.loop(code.integer(0), code.integer(whole * lanes), most * lanes, lambda offset: body(offset, most))
    if vectors - whole:
        body(code.integer(whole * lanes), vectors - whole)


def row_steps(module: Module, width: int, stride: int, steps: tuple[Step, ...], round: bool = False) -> Value:
    """Return the function (C, parameters, rows, out) that takes each row of C through `steps`, in place; or, rounded, to out.

    parameters: for each "scale" two vectors of `stride`: factors, then summands. Columns from `width` on count for nothing;
    what they hold afterwards is of no use. out: rows as trkx.runtime.tiled.gemm.rounding writes them; not read or written if
    not round.
    """
    names = "_".join(
        f"{step.kind}{step.activation if step.kind == 'act' else ''}{step.eps if step.kind == 'norm' else ''}" for step in steps
    )
    vectors = -(-width // module.lanes)

    def body(code: Code, arguments: Sequence[Value]) -> None:
        c, parameters, rows, out = arguments
        groups = _grouped(steps)

        def row_body(row: Value) -> None:
            place = code.at(c, code.b.mul(row, code.integer(stride)))
            narrow = code.at(out, code.b.mul(row, code.integer(rounded_stride(width, module.target) if round else 0)))

            def keep(value: Value, offset: Value | int, real: int) -> None:
                if round:
                    code.store_rounded(code.first(value, real), narrow, offset)
                else:
                    code.store(value, place, offset)

            if vectors <= IN_REGISTERS:
                values = [code.load(place, v * module.lanes) for v in range(vectors)]
                for norm, rest in groups:
                    if norm is not None:
                        values = _normed(code, values, width, norm.eps)
                    values = [_light(code, value, rest, parameters, v * module.lanes, stride) for v, value in enumerate(values)]
                for v, value in enumerate(values):
                    keep(value, v * module.lanes, width - v * module.lanes)
                return
            for number, (norm, rest) in enumerate(groups):
                ends = number == len(groups) - 1
                middle, factor = _moments(code, place, width, norm.eps) if norm is not None else (None, None)

                def part(
                    offset: Value,
                    count: int,
                    middle: Value = middle,
                    factor: Value = factor,
                    rest: tuple[tuple[Step, int], ...] = rest,
                    ends: bool = ends,
                    real: int = module.lanes,
                ) -> None:
                    for v in range(count):
                        here = code.b.add(offset, code.integer(v * module.lanes))
                        value = code.load(place, here)
                        if middle is not None:
                            value = code.mul(code.sub(value, middle), factor)
                        value = _light(code, value, rest, parameters, here, stride)
                        if ends:
                            keep(value, here, real)
                        else:
                            code.store(value, place, here)

                whole = width - width % module.lanes
                _each(code, whole, 4, part)
                if width > whole:
                    part(code.integer(whole), 1, real=width - whole)

        code.loop(code.integer(0), rows, 1, row_body)

    return module.function(f"rows_{width}_{stride}_{int(round)}_{names}", [POINTER, POINTER, INT64, POINTER], body)


def _grouped(steps: tuple[Step, ...]) -> list[tuple[Step | None, tuple[tuple[Step, int], ...]]]:
    """Return (norm or None, what follows it) in turn; a scale comes with its number among the scales."""
    groups: list[tuple[Step | None, list[tuple[Step, int]]]] = [(None, [])]
    scales = 0
    for step in steps:
        if step.kind == "norm":
            groups.append((step, []))
            continue
        groups[-1][1].append((step, scales))
        scales += step.kind == "scale"
    return [(norm, tuple(rest)) for norm, rest in groups if norm is not None or rest]


def _light(
    code: Code, value: Value, steps: tuple[tuple[Step, int], ...], parameters: Value, offset: Value | int, stride: int
) -> Value:
    for step, number in steps:
        if step.kind == "act":
            value = ACTIVATIONS[step.activation](code, value)
            continue
        place = code.integer(offset) if isinstance(offset, int) else offset
        factor = code.load(parameters, code.b.add(place, code.integer(2 * number * stride)))
        summand = code.load(parameters, code.b.add(place, code.integer((2 * number + 1) * stride)))
        value = code.fma(value, factor, summand)
    return value


def _sum(code: Code, values: Sequence[Value]) -> Value:
    """Return the vector sum of vectors, pairwise."""
    level = list(values)
    while len(level) > 1:
        level = [code.add(level[i], level[i + 1]) if i + 1 < len(level) else level[i] for i in range(0, len(level), 2)]
    return level[0]


def _masked_square(code: Code, distance: Value, real: int) -> Value:
    """Return squares of the first `real` lanes, 0 in the others."""
    return code.first(code.mul(distance, distance), real)


def _normed(code: Code, values: list[Value], width: int, eps: float) -> list[Value]:
    share = 1.0 / width
    real = [
        code.first(value, width - v * code.lanes) for v, value in enumerate(values)
    ]  # an activation may fill the rest
    mean = code.mul(code.splat(code.total(_sum(code, real))), code.number(share))
    distances = [code.sub(value, mean) for value in values]
    squares = [_masked_square(code, distance, width - v * code.lanes) for v, distance in enumerate(distances)]
    factor = _inverse_spread(code, code.total(_sum(code, squares)), share, eps)
    return [code.mul(distance, factor) for distance in distances]


def _inverse_spread(code: Code, total: Value, share: float, eps: float) -> Value:
    variance = code.fma(code.splat(total), code.number(share), code.number(eps))
    return code.div(code.number(1.0), code.call("sqrt", variance))


def _moments(code: Code, place: Value, width: int, eps: float) -> tuple[Value, Value]:
    """Return mean and 1 / spread of a row in memory, as vectors."""
    lanes = code.lanes
    whole = width - width % lanes
    zeros = [code.number(0.0)]

    def add(offset: Value, now: list[Value]) -> list[Value]:
        return [code.add(now[0], code.load(place, offset))]

    total = code.reduce(code.integer(0), code.integer(whole), lanes, zeros, add)[0]
    if width > whole:
        total = code.add(total, code.first(code.load(place, whole), width - whole))
    mean = code.mul(code.splat(code.total(total)), code.number(1.0 / width))

    def square(offset: Value, now: list[Value]) -> list[Value]:
        distance = code.sub(code.load(place, offset), mean)
        return [code.fma(distance, distance, now[0])]

    squares = code.reduce(code.integer(0), code.integer(whole), lanes, zeros, square)[0]
    if width > whole:
        squares = code.add(squares, _masked_square(code, code.sub(code.load(place, whole), mean), width - whole))
    return mean, _inverse_spread(code, code.total(squares), 1.0 / width, eps)


def gathered(module: Module, stride: int, blocks: int, onto: bool) -> Value:
    """Return the function (C, rows, values 0, index 0, values 1, index 1 …) that writes the sum of gathered rows to C.

    C, values: rows of `stride`. index: int32, one for each row of C. onto: they are added to what C holds.
    """

    def body(code: Code, arguments: Sequence[Value]) -> None:
        c, rows, *pairs = arguments

        def row_body(row: Value) -> None:
            places = [
                code.at(pairs[2 * n], code.b.mul(code.index(pairs[2 * n + 1], row), code.integer(stride))) for n in range(blocks)
            ]
            out = code.at(c, code.b.mul(row, code.integer(stride)))

            def part(offset: Value, count: int) -> None:
                for v in range(count):
                    here = code.b.add(offset, code.integer(v * module.lanes))
                    value = code.load(out, here) if onto else None
                    for place in places:
                        one = code.load(place, here)
                        value = one if value is None else code.add(value, one)
                    code.store(value, out, here)

            _each(code, stride, IN_REGISTERS, part)

        code.loop(code.integer(0), rows, 1, row_body)

    return module.function(f"gathered_{stride}_{blocks}_{int(onto)}", [POINTER, INT64] + [POINTER] * (2 * blocks), body)


def settled(module: Module, width: int, from_stride: int, to_stride: int, residual: bool, squash: bool) -> Value:
    """Return the function (states, C, rows): states = C, or states + C if residual, through a sigmoid if squash."""

    def body(code: Code, arguments: Sequence[Value]) -> None:
        states, c, rows = arguments

        def row_body(row: Value) -> None:
            new, old = (
                code.at(c, code.b.mul(row, code.integer(from_stride))),
                code.at(states, code.b.mul(row, code.integer(to_stride))),
            )

            def part(offset: Value, count: int) -> None:
                for v in range(count):
                    here = code.b.add(offset, code.integer(v * module.lanes))
                    value = code.load(new, here)
                    if residual:
                        value = code.add(code.load(old, here), value)
                    if squash:
                        value = ACTIVATIONS["sigmoid"](code, value)
                    code.store(value, old, here)

            _each(code, width, IN_REGISTERS, part)

        code.loop(code.integer(0), rows, 1, row_body)

    key = f"settled_{width}_{from_stride}_{to_stride}_{int(residual)}_{int(squash)}"
    return module.function(key, [POINTER, POINTER, INT64], body)


def dotted(module: Module, width: int, stride: int, squash: bool = False) -> Value:
    """Return the function (C, weights, bias, out, rows): out[row] = bias + the product of a row of C with one vector of weights.

    squash: its sigmoid.
    """

    def body(code: Code, arguments: Sequence[Value]) -> None:
        c, weights, bias, out, rows = arguments

        def row_body(row: Value) -> None:
            place = code.at(c, code.b.mul(row, code.integer(stride)))
            whole = width - width % module.lanes

            def more(offset: Value, now: list[Value]) -> list[Value]:
                return [code.fma(code.load(place, offset), code.load(weights, offset), now[0])]

            total = code.reduce(code.integer(0), code.integer(whole), module.lanes, [code.number(0.0)], more)[0]
            if width > whole:  # weights are filled with zeros, but what is left in the row may be NaN
                product = code.mul(code.load(place, whole), code.load(weights, whole))
                total = code.add(total, code.first(product, width - whole))
            value = code.b.fadd(code.total(total), code.scalar(bias, 0))
            if squash:
                value = code.b.extract_element(ACTIVATIONS["sigmoid"](code, code.splat(value)), ir.Constant(INT32, 0))
            code.b.store(value, code.at(out, row), align=4)

        code.loop(code.integer(0), rows, 1, row_body)

    return module.function(f"dotted_{width}_{stride}_{int(squash)}", [POINTER, POINTER, POINTER, POINTER, INT64], body)


def segment_added(module: Module, width: int, stride: int) -> Value:
    """Return the function (values, index, out, rows): out[index[row]] += values[row], row after row. index: int32."""

    def body(code: Code, arguments: Sequence[Value]) -> None:
        values, index, out, rows = arguments

        def row_body(row: Value) -> None:
            place, to = (
                code.at(values, code.b.mul(row, code.integer(stride))),
                code.at(out, code.b.mul(code.index(index, row), code.integer(stride))),
            )

            def part(offset: Value, count: int) -> None:
                for v in range(count):
                    here = code.b.add(offset, code.integer(v * module.lanes))
                    code.store(code.add(code.load(to, here), code.load(place, here)), to, here)

            _each(code, width, IN_REGISTERS, part)

        code.loop(code.integer(0), rows, 1, row_body)

    return module.function(f"segment_added_{width}_{stride}", [POINTER, POINTER, POINTER, INT64], body)


def segment_reduced(
    module: Module,
    kind: Aggregation,
    width: int,
    stride: int,
    out_stride: int,
    listed: bool,
    weighted: Literal["", "rows", "list"],
    onto: bool,
) -> Value:
    """Return the function (values, list, weights, weight list, ends, out, rows) that reduces the rows of each segment.

    values: rows of `stride`. list: int32, which row is the n-th, if `listed`; else it is row n. weights: float32, times which
    a row is taken if `weighted`: the n-th ("rows") or the one that `weight list` names ("list"). ends: int64; segment i reads n
    from ends[i] to ends[i + 1]. out: rows of out_stride, added to if `onto`. A segment without rows gives 0; a maximum keeps NaN;
    a spread is 0 below sqrt(1e-5).
    """

    def body(code: Code, arguments: Sequence[Value]) -> None:
        values, order, weights, weight_order, ends, out, rows = arguments

        def row_body(row: Value) -> None:
            first = code.scalar(ends, row, INT64)
            last = code.scalar(ends, code.b.add(row, code.integer(1)), INT64)
            to = code.at(out, code.b.mul(row, code.integer(out_stride)))
            count = code.splat(code.b.sitofp(code.b.sub(last, first), FLOAT))
            some = code.b.icmp_signed("<", first, last)

            def part(offset: Value, vectors: int) -> None:
                here = [code.b.add(offset, code.integer(v * module.lanes)) for v in range(vectors)]

                def read(n: Value) -> list[Value]:
                    number = code.index(order, n) if listed else n
                    place = code.at(values, code.b.mul(number, code.integer(stride)))
                    found = [code.load(place, one) for one in here]
                    if weighted:
                        weight = code.splat(code.scalar(weights, code.index(weight_order, n) if weighted == "list" else n))
                        found = [code.mul(one, weight) for one in found]
                    return found

                def fold(start: float, join: Callable[[Value, Value, int], Value]) -> list[Value]:
                    def turn(n: Value, now: list[Value]) -> list[Value]:
                        return [join(old, one, v) for v, (old, one) in enumerate(zip(now, read(n), strict=True))]

                    return code.reduce(first, last, 1, [code.number(start)] * vectors, turn)

                if kind == "max":
                    results = fold(float("-inf"), lambda old, one, _: code.call("maximum", old, one))
                    results = [code.b.select(some, one, code.number(0.0)) for one in results]
                else:
                    results = fold(0.0, lambda old, one, _: code.add(old, one))
                if kind in ("mean", "std"):
                    size = larger(code, count, 1.0)
                    results = [code.div(one, size) for one in results]
                if kind == "std":
                    means = results

                    def square(old: Value, one: Value, v: int) -> Value:
                        distance = code.sub(one, means[v])
                        return code.fma(distance, distance, old)

                    variances = [code.div(one, size) for one in fold(0.0, square)]
                    small = [code.b.fcmp_ordered("<=", one, code.number(SMALLEST_VARIANCE)) for one in variances]
                    results = [
                        code.b.select(is_small, code.number(0.0), code.call("sqrt", one))
                        for is_small, one in zip(small, variances, strict=True)
                    ]
                for place, one in zip(here, results, strict=True):
                    code.store(code.add(code.load(to, place), one) if onto else one, to, place)

            _each(code, width, 4, part)

        code.loop(code.integer(0), rows, 1, row_body)

    key = f"segment_{kind}_{width}_{stride}_{out_stride}_{int(listed)}_{weighted}_{int(onto)}"
    return module.function(key, [POINTER] * 6 + [INT64], body)
