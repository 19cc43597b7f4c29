"""What one operator of torch may be off by in floating point, in units of the roundoff: the rules behind the tolerances.

Sums over edges get the full bound of adding one by one, (n - 1) sum|terms|: the terms may be all alike, and then roundings
all have the same sign. Products of matrices and layer norms add terms of many values; there the bound of Higham and Mary
(SIAM J. Sci. Comput. 41 (2019) A2815) counts, LAMBDA sqrt(n) sum|terms|, which fails with a probability below
2 exp(-LAMBDA^2 / 2) = 0.0007 and is far above what engines do, since they add in blocks.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

UNIT: Mapping[torch.dtype, float] = {
    torch.float64: 2.0**-53,
    torch.float32: 2.0**-24,
    torch.float16: 2.0**-11,
    torch.bfloat16: 2.0**-8,
}
"""Unit roundoff: half of the distance from 1 to the next number."""
LAMBDA = 4.0
FUNCTION = 4.0
"""Units of a function such as exp or tanh: engines have their own, good to a few units in the last place."""
WHOLE = float(2**24)
"""Whole numbers below this are exact in float32, so counts and sizes are never moved."""

Signs = Callable[[Sequence[int]], Tensor]


@dataclass(frozen=True)
class Call:
    """One operator as torch dispatched it.

    func: the overload. args, kwargs: before it wrote into any of them. result: its first result, floating point.
    signs: draws +1 and -1 in a shape.
    """

    func: Any
    args: Sequence[Any]
    kwargs: Mapping[str, Any]
    result: Tensor
    signs: Signs

    @property
    def name(self) -> str:
        """Name without namespace, overload, and the underscores of private and of in-place operators."""
        return str(self.func._schema.name).removeprefix("aten::").strip("_")

    def terms(self) -> Tensor:
        """Return what the operator gives for absolute values: for a sum, the sum of the absolute values of its terms."""
        positive = [item.abs() if isinstance(item, Tensor) and item.is_floating_point() else item for item in self.args]
        result: Tensor = self.func(*positive, **self.kwargs)
        return result.abs()


Rule = Callable[[Call], Tensor]
"""Gives the move of the result, in units of the roundoff."""

EXACT = frozenset((
    "abs", "alias", "amax", "amin", "arange", "argsort", "as_strided", "cat", "ceil", "clamp", "clamp_max", "clamp_min",
    "clone", "constant_pad_nd", "copy", "detach", "diagonal", "embedding", "empty", "empty_like", "empty_strided", "expand",
    "fill", "flip", "floor", "full", "full_like", "gather", "hardtanh", "index", "index_copy", "index_fill", "index_select",
    "leaky_relu", "lift_fresh", "masked_fill", "max", "maximum", "min", "minimum", "neg", "new_empty", "new_empty_strided",
    "new_full", "new_ones", "new_zeros", "ones", "ones_like", "permute", "relu", "repeat", "reshape_alias", "roll", "round",
    "scalar_tensor", "scatter", "select", "select_scatter", "sign", "slice", "slice_scatter", "sort", "split",
    "split_with_sizes", "squeeze", "stack", "t", "threshold", "to_copy", "topk", "transpose", "tril", "triu", "trunc",
    "unbind", "unfold", "unsafe_view", "unsqueeze", "view", "where", "zero", "zeros", "zeros_like",
))
"""Operators that only choose, move, negate or cast numbers."""
ONCE = frozenset(("add", "sub", "rsub", "mul", "div", "sqrt", "reciprocal", "square"))
"""Operators that IEEE 754 rounds once."""


def move_of(call: Call) -> Tensor | None:
    """Return by how much rounding moves the result of an operator, in units of the roundoff; None if it does not."""
    if call.func.is_view or call.name in EXACT:
        return None
    return RULES.get(call.name, _one_by_one)(call)


def many(n: int) -> float:
    """Return the factor of n additions of unlike numbers."""
    return min(float(n), LAMBDA * math.sqrt(n))


def _sum(call: Call, number: Tensor | float) -> Tensor:
    """Return the move of a sum: `number` roundings of the absolute terms, and one of the result; whole numbers don't round."""
    terms = call.terms()
    whole = (terms == terms.round()) & (terms < WHOLE)
    return (terms * number + call.result.abs()).masked_fill_(whole, 0.0) * call.signs(call.result.shape)


def _one_by_one(call: Call) -> Tensor:
    size = call.result.abs()
    whole = (size == size.round()) & (size < WHOLE)
    return (size * (1.0 if call.name in ONCE else FUNCTION)).masked_fill_(whole, 0.0) * call.signs(size.shape)


def _product(left: int) -> Rule:
    return lambda call: _sum(call, many(call.args[left].shape[-1]))


def _along_axes(call: Call) -> Tensor:
    return _sum(call, many(call.args[0].numel() // max(call.result.numel(), 1)))


def _running(call: Call) -> Tensor:
    return _sum(call, float(call.args[0].shape[call.args[1]]))


def _edge_sum(call: Call) -> Tensor:
    """index_add, scatter_add, scatter_reduce: one rounding an edge after the first, as if added one by one."""
    own, dim, index, source = call.args[:4]
    if len(call.args) > 4 and call.args[4] in ("amax", "amin"):
        return torch.zeros_like(call.result)
    one, started = torch.ones_like(source), (own != 0).to(source.dtype)
    if call.name == "index_add":
        number = torch.index_add(started, dim, index, one)
    else:
        number = torch.scatter_add(started, dim, index, one)
    spare = 1.0 if len(call.args) > 4 and call.args[4] == "mean" else -1.0  # the mean also divides
    return _sum(call, (number + spare).clamp_(min=0.0))


def _index_put(call: Call) -> Tensor:
    own, places, added = call.args[:3]
    if not (len(call.args) > 3 and call.args[3]):
        return torch.zeros_like(call.result)
    number = torch.index_put((own != 0).to(added.dtype), places, torch.ones_like(added), accumulate=True)
    return _sum(call, (number - 1.0).clamp_(min=0.0))


def _layer_norm(call: Call) -> Tensor:
    """Mean and spread are sums over the row, one error each; engines take the variance as mean(x^2) - mean(x)^2 or better."""
    x, shape, weight, bias, eps = call.args[:5]
    axes, n = tuple(range(x.ndim - len(shape), x.ndim)), many(math.prod(shape))
    mean = x.mean(axes, keepdim=True)
    scale = ((x - mean).square().mean(axes, keepdim=True) + eps).rsqrt()
    shift: Tensor = n * x.abs().mean(axes, keepdim=True) * scale * call.signs(mean.shape)
    spread = 0.5 * n * x.square().mean(axes, keepdim=True) * scale.square() * call.signs(mean.shape)
    row: Tensor = shift + spread * (x - mean) * scale
    row = row if weight is None else row * weight
    size = call.result.abs() if bias is None else call.result.abs() + bias.abs()
    return row + FUNCTION * size * call.signs(size.shape)


def _batch_norm(call: Call) -> Tensor:
    """With stored mean and variance: a shift and a scale a column, which may cancel."""
    x, weight, bias, mean, variance = call.args[:5]
    shape = (1, -1, *([1] * (x.ndim - 2)))
    scale = torch.rsqrt(variance + call.args[-1]) * (1.0 if weight is None else weight.abs())
    size: Tensor = (x.abs() + mean.abs().reshape(shape)) * scale.reshape(shape)
    size = size if bias is None else size + bias.abs().reshape(shape)
    return FUNCTION * size * call.signs(size.shape)


def _softmax(call: Call) -> Tensor:
    n = many(call.args[0].shape[call.args[1]])
    size = call.result.abs() + (1.0 if call.name == "log_softmax" else 0.0)
    return (n + FUNCTION) * size * call.signs(size.shape)


def _scaled(size: Callable[[Tensor], Tensor]) -> Rule:
    """Return the rule of a function whose error is FUNCTION units of `size`(argument) rather than of its result."""
    return lambda call: FUNCTION * size(call.args[0]) * call.signs(call.result.shape)


def _norm(call: Call) -> Tensor:
    n = many(call.args[0].numel() // max(call.result.numel(), 1))
    return (0.5 * n + FUNCTION) * call.result * call.signs(call.result.shape)


def _near_zero_like_x(x: Tensor) -> Tensor:
    return torch.clamp(torch.abs(x), max=1.0)


RULES: Mapping[str, Rule] = {
    **dict.fromkeys(("mm", "bmm", "mv", "dot", "linear"), _product(0)),
    **dict.fromkeys(("addmm", "addmv", "baddbmm", "addbmm"), _product(1)),
    **dict.fromkeys(("sum", "mean"), _along_axes),
    **dict.fromkeys(("cumsum", "logcumsumexp"), _running),
    **dict.fromkeys(("index_add", "scatter_add", "scatter_reduce", "index_reduce"), _edge_sum),
    "index_put": _index_put,
    "index_put_impl": _index_put,
    "addcmul": lambda call: _sum(call, 2.0),
    "native_layer_norm": _layer_norm,
    **dict.fromkeys(("native_batch_norm", "native_batch_norm_legit_no_training"), _batch_norm),
    **dict.fromkeys(("softmax", "log_softmax"), _softmax),
    **dict.fromkeys(("linalg_vector_norm", "norm"), _norm),
    **dict.fromkeys(("sigmoid", "cos", "log_sigmoid_forward"), _scaled(torch.ones_like)),
    **dict.fromkeys(("sin", "tanh", "erf"), _scaled(_near_zero_like_x)),
    **dict.fromkeys(("silu", "gelu", "elu", "mish", "hardswish"), _scaled(torch.abs)),
}
"""Operators with a rule of their own, by name; all others are FUNCTION units of their result, or one if in ONCE."""
