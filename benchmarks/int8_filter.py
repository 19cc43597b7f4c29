"""The filter in int8, an experiment: ONNX Runtime's dynamic quantisation, everything else in float32.

    python benchmarks/int8_filter.py BUNDLE EVENTS --limit 3 --out FILE.json

Weights in int8, by tensor or by output channel; either of all products, or only of those that half precision converts too (not
those that read features or make the logits). Compared with filter.onnx as it is, on ONNX Runtime's CPU provider: time in turns,
logits and decisions on the same candidates, edges on true pairs of hits, and tracks of the whole pipeline. `export-models` never
writes such a file: its scales come from all edges that are judged at once, so that a logit depends on the edges beside it.
"""

from __future__ import annotations

import argparse
import json
import logging
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnxruntime.quantization import QuantType, quantize_dynamic

from trkx.bundle import Bundle
from trkx.errors import ExportError
from trkx.export.onnx_graph import Graph
from trkx.export.precision.plan import PRODUCTS, plan_of
from trkx.export.precision.table import TYPES
from trkx.runtime.bench.machine import machine_facts
from trkx.runtime.compare.alone import Bands
from trkx.runtime.compare.events import compare_events
from trkx.runtime.crew import available_cores
from trkx.runtime.edges import orientation
from trkx.runtime.engines import Engine
from trkx.runtime.events import open_events
from trkx.runtime.events.event import Event
from trkx.runtime.features import node_features
from trkx.runtime.metrics.edges import count_edges
from trkx.runtime.metrics.selection import Selection, select_particles
from trkx.runtime.neighbours import radius_graph
from trkx.runtime.pipeline import CHUNK, Pipeline
from trkx.spec import logit_of_cut

Float = NDArray[np.float32]
Int = NDArray[np.int64]
EXACT = "float32"
FEW = 1_000
"""Edges at a time that are judged once more, to see what a logit owes to the edges beside it."""


@dataclass(frozen=True)
class Variant:
    """hidden: only products that half precision converts too. by_channel: a scale for each output channel of a matrix."""

    hidden: bool
    by_channel: bool

    @property
    def name(self) -> str:
        """What the table calls it."""
        return f"int8, {'hidden products' if self.hidden else 'all products'}, by {'channel' if self.by_channel else 'tensor'}"


VARIANTS = tuple(Variant(hidden, by_channel) for hidden in (False, True) for by_channel in (False, True))


def quantised(data: bytes, variant: Variant) -> bytes:
    """Return a float32 filter with its products (or the hidden ones) in int8, scales of activations taken as it runs."""
    model = onnx.load_model_from_string(data)
    graph = Graph(model)
    halves = plan_of(graph, TYPES["bfloat16"]).half
    wanted = [node.name for place, node in enumerate(graph.nodes)
              if node.op_type in PRODUCTS and (place in halves or not variant.hidden)]
    renamed = [f"{name}_MatMul" for name in wanted]  # a Gemm becomes a product and a sum first
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "filter.onnx", Path(folder) / "int8.onnx"
        source.write_bytes(data)
        before = logging.root.level
        logging.root.setLevel(logging.ERROR)  # it advises a preparation that is for convolutions
        try:
            quantize_dynamic(source, target, per_channel=variant.by_channel, weight_type=QuantType.QInt8,
                             op_types_to_quantize=list(PRODUCTS), nodes_to_quantize=wanted + renamed)
        finally:
            logging.root.setLevel(before)
        result = target.read_bytes()
    found = sum(node.op_type == "MatMulInteger" for node in onnx.load_model_from_string(result).graph.node)
    if found != len(wanted):
        raise ExportError(f"{variant.name}: expected {len(wanted)} products in int8, found {found}; this ONNX Runtime names them "
                          "otherwise.")
    return result


class WithFilter:
    """An engine whose filter is another session."""

    def __init__(self, engine: Engine, data: bytes, threads: int) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        self._engine = engine
        self._session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])

    def embed(self, x: Float) -> Float:
        """Return the place of each hit, float32 [N, D]."""
        return self._engine.embed(x)

    def filter(self, x: Float, edge_index: Int) -> Float:
        """Return the filter's logit of each edge, float32 [E]."""
        feeds = {"x": x, "edge_index": np.ascontiguousarray(edge_index)}
        logits: Float = self._session.run(["output"], feeds)[0]
        return logits.reshape(-1)

    def gnn(self, x: Float, edge_index: Int, edge_attr: Float | None = None) -> Float:
        """Return the graph network's logit of each edge, float32 [E]."""
        return self._engine.gnn(x, edge_index) if edge_attr is None else self._engine.gnn(x, edge_index, edge_attr)


def judged(engine: WithFilter, x: Float, edges: Int, chunk: int = CHUNK) -> tuple[Float, float]:
    """Return the logits of edges, int64 [2, E], chunk by chunk, and the seconds that took."""
    start = time.perf_counter()
    parts = [engine.filter(x, edges[:, first : first + chunk]) for first in range(0, edges.shape[1], chunk)]
    return np.concatenate([np.empty(0, np.float32), *parts]), time.perf_counter() - start


def wanted_hits(event: Event, selection: Selection) -> NDArray[np.bool_]:
    """Return which hits belong to selected particles, bool [N]; none without truth."""
    if event.truth is None or event.truth.particles is None:
        return np.zeros(len(event), bool)
    particle, hits = np.unique(event.truth.particle_id[event.truth.particle_id > 0], return_counts=True)
    chosen = particle[select_particles(event, particle, hits, selection).mask]
    return np.isin(event.truth.particle_id, chosen)


def on_candidates(
    pipeline: Pipeline, engines: Mapping[str, WithFilter], event: Event, rounds: int, selection: Selection
) -> dict[str, dict[str, Any]]:
    """Return by name what each filter says of the candidates of one event.

    Seconds: the shortest of rounds, in turns. True pairs of hits among the edges that it keeps. "beside others": how far logits
    move when only FEW edges are judged at a time.
    """
    spec, graph = pipeline.spec, pipeline.spec.needed_graph()
    x = node_features(event, spec.features)
    pairs = radius_graph(pipeline.engine.embed(x), graph.radius, graph.k_max, "grid", pipeline.threads).pairs
    edges = orientation(event.position, graph.direction)(pairs)
    cut = logit_of_cut(spec.needed_cut("filter"))
    wanted = wanted_hits(event, selection)
    found: dict[str, dict[str, Any]] = {name: {"seconds": []} for name in engines}
    for turn in range(rounds):
        for name in list(engines) if turn % 2 == 0 else list(engines)[::-1]:
            logits, seconds = judged(engines[name], x, edges)
            found[name]["seconds"].append(seconds)
            found[name]["logits"] = logits
    part = edges[:, : 20 * FEW]
    for name, one in found.items():
        logits = one.pop("logits")
        one["seconds"] = min(one["seconds"])
        one["candidates"], one["kept"] = edges.shape[1], int(np.count_nonzero(logits > cut))
        one["beside others"] = float(np.abs(judged(engines[name], x, part, FEW)[0] - logits[: part.shape[1]]).max(initial=0.0))
        if event.truth is not None:
            counts = count_edges("filter", edges[:, logits > cut], event, wanted)
            one["true pairs"], one["true pairs kept"] = counts.wanted, counts.found_wanted
    return found


def measured(bundle: Path, events: Sequence[Path], limit: int | None, rounds: int, threads: int) -> dict[str, Any]:
    """Return the whole experiment as plain containers."""
    opened, selection = Bundle.open(bundle), Selection()
    reference = Pipeline.open(bundle, "onnxruntime", threads=threads)
    data = opened.read("filter", "onnx")
    files = {EXACT: data} | {variant.name: quantised(data, variant) for variant in VARIANTS}
    engines = {name: WithFilter(reference.engine, file, threads) for name, file in files.items()}
    sources = open_events(list(events))[:limit]
    rows: dict[str, dict[str, Any]] = {name: {"bytes": len(file)} for name, file in files.items()}
    for source in sources:
        for name, found in on_candidates(reference, engines, source.read(), rounds, selection).items():
            for key, value in found.items():
                old = rows[name].get(key, 0)
                rows[name][key] = max(old, value) if key == "beside others" else old + value
    pipelines = {name: Pipeline(opened.spec, engine, threads=threads) for name, engine in engines.items()}
    exact = pipelines.pop(EXACT)
    compared = compare_events(exact, pipelines, (source.read() for source in sources), Bands(), selection)
    for name, row in rows.items():
        row["times as fast"] = rows[EXACT]["seconds"] / row["seconds"]
        if name in compared.changes:
            change = compared.changes[name].to_dict()
            row |= {"filter": change["alone"]["filter"], "edges": change["whole"]["edges"], "tracks": change["whole"]["tracks"],
                    "truth": change.get("truth")}
    return {"machine": machine_facts(threads), "pipeline": opened.spec.name, "events": compared.events, "hits": compared.hits,
            "rounds": rounds, "chunk": CHUNK, "filters": rows, "failed": dict(compared.failed)}


def line(name: str, row: Mapping[str, Any]) -> str:
    """Return one filter in words."""
    words = [f"{row['times as fast']:.2f} times as fast, {row['bytes'] / 1e3:.0f} kB"]
    if "filter" in row:
        scores, decisions = row["filter"]["scores"], row["filter"]["decisions"]
        words.append(f"logits 50 % {scores['50 %']:.2g}, 99.9 % {scores['99.9 %']:.2g}, largest {scores['largest']:.2g}")
        words.append(f"{decisions['gained']:,} gained, {decisions['lost']:,} lost, {decisions['outside']:,} outside the band "
                     f"of {decisions['decided']:,}")
        words.append(f"{row['tracks']['moved'] / max(row['tracks']['hits'], 1):.2%} of hits in other components")
    if row.get("true pairs"):
        words.append(f"{row['true pairs kept'] / row['true pairs']:.3%} of {row['true pairs']:,} true pairs kept")
    if row.get("truth") and row["truth"]["efficiency"]:
        change = row["truth"]["efficiency"]
        words.append(f"efficiency {change['value']:+.3%} ({change['low']:+.3%} to {change['high']:+.3%})")
    words.append(f"beside other edges {row['beside others']:.2g}")
    return f"{name}: {'; '.join(words)}"


def main() -> None:
    """Run the experiment, print it and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("events", type=Path, nargs="+")
    parser.add_argument("--limit", type=int, default=3, help="events at most")
    parser.add_argument("--rounds", type=int, default=2, help="turns of each filter; the fastest counts")
    parser.add_argument("--threads", type=int, default=available_cores())
    parser.add_argument("--out", type=Path, default=Path("int8-filter.json"))
    given = parser.parse_args()
    found = measured(given.bundle, given.events, given.limit, given.rounds, given.threads)
    for name, row in found["filters"].items():
        print(line(name, row))
    given.out.write_text(json.dumps(found, indent=1, allow_nan=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
