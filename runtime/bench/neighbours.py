"""`trkx bench neighbours`: our grid and the libraries that people use, on embeddings of events in several sizes.

A library is timed for its own work (index, search, one array of pairs); that its pairs are ours is checked outside the clock. One
that takes longer than `SLOW` is measured once, in a process of its own that may be stopped; the others take turns in one process.
"""

from __future__ import annotations

import hashlib
import math
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from trkx.bundle import Bundle
from trkx.errors import SpecError, TrkxError, unknown_name
from trkx.runtime.bench.adapters import table
from trkx.runtime.bench.adapters.exact import decided
from trkx.runtime.bench.cases import OWN
from trkx.runtime.bench.child import TimeLimitError, run_fresh
from trkx.runtime.bench.measure import Timing, compare, growth, unavailable
from trkx.runtime.bench.options import Options
from trkx.runtime.bench.report import Row
from trkx.runtime.bench.sizes import events_of_sizes
from trkx.runtime.engines import open_engine
from trkx.runtime.events import open_events
from trkx.runtime.features import node_features
from trkx.runtime.neighbours import radius_graph
from trkx.runtime.neighbours.exact import Int, Points

GRID = OWN + "grid"
SLOW = 15.0
"""Seconds beyond which a case is run once."""
MOST_DOUBLINGS = 6


def known_cases() -> tuple[str, ...]:
    """Return the names of all cases."""
    return (GRID, *table.NEIGHBOURS)


def rows(options: Options) -> list[Row]:
    """Measure the neighbour search on the embedding of the first event in every size.

    Raises:
        BundleError, InputError, SpecError: of the bundle, the events, the options.
    """
    bundle = Bundle.open(options.needed_bundle())
    names = options.wanted(known_cases())
    event = open_events(list(options.needed_events()))[0].read()
    engine = open_engine("onnxruntime", bundle, options.threads)
    found: list[Row] = []
    for sized in events_of_sizes(event, options.sizes):
        points = engine.embed(node_features(sized, bundle.spec.features))
        found += measured(points, bundle.spec.needed_graph().radius, names, options)
    return found


def measured(points: Points, radius: float, names: tuple[str, ...], options: Options) -> list[Row]:
    """Return the rows of one set of points, float32 [N, D]."""
    graph = f"{len(points):,} hits, {points.shape[1]} axes, radius {radius:g}"
    alone: dict[str, dict[str, Any]] = {}
    timings: dict[str, Timing] = {}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "points.npy"
        np.save(file, points)
        for name in (GRID, *(name for name in names if name != GRID)):
            options.tell(f"neighbours: {graph}, {name} alone")
            given = {"points": str(file), "radius": radius, "name": name, "threads": options.threads}
            try:
                if name != GRID:
                    table.NEIGHBOURS[name].required()
                alone[name] = _alone(given, alone.get(GRID), options)
            except TimeLimitError:
                timings[name] = unavailable(name, f"longer than {options.limit:g} s")
            except TrkxError as error:
                timings[name] = unavailable(name, str(error))
    options.tell(f"neighbours: {graph}, in turn")
    quick = {name: search(name, points, radius, options.threads, one["tuned"]) for name, one in alone.items()
             if one["seconds"] <= SLOW and name in names}
    peaks = {name: one["peak"] if options.memory else None for name, one in alone.items()}
    for name, timing in compare(quick, options.rounds).items():
        timings[name] = Timing(name, timing.seconds, timing.warm_up, peaks[name], timing.note)
    for name in (name for name in names if name in alone and name not in quick):
        timings[name] = Timing(name, (alone[name]["seconds"],), math.nan, peaks[name], "run once, by itself")
    return [_row(graph, points, name, timings[name], alone.get(name), alone.get(GRID)) for name in names]


def _alone(given: dict[str, Any], ours: dict[str, Any] | None, options: Options) -> dict[str, Any]:
    """Return what a fresh process measured; what is tuned on a sample is doubled until no pair is lost."""
    function = "trkx.runtime.bench.neighbours:alone_here"
    found: dict[str, Any] = run_fresh(function, given, options.limit, options.threads)
    for _ in range(MOST_DOUBLINGS):
        if found["tuned"] is None or ours is None or found["pairs"] >= ours["pairs"]:
            break
        found = run_fresh(function, given | {"tuned": 2 * found["tuned"]}, options.limit, options.threads)
    return found


def _row(
    graph: str, points: Points, name: str, timing: Timing, one: dict[str, Any] | None, ours: dict[str, Any] | None
) -> Row:
    facts: dict[str, Any] = {}
    sizes = {"hits": len(points)}
    if one is not None and timing.available:
        facts = {"pairs": one["pairs"], "ns/pair": 1e9 * timing.median / max(one["pairs"], 1)}
        sizes["edges"] = one["pairs"]
        if ours is not None and name != GRID:
            same = one["digest"] == ours["digest"]
            facts["same pairs"] = same
            if not same:
                facts["pairs lost"] = ours["pairs"] - one["pairs"]
        if one["tuned"] is not None:
            facts["cells looked at"] = one["tuned"]
    return Row(graph, sizes, timing, name == GRID, facts=facts)


def search(name: str, points: Points, radius: float, threads: int, tuned: int | None = None) -> Callable[[], Int]:
    """Return a call of one case on some points; `tuned` is what `alone_here` tuned it to.

    Raises:
        SpecError: no such case.
        MissingExtraError: its library is not installed.
    """
    if name == GRID:
        return lambda: radius_graph(points, radius, threads=threads).pairs
    if name not in table.NEIGHBOURS:
        raise SpecError(unknown_name("case", name, known_cases()))
    find: Callable[..., Int] = table.NEIGHBOURS[name].opened()
    return partial(find, points, radius, threads, *(() if tuned is None else (tuned,)))


def alone_here(points: str, radius: float, name: str, threads: int, tuned: int | None = None) -> dict[str, Any]:
    """Run one case once in this process, after a few points to load and compile what it needs.

    points: file of float32 [N, D]. Returns seconds; pairs, their number after the exact test; digest of them; peak, the bytes
    that the process grew by; tuned, what was given or tuned before the clock ran, or None.
    """
    cloud: Points = np.load(points)
    few = cloud[:200]
    if tuned is None and name != GRID:
        tuned = table.tuned(name, cloud, radius, threads)
    search(name, few, radius, threads, None if tuned is None else 1)()
    call = search(name, cloud, radius, threads, tuned)
    with growth() as grown:
        start = time.perf_counter()
        found = call()
        seconds = time.perf_counter() - start
    pairs = found if name == GRID else decided(cloud, found, radius)
    digest = hashlib.sha256(np.ascontiguousarray(pairs, np.int64).tobytes()).hexdigest()
    return {"seconds": seconds, "pairs": int(pairs.shape[1]), "digest": digest, "peak": grown.bytes, "tuned": tuned}
