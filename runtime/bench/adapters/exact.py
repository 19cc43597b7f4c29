"""What makes the answers of other libraries comparable with ours: a radius that loses nothing, then our exact test."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from trkx.runtime.neighbours.exact import Int, Points, squared_distances


def enlarged(points: Points, radius: float) -> float:
    """Return a radius within which float32 arithmetic finds every pair at a distance of `radius` or less.

    A squared distance that is summed in float32, even as |a|^2 + |b|^2 - 2 a.b, is off by at most (D + 2) * eps / 2 times
    |a|^2 + |b|^2 + 2 |a| |b|, to first order; twice as much is allowed for here.
    """
    largest = float(np.einsum("nd,nd->n", points, points, dtype=np.float64).max(initial=0.0))
    slack = 4.0 * (points.shape[1] + 2) * float(np.finfo(np.float32).eps) * largest
    return math.sqrt(radius * radius + slack) * (1.0 + 1e-6)


def decided(points: Points, found: Int, radius: float) -> Int:
    """Return the pairs within the radius, int64 [2, E], row 0 below row 1 and sorted, as `radius_graph` does.

    found: pairs that a library found within an enlarged radius, int64 [2, M]: in both directions, or with the lower index first;
    a point may be its own neighbour.
    """
    pairs = found[:, found[0] < found[1]]
    pairs = pairs[:, squared_distances(points, pairs) <= radius * radius]
    key = np.sort(pairs[0] * len(points) + pairs[1])
    return np.stack(np.divmod(key, max(len(points), 1)))


def flat(neighbours: NDArray[np.object_] | list[Int]) -> Int:
    """Return pairs (point, neighbour), int64 [2, M], of one array of neighbours a point."""
    counts = np.fromiter((len(one) for one in neighbours), np.int64, len(neighbours))
    second = np.concatenate([np.empty(0, np.int64), *neighbours])
    return np.stack([np.repeat(np.arange(len(neighbours)), counts), second])
