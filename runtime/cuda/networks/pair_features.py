"""Features of pairs of hits in registers, as trkx.models.geometry computes them, times a first layer's weights."""

from __future__ import annotations

import triton.language as tl

from trkx.runtime.cuda.launch import kernel
from trkx.runtime.cuda.networks.steps import rounded, tanh


@kernel()
def sine(x: tl.tensor) -> tl.tensor:
    """Return sin(x), exact to rounding where |x| is at most a few hundred."""
    n = tl.floor(tl.fma(x, 0.3183098861837907, 0.5))
    rest = tl.fma(n, -3.140625, x)  # the parts of pi: whole multiples of the first are exact
    rest = tl.fma(n, -9.676535897932795e-4, rest)
    rest = tl.fma(n, 5.126688e-12, rest)
    square = rest * rest
    series = tl.fma(square, 1.6059043836821613e-10, -2.505210838544172e-08)
    series = tl.fma(square, series, 2.7557319223985893e-06)
    series = tl.fma(square, series, -0.0001984126984126984)
    series = tl.fma(square, series, 0.008333333333333333)
    series = tl.fma(square, series, -0.16666666666666666)
    value = tl.fma(square * rest, series, rest)
    odd = n - 2.0 * tl.floor(0.5 * n)
    return tl.where(odd > 0.5, -value, value)


@kernel()
def root(x: tl.tensor) -> tl.tensor:
    """Return the square root of x and a little, as in trkx.models.geometry."""
    return tl.sqrt(x + 1e-12)


@kernel()
def features_of_pair(
    r: tl.tensor, phi: tl.tensor, z: tl.tensor, r_scale: tl.tensor, phi_scale: tl.tensor, z_scale: tl.tensor, a: tl.tensor,
    b: tl.tensor, TILE: tl.constexpr,
) -> tl.tensor:  # fmt: skip
    """Return the features of pairs, float32 [TILE, 16], of which 11 columns are filled. a, b: int64 [TILE], hits.

    They become columns of one tile, so that each is computed once for its row and not by all who share the row.
    """
    r_in, r_out = tl.load(r + a), tl.load(r + b)
    phi_in, phi_out = tl.load(phi + a), tl.load(phi + b)
    z_in, z_out = tl.load(z + a), tl.load(z + b)
    r_a, r_b, z_a = r_in * r_scale, r_out * r_scale, z_in * z_scale
    dr, dz, dphi = (r_out - r_in) * r_scale, (z_out - z_in) * z_scale, (phi_out - phi_in) * phi_scale
    whole, half = sine(dphi), sine(0.5 * dphi)
    chord = root(dr * dr + 4.0 * r_a * r_b * half * half)
    curvature = whole / (chord + 1e-6)
    farther = tl.where(r_a > r_b, r_a, r_b)
    limit = 1.0 / (farther * farther + 1e-12)
    square = curvature * curvature
    square = tl.where(square > limit, limit, square)
    q_a, q_b = square * r_a * r_a, square * r_b * r_b
    arc_a, arc_b = q_a * (1.0 / 6.0 + q_a * (3.0 / 40.0)), q_b * (1.0 / 6.0 + q_b * (3.0 / 40.0))
    slope = square * (r_a + r_b) * (1.0 / 6.0 + (q_a + q_b) * (3.0 / 40.0))
    ds = dr * (1.0 + arc_b + r_a * slope)
    s_a = r_a * (1.0 + arc_a)
    length = root(ds * ds + dz * dz)
    cross = z_a * ds - s_a * dz
    zero = tl.zeros_like(dr)
    even = eighths(
        4.0 * dr, 8.0 * whole, tanh(20.0 * chord), ds / length, 10.0 * tanh(0.5 * cross / length),
        tanh(3.0 * root(dr * dr + dz * dz)), zero, zero,
    )  # fmt: skip
    odd = eighths(
        2.0 * dz, tanh(1.5 * curvature), dz / length, cross / root(cross * cross + 0.01 * (ds * ds)),
        whole / root(whole * whole + dr * dr), zero, zero, zero,
    )  # fmt: skip
    return tl.reshape(tl.join(even, odd), (TILE, 16))


@kernel()
def added_pair(
    total: tl.tensor, values: tl.tensor, weights: tl.tensor, BEGIN: tl.constexpr, COUNT: tl.constexpr, PAD: tl.constexpr,
    EXACT: tl.constexpr,
) -> tl.tensor:  # fmt: skip
    """Return total + features of pairs times columns BEGIN to BEGIN + COUNT of weights, float32 [PAD, 16].

    EXACT: how products of float32 numbers are taken. "ieee", or "tf32x3", for which weights are two such tables, in tf32: the
    nearest to a weight, and the nearest to what it lacks. Only the product of what both factors lack is left out.
    """
    place = (BEGIN + tl.arange(0, COUNT))[None, :] * 16 + tl.arange(0, 16)[:, None]
    if EXACT == "ieee":
        return tl.dot(values, tl.load(weights + place), total, input_precision="ieee")
    else:  # noqa: RET505 - branches of the compiler
        tl.static_assert(EXACT == "tf32x3", "an unknown way to multiply")
        near = rounded(values, 13)
        weight = tl.load(weights + place)
        total = tl.dot(rounded(values - near, 13), weight, total, input_precision="tf32")
        total = tl.dot(near, tl.load(weights + PAD * 16 + place), total, input_precision="tf32")
        return tl.dot(near, weight, total, input_precision="tf32")


@kernel()
def eighths(
    a: tl.tensor, b: tl.tensor, c: tl.tensor, d: tl.tensor, e: tl.tensor, f: tl.tensor, g: tl.tensor, h: tl.tensor
) -> tl.tensor:
    """Return eight columns [TILE] as [TILE, 2, 2, 2], in this order if they were [TILE, 8]."""
    return tl.join(tl.join(tl.join(a, e), tl.join(c, g)), tl.join(tl.join(b, f), tl.join(d, h)))


@kernel()
def added_feature(
    total: tl.tensor, feature: tl.tensor, weights: tl.tensor, BEGIN: tl.constexpr, COUNT: tl.constexpr
) -> tl.tensor:
    """Return total + a column of features [TILE] times columns BEGIN to BEGIN + COUNT of a row of weights, in float32."""
    weight = tl.load(weights + BEGIN + tl.arange(0, COUNT))
    return tl.fma(feature[:, None], weight[None, :], total)
