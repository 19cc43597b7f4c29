"""What one ONNX operator may be off by in floating point, in units of the roundoff: `roundings`, for the other vocabulary."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trkx.export.validation.roundings import FUNCTION, WHOLE, many

Float64 = NDArray[np.float64]


@dataclass(frozen=True)
class Call:
    """One node that has run. node: onnx's evaluator of it. result: its first output."""

    node: Any
    inputs: Sequence[Any]
    result: Float64
    generator: np.random.Generator

    def signs(self, shape: tuple[int, ...]) -> NDArray[np.int8]:
        """Return +1 and -1 at random."""
        return self.generator.integers(0, 2, shape, np.int8) * np.int8(2) - np.int8(1)

    def again(self, change: Callable[[int, Float64], Float64]) -> Float64:
        """Return what the node gives for changed floating inputs; `change` takes the place of an input and its value."""
        inputs = [
            change(place, item) if isinstance(item, np.ndarray) and item.dtype == np.float64 else item
            for place, item in enumerate(self.inputs)
        ]
        return np.asarray(self.node.run(*inputs)[0])


Rule = Callable[[Call], Float64]

EXACT = frozenset((
    "Abs", "ArgMax", "ArgMin", "Cast", "CastLike", "Ceil", "Clip", "Compress", "Concat", "Constant", "ConstantOfShape",
    "DepthToSpace", "Dropout", "Expand", "EyeLike", "Flatten", "Floor", "Gather", "GatherElements", "GatherND", "Identity",
    "LeakyRelu", "Max", "Min", "Neg", "OneHot", "Pad", "Range", "ReduceMax", "ReduceMin", "Relu", "Reshape", "Round", "Sign",
    "Slice", "Split", "Squeeze", "Tile", "TopK", "Transpose", "Trilu", "Unique", "Unsqueeze", "Where",
))
"""Operators that only choose, move, negate or cast numbers."""
ONCE = frozenset(("Add", "Sub", "Mul", "Div", "Sqrt", "Reciprocal"))
"""Operators that IEEE 754 rounds once."""


def move_of(node: Any, inputs: Sequence[Any], result: Float64, generator: np.random.Generator) -> Float64 | None:
    """Return by how much rounding moves the first output of a node, in units of the roundoff; None if it does not."""
    if node.op_type in EXACT:
        return None
    call = Call(node, inputs, result, generator)
    return RULES.get(node.op_type, _one_by_one)(call)


def _sum(call: Call, number: Float64 | float) -> Float64:
    terms = np.abs(call.again(lambda place, value: np.abs(value)))
    size = np.where((terms == np.round(terms)) & (terms < WHOLE), 0.0, terms * number + np.abs(call.result))
    return np.asarray(size * call.signs(size.shape))


def _one_by_one(call: Call) -> Float64:
    size = np.abs(call.result)
    factor = 1.0 if call.node.op_type in ONCE else FUNCTION
    return np.asarray(np.where((size == np.round(size)) & (size < WHOLE), 0.0, size * factor) * call.signs(size.shape))


def _product(call: Call) -> Float64:
    turned = call.node.op_type == "Gemm" and bool(getattr(call.node, "transA", 0))
    return _sum(call, many(call.inputs[0].shape[0 if turned else -1]))


def _along_axes(call: Call) -> Float64:
    return _sum(call, many(call.inputs[0].size // max(call.result.size, 1)))


def _scatter(call: Call) -> Float64:
    if call.node.reduction != "add":
        return np.zeros_like(call.result) if call.node.reduction != "mul" else _one_by_one(call)
    number = call.again(lambda place, value: np.where(value != 0.0, 1.0, 0.0) if place == 0 else np.ones_like(value))
    return _sum(call, np.maximum(number - 1.0, 0.0))


def _layer_norm(call: Call) -> Float64:
    x, weight = call.inputs[:2]
    axes = tuple(range(call.node.axis % x.ndim, x.ndim))
    n = many(int(np.prod([x.shape[axis] for axis in axes])))
    mean = x.mean(axes, keepdims=True)
    scale = 1.0 / np.sqrt(np.square(x - mean).mean(axes, keepdims=True) + call.node.epsilon)
    shift = n * np.abs(x).mean(axes, keepdims=True) * scale * call.signs(mean.shape)
    spread = 0.5 * n * np.square(x).mean(axes, keepdims=True) * np.square(scale) * call.signs(mean.shape)
    size = np.abs(call.result) + (np.abs(call.inputs[2]) if len(call.inputs) > 2 and call.inputs[2] is not None else 0.0)
    return np.asarray((shift + spread * (x - mean) * scale) * weight + FUNCTION * size * call.signs(size.shape))


def _batch_norm(call: Call) -> Float64:
    x, weight, bias, mean, variance = (np.abs(item) for item in call.inputs[:5])
    shape = (1, -1, *([1] * (x.ndim - 2)))
    scale = (weight / np.sqrt(variance + call.node.epsilon)).reshape(shape)
    size = (x + mean.reshape(shape)) * scale + bias.reshape(shape)
    return np.asarray(FUNCTION * size * call.signs(size.shape))


def _softmax(call: Call) -> Float64:
    n = many(call.inputs[0].shape[call.node.axis])
    size = np.abs(call.result) + (1.0 if call.node.op_type == "LogSoftmax" else 0.0)
    return np.asarray((n + FUNCTION) * size * call.signs(size.shape))


def _norm(call: Call) -> Float64:
    n = many(call.inputs[0].size // max(call.result.size, 1))
    return np.asarray((n + FUNCTION) * call.result * call.signs(call.result.shape))


def _scaled(size: Callable[[Float64], Float64]) -> Rule:
    return lambda call: np.asarray(FUNCTION * size(call.inputs[0]) * call.signs(call.result.shape))


RULES: Mapping[str, Rule] = {
    **dict.fromkeys(("MatMul", "Gemm"), _product),
    **dict.fromkeys(("ReduceSum", "ReduceMean", "ReduceL1"), _along_axes),
    **dict.fromkeys(("ReduceL2", "ReduceSumSquare", "LpNormalization"), _norm),
    "CumSum": lambda call: _sum(call, float(call.inputs[0].shape[int(np.ravel(call.inputs[1])[0])])),
    "Sum": lambda call: _sum(call, float(len(call.inputs))),
    **dict.fromkeys(("Scatter", "ScatterElements", "ScatterND"), _scatter),
    "LayerNormalization": _layer_norm,
    "BatchNormalization": _batch_norm,
    **dict.fromkeys(("Softmax", "LogSoftmax"), _softmax),
    **dict.fromkeys(("Sigmoid", "Cos"), _scaled(np.ones_like)),
    **dict.fromkeys(("Sin", "Tanh", "Erf"), _scaled(lambda x: np.minimum(np.abs(x), 1.0))),
    **dict.fromkeys(("Gelu", "Elu", "Mish", "HardSwish", "Swish"), _scaled(np.abs)),
}
"""Operators with a rule of their own; all others are FUNCTION units of their result, or one if in ONCE."""
