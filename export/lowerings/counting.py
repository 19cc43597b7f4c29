"""A stable counting sort of edges by node: comparisons, gathers and additions; one scatter a pass moves each edge once.

Three bits of the node's number at a time. The place of an edge is the number of edges with a smaller digit, and of those with the
same one before it. They are counted in blocks of 32: within a block by doubling (1, 2, 4, 8, 16 rows back), over the blocks by
sums of 8 that are 1, 8, 64, … blocks apart. A row of zeros stands first and is read wherever there is nothing to read. No CumSum
(TensorRT 10.8 and newer may sum along another axis: NVIDIA/TensorRT issues 4551 and 4513; its parser's table has none of whole
numbers) and no Mod or division of values (TensorRT rounds quotients, as if in float32: issue 4702).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx

from trkx.export.lowerings.builder import Builder
from trkx.runtime.cuda.tensorrt.limits import LARGEST_HITS

BITS, PASSES = 3, 8
DIGITS = 2**BITS
HITS = LARGEST_HITS
"""2^(BITS PASSES): hits that the sort tells apart, 16.8 million; an index beyond fails as one beyond the last hit does."""
BLOCK, STEPS = 32, 5
SPAN, SPANS = 8, 7
"""Sums of SPAN blocks, SPANS times: 8^7 blocks of 32, 67 million edges."""
_INT32 = onnx.TensorProto.INT32


@dataclass(frozen=True)
class Plan:
    """Names of what all passes share. blocks: their number, int64 [1]. nothing: zeros, int32 [blocks, 1, DIGITS]. back: for each
    sum over blocks the rows that it takes, int32 [blocks + 1, SPAN].
    """

    blocks: str
    nothing: str
    back: tuple[str, ...]


def ordered(b: Builder, node: str) -> str:
    """Write the edges in order of their nodes, those of one node in the order in which they stand: int64 [E].

    Args:
        b: where to write.
        node: of each edge, int64 [E], from 0 to HITS - 1.
    """
    return b.cut(passes(b, node)[-1][0], b.constant([0]), b.length(node))


def passes(b: Builder, node: str) -> list[tuple[str, str]]:
    """Write pass after pass and return (order, places [blocks, BLOCK]) of each. Rows fill up the last block; as no digit is above
    theirs, they stay at the end.
    """
    one, edges = b.constant([1]), b.length(node)
    blocks = b("Add", b("Div", edges, b.constant([BLOCK])), one)
    rows = b("Mul", blocks, b.constant([BLOCK]))
    last = b("Expand", b.constant([HITS - 1], np.int32), b("Sub", rows, edges))
    keys = b("Concat", b("Cast", node, to=_INT32), last, axis=0)
    order = b("Range", b.constant(0), b("Squeeze", rows, b.constant([0])), b.constant(1))
    plan, found = _plan(b, blocks), []
    for digit in _digits(b, keys):
        places = _places(b, _one_hot(b, b("Gather", digit, order)), plan)
        order = b("ScatterElements", order, b("Reshape", places, b.constant([-1])), order, axis=0)
        found.append((order, places))
    return found


def _plan(b: Builder, blocks: str) -> Plan:
    one, zero = b.constant([1]), b.constant(0, np.int32)
    nothing = b("Expand", b.constant(np.zeros((1, 1, DIGITS)), np.int32), b("Concat", blocks, one, b.constant([DIGITS]), axis=0))
    above = b("Squeeze", b("Add", blocks, one), b.constant([0]))
    row = b("Unsqueeze", b("Cast", b("Range", b.constant(0), above, b.constant(1)), to=_INT32), one)
    back = [b("Max", b("Sub", row, b.constant([SPAN**step * np.arange(SPAN)], np.int32)), zero) for step in range(SPANS)]
    return Plan(blocks, nothing, tuple(back))


def _digits(b: Builder, keys: str) -> list[str]:
    """Write the digits of numbers below HITS, the lowest first, int32 [rows]: how often a unit fits, from the highest on."""
    found: list[str] = []
    for number in reversed(range(PASSES)):
        units = b.constant([DIGITS**number * np.arange(1, DIGITS)], np.int32)
        fits = b("Cast", b("LessOrEqual", units, b("Unsqueeze", keys, b.constant([1]))), to=_INT32)
        found.append(b("ReduceSum", fits, b.constant([1]), keepdims=0))
        if number:
            keys = b("Sub", keys, b("Mul", found[-1], b.constant(DIGITS**number, np.int32)))
    return found[::-1]


def _one_hot(b: Builder, digit: str) -> str:
    """Write a table with a 1 where a row has a digit, int32 [blocks, BLOCK, DIGITS]."""
    each = b.constant([np.arange(DIGITS)], np.int32)
    hot = b("Cast", b("Equal", b("Unsqueeze", digit, b.constant([1])), each), to=_INT32)
    return b("Reshape", hot, b.constant([-1, BLOCK, DIGITS]))


def _places(b: Builder, hot: str, plan: Plan) -> str:
    """Write the place of each row, int32 [blocks, BLOCK]."""
    within, column = b("Concat", plan.nothing, hot, axis=1), np.arange(BLOCK + 1)
    for step in range(STEPS):
        within = b("Add", within, b("Gather", within, b.constant(np.maximum(column - 2**step, 0)), axis=1))
    full = b("Gather", within, b.constant(BLOCK), axis=1)
    over = b("Concat", b.constant(np.zeros((1, DIGITS)), np.int32), full, axis=0)
    for back in plan.back:
        over = b("ReduceSum", b("Gather", over, back, axis=0), b.constant([1]), keepdims=0)
    count = b("Gather", over, b("Squeeze", plan.blocks, b.constant([0])), axis=0)
    smaller = b.constant(np.tril(np.ones((DIGITS, DIGITS)), -1), np.int32)
    start = b("ReduceSum", b("Mul", smaller, count), b.constant([1]), keepdims=0)
    before = b("Unsqueeze", b("Add", b.cut(over, b.constant([0]), b.constant([-1])), start), b.constant([1]))
    place = b("Add", before, b("Gather", within, b.constant(column[:-1]), axis=1))
    return b("ReduceSum", b("Mul", hot, place), b.constant([2]), keepdims=0)
