"""Time per candidate edge, search and filter together, over sizes of one event, with peak memory.

    python benchmarks/per_candidate.py BUNDLE EVENT --out FILE.json

Each size runs in a process of its own, after a made-up event. The event is cut to sectors, or overlaid with turned copies.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import Any

from trkx.runtime.bench.child import run_fresh
from trkx.runtime.bench.machine import machine_facts
from trkx.runtime.bench.measure import growth
from trkx.runtime.bench.sizes import resized
from trkx.runtime.crew import available_cores
from trkx.runtime.events import open_events
from trkx.runtime.pipeline import Pipeline


def one_size(bundle: str, event: str, hits: int, rounds: int) -> dict[str, Any]:
    """Run an event cut or overlaid to so many hits in this process; return the stages of its fastest run."""
    whole = open_events([Path(event)])[0].read()
    sized = whole if hits == len(whole) else resized(whole, hits)
    pipeline = Pipeline.open(bundle)
    pipeline.warm_up()
    runs: list[dict[str, float]] = []
    with growth() as grown:
        for _ in range(rounds):
            tracks = pipeline.run(sized)
            runs.append({stage.name: stage.seconds for stage in tracks.stages})
    candidates = next(stage.count_out for stage in tracks.stages if stage.name == "graph")
    best = min(runs, key=lambda run: run["graph"] + run["filter"])
    spent = best["graph"] + best["filter"]
    return {"hits": len(sized), "candidates": candidates, "ns_per_candidate": 1e9 * spent / max(candidates, 1),
            "stages": best, "rounds": rounds, "peak_bytes": grown.highest}


def main() -> None:
    """Run every size and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("event", type=Path)
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 30_000, 100_000, 142_010, 284_020])
    parser.add_argument("--rounds", type=int, default=2, help="runs of a size; the fastest counts")
    parser.add_argument("--out", type=Path, default=Path("per-candidate.json"))
    given = parser.parse_args()
    os.environ["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parent.resolve()), os.environ.get("PYTHONPATH", "")])
    found = []
    for hits in given.sizes:
        call = {"bundle": str(given.bundle), "event": str(given.event), "hits": hits, "rounds": given.rounds}
        found.append(run_fresh("per_candidate:one_size", call, 3600.0, available_cores()))
        one = found[-1]
        print(f"{one['hits']:,} hits, {one['candidates']:,} candidates: {one['ns_per_candidate']:.0f} ns each, "
              f"peak {(one['peak_bytes'] or 0) / 1e6:.0f} MB", flush=True)
    times = [one["ns_per_candidate"] for one in found]
    print(f"slowest to fastest: {max(times) / min(times):.2f}")
    report = {"machine": machine_facts(available_cores()), "results": found, "spread": max(times) / min(times)}
    given.out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
