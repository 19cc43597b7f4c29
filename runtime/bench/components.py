"""`trkx bench components`: union-find and edge contraction, scipy and scikit-network, on graphs of events and on awkward ones.

A library is timed for building its matrix and finding components; numbering them as `connected_components` does is not timed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trkx.bundle import Bundle
from trkx.runtime.bench.adapters.labels import renumbered
from trkx.runtime.bench.adapters.table import LABELLING
from trkx.runtime.bench.cases import OWN
from trkx.runtime.bench.graphs import filtered
from trkx.runtime.bench.measure import Case, compare
from trkx.runtime.bench.options import Options
from trkx.runtime.bench.report import Row
from trkx.runtime.bench.sizes import events_of_sizes
from trkx.runtime.engines import open_engine
from trkx.runtime.events import open_events
from trkx.runtime.labelling import connected_components, edge_contraction
from trkx.spec import logit_of_cut

Int = NDArray[np.int64]
UNION_FIND = OWN + "union_find"
CONTRACTION = OWN + "edge_contraction"
AFTER_GNN, AFTER_FILTER = "after the GNN", "after the filter"
HITS = 140_000
"""Hits of made-up graphs without --sizes: an event of mu = 200."""


@dataclass(frozen=True)
class Given:
    """What hits are labelled by.

    name: in words. edge_index: int64 [2, E]. hits: number of hits. weight: float64 [E], logit less that of the cut, or None.
    series: what it has in common with such a graph of another size.
    """

    name: str
    edge_index: Int
    hits: int
    weight: NDArray[np.float64] | None = None
    series: str = ""


def known_cases() -> tuple[str, ...]:
    """Return the names of all cases."""
    return (UNION_FIND, *LABELLING, CONTRACTION)


def rows(options: Options) -> list[Row]:
    """Measure the labelling: on graphs of the first event in every size, if there is a bundle and an event, and on made-up ones.

    Raises:
        BundleError, InputError, SpecError: of the bundle, the events, the options.
    """
    names = options.wanted(known_cases())
    found: list[Row] = []
    for given in (*_of_events(options), *_made_up(options)):
        options.tell(f"components: {given.name}")
        found += measured(given, names, options)
    return found


def measured(given: Given, names: tuple[str, ...], options: Options) -> list[Row]:
    """Return the rows of one graph; edge contraction only where edges have weights, components where they have none."""
    labels: dict[str, Any] = {}
    cases = {name: case(name, given) for name in names if (name == CONTRACTION) == (given.weight is not None)}
    timings = compare(cases, options.rounds, options.memory, keep=labels.__setitem__)
    own = connected_components(given.edge_index, given.hits)
    count = given.edge_index.shape[1]
    found = []
    for name, timing in timings.items():
        facts: dict[str, Any] = {}
        if timing.available:
            facts = {"labels": int(labels[name].max(initial=-1)) + 1, "ns/edge": 1e9 * timing.median / max(count, 1)}
            if name in LABELLING:
                facts["same labels"] = bool(np.array_equal(renumbered(labels[name]), own))
        sizes = {"hits": given.hits, "edges": count}
        found.append(Row(given.name, sizes, timing, name.startswith(OWN), facts=facts, series=given.series))
    return found


def case(name: str, given: Given) -> Case:
    """Return a call of one case on a graph; its first call raises MissingExtraError where the library is not installed."""
    edges, hits, weight = given.edge_index, given.hits, given.weight
    if name == UNION_FIND:
        return lambda: connected_components(edges, hits)
    if name == CONTRACTION and weight is not None:
        return lambda: edge_contraction(edges, weight, hits)
    return lambda: LABELLING[name].opened()(edges, hits)


def _of_events(options: Options) -> Iterator[Given]:
    """Yield the graphs that the bundle makes of the first event: what passes the filter, and what passes the GNN."""
    if options.bundle is None or not options.events:
        return
    bundle = Bundle.open(options.bundle)
    engine = open_engine("onnxruntime", bundle, options.threads)
    cut = np.float64(logit_of_cut(bundle.spec.needed_cut("gnn")))
    event = open_events(list(options.events))[0].read()
    for sized in events_of_sizes(event, options.sizes):
        options.tell(f"components: {len(sized):,} hits through the networks")
        graph = filtered(bundle.spec, engine, sized, options.threads)
        weight = engine.gnn(graph.x, graph.edge_index, graph.edge_attr) - cut
        hits, edges = graph.hits, graph.edge_index
        kept = edges[:, weight > 0.0]
        yield Given(f"{hits:,} hits, {kept.shape[1]:,} edges after the GNN", kept, hits, series=AFTER_GNN)
        yield Given(f"{hits:,} hits, {graph.edges:,} edges after the filter", edges, hits, series=AFTER_FILTER)
        yield Given(f"{hits:,} hits, {graph.edges:,} edges with the GNN's logits", edges, hits, weight, "with the GNN's logits")


def _made_up(options: Options) -> Iterator[Given]:
    for hits in options.sizes or (HITS,):
        for name, make in MADE_UP.items():
            edges = make(hits, np.random.default_rng(0))
            yield Given(f"made up, {hits:,} hits: {name}", edges, hits, series=f"made up: {name}")


def _path(hits: int, rng: np.random.Generator) -> Int:
    return rng.permutation(hits)[np.stack([np.arange(hits - 1), np.arange(1, hits)])][:, rng.permutation(hits - 1)]


def _star(hits: int, rng: np.random.Generator) -> Int:
    return np.stack([np.full(hits - 1, hits - 1), rng.permutation(hits - 1)])


def _tracks(hits: int, rng: np.random.Generator) -> Int:
    order = rng.permutation(hits)
    first = np.arange(hits - 1)
    first = first[first % 8 != 7]
    return np.stack([order[first], order[first + 1]])


MADE_UP: Mapping[str, Callable[[int, np.random.Generator], Int]] = {
    "tracks of 8 hits": _tracks,
    "one long path, in any order": _path,
    "a star": _star,
    "random, half an edge a hit": lambda hits, rng: rng.integers(0, hits, (2, hits // 2)),
    "random, 10 edges a hit: one component": lambda hits, rng: rng.integers(0, hits, (2, 10 * hits)),
}
"""Name to edges, int64 [2, E]."""
