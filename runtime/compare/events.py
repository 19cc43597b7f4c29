"""Events through pipelines that differ in nothing but engine and precision, and what that changed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from trkx.errors import TrkxError
from trkx.runtime.bench.flips import keys
from trkx.runtime.compare.alone import Bands, embedding_change, filter_changes, gnn_logits
from trkx.runtime.compare.changes import Changes, EdgeChanges, StageChange, TrackChanges
from trkx.runtime.compare.physics import has_truth, truth_changes
from trkx.runtime.compare.scores import Decisions, Differences
from trkx.runtime.events.event import Event
from trkx.runtime.features import node_features
from trkx.runtime.labelling import same_components
from trkx.runtime.metrics.selection import Selection
from trkx.runtime.pipeline import Pipeline
from trkx.runtime.tracks import Tracks

Int = NDArray[np.int64]
Float = NDArray[np.float32]


@dataclass(frozen=True)
class Found:
    """What a comparison found.

    events, hits, with_truth: how many events, hits of all, events of which efficiencies could be counted. changes: by name of the
    precision. failed: name to why it was given up; such a precision has no changes.
    """

    events: int = 0
    hits: int = 0
    with_truth: int = 0
    changes: Mapping[str, Changes] = field(default_factory=dict)
    failed: Mapping[str, str] = field(default_factory=dict)


@dataclass
class _Whole:
    """Keys of the edges of one run of one event, its points, and its tracks; edges that the GNN reads, [2, E]."""

    tracks: Tracks
    points: Float
    read: Int
    after: dict[str, Int]


def compare_events(
    reference: Pipeline,
    others: Mapping[str, Pipeline],
    events: Iterable[Event],
    bands: Bands | None = None,
    selection: Selection | None = None,
    tell: Callable[[int], None] = lambda done: None,
) -> Found:
    """Compare pipelines of one bundle with the first.

    Args:
        reference: what the others are compared with.
        others: name to pipeline. One that can't run an event (its logits overflow) is given up, and `failed` says why.
        events: read one after the other.
        bands: where a decision may go either way.
        selection: cuts on particles, for events with truth.
        tell: called with the number of events that are done.

    Raises:
        TrkxError: the reference can't run an event.
    """
    bands, selection = bands or Bands(), selection or Selection()
    left, failed = dict(others), dict[str, str]()
    changes = {name: Changes() for name in others}
    done = hits = truths = 0
    for event in events:
        for name, change in compare_event(reference, left, event, bands, selection).items():
            if isinstance(change, str):
                failed[name] = f"event {event.event_id}: {change}"
                del left[name], changes[name]
            else:
                changes[name] += change
        done, hits, truths = done + 1, hits + len(event), truths + has_truth(event)
        tell(done)
    return Found(done, hits, truths, changes, failed)


def compare_event(
    reference: Pipeline, others: Mapping[str, Pipeline], event: Event, bands: Bands, selection: Selection
) -> dict[str, Changes | str]:
    """Return what each of the others changes in one event, or why it can't run it; arguments as in `compare_events`."""
    spec, size = reference.spec, max(len(event), 1)
    x = node_features(event, spec.features)
    wanted = _whole(reference, event, x)
    weight = gnn_logits(reference, x, wanted.read)
    found: dict[str, Changes | str] = {}
    runs: dict[str, _Whole] = {}
    embeddings: dict[str, StageChange] = {}
    graphs: dict[str, EdgeChanges] = {}
    for name, pipeline in others.items():
        try:
            run = runs[name] = _whole(pipeline, event, x)
        except TrkxError as error:
            found[name] = str(error)
            continue
        before, after = wanted.after["graph"], run.after.pop("graph")  # the largest: one at a time
        graph = spec.needed_graph()
        embeddings[name] = embedding_change(wanted.points, run.points, before, after, graph.radius, bands.radius)
        graphs[name] = EdgeChanges.between(before, after, None)
    del wanted.after["graph"]
    filters: dict[str, tuple[StageChange, Int] | str] = {}
    if spec.filter is not None and len(event):
        filters = filter_changes(reference, {name: others[name] for name in runs}, event, x, wanted.points, bands.logit)
    for name, run in runs.items():
        filtered = filters.get(name, (StageChange(), np.empty(0, np.int64)))
        if isinstance(filtered, str):
            found[name] = filtered
            continue
        try:
            alone = gnn_logits(others[name], x, wanted.read)
            whole = gnn_logits(others[name], x, run.read)
        except TrkxError as error:
            found[name] = str(error)
            continue
        own = keys(wanted.read[:, (weight > 0.0) != (alone > 0.0)], size)
        stages = {"embedding": embeddings[name]} | ({"filter": filtered[0]} if spec.filter is not None else {})
        edges = {"graph": graphs[name]}
        if spec.filter is not None:
            edges["filter"] = EdgeChanges.between(wanted.after["filter"], run.after["filter"], filtered[1])
        edges["gnn"] = EdgeChanges.between(wanted.after["gnn"], run.after["gnn"], own)
        same = same_components(wanted.tracks.label, run.tracks.label)
        tracks, tracks_other = wanted.tracks.track_id, run.tracks.track_id
        found[name] = Changes(
            alone=stages | {"gnn": _change(weight, alone, bands.logit)},
            edges=edges,
            gnn=_on_common(wanted, weight, run, whole, size, bands.logit),
            tracks=TrackChanges.between(tracks, tracks_other, same),
            truth=truth_changes(event, tracks, tracks_other, same, selection) if has_truth(event) else None,
        )
    return found


def _whole(pipeline: Pipeline, event: Event, x: Float) -> _Whole:
    """Run the whole pipeline, and the embedding once more: a pipeline does not hand it out."""
    tracks = pipeline.run(event, keep_graphs=True)
    size, graphs = max(len(event), 1), dict(tracks.graphs)
    points = pipeline.engine.embed(x) if len(event) else np.empty((0, pipeline.spec.width("embedding")), np.float32)
    read = graphs.get("filter", graphs.get("graph", np.empty((2, 0), np.int64)))
    after = {stage: keys(graphs.get(stage, np.empty((2, 0), np.int64)), size) for stage in ("graph", "filter", "gnn")}
    slim = Tracks(tracks.event_id, tracks.hit_id, tracks.label, tracks.min_hits, tracks.stages)
    return _Whole(slim, points, read, after)


def _change(first: NDArray[np.float64], second: NDArray[np.float64], band: float) -> StageChange:
    return StageChange(Differences.between(first, second), Decisions.between(first, second, band))


def _on_common(
    first: _Whole, weight: NDArray[np.float64], second: _Whole, other: NDArray[np.float64], size: int, band: float
) -> StageChange:
    """Compare the GNNs of two whole runs on the edges that both read."""
    _, one, two = np.intersect1d(keys(first.read, size), keys(second.read, size), assume_unique=True, return_indices=True)
    return _change(weight[one], other[two], band)
