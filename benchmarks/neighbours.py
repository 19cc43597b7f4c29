"""Grid search against scipy's cKDTree.query_pairs (and brute force, where it is affordable), in the same run.

    python benchmarks/neighbours.py --points embedding.npy --radius 0.1
    python benchmarks/neighbours.py --bundle BUNDLE --events EVENTS

Prints medians, ratios and whether the pairs are the same; how many distances the grid evaluates, the time for each and the
rate of its arithmetic (3 operations an axis) against a float32 matrix product in the same run; writes JSON with machine and
versions. Asserts no time. (`trkx bench neighbours` has more peers.)
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numba
import numpy as np
import scipy
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from trkx.runtime.crew import available_cores
from trkx.runtime.neighbours import pair_stream, radius_graph
from trkx.runtime.neighbours.work import search_work
from trkx.runtime.pipeline import Pipeline

Points = NDArray[np.float32]


def made_up(count: int, seed: int = 0) -> Points:
    """Return a made-up embedding, float32 [count, 8], of unit length: helix hits in ten layers, mapped smoothly."""
    rng = np.random.default_rng(seed)
    layers = np.array([32.0, 72, 116, 172, 260, 360, 500, 660, 820, 1020])
    tracks = -(-count // len(layers))
    bend = rng.choice([-1.0, 1.0], tracks) * 0.6 / 2 / (rng.exponential(0.6, tracks) + 0.15)
    phi = rng.uniform(-np.pi, np.pi, tracks)[:, None] + np.arcsin(np.clip(layers / 1e3 * bend[:, None], -1, 1))
    slope = np.sinh(rng.uniform(-2.5, 2.5, tracks))[:, None]
    radius = np.broadcast_to(layers, phi.shape)
    z = radius * slope + rng.normal(0, 50, (tracks, 1))
    features = np.stack([radius / 1e3, np.cos(phi), np.sin(phi), z / 1e3, np.arcsinh(z / radius)], axis=-1)
    features = features.reshape(-1, 5)[:count]
    weights = np.random.default_rng(7)  # the network is the same for every event
    hidden = np.tanh(features @ weights.normal(0, 1.2, (5, 64)) + weights.normal(0, 0.5, 64))
    place = np.tanh(hidden @ weights.normal(0, 0.19, (64, 64))) @ weights.normal(0, 1, (64, 8))
    points: Points = (place / np.linalg.norm(place, axis=1, keepdims=True)).astype(np.float32)
    return points


def timed(function: Callable[[], Any], rounds: int) -> tuple[list[float], Any]:
    """Return the seconds of each round, and the last result."""
    seconds = []
    for _ in range(rounds):
        start = time.perf_counter()
        result = function()
        seconds.append(time.perf_counter() - start)
    return seconds, result


def streamed(points: Points, radius: float, threads: int) -> list[int]:
    """Search task by task, unsorted, as the pipeline does; return the pairs of each task."""
    stream = pair_stream(points, radius, threads=threads)
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(lambda task: stream.pairs(task).shape[1], range(stream.tasks)))


def gemm_rate(size: int = 2048, rounds: int = 5) -> float:
    """Return the best rate of a float32 matrix product, in Gflop/s."""
    matrix = np.random.default_rng(0).random((size, size), np.float32)
    seconds, _ = timed(lambda: matrix @ matrix, rounds)
    return 2e-9 * size**3 / min(seconds)


def compare(name: str, points: Points, radius: float, rounds: int, threads: int) -> dict[str, Any]:
    """Return what was measured on one set of points."""
    wide = points.astype(np.float64)
    radius_graph(points, radius, threads=threads)  # compile, and meet memory that the machine has not lent before
    runs: dict[str, list[float]] = {}
    tree_runs: list[float] = []
    grid_runs: list[float] = []
    for _ in range(rounds):  # in turn, so that both meet the same load
        seconds, grid = timed(lambda: radius_graph(points, radius, threads=threads).pairs, 1)
        grid_runs += seconds
        seconds, found = timed(lambda: cKDTree(wide).query_pairs(radius, output_type="ndarray"), 1)
        tree_runs += seconds
    runs["grid"], runs["cKDTree.query_pairs"] = grid_runs, tree_runs
    stream_runs, tasks = timed(lambda: streamed(points, radius, threads), rounds)
    runs["grid, streamed"] = stream_runs
    count = len(points)
    same = sum(tasks) == grid.shape[1]
    same = same and np.array_equal(np.sort(found.min(axis=1) * count + found.max(axis=1)), grid[0] * count + grid[1])
    if count <= 20_000:
        runs["brute"], brute = timed(lambda: radius_graph(points, radius, backend="brute").pairs, 1)
        same = same and np.array_equal(brute, grid)
    median = {what: statistics.median(seconds) for what, seconds in runs.items()}
    work = search_work(points, radius)
    product = gemm_rate()
    rates = {
        what: {
            "ns_per_distance": 1e9 * median[what] / work.distances,
            "gflops": 3e-9 * points.shape[1] * work.distances / median[what],
            "of_gemm": 3e-9 * points.shape[1] * work.distances / median[what] / product,
        }
        for what in ("grid", "grid, streamed")
    }
    return {
        "distances": work.distances, "gemm_gflops": product, "rates": rates,
        "name": name, "hits": count, "dim": points.shape[1], "radius": radius, "pairs": grid.shape[1], "same_pairs": bool(same),
        "seconds": runs, "median": median, "ratio": median["cKDTree.query_pairs"] / median["grid"],
    }


def main() -> None:
    """Run the comparison and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=Path, nargs="*", default=[], help="embeddings, .npy, float32 [N, D]")
    parser.add_argument("--bundle", type=Path, help="embed the hits of --events with this bundle")
    parser.add_argument("--events", type=Path, nargs="*", default=[])
    parser.add_argument("--radius", type=float, help="default: the bundle's, or 0.1")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=available_cores())
    parser.add_argument("--out", type=Path, default=Path("neighbours.json"))
    given = parser.parse_args()
    clouds = {str(path): np.load(path) for path in given.points}
    radius = given.radius
    if given.bundle:
        from trkx.runtime.events import open_events
        from trkx.runtime.features import node_features

        pipeline = Pipeline.open(given.bundle, threads=given.threads)
        radius = radius or pipeline.spec.needed_graph().radius
        for source in open_events(given.events):
            clouds[f"event {source.event_id}"] = pipeline.engine.embed(node_features(source.read(), pipeline.spec.features))
    if not clouds:
        clouds = {f"made up, {count} hits": made_up(count) for count in (10_000, 35_000, 130_000)}
    results = []
    for name, points in clouds.items():
        results.append(compare(name, points, radius or 0.1, given.rounds, given.threads))
        last = results[-1]
        times = ", ".join(f"{what} {seconds:.3f} s" for what, seconds in last["median"].items())
        verdict = "same pairs" if last["same_pairs"] else "PAIRS DIFFER"
        print(f"{name}: {last['hits']:,} hits, {last['pairs']:,} pairs, {times}; grid is {last['ratio']:.1f} x faster, {verdict}")
        for what, rate in last["rates"].items():
            print(
                f"  {what}: {last['distances'] / 1e6:.1f} M distances, {rate['ns_per_distance']:.2f} ns each, "
                f"{rate['gflops']:.1f} Gflop/s, {rate['of_gemm']:.1%} of a matrix product's {last['gemm_gflops']:.0f}"
            )
    machine = {
        "processor": platform.processor() or platform.machine(), "cores": available_cores(), "threads": given.threads,
        "python": platform.python_version(), "numpy": np.__version__, "scipy": scipy.__version__, "numba": numba.__version__,
    }
    given.out.write_text(json.dumps({"machine": machine, "results": results}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
