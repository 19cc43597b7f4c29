"""Runs the reference bundle on held-out events and prints what the README promises of the runtime.

    python benchmarks/reference_run.py BUNDLE --events training/held-out --json benchmarks/results/reference_run.json

Engines: the labels of ONNX Runtime, TorchScript and eager PyTorch on 20 events of mu = 50. Memory: the peak of a process that
runs one event of mu = 200, imports and compilation included. (`neighbours.py` compares the neighbour search with its peers.)
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from trkx.runtime.events import open_events
from trkx.runtime.pipeline import Pipeline

ENGINES = ("tiled", "onnxruntime", "torchscript", "eager")


def engines(bundle: Path, folder: Path) -> dict[str, Any]:
    """Return on how many events the labels of each engine equal those of the first, and how many hits differ."""
    sources = open_events([folder])
    labels: dict[str, list[Any]] = {engine: [] for engine in ENGINES}
    counts: dict[str, list[Any]] = {engine: [] for engine in ENGINES}
    for engine in ENGINES:
        pipeline = Pipeline.open(bundle, engine=engine)
        for source in sources:
            tracks = pipeline.run(source.read())
            labels[engine].append(tracks.label)
            counts[engine].append([stage.count_out for stage in tracks.stages])

    def against_first(values: dict[str, list[Any]], measure: Callable[[Any, Any], Any]) -> dict[str, int]:
        first = values[ENGINES[0]]
        return {engine: int(sum(measure(a, b) for a, b in zip(first, values[engine], strict=True))) for engine in ENGINES}

    return {
        "events": len(sources),
        "identical_labels": against_first(labels, np.array_equal),
        "differing_hits": against_first(labels, lambda a, b: (a != b).sum()),
        "differing_counts": against_first(counts, lambda a, b: a != b),
    }


def memory(bundle: Path, event: Path) -> dict[str, Any]:
    """Return what a fresh process needed for one event: peak memory, hits, stages."""
    command = [sys.executable, __file__, str(bundle), "--one", str(event)]
    return dict(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))


def one(bundle: Path, path: Path) -> dict[str, Any]:
    """Run one event and return stages and this process's peak memory."""
    pipeline, event = Pipeline.open(bundle), open_events([path])[0].read()
    pipeline.warm_up()
    tracks = pipeline.run(event)
    stages = [{"name": s.name, "seconds": s.seconds, "peak_bytes": s.peak_bytes, "out": s.count_out} for s in tracks.stages]
    return {"hits": len(event), "tracks": tracks.num_tracks, "stages": stages, "torch": "torch" in sys.modules,
            "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--events", type=Path, default=Path("training/held-out"))
    parser.add_argument("--json", type=Path)
    parser.add_argument("--one", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(one(options.bundle, options.one)))
        return
    large = sorted((options.events / "pileup200-seed52").glob("*-hits.parquet"))[0]
    result: dict[str, Any] = {"python": platform.python_version(), "machine": platform.machine()}
    result["cores"] = len(os.sched_getaffinity(0))
    result["memory"] = memory(options.bundle, large)
    print(f"mu = 200, {result['memory']['hits']} hits: peak memory {result['memory']['peak_bytes'] / 1e9:.2f} GB, "
          f"torch loaded: {result['memory']['torch']}")
    for stage in result["memory"]["stages"]:
        print(f"  {stage['name']:10} {stage['seconds']:7.2f} s  out {stage['out']}")
    result["engines"] = engines(options.bundle, options.events / "pileup50-seed51")
    print(f"engines: {json.dumps(result['engines'])}")
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
