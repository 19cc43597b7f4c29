"""Events in flight: workers and threads of `trkx run`, and processes in their place, on the same events.

    python benchmarks/throughput.py BUNDLE [--events EVENTS] --out FILE.json

Each case runs in processes of its own, after a made-up event; cases take turns. Reads and runs the events, in turn where more
are wanted than there are, and writes nothing. Labels must be the same in every case. Asserts no time.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import multiprocessing
import os
import resource
import shlex
import statistics
import time
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

from trkx.runtime.bench.child import run_fresh
from trkx.runtime.bench.machine import machine_facts
from trkx.runtime.crew import available_cores
from trkx.runtime.events import EventSource, open_events
from trkx.runtime.many import track_in_threads
from trkx.runtime.pipeline import Pipeline
from trkx.runtime.tracks import Tracks

EVENTS = Path(__file__).parents[1] / "tests" / "data" / "pileup50"
CASES = (("threads", 1, 1), ("threads", 1, 2), ("threads", 2, 1), ("threads", 2, 2), ("processes", 2, 1))
"""What workers are, how many there are, and the threads of each."""
held: list[Pipeline] = []
"""The pipeline of a worker process: the first."""


def in_turn(events: str, count: int) -> list[EventSource]:
    """Return so many sources of events: those that are there, again and again."""
    sources = open_events([Path(events)])
    return [sources[number % len(sources)] for number in range(count)]


def opened(bundle: str, engine: str, threads: int) -> Pipeline:
    """Return a pipeline that has run a made-up event."""
    pipeline = Pipeline.open(bundle, engine, threads=threads)
    pipeline.warm_up()
    return pipeline


def threads_here(bundle: str, engine: str, workers: int, threads: int, events: str, count: int) -> dict[str, Any]:
    """Run events on worker threads of this process; return seconds, peak_bytes and a digest of all labels."""
    pipeline, sources = opened(bundle, engine, threads), in_turn(events, count)
    start = time.perf_counter()
    digests = [digest(found.tracks) for found in track_in_threads(pipeline, sources, workers)]
    seconds = time.perf_counter() - start
    return {"seconds": seconds, "peak_bytes": size(), "labels": joined(digests)}


def processes_here(bundle: str, engine: str, workers: int, threads: int, events: str, count: int) -> dict[str, Any]:
    """Run events on worker processes; return as `threads_here`, peak_bytes being the sum over the workers."""
    given = (bundle, engine, threads)
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), hold, given) as pool:
        list(pool.map(time.sleep, [3.0] * workers))  # every worker is there and has run its made-up event
        start = time.perf_counter()
        found = list(pool.map(one_event, [events] * count, [count] * count, range(count)))
        seconds = time.perf_counter() - start
    peaks = {process: bytes_ for _, process, bytes_ in found}  # of each its last, which is its largest
    return {"seconds": seconds, "peak_bytes": sum(peaks.values()), "labels": joined(label for label, _, _ in found)}


def hold(bundle: str, engine: str, threads: int) -> None:
    """Open the pipeline of a worker process."""
    held.append(opened(bundle, engine, threads))


def one_event(events: str, count: int, number: int) -> tuple[str, int, int]:
    """Run one event in a worker process; return a digest of its labels, and which process this is and its largest size."""
    return digest(held[0].run(in_turn(events, count)[number].read())), os.getpid(), size()


def digest(tracks: Tracks) -> str:
    """Return a digest of the labels of an event."""
    return hashlib.sha256(tracks.label.tobytes()).hexdigest()


def joined(digests: Iterable[str]) -> str:
    """Return one digest of several."""
    return hashlib.sha256("".join(digests).encode()).hexdigest()[:16]


def size() -> int:
    """Return the largest size that this process has had, bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main() -> None:
    """Run every case and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--events", type=Path, default=EVENTS)
    parser.add_argument("--count", type=int, default=20, help="events of a round")
    parser.add_argument("--rounds", type=int, default=2, help="of each case")
    parser.add_argument("--engines", nargs="+", default=["tiled", "onnxruntime"])
    parser.add_argument("--out", type=Path, default=Path("throughput.json"))
    given = parser.parse_args()
    os.environ["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parent.resolve()), os.environ.get("PYTHONPATH", "")])
    before, found = os.getloadavg()[0], []
    for engine in given.engines:
        runs: dict[tuple[str, int, int], list[dict[str, Any]]] = {case: [] for case in CASES}
        for _ in range(given.rounds):
            for kind, workers, threads in CASES:
                call = {"bundle": str(given.bundle), "engine": engine, "workers": workers, "threads": threads,
                        "events": str(given.events), "count": given.count}
                runs[kind, workers, threads].append(run_fresh(f"throughput:{kind}_here", call, 3600.0, threads))
        for (kind, workers, threads), rounds in runs.items():
            seconds = [run["seconds"] for run in rounds]
            found.append({
                "engine": engine, "workers": workers, "of": kind, "threads": threads, "events": given.count, "seconds": seconds,
                "median": statistics.median(seconds), "peak_bytes": max(run["peak_bytes"] for run in rounds),
                "labels": sorted({run["labels"] for run in rounds}),
            })
            print(f"{engine}, {workers} x {threads} ({kind}): {found[-1]['median']:.2f} s for {given.count} events, "
                  f"{min(seconds):.2f} to {max(seconds):.2f}, {found[-1]['peak_bytes'] / 1e9:.2f} GB", flush=True)
    labels = [(row["engine"], one) for row in found for one in row["labels"]]
    same = {engine: len({one for own, one in labels if own == engine}) == 1 for engine in given.engines}
    print("labels: " + ", ".join(f"{engine} {'the same in every case' if one else 'DIFFER'}" for engine, one in same.items()))
    command = ["python", "benchmarks/throughput.py", given.bundle.name, "--events", given.events.name,
               "--count", str(given.count), "--rounds", str(given.rounds), "--engines", *given.engines]
    machine = machine_facts(available_cores()) | {"command": shlex.join(command)}
    load = {"before": before, "after": os.getloadavg()[0]}
    report = {"machine": machine, "load": load, "same_labels": same, "results": found}
    given.out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
