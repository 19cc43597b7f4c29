"""Padded gather without padding: nodes of equal degree are summed together, [nodes, degree, F] over the middle axis.

Once per graph, edges are ordered by the degree of their node, so that the edges of all nodes of one degree are one block and
its shape is exact. One pass over the messages then sums them: no [E, F] index, no atomics, the same order on every run and
for any number of threads. Nodes of more than WIDEST edges are summed in pieces of WIDEST, and the pieces in float64.
"""

from __future__ import annotations

from dataclasses import dataclass

import onnx

from trkx.export.lowerings.builder import Builder

WIDEST = 32
"""Largest degree with a block of its own. Tracking graphs have few nodes beyond."""
FEWEST = 64
"""Rows that a block with any rows is filled up to. ONNX Runtime sums fewer rows than it has threads in another order (seen in
1.32, 8 threads), so that the last bit would depend on the machine; with this it does not, up to 64 threads."""


@dataclass(frozen=True)
class Buckets:
    """Names of what all sums over one index share.

    blocks: edges of the nodes of degree 1, 2, …, WIDEST, int64 [rows, degree] ([nodes] for degree 1). isolated: number of
    nodes without edges, [1]. place: row of each node in what the blocks give, one below the other, [N]. hub_edges: edges of
    larger nodes, [H']. hub_slots: rows of hub_edges in each piece, [pieces, WIDEST], H' where there is none.
    hub_of_piece: [pieces]. hubs: number of larger nodes, [1].
    """

    blocks: tuple[str, ...]
    isolated: str
    place: str
    hub_edges: str
    hub_slots: str
    hub_of_piece: str
    hubs: str


def prepare(b: Builder, index: str, size: str) -> Buckets:
    """Write the ordering of edges. index: int64 [E]. size: number of nodes, int64 [1]."""
    edges, zero = b.length(index), b.constant([0])
    degree = b.degrees(index, size)
    kind = b("Min", degree, b.constant(WIDEST + 1))
    sorted_degree, by_degree = b.argsort(degree, size)
    rank = b.argsort(by_degree, size)[1]  # the inverse of a permutation
    sorted_rank, order = b.argsort(b("Gather", rank, index), edges)
    nodes = b.degrees(kind, b.constant([WIDEST + 2]))
    counts = b("Mul", b.cut(nodes, zero, b.constant([WIDEST + 1])), b.constant(range(WIDEST + 1)))
    start, end = b.running(counts)
    summed = b.constant([0, 0, *[1] * (WIDEST - 1), 0])  # degrees whose blocks are summed over: they must not be too small
    missing = b("Max", b("Sub", b.constant(FEWEST), nodes), b.constant(0))
    filling = b("Mul", b("Mul", missing, summed), b("Min", nodes, b.constant(1)))
    place = b("Add", rank, b("Gather", b.running(filling)[0], kind))
    blocks = []
    for width in range(1, WIDEST + 1):
        here, after = b.constant([width]), b.constant([width + 1])
        block = b.cut(order, b.cut(start, here, after), b.cut(end, here, after))
        if width > 1:
            rows = b("Reshape", block, b.constant([-1, width]))
            more = b("Concat", b.cut(filling, here, after), here, axis=0)
            block = b("Concat", rows, b("Expand", b.cut(rows, zero, b.constant([1])), more), axis=0)
        blocks.append(block)
    first = b.cut(end, b.constant([WIDEST]), b.constant([WIDEST + 1]))
    hubs = b.cut(nodes, b.constant([WIDEST + 1]), b.constant([WIDEST + 2]))
    hub_edges = b.cut(order, first, edges)
    first_hub = b("Sub", size, hubs)
    hub = b("Sub", b.cut(sorted_rank, first, edges), first_hub)
    hub_start, hub_end = b.running(b.cut(sorted_degree, first_hub, size))
    count = b.length(hub_edges)
    scalar = b("Squeeze", count, zero)
    number = b("Sub", b("Range", b.constant(0), scalar, b.constant(1)), b("Gather", hub_start, hub))
    begins = b("Equal", b("Mod", number, b.constant(WIDEST)), b.constant(0))
    piece = b("Squeeze", b("NonZero", begins), zero)
    hub_of_piece = b("Gather", hub, piece)
    slots = b("Add", b("Unsqueeze", piece, b.constant([1])), b.constant([range(WIDEST)]))
    inside = b("Less", slots, b("Unsqueeze", b("Gather", hub_end, hub_of_piece), b.constant([1])))
    hub_slots = b("Where", inside, slots, count)
    pieces = b.length(piece)
    more = b("Mul", b("Max", b("Sub", b.constant([FEWEST]), pieces), zero), b("Min", pieces, b.constant([1])))
    hub_slots = b("Concat", hub_slots, b("Expand", count, b("Concat", more, b.constant([WIDEST]), axis=0)), axis=0)
    hub_of_piece = b("Concat", hub_of_piece, b.whole(0, more), axis=0)  # pieces of nothing, for the first hub
    return Buckets(tuple(blocks), b.cut(nodes, zero, b.constant([1])), place, hub_edges, hub_slots, hub_of_piece, hubs)


def _reduced(b: Builder, p: Buckets, values: str, operation: str, empty: float, pieces_together: str) -> str:
    axis = b.constant([1])
    parts = [b.filled(empty, p.isolated, values), b("Gather", values, p.blocks[0], axis=0)]
    parts += [b(operation, b("Gather", values, block, axis=0), axis, keepdims=0) for block in p.blocks[1:]]
    hub_values = b("Concat", b("Gather", values, p.hub_edges, axis=0), b.filled(empty, axis, values), axis=0)
    pieces = b(operation, b("Gather", hub_values, p.hub_slots, axis=0), axis, keepdims=0)
    wide = b("Cast", pieces, to=onnx.TensorProto.DOUBLE)
    rows = b("Expand", b("Unsqueeze", p.hub_of_piece, axis), b("Shape", wide))
    hubs = b("ScatterElements", b.filled(empty, p.hubs, wide), rows, wide, axis=0, reduction=pieces_together)
    parts.append(b("CastLike", hubs, values))
    return b("Gather", b("Concat", *parts, axis=0), p.place, axis=0)


def total(b: Builder, prepared: Buckets, values: str) -> str:
    """Write the sums. values: float32 or float64 [E, F]. Returns [N, F], 0 for a node without edges."""
    return _reduced(b, prepared, values, "ReduceSum", 0.0, "add")


def largest(b: Builder, prepared: Buckets, values: str) -> str:
    """Write the largest values. values: float32 or float64 [E, F]. Returns [N, F], -infinity for a node without edges."""
    return _reduced(b, prepared, values, "ReduceMax", float("-inf"), "max")
