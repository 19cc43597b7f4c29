"""Neighbours and labelling in C++ against the Python kernels: one thread each, the same event, in turn in one run.

    python benchmarks/cpp_graph.py BUNDLE [--events EVENTS] --out FILE.json

Compiles the tool of the C++ tests, once for any processor and once for this one alone. Embeds the events with the bundle, finds
the graph that its filter and GNN leave, and times in both languages: all pairs as a list, the K nearest, pairs as a stream,
connected components and edge contraction. Answers must be the same. Prints medians and ratios (above 1: C++ is faster), writes
JSON. Asserts no time.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trkx.runtime.bench.machine import machine_facts
from trkx.runtime.edge_features import edge_features
from trkx.runtime.events import Event, open_events
from trkx.runtime.features import node_features
from trkx.runtime.labelling import connected_components, edge_contraction
from trkx.runtime.neighbours import pair_stream, radius_graph
from trkx.runtime.pipeline import Pipeline
from trkx.spec import logit_of_cut

ROOT = Path(__file__).parents[1]
EVENTS = ROOT / "tests" / "data" / "pileup50"
BUILDS = {"any processor": ["-O3"], "this processor": ["-O3", "-march=native"]}
MAX_PAIRS = 100_000_000
K_MAX = 20


@dataclass(frozen=True)
class Case:
    """One piece of work in both languages: the words that the tool is asked with, but for where to write, and Python's answer."""

    name: str
    words: list[str]
    python: Callable[[], NDArray[np.int64]]


class Tool:
    """The tool graph_tool, compiled with options."""

    def __init__(self, folder: Path, options: list[str]) -> None:
        source = ROOT / "runtime" / "cpp"
        program = folder / f"graph_tool{len(options)}"
        command: list[str | Path] = ["g++", "-std=c++20", *options, "-I", source / "include", source / "tests" / "graph_tool.cpp"]
        subprocess.run([*command, "-o", program], check=True)
        self.process = subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, words: list[str]) -> list[str]:
        """Return the words of the answer."""
        assert self.process.stdin and self.process.stdout
        self.process.stdin.write(" ".join(words) + "\n")
        self.process.stdin.flush()
        state, *answer = self.process.stdout.readline().split()
        if state != "ok":
            raise SystemExit(" ".join([state, *answer]))
        return answer


def cases(pipeline: Pipeline, event: Event, folder: Path) -> tuple[dict[str, int], list[Case]]:
    """Return sizes, and the work of one event; its arrays are written to the folder."""
    x = node_features(event, pipeline.spec.features)
    points = np.ascontiguousarray(pipeline.engine.embed(x))
    radius = pipeline.spec.needed_graph().radius
    graphs = pipeline.run(event, keep_graphs=True).graphs
    edges = np.ascontiguousarray(graphs["filter"])
    more = [edge_features(pipeline.spec, x, edges)] if pipeline.spec.edge_features else []
    weight = pipeline.engine.gnn(x, edges, *more) - np.float64(logit_of_cut(pipeline.spec.needed_cut("gnn")))
    kept = np.ascontiguousarray(edges[:, weight > 0])
    files = {"points": points, "edges": edges, "kept": kept, "weight": weight.astype(np.float64)}
    paths = {name: str(folder / name) for name in files}
    for name, values in files.items():
        values.tofile(paths[name])
    hits = len(points)
    about = [paths["points"], str(points.shape[1]), repr(radius)]

    def found(k_max: int | None = None) -> NDArray[np.int64]:
        return radius_graph(points, radius, k_max, threads=1).pairs

    def streamed() -> NDArray[np.int64]:
        stream = pair_stream(points, radius, threads=1)
        return np.array([sum(stream.pairs(task).shape[1] for task in range(stream.tasks))])

    sizes = {"hits": hits, "pairs": found().shape[1], "filtered": edges.shape[1], "kept": kept.shape[1]}
    return sizes, [
        Case("all pairs", ["neighbours", *about, "none", str(MAX_PAIRS), "fastest"], found),
        Case(f"{K_MAX} nearest", ["neighbours", *about, str(K_MAX), str(MAX_PAIRS), "fastest"], lambda: found(K_MAX)),
        Case("stream", ["stream", *about, "none", str(MAX_PAIRS), "fastest", str(1 << 15)], streamed),
        Case("components", ["components", paths["kept"], str(hits)], lambda: connected_components(kept, hits)),
        Case("contraction", ["contraction", paths["edges"], paths["weight"], str(hits)],
             lambda: edge_contraction(edges, weight, hits)),
    ]


def same(case: Case, tool: Tool, folder: Path) -> bool:
    """Return whether both languages give the same answer."""
    out = folder / "out"
    answer = tool.ask([*case.words, str(out)])
    expected = case.python()
    if case.words[0] == "stream":
        return int(answer[1]) == expected[0]
    return np.array_equal(np.fromfile(out, np.int64), expected.ravel())


def measured(case: Case, tools: dict[str, Tool], rounds: int) -> dict[str, list[float]]:
    """Return the seconds of each round, of Python and of each build, which take turns."""
    seconds: dict[str, list[float]] = {name: [] for name in ("python", *tools)}
    for _ in range(rounds):
        began = time.perf_counter()
        case.python()
        seconds["python"].append(time.perf_counter() - began)
        for name, tool in tools.items():
            seconds[name].append(float(tool.ask(["time", "1", *case.words, "nowhere"])[0]))
    return seconds


def main() -> None:
    """Run the comparison and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--events", type=Path, nargs="*", default=[EVENTS])
    parser.add_argument("--limit", type=int, default=1, help="events that are looked at")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--out", type=Path, required=True, help="JSON file")
    given = parser.parse_args()
    pipeline = Pipeline.open(given.bundle, threads=1)
    results: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        tools = {build: Tool(folder, options) for build, options in BUILDS.items()}
        for source in open_events(given.events)[: given.limit]:
            sizes, work = cases(pipeline, source.read(), folder)
            print(f"event {source.event_id}: " + ", ".join(f"{count:,} {what}" for what, count in sizes.items()))
            for case in work:
                agree = all(same(case, tool, folder) for tool in tools.values())
                seconds = measured(case, tools, given.rounds)
                median = {who: statistics.median(values) for who, values in seconds.items()}
                ratio = {build: median["python"] / median[build] for build in tools}
                row = ", ".join(f"{build} {1e3 * median[build]:.2f} ms ({ratio[build]:.2f} x)" for build in tools)
                print(f"  {case.name}: python {1e3 * median['python']:.2f} ms, {row}{'' if agree else ', ANSWERS DIFFER'}")
                about = {"event": source.event_id, **sizes, "case": case.name, "same": agree}
                results.append({**about, "median": median, "ratio": ratio, "seconds": seconds})
    text = json.dumps({"machine": machine_facts(1), "builds": BUILDS, "results": results}, indent=1)
    given.out.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
