"""Segmented sums in blocks of 32 rows, after a counting sort: gathers, comparisons and additions, nothing that needs a plug-in.

TensorRT sorts at most 3840 elements, adds by scatter only in a plug-in, and takes no shape that depends on values. So edges are
ordered by a counting sort (`trkx.export.lowerings.counting`). Then every row of a block of 32 adds up those of its node before it
(1, 2, 4, 8, 16 rows back: pairwise, deterministic). The last row of each block makes a row of the next level, which is summed
likewise; five levels hold LARGEST rows. A node's sum is its last row's, and what the levels above bring up to the block before.
All shapes follow from N and E alone. Nothing but lengths is divided: quotients may be rounded (NVIDIA/TensorRT issue 4702).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx

from trkx.export.lowerings.builder import Builder
from trkx.export.lowerings.counting import HITS, ordered
from trkx.runtime.cuda.tensorrt.limits import LARGEST_EDGES

BLOCK = 32
STEPS = (1, 2, 4, 8, 16)
LEVELS = 5
LARGEST = LARGEST_EDGES
"""30 blocks on the last of LEVELS: edges that five levels certainly hold, 31 million; with more the last level's Reshape fails,
and no sum comes out."""
_SEARCH = 25
"""Halvings that find a place among LARGEST rows."""


@dataclass(frozen=True)
class Level:
    """Names of one level. rows: row of the level below that each place takes, [blocks, 32]. same: for each step, whether the row
    that many before is of the same node, [blocks, 32, 1]. pick: row that a node reads, [N]; read: whether it does, [N, 1].
    """

    rows: str
    same: tuple[str, ...]
    pick: str
    read: str


@dataclass(frozen=True)
class Segments:
    """Names of what all sums over one index share: its levels, the edges' own first."""

    levels: tuple[Level, ...]


def prepare(b: Builder, index: str, size: str) -> Segments:
    """Write the ordering of edges. index: int64 [E]. size: number of nodes, int64 [1]."""
    zero, one, edges = b.constant([0]), b.constant([1]), b.length(index)
    few = b("Squeeze", b("Min", size, b.constant([HITS])), zero)
    known = b("Range", b.constant(0), few, b.constant(1))
    index = b("Reshape", index, b.constant([-1]))  # says that there is one axis, even where no inference does
    node = b("Gather", known, b.counted_from_zero(index, size))  # fails where a scatter would
    order = ordered(b, node)
    keys = b("Gather", node, order)
    nodes = b("Range", b.constant(0), b("Squeeze", size, zero), b.constant(1))
    end = _ends(b, keys, nodes, edges)
    last = b("Gather", b("Concat", b.constant([-1]), keys, axis=0), end)
    read, pick = b("Equal", last, nodes), b("Max", b("Sub", end, b.constant(1)), b.constant(0))
    sources = b("Concat", order, edges, axis=0)  # row E of the values is an empty one, which stands for all that is missing
    keys, length, levels = b("Concat", keys, b.constant([-1]), axis=0), b("Add", edges, one), []
    for number in range(LEVELS):
        blocks = b("Add", b("Div", length, b.constant([BLOCK])), one)
        places = b("Range", b.constant(0), b("Squeeze", b("Mul", blocks, b.constant([BLOCK])), zero), b.constant(1))
        taken = b("Min", places, b("Sub", length, one))
        grid = b.constant([1 if number == LEVELS - 1 else -1, BLOCK])
        inside = b("Less", places, length)
        own = b("Reshape", b("Where", inside, b("Gather", keys, taken), b.constant(-1)), grid)
        rows = b("Reshape", b("Gather", sources, taken) if number == 0 else taken, grid)
        levels.append(Level(rows, _same(b, own), pick, b("Unsqueeze", read, one)))
        keys, length = b("Gather", own, b.constant(BLOCK - 1), axis=1), blocks
        above = b("Gather", _blocks_before(b, blocks), pick)
        there = b("And", read, b("Less", b.constant(-1), above))
        pick = b("Max", above, b.constant(0))
        read = b("And", there, b("Equal", b("Gather", keys, pick), nodes))
    return Segments(tuple(levels))


def _blocks_before(b: Builder, blocks: str) -> str:
    """Write the number of the block before that of each row, -1 in the first: int64 [blocks BLOCK]."""
    count = b("Squeeze", b("Sub", blocks, b.constant([1])), b.constant([0]))
    number = b("Unsqueeze", b("Range", b.constant(-1), count, b.constant(1)), b.constant([1]))
    return b("Reshape", b("Expand", number, b("Concat", blocks, b.constant([BLOCK]), axis=0)), b.constant([-1]))


def _ends(b: Builder, keys: str, nodes: str, edges: str) -> str:
    """Write how many edges belong to each node or one before it, [N], by halving."""
    beyond = b("Concat", keys, b.constant([np.iinfo(np.int32).max]), axis=0)
    end = b("Mul", nodes, b.constant(0))
    for step in reversed(range(_SEARCH)):
        there = b("Min", b("Add", end, b.constant(2**step - 1)), edges)
        within = b("LessOrEqual", b("Gather", beyond, there), nodes)
        end = b("Where", within, b("Add", there, b.constant(1)), end)
    return end


def _same(b: Builder, keys: str) -> tuple[str, ...]:
    place = np.arange(BLOCK)
    found = []
    for step in STEPS:
        other = b("Gather", keys, b.constant(np.maximum(place - step, 0)), axis=1)
        alike = b("And", b("Equal", keys, other), b.constant(place >= step, bool))
        found.append(b("Unsqueeze", alike, b.constant([2])))
    return tuple(found)


def _reduced(b: Builder, p: Segments, values: str, together: str, empty: float, kind: int) -> str:
    nothing = b.constant(empty, onnx.helper.tensor_dtype_to_np_dtype(kind))
    one = b.constant([1])
    rows = b("Concat", values, b("Expand", nothing, b("Concat", one, b("Shape", values, start=1), axis=0)), axis=0)
    flat = b("Concat", b.constant([-1]), b("Shape", values, start=1), axis=0)
    place, result = np.arange(BLOCK), ""
    for number, level in enumerate(p.levels):
        block = b("Gather", rows, level.rows, axis=0)
        for step, same in zip(STEPS, level.same, strict=True):
            other = b("Gather", block, b.constant(np.maximum(place - step, 0)), axis=1)
            block = b(together, block, b("Where", same, other, nothing))
        part = b("Where", level.read, b("Gather", b("Reshape", block, flat), level.pick, axis=0), nothing)
        result = b(together, result, part) if result else part
        if number < LEVELS - 1:
            rows = b("Gather", block, b.constant(BLOCK - 1), axis=1)
    return result


def total(b: Builder, prepared: Segments, values: str, kind: int = onnx.TensorProto.FLOAT) -> str:
    """Write the sums. values: [E, F] of element type `kind`. Returns [N, F], 0 for a node without edges."""
    return _reduced(b, prepared, values, "Add", 0.0, kind)


def largest(b: Builder, prepared: Segments, values: str, kind: int = onnx.TensorProto.FLOAT) -> str:
    """Write the largest values. values: [E, F]. Returns [N, F], -infinity for a node without edges."""
    return _reduced(b, prepared, values, "Max", float("-inf"), kind)
