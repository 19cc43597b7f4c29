"""How our tracks differ from those of the assembled pipeline, and by whose doing: our GNN and float64 judge its graph as well."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trkx.bundle import Bundle
from trkx.errors import TrkxError
from trkx.runtime.bench.arithmetic import work_of
from trkx.runtime.bench.cases import open_case
from trkx.runtime.bench.child import run_fresh
from trkx.runtime.bench.flips import compared, keys
from trkx.runtime.bench.measure import NotHereError
from trkx.runtime.bench.networks import AFFORDABLE
from trkx.runtime.bench.options import Options
from trkx.runtime.edge_features import edge_features
from trkx.runtime.edges import canonical, oriented
from trkx.runtime.events import Event, open_events
from trkx.runtime.features import node_features
from trkx.spec import logit_of_cut

Int = NDArray[np.int64]
Facts = dict[str, Any]
FLOAT64 = "float64"
"""In the place of an engine: the networks in float64, eager PyTorch."""


def differences(
    bundle: Bundle, event: Event, folder: Path, theirs: Path, ours: Mapping[str, Path], options: Options
) -> dict[str, Facts]:
    """Return how the tracks of each of ours differ from those of the mended pipeline, as columns of a report.

    Args:
        bundle: of both.
        event: hits.
        folder: where the event is kept.
        theirs: file of labels, edges and logits that `run_assembled` kept.
        ours: engine to the file of labels and edges that our pipeline kept; one that is not there is left out.
        options: threads, limit; is told what is done.
    """
    if not theirs.is_file():
        return {}
    with np.load(theirs) as held:
        kept = dict(held)

    @cache
    def judged(engine: str) -> Int | None:
        try:
            return judged_fresh(bundle.path, folder, engine, theirs, options)
        except TrkxError as error:  # the other columns stand without it
            options.tell(f"{engine}: GNN flips are not separated: {error}")
            return None

    found: dict[str, Facts] = {}
    affordable = work_of(bundle.spec, "gnn").flops(len(event), kept["filter"].shape[1]) <= AFFORDABLE
    for engine, path in ours.items():
        if not path.is_file():
            continue
        with np.load(path) as held:
            own = dict(held)
        if (passed := judged(engine)) is not None:
            own["same_graph"] = passed
        flips = compared(bundle.spec, own, kept)
        found[engine] = flips.to_facts() | filter_verdict(bundle, event, flips.edges, own)
        changed = np.empty((2, 0), np.int64) if flips.same_graph is None else flips.same_graph.edges
        if affordable and changed.shape[1] and (exact := judged(FLOAT64)) is not None:
            found[engine]["gnn flips, same graph, float64 with us"] = agreements(changed, own["same_graph"], exact, len(event))
    return found


def judged_fresh(bundle: Path, folder: Path, engine: str, graph: Path, options: Options) -> Int:
    """Return the edges, int64 [2, E'], that pass the cut of a GNN on a given graph, judged in a fresh process: `judged_here`.

    Raises:
        NotHereError: float64 is wanted and torch is not installed.
        TrkxError: the process failed, or took longer than options.limit seconds.
    """
    out = graph.with_name(f"{graph.stem}-{engine}.npy")
    given = {"bundle": str(bundle), "event": str(folder), "engine": engine, "threads": options.threads, "graph": str(graph),
             "out": str(out)}
    run_fresh("trkx.runtime.bench.differences:judged_here", given, options.limit, options.threads)
    passed: Int = np.load(out, allow_pickle=False)
    return passed


def judged_here(bundle: str, event: str, engine: str, threads: int, graph: str, out: str) -> int:
    """Run the GNN of a bundle on a given graph, by (target, source) as in the pipeline; return how many edges pass its cut.

    Args:
        bundle: folder.
        event: folder of the event.
        engine: name, or FLOAT64.
        threads: of the engine.
        graph: file of arrays; the edges are "filter", int64 [2, E].
        out: file for the edges that pass, int64 [2, E'].

    Raises:
        NotHereError: float64 is wanted and torch is not installed.
    """
    opened = Bundle.open(bundle)
    x = node_features(open_events([Path(event)])[0].read(), opened.spec.features)
    with np.load(graph) as held:
        edges = canonical(held["filter"])
    passed = edges
    if edges.shape[1]:
        more = [edge_features(opened.spec, x, edges)] if opened.spec.edge_features else []
        logits: NDArray[np.floating]
        if engine == FLOAT64:
            try:
                from trkx.runtime.bench.torch_peers import reference_logits
            except ImportError as error:
                raise NotHereError(f"{error.name or 'torch'} is not installed") from error
            logits = reference_logits(opened, "gnn", (x, edges, *more)).reshape(-1)
        else:
            logits = open_case(engine, opened, threads).gnn(x, edges, *more)
        passed = edges[:, logits - np.float64(logit_of_cut(opened.spec.needed_cut("gnn"))) > 0.0]
    np.save(out, passed, allow_pickle=False)
    return int(passed.shape[1])


def agreements(edges: Int, ours: Int, exact: Int, hits: int) -> int:
    """Return of how many of `edges` it is true that both or neither of `ours` and `exact` hold them; all int64 [2, E]."""
    asked = keys(edges, hits)
    return int(np.count_nonzero(np.isin(asked, keys(ours, hits)) == np.isin(asked, keys(exact, hits))))


def filter_verdict(bundle: Bundle, event: Event, edges: Int, ours: Mapping[str, NDArray[Any]]) -> Facts:
    """Return on how many of the edges that two filters decide otherwise ours decides as float64 does.

    Nothing without torch, and for filters whose logits depend on the other edges of the event.
    """
    if not edges.shape[1] or bundle.spec.filter is None or bundle.spec.filter.looks_at_all_rows:
        return {}
    try:
        from trkx.runtime.bench.torch_peers import reference_logits
    except ImportError:
        return {}
    x = node_features(event, bundle.spec.features)
    edges = oriented(edges, event.position, bundle.spec.needed_graph().direction)
    exact = reference_logits(bundle, "filter", (x, edges)).reshape(-1) > logit_of_cut(bundle.spec.needed_cut("filter"))
    return {"filter flips, float64 with us": agreements(edges, ours["filter"], edges[:, exact], len(event))}
