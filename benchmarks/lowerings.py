"""Sums over edges in ONNX: every lowering, and what others write, on every engine here: right, repeatable, time, memory.

    python benchmarks/lowerings.py                     # the sizes of docs/lowerings.md, about 10 minutes
    python benchmarks/lowerings.py --nodes 2000 --edges 20000 --rounds 3

One process for each row, so that its memory is its own. "first" is one sum with everything that it needs, "further" what each
more sum over the same index costs, which is what an iteration of a graph network pays. Both are the median of rounds, as
multiples of ScatterElements measured in the same run. Writes JSON and the tables of docs/lowerings.md; asserts no time.
"""

from __future__ import annotations

import argparse
import functools
import json
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime

from trkx.export.lowerings.lower import lowered
from trkx.export.lowerings.table import LOWERINGS
from trkx.runtime.measure import Meter, resident_bytes

WIDTH = 64
FURTHER = 3
PLAIN = "ScatterElements(add)"
TORCH = "torch index_add, eager"
BAD = {
    "ScatterND(add)": "torch's default exporter writes it for index_add",
    "CumSum, float32": "prefix difference without float64",
    "ScatterElements, no reduction": "torch 1.9 wrote it for scatter_add",
}
GRAPHS = {"uniform": "Uniform degrees", "pareto": "Pareto degrees, one node with 1 % of all edges"}
NAMES = {"FLOAT": "float32", "DOUBLE": "float64", "FLOAT16": "float16"}
THREADS = (1, 2, 8)
REPEATS = 10


def sums(count: int, dtype: str = "FLOAT") -> onnx.ModelProto:
    """Return a model with `count` sums of different messages over one index, as torch's exporter would write them."""
    kind = {"FLOAT": "float", "DOUBLE": "double", "FLOAT16": "float16"}[dtype]
    inputs = ", ".join(f"{kind}[E, {WIDTH}] m{i}" for i in range(count))
    outputs = ", ".join(f"{kind}[N, {WIDTH}] y{i}" for i in range(count))
    lines = "\n".join(f'  y{i} = ScatterElements<axis = 0, reduction = "add">(start, rows, m{i})' for i in range(count))
    text = f"""
<ir_version: 10, opset_import: ["" : 18]>
sums (int64[S] nodes, int64[E] target, {inputs}) => ({outputs})
<int64[1] one = {{1}}, int64[1] width = {{{WIDTH}}}, float fill = {{0}}> {{
  n = Shape(nodes)
  shape = Concat<axis = 0>(n, width)
  zero = Cast<to = {getattr(onnx.TensorProto, dtype)}>(fill)
  start = Expand(zero, shape)
  column = Unsqueeze(target, one)
  wanted = Shape(m0)
  rows = Expand(column, wanted)
{lines}
}}"""
    return onnx.parser.parse_model(text.replace("int64[S] nodes", "int64[N] nodes"))


def bad(name: str, count: int) -> onnx.ModelProto:
    """Return the same sums as others write them."""
    model = sums(count)
    nodes = [node for node in model.graph.node if node.op_type != "ScatterElements"]
    if name == "CumSum, float32":
        right = lowered(model, LOWERINGS["prefix64"])[0]
        for node in right.graph.node:
            for item in node.attribute:
                if item.name == "to" and item.i == onnx.TensorProto.DOUBLE:
                    item.i = onnx.TensorProto.FLOAT
        return right
    for i in range(count):
        if "ND" in name:
            node = onnx.helper.make_node("ScatterND", ["start", "column", f"m{i}"], [f"y{i}"], reduction="add")
        else:
            node = onnx.helper.make_node("ScatterElements", ["start", "rows", f"m{i}"], [f"y{i}"], axis=0)
        nodes.append(node)
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return model


def model_of(name: str, count: int, dtype: str) -> onnx.ModelProto:
    """Return the model of a row."""
    if name in BAD:
        return bad(name, count)
    model = sums(count, dtype)
    return model if name == PLAIN else lowered(model, LOWERINGS[name])[0]


def edges_of(graph: str, nodes: int, edges: int) -> np.ndarray:
    """Return targets, int64 [edges]: uniform, or Pareto degrees with one node of a hundredth of all edges."""
    rng = np.random.default_rng(1)
    if graph == "uniform":
        return rng.integers(0, nodes, edges)
    weight = rng.pareto(1.5, nodes) + 1.0
    target = rng.choice(nodes, edges, p=weight / weight.sum())
    target[rng.choice(edges, edges // 100, replace=False)] = nodes // 3
    return target


def exactly(target: np.ndarray, messages: np.ndarray, nodes: int) -> np.ndarray:
    """Return the sums in float64, those of float64 in extended precision."""
    wide = np.longdouble if messages.dtype == np.float64 else np.float64
    order = np.argsort(target, kind="stable")
    present, first = np.unique(target[order], return_index=True)
    result = np.zeros((nodes, messages.shape[1]), wide)
    if len(present):
        result[present] = np.add.reduceat(messages[order].astype(wide), first, axis=0)
    return result


class Eager:
    """Torch's own index_add, in the place of a session."""

    def __init__(self, threads: int) -> None:
        import torch

        self.torch, self.threads = torch, threads

    def run(self, names: None, feeds: dict[str, Any]) -> list[np.ndarray]:
        """Return the sums."""
        self.torch.set_num_threads(self.threads)
        target, nodes = self.torch.from_numpy(feeds["target"]), len(feeds["nodes"])
        messages = [self.torch.from_numpy(feeds[key]) for key in sorted(feeds) if key.startswith("m")]
        return [m.new_zeros((nodes, WIDTH)).index_add(0, target, m).numpy() for m in messages]


def opened(name: str, count: int, dtype: str, threads: int) -> Any:
    """Return what runs a row: an ONNX Runtime session on the CPU with default options but the number of threads, or torch."""
    if name == TORCH:
        return Eager(threads)
    model = model_of(name, count, dtype)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = threads, 3
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def median_seconds(run: Any, rounds: int) -> float:
    """Return the median of the rounds, after one that is not counted."""
    run()
    seconds = []
    for _ in range(rounds):
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def row(name: str, graph: str, dtype: str, nodes: int, edges: int, threads: int, rounds: int) -> dict[str, Any]:
    """Measure one row in this process."""
    kind = {"FLOAT": np.float32, "DOUBLE": np.float64, "FLOAT16": np.float16}[dtype]
    rng, target = np.random.default_rng(2), edges_of(graph, nodes, edges)
    messages = [np.abs(rng.standard_normal((edges, WIDTH), dtype=np.float32)).astype(kind) for _ in range(1 + FURTHER)]
    feeds: dict[str, Any] = {"nodes": np.zeros(nodes, np.int64), "target": target, "m0": messages[0]}
    result: dict[str, Any] = {"lowering": name, "graph": graph, "dtype": dtype, "threads": threads}
    try:
        one = opened(name, 1, dtype, threads)
    except Exception as error:  # ONNX Runtime's own classes
        return result | {"refused": str(error).splitlines()[0].split("Status Message: ")[-1]}
    before = resident_bytes()
    try:
        with Meter() as meter, meter.stage(name, edges, "edges"):
            found = one.run(None, feeds)[0]
    except Exception as error:  # as above
        return result | {"refused": str(error).splitlines()[0].split("Status Message: ")[-1]}
    result["peak_mb"] = (meter.stages[0].peak_bytes - before) / 1e6
    exact = exactly(target, messages[0], nodes)
    result["error"] = float(np.max(np.abs(found - exact) / np.maximum(exact, 1e-30)))
    result["first_s"] = median_seconds(functools.partial(one.run, None, feeds), rounds)
    wrong = set()
    for count in THREADS:
        again = opened(name, 1, dtype, count)
        for _ in range(REPEATS if count == threads else 2):
            wrong |= set() if again.run(None, feeds)[0].tobytes() == found.tobytes() else {count}
    result["not_repeatable_at"] = sorted(wrong)
    del one, again
    more = feeds | {f"m{i}": messages[i] for i in range(1, 1 + FURTHER)}
    many = opened(name, 1 + FURTHER, dtype, threads)
    result["further_s"] = (median_seconds(lambda: many.run(None, more), rounds) - result["first_s"]) / FURTHER
    return result


def measured(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Measure every row, each in a process of its own."""
    wanted = [(name, graph, "FLOAT") for graph in GRAPHS for name in (PLAIN, *LOWERINGS, TORCH, *BAD)]
    wanted += [(name, "uniform", "DOUBLE") for name in (PLAIN, *LOWERINGS)] + [(PLAIN, "uniform", "FLOAT16")]
    rows = []
    for name, graph, dtype in wanted:
        arguments = [str(options.nodes), str(options.edges), str(options.threads), str(options.rounds)]
        command = [sys.executable, __file__, "--row", name, graph, dtype, *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            sys.exit(f"{name} on {graph}: {done.stderr}")
        rows.append(json.loads(done.stdout))
        print(json.dumps(rows[-1]), flush=True)
    return rows


def table(rows: list[dict[str, Any]], graph: str, dtype: str) -> list[str]:
    """Return one table of the page."""
    own = [item for item in rows if (item["graph"], item["dtype"]) == (graph, dtype)]
    plain = next(item for item in own if item["lowering"] == PLAIN)
    columns = ("lowering", "largest relative error", "same bits", "first sum", "further sums", "memory")
    lines = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    for item in own:
        if "refused" in item:
            lines.append(f"| {item['lowering']} | does not run: {item['refused']} | | | | |")
            continue
        right = item["error"] <= 1e-5 if dtype == "FLOAT" else item["error"] <= 1e-12
        error = f"{item['error']:.1e}" if right else f"**{item['error']:.1e}, wrong**"
        same = "yes" if not item["not_repeatable_at"] else f"**no** ({', '.join(map(str, item['not_repeatable_at']))} threads)"
        times = [f"{1e3 * item[key]:.0f} ms, {plain[key] / item[key]:.1f} times" for key in ("first_s", "further_s")]
        lines.append(f"| {item['lowering']} | {error} | {same} | {times[0]} | {times[1]} | {item['peak_mb']:.0f} MB |")
    return lines


def main() -> None:
    """Measure, print, and write JSON and Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", type=int, default=100_000)
    parser.add_argument("--edges", type=int, default=1_000_000)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path, help="write the rows here")
    parser.add_argument("--tables", type=Path, help="write the tables here, as Markdown")
    parser.add_argument("--row", nargs=7, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.row:
        name, graph, dtype, *numbers = options.row
        print(json.dumps(row(name, graph, dtype, *map(int, numbers))))
        return
    rows = measured(options)
    facts = {
        "machine": platform.machine(), "python": platform.python_version(), "numpy": np.__version__,
        "onnxruntime": onnxruntime.__version__, "onnx": onnx.__version__, "nodes": options.nodes, "edges": options.edges,
        "width": WIDTH, "threads": options.threads, "rounds": options.rounds, "repeats": REPEATS,
    }
    lines = []
    for graph, dtype in dict.fromkeys((item["graph"], item["dtype"]) for item in rows):
        lines += ["", f"### {GRAPHS[graph]}, {NAMES[dtype]}", "", *table(rows, graph, dtype)]
    print("\n".join(lines))
    if options.json:
        options.json.write_text(json.dumps({"facts": facts, "rows": rows}, indent=1) + "\n", encoding="utf-8")
    if options.tables:
        options.tables.write_text("\n".join(lines[1:]) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
