"""`trkx bench filter` and `trkx bench gnn`: our engines and the peers on the same graphs, each compared with float64."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trkx.bundle import Bundle
from trkx.errors import TrkxError
from trkx.runtime.bench.arithmetic import work_of
from trkx.runtime.bench.cases import HALF, OWN, is_ours, open_case, own_cases
from trkx.runtime.bench.child import run_fresh
from trkx.runtime.bench.graphs import Graph, candidates, filtered, synthetic_graph
from trkx.runtime.bench.measure import Case, NotHereError, Timing, compare, growth
from trkx.runtime.bench.options import Options
from trkx.runtime.bench.ort_peer import PEERS
from trkx.runtime.bench.report import Row
from trkx.runtime.bench.sizes import events_of_sizes
from trkx.runtime.engines import open_engine
from trkx.runtime.events import open_events
from trkx.runtime.pipeline import CHUNK

Logits = NDArray[np.float32]
TILES_ITSELF = ("tiled", HALF)
"""Engines that are given all edges of a filter at once; every other case gets `CHUNK` of them, as in the pipeline."""
AFFORDABLE = 4e11
"""Operations up to which the float64 network is run."""
WRONG_HALF = 0.2
"""The same for bfloat16: what rounding to 8 bits may do in a dozen layers; what it does to tracks is another question."""
FEW = 1000
"""Edges up to which a filter's wrong logits are looked at one by one: is it float32 itself that can't do better?"""
PAUSE = 0.25
"""Seconds of rest between cases: libraries wait busily for up to 0.2 s."""
WRONG = 1e-3
"""Difference from float64, in units of the largest logit or 1, beyond which a result is called wrong."""


def known_cases() -> tuple[str, ...]:
    """Return the names of all cases: our engines, then the peers."""
    return (*own_cases(), *PEERS)


def filter_rows(options: Options) -> list[Row]:
    """Measure the edge filter of a bundle on candidates; errors as of `rows`."""
    return rows(options, "filter")


def gnn_rows(options: Options) -> list[Row]:
    """Measure the graph network of a bundle on filtered graphs; errors as of `rows`."""
    return rows(options, "gnn")


def rows(options: Options, stage: str) -> list[Row]:
    """Measure one network ("filter" or "gnn") of a bundle.

    Raises:
        BundleError, InputError, SpecError: of the bundle, the events, the options.
    """
    bundle = Bundle.open(options.needed_bundle())
    names = options.wanted(known_cases())
    found: list[Row] = []
    for graph in graphs_of(bundle, stage, options):
        options.tell(f"{stage}: {graph.name}")
        found += measured(bundle, stage, graph, names, options)
    return found


def graphs_of(bundle: Bundle, stage: str, options: Options) -> list[Graph]:
    """Return the graphs: made up if wanted, and those of the first event in every size."""
    graphs = [synthetic_graph(bundle.spec)] if options.synthetic else []
    if options.synthetic and not options.events:
        return graphs
    event = open_events(list(options.needed_events()))[0].read()
    engine = open_engine("onnxruntime", bundle, options.threads)
    make = candidates if stage == "filter" else filtered
    for sized in events_of_sizes(event, options.sizes):
        graph = make(bundle.spec, engine, sized, options.threads, options.edges)
        graphs.append(_whole_chunks(graph) if stage == "filter" else graph)
    return graphs


def _whole_chunks(graph: Graph) -> Graph:
    """Return a graph whose last chunk is full: torch.compile would compile again for another size."""
    if graph.edges <= CHUNK:
        return graph
    edges = graph.edges // CHUNK * CHUNK
    all_of_them = f"about {graph.of:,}" if graph.of else f"{graph.edges:,}"
    name = f"{graph.hits:,} hits, {edges:,} of {all_of_them} candidates"
    return Graph(name, graph.x, graph.edge_index[:, :edges], of=graph.of)


def measured(bundle: Bundle, stage: str, graph: Graph, names: tuple[str, ...], options: Options) -> list[Row]:
    """Return the rows of one graph: the cases take turns; their logits are compared with those of float64."""
    results: dict[str, Logits] = {}
    cases: dict[str, Case] = {name: Opened(bundle, stage, name, graph, options.threads) for name in names}
    timings = compare(
        cases, options.rounds, keep=lambda name, logits: results.__setitem__(name, np.asarray(logits)), pause=PAUSE
    )
    work = work_of(bundle.spec, stage)
    flops, moved = work.flops(graph.hits, graph.edges), work.bytes(graph.edges)
    truth, by = _truth(bundle, stage, graph, results, flops, options.tell)
    if options.memory:
        peaks = _peaks([name for name in names if timings[name].available], graph, stage, options)
        timings |= {name: _with_peak(timings[name], peak) for name, peak in peaks.items()}
    found = []
    for name, timing in timings.items():
        facts: dict[str, Any] = {"ns/edge": 1e9 * timing.median / graph.edges} if timing.available else {}
        if name in results and truth is not None:
            difference = float(np.abs(results[name] - truth).max())
            facts[f"max |difference| from {by}"] = difference
            allowed = WRONG * max(1.0, float(np.abs(truth).max()))
            off, lost = np.flatnonzero(~(np.abs(results[name] - truth) <= allowed)), 0
            if by == "float64" and stage == "filter" and 0 < len(off) <= FEW:
                lost = facts["edges that float32 gets wrong"] = _lost_by_float32(bundle, graph, off, results[name], allowed)
            if len(off) > lost:
                half = name == OWN + HALF and difference <= WRONG_HALF * max(1.0, float(np.abs(truth).max()))
                note = "bfloat16" if half else "WRONG RESULT"
                timing = Timing(timing.name, timing.seconds, timing.warm_up, timing.peak_bytes, note)
        sizes, series = {"hits": graph.hits, "edges": graph.edges}, "made up" if graph.name.startswith("made up") else ""
        found.append(Row(graph.name, sizes, timing, is_ours(name), flops, moved, facts, series))
    return found


def _truth(
    bundle: Bundle, stage: str, graph: Graph, results: dict[str, Logits], flops: float, tell: Callable[[str], None]
) -> tuple[NDArray[np.floating] | None, str]:
    """Return logits to compare with, and whose they are: float64 where torch is there and the graph is not too large.

    `tell` is told why they are of none in float64, for a column of differences says only whose they are.
    """
    why = f"its {flops:.1e} operations are more than {AFFORDABLE:.0e}"
    if flops <= AFFORDABLE:
        try:
            from trkx.runtime.bench.torch_peers import reference_logits

            parts = _parts(bundle, graph, stage)
            return np.concatenate([reference_logits(bundle, stage, part).reshape(-1) for part in parts]), "float64"
        except ImportError as error:  # no torch, or one that does not load
            why = str(error)
    first = next(filter(is_ours, results), None)
    tell(f"{stage}: no logits in float64 ({why}); compared with {first or 'none'}")
    return (None, "") if first is None else (results[first], first)


def _lost_by_float32(bundle: Bundle, graph: Graph, edges: NDArray[np.int64], found: Logits, allowed: float) -> int:
    """Return on how many of a few edges eager float32 says the same, not what float64 does: hits that nearly coincide."""
    from trkx.runtime.bench.torch_peers import reference_logits

    few = (graph.x, np.ascontiguousarray(graph.edge_index[:, edges]))
    plain = reference_logits(bundle, "filter", few, exact=False).reshape(-1)
    return int(np.count_nonzero(np.abs(found[edges] - plain) <= allowed))


def _parts(bundle: Bundle, graph: Graph, stage: str, tiles_itself: bool = False) -> list[tuple[NDArray[Any], ...]]:
    """Return what a network is given: all at once, or a filter's edges in chunks."""
    if stage != "filter" or tiles_itself or bundle.spec.networks[stage].looks_at_all_rows:
        return [graph.arrays()]
    return [(graph.x, graph.edge_index[:, start : start + CHUNK]) for start in range(0, graph.edges, CHUNK)]


class Opened:
    """A case that is opened (exported, traced, compiled) in its first call. Returns logits, float32 [E]."""

    def __init__(self, bundle: Bundle, stage: str, name: str, graph: Graph, threads: int) -> None:
        self._open: Callable[[], Callable[[], Logits]] = lambda: opened(bundle, stage, name, graph, threads)
        self._run: Callable[[], Logits] | None = None

    def __call__(self) -> Logits:
        """Return the logits of the whole graph."""
        if self._run is None:
            self._run = self._open()
        return self._run()


def opened(bundle: Bundle, stage: str, name: str, graph: Graph, threads: int) -> Callable[[], Logits]:
    """Return a call of one case on a graph.

    Raises:
        NotHereError, MissingExtraError: it can't run here.
    """
    if name.startswith(OWN):
        engine_name = name.removeprefix(OWN)
        engine = open_case(engine_name, bundle, threads)
        judge: Callable[..., Logits] = getattr(engine, stage)
        parts = _parts(bundle, graph, stage, engine_name in TILES_ITSELF)
        return lambda: np.concatenate([judge(*part) for part in parts])
    try:
        from trkx.runtime.bench.torch_peers import open_peer
    except ImportError as error:
        raise NotHereError(f"{error.name or 'torch'} is not installed") from error
    run = open_peer(name, bundle, stage, threads)
    pieces = _parts(bundle, graph, stage)
    return lambda: np.concatenate([run(piece).reshape(-1) for piece in pieces])


def _peaks(names: list[str], graph: Graph, stage: str, options: Options) -> dict[str, int | None]:
    """Return how far a fresh process of each case grows when it runs the graph for the first time."""
    found: dict[str, int | None] = {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "graph.npz"
        attributes = {} if graph.edge_attr is None else {"edge_attr": graph.edge_attr}
        np.savez(path, allow_pickle=False, x=graph.x, edge_index=graph.edge_index, **attributes)
        for name in names:
            options.tell(f"{stage}: memory of {name}")
            given = {"bundle": str(options.bundle), "stage": stage, "name": name, "graph": str(path), "threads": options.threads}
            try:
                found[name] = run_fresh("trkx.runtime.bench.networks:peak_here", given, options.limit)
            except TrkxError as error:  # too slow or too large for a process of its own: the time stands without it
                options.tell(f"{stage}: memory of {name} is not measured: {error}")
                found[name] = None
    return found


def peak_here(bundle: str, stage: str, name: str, graph: str, threads: int) -> int | None:
    """Return the bytes that this process grows by when a case runs a graph for the first time, after a few edges of it."""
    with np.load(graph) as held:
        whole = Graph("", held["x"], held["edge_index"], held.get("edge_attr"))
    few = Graph("", whole.x[:2], np.array([[0], [1]]), None if whole.edge_attr is None else whole.edge_attr[:1])
    first = Opened(Bundle.open(bundle), stage, name, few, threads)
    first()  # libraries are loaded, kernels compiled
    call = opened(Bundle.open(bundle), stage, name, whole, threads)
    with growth() as grown:
        call()
    return grown.bytes


def _with_peak(timing: Timing, peak: int | None) -> Timing:
    return Timing(timing.name, timing.seconds, timing.warm_up, peak, timing.note)
