"""How large the values of a graph can become, whatever the event: float16 ends at 65504, and infinity has no way back.

Each value carries two bounds that hold for all inputs: of its numbers, and of the Euclidean norm of its rows. A layer norm
bounds its rows by sqrt(n) max|weight| + |bias|; a product multiplies the norm by the matrix's largest singular value; the
usual activations shrink. Raw features and sums over edges have no bound (the degree of a hit is not known before), nor has
what only grows from them: a product there is float16's to overflow, and is left in float32.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from trkx.export.onnx_graph import Graph, attribute

Float64 = NDArray[np.float64]
SHRINKING = frozenset(("Relu", "LeakyRelu", "Elu", "Gelu", "Mish", "HardSwish", "Swish", "Tanh", "Identity", "Dropout"))
"""Activations f with |f(t)| <= |t|; of LeakyRelu and Elu only where alpha is at most 1."""
BELOW_ONE = frozenset(("Sigmoid", "Tanh", "Erf", "HardSigmoid"))


@dataclass(frozen=True)
class Bound:
    """largest: of the absolute values. norm: of the Euclidean norm of a row (the last axis). Infinity: none is known."""

    largest: float = math.inf
    norm: float = math.inf

    def within(self) -> Bound:
        """Return the same bounds, each tightened by the other: no number of a row is larger than its norm."""
        return Bound(min(self.largest, self.norm), self.norm)


NONE = Bound()
Rule = Callable[[Graph, onnx.NodeProto, list[Bound]], Bound]


def bounds_of(graph: Graph) -> dict[str, Bound]:
    """Return bounds for every value that a node of the graph makes (bodies not looked into)."""
    known: dict[str, Bound] = {}

    def of(name: str) -> Bound:
        if name not in known:
            value = graph.constant(name) if name else None
            known[name] = _of_constant(value) if value is not None and value.dtype.kind == "f" else NONE
        return known[name]

    for node in graph.nodes:
        rule = RULES.get(node.op_type) if node.domain in ("", "ai.onnx") else None
        bound = rule(graph, node, [of(name) for name in node.input]).within() if rule is not None else NONE
        for name in node.output:
            known[name] = bound if name == node.output[0] and not math.isnan(bound.largest + bound.norm) else NONE
    return known


def weights_of(graph: Graph, node: onnx.NodeProto) -> tuple[Float64, Float64 | None] | None:
    """Return (matrix [in, out], bias or None) of a product with constant weights on the right, float64; None for any other."""
    weight = graph.constant(node.input[1]) if len(node.input) > 1 else None
    if node.op_type not in ("Gemm", "MatMul") or weight is None or weight.ndim != 2 or attribute(node, "transA", 0):
        return None
    matrix = weight.astype(np.float64)
    if node.op_type == "MatMul":
        return matrix, None
    matrix = attribute(node, "alpha", 1.0) * (matrix.T if attribute(node, "transB", 0) else matrix)
    if len(node.input) < 3 or not node.input[2]:
        return matrix, None
    bias = graph.constant(node.input[2])
    if bias is None or bias.size not in (1, matrix.shape[1]):
        return None
    return matrix, np.broadcast_to(attribute(node, "beta", 1.0) * bias.astype(np.float64).reshape(-1), (matrix.shape[1],))


def _of_constant(value: Float64) -> Bound:
    wide = np.abs(value.astype(np.float64))
    if not value.size or not np.isfinite(wide).all():
        return NONE
    rows = wide.reshape(-1, value.shape[-1]) if value.ndim else wide.reshape(1, 1)
    return Bound(float(wide.max()), float(np.linalg.norm(rows, axis=1).max()))


def _product(graph: Graph, node: onnx.NodeProto, inputs: list[Bound]) -> Bound:
    found = weights_of(graph, node)
    if found is None or not all(np.isfinite(part).all() for part in found if part is not None) or not found[0].size:
        return NONE
    matrix, bias = found[0], np.zeros(found[0].shape[1]) if found[1] is None else found[1]
    source = inputs[0].within()
    columns = np.minimum(_times(np.abs(matrix).sum(axis=0), source.largest), _times(np.linalg.norm(matrix, axis=0), source.norm))
    norm = float(_times(float(np.linalg.norm(matrix, 2)), source.norm)) + float(np.linalg.norm(bias))
    return Bound(float((columns + np.abs(bias)).max()), min(norm, float(np.linalg.norm(columns + np.abs(bias)))))


def _times(sizes: NDArray[Any] | float, bound: float) -> Float64:
    """Return products in which 0 times infinity is 0: what a zero weight reads does not count."""
    wide = np.asarray(sizes, np.float64)
    return np.multiply(wide, bound, out=np.zeros_like(wide), where=wide != 0.0)


def _wide(graph: Graph, node: onnx.NodeProto) -> bool:
    """Return whether all inputs are known to have rows of the same length: a column that is spread over a row has no norm."""
    shapes = [graph.shape(name) for name in node.input]
    widths = {shape[-1] if shape else None for shape in shapes}
    return len(widths) == 1 and None not in widths


def _norm(graph: Graph, node: onnx.NodeProto, inputs: list[Bound]) -> Bound:
    weight = graph.constant(node.input[1])
    if weight is None or attribute(node, "axis", -1) not in (-1,) or weight.ndim != 1 or not weight.size:
        return NONE
    bias = inputs[2] if len(inputs) > 2 and node.input[2] else Bound(0.0, 0.0)
    root = math.sqrt(weight.size)  # the normalised row has at most this norm
    largest = float(np.abs(weight.astype(np.float64)).max())
    return Bound(root * largest + bias.largest, root * largest + bias.norm)


def _shrinking(graph: Graph, node: onnx.NodeProto, inputs: list[Bound]) -> Bound:
    if attribute(node, "alpha", 0.01) > 1.0 and node.op_type in ("LeakyRelu", "Elu"):
        return NONE
    return Bound(min(inputs[0].largest, 1.0), inputs[0].norm) if node.op_type == "Tanh" else inputs[0]


def _added(graph: Graph, node: onnx.NodeProto, inputs: list[Bound]) -> Bound:
    return Bound(sum(item.largest for item in inputs), sum(item.norm for item in inputs) if _wide(graph, node) else math.inf)


def _multiplied(graph: Graph, node: onnx.NodeProto, inputs: list[Bound]) -> Bound:
    one, other = inputs
    products = [float(_times(a, b)) for a, b in ((one.norm, other.largest), (other.norm, one.largest))]
    return Bound(float(_times(one.largest, other.largest)), min(products) if _wide(graph, node) else math.inf)


def _joined(graph: Graph, node: onnx.NodeProto, inputs: list[Bound]) -> Bound:
    return Bound(max(item.largest for item in inputs), math.sqrt(sum(item.norm**2 for item in inputs)))


def _rows(graph: Graph, node: onnx.NodeProto, inputs: list[Bound]) -> Bound:
    if node.op_type == "Slice":
        return inputs[0]
    shape = graph.shape(node.input[0])
    rows = attribute(node, "axis", 0) == 0 and shape is not None and len(shape) > 1
    return Bound(inputs[0].largest, inputs[0].norm if rows else math.inf)


RULES: Mapping[str, Rule] = {
    **dict.fromkeys(("Gemm", "MatMul"), _product),
    "LayerNormalization": _norm,
    **dict.fromkeys(SHRINKING, _shrinking),
    **dict.fromkeys(BELOW_ONE - {"Tanh"}, lambda graph, node, inputs: Bound(1.0, math.inf)),
    **dict.fromkeys(("Add", "Sub"), _added),
    "Mul": _multiplied,
    "Concat": _joined,
    **dict.fromkeys(("Gather", "Slice"), _rows),
}
"""Operators whose results are bounded by those of their inputs; all others have no bound."""
