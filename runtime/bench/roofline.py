"""What the machine can do: measured rates of float32 matrix products and of copies, in a process of their own."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np

from trkx.runtime.bench.child import run_fresh
from trkx.runtime.bench.measure import NotHereError
from trkx.runtime.crew import Crew
from trkx.runtime.tiled.product import product_of

SHAPES = ((1024, 1024, 1024), (2048, 2048, 2048), (3072, 3072, 3072), (16384, 512, 512), (65536, 128, 128), (1024, 192, 64))
"""m, k, n of the products [m, k] x [k, n]: large squares, layers of networks on many rows, and a tile that stays in cache."""
COPIED = 1 << 28
"""Bytes of the array that is copied: 256 MiB, beyond every last-level cache that this is run on."""

Maker = Callable[[Any, Any], Callable[[], object]]
"""Takes two matrices, returns the function that multiplies them."""


@dataclass(frozen=True)
class Rates:
    """Best rates that were measured, all threads together.

    gemm: float32 additions and multiplications of matrix products, 1/s. copy: bytes read plus bytes written, 1/s. gemm_by:
    what reached the first, in words. details: library and shape to its best rate. without: library that could not be
    measured to why.
    """

    gemm: float
    copy: float
    gemm_by: str
    details: dict[str, float]
    without: dict[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain containers, ready for JSON."""
        return asdict(self)


def measured_rates(threads: int, seconds: float = 4.0) -> Rates:
    """Measure the rates in a fresh process with so many threads; takes about `seconds`, and what torch takes to load."""
    found = run_fresh("trkx.runtime.bench.roofline:rates_here", {"threads": threads, "seconds": seconds}, threads=threads)
    return Rates(**found)


def rates_here(threads: int, seconds: float) -> dict[str, Any]:
    """Measure in this process: numpy's products with the threads that its BLAS was started with, torch's, ours, and copies."""
    with Crew(threads) as crew:
        return _rates({"numpy": _numpy_product, "trkx": partial(product_of, crew=crew)}, threads, seconds)


def _rates(makers: dict[str, Maker], threads: int, seconds: float) -> dict[str, Any]:
    without: dict[str, str] = {}
    try:
        from trkx.runtime.bench import torch_peers

        makers["torch"] = torch_peers.product_of(threads)
    except (ImportError, NotHereError) as error:  # the others say what the machine can do
        without["torch"] = str(error)
    share = seconds / ((len(SHAPES) * len(makers)) + 1)
    details: dict[str, float] = {}
    for library, maker in makers.items():
        for m, k, n in SHAPES:
            rng = np.random.default_rng(0)
            a, b = rng.random((m, k), np.float32), rng.random((k, n), np.float32)
            details[f"{library} {m} x {k} x {n}"] = 2.0 * m * k * n / best(maker(a, b), share)
    name = max(details, key=lambda key: details[key])
    return asdict(Rates(details[name], copy_rate(threads, share), name, details, without))


def best(call: Callable[[], object], seconds: float) -> float:
    """Return the shortest time of a call, repeated for so many seconds, at least three times; a first call is not counted."""
    call()
    shortest, stop, count = float("inf"), time.perf_counter() + seconds, 0
    while count < 3 or time.perf_counter() < stop:
        start = time.perf_counter()
        call()
        shortest = min(shortest, time.perf_counter() - start)
        count += 1
    return shortest


def copy_rate(threads: int, seconds: float, size: int = COPIED) -> float:
    """Return bytes read and written per second, when threads copy equal parts of an array of `size` bytes, as STREAM's copy."""
    source, target = np.ones(size // 8), np.zeros(size // 8)
    bounds = np.linspace(0, len(source), threads + 1).astype(np.int64)
    parts = [slice(int(a), int(b)) for a, b in pairwise(bounds)]
    with ThreadPoolExecutor(threads) as pool:  # numpy copies without the GIL
        taken = best(lambda: list(pool.map(lambda part: np.copyto(target[part], source[part]), parts)), seconds)
    return 2.0 * source.nbytes / taken


def _numpy_product(a: Any, b: Any) -> Callable[[], object]:
    out = np.empty((a.shape[0], b.shape[1]), np.float32)
    return lambda: np.matmul(a, b, out=out)
