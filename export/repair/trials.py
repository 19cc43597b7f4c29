"""Graphs on which a repaired file is compared with the file that it was made from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trkx.errors import ExportError
from trkx.export.lint.doors import Doors, dims_of
from trkx.export.zoo import shapes

Array = NDArray[Any]


@dataclass(frozen=True)
class Trial:
    """Inputs by their role. x: float32 [N, F]. edges: int64 [2, E]. edge_attr: float32 [E, K], K = 0 if none is read."""

    name: str
    x: Array
    edges: Array
    edge_attr: Array

    def feeds(self, doors: Doors) -> dict[str, Array]:
        """Return the inputs under the names that a file gives them."""
        held = {"x": self.x, "edge_index": self.edges, "edge_attr": self.edge_attr}
        return {value.name: held[role] for role, value in doors.roles()}

    def permuted(self, order: Array) -> Trial:
        """Return the same graph with its edges in another order."""
        return Trial(f"{self.name}, permuted", self.x, self.edges[:, order], self.edge_attr[order])


@dataclass(frozen=True)
class Maker:
    """Makes trials with random features in (0.05, 1) for a file with these doors. features, columns: of x and edge_attr."""

    features: int
    columns: int

    def trial(self, name: str, hits: int, edges: Array, rng: np.random.Generator) -> Trial:
        """Return a graph with features."""
        x = rng.uniform(0.05, 1.0, (hits, self.features)).astype(np.float32)
        return Trial(name, x, edges.astype(np.int64), rng.uniform(0.05, 1.0, (edges.shape[1], self.columns)).astype(np.float32))


def maker_of(doors: Doors) -> Maker:
    """Return what makes inputs for a file; ExportError if it does not say what it reads."""
    if doors.x is None:
        raise ExportError("expected an input of floats that could be x, found none; trkx can't check such a file.")
    roles = {id(value) for _, value in doors.roles()}
    other = [value.name for value in doors.inputs if id(value) not in roles]
    if other:
        raise ExportError(f"input '{other[0]}' is none of x, edge_index, edge_attr; trkx does not know what to feed it.")
    widths: Mapping[str, Any] = {role: (dims_of(value) or (None,))[-1] for role, value in doors.roles() if role != "edge_index"}
    for role, width in widths.items():
        if not isinstance(width, int):
            raise ExportError(f"{role} does not say how many columns it has; export again with a fixed number of features.")
    return Maker(widths["x"], widths.get("edge_attr", 0))


def zoo(maker: Maker, rng: np.random.Generator) -> list[Trial]:
    """Return every artificial graph of the zoo."""
    return [maker.trial(name, hits, edges, rng) for name, hits, edges in shapes(rng)]


def small(maker: Maker, hits: int | None, edges: int | None, rng: np.random.Generator) -> list[Trial]:
    """Return graphs that fit into one of so many hits and edges, with room for a hit more; None: as many as one likes."""
    most_hits, most_edges = (hits or 12) - 1, edges if edges is not None else 40
    found = []
    half_hits, half_edges = (most_hits + 1) // 2, (most_edges + 1) // 2
    for name, count, links in (
        ("star", most_hits, max(1, most_hits - 1)), ("random", most_hits, most_edges), ("few edges", most_hits, half_edges),
        ("few hits", half_hits, most_edges), ("one edge", most_hits, 1), ("zero edges", most_hits, 0),
    ):
        links = min(links, most_edges)
        if count < 1:
            continue
        pairs = rng.integers(0, count, (2, links))
        if name == "star":
            pairs = np.stack([np.arange(1, links + 1) % count, np.zeros(links, np.int64)])
        found.append(maker.trial(name, count, pairs, rng))
    return found


def padded(trial: Trial, hits: int | None, edges: int | None, maker: Maker, rng: np.random.Generator) -> Trial:
    """Return a graph with more hits, at least one, and more edges, which join the last of them to itself: a part of its own."""
    more_hits = (hits or len(trial.x) + 1) - len(trial.x)
    more_edges = (edges if edges is not None else trial.edges.shape[1]) - trial.edges.shape[1]
    last = len(trial.x) + more_hits - 1
    rest = maker.trial("rest", more_hits, np.full((2, more_edges), last), rng)
    return Trial(
        f"{trial.name}, padded", np.concatenate([trial.x, rest.x]), np.concatenate([trial.edges, rest.edges], axis=1),
        np.concatenate([trial.edge_attr, rest.edge_attr]),
    )


def joined(parts: list[Trial]) -> Trial:
    """Return one graph of several that have no edge between them."""
    starts = np.cumsum([0] + [len(part.x) for part in parts])
    edges = np.concatenate([part.edges + start for part, start in zip(parts, starts, strict=False)], axis=1)
    x, attributes = (np.concatenate([getattr(part, name) for part in parts]) for name in ("x", "edge_attr"))
    return Trial(f"{len(parts)} times as large", x, edges, attributes)
