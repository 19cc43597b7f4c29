"""Which nodes of a float32 graph compute in half precision, and why the others do not.

Products of hidden values with constant weights do, and what stands between two of them: layer norms (whose statistics the
operator keeps in float32), activations, the sum of a split first layer, gathers of its parts. Everything else stays: raw
features and what is made of them before the first product, states and residual sums, sums over edges, and the last product,
which makes the logits.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray

from trkx.export.lint.walking import STANDARD, bodies_of, label, reads
from trkx.export.onnx_graph import Graph, attribute
from trkx.export.precision.bounds import NONE, SHRINKING, Bound, bounds_of, weights_of
from trkx.export.precision.table import HalfType, rounded

PRODUCTS = ("Gemm", "MatMul")
BETWEEN = SHRINKING | {"LayerNormalization", "Sigmoid", "Erf", "Mul", "Add", "Gather"}
"""Operators that may follow a half product in half precision, where only half operators read their result."""
SUMMED = frozenset((*PRODUCTS, "Add", "Gather", "Identity"))
"""What makes a term of a split first layer; an addition of anything else is a residual, which is a state."""
ROOM = 0.5
"""Share of the largest number that a value may reach by its bound: roundings come on top."""
AS_FAR = 1e38
"""A type that reaches about as far as float32 overflows where float32 does: no bound is asked for."""
FLOAT = onnx.TensorProto.FLOAT


@dataclass(frozen=True)
class Kept:
    """A product that stays float32, and why."""

    node: str
    why: str


@dataclass(frozen=True)
class Plan:
    """What a conversion will do.

    half: places in the graph's list of nodes that compute in half precision. products: how many of them are products.
    kept: products that stay. lost: weights that are subnormal in the type, in the products that are converted.
    """

    half: frozenset[int]
    products: int
    kept: tuple[Kept, ...]
    lost: int

    @property
    def note(self) -> str:
        """The plan in one sentence, for the manifest."""
        groups: dict[str, int] = {}
        for item in self.kept:
            groups[item.why] = groups.get(item.why, 0) + 1
        stay = "; ".join(f"{count} {why}" for why, count in groups.items()) or "none"
        subnormal = f"; {self.lost} converted weights are subnormal" if self.lost else ""
        of = f"{self.products} of {self.products + len(self.kept)} products"
        return f"{of} in half precision, in float32: {stay}{subnormal}"


def plan_of(graph: Graph, half: HalfType, room: float = ROOM) -> Plan:
    """Return what to convert in a float32 graph without local functions.

    graph: with inferred types and shapes. half: the type. room: share of its largest number that a value may reach by its bound.
    Deterministic: the same graph has the same plan.
    """
    bounds = bounds_of(graph) if half.largest < AS_FAR else None
    limit = room * half.largest
    raw, last = _raw(graph), _last(graph)
    products: set[int] = set()
    kept: list[Kept] = []
    lost = 0
    for place, node in enumerate(graph.nodes):
        if node.op_type not in PRODUCTS or graph.dtype(node.output[0]) != FLOAT:
            continue
        why, subnormal = _why_not(graph, node, half, limit, bounds, raw, last)
        if why:
            kept.append(Kept(label(node), why))
        else:
            products.add(place)
            lost += subnormal
    return Plan(frozenset(_closed(graph, products, half, limit, bounds)), len(products), tuple(kept), lost)


def _why_not(graph: Graph, node: onnx.NodeProto, half: HalfType, limit: float, bounds: dict[str, Bound] | None,
             raw: set[str], last: set[str]) -> tuple[str, int]:
    """Return ("", number of subnormal weights) of a product that can be converted, or why it can't."""
    if node.output[0] in last:
        return "make the output", 0
    if node.input[0] in raw or (graph.constant(node.input[0]) is not None):
        return "read raw features", 0
    found = weights_of(graph, node)
    if found is None:
        return "multiply two computed values", 0
    for values in found:
        problem = "" if values is None else unfit(values, half)
        if problem:
            return problem, 0
    if bounds is not None:
        if bounds.get(node.input[0], NONE).largest > limit:
            return f"read values that may pass {half.largest:.3g} (sums over edges, or no norm before)", 0
        if bounds[node.output[0]].largest > limit:
            return f"may make values beyond {half.largest:.3g}", 0
    return "", sum(int(((values != 0.0) & (np.abs(values) < half.smallest)).sum()) for values in found if values is not None)


def unfit(values: NDArray[np.float64], half: HalfType) -> str:
    """Return why weights [in, out] or [out] don't fit into a type, "" if they do.

    A weight that is subnormal there may be taken for 0 by an engine. That is no loss where it is small beside its column: as
    long as all such weights together change a column by less than the rounding of its other weights does.
    """
    if not np.isfinite(values).all():
        return "have weights that are NaN or infinite"
    if np.abs(values).max(initial=0.0) > half.largest or not np.isfinite(rounded(values, half)).all():
        return f"have weights beyond {half.largest:.3g}"
    columns = values if values.ndim == 2 else values.reshape(-1, 1)
    small = np.where(np.abs(columns) < half.smallest, columns, 0.0)
    if (np.linalg.norm(small, axis=0) > half.unit * np.linalg.norm(columns, axis=0)).any():
        return f"have weights that are subnormal in {half.name} and not small beside the others"
    return ""


def _raw(graph: Graph) -> set[str]:
    """Return the values that come from the inputs without a product before them."""
    raw = {value.name for value in graph.graph.input}
    for node in graph.nodes:
        if node.op_type not in PRODUCTS and any(name in raw for name in (*node.input, *_inside(node))):
            raw |= {name for name in node.output if graph.dtype(name) in (FLOAT, None)}
    return raw


def _last(graph: Graph) -> set[str]:
    """Return what makes the outputs: back from them to the first products, which belong to it."""
    waiting, seen = [value.name for value in graph.graph.output], set[str]()
    while waiting:
        name = waiting.pop()
        node = graph.producer(name)
        if name in seen or node is None:
            continue
        seen.add(name)
        if node.op_type not in PRODUCTS:
            waiting += [item for item in (*node.input, *_inside(node)) if item]
    return seen


def _inside(node: onnx.NodeProto) -> Iterator[str]:
    """Yield what the bodies of a node read from outside of it."""
    if any(True for _ in bodies_of(node)):
        yield from reads(node) - set(node.input)


def _closed(
    graph: Graph, products: set[int], half: HalfType, limit: float, bounds: dict[str, Bound] | None
) -> set[int]:
    """Return the products and what can be half between them: the largest set that reads and is read by nothing but itself."""
    outputs = {value.name for value in graph.graph.output}
    inner = {name for node in graph.nodes for name in _inside(node)}
    where = {name: place for place, node in enumerate(graph.nodes) for name in node.output if name}
    readers: dict[str, list[int]] = {}
    for place, node in enumerate(graph.nodes):
        for name in node.input:
            readers.setdefault(name, []).append(place)
    chosen = set(products)
    for place, node in enumerate(graph.nodes):
        name = node.output[0] if node.output else ""
        small = bounds is None or bounds.get(name, NONE).largest <= limit
        if node.op_type in BETWEEN and small and name not in outputs | inner and _allowed(graph, node, half):
            chosen.add(place)
    while True:
        bad = {
            place for place in chosen - products
            if not all(where.get(name) in chosen for name in data_inputs(graph, graph.nodes[place]))
            or not readers.get(graph.nodes[place].output[0])
            or not all(reader in chosen and _as_data(graph, graph.nodes[reader], graph.nodes[place].output[0])
                       for reader in readers[graph.nodes[place].output[0]])
        }
        if not bad:
            return chosen
        chosen -= bad


def data_inputs(graph: Graph, node: onnx.NodeProto) -> Sequence[str]:
    """Return the float inputs of a node that are computed: no constants, no indices."""
    names = node.input[:1] if node.op_type == "Gather" else node.input
    return [name for name in names if name and graph.constant(name) is None]


def _as_data(graph: Graph, node: onnx.NodeProto, name: str) -> bool:
    return name in data_inputs(graph, node)


def _allowed(graph: Graph, node: onnx.NodeProto, half: HalfType) -> bool:
    """Return whether a node may compute in half precision if all that it reads is half."""
    if node.domain not in STANDARD or any(graph.dtype(name) != FLOAT for name in node.output if name) or len(node.output) != 1:
        return False
    data = data_inputs(graph, node)
    constants = [graph.constant(name) for name in node.input if name and name not in data]
    flat = [None if value is None or value.dtype != np.float32 else value.astype(np.float64).reshape(-1) for value in constants]
    if not data:
        return False
    if node.op_type == "Gather":
        return bool(attribute(node, "axis", 0) == 0)
    if any(value is None or unfit(value, half) for value in flat):
        return False
    if node.op_type == "LayerNormalization":
        return len(data) == 1 and attribute(node, "stash_type", FLOAT) == FLOAT
    if node.op_type == "Add":  # not a residual: states are summed in float32
        makers = [graph.producer(name) for name in data]
        return all(maker is not None and maker.op_type in SUMMED for maker in makers)
    return True
