"""Events per second of the C++ program and of Python, on the same events in the same run, and whether their tracks are the same.

    python benchmarks/cpp_throughput.py BUNDLE --onnx BUILD [--torch BUILD] [--half BUNDLE] [--aoti BUNDLE] --out FILE.json

BUILD: folders of `cmake --build` with ONNX Runtime and with libtorch. Cases take turns, each in a process of its own; times are
of the events, read from CSV, after one pass that does not count. Tracks are compared with those of Python's engine onnxruntime: a
hit is the same if its track has the same hits. Asserts no time.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from trkx.runtime.bench.child import run_fresh
from trkx.runtime.bench.machine import machine_facts
from trkx.runtime.crew import available_cores
from trkx.runtime.events import open_events, write_trackml_submission
from trkx.runtime.events.output import csv_bytes
from trkx.runtime.many import track_in_threads
from trkx.runtime.pipeline import Pipeline

EVENTS = Path(__file__).parents[1] / "tests" / "data" / "pileup50"
THREADS = (1, 2, 4)
HALF = "filter=fp16,gnn=fp16"
REFERENCE = "Python onnxruntime"


@dataclass(frozen=True)
class Case:
    """One way to run the events. build: of the C++ program, None for Python."""

    name: str
    bundle: Path
    engine: str
    precision: str = "fp32"
    build: Path | None = None


def write_events(events: Path, folder: Path, count: int) -> int:
    """Write so many events as CSV, those that are there in turn under new numbers; return the number of hits."""
    sources, hits = open_events([events]), 0
    for number in range(count):
        event = sources[number % len(sources)].read()
        axes = {name: event.position[:, axis].copy() for axis, name in enumerate("xyz")}
        path = folder / f"event{number:09d}-hits.csv"
        path.write_bytes(csv_bytes({"hit_id": event.hit_id, **axes}))
        hits += len(event)
    return hits


def python_here(bundle: str, engine: str, precision: str, workers: int, events: str, out: str) -> dict[str, Any]:
    """Run events on worker threads of one thread each; return seconds of the second pass, and medians of the stages."""
    pipeline, sources = Pipeline.open(bundle, engine, threads=1, precision=precision), open_events([Path(events)])
    pipeline.warm_up()
    for _ in range(2):
        start = time.perf_counter()
        found = [one.tracks for one in track_in_threads(pipeline, sources, workers)]
        seconds = time.perf_counter() - start
    write_trackml_submission(Path(out) / "submission.csv", found)
    stages: dict[str, list[float]] = {}
    for tracks in found:
        for stage in tracks.stages:
            stages.setdefault(stage.name, []).append(stage.seconds)
    return {"seconds": seconds, "stages": {name: statistics.median(times) for name, times in stages.items()}}


def cpp_here(case: Case, threads: int, events: Path, out: Path) -> dict[str, Any]:
    """Run events with trkx-run; return as `python_here`."""
    assert case.build is not None
    times = out / "times.json"
    command = [case.build / "trkx-run", case.bundle, events, "--out", out, "--engine", case.engine, "--threads", str(threads),
               "--precision", case.precision, "--format", "trackml", "--repeat", "2", "--times", times]
    subprocess.run([str(word) for word in command], check=True, capture_output=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    found = json.loads(times.read_text(encoding="utf-8"))
    stages: dict[str, list[float]] = {}
    for event in found["events"]:
        for stage in event["stages"]:
            stages.setdefault(stage["name"], []).append(stage["seconds"])
    return {"seconds": found["seconds"][-1], "stages": {name: statistics.median(each) for name, each in stages.items()}}


def hits_in_other_tracks(one: Path, other: Path) -> int:
    """Return how many hits of two submissions are on tracks that do not have the same hits."""
    rows = [np.loadtxt(path, np.int64, delimiter=",", skiprows=1) for path in (one, other)]
    first, second = (list(map(tuple, table[:, [0, 2]])) for table in rows)
    together, alone, beside = Counter(zip(first, second, strict=True)), Counter(first), Counter(second)
    same = sum(
        count for (a, b), count in together.items()
        if (a[1] == 0 and b[1] == 0) or (a[1] > 0 and b[1] > 0 and count == alone[a] == beside[b])
    )
    return len(first) - same


def cases_of(given: argparse.Namespace) -> list[Case]:
    """Return the cases for which there are bundles and builds; the first is what tracks are compared with."""
    found = [Case(REFERENCE, given.bundle, "onnxruntime"), Case("Python tiled", given.bundle, "tiled"),
             Case("C++ ONNX Runtime", given.bundle, "onnxruntime", build=given.onnx)]
    if given.half:
        found.append(Case("C++ ONNX Runtime, filter and GNN in fp16", given.half, "onnxruntime", HALF, given.onnx))
    if given.torch:
        found.append(Case("C++ TorchScript", given.bundle, "torchscript", build=given.torch))
    if given.torch and given.aoti:
        found.append(Case("C++ AOTInductor", given.aoti, "aoti", build=given.torch))
    return found


def measure(case: Case, threads: int, events: Path, out: Path) -> dict[str, Any]:
    """Run one case once; its tracks lie in out/submission.csv."""
    out.mkdir(parents=True, exist_ok=True)
    if case.build is not None:
        return cpp_here(case, threads, events, out)
    call = {"bundle": str(case.bundle), "engine": case.engine, "precision": case.precision, "workers": threads,
            "events": str(events), "out": str(out)}
    found: dict[str, Any] = run_fresh("cpp_throughput:python_here", call, 3600.0, 1)
    return found


def main() -> None:
    """Run every case and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--onnx", type=Path, required=True, help="build with ONNX Runtime")
    parser.add_argument("--torch", type=Path, help="build with libtorch")
    parser.add_argument("--half", type=Path, help="bundle with filter and GNN in float16")
    parser.add_argument("--aoti", type=Path, help="bundle with AOTInductor packages")
    parser.add_argument("--events", type=Path, default=EVENTS)
    parser.add_argument("--count", type=int, default=8, help="events of a pass")
    parser.add_argument("--rounds", type=int, default=3, help="of each case")
    parser.add_argument("--threads", type=int, nargs="+", default=list(THREADS), help="events at a time")
    parser.add_argument("--out", type=Path, default=Path("cpp-throughput.json"))
    given = parser.parse_args()
    os.environ["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parent.resolve()), os.environ.get("PYTHONPATH", "")])
    before, cases = os.getloadavg()[0], cases_of(given)
    runs: dict[tuple[str, int], list[dict[str, Any]]] = {(case.name, at): [] for case in cases for at in given.threads}
    differ: dict[str, int] = {}
    with tempfile.TemporaryDirectory() as name:
        events = Path(name) / "events"
        events.mkdir()
        hits = write_events(given.events, events, given.count)
        for number in range(given.rounds):
            for threads in given.threads:
                for place, case in enumerate(cases):
                    runs[case.name, threads].append(measure(case, threads, events, Path(name) / f"{place}-{threads}"))
                    seconds = runs[case.name, threads][-1]["seconds"]
                    print(f"round {number + 1}, {case.name}, {threads} at a time: {seconds:.2f} s", flush=True)
        reference = Path(name) / f"0-{given.threads[0]}" / "submission.csv"
        for place, case in enumerate(cases):
            written = [Path(name) / f"{place}-{threads}" / "submission.csv" for threads in given.threads]
            differ[case.name] = max(hits_in_other_tracks(reference, path) for path in written)
    rows = []
    for case in cases:
        row: dict[str, Any] = {"case": case.name, "hits_in_other_tracks": differ[case.name]}
        row |= {"seconds": {}, "events_per_second": {}}
        for threads in given.threads:
            seconds = [run["seconds"] for run in runs[case.name, threads]]
            row["seconds"][threads] = seconds
            row["events_per_second"][threads] = given.count / statistics.median(seconds)
        alone = [run["stages"] for run in runs[case.name, given.threads[0]]]
        row["stages_ms"] = {stage: 1e3 * statistics.median(one[stage] for one in alone) for stage in alone[0]}
        rows.append(row)
    show(rows, given.threads, hits)
    report = {"machine": machine_facts(available_cores()), "load": {"before": before, "after": os.getloadavg()[0]},
              "events": given.count, "hits": hits, "results": rows}
    given.out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


def show(rows: list[dict[str, Any]], threads: list[int], hits: int) -> None:
    """Print one table: events per second by events at a time, and stages of the first."""
    table = Table(title=f"events per second (medians), by events at a time; stages with {threads[0]}, ms an event")
    for name in ("case", *map(str, threads), *rows[0]["stages_ms"], f"of {hits} hits in other tracks"):
        table.add_column(name, justify="left" if name == "case" else "right")
    for row in rows:
        rates = [f"{row['events_per_second'][at]:.3f}" for at in threads]
        stages = [f"{value:.1f}" for value in row["stages_ms"].values()]
        table.add_row(row["case"], *rates, *stages, str(row["hits_in_other_tracks"]))
    Console(width=180).print(table)


if __name__ == "__main__":
    main()
