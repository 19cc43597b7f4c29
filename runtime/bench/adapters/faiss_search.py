"""Neighbours by range search of faiss: a flat index tests every pair, an inverted file those of near cells."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from trkx.runtime.bench.adapters.exact import enlarged
from trkx.runtime.neighbours.exact import Int, Points

SAMPLE = 2000
"""Queries on which the number of cells is tuned."""


def find_flat(points: Points, radius: float, threads: int) -> Int:
    """Return pairs in both directions, with each point as its own neighbour, int64 [2, M]: IndexFlatL2."""
    import faiss

    with _threads(threads):
        index = faiss.IndexFlatL2(points.shape[1])
        index.add(points)
        return _searched(index, points, enlarged(points, radius))


def find_ivf(points: Points, radius: float, threads: int, cells: int) -> Int:
    """Return pairs as `find_flat`, with the points in sqrt(N) cells of which the nearest `cells` are looked at: IndexIVFFlat."""
    with _threads(threads):
        index = _inverted(points)
        index.nprobe = cells
        return _searched(index, points, enlarged(points, radius))


def tuned_cells(points: Points, radius: float, threads: int) -> int:
    """Return the smallest number of cells, a power of two, that loses no neighbour of an evenly spread sample of points."""
    import faiss

    sample = points[:: max(1, len(points) // SAMPLE)]
    reach = enlarged(points, radius)
    with _threads(threads):
        exact = faiss.IndexFlatL2(points.shape[1])
        exact.add(points)
        wanted = _searched(exact, sample, reach).shape[1]
        index = _inverted(points)
        cells = 1
        while cells < index.nlist:
            index.nprobe = cells
            if _searched(index, sample, reach).shape[1] >= wanted:
                break
            cells *= 2
        return min(cells, int(index.nlist))


def _inverted(points: Points):  # type: ignore[no-untyped-def]  # noqa: ANN202 - a class of faiss
    import faiss

    count = max(1, math.isqrt(len(points)))
    coarse = faiss.IndexFlatL2(points.shape[1])
    index = faiss.IndexIVFFlat(coarse, points.shape[1], count)
    index.cp.min_points_per_centroid = 1  # no word about small events on stderr
    index.train(points)
    index.add(points)
    return index


def _searched(index, queries: Points, reach: float) -> Int:  # type: ignore[no-untyped-def]  # noqa: ANN001
    limits, _, found = index.range_search(queries, float(reach * reach))
    return np.stack([np.repeat(np.arange(len(queries)), np.diff(limits.astype(np.int64))), found])


@contextmanager
def _threads(threads: int) -> Iterator[None]:
    import faiss

    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(threads)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)
