"""What is timed on a device: our stages, and the ways of others on the same inputs in the same run."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from gpu_device import Device

from trkx.bundle import Bundle
from trkx.runtime.bench.arithmetic import work_of
from trkx.runtime.bench.sizes import resized
from trkx.runtime.cuda.components import components_cuda
from trkx.runtime.cuda.engines.base import DeviceEngine
from trkx.runtime.cuda.neighbours import radius_graph_cuda
from trkx.runtime.cuda.path import DEVICE_CHUNK
from trkx.runtime.events import Event
from trkx.runtime.features import node_features
from trkx.runtime.pipeline import Pipeline

Row = dict[str, Any]
REPLAYED = "triton, replayed"
"""Engine triton with its GNN as CUDA graphs, which no name of the table opens."""
MATRIX_RATE = {"fp32": "fp32", "tf32": "tf32", "bf16": "bf16", "fp16": "fp16", "mixed": "bf16"}
"""Whose measured rate the filter of a precision is held against."""


def stages(device: Device, bundle: Path, event: Event, hits: int, precision: str, rounds: int, engine: str = "triton") -> Row:
    """Return medians of the stage times, and the most memory that any of them took, of an event of so many hits."""
    sized = resized(event, hits)
    pipeline = Pipeline.open(bundle, engine, precision=precision, device=str(device.torch))
    pipeline.run(sized)  # compiles what is not compiled yet
    before, runs, walls = device.held(), [], []
    for _ in range(rounds):
        start = time.perf_counter()
        runs.append(pipeline.run(sized).stages)  # ends with labels on the host
        walls.append(time.perf_counter() - start)
    names = [stage.name for stage in runs[0]]  # checks of the event are in none, but in the total
    times = {name: statistics.median(run[n].seconds for run in runs) for n, name in enumerate(names)}
    counts = {stage.name: stage.count_out for stage in runs[0]}
    row: Row = {
        "engine": engine, "bundle": pipeline.spec.name, "precision": precision, "hits": len(sized), "rounds": rounds,
        "seconds": times, "total_seconds": statistics.median(walls), "counts": counts, "held_before_bytes": before,
        "peak_bytes": max(stage.peak_bytes for run in runs for stage in run),  # each stage begins a peak of its own
    }
    candidates = counts.get("graph", 0)
    if pipeline.spec.filter is not None and candidates:
        work = work_of(pipeline.spec, "filter").flops(len(sized), candidates)
        rate = work / times["filter"]
        row["filter"] = {"flops": work, "rate": rate, "of_matrix_rate": rate / device.rates[MATRIX_RATE[precision]]}
        row["ns_per_candidate"] = 1e9 * (times["graph"] + times["filter"]) / candidates
    return row


def alone(device: Device, bundle: Bundle, event: Event, hits: int, rounds: int) -> list[Row]:
    """Return neighbours and components by themselves, ours and plain torch's, on the embedding and the graph of an event."""
    from trkx.runtime.cuda.engines.table import open_device_engine

    sized = resized(event, hits)
    x = torch.from_numpy(node_features(sized, bundle.spec.features)).to(device.torch)
    graph = bundle.spec.needed_graph()
    points = open_device_engine("triton", bundle, device.torch, "fp32").embed(x)
    pairs = radius_graph_cuda(points, graph.radius, graph.k_max).pairs
    some = pairs[:, torch.randperm(pairs.shape[1], device=device.torch)[: 2 * len(sized)]]
    ways: dict[str, Callable[[], object]] = {
        "neighbours, trkx": lambda: radius_graph_cuda(points, graph.radius, graph.k_max),
        "neighbours, torch products of all against all": lambda: brute(points, graph.radius),
        "components, trkx": lambda: components_cuda(some, len(sized)),
        "components, torch label propagation": lambda: propagated(some, len(sized)),
    }
    rows = []
    for name, work in ways.items():
        with device.peak() as peak:
            taken = device.seconds(work, rounds)
        count = pairs.shape[1] if name.startswith("neighbours") else some.shape[1]
        rows.append({"what": name, "hits": len(sized), "seconds": taken, "peak_bytes": peak.highest, "edges": count})
    return rows


def brute(points: torch.Tensor, radius: float, tile: int = 4096) -> torch.Tensor:
    """Return pairs within the radius as a user of torch alone would: |a|^2 + |b|^2 - 2ab in tiles, float32, not exact at r."""
    norms = (points * points).sum(1)
    found = []
    for start in range(0, len(points), tile):
        here = points[start : start + tile]
        squared = norms[start : start + tile, None] + norms[None, start:] - 2.0 * here @ points[start:].T
        near = (squared <= radius * radius).triu(1).nonzero().T
        found.append(near + start)
    return torch.cat(found, 1) if found else torch.empty((2, 0), dtype=torch.int64, device=points.device)


def propagated(edges: torch.Tensor, hits: int) -> torch.Tensor:
    """Return components by the lowest label that spreads along edges, with pointer jumping, in torch operations."""
    label = torch.arange(hits, device=edges.device)
    source, target = edges
    while True:
        lower = label.scatter_reduce(0, target, label[source], "amin")
        lower = lower.scatter_reduce(0, source, label[target], "amin")
        lower = lower[lower]
        if torch.equal(lower, label):
            return label
        label = lower


def networks(device: Device, bundle: Bundle, event: Event, hits: int, rounds: int, ways: dict[str, tuple[str, str]]) -> list[Row]:
    """Return filter and GNN by themselves on one event's edges, for each way (name: engine, precision)."""
    from trkx.runtime.cuda.engines.fused import open_engine
    from trkx.runtime.cuda.engines.table import open_device_engine

    sized = resized(event, hits)
    x = torch.from_numpy(node_features(sized, bundle.spec.features)).to(device.torch)
    tracks = Pipeline.open(bundle.path, "triton", precision="fp32", device=str(device.torch)).run(sized, keep_graphs=True)
    candidates = torch.from_numpy(tracks.graphs["graph"]).to(device.torch)
    edges = torch.from_numpy(tracks.graphs.get("filter", tracks.graphs["graph"])).to(device.torch)
    together = bundle.spec.filter is not None and bundle.spec.filter.looks_at_all_rows
    exact: dict[str, torch.Tensor] = {}
    rows = []
    for name, (engine, precision) in ways.items():
        try:
            if engine == REPLAYED:
                opened: DeviceEngine = open_engine(bundle, device.torch, precision, replay=True)
            else:
                opened = open_device_engine(engine, bundle, device.torch, precision)
            works: dict[str, Callable[[], torch.Tensor]] = {"gnn": lambda opened=opened: opened.gnn(x, edges)}  # type: ignore[misc]
            if bundle.spec.filter is not None:
                works["filter"] = lambda opened=opened: judged(opened.edge_filter(x), candidates, together)  # type: ignore[misc]
            for stage, work in works.items():
                with device.peak() as peak:
                    taken = device.seconds(work, rounds)
                    logits = work()
                if (engine, precision) == ("triton", "fp32"):
                    exact[stage] = logits
                off = float((logits - exact[stage]).norm() / exact[stage].norm()) if stage in exact else None
                own = engine.startswith(("onnxruntime", "tensorrt"))  # their allocators are not torch's
                rows.append({"way": name, "stage": stage, "hits": len(sized), "edges": len(logits), "seconds": taken,
                             "peak_bytes": None if own else peak.highest, "held_before_bytes": peak.before,
                             "used_on_device_bytes": device.used(), "relative_to_ours_in_fp32": off})
        except Exception as error:  # absent peers raise classes of many libraries, and none must end the run
            rows.append({"way": name, "stage": "", "hits": len(sized), "error": repr(error)[:300]})
    return rows


def judged(
    judge: Callable[[torch.Tensor], torch.Tensor], edges: torch.Tensor, together: bool = False, chunk: int = DEVICE_CHUNK
) -> torch.Tensor:
    """Return the filter's logits, float32 [E], of edges [2, E], E at least 1, in chunks as the pipeline gives them.

    together: the filter looks at all rows at once, so that there is one chunk.
    """
    count = edges.shape[1]
    step = count if together else chunk
    return torch.cat([judge(edges[:, start : start + step]) for start in range(0, count, step)])
