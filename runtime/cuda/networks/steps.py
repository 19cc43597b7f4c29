"""Norms, scales, activations and rounding of rows in registers, as `trkx.runtime.tiled` has them; NaN stays NaN.

Activations take more of a multiprocessor's time than products do, so they are written in its own instructions (`power`,
`inverse`, `near_tanh`). In bf16 the hyperbolic tangent of the hardware is good enough: it is off by at most 2^-11 of its value,
and what is made of it is rounded to 2^-9 of its own.
"""

from __future__ import annotations

import triton
import triton.language as tl

from trkx.runtime.cuda.launch import kernel

NAMES = (
    "norm", "scale", "silu", "relu", "tanh", "gelu", "leaky_relu", "elu", "mish", "softplus", "sigmoid", "silu of half",
)  # fmt: skip
CODES = {name: code for code, name in enumerate(NAMES)}
"""Steps as kernels know them: not every Triton takes tuples of words."""
NORM = tl.constexpr(CODES["norm"])
SCALE = tl.constexpr(CODES["scale"])
SILU = tl.constexpr(CODES["silu"])
RELU = tl.constexpr(CODES["relu"])
TANH = tl.constexpr(CODES["tanh"])
GELU = tl.constexpr(CODES["gelu"])
LEAKY_RELU = tl.constexpr(CODES["leaky_relu"])
ELU = tl.constexpr(CODES["elu"])
MISH = tl.constexpr(CODES["mish"])
SOFTPLUS = tl.constexpr(CODES["softplus"])
SIGMOID = tl.constexpr(CODES["sigmoid"])
SILU_OF_HALF = tl.constexpr(CODES["silu of half"])
INTERPRETED = tl.constexpr(bool(triton.knobs.runtime.interpret))  # there, no instructions of a GPU


@kernel()
def power(x: tl.tensor) -> tl.tensor:
    """Return 2^x, within 2 units in the last place; what is below 2^-126 is 0."""
    if INTERPRETED:
        return tl.exp2(tl.minimum(x, 127.5, tl.PropagateNan.ALL))
    else:  # noqa: RET505 - branches of the compiler
        return tl.inline_asm_elementwise("ex2.approx.ftz.f32 $0, $1;", "=f,f", [x], tl.float32, True, 1)


@kernel()
def inverse(x: tl.tensor) -> tl.tensor:
    """Return 1 / x, within 1 unit in the last place; of more than 2^126 it is 0."""
    if INTERPRETED:
        return 1.0 / x
    else:  # noqa: RET505 - branches of the compiler
        return tl.inline_asm_elementwise("rcp.approx.ftz.f32 $0, $1;", "=f,f", [x], tl.float32, True, 1)


@kernel()
def near_tanh(x: tl.tensor) -> tl.tensor:
    """Return the hyperbolic tangent, off by at most 2^-11 of it."""
    if INTERPRETED:
        return tanh(x)
    else:  # noqa: RET505 - branches of the compiler
        return tl.inline_asm_elementwise("tanh.approx.f32 $0, $1;", "=f,f", [x], tl.float32, True, 1)


@kernel()
def tanh(x: tl.tensor) -> tl.tensor:
    """Return the hyperbolic tangent, within 2e-7 of it relatively, also near 0 (Cephes, tanhf)."""
    square = x * x
    near = tl.fma(square, -5.70498872745e-3, 2.06390887954e-2)
    near = tl.fma(square, near, -5.37397155531e-2)
    near = tl.fma(square, near, 1.33314422036e-1)
    near = tl.fma(square, near, -3.33332819422e-1)
    near = tl.fma(square * x, near, x)
    size = tl.abs(x)
    far = 1.0 - 2.0 * inverse(power(2.8853900817779268 * size) + 1.0)
    return tl.where(size < 0.625, near, tl.where(x < 0.0, -far, far))


@kernel()
def sigmoid(x: tl.tensor) -> tl.tensor:
    """Return 1 / (1 + exp(-x)); below -87 it is 0."""
    return inverse(1.0 + power(-1.4426950408889634 * x))


@kernel()
def expm1(x: tl.tensor) -> tl.tensor:
    """Return exp(x) - 1 for x at most 0, exact to rounding near 0."""
    half = tanh(0.5 * x)
    return 2.0 * half / (1.0 - half)


@kernel()
def softplus(x: tl.tensor) -> tl.tensor:
    """Return log(1 + exp(x)): the larger of x and 0, and 2 atanh(y / (2 + y)) of y = exp(-|x|)."""
    y = tl.exp(-tl.abs(x))
    s = y / (y + 2.0)
    square = s * s
    series = tl.fma(square, 2.0 / 17.0, 2.0 / 15.0)
    series = tl.fma(square, series, 2.0 / 13.0)
    series = tl.fma(square, series, 2.0 / 11.0)
    series = tl.fma(square, series, 2.0 / 9.0)
    series = tl.fma(square, series, 2.0 / 7.0)
    series = tl.fma(square, series, 2.0 / 5.0)
    series = tl.fma(square, series, 2.0 / 3.0)
    series = tl.fma(square, series, 2.0)
    return tl.maximum(x, 0.0, tl.PropagateNan.ALL) + s * series


@kernel()
def mish(x: tl.tensor) -> tl.tensor:
    """Return x tanh(softplus(x)); from x = 20 on that is x."""
    grown = tl.exp(tl.minimum(x, 20.0, tl.PropagateNan.ALL))
    share = grown * (grown + 2.0)
    return x * (share / (share + 2.0))


@kernel()
def activated(x: tl.tensor, CODE: tl.constexpr, PRECISION: tl.constexpr) -> tl.tensor:
    """Return an activation; the functions of torch.nn with their default parameters.

    CODE: SILU_OF_HALF is silu(2 x), in bf16: what scales before it halves for nothing. PRECISION: of the layer, see `multiplied`.
    """
    NEAR: tl.constexpr = PRECISION == "bf16" or PRECISION == "bf16 in float32"
    if CODE == SILU_OF_HALF or (CODE == SILU and NEAR):  # x sigmoid(x) with one special function
        half = x if CODE == SILU_OF_HALF else 0.5 * x
        return tl.fma(half, near_tanh(half), half)
    elif CODE == SILU:  # noqa: RET505 - branches of the compiler
        return x * sigmoid(x)
    elif CODE == RELU:
        return tl.maximum(x, 0.0, tl.PropagateNan.ALL)
    elif CODE == TANH:
        return near_tanh(x) if NEAR else tanh(x)
    elif CODE == GELU:
        return 0.5 * x * (1.0 + tl.erf(x * 0.7071067811865476))
    elif CODE == LEAKY_RELU:
        return tl.where(x < 0.0, 0.01 * x, x)
    elif CODE == ELU:
        return tl.where(x > 0.0, x, expm1(tl.minimum(x, 0.0, tl.PropagateNan.ALL)))
    elif CODE == MISH:
        return mish(x)
    elif CODE == SOFTPLUS:
        return softplus(x)
    else:
        tl.static_assert(CODE == SIGMOID, "an unknown activation")
        return sigmoid(x)


@kernel()
def inside(x: tl.tensor, BEGIN: tl.constexpr, COUNT: tl.constexpr, WIDTH: tl.constexpr) -> tl.tensor:
    """Return columns BEGIN to BEGIN + COUNT of rows, with zeros from WIDTH on."""
    if WIDTH < BEGIN + COUNT:
        x = tl.where((BEGIN + tl.arange(0, COUNT) < WIDTH)[None, :], x, 0.0)
    return x


@kernel()
def normed(
    low: tl.tensor, high: tl.tensor, LOW: tl.constexpr, PAD: tl.constexpr, WIDTH: tl.constexpr, EPS: tl.constexpr
) -> tuple[tl.tensor, tl.tensor]:
    """Return rows with mean 0 and spread 1 over their first WIDTH columns, as torch.nn.LayerNorm; the others are 0."""
    mean = tl.sum(inside(low, 0, LOW, WIDTH), 1)
    if PAD > LOW:
        mean += tl.sum(inside(high, LOW, PAD - LOW, WIDTH), 1)
    mean = (mean * (1.0 / WIDTH))[:, None]
    low = inside(low - mean, 0, LOW, WIDTH)
    square = tl.sum(low * low, 1)
    if PAD > LOW:
        high = inside(high - mean, LOW, PAD - LOW, WIDTH)
        square += tl.sum(high * high, 1)
    factor = inverse(tl.sqrt(square * (1.0 / WIDTH) + EPS))[:, None]
    return low * factor, high * factor


@kernel()
def scaled(x: tl.tensor, vectors: tl.tensor, BEGIN: tl.constexpr, COUNT: tl.constexpr, PAD: tl.constexpr) -> tl.tensor:
    """Return columns BEGIN to BEGIN + COUNT of rows after a scale, whose factors and summands are vectors, PAD each."""
    columns = BEGIN + tl.arange(0, COUNT)
    return tl.fma(x, tl.load(vectors + columns)[None, :], tl.load(vectors + PAD + columns)[None, :])


@kernel()
def stepped(
    low: tl.tensor, high: tl.tensor, vectors: tl.tensor, STEPS: tl.constexpr, BEGIN: tl.constexpr, END: tl.constexpr,
    LOW: tl.constexpr, PAD: tl.constexpr, WIDTH: tl.constexpr, EPS: tl.constexpr, PRECISION: tl.constexpr,
) -> tuple[tl.tensor, tl.tensor]:  # fmt: skip
    """Return both parts of rows after STEPS[BEGIN:END]. vectors: float32, factors and summands of PAD each for each scale."""
    for s in tl.static_range(BEGIN, END):
        if STEPS[s] == NORM:
            low, high = normed(low, high, LOW, PAD, WIDTH, EPS)
        elif STEPS[s] == SCALE:
            low = scaled(low, vectors, 0, LOW, PAD)
            if PAD > LOW:
                high = scaled(high, vectors, LOW, PAD - LOW, PAD)
            vectors += 2 * PAD
        else:
            low = activated(low, STEPS[s], PRECISION)
            if PAD > LOW:
                high = activated(high, STEPS[s], PRECISION)
    return low, high


@kernel()
def rounded(x: tl.tensor, DROPPED: tl.constexpr) -> tl.tensor:
    """Return float32 values without the last DROPPED bits, 13 for tf32, 16 for bf16: to nearest, ties to even."""
    bits = x.to(tl.int32, bitcast=True)
    near = (bits + ((1 << (DROPPED - 1)) - 1) + ((bits >> DROPPED) & 1)) & -(1 << DROPPED)
    return tl.where(x == x, near.to(tl.float32, bitcast=True), x)


@kernel()
def multiplied(values: tl.tensor, weight: tl.tensor, total: tl.tensor, PRECISION: tl.constexpr) -> tl.tensor:
    """Return total + values weight, summed in float32. values: rounded here. weight: [inputs, outputs], rounded already."""
    if PRECISION == "fp32":
        return tl.dot(values, weight, total, input_precision="ieee")
    elif PRECISION == "tf32x3":  # noqa: RET505 - branches of the compiler
        return tl.dot(values, weight, total, input_precision="tf32x3")
    elif PRECISION == "tf32":
        return tl.dot(rounded(values, 13), weight, total, input_precision="tf32")
    elif PRECISION == "bf16 in float32":
        return tl.dot(rounded(values, 16), weight, total, input_precision="ieee")
    else:
        return tl.dot(values.to(weight.dtype), weight, total)
