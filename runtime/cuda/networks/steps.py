"""Norms, scales, activations and rounding of rows in registers, as `trkx.runtime.tiled` has them; NaN stays NaN."""

from __future__ import annotations

import triton.language as tl

from trkx.runtime.cuda.launch import kernel

NAMES = (
    "norm", "scale", "silu", "relu", "tanh", "gelu", "leaky_relu", "elu", "mish", "softplus", "sigmoid",
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
    far = 1.0 - 2.0 / (tl.exp(2.0 * tl.minimum(size, 20.0, tl.PropagateNan.ALL)) + 1.0)
    return tl.where(size < 0.625, near, tl.where(x < 0.0, -far, far))


@kernel()
def sigmoid(x: tl.tensor) -> tl.tensor:
    """Return 1 / (1 + exp(-x)); below -80 that of -80, 2e-35."""
    return 1.0 / (1.0 + tl.exp(-tl.maximum(x, -80.0, tl.PropagateNan.ALL)))


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
def activated(x: tl.tensor, CODE: tl.constexpr) -> tl.tensor:
    """Return an activation; the functions of torch.nn with their default parameters."""
    if CODE == SILU:
        cut = tl.maximum(x, -80.0, tl.PropagateNan.ALL)  # 0 to rounding from there on
        return cut / (1.0 + tl.exp(-cut))
    elif CODE == RELU:  # noqa: RET505 - branches of the compiler
        return tl.maximum(x, 0.0, tl.PropagateNan.ALL)
    elif CODE == TANH:
        return tanh(x)
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
def normed(x: tl.tensor, columns: tl.tensor, WIDTH: tl.constexpr, PAD: tl.constexpr, EPS: tl.constexpr) -> tl.tensor:
    """Return rows with mean 0 and spread 1 over their first WIDTH columns, as torch.nn.LayerNorm; the others are 0."""
    if WIDTH == PAD:
        distance = x - (tl.sum(x, 1) * (1.0 / WIDTH))[:, None]
    else:
        real = (columns < WIDTH)[None, :]
        distance = tl.where(real, x - (tl.sum(tl.where(real, x, 0.0), 1) * (1.0 / WIDTH))[:, None], 0.0)
    spread = tl.sqrt(tl.sum(distance * distance, 1) * (1.0 / WIDTH) + EPS)
    return distance * (1.0 / spread)[:, None]


@kernel()
def stepped(
    x: tl.tensor, vectors: tl.tensor, columns: tl.tensor, STEPS: tl.constexpr, BEGIN: tl.constexpr, END: tl.constexpr,
    WIDTH: tl.constexpr, PAD: tl.constexpr, EPS: tl.constexpr,
) -> tl.tensor:  # fmt: skip
    """Return rows [TILE, PAD] after STEPS[BEGIN:END]. vectors: float32, factors and summands of PAD each for each scale."""
    for s in tl.static_range(BEGIN, END):
        if STEPS[s] == NORM:
            x = normed(x, columns, WIDTH, PAD, EPS)
        elif STEPS[s] == SCALE:
            x = tl.fma(x, tl.load(vectors + columns)[None, :], tl.load(vectors + PAD + columns)[None, :])
            vectors += 2 * PAD
        else:
            x = activated(x, STEPS[s])
    return x


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
