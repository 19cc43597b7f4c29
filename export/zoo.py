"""Graphs on which a file must agree with its network: each is there for a fault that the others can hide."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from trkx.errors import ExportError
from trkx.runtime.edge_features import attributes_of
from trkx.runtime.edges import canonical, oriented
from trkx.runtime.events.event import Event
from trkx.runtime.features import node_features
from trkx.runtime.neighbours import radius_graph
from trkx.spec import PipelineSpec

Float = NDArray[np.float32]
Int = NDArray[np.int64]
Embed = Callable[[Float], NDArray[np.float64]]

LAYERS = (32.0, 72.0, 116.0, 172.0, 260.0, 360.0, 500.0, 660.0, 820.0, 1020.0)
MAX_HITS = 1500
MAX_EDGES = 20_000


@dataclass(frozen=True)
class Case:
    """A graph with node features.

    name: how messages call it. x: float32 [N, F], scaled as a network wants it. edge_index: int64 [2, E]. edge_attr: float32
    [E, A] for networks that read it.
    """

    name: str
    x: Float
    edge_index: Int
    edge_attr: Float | None = None

    def arrays(self, stage: str = "gnn") -> tuple[NDArray[np.generic], ...]:
        """Return what a network of a stage is given: x, edge_index (but an embedding), edge_attr (a GNN that reads it)."""
        if stage == "embedding":
            return (self.x,)
        more = () if self.edge_attr is None or stage != "gnn" else (self.edge_attr,)
        return self.x, self.edge_index, *more

    def with_edges(self, order: Int) -> Case:
        """Return the same hits with edges chosen by their numbers, in this order."""
        attributes = None if self.edge_attr is None else np.ascontiguousarray(self.edge_attr[order])
        return replace(self, edge_index=np.ascontiguousarray(self.edge_index[:, order]), edge_attr=attributes)


def feeds_of(case: Case, names: Sequence[str]) -> dict[str, NDArray[np.generic]]:
    """Return copies of a graph's arrays as inputs of an ONNX file, by position: x, then edge_index, then edge_attr.

    Raises:
        ExportError: the file has another number of inputs.
    """
    arrays = case.arrays()
    if not 1 <= len(names) <= len(arrays):
        wanted = "x, edge_index and edge_attr" if len(arrays) > 2 else "x and edge_index"
        raise ExportError(f"expected inputs {wanted}, found {', '.join(names) or 'none'}; others can't be validated.")
    return {name: array.copy() for name, array in zip(names, arrays, strict=False)}


def copied(case: Case, count: int) -> Case:
    """Return so many copies of a graph as one graph without edges between them."""
    if count == 1:
        return case
    shift = len(case.x) * np.arange(count, dtype=np.int64)
    edges = case.edge_index[:, None, :] + shift[None, :, None]
    attributes = None if case.edge_attr is None else np.tile(case.edge_attr, (count, 1))
    return Case(f"{count} times {case.name}", np.tile(case.x, (count, 1)), edges.reshape(2, -1), attributes)


def helix_event(spec: PipelineSpec, seed: int = 0, tracks: int = 80) -> Event:
    """Return a made-up event: helices in 2 T through ten barrel layers, smeared by 0.1 mm, with 5 % noise hits.

    Positions only; a feature that is not made from the position gets values inside the spec's range.
    """
    rng = np.random.default_rng(seed)
    radius = np.asarray(LAYERS)
    pt, phi0 = 0.5 + rng.exponential(1.0, tracks), rng.uniform(-np.pi, np.pi, tracks)
    slope, z0 = np.sinh(rng.uniform(-1.5, 1.5, tracks)), rng.normal(0.0, 40.0, tracks)
    bend = rng.choice([-1.0, 1.0], tracks) * 0.3 * 2.0 / (2e3 * pt)
    phi = phi0[:, None] - np.arcsin(np.clip(radius[None, :] * bend[:, None], -0.99, 0.99))
    hits = np.stack([radius * np.cos(phi), radius * np.sin(phi), z0[:, None] + radius * slope[:, None]], axis=-1).reshape(-1, 3)
    noise = rng.uniform(-1.0, 1.0, (len(hits) // 20, 3)) * (700.0, 700.0, 1000.0)
    position = np.concatenate([hits + rng.normal(0.0, 0.1, hits.shape), noise]).astype(np.float32)
    position = position[rng.permutation(len(position))]
    count = len(position)
    cells = {
        feature.name: (feature.scale * _inside(feature.low, feature.high, rng, count)).astype(np.float32)
        for feature in spec.features
    }
    return Event(0, np.arange(1, count + 1), position, cells=cells, source="made-up helices")


def _inside(low: float | None, high: float | None, rng: np.random.Generator, count: int) -> NDArray[np.float64]:
    if low is None or high is None:
        return np.abs(rng.normal(0.0, 1.0, count)) + 0.05
    return rng.uniform(low, high, count)


def wide_features(names: Sequence[str], count: int, rng: np.random.Generator) -> Float:
    """Return features that need not be those of a hit, float32 [count, F]: N(0, 1), but the radius above 0."""
    x = rng.normal(0.0, 1.0, (count, len(names)))
    for column, name in enumerate(names):
        if name == "r":
            x[:, column] = np.abs(x[:, column]) + 0.05
    return x.astype(np.float32)


def one_signed_features(names: Sequence[str], count: int, rng: np.random.Generator) -> Float:
    """Return features that are all positive, float32 [count, F]: messages that do not cancel, so that sums are long."""
    return (np.abs(rng.normal(0.0, 1.0, (count, len(names)))) + 0.05).astype(np.float32)


def ones(names: Sequence[str], count: int, rng: np.random.Generator) -> Float:
    """Return features that are all 1, float32 [count, F]: hits that only their degrees tell apart. `rng` is not used."""
    return np.ones((count, len(names)), np.float32)


Features = Callable[[Sequence[str], int, np.random.Generator], Float]
"""(names of the features, number of hits, generator) to float32 [count, F]."""
FEATURES: Mapping[str, Features] = {
    "wide features": wide_features,
    "one-signed features": one_signed_features,
    "ones": ones,
}
"""Features that need not be those of hits, by the name that graphs with them carry."""
WITH_FEATURES = ("star", "duplicate edges", "more edges than hits", "Pareto degrees")
"""Graphs that are drawn with each of them, besides features of real hits."""


def pie_slice(event: Event, limit: int = MAX_HITS) -> Event:
    """Return at most `limit` hits of an event, those nearest in azimuth to the first direction: whole tracks, a real density."""
    if len(event) <= limit:
        return event
    phi = np.arctan2(event.position[:, 1], event.position[:, 0])
    keep = np.sort(np.argsort(np.abs(phi), kind="stable")[:limit])
    cells = {name: values[keep] for name, values in event.cells.items()}
    for name in ("volume", "layer", "module"):
        column = getattr(event, name)
        if column is not None:
            cells.setdefault(name, column[keep].astype(np.float32))
    return Event(event.event_id, event.hit_id[keep], event.position[keep], cells=cells, source=event.source)


def event_case(spec: PipelineSpec, event: Event, embed: Embed | None) -> Case:
    """Return the graph that the pipeline would make of (a slice of) an event, at most 20 000 edges of it.

    embed: the float64 embedding, [N, F] to [N, D]. If there is none, or it leaves no two hits within the radius (a network that
    was not trained), hits that follow each other in azimuth are joined instead.
    """
    part = pie_slice(event)
    if len(part) < 2:
        raise ExportError(f"{event.source or 'event'}: expected at least 2 hits to check an export with, found {len(part)}.")
    x = node_features(part, spec.features)
    pairs = np.empty((2, 0), np.int64)
    if embed is not None and spec.graph is not None:
        pairs = radius_graph(embed(x).astype(np.float32), spec.graph.radius, spec.graph.k_max, backend="kdtree").pairs
    if pairs.shape[1] == 0:
        order = np.argsort(np.arctan2(part.position[:, 1], part.position[:, 0]), kind="stable")
        pairs = np.concatenate([np.stack([order[:-step], order[step:]]) for step in range(1, min(6, len(part)))], axis=1)
    if pairs.shape[1] > MAX_EDGES:
        pairs = pairs[:, np.linspace(0, pairs.shape[1] - 1, MAX_EDGES).astype(np.int64)]
    edges = canonical(oriented(pairs, part.position, "by_radius" if spec.graph is None else spec.graph.direction))
    return Case("event", x, edges, attributes_of(spec, part, edges))


def shapes(rng: np.random.Generator) -> list[tuple[str, int, Int]]:
    """Return (name, number of hits, edges int64 [2, E]) of the artificial graphs."""

    def random(nodes: int, edges: int) -> Int:
        source = rng.integers(0, nodes, edges)
        return np.stack([source, (source + rng.integers(1, nodes, edges)) % nodes])

    def joined(source: Int, target: Int) -> Int:
        return np.stack([source, target]).astype(np.int64)

    few = random(12, 40)
    left, right = np.meshgrid(np.arange(12), np.arange(12, 27), indexing="ij")
    leaves = np.arange(1, 200)
    loops = np.arange(40)
    mixed = random(100, 600)
    return [
        ("star", 200, joined(leaves, np.zeros_like(leaves))),
        ("star outwards", 200, joined(np.zeros_like(leaves), leaves)),
        ("path", 60, joined(np.arange(59), np.arange(1, 60))),
        ("duplicate edges", 12, np.concatenate([few, few, few[:, ::-1]], axis=1)),
        ("isolated hits", 150, random(20, 60)),
        ("one edge", 2, np.array([[0], [1]])),
        ("one edge of many hits", 40, np.array([[33], [7]])),
        ("zero edges", 20, np.empty((2, 0), np.int64)),
        ("one hit", 1, np.empty((2, 0), np.int64)),
        ("more hits than edges", 300, random(300, 50)),
        ("more edges than hits", 30, random(30, 2000)),
        ("complete bipartite", 27, joined(left.ravel(), right.ravel())),
        ("self loops", 40, np.concatenate([random(40, 80), joined(loops, loops)], axis=1)),
        ("one hit, self loops", 1, np.zeros((2, 3), np.int64)),
        ("Pareto degrees", 400, pareto(400, 2400, 600, rng)),
        ("sorted by target", 100, mixed[:, np.argsort(mixed[1], kind="stable")]),
        ("shuffled", 100, mixed[:, rng.permutation(mixed.shape[1])]),
    ]


def pareto(nodes: int, edges: int, hub: int, rng: np.random.Generator) -> Int:
    """Return edges whose degrees at both ends have a long tail, and a hub that is the target of `hub` more, shuffled.

    Args:
        nodes: number of hits.
        edges: number of edges before those of the hub.
        hub: edges into node 0.
        rng: draws them.
    """
    weight = 1.0 + rng.pareto(1.0, nodes)
    ends = rng.choice(nodes, (2, edges), p=weight / weight.sum())
    ends[1] = np.where(ends[0] == ends[1], (ends[1] + 1) % nodes, ends[1])
    spokes = np.stack([rng.integers(1, nodes, hub), np.zeros(hub, np.int64)])
    joined = np.concatenate([ends, spokes], axis=1).astype(np.int64)
    return joined[:, rng.permutation(joined.shape[1])]


def cases(spec: PipelineSpec, event: Event, embed: Embed | None, seed: int = 0) -> list[Case]:
    """Return every graph of the zoo, the event first: features of real hits, and the FEATURES on the graphs of WITH_FEATURES.

    Sizes of both axes differ from graph to graph, so that a frozen one shows.

    Args:
        spec: of the pipeline whose files are checked.
        event: real or made up; gives the hits.
        embed: the float64 embedding, None if there is none.
        seed: of the artificial graphs.
    """
    hits = node_features(event, spec.features)

    def drawn(count: int, rng: np.random.Generator) -> Float:
        return hits[rng.choice(len(hits), count, replace=count > len(hits))]

    names = [feature.name for feature in spec.features]
    found = [event_case(spec, event, embed), *_artificial(names, drawn, np.random.default_rng(seed))]
    return [with_attributes(case, len(spec.edge_features)) for case in found]


def with_attributes(case: Case, width: int) -> Case:
    """Return a graph with edge_attr of so many columns, N(0, 1) each, if it has none and the network wants some."""
    if not width or case.edge_attr is not None:
        return case
    rng = np.random.default_rng([width, *case.edge_index.shape, len(case.x)])
    return replace(case, edge_attr=rng.normal(size=(case.edge_index.shape[1], width)).astype(np.float32))


def plain_cases(num_features: int, seed: int = 0, num_edge_features: int = 0) -> list[Case]:
    """Return the artificial graphs for a network of which only the number of features is known.

    Features are like r, phi, z and others scaled to order 1: the first in [0.05, 1], the others in [-1, 1].
    """

    def drawn(count: int, rng: np.random.Generator) -> Float:
        low = np.where(np.arange(num_features) == 0, 0.05, -1.0)
        return rng.uniform(low, 1.0, (count, num_features)).astype(np.float32)

    names = ["r", *(f"feature {column}" for column in range(1, num_features))]
    return [with_attributes(case, num_edge_features) for case in _artificial(names, drawn, np.random.default_rng(seed))]


def _artificial(
    names: Sequence[str], drawn: Callable[[int, np.random.Generator], Float], rng: np.random.Generator
) -> list[Case]:
    found = [Case(name, drawn(count, rng), np.ascontiguousarray(edges)) for name, count, edges in shapes(rng)]
    again = {name: (count, edges) for name, count, edges in shapes(rng)}
    for kind, make in FEATURES.items():
        for name in WITH_FEATURES:
            count, edges = again[name]
            found.append(Case(f"{name}, {kind}", make(names, count, rng), np.ascontiguousarray(edges)))
    return found
