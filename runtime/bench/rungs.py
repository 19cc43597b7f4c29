"""The stages of the ladder, each by each means, measured in a process of its own that does nothing else."""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from trkx.backends import require
from trkx.bundle import Bundle
from trkx.runtime.bench.adapters.labels import renumbered
from trkx.runtime.bench.adapters.table import DBSCAN, LABELLING, NEIGHBOURS
from trkx.runtime.bench.graphs import candidates, filtered
from trkx.runtime.bench.measure import growth
from trkx.runtime.edge_features import edge_features
from trkx.runtime.edges import oriented
from trkx.runtime.engines import Engine, open_engine
from trkx.runtime.events import Event, open_events
from trkx.runtime.features import node_features
from trkx.runtime.neighbours import radius_graph
from trkx.runtime.pipeline import CHUNK, Pipeline
from trkx.runtime.tracks import Tracks
from trkx.spec import PipelineSpec, logit_of_cut

STAGES = ("data loading", "embedding", "build edges", "filtering", "GNN", "labelling")
PARTS = {"features": "data loading", "embedding": "embedding", "graph": "build edges", "filter": "filtering", "gnn": "GNN"}
"""Stage of our pipeline to that of the ladder; those not named here keep their name."""
PARQUET, EAGER, BFLOAT16, GRID = "Parquet", "torch eager", "torch eager, bfloat16 autocast", "grid"
WARM = 64  # hits of the first, untimed call
OUR_ENGINE = "tiled"
"""Engine of the last rung."""
PATIENCE = 10.0
"""Seconds after which a stage is not repeated."""
Came = int | NDArray[np.integer]
"""What came out of a stage: how many hits or edges, or the label of each hit."""
Work = Callable[[Event, dict[str, NDArray[Any]]], Came]


def prepare(bundle: Bundle, event: Event, file: Path, threads: int) -> None:
    """Write what the stages are given, the same by whatever means: points, candidates, filtered edges, the GNN's logits."""
    engine = open_engine("onnxruntime", bundle, threads)
    x = node_features(event, bundle.spec.features)
    offered = candidates(bundle.spec, engine, event, threads).edge_index
    graph = filtered(bundle.spec, engine, event, threads)
    logits = engine.gnn(graph.x, graph.edge_index, graph.edge_attr)
    np.savez(file, x=x, points=engine.embed(x), candidates=offered, edges=graph.edge_index, logits=logits)


def small(event: Event, bundle: Bundle) -> tuple[Event, dict[str, NDArray[Any]]]:
    """Return a few hits of an event, and stage inputs for them, to warm up on."""
    few = Event(event.event_id, event.hit_id[:WARM], event.position[:WARM],
                cells={name: values[:WARM] for name, values in event.cells.items()})
    count = len(few)
    x, edges = node_features(few, bundle.spec.features), np.stack([np.arange(count - 1), np.arange(1, count)])
    points = np.random.default_rng(0).normal(size=(count, bundle.spec.width("embedding"))).astype(np.float32)
    return few, {"x": x, "points": points, "candidates": edges, "edges": edges, "logits": np.full(count - 1, 20.0, np.float32)}


def required(stage: str, means: str) -> None:
    """Raise MissingExtraError if what a stage needs is not installed; imports nothing."""
    if means in (EAGER, BFLOAT16):
        require("engine", "eager")
    elif stage == "build edges" and means in NEIGHBOURS:
        NEIGHBOURS[means].required()
    elif stage == "labelling" and means in (DBSCAN.name, *LABELLING):
        (DBSCAN if means == DBSCAN.name else LABELLING[means]).required()


def stage_here(stage: str, means: str, bundle: str, event: str, inputs: str, threads: int, rounds: int) -> dict[str, Any]:
    """Measure one stage by one means in this process.

    Returns seconds (up to `rounds`, fewer once they take long), warm_up (s), peak_bytes (largest size of the process during the
    first), out (number of hits, edges or tracks that came out).

    Raises:
        MissingExtraError: what it needs is not installed.
        TrkxError: as of the stage.
    """
    opened = Bundle.open(bundle)
    start = time.perf_counter()
    work = work_of(opened, stage, means, Path(event), threads)
    hits = open_events([Path(event)])[0].read()
    work(*small(hits, opened))
    warm = time.perf_counter() - start
    with np.load(inputs) as held:
        given = {name: held[name] for name in _NEEDS[stage]}
    seconds: list[float] = []
    with growth() as grown:
        came = _timed(work, hits, given, seconds)
    while len(seconds) < rounds and sum(seconds) < PATIENCE:
        _timed(work, hits, given, seconds)
    return {"seconds": seconds, "warm_up": warm, "peak_bytes": grown.highest, "out": counted(came, hits, opened.spec)}


def whole_here(bundle: str, event: str, engine: str, threads: int, rounds: int) -> dict[str, Any]:
    """Measure our whole pipeline in this process: name of stage to what `stage_here` returns for one."""
    pipeline = Pipeline.open(bundle, engine=engine, threads=threads)
    start = time.perf_counter()
    pipeline.warm_up()
    open_events([Path(event)])[0].read()
    warm = time.perf_counter() - start
    seconds: dict[str, list[float]] = {}
    outs: dict[str, int] = {}
    peak, spent, count = 0, 0.0, 0
    while count < rounds and spent < PATIENCE:
        with growth() as grown:
            start = time.perf_counter()
            hits = open_events([Path(event)])[0].read()
            once = {"data loading": time.perf_counter() - start}
            for part in pipeline.run(hits).stages:
                name = PARTS.get(part.name, part.name)
                once[name] = once.get(name, 0.0) + part.seconds
                outs[name] = part.count_out
        peak = max(peak, grown.highest or 0)
        for name, value in once.items():
            seconds.setdefault(name, []).append(value)
        spent, count = spent + sum(once.values()), count + 1
    common = {"warm_up": warm, "peak_bytes": peak or None}
    return {name: {"seconds": values, "out": outs[name]} | common for name, values in seconds.items()}


def _timed(work: Work, event: Event, given: dict[str, NDArray[Any]], seconds: list[float]) -> Came:
    start = time.perf_counter()
    came = work(event, given)
    seconds.append(time.perf_counter() - start)
    return came


def counted(came: Came, event: Event, spec: PipelineSpec) -> int:
    """Return how many hits, edges or tracks came out: of labels those with at least the hits of a track, as our pipeline does.

    Labels may be numbered in any way; each hit below 0 (noise of DBSCAN) is on its own.
    """
    if isinstance(came, int):
        return came
    return Tracks(event.event_id, event.hit_id, renumbered(came), spec.labelling.min_hits).num_tracks


_NEEDS = {"data loading": (), "embedding": ("x",), "build edges": ("points",), "filtering": ("x", "candidates"),
          "GNN": ("x", "edges"), "labelling": ("edges", "logits")}


def work_of(bundle: Bundle, stage: str, means: str, event: Path, threads: int) -> Work:
    """Return the work of one stage: (event, inputs) to what comes out."""
    spec = bundle.spec
    if stage == "data loading":
        return lambda hits, given: len(node_features(open_events([event])[0].read(), spec.features))
    if stage == "build edges":
        return _build(means, spec.needed_graph().radius, threads)
    if stage == "labelling":
        return _label(means, spec)
    engine = _engine(bundle, means, threads)
    if stage == "embedding":
        return lambda hits, given: len(engine.embed(given["x"]))
    return partial(_filter if stage == "filtering" else _gnn, spec, engine)


def _engine(bundle: Bundle, means: str, threads: int) -> Engine:
    if means == EAGER:
        return open_engine("eager", bundle, threads)
    if means == BFLOAT16:
        module = importlib.import_module("trkx.runtime.bench.adapters.autocast")
        return cast(Callable[[Bundle, int], Engine], module.open_engine)(bundle, threads)
    return open_engine(means, bundle, threads)


def _build(means: str, radius: float, threads: int) -> Work:
    if means == GRID:
        return lambda hits, given: int(radius_graph(given["points"], radius, threads=threads).pairs.shape[1])
    find = NEIGHBOURS[means].opened()

    def work(hits: Event, given: dict[str, NDArray[Any]]) -> Came:
        found = find(given["points"], radius, threads)
        return int(found[:, found[0] < found[1]].shape[1])

    return work


def _filter(spec: PipelineSpec, engine: Engine, hits: Event, given: dict[str, NDArray[Any]]) -> int:
    """Filter the candidates as the pipeline does: in chunks, with the direction that is wanted."""
    cut, direction = logit_of_cut(spec.needed_cut("filter")), spec.needed_graph().direction
    offered = given["candidates"]
    together = spec.filter is not None and spec.filter.looks_at_all_rows
    step = max(offered.shape[1], 1) if together else CHUNK
    kept = [np.empty((2, 0), np.int64)]
    for start in range(0, offered.shape[1], step):
        edges = oriented(offered[:, start : start + step], hits.position, direction)
        kept.append(edges[:, engine.filter(given["x"], edges) > cut])
    return int(np.concatenate(kept, axis=1).shape[1])


def _gnn(spec: PipelineSpec, engine: Engine, hits: Event, given: dict[str, NDArray[Any]]) -> int:
    x, edges = given["x"], given["edges"]
    more = [edge_features(spec, x, edges)] if spec.edge_features else []
    return int(np.count_nonzero(engine.gnn(x, edges, *more) > logit_of_cut(spec.needed_cut("gnn"))))


def _label(means: str, spec: PipelineSpec) -> Work:
    cut = spec.needed_cut("gnn")
    if means == DBSCAN.name:
        cluster = DBSCAN.opened()

        def work(hits: Event, given: dict[str, NDArray[Any]]) -> Came:
            score = 1.0 / (1.0 + np.exp(-given["logits"].astype(np.float64)))
            return cast(Came, cluster(given["edges"], score, len(hits), cut))

        return work
    find = LABELLING[means].opened()
    return lambda hits, given: find(given["edges"][:, given["logits"] > logit_of_cut(cut)], len(hits))

