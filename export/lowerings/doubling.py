"""Segmented doubling: each edge adds the one 1, 2, 4, … rows on, if it belongs to the same node; no scatter of values.

Sums are pairwise: the most accurate of all (rounding grows with the logarithm of the degree), and free of atomics on any
device; slower, since every step passes over all edges. The number of steps follows from the largest degree of the graph at
hand.
"""

from __future__ import annotations

from dataclasses import dataclass

import onnx
from onnx import helper

from trkx.export.lowerings.builder import Builder

LARGEST_STEP = 62


@dataclass(frozen=True)
class Steps:
    """Names of what all sums over one index share.

    order: of the edges by node, [E]. node: of each ordered edge, [E]. row: first edge of each node, E for a node without, [N].
    steps: number of doublings, a scalar.
    """

    order: str
    node: str
    row: str
    steps: str


def prepare(b: Builder, index: str, size: str) -> Steps:
    """Write the ordering of edges. index: int64 [E]. size: number of nodes, int64 [1]."""
    edges, zero = b.length(index), b.constant([0])
    node, order = b.argsort(b.counted_from_zero(index, size), edges)
    degree = b.degrees(index, size)
    row = b("Where", b("Greater", degree, b.constant(0)), b.running(degree)[0], edges)
    most = b("ReduceMax", b("Concat", degree, zero, axis=0), zero, keepdims=1)
    powers = b.constant([2**step for step in range(LARGEST_STEP)])
    needed = b("Cast", b("Less", powers, most), to=onnx.TensorProto.INT64)
    return Steps(order, node, row, b("ReduceSum", needed, zero, keepdims=0))


def _reduced(b: Builder, p: Steps, values: str, together: str, empty: float, kind: int) -> str:
    body = Builder(b.name("body"))
    step, before = body.name("step"), body.name("values")
    count = body.length(p.node)
    shifted = body("Add", body("Range", body.constant(0), body("Squeeze", count, body.constant([0])), body.constant(1)), step)
    there = body("Min", shifted, body("Sub", count, body.constant(1)))
    same = body("And", body("Less", shifted, count), body("Equal", body("Gather", p.node, there), p.node))
    other = body("Where", body("Unsqueeze", same, body.constant([1])), body("Gather", before, there, axis=0),
                 body("CastLike", body.constant(empty, float), before))
    after, twice = body(together, before, other), body("Add", step, step)
    going = body("Identity", "going_in")
    int64, boolean = onnx.TensorProto.INT64, onnx.TensorProto.BOOL
    graph = helper.make_graph(
        body.nodes,
        b.name("doubling"),
        [
            helper.make_tensor_value_info(body.name("iteration"), int64, []),
            helper.make_tensor_value_info("going_in", boolean, []),
            helper.make_tensor_value_info(before, kind, None),
            helper.make_tensor_value_info(step, int64, [1]),
        ],
        [
            helper.make_tensor_value_info(going, boolean, []),
            helper.make_tensor_value_info(after, kind, None),
            helper.make_tensor_value_info(twice, int64, [1]),
        ],
        body.initializers,
    )
    ordered = b("Gather", values, p.order, axis=0)
    summed = b.many("Loop", 2, p.steps, b.constant(True, bool), ordered, b.constant([1]), body=graph)[0]
    return b("Gather", b("Concat", summed, b.filled(empty, b.constant([1]), values), axis=0), p.row, axis=0)


def total(b: Builder, prepared: Steps, values: str, kind: int = onnx.TensorProto.FLOAT) -> str:
    """Write the sums. values: [E, F] of element type `kind`. Returns [N, F], 0 for a node without edges."""
    return _reduced(b, prepared, values, "Add", 0.0, kind)


def largest(b: Builder, prepared: Steps, values: str, kind: int = onnx.TensorProto.FLOAT) -> str:
    """Write the largest values. values: [E, F]. Returns [N, F], -infinity for a node without edges."""
    return _reduced(b, prepared, values, "Max", float("-inf"), kind)
