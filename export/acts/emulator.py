"""A test double of ACTS's GNN plugin: what its stages do to files, step by step, as its sources (`Plugins/Gnn`, 2026) do it.

ACTS itself is not needed and none of its code is here. What the plugin would refuse is an ExportError that says so; what it ends
without an error is NoEdgesError. Arrays are those of ACTS: float32 features [N, F], int64 edges [2, E], float32 edge_attr [E, 6].
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from trkx.errors import ExportError, unknown_name
from trkx.runtime.labelling import connected_components

Float = NDArray[np.float32]
Int = NDArray[np.int64]
Read = Callable[[str], bytes]
"""Takes a file's name as the configuration has it, returns its content."""


class NoEdgesError(Exception):
    """No edge is left: the plugin ends the event here, without candidates and without an error."""


@dataclass(frozen=True)
class Graph:
    """What goes from stage to stage.

    x: float32 [N, F], all features. edge_index: int64 [2, E]. edge_attr: float32 [E, 6] or None. spacepoint: int64 [N], number in
    the event of each hit that is left. score: float32 [E] after a classifier.
    """

    x: Float
    edge_index: Int
    edge_attr: Float | None = None
    spacepoint: Int | None = None
    score: Float | None = None

    def kept(self, mask: NDArray[np.bool_], score: Float) -> Graph:
        """Return the same hits with the edges of a mask, bool [E], and their scores."""
        attributes = None if self.edge_attr is None else self.edge_attr[mask]
        return replace(self, edge_index=np.ascontiguousarray(self.edge_index[:, mask]), edge_attr=attributes, score=score[mask])


@dataclass(frozen=True)
class Judged:
    """What a classifier says of the edges of a graph, [E] each: logits as the model gave them, scores, and which stay."""

    logits: Float
    score: Float
    mask: NDArray[np.bool_]


class GraphMaker(Protocol):
    """A stage that makes edges of hits."""

    def __call__(self, x: Float) -> Graph:
        """Return the graph of the features of all hits."""
        ...


class Classifier(Protocol):
    """A stage that drops edges."""

    def judge(self, graph: Graph) -> Judged:
        """Return logits, scores and the mask; NoEdgesError where the plugin stops, ExportError where it fails."""
        ...


def classified(classifier: Classifier, graph: Graph) -> Graph:
    """Return the graph with the edges that a classifier keeps; NoEdgesError if there is none."""
    judged = classifier.judge(graph)
    if not judged.mask.any():
        raise NoEdgesError
    return graph.kept(judged.mask, judged.score)


def scored(logits: Float, cut: float) -> Judged:
    """Return scores and mask of logits [E]: sigmoid in float32, and what exceeds the cut in float32, strictly."""
    with np.errstate(over="ignore"):
        score = (np.float32(1.0) / (np.float32(1.0) + np.exp(-logits))).astype(np.float32)
    return Judged(logits, score, score > np.float32(cut))


def features_of(columns: Sequence[NDArray[Any]], scales: Sequence[float]) -> Float:
    """Return features [N, F]: each column as float32, divided by its scale as float32."""
    if len(columns) != len(scales):
        raise ExportError(f"ACTS refuses {len(columns)} features with {len(scales)} scales: give each feature one.")
    divided = [np.asarray(column, np.float32) / np.float32(scale) for column, scale in zip(columns, scales, strict=True)]
    return np.ascontiguousarray(np.stack(divided, axis=1), np.float32)


def without_unused_hits(graph: Graph) -> Graph:
    """Return the graph without hits that have no edge (`shrinkNodes`): hits keep their order, edges get the new numbers."""
    if not graph.edge_index.shape[1]:
        raise NoEdgesError
    used, edges = np.unique(graph.edge_index, return_inverse=True)
    names = np.arange(len(graph.x)) if graph.spacepoint is None else graph.spacepoint
    return replace(graph, x=graph.x[used], edge_index=edges.reshape(2, -1).astype(np.int64), spacepoint=names[used])


def candidates(graph: Graph, min_size: int) -> list[Int]:
    """Return the components of a graph with at least `min_size` hits, each as the numbers of its space points, ascending."""
    names = np.arange(len(graph.x)) if graph.spacepoint is None else graph.spacepoint
    label = connected_components(graph.edge_index, len(graph.x), "scipy")
    order = np.argsort(label, kind="stable")
    parts = np.split(order, np.flatnonzero(np.diff(label[order])) + 1) if len(order) else []
    return [names[part] for part in parts if len(part) >= min_size]


@dataclass(frozen=True)
class Emulator:
    """A configured chain: edges, classifiers in order, components. Files are opened once and shared by all events.

    min_size: of a candidate. shrink: remove hits without edges before every classifier.
    """

    make: GraphMaker
    classifiers: Sequence[Classifier]
    min_size: int = 3
    shrink: bool = False

    def run(self, x: Float, seen: Callable[[Graph], None] = lambda graph: None) -> list[Int]:
        """Return the candidates of an event from its scaled features, float32 [N, F]; `seen` is shown every stage's graph."""
        try:
            graph = self.make(x)
            seen(graph)
            for classifier in self.classifiers:
                graph = classified(classifier, without_unused_hits(graph) if self.shrink else graph)
                seen(graph)
        except NoEdgesError:
            return []
        return candidates(graph, self.min_size)


def option(options: Mapping[str, Any], key: str, kinds: type | tuple[type, ...], default: Any = None) -> Any:
    """Return one option of a stage; ExportError if it is missing (and has no default) or of another type."""
    value = options.get(key, default)
    right = isinstance(value, kinds) and not (isinstance(value, bool) and kinds is not bool)
    if not right:
        names = " or ".join(kind.__name__ for kind in (kinds if isinstance(kinds, tuple) else (kinds,)))
        raise ExportError(f"acts.json, stage {options.get('stage')}: {key} must be a {names}, found {value!r}.")
    return value


def stage_of(options: Mapping[str, Any], known: Mapping[str, Callable[[Mapping[str, Any], Read], Any]], read: Read) -> Any:
    """Return the stage that options name, opened with `read`; ExportError lists the stages that ACTS has."""
    name = option(options, "stage", str)
    if name not in known:
        raise ExportError(f"acts.json: {unknown_name('stage', name, known)}")
    return known[name](options, read)
