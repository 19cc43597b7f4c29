"""What must hold on a device before anything is timed: kernels against their references, repeatability, no growth of memory."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from gpu_device import Device
from gpu_times import judged
from numpy.typing import NDArray

from trkx.bundle import Bundle
from trkx.runtime.bench.sizes import resized
from trkx.runtime.cuda.components import components_cuda
from trkx.runtime.cuda.contraction import IN_REGISTERS
from trkx.runtime.cuda.edges import canonical_on_device, orientation_on_device
from trkx.runtime.cuda.labelling import edge_contraction_cuda
from trkx.runtime.cuda.neighbours import radius_graph_cuda
from trkx.runtime.cuda.path import DEVICE_CHUNK
from trkx.runtime.edge_features import edge_features
from trkx.runtime.edges import canonical, oriented
from trkx.runtime.engines.eager import load_networks
from trkx.runtime.events import Event
from trkx.runtime.features import node_features
from trkx.runtime.labelling import connected_components, edge_contraction
from trkx.runtime.labelling.agreement import same_components
from trkx.runtime.measure import resident_bytes
from trkx.runtime.neighbours import radius_graph
from trkx.runtime.pipeline import Pipeline
from trkx.runtime.tracks import Tracks
from trkx.spec import logit_of_cut

Real = NDArray[np.float32]
RELATIVE = {"fp32": 5e-6, "tf32": 3e-3, "fp16": 3e-3, "bf16": 2e-2}
"""Largest norm of the difference to float64 over the norm of what is compared: roundings of 24, 11, 11 and 8 bits through six to
twenty layers, some three times what twins of the kernels showed; a wrong sum or a swapped input is off by tenths."""
WORST = {"fp32": 1e-4, "tf32": 0.02, "fp16": 0.02, "bf16": 0.15}
"""Largest difference of one row over the root of the mean square of all: one wrong row among many moves no norm."""
FEW = 100
"""Rows below which one rounding may be all there is: limits are ten times as wide."""
STRAY = 1e-4
"""Part of the edges that may be other ones where embeddings are rounded in another order, at the radius and the cuts."""
JUDGED = 200_000
"""Candidates whose logits are compared in float64, about; all of them go through the engine."""
ENDS = 200
"""Candidates at the begin and the end of each chunk that are among them: more rows than a program takes, the last ones masked."""
COMPONENTS = (2, 16, 17, 32, 33, 64, 65, 128, 129, 256, 257, 512, 513)
"""Hits of components that are contracted: the fullest and the emptiest of each size class, and one that goes to the host."""
LOOSER = 1.25
"""Added to weights: as if the cut were 0.3 instead of 0.6. Components grow together, and so do those that are contracted."""


@dataclass(frozen=True)
class Check:
    """What was checked, what was found, whether it holds."""

    name: str
    found: str
    holds: bool


def kernels(device: Device, sizes: tuple[int, ...], seed: int) -> Iterator[Check]:
    """Compare neighbours, components and contraction with those of the CPU on fresh random inputs."""
    rng = np.random.default_rng(seed)
    for hits in sizes:
        for dim in (3, 8):
            points = rng.normal(size=(hits, dim)).astype(np.float32)
            radius = _radius(dim, hits)
            for k_max in (None, 6):
                name = f"neighbours, {hits:,} random points in {dim} axes, k_max {k_max}"
                yield _same_pairs(name, device, points, radius, k_max)
        ends = rng.integers(0, max(hits, 1), (2, hits * 2 // 3))
        weight = rng.normal(size=ends.shape[1])
        yield _same_labels(f"components, {hits:,} hits, random edges", components_cuda, connected_components, device, ends, hits)
        yield _same_clusters(f"contraction, {hits:,} hits, random edges", device, ends, weight, hits)
    for hits in COMPONENTS if device.real else COMPONENTS[:3]:
        copies = max(1, 2000 // hits) if device.real else 2
        ends, weight = _mixed(rng, hits, copies)
        for held in (128, 0):  # weights in registers where they fit, and all in memory
            name = f"contraction, {copies} components of {hits} hits, up to {held} in registers"
            yield _same_clusters(name, device, ends, weight, hits * copies, held)


def _mixed(rng: np.random.Generator, hits: int, copies: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return edges and weights of components with negative edges inside, and many ties: a tree, and as many edges again."""
    ends, weights = [], []
    for copy in range(copies):
        tree = np.stack([rng.integers(0, np.arange(1, hits)), np.arange(1, hits)])
        ends.append(np.concatenate([tree, rng.integers(0, hits, (2, hits))], 1) + copy * hits)
        weights.append(np.concatenate([rng.integers(1, 5, hits - 1), rng.integers(-5, 4, hits)]))
    order = rng.permutation(copies * (2 * hits - 1))
    return rng.permutation(hits * copies)[np.concatenate(ends, 1)[:, order]], np.concatenate(weights)[order].astype(np.float64)


def _same_clusters(
    name: str, device: Device, edges: NDArray[np.int64], weight: NDArray[np.floating[Any]], hits: int, held: int = IN_REGISTERS
) -> Check:
    """Compare contraction with the CPU's, exactly, and on a GPU time it, its checks and its waits for the device included."""
    given = _on(device, edges), _on(device, weight)
    found, wanted = edge_contraction_cuda(*given, hits, held).cpu().numpy(), edge_contraction(edges, weight, hits)
    said = _differences(found, wanted)
    if device.real:
        said += f"; {1e3 * device.seconds(lambda: edge_contraction_cuda(*given, hits, held), 10):.3f} ms"
    return Check(name, said, np.array_equal(found, wanted))


def _radius(dim: int, hits: int) -> float:
    """Return a radius at which normal points have some ten neighbours."""
    return float(1.2 * (10.0 / max(hits, 10)) ** (1.0 / dim) * 2.0)


def _same_pairs(name: str, device: Device, points: Real, radius: float, k_max: int | None = None) -> Check:
    found = radius_graph_cuda(_on(device, points), radius, k_max)
    wanted = radius_graph(points, radius, k_max)
    same = np.array_equal(found.pairs.cpu().numpy(), wanted.pairs) and found.truncated == wanted.truncated
    return Check(name, f"{found.pairs.shape[1]:,} pairs, {wanted.pairs.shape[1]:,} on the CPU", same)


def _same_labels(name: str, here: Any, there: Any, device: Device, edges: NDArray[np.int64], hits: int) -> Check:
    found, wanted = here(_on(device, edges), hits).cpu().numpy(), there(edges, hits)
    return Check(name, _differences(found, wanted), np.array_equal(found, wanted))


def _differences(found: NDArray[Any], wanted: NDArray[Any]) -> str:
    return f"{int(np.count_nonzero(found != wanted)):,} of {len(wanted):,} differ"


def event_checks(
    device: Device, bundle: Bundle, event: Event, sizes: tuple[int, ...], precisions: tuple[str, ...]
) -> Iterator[Check]:
    """Compare every stage on real events with the CPU's: pairs and labels exactly, networks with float64 on the same device."""
    done = set()
    for hits in sizes:
        sized = resized(event, hits)
        if len(sized) in done:  # copies of an event are not of every size
            continue
        done.add(len(sized))
        x = node_features(sized, bundle.spec.features)
        graph = bundle.spec.needed_graph()
        cpu = Pipeline.open(bundle.path)
        points = cpu.engine.embed(x)
        yield _same_pairs(f"neighbours, event of {hits:,} hits", device, points, graph.radius, graph.k_max)
        tracks = cpu.run(sized, keep_graphs=True)
        candidates, edges = tracks.graphs["graph"], tracks.graphs.get("filter", tracks.graphs["graph"])
        surviving = tracks.graphs["gnn"]
        yield from _same_edges(device, bundle, sized, candidates)
        yield from _same_tracks(device, bundle, sized, tracks)
        if edges.shape[1]:
            cut = logit_of_cut(bundle.spec.needed_cut("gnn"))
            attributes = [edge_features(bundle.spec, x, edges)] if bundle.spec.edge_features else []
            weight = cpu.engine.gnn(x, edges, *attributes) - np.float64(cut)
            for name, more in (("", 0.0), (", looser cut", LOOSER)):
                for held in (128, 64, 0) if device.real else (IN_REGISTERS,):
                    what = f"contraction, event of {hits:,} hits{name}, up to {held} in registers"
                    yield _same_clusters(what, device, edges, weight + more, hits, held)
        yield _same_labels(f"components, event of {hits:,} hits", components_cuda, connected_components, device, surviving, hits)
        for precision in precisions:
            yield from _networks(device, bundle, precision, x, candidates, edges)


def _networks(
    device: Device, bundle: Bundle, precision: str, x: Real, candidates: NDArray[np.int64], edges: NDArray[np.int64],
    chunk: int = DEVICE_CHUNK,
) -> Iterator[Check]:
    """Compare networks with float64: the filter as the pipeline runs it, all candidates in its chunks, of which some are read."""
    from trkx.runtime.cuda.engines.table import open_device_engine

    engine = open_device_engine("triton", bundle, device.torch, precision)
    exact = {stage: network.to(device.torch).double() for stage, network in load_networks(bundle).items()}
    here, wide = _on(device, x), _on(device, x).double()
    every = _on(device, candidates)
    together = bundle.spec.filter is not None and bundle.spec.filter.looks_at_all_rows
    read = torch.arange(every.shape[1]) if together else compared(every.shape[1], chunk)
    some = every[:, read.to(device.torch)]
    graph = _on(device, edges)
    with torch.no_grad():
        pairs = [("embedding", engine.embed(here), exact["embedding"](wide))]
        if "filter" in exact and some.shape[1]:
            logits = judged(engine.edge_filter(here), every, together, chunk)
            odd = int((~logits.isfinite()).sum())
            yield Check(f"filter in {precision}, {len(x):,} hits: all {len(logits):,} candidates",
                        f"{odd:,} logits not finite", len(logits) == every.shape[1] and not odd)
            found = logits[read.to(device.torch)]
            pairs.append(("filter", found, exact["filter"](wide, some).reshape(-1)))
        if graph.shape[1]:
            pairs.append(("gnn", engine.gnn(here, graph), exact["gnn"](wide, graph).reshape(-1)))
    for stage, found, wanted in pairs:
        yield judged_close(f"{stage} in {precision}, {len(x):,} hits, {found.shape[0]:,} rows", found, wanted, precision)


def compared(count: int, chunk: int) -> torch.Tensor:
    """Return which of so many candidates are compared, int64, ascending: every few, and those at both ends of each chunk.

    The step is odd, so that every row of a program, whose rows are a power of two, is read by turns.
    """
    bounds = torch.tensor([*range(0, count, chunk), count])
    ends = (bounds[:, None] + torch.arange(-ENDS, ENDS)).reshape(-1)
    every = torch.arange(0, count, max(1, count // JUDGED) | 1)
    found: torch.Tensor = torch.cat([every, ends[(ends >= 0) & (ends < count)]]).unique()
    return found


def thinned(pairs: torch.Tensor, most: int) -> torch.Tensor:
    """Return at most so many of pairs [2, E], as sorted as before, from all over: the first are of few hits alone."""
    step = max(1, -(-pairs.shape[1] // max(most, 1)))
    return pairs[:, ::step].contiguous()


def judged_close(name: str, found: torch.Tensor, wanted: torch.Tensor, precision: str) -> Check:
    """Return whether what was found, float32 [rows, …], is as near to float64 as its precision allows, in all and in each row."""
    if found.shape != wanted.shape:
        return Check(name, f"shape {list(found.shape)}, expected {list(wanted.shape)}", False)
    if not wanted.numel():
        return Check(name, "empty, as expected", True)
    off, size = (found.double() - wanted), wanted.norm().clamp(min=1e-30)
    relative, worst = float(off.norm() / size), float(off.abs().max() / (size / wanted.numel() ** 0.5))
    wide = 10.0 if len(wanted) < FEW else 1.0
    holds = relative < wide * RELATIVE[precision] and worst < wide * WORST[precision]  # NaN holds nothing
    return Check(name, f"relative {relative:.2e}, worst row {worst:.2e}", holds)


def _same_edges(device: Device, bundle: Bundle, event: Event, candidates: NDArray[np.int64]) -> Iterator[Check]:
    """Compare direction and order of edges with the CPU's, exactly."""
    direction = bundle.spec.needed_graph().direction
    pairs = np.sort(candidates, axis=0)
    found = orientation_on_device(_on(device, event.position), direction)(_on(device, pairs))
    wanted = oriented(pairs, event.position, direction)
    name = f"{pairs.shape[1]:,} edges, event of {len(event):,} hits"
    yield Check(f"direction of {name}", "as on the CPU", np.array_equal(found.cpu().numpy(), wanted))
    ordered = canonical_on_device(found, len(event)).cpu().numpy()
    yield Check(f"order of {name}", "as on the CPU", np.array_equal(ordered, canonical(wanted)))


def _same_tracks(device: Device, bundle: Bundle, event: Event, tracks: Tracks) -> Iterator[Check]:
    """Compare the whole pipeline in float32 with the CPU's: edges after each stage, then components."""
    pipeline = Pipeline.open(bundle.path, "triton", device=str(device.torch))
    found = pipeline.run(event, keep_graphs=True)
    for stage, edges in tracks.graphs.items():
        here, there = (set(map(tuple, graph.T.tolist())) for graph in (found.graphs[stage], edges))
        stray = len(here ^ there)
        allowed = max(2, int(STRAY * len(there)))
        name = f"pipeline, {len(event):,} hits: edges after {stage}"
        yield Check(name, f"{stray} of {len(there):,} are others", stray <= allowed)
    moved = int(np.count_nonzero(~same_components(found.label, tracks.label)))
    allowed = max(10, int(10 * STRAY * len(event)))
    yield Check(f"pipeline, {len(event):,} hits: tracks", f"{moved} hits are in other components", moved <= allowed)


def replayed(device: Device, bundle: Bundle, precision: str, events: Sequence[Event]) -> Iterator[Check]:
    """Compare the GNN as CUDA graphs with the plain one, bit by bit: recorded, replayed, and after recordings were let go."""
    from trkx.runtime.cuda.engines.fused import open_engine

    plain, again = (open_engine(bundle, device.torch, precision, replay=replay) for replay in (False, True))
    graph = bundle.spec.needed_graph()
    for turn in range(2):
        for event in events:
            x = _on(device, node_features(event, bundle.spec.features))
            pairs = thinned(radius_graph_cuda(plain.embed(x), graph.radius, graph.k_max).pairs, 4 * len(event))
            if not pairs.shape[1]:
                continue
            same = torch.equal(plain.gnn(x, pairs), again.gnn(x, pairs))
            name = f"GNN as CUDA graph in {precision}, {len(event):,} hits, time {turn + 1}"
            yield Check(name, "the same bits" if same else "other bits", same)


def repeatable(pipeline: Pipeline, event: Event, runs: int) -> Check:
    """Run an event again and again; edges of every stage, logits' decisions and labels must be the same bits."""
    digests = []
    for _ in range(runs):
        tracks = pipeline.run(event, keep_graphs=True)
        digest = hashlib.sha256(tracks.label.tobytes())
        for name in sorted(tracks.graphs):
            digest.update(np.ascontiguousarray(tracks.graphs[name]).tobytes())
        digests.append(digest.hexdigest())
    return Check(f"{runs} runs of {len(event):,} hits", _alike(len(set(digests))), len(set(digests)) == 1)


def repeatable_logits(device: Device, bundle: Bundle, precision: str, event: Event, runs: int) -> Check:
    """Run filter and GNN on the same graph again and again; logits must be the same bits."""
    from trkx.runtime.cuda.engines.table import open_device_engine

    x = _on(device, node_features(event, bundle.spec.features))
    engine = open_device_engine("triton", bundle, device.torch, precision)
    graph = bundle.spec.needed_graph()
    pairs = thinned(radius_graph_cuda(engine.embed(x), graph.radius, graph.k_max).pairs, 4 * len(event))
    digests = set()
    for _ in range(runs):
        logits = [engine.gnn(x, pairs)] + ([engine.edge_filter(x)(pairs)] if bundle.spec.filter else [])
        digests.add(hashlib.sha256(b"".join(one.cpu().numpy().tobytes() for one in logits)).hexdigest())
    name = f"logits in {precision}, {runs} runs of {pairs.shape[1]:,} edges"
    return Check(name, _alike(len(digests)), len(digests) == 1)


def _alike(results: int) -> str:
    return "all the same bits" if results == 1 else f"{results} different results"


def growth(device: Device, pipeline: Pipeline, event: Event, events: int) -> tuple[Check, dict[str, Any]]:
    """Run many events of differing sizes; tensors and process must hold as much after the last as after a tenth of them."""
    rng = np.random.default_rng(0)
    hits = [int(n) for n in rng.integers(max(len(event) // 2, 1), len(event) + 1, 8)]
    sized = [resized(event, n) for n in hits]
    warm = max(events // 10, len(sized))
    for turn in range(warm):
        pipeline.run(sized[turn % len(sized)])
    device.wait()
    held, process = device.held(), resident_bytes()
    for turn in range(warm, events):
        pipeline.run(sized[turn % len(sized)])
    device.wait()
    grown, fatter = device.held() - held, resident_bytes() - process
    found = {"events": events, "hits": hits, "tensor_bytes": [held, held + grown], "process_bytes": [process, process + fatter]}
    limit = 64 << 20  # of the process: caches of the allocator and of compiled forms; a leaked event of 30 000 hits is 100 kB
    holds = (grown <= 0 or not device.real) and fatter < limit
    return Check(f"{events} events", f"tensors {grown:+,} bytes, process {fatter:+,}", holds), found


def _on(device: Device, values: NDArray[Any]) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(values)).to(device.torch)
