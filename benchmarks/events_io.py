"""How long it takes to read and write one event, by format: `python benchmarks/events_io.py [--hits N] [--json FILE]`.

The event is made up: `hits` hits, 10 hits a particle, 15 % noise, 3 cells a hit. Files are read warm, from the page cache.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from rich.console import Console
from rich.table import Table

from trkx.runtime.events import (
    Event,
    Particles,
    Truth,
    read_event,
    write_event_parquet,
    write_prototracks,
    write_trackml_submission,
    write_tracks_parquet,
)
from trkx.runtime.events.output import csv_bytes
from trkx.runtime.tracks import Tracks


def made_up(hits: int) -> Event:
    """Return an event of random hits with truth and particles."""
    rng = np.random.default_rng(1)
    count = hits // 10
    ids = np.arange(1, count + 1, dtype=np.int64) << 40
    particles = Particles(
        particle_id=ids,
        pdg=np.full(count, 211, np.int32),
        charge=np.ones(count, np.float32),
        vertex=rng.normal(0, 5, (count, 3)).astype(np.float32),
        momentum=rng.normal(0, 2, (count, 3)).astype(np.float32),
    )
    owner = np.where(rng.random(hits) < 0.15, 0, rng.choice(ids, hits))
    return Event(
        event_id=1,
        hit_id=np.arange(1, hits + 1, dtype=np.int64),
        position=rng.normal(0, 500, (hits, 3)).astype(np.float32),
        volume=rng.integers(7, 19, hits).astype(np.int32),
        layer=rng.integers(2, 14, hits).astype(np.int32),
        module=rng.integers(1, 3000, hits).astype(np.int32),
        cells={"cell_count": np.full(hits, 3, np.float32), "cell_val": rng.random(hits, np.float32)},
        truth=Truth(owner, rng.random(hits, np.float32), rng.random(hits, np.float32), particles),
    )


def trackml_files(event: Event) -> dict[str, bytes]:
    """Return hits, cells, truth and particles of an event in TrackML's columns."""
    assert event.truth is not None and event.truth.particles is not None
    made, at = event.truth.particles, {name: event.position[:, axis].copy() for axis, name in enumerate("xyz")}
    parts = {"volume_id": event.volume, "layer_id": event.layer, "module_id": event.module}
    truth = {"hit_id": event.hit_id, "particle_id": event.truth.particle_id, **{f"t{name}": at[name] for name in at}}
    cells = np.repeat(event.hit_id, 3)
    vectors = {f"v{name}": made.vertex[:, axis].copy() for axis, name in enumerate("xyz")}
    vectors |= {f"p{name}": made.momentum[:, axis].copy() for axis, name in enumerate("xyz")}
    columns: dict[str, dict[str, Any]] = {
        "hits": {"hit_id": event.hit_id, **at, **parts},
        "cells": {"hit_id": cells, "ch0": cells % 997, "ch1": cells % 1009, "value": (cells % 13 / 13).astype(np.float32)},
        "truth": {**truth, **{f"tp{name}": at[name] for name in at}, "weight": event.truth.weight},
        "particles": {"particle_id": made.particle_id, **vectors, "q": made.charge},
    }
    return {stem: csv_bytes(table) for stem, table in columns.items()}


def seconds(work: Callable[[], object], repeats: int) -> float:
    """Return the median wall time of `work`, after one run that does not count."""
    work()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def main() -> None:
    """Measure, print a table and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hits", type=int, default=100_000)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    event = made_up(options.hits)
    tracks = Tracks(1, event.hit_id, np.arange(len(event)) // 10, min_hits=3)
    results: dict[str, tuple[float, int]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = {stem: Path(name) / stem for stem in ("csv", "hits only", "gz", "parquet", "out")}
        for stem, data in trackml_files(event).items():
            for kind in ("csv", "gz", "hits only"):
                folder[kind].mkdir(exist_ok=True)
                if stem == "hits" or kind != "hits only":
                    path = folder[kind] / f"event000000001-{stem}.csv{'.gz' if kind == 'gz' else ''}"
                    path.write_bytes(gzip.compress(data, 6) if kind == "gz" else data)
        write_event_parquet(folder["parquet"], event)
        reads = {"TrackML CSV, hits": "hits only", "TrackML CSV, all four": "csv", "TrackML CSV.gz, all four": "gz"}
        reads |= {"Parquet": "parquet"}
        out, submission = folder["out"], folder["out"] / "submission" / "submission.csv"
        work: dict[str, tuple[Callable[[], object], str]] = {
            **{f"read {label}": (partial(read_event, folder[kind]), kind) for label, kind in reads.items()},
            "write Parquet event": (lambda: write_event_parquet(out / "event", event), "out/event"),
            "write TrackML submission": (lambda: write_trackml_submission(submission, [tracks]), "out/submission"),
            "write ACTS prototracks": (lambda: write_prototracks(out / "acts", event, tracks), "out/acts"),
            "write Parquet tracks": (lambda: write_tracks_parquet(out / "tracks", tracks), "out/tracks"),
        }
        for label, (action, where) in work.items():
            took = seconds(action, options.repeats)
            results[label] = took, sum(path.stat().st_size for path in (Path(name) / where).iterdir())
    machine = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, pyarrow {pa.__version__}"
    table = Table("what", "ms", "MB", title=f"{options.hits} hits, median of {options.repeats}", caption=machine)
    for label, (took, size) in results.items():
        table.add_row(label, f"{1e3 * took:.1f}", f"{size / 1e6:.2f}")
    Console().print(table)
    if options.json:
        rows = {label: {"seconds": took, "bytes": size} for label, (took, size) in results.items()}
        options.json.write_text(json.dumps({"machine": machine, "hits": options.hits, "results": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
