"""`trkx bench pipeline`: hits to tracks, ours and what a careful user would assemble, each in processes of its own."""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from trkx.bundle import Bundle
from trkx.errors import TrkxError
from trkx.runtime.bench.assembled import run_assembled
from trkx.runtime.bench.cases import OUR_ENGINES, OWN, device_cases, engine_and_precision, is_ours, own_cases
from trkx.runtime.bench.child import TimeLimitError, run_fresh
from trkx.runtime.bench.differences import differences
from trkx.runtime.bench.measure import NotHereError, Timing, growth, unavailable
from trkx.runtime.bench.options import Options
from trkx.runtime.bench.report import Row
from trkx.runtime.bench.sizes import events_of_sizes
from trkx.runtime.cuda.engines.table import DEVICE_ENGINES
from trkx.runtime.events import Event, open_events, write_event_parquet
from trkx.runtime.pipeline import Pipeline

ASSEMBLED = "assembled, torch's defaults"
MENDED = "assembled, exports mended"
"""As a peer of our networks: `trkx.runtime.bench.ort_peer`. Tracks are compared with those of this one: the other's are wrong."""
TOTAL = "all stages"


Models = dict[str, str] | str
"""Stage to the file of torch's export, or why there is none."""


def known_cases() -> tuple[str, ...]:
    """Return the names of all cases; those on a GPU are measured where there is one, or if they are asked for."""
    return (*own_cases(OUR_ENGINES), *device_cases(), ASSEMBLED, MENDED)


def rows(options: Options) -> list[Row]:
    """Measure the pipeline of a bundle on the first event in every size, stage by stage.

    Every round of every case is a fresh process that runs a made-up event first, so that peak memory is the case's own: the
    largest size of the process during the run. The cases take turns.

    Raises:
        BundleError, InputError, SpecError: of the bundle, the events, the options.
    """
    bundle = Bundle.open(options.needed_bundle())
    absent = () if options.peers else {*device_cases()} - {*device_cases(here=True)}
    names = tuple(name for name in options.wanted(known_cases()) if name not in absent)
    event = open_events(list(options.needed_events()))[0].read()
    found: list[Row] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        options.tell("pipeline: torch's own exports")
        models = {name: _models(bundle.path, folder, name == MENDED) for name in (ASSEMBLED, MENDED) if name in names}
        for number, sized in enumerate(events_of_sizes(event, options.sizes)):
            place = folder / str(number)
            write_event_parquet(place, sized)
            found += _event_rows(bundle, sized, place, models, names, options)
    return found


def _models(bundle: Path, folder: Path, mended: bool) -> Models:
    """Return the files of torch's exports, or why there are none."""
    try:
        given = {"bundle": str(bundle), "folder": str(folder), "mended": mended}
        models: dict[str, str] = run_fresh("trkx.runtime.bench.torch_peers:export_plain", given)
    except TrkxError as error:
        return str(error)
    return models


def _event_rows(
    bundle: Bundle, event: Event, folder: Path, models: dict[str, Models], names: tuple[str, ...], options: Options
) -> list[Row]:
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    why: dict[str, str] = {}
    for turn in range(options.rounds):
        for name in names:
            if name in why:
                continue
            options.tell(f"pipeline: {len(event):,} hits, {name}, round {turn + 1}")
            try:
                runs[name].append(_one_run(bundle, folder, name, models, options))
            except TimeLimitError:
                why[name] = f"longer than {options.limit:g} s"
            except TrkxError as error:
                why[name] = str(error)
    kept = {name: folder / f"{names.index(name)}.npz" for name in names if name not in why and name != ASSEMBLED}
    for name, path in kept.items():
        options.tell(f"pipeline: {len(event):,} hits, {name}, its edges")
        try:
            _one_run(bundle, folder, name, models, options, path)
        except TrkxError as error:  # larger and slower than what was timed, which stands without it
            options.tell(f"{name}: tracks are not compared: {error}")
    facts = {}
    if MENDED in kept:
        own = {name.removeprefix(OWN): path for name, path in kept.items() if name.startswith(OWN)}
        facts = differences(bundle, event, folder, kept[MENDED], own, options)
    graph = f"{len(event):,} hits"
    found = []
    stages = next((list(one[0]["stages"]) for one in runs.values() if one), [])
    edges = next((one[0]["candidates"] for one in runs.values() if one), 0)
    for stage in (*stages, TOTAL):
        for name in names:
            own_case = name.startswith(OWN)
            timing = unavailable(name, why[name]) if name in why else _timing(name, runs[name], stage)
            more = facts.get(name.removeprefix(OWN), {}) if own_case and stage == TOTAL else {}
            sizes = {"hits": len(event), "edges": edges}
            found.append(Row(f"{graph}: {stage}", sizes, timing, is_ours(name), facts=more, series=stage))
    return found


def _timing(name: str, runs: list[dict[str, Any]], stage: str) -> Timing:
    if stage == TOTAL:
        seconds = tuple(sum(run["stages"].values()) for run in runs)
        return Timing(name, seconds, max(run["warm_up"] for run in runs), max(run["peak_bytes"] for run in runs))
    return Timing(name, tuple(run["stages"][stage] for run in runs), math.nan, None)


def _one_run(
    bundle: Bundle, folder: Path, name: str, models: dict[str, Models], options: Options, keep: Path | None = None
) -> dict[str, Any]:
    given: dict[str, Any] = {"bundle": str(bundle.path), "event": str(folder), "threads": options.threads,
                             "keep": None if keep is None else str(keep)}
    if name in models:
        files = models[name]
        if isinstance(files, str):
            raise NotHereError(files)
        function, given = "assembled_here", given | {"models": files}
    else:
        function, given = "ours_here", given | {"engine": name.removeprefix(OWN)}
    run: dict[str, Any] = run_fresh(f"trkx.runtime.bench.whole:{function}", given, options.limit, options.threads)
    return run


def ours_here(bundle: str, event: str, engine: str, threads: int, keep: str | None) -> dict[str, Any]:
    """Run our pipeline in this process: seconds of stages, peak memory (on a GPU: its own). `keep`: a file for labels, edges."""
    name, precision = engine_and_precision(engine)
    pipeline = Pipeline.open(bundle, name, threads=threads, precision=precision)
    hits = open_events([Path(event)])[0].read()
    warm = _seconds(pipeline.warm_up)
    with growth() as grown:
        tracks = pipeline.run(hits, keep_graphs=keep is not None)
    if keep is not None:
        graphs = {name: tracks.graphs[name] for name in ("filter", "gnn") if name in tracks.graphs}
        np.savez(keep, allow_pickle=False, label=tracks.label, tracks=tracks.num_tracks, **graphs)
    candidates = next(stage.count_out for stage in tracks.stages if stage.name == "graph")
    return {"stages": {stage.name: stage.seconds for stage in tracks.stages}, "warm_up": warm, "candidates": candidates,
            "peak_bytes": max(stage.peak_bytes for stage in tracks.stages) if name in DEVICE_ENGINES else grown.highest or 0}


def assembled_here(bundle: str, event: str, models: dict[str, str], threads: int, keep: str | None) -> dict[str, Any]:
    """Run the assembled pipeline in this process; as `ours_here`, and keeps logits near the cuts as well."""
    spec = Bundle.open(bundle).spec
    return run_assembled(spec, models, open_events([Path(event)])[0].read(), threads, keep)


def _seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start
