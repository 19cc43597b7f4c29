import dataclasses
import itertools

import numpy as np
import pytest
import torch

from trkx.runtime.precision import PRECISIONS
from trkx.runtime.tiled.emit import INT32, INT64
from trkx.runtime.tiled.gemm import (
    ROWS,
    blocking,
    gemm,
    packed,
    packed_rounded,
    rounded_gemm,
    rounded_stride,
    rounding,
    stride,
    widened,
)
from trkx.runtime.tiled.host import Host, host
from trkx.runtime.tiled.maths import ACTIVATIONS
from trkx.runtime.tiled.program import Program, aligned
from trkx.runtime.tiled.rounding import rounded_array
from trkx.runtime.tiled.rows import Step, dotted, gathered, row_steps, segment_added, segment_reduced, settled

HERE = host()
NARROW = [
    Host(lanes, registers, HERE.name, HERE.features) for lanes, registers in ((8, 16), (4, 16), (4, 32)) if lanes < HERE.lanes
]


def run(program, arrays, rows, name="phase"):
    code = program.compiled()
    code.run(name, arrays, 0, rows, code.memory())


def rows_of(values, step):
    made = aligned(len(values), step)
    made[:] = 0.0
    made[:, : values.shape[1]] = values
    return made


EXACT = {
    "silu": lambda x: x / (1 + np.exp(-x)),
    "relu": lambda x: np.maximum(x, 0),
    "tanh": np.tanh,
    "leaky_relu": lambda x: np.where(x < 0, 0.01 * x, x),
    "elu": lambda x: np.where(x > 0, x, np.expm1(x)),
    "softplus": lambda x: np.logaddexp(0, x),
    "mish": lambda x: x * np.tanh(np.logaddexp(0, x)),
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "none": lambda x: x,
}


def exact(name, x):
    if name == "gelu":
        from scipy.special import erf

        return 0.5 * x * (1 + erf(x / np.sqrt(2)))
    return EXACT[name](x)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_are_exact_to_rounding(name, rng):
    x = np.concatenate([np.linspace(-30, 30, 6001), rng.normal(0, 1e-3, 500), [0.0, 80.0, -80.0, 200.0, -200.0, 1e-30]]).astype(
        np.float32
    )
    values = np.ascontiguousarray(x[:, None])
    program = Program(2 * ROWS)
    step = stride(1, program.target)
    found = rows_of(values, step)
    program.phase(
        "phase", lambda t: t.call(row_steps(t.module, 1, step, (Step("act", name),)), *[t.row("c", step)] * 2, t.rows, t.row("c"))
    )
    run(program, {"c": found}, len(x))
    with np.errstate(over="ignore", invalid="ignore"):
        wanted = exact(name, x.astype(np.float64))
    np.testing.assert_allclose(found[:, 0], wanted, rtol=4e-6 if name in ("tanh", "elu", "none", "relu") else 1e-6, atol=4e-7)
    bad = rows_of(np.full((3, 1), np.nan, np.float32), step)
    run(program, {"c": bad}, 3)
    assert np.isnan(bad[:, 0]).all()


@pytest.mark.parametrize("target", [HERE, *NARROW], ids=lambda t: f"{t.lanes} lanes, {t.registers} registers")
@pytest.mark.parametrize("inputs", [1, 3, 4, 7, 16, 49])
@pytest.mark.parametrize("outputs", [1, 8, 16, 17, 48, 64, 96, 200])
def test_products(inputs, outputs, target, rng):
    rows = 101
    a, weight = rng.normal(size=(rows, inputs)).astype(np.float32), rng.normal(size=(outputs, inputs)).astype(np.float32)
    bias = rng.normal(size=outputs).astype(np.float32)
    step = stride(outputs, target)
    assert step % target.lanes == 0
    assert ROWS % blocking(outputs, target).rows == 0
    assert blocking(outputs, target).rows * blocking(outputs, target).vectors < target.registers
    program = Program(2 * ROWS, target)
    by_row, by_column = aligned(rows, inputs), np.zeros((inputs, rows + 2 * ROWS), np.float32)
    by_row[:], by_column[:, :rows] = a, a.T
    column = by_column.shape[1]

    def write(tile):
        m, args = tile.module, (tile.whole("w"), tile.whole("b"))
        tile.call(gemm(m, inputs, outputs, inputs, 1, False), tile.row("a", inputs), *args, tile.row("c", step), tile.rows)
        tile.call(gemm(m, inputs, outputs, 1, column, True), tile.row("t", 1), *args, tile.row("c", step), tile.rows)

    program.phase("phase", write)
    c = aligned(rows, step)
    run(program, {"a": by_row, "t": by_column, "w": packed(weight, target), "b": widened(bias, target), "c": c}, rows)
    wanted = 2.0 * (a.astype(np.float64) @ weight.T.astype(np.float64)) + bias
    np.testing.assert_allclose(c[:, :outputs], wanted, atol=1e-5 * inputs)
    assert not c[:, outputs:].any()


ROUNDING = [
    dataclasses.replace(target, precision=precision, has_dots=dots)
    for target in (HERE, *NARROW)
    for precision in PRECISIONS[1:]
    for dots in {False, target.has_dots and precision == "bf16"}
]
PLACES = {"bf16": 7, "tf32": 10, "fp16": 10}


def described(target):
    return f"{target.precision}, {target.lanes} lanes{', dots' if target.has_dots else ''}"


def twin(values, precision):
    """Rounding by torch's conversions, or for tf32 by float64 arithmetic."""
    given = torch.from_numpy(np.ascontiguousarray(values, np.float32))
    if precision != "tf32":
        return given.to({"bf16": torch.bfloat16, "fp16": torch.float16}[precision]).float().numpy()
    fraction, power = np.frexp(values.astype(np.float64))
    return np.ldexp(np.rint(np.ldexp(fraction, 11)), power - 11).astype(np.float32)


@pytest.mark.parametrize("target", ROUNDING, ids=described)
def test_numbers_are_rounded_to_nearest(target, rng):
    special = [0.0, -0.0, np.inf, -np.inf, np.nan, 1.0 + 2**-8, 1.0 + 3 * 2**-8, 1.0 + 2**-11, 1.0 + 3 * 2**-11, 65504.0, 65519.9]
    special += [65520.0, -65520.0, 2.0**-14, 2.0**-14 - 2.0**-26, 2.0**-24, 2.0**-25, 3 * 2.0**-25, -(2.0**-25), 1e-30]
    values = np.concatenate([rng.normal(0, 100, 4000), rng.normal(0, 1e-5, 1000), special]).astype(np.float32)
    with np.errstate(invalid="ignore"):
        wanted = twin(values, target.precision)
    np.testing.assert_array_equal(rounded_array(values, target.precision), wanted)
    given = aligned(len(values), 1)
    given[:, 0] = values
    program, words = Program(2 * ROWS, target), rounded_stride(1, target)
    program.phase("phase", lambda t: t.call(rounding(t.module, 1, 1), t.row("a"), t.row("out", words), t.rows))
    out = aligned(len(values), words)
    run(program, {"a": given, "out": out}, len(values))
    np.testing.assert_array_equal(numbers(out, 1, target)[:, 0], wanted)


def numbers(rows, width, target):
    """What `rounding` wrote, as float32 [rows, width], after a look at the zeros behind."""
    if target.pairs:
        rows = (np.ascontiguousarray(rows).view(np.uint16).astype(np.uint32) << 16).view(np.float32)
    assert not rows[:, width:].any()
    return rows[:, :width]


@pytest.mark.parametrize("target", ROUNDING, ids=described)
@pytest.mark.parametrize("inputs", [1, 2, 3, 16, 17, 49, 128])
@pytest.mark.parametrize("outputs", [1, 17, 64, 200])
def test_products_of_rounded_numbers(inputs, outputs, target, rng):
    rows, distance = 53, inputs + 5
    a, weight = rng.normal(size=(rows, inputs)).astype(np.float32), rng.normal(size=(outputs, inputs)).astype(np.float32)
    bias, step, words = rng.normal(size=outputs).astype(np.float32), stride(outputs, target), rounded_stride(inputs, target)
    program = Program(2 * ROWS, target)
    given = aligned(rows, distance)
    given[:] = np.nan  # what stands behind a row must not count
    given[:, :inputs] = a

    def write(tile):
        m, near = tile.module, tile.scratch(words)
        tile.call(rounding(m, inputs, distance), tile.row("a", distance), near, tile.rows)
        for onto in (False, True):
            product = rounded_gemm(m, inputs, outputs, onto)
            tile.call(product, near, tile.whole("w"), tile.whole("b"), tile.row("c", step), tile.rows)

    program.phase("phase", write)
    c = aligned(rows, step)
    run(program, {"a": given, "w": packed_rounded(weight, target), "b": widened(bias, target), "c": c}, rows)
    wanted = 2.0 * (twin(a, target.precision).astype(np.float64) @ twin(weight, target.precision).T.astype(np.float64)) + bias
    np.testing.assert_allclose(c[:, :outputs], wanted, atol=1e-5 * max(inputs, 4))
    assert not c[:, outputs:].any()


@pytest.mark.parametrize("target", ROUNDING, ids=described)
@pytest.mark.parametrize("width", [1, 16, 33, 64, 129, 200])
def test_row_steps_end_rounded(width, target, rng):
    steps = (Step("norm"), Step("scale"), Step("act", "silu"))
    program, rows = Program(2 * ROWS, target), 30
    step, words = stride(width, target), rounded_stride(width, target)
    values, scales = rng.normal(2.0, 3.0, (rows, width)).astype(np.float32), rng.normal(size=(2, width)).astype(np.float32)
    given, out = rows_of(values, step), aligned(rows, words)
    out[:] = np.nan

    def write(tile):
        places = (tile.row("c", step), tile.whole("s"), tile.rows, tile.row("out", words))
        tile.call(row_steps(tile.module, width, step, steps, round=True), *places)

    program.phase("phase", write)
    run(program, {"c": given, "s": np.concatenate([widened(one, target) for one in scales]), "out": out}, rows)
    spread = np.sqrt(values.astype(np.float64).var(axis=1, keepdims=True) + 1e-5)
    normed = (values - values.mean(axis=1, keepdims=True, dtype=np.float64)) / spread * scales[0] + scales[1]
    wanted, found = exact("silu", normed), numbers(out, width, target)
    np.testing.assert_allclose(found, wanted, rtol=2.0 ** -(PLACES[target.precision] + 1), atol=1e-5)
    np.testing.assert_array_equal(found, twin(found, target.precision))


@pytest.mark.parametrize("width", [1, 5, 16, 33, 64, 128, 129, 200, 512])
@pytest.mark.parametrize(
    "steps",
    [
        (Step("norm"), Step("scale"), Step("act", "silu")),
        (Step("act", "relu"), Step("norm"), Step("scale"), Step("scale")),
        (Step("scale"), Step("norm", eps=0.5)),
    ],
    ids=lambda steps: "-".join(step.kind for step in steps),
)
def test_row_steps(width, steps, rng):
    program = Program(2 * ROWS)
    step = stride(width, program.target)
    values = rng.normal(2.0, 3.0, (70, width)).astype(np.float32)
    scales = [rng.normal(1.0, 0.3, width).astype(np.float32) for _ in range(2 * sum(s.kind == "scale" for s in steps))]
    wanted, left = values.astype(np.float64), list(scales)
    for s in steps:
        if s.kind == "norm":
            spread = np.sqrt(wanted.var(axis=1, keepdims=True) + s.eps)
            wanted = (wanted - wanted.mean(axis=1, keepdims=True)) / spread
        elif s.kind == "scale":
            wanted = wanted * left.pop(0) + left.pop(0)
        else:
            wanted = exact(s.activation, wanted)
    found = rows_of(values, step)
    program.phase(
        "phase", lambda t: t.call(row_steps(t.module, width, step, steps), t.row("c", step), t.whole("s"), t.rows, t.row("c"))
    )
    run(program, {"c": found, "s": np.concatenate([widened(one, program.target) for one in scales])}, len(values))
    np.testing.assert_allclose(found[:, :width], wanted, atol=3e-5)


@pytest.mark.parametrize("kind", ["sum", "mean", "max", "std"])
@pytest.mark.parametrize("listed", [False, True])
@pytest.mark.parametrize("weighted", ["", "rows", "list"])
@pytest.mark.parametrize("width", [3, 70])
def test_segments(kind, listed, weighted, width, rng):
    segments, count = 50, 400
    program = Program(2 * ROWS)
    step = stride(width, program.target)
    values = rng.normal(size=(count, width)).astype(np.float32)
    values[:, 0] = 3.0  # no spread
    cuts = np.sort(rng.integers(0, count, segments - 1))
    cuts[3:8] = cuts[3]  # empty ones
    ends = np.concatenate([[0], cuts, [count]])
    order, weight_order = (rng.permutation(count).astype(np.int32) for _ in range(2))
    weights = rng.uniform(0.5, 1.5, count).astype(np.float32)
    read = values[order] if listed else values
    if weighted:
        read = read * (weights if weighted == "rows" else weights[weight_order])[:, None]
    function = {"sum": np.sum, "mean": np.mean, "max": np.max, "std": np.std}[kind]
    wanted = np.zeros((segments, width))
    for n, (a, b) in enumerate(itertools.pairwise(ends)):
        if b > a:
            wanted[n] = function(read[a:b].astype(np.float64), axis=0)
    if kind == "std":
        wanted[wanted <= np.sqrt(1e-5)] = 0.0

    def write(tile):
        reduced = segment_reduced(tile.module, kind, width, step, step, listed, weighted, True)
        pointers = (tile.whole(name) for name in ("v", "o", "w", "wo"))
        tile.call(reduced, *pointers, tile.row("e", 1, INT64), tile.row("out", step), tile.rows)

    program.phase("phase", write)
    out = rows_of(np.ones((segments, width), np.float32), step)
    arrays = {"v": rows_of(values, step), "o": order, "w": weights, "wo": weight_order, "e": ends, "out": out}
    run(program, arrays, segments)
    np.testing.assert_allclose(out[:, :width] - 1.0, wanted, atol=2e-5)


def test_a_maximum_keeps_nan():
    program = Program(2 * ROWS)
    step = stride(1, program.target)

    def write(tile):
        reduced = segment_reduced(tile.module, "max", 1, step, step, False, "", False)
        tile.call(reduced, *[tile.whole("v")] * 4, tile.row("e", 1, INT64), tile.row("out", step), tile.rows)

    program.phase("phase", write)
    values = np.array([[1.0], [np.nan], [2.0], [-5.0], [-7.0]], np.float32)
    out = rows_of(np.zeros((2, 1), np.float32), step)
    run(program, {"v": rows_of(values, step), "e": np.array([0, 3, 5]), "out": out}, 2)
    assert np.isnan(out[0, 0])
    assert out[1, 0] == -5.0


@pytest.mark.parametrize("width", [2, 64, 150])
def test_gathering_settling_dots_and_sums(width, rng):
    program = Program(2 * ROWS)
    step = stride(width, program.target)
    rows, nodes = 90, 30
    a, b = (rng.normal(size=(nodes, width)).astype(np.float32) for _ in range(2))
    states = rng.normal(size=(rows, width)).astype(np.float32)
    source, target = rng.integers(0, nodes, rows).astype(np.int32), np.sort(rng.integers(0, nodes, rows)).astype(np.int32)
    vector, bias = rng.normal(size=width).astype(np.float32), np.float32([0.25])

    def write(tile):
        m = tile.module
        c = tile.scratch(step)
        index = [tile.row(name, 1, INT32) for name in ("source", "target")]
        tile.call(gathered(m, step, 2, False), c, tile.rows, tile.whole("a"), index[0], tile.whole("b"), index[1])
        tile.call(settled(m, width, step, step, True, False), tile.row("states", step), c, tile.rows)
        tile.call(
            dotted(m, width, step), tile.row("states", step), tile.whole("vector"), tile.whole("bias"), tile.row("out"), tile.rows
        )
        tile.call(segment_added(m, width, step), tile.row("states", step), index[1], tile.whole("sums"), tile.rows)

    program.phase("phase", write)
    arrays = {
        "a": rows_of(a, step),
        "b": rows_of(b, step),
        "states": rows_of(states, step),
        "source": source,
        "target": target,
        "vector": widened(vector, program.target),
        "bias": bias,
        "out": np.empty(rows, np.float32),
        "sums": rows_of(np.zeros((nodes, width), np.float32), step),
    }
    run(program, arrays, rows)
    wanted = states.astype(np.float64) + a[source] + b[target]
    sums = np.zeros((nodes, width))
    np.add.at(sums, target, wanted)
    np.testing.assert_allclose(arrays["states"][:, :width], wanted, atol=1e-6)
    np.testing.assert_allclose(arrays["out"], wanted @ vector + bias, atol=2e-4)
    np.testing.assert_allclose(arrays["sums"][:, :width], sums, atol=1e-5)


def test_a_squash_is_a_sigmoid(rng):
    program = Program(2 * ROWS)
    step = stride(5, program.target)
    program.phase(
        "phase", lambda t: t.call(settled(t.module, 5, step, step, False, True), t.row("s", step), t.row("c", step), t.rows)
    )
    c = rng.normal(size=(30, 5)).astype(np.float32)
    states = rows_of(np.zeros((30, 5), np.float32), step)
    run(program, {"s": states, "c": rows_of(c, step)}, 30)
    np.testing.assert_allclose(states[:, :5], 1 / (1 + np.exp(-c.astype(np.float64))), atol=2e-7)


@pytest.mark.parametrize("shape", [(1, 1, 1), (500, 33, 70), (100, 257, 16)])
def test_a_product_alone(shape, rng):
    from trkx.runtime.crew import Crew
    from trkx.runtime.tiled.product import product_of

    m, k, n = shape
    a, b = rng.normal(size=(m, k)).astype(np.float32), rng.normal(size=(k, n)).astype(np.float32)
    with Crew(2) as crew:
        np.testing.assert_allclose(product_of(a, b, crew)(), a.astype(np.float64) @ b, atol=1e-4)


def test_an_array_that_nobody_bound_is_an_error():
    program = Program(2 * ROWS)
    program.phase("phase", lambda t: t.call(settled(t.module, 1, 16, 16, False, False), t.row("s", 16), t.row("c", 16), t.rows))
    with pytest.raises(KeyError, match="c"):
        run(program, {"s": aligned(3, 16)}, 3)
