"""Differences of a running sum in float64: two passes, any degrees, but one NaN or infinity spreads to all nodes after it.

The running sum grows over all edges: in float32 it is wrong in the third digit at 2e4 edges, and TensorRT computes float64
in float32. So this one is for engines with real float64 only.
"""

from __future__ import annotations

from dataclasses import dataclass

import onnx

from trkx.export.lowerings.builder import Builder


@dataclass(frozen=True)
class Runs:
    """Names of what all sums over one index share: order of the edges by node, [E]; first and last row of each node, [N]."""

    order: str
    start: str
    end: str


def prepare(b: Builder, index: str, size: str) -> Runs:
    """Write the ordering of edges. index: int64 [E]. size: number of nodes, int64 [1]."""
    order = b.argsort(b.counted_from_zero(index, size), b.length(index))[1]
    return Runs(order, *b.running(b.degrees(index, size)))


def total(b: Builder, prepared: Runs, values: str) -> str:
    """Write the sums. values: float32 [E, F]. Returns [N, F], 0 for a node without edges."""
    wide = b("Cast", b("Gather", values, prepared.order, axis=0), to=onnx.TensorProto.DOUBLE)
    sums = b("CumSum", b("Concat", b.filled(0.0, b.constant([1]), wide), wide, axis=0), b.constant(0))
    difference = b("Sub", b("Gather", sums, prepared.end, axis=0), b("Gather", sums, prepared.start, axis=0))
    return b("CastLike", difference, values)
