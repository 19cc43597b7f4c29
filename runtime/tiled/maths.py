"""exp, tanh, sine and the activations on vectors of float32, each within a few units of the last place; NaN stays NaN."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from trkx.runtime.tiled.emit import Code, Value
from trkx.spec import Activation

_LN2_HIGH, _LN2_LOW = 0.693359375, -2.12194440e-4  # the high part times a whole number below 2^9 is exact
_SHIFT = 1.5 * 2.0**23  # adding it leaves the nearest whole number in the lowest bits
_EXP = (1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1)  # Cephes, expf
LOWEST = 1e4  # below minus this silu and mish are taken as there: 0 to rounding, where exp is cut already
_PI_PARTS = (3.140625, 9.676535897932795e-4, -5.126688e-12)
_ERF_NEAR = (
    7.882497105e-05,
    -8.018854991e-04,
    5.189311943e-03,
    -2.68543288e-02,
    1.128359746e-01,
    -3.76126269e-01,
    1.128379166,
)  # erf(x) / x in x^2, Chebyshev fit on [0, 1]: 1.1e-9
_ERF_FAR = (
    -5.796336436e-02,
    -4.376717809e-02,
    3.866577516e-01,
    1.127484537e-01,
    3.265717203e-01,
    2.744554661e-01,
    5.387505789e-04,
)  # erfc(x) exp(x^2) in 1 / (1 + x / 2), Chebyshev fit for x in [1, 4.2]: 3.1e-9


def polynomial(code: Code, x: Value, coefficients: tuple[float, ...]) -> Value:
    """Return the polynomial with the highest coefficient first."""
    total = code.number(coefficients[0])
    for coefficient in coefficients[1:]:
        total = code.fma(total, x, code.number(coefficient))
    return total


def smaller(code: Code, a: Value, limit: float) -> Value:
    """Return the smaller of a and limit; NaN stays."""
    bound = code.number(limit)
    return code.b.select(code.b.fcmp_ordered(">", a, bound), bound, a)


def larger(code: Code, a: Value, limit: float) -> Value:
    """Return the larger of a and limit; NaN stays."""
    bound = code.number(limit)
    return code.b.select(code.b.fcmp_ordered("<", a, bound), bound, a)


def _split_exp(code: Code, x: Value) -> tuple[Value, Value]:
    """Return 2^n and exp(x - n ln 2) - 1 with whole n, for x within +-87."""
    shifted = code.fma(x, code.number(1.0 / math.log(2.0)), code.number(_SHIFT))
    bits = code.b.bitcast(shifted, code.module.ints)
    scale = code.b.add(code.b.shl(bits, code.ints(23)), code.ints(127 << 23))
    n = code.sub(shifted, code.number(_SHIFT))
    rest = code.fma(n, code.number(-_LN2_HIGH), x)
    rest = code.fma(n, code.number(-_LN2_LOW), rest)
    less_one = code.fma(code.mul(rest, rest), polynomial(code, rest, _EXP), rest)
    return code.b.bitcast(scale, code.vector), less_one


def exp(code: Code, x: Value) -> Value:
    """Return the exponential of x, which is cut to +-87."""
    scale, less_one = _split_exp(code, larger(code, smaller(code, x, 87.0), -87.0))
    return code.fma(scale, less_one, scale)


def expm1(code: Code, x: Value) -> Value:
    """Return the exponential of x less 1; x is cut to +-87."""
    scale, less_one = _split_exp(code, larger(code, smaller(code, x, 87.0), -87.0))
    return code.fma(scale, less_one, code.sub(scale, code.number(1.0)))


def tanh(code: Code, x: Value) -> Value:
    """Return the hyperbolic tangent of x."""
    grown = expm1(code, larger(code, smaller(code, code.add(x, x), 40.0), -40.0))
    return code.div(grown, code.add(grown, code.number(2.0)))


def sigmoid(code: Code, x: Value) -> Value:
    """Return 1 / (1 + exp(-x))."""
    one = code.number(1.0)
    return code.div(one, code.add(one, exp(code, code.b.fneg(x))))


def sine(code: Code, x: Value) -> Value:
    """Return sin(x); exact to rounding where |x| is at most a few hundred."""
    shifted = code.fma(x, code.number(1.0 / math.pi), code.number(_SHIFT))
    n = code.sub(shifted, code.number(_SHIFT))
    rest = x
    for part in _PI_PARTS:
        rest = code.fma(n, code.number(-part), rest)
    square = code.mul(rest, rest)
    series = tuple((-1.0) ** k / math.factorial(2 * k + 1) for k in range(6, 0, -1))
    value = code.fma(code.mul(square, rest), polynomial(code, square, series), rest)
    odd = code.b.shl(code.b.bitcast(shifted, code.module.ints), code.ints(31))
    return code.b.bitcast(code.b.xor(code.b.bitcast(value, code.module.ints), odd), code.vector)


def _log1p_of_exp(code: Code, x: Value) -> Value:
    """Return log(1 + exp(x)) for x at most 0, as 2 atanh(y / (2 + y)) with y = exp(x)."""
    y = exp(code, x)
    s = code.div(y, code.add(y, code.number(2.0)))
    series = tuple(2.0 / (2 * k + 1) for k in range(8, -1, -1))
    return code.mul(s, polynomial(code, code.mul(s, s), series))


def _erf(code: Code, x: Value) -> Value:
    size = code.call("fabs", x)
    near = code.mul(x, polynomial(code, code.mul(x, x), _ERF_NEAR))
    far_at = smaller(code, size, 4.2)
    t = code.div(code.number(1.0), code.fma(far_at, code.number(0.5), code.number(1.0)))
    fall = exp(code, code.b.fneg(code.mul(far_at, far_at)))
    far = code.call("copysign", code.sub(code.number(1.0), code.mul(fall, polynomial(code, t, _ERF_FAR))), x)
    return code.b.select(code.b.fcmp_ordered("<", size, code.number(1.0)), near, far)


def _silu(code: Code, x: Value) -> Value:
    cut = larger(code, x, -LOWEST)
    return code.div(cut, code.add(code.number(1.0), exp(code, code.b.fneg(cut))))


def _gelu(code: Code, x: Value) -> Value:
    half = code.mul(x, code.number(0.5))
    return code.fma(half, _erf(code, code.mul(x, code.number(math.sqrt(0.5)))), half)


def _elu(code: Code, x: Value) -> Value:
    return code.b.select(code.b.fcmp_ordered(">", x, code.number(0.0)), x, expm1(code, x))


def _mish(code: Code, x: Value) -> Value:
    grown = exp(code, smaller(code, x, 20.0))
    share = code.mul(grown, code.add(grown, code.number(2.0)))
    return code.mul(larger(code, x, -LOWEST), code.div(share, code.add(share, code.number(2.0))))


def _softplus(code: Code, x: Value) -> Value:
    tail = _log1p_of_exp(code, code.b.fneg(code.call("fabs", x)))
    return code.add(larger(code, x, 0.0), tail)


def _leaky_relu(code: Code, x: Value) -> Value:
    return code.b.select(code.b.fcmp_ordered("<", x, code.number(0.0)), code.mul(x, code.number(0.01)), x)


ACTIVATIONS: Mapping[Activation, Callable[[Code, Value], Value]] = {
    "silu": _silu,
    "relu": lambda code, x: larger(code, x, 0.0),
    "tanh": tanh,
    "gelu": _gelu,
    "leaky_relu": _leaky_relu,
    "elu": _elu,
    "mish": _mish,
    "softplus": _softplus,
    "sigmoid": sigmoid,
    "none": lambda code, x: x,
}
"""Activation by the name that a specification uses; the functions of torch.nn with their default parameters."""
