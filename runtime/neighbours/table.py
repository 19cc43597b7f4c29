"""The backends of the neighbour search, and the one door to them."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import numpy as np
from numpy.typing import NDArray

from trkx.errors import SpecError, unknown_name
from trkx.runtime.neighbours.exact import Int, Points
from trkx.runtime.neighbours.sense import not_finite, require_sense, require_size

MAX_PAIRS = 100_000_000

Search = Callable[[Points, float, int | None, int, int | None], tuple[Int, int]]

# name -> module with `search(points, radius, k_max, max_pairs, threads) -> (pairs, truncated)`
BACKENDS = {
    "grid": "trkx.runtime.neighbours.grid",
    "kdtree": "trkx.runtime.neighbours.kdtree",
    "brute": "trkx.runtime.neighbours.brute",
}


@dataclass(frozen=True)
class Pairs:
    """Neighbours within a radius.

    pairs: int64 [2, E], row 0 below row 1, each unordered pair once, sorted by (row 0, row 1).
    truncated: number of hits that had more than k_max neighbours, 0 without k_max.
    """

    pairs: NDArray[np.int64]
    truncated: int = 0


def radius_graph(
    points: NDArray[np.float32],
    radius: float,
    k_max: int | None = None,
    backend: str = "grid",
    threads: int | None = None,
    max_pairs: int = MAX_PAIRS,
) -> Pairs:
    """Return all pairs of points at a distance of `radius` or less: exact, and the same on every backend and thread count.

    Args:
        points: embedding, float32 [N, D], D from 1 to 32, finite, no coordinate beyond +-1e15.
        radius: in units of the embedding, at most 1e15; a pair at exactly this distance counts (float64 sum of squares of float32
            coordinates, compared with radius * radius).
        k_max: a pair stays if at least one of its hits counts the other among its nearest k_max (ties by lower index);
            None keeps all.
        backend: "grid" (Numba, the fast one), "kdtree" (scipy) or "brute" (numpy, N * N).
        threads: worker threads, None for one per core; only the grid uses more than one.
        max_pairs: InputError beyond so many pairs (before k_max), rather than running out of memory.

    Raises:
        InputError: points that are not finite or not [N, 1..32], a coordinate or radius beyond 1e15, or too many pairs.
        SpecError: an unknown backend, a radius that is not above 0, a k_max below 1.
    """
    points = checked_points(points, radius, k_max, backend)
    if len(points) < 2:
        return Pairs(np.empty((2, 0), np.int64))
    search = cast(Search, importlib.import_module(BACKENDS[backend]).search)
    return Pairs(*search(points, float(radius), k_max, max_pairs, threads))


def checked_points(points: NDArray[np.float32], radius: float, k_max: int | None, backend: str) -> Points:
    """Return the points, contiguous; raises as `radius_graph` where they or the settings make no sense."""
    if backend not in BACKENDS:
        raise SpecError(unknown_name("neighbour backend", backend, BACKENDS))
    require_sense(points.shape, radius, k_max, "neighbour search")
    points = np.ascontiguousarray(points, np.float32)
    bad = ~np.isfinite(points).all(axis=1)
    if bad.any():
        raise not_finite(int(bad.sum()), len(points), int(bad.argmax()), "neighbour search")
    require_size(float(np.abs(points).max(initial=0.0)), radius, "neighbour search")
    return points
