"""Graphs to run networks on: real events through a bundle's earlier stages, and made-up ones."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trkx.errors import InputError
from trkx.runtime.edge_features import edge_features
from trkx.runtime.edges import canonical, oriented
from trkx.runtime.engines import Engine
from trkx.runtime.events.event import Event
from trkx.runtime.features import node_features
from trkx.runtime.neighbours import pair_stream
from trkx.runtime.pipeline import CHUNK
from trkx.spec import PipelineSpec, logit_of_cut

Float = NDArray[np.float32]
Int = NDArray[np.int64]
HITS, EDGES = 20_000, 120_000


@dataclass(frozen=True)
class Graph:
    """What a network is given.

    name: in words. x: float32 [N, F]. edge_index: int64 [2, E]. edge_attr: float32 [E, A] or None. of: edges that there were,
    if only some of them are here.
    """

    name: str
    x: Float
    edge_index: Int
    edge_attr: Float | None = None
    of: int | None = None

    @property
    def hits(self) -> int:
        """Number of hits."""
        return len(self.x)

    @property
    def edges(self) -> int:
        """Number of edges."""
        return int(self.edge_index.shape[1])

    def arrays(self) -> tuple[Float | Int, ...]:
        """Return the inputs of a network that judges edges."""
        return (self.x, self.edge_index) if self.edge_attr is None else (self.x, self.edge_index, self.edge_attr)


def synthetic_graph(spec: PipelineSpec, hits: int = HITS, edges: int = EDGES, seed: int = 0) -> Graph:
    """Return a made-up graph: features inside their trained ranges, ends of edges anywhere, sorted by target then source."""
    rng = np.random.default_rng(seed)
    x = np.empty((hits, len(spec.features)), np.float32)
    for column, feature in enumerate(spec.features):
        low, high = (0.05, 1.0) if feature.low is None or feature.high is None else (feature.low, feature.high)
        x[:, column] = rng.uniform(low, high, hits)
    source = rng.integers(0, hits, edges)
    index = canonical(np.stack([source, (source + rng.integers(1, hits, edges)) % hits]))
    width = len(spec.edge_features)
    attributes = rng.normal(size=(edges, width)).astype(np.float32) if width else None
    return Graph(f"made up: {hits:,} hits, {edges:,} edges", x, index, attributes)


def candidates(spec: PipelineSpec, engine: Engine, event: Event, threads: int, most: int | None = None) -> Graph:
    """Return the graph that the filter sees, or `most` of its edges: whole tasks of the neighbour search, evenly spread.

    Raises:
        InputError: the event has no two hits within the radius.
    """
    graph = spec.needed_graph()
    x = node_features(event, spec.features)
    stream = pair_stream(engine.embed(x), graph.radius, graph.k_max, threads=threads)
    found: list[Int] = []
    held, total = 0, 0
    every = list(range(stream.tasks))
    # tasks in an order that spreads a few of them over the event
    order = every if most is None else sorted(every, key=lambda task: (task * 0.6180339887498949) % 1.0)
    for task in order:
        pairs = stream.pairs(task)
        found.append(pairs)
        held += pairs.shape[1]
        total += 1
        if most is not None and held >= most:
            break
    if held == 0:
        where = event.source or "event"
        raise InputError(f"{where}: no two hits lie within {graph.radius:g}; use a bundle made for such events.")
    pairs = np.concatenate(found, axis=1)[:, :most]
    edges = oriented(pairs, event.position, graph.direction)
    whole = held if total == stream.tasks else round(held * stream.tasks / total)
    some = "" if total == stream.tasks else f" of about {whole:,}"
    return Graph(f"{len(event):,} hits, {edges.shape[1]:,}{some} candidates", x, edges, of=whole)


def filtered(spec: PipelineSpec, engine: Engine, event: Event, threads: int, most: int | None = None) -> Graph:
    """Return the graph that the GNN sees: the candidates that pass the filter, if there is one; InputError if there are none."""
    graph = candidates(spec, engine, event, threads)
    edges = graph.edge_index
    if spec.filter is not None:
        cut = logit_of_cut(spec.needed_cut("filter"))
        step = max(graph.edges, 1) if spec.filter.looks_at_all_rows else CHUNK
        parts = [edges[:, start : start + step] for start in range(0, graph.edges, step)]
        edges = np.concatenate([part[:, engine.filter(graph.x, part) > cut] for part in parts], axis=1)
    passed = canonical(edges)
    edges = passed[:, :most]
    if edges.shape[1] == 0:
        raise InputError(f"{event.source or 'event'}: no edge passes the filter; use a bundle made for such events.")
    attributes = edge_features(spec, graph.x, edges) if spec.edge_features else None
    some = f" of {passed.shape[1]:,}" if passed.shape[1] > edges.shape[1] else ""
    return Graph(f"{len(event):,} hits, {edges.shape[1]:,}{some} edges", graph.x, edges, attributes)
