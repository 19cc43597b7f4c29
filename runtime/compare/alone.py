"""Each network on what the reference gives it: its own rounding, and nothing of what came before."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trkx.errors import BundleError
from trkx.runtime.bench.flips import keys
from trkx.runtime.compare.changes import StageChange
from trkx.runtime.compare.scores import Decisions, Differences
from trkx.runtime.crew import Crew
from trkx.runtime.edge_features import edge_features
from trkx.runtime.edges import orientation
from trkx.runtime.engines import StreamingEngine
from trkx.runtime.events.event import Event
from trkx.runtime.neighbours import BACKENDS
from trkx.runtime.neighbours.stream import PairStream, pair_stream
from trkx.runtime.pipeline import Pipeline
from trkx.spec import logit_of_cut

Int = NDArray[np.int64]
Float = NDArray[np.float32]
Judge = Callable[[Int], Float]


@dataclass(frozen=True)
class Bands:
    """Where a decision may go either way: logit: half width in logit around a cut; radius: half width in units of the radius."""

    logit: float = 0.05
    radius: float = 0.01


def embedding_change(points: Float, other: Float, pairs: Int, others: Int, radius: float, band: float) -> StageChange:
    """Compare two embeddings of the same hits.

    Args:
        points: of the reference, float32 [N, D].
        other: of the other, float32 [N, D].
        pairs: keys of the pairs within the radius in `points`, int64, none twice.
        others: the same in `other`.
        radius: in units of the embedding.
        band: half width of the band around it, in units of the radius.
    """
    apart = np.sqrt(((points.astype(np.float64) - other) ** 2).sum(axis=1))
    gained, lost = (np.setdiff1d(one, two, assume_unique=True) for one, two in ((others, pairs), (pairs, others)))
    new, old = (_distance_from_radius(points, changed, radius) for changed in (gained, lost))
    decided = len(pairs) + len(gained)
    return StageChange(Differences.between(apart, np.zeros(len(apart))), Decisions.of(decided, new, old, band * radius))


def _distance_from_radius(points: Float, keys: Int, radius: float) -> NDArray[np.float64]:
    hits = max(len(points), 1)
    apart = points[keys // hits].astype(np.float64) - points[keys % hits]
    distance: NDArray[np.float64] = np.abs(np.sqrt((apart**2).sum(axis=1)) - radius)
    return distance


def filter_changes(
    reference: Pipeline, others: Mapping[str, Pipeline], event: Event, x: Float, points: Float, band: float
) -> dict[str, tuple[StageChange, Int] | str]:
    """Compare filters on the candidates of the reference, which are found and judged piece by piece and never held.

    points: the reference's embedding, float32 [N, D]. Returns by name what changed, and the keys of the edges that did; or why
    there is nothing to compare: a filter that answers with NaN.
    """
    graph, threads = reference.spec.needed_graph(), reference.threads
    search = reference.neighbours if reference.neighbours in BACKENDS else "grid"  # a device's own: the same pairs, found here
    stream = pair_stream(points, graph.radius, graph.k_max, search, threads)
    orient = orientation(event.position, graph.direction)
    cut = logit_of_cut(reference.spec.needed_cut("filter"))
    judges = {name: _judge(pipeline, x) for name, pipeline in {"": reference, **others}.items()}
    found = {name: StageChange() for name in others}
    changed: dict[str, dict[int, Int]] = {name: {} for name in others}
    failed: dict[str, str] = {}
    lock = threading.Lock()

    def piece(number: int, edges: Int) -> None:
        if not edges.shape[1]:
            return
        wanted = _margin(judges[""](edges), cut, "filter")
        for name in others:
            try:
                margin = _margin(judges[name](edges), cut, "filter")
            except BundleError as error:
                failed[name] = str(error)
                continue
            one = StageChange(Differences.between(wanted, margin), Decisions.between(wanted, margin, band))
            flipped = keys(edges[:, (wanted > 0.0) != (margin > 0.0)], len(x))
            with lock:  # whole numbers add up to the same in any order
                found[name], changed[name][number] = found[name] + one, flipped

    if _in_pieces(reference):
        with Crew(threads) as crew:
            crew.work(stream.tasks, lambda number, _: piece(number, orient(stream.pairs(number))), lambda: None)
    elif reference.spec.filter is not None and reference.spec.filter.looks_at_all_rows:
        piece(0, orient(_all_pairs(stream)))
    else:  # its networks have threads of their own
        for number in range(stream.tasks):
            piece(number, orient(stream.pairs(number)))
    empty = np.empty(0, np.int64)

    def flips(name: str) -> Int:
        return np.concatenate([empty, *(one for _, one in sorted(changed[name].items()))])

    return {name: failed[name] if name in failed else (found[name], flips(name)) for name in others}


def gnn_logits(pipeline: Pipeline, x: Float, edges: Int) -> NDArray[np.float64]:
    """Return logit - logit of the cut of each edge, float64 [E], of edges int64 [2, E]; BundleError if one is NaN."""
    if not edges.shape[1]:
        return np.empty(0)
    attributes: list[Any] = [edge_features(pipeline.spec, x, edges)] if pipeline.spec.edge_features else []
    logits = pipeline.engine.gnn(x, edges, *attributes)
    return _margin(logits, logit_of_cut(pipeline.spec.needed_cut("gnn")), "gnn")


def _in_pieces(pipeline: Pipeline) -> bool:
    network = pipeline.spec.filter
    return network is not None and not network.looks_at_all_rows and isinstance(pipeline.engine, StreamingEngine)


def _judge(pipeline: Pipeline, x: Float) -> Judge:
    if _in_pieces(pipeline) and isinstance(pipeline.engine, StreamingEngine):
        return pipeline.engine.edge_filter(x)
    return partial(pipeline.engine.filter, x)


def _all_pairs(stream: PairStream) -> Int:
    return np.concatenate([np.empty((2, 0), np.int64), *(stream.pairs(number) for number in range(stream.tasks))], axis=1)


def _margin(logits: Float, cut: float, stage: str) -> NDArray[np.float64]:
    margin: NDArray[np.float64] = logits.astype(np.float64) - cut
    bad = int(np.count_nonzero(~np.isfinite(margin)))
    if bad:
        raise BundleError(f"stage {stage}: {bad} of {len(margin)} logits are NaN or infinite on the reference's inputs.")
    return margin
