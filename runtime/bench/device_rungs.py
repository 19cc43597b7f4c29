"""The stages of the ladder on a GPU, each by each means, measured in a process of its own that does nothing else."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray

from trkx.backends import require
from trkx.bundle import Bundle
from trkx.runtime.bench.adapters.table import DBSCAN
from trkx.runtime.bench.device_graphs import EXACT_ENGINE, stages_of
from trkx.runtime.bench.device_measure import DeviceUse, timed
from trkx.runtime.bench.rungs import PARQUET, PARTS, PATIENCE, counted, small
from trkx.runtime.cuda.adapters.components import renumbered
from trkx.runtime.cuda.adapters.exact import enlarged
from trkx.runtime.cuda.adapters.table import LABELLING, NEIGHBOURS
from trkx.runtime.cuda.components import components_cuda
from trkx.runtime.cuda.engines.base import DeviceEngine
from trkx.runtime.cuda.engines.table import device_of, open_device_engine
from trkx.runtime.cuda.neighbours import radius_graph_cuda
from trkx.runtime.cuda.on_host import current
from trkx.runtime.edge_features import edge_features
from trkx.runtime.events import Event, open_events
from trkx.runtime.features import node_features
from trkx.runtime.neighbours.table import MAX_PAIRS
from trkx.runtime.pipeline import Pipeline
from trkx.spec import PipelineSpec, logit_of_cut

EAGER, AMP, TRITON, OUR_ENGINE = "torch eager", "torch eager, float16 autocast", "trkx, Triton", "triton"
PRECISION = {EAGER: "fp32", AMP: "fp16"}

Given = dict[str, torch.Tensor]
Labels = Callable[[], NDArray[np.integer]]
Came = int | Labels
"""What came out of a stage: how many hits or edges, or what turns its labels into an array on the host."""
Work = Callable[[Event, Given], Came]


def prepare(bundle: Bundle, event: Event, file: Path, device: str) -> None:
    """Write what the stages are given, the same by whatever means."""
    np.savez(file, **cast("dict[str, Any]", stages_of(bundle, event, device_of(device)).arrays()))


def required(stage: str, means: str, device: str) -> None:
    """Raise MissingExtraError if what a stage needs is not installed; imports none of it."""
    gpu = device != "cpu"
    if not stage:
        require("engine", OUR_ENGINE, gpu=gpu)
    elif means in PRECISION:
        require("engine", EXACT_ENGINE, gpu=gpu)
    elif stage == "build edges" and means in NEIGHBOURS:
        NEIGHBOURS[means].required()
    elif stage == "labelling" and means in (DBSCAN.name, *LABELLING):
        (DBSCAN if means == DBSCAN.name else LABELLING[means]).required()


def stage_here(
    stage: str, means: str, bundle: str, event: str, inputs: str, threads: int, rounds: int, device: str
) -> dict[str, Any]:
    """Measure one stage by one means in this process.

    A few hits first, then all of them once to see the memory; then rounds, with inputs that are on the device already.

    Returns seconds (up to `rounds`, fewer once they take long), warm_up (s), peak_bytes (most that torch gave out; None on the
    CPU), used_bytes (most in use on the device), out (number of hits, edges or tracks that came out).

    Raises:
        MissingExtraError, NotHereError: what it needs is not installed, or can't do it.
        TrkxError: as of the stage.
    """
    opened, place = Bundle.open(bundle), device_of(device)
    spec = opened.spec
    with current(place):
        start = time.perf_counter()
        work = work_of(opened, stage, means, Path(event), place)
        few, values = small(open_events([Path(event)])[0].read(), opened)
        if spec.edge_features:
            values["edge_attr"] = edge_features(spec, values["x"], values["edges"])
        work(few, _on(place, values))
        warm = time.perf_counter() - start
        hits = open_events([Path(event)])[0].read()
        with np.load(inputs) as held:
            given = _on(place, {name: held[name] for name in _NEEDS[stage]})
        with DeviceUse(place) as use:
            came = work(hits, given)
        out = counted(came if isinstance(came, int) else came(), hits, spec)
        del came
        seconds: list[float] = []
        while len(seconds) < rounds and sum(seconds) < PATIENCE:
            seconds.append(timed(place, partial(work, hits, given))[1])
    return {"seconds": seconds, "warm_up": warm, "peak_bytes": use.allocated, "used_bytes": use.used, "out": out}


def whole_here(bundle: str, event: str, engine: str, threads: int, rounds: int, device: str) -> dict[str, Any]:
    """Measure our whole pipeline on a device in this process: name of stage to what `stage_here` returns for one."""
    place = device_of(device)
    pipeline = Pipeline.open(bundle, engine=engine, threads=threads, device=device)
    start = time.perf_counter()
    pipeline.warm_up()
    hits = open_events([Path(event)])[0].read()
    warm = time.perf_counter() - start
    peaks: dict[str, int] = {}
    with DeviceUse(place) as use:
        for part in pipeline.run(hits).stages:
            name = PARTS.get(part.name, part.name)
            peaks[name] = max(peaks.get(name, 0), part.peak_bytes)
    seconds: dict[str, list[float]] = {}
    outs: dict[str, int] = {}
    spent, count = 0.0, 0
    while count < rounds and spent < PATIENCE:
        hits, reading = timed(place, lambda: open_events([Path(event)])[0].read())
        once = {"data loading": reading}
        for part in pipeline.run(hits).stages:
            name = PARTS.get(part.name, part.name)
            once[name] = once.get(name, 0.0) + part.seconds
            outs[name] = part.count_out
        for name, value in once.items():
            seconds.setdefault(name, []).append(value)
        spent, count = spent + sum(once.values()), count + 1
    common = {"warm_up": warm, "used_bytes": use.used}
    return {
        name: {"seconds": values, "out": outs[name], "peak_bytes": peaks.get(name)} | common for name, values in seconds.items()
    }


_NEEDS = {"data loading": (), "embedding": ("x",), "build edges": ("points",), "filtering": ("x", "candidates"),
          "GNN": ("x", "edges", "edge_attr"), "labelling": ("edges", "logits")}


def _on(device: torch.device, values: dict[str, NDArray[Any]]) -> Given:
    return {name: torch.from_numpy(np.ascontiguousarray(value)).to(device) for name, value in values.items()}


def work_of(bundle: Bundle, stage: str, means: str, event: Path, device: torch.device) -> Work:
    """Return the work of one stage: (event, inputs) to what comes out."""
    spec = bundle.spec
    if stage == "data loading":
        if means != PARQUET:
            raise AssertionError(means)
        return lambda hits, given: len(
            torch.from_numpy(node_features(open_events([event])[0].read(), spec.features)).to(device)
        )
    if stage == "build edges":
        return _build(means, spec.needed_graph().radius)
    if stage == "labelling":
        return _label(means, spec)
    engine = open_device_engine(EXACT_ENGINE, bundle, device, PRECISION[means])
    if stage == "embedding":
        return lambda hits, given: len(engine.embed(given["x"]))
    return partial(_filter if stage == "filtering" else _gnn, spec, engine)


def _build(means: str, radius: float) -> Work:
    if means == TRITON:
        return lambda hits, given: int(radius_graph_cuda(given["points"], radius).pairs.shape[1])
    find = NEIGHBOURS[means].opened()

    def work(hits: Event, given: Given) -> Came:
        found = find(given["points"], enlarged(given["points"], radius), MAX_PAIRS)
        return int(found[:, found[0] < found[1]].shape[1])

    return work


def _filter(spec: PipelineSpec, engine: DeviceEngine, hits: Event, given: Given) -> int:
    """Filter candidates that have their direction already."""
    logits = engine.edge_filter(given["x"])(given["candidates"])
    return int(given["candidates"][:, logits > logit_of_cut(spec.needed_cut("filter"))].shape[1])


def _gnn(spec: PipelineSpec, engine: DeviceEngine, hits: Event, given: Given) -> int:
    attributes = given["edge_attr"] if spec.edge_features else None
    return int((engine.gnn(given["x"], given["edges"], attributes) > logit_of_cut(spec.needed_cut("gnn"))).sum())


def _label(means: str, spec: PipelineSpec) -> Work:
    cut = spec.needed_cut("gnn")
    if means == DBSCAN.name:
        cluster = DBSCAN.opened()

        def work(hits: Event, given: Given) -> Came:
            score = given["logits"].to(torch.float64).sigmoid().cpu().numpy()
            label = cast("NDArray[np.integer]", cluster(given["edges"].cpu().numpy(), score, len(hits), cut))
            return lambda: label

        return work
    find = None if means == TRITON else LABELLING[means].opened()

    def components(hits: Event, given: Given) -> Came:
        edges = given["edges"][:, given["logits"] > logit_of_cut(cut)]
        if find is None:
            label = components_cuda(edges, len(hits))
            return lambda: cast("NDArray[np.integer]", label.cpu().numpy())
        found = find(edges, len(hits))
        return lambda: cast("NDArray[np.integer]", renumbered(found, len(hits)).cpu().numpy())

    return components
