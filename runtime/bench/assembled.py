"""The pipeline that a careful user would put together: torch's own ONNX exports in ONNX Runtime, cKDTree, scipy. No torch."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trkx.runtime.bench.flips import NEAR
from trkx.runtime.bench.measure import growth
from trkx.runtime.bench.ort_peer import Run, ort_run
from trkx.runtime.edge_features import edge_features
from trkx.runtime.edges import oriented
from trkx.runtime.events.event import Event
from trkx.runtime.features import node_features
from trkx.runtime.labelling import connected_components, edge_contraction
from trkx.runtime.neighbours.exact import keep_nearest
from trkx.runtime.tracks import Tracks
from trkx.spec import PipelineSpec, logit_of_cut

Float = NDArray[np.float32]
Int = NDArray[np.int64]
CHUNK = 1 << 17
"""Edges that the filter sees at once: what fits; all of them at once would need tens of gigabytes."""


def run_assembled(spec: PipelineSpec, models: Mapping[str, str], event: Event, threads: int, keep: str | None) -> dict[str, Any]:
    """Run the pipeline once, after a small part of the event for warming up.

    Args:
        spec: features, radius, cuts and labelling are those of the bundle.
        models: stage to ONNX file.
        event: hits.
        threads: of ONNX Runtime; cKDTree and scipy use one.
        keep: file for labels, edges, and logits near the cuts; None for none.

    Returns:
        stages (name to seconds), warm_up (s), candidates, peak_bytes (largest size of the process during the run).
    """
    networks = {stage: ort_run(Path(path), threads) for stage, path in models.items()}
    start = time.perf_counter()
    first = Event(0, event.hit_id[:64], event.position[:64], cells={k: v[:64] for k, v in event.cells.items()})
    _Once(spec, networks).run(first)
    warm = time.perf_counter() - start
    once = _Once(spec, networks, {} if keep is not None else None)
    with growth() as grown:
        label = once.run(event)
    if keep is not None and once.kept is not None:
        tracks = Tracks(0, event.hit_id, label, spec.labelling.min_hits).num_tracks
        np.savez(keep, allow_pickle=False, label=label, tracks=tracks, **once.kept)
    return {"stages": once.seconds, "warm_up": warm, "candidates": once.candidates, "peak_bytes": grown.highest or 0}


class _Once:
    """One run: stages are timed in `seconds`; edges and logits are kept in `kept` if that is a dictionary."""

    def __init__(self, spec: PipelineSpec, networks: Mapping[str, Run], kept: dict[str, Any] | None = None) -> None:
        self.spec, self.networks, self.kept = spec, networks, kept
        self.seconds: dict[str, float] = {}
        self.candidates = 0

    @contextmanager
    def _stage(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.seconds[name] = time.perf_counter() - start

    def run(self, event: Event) -> Int:
        """Return the label of each hit."""
        from scipy.spatial import cKDTree

        spec, graph, hits = self.spec, self.spec.needed_graph(), len(event)
        with self._stage("features"):
            x = node_features(event, spec.features)
        with self._stage("embedding"):
            points = self.networks["embedding"]([x])
        with self._stage("graph"):
            pairs = cKDTree(points).query_pairs(graph.radius, output_type="ndarray").T
            if graph.k_max is not None:
                pairs, _ = keep_nearest(points, np.sort(pairs, axis=0), graph.k_max)
            self.candidates = pairs.shape[1]
        if self.kept is not None:
            self.kept["points"] = points
        if spec.filter is not None:
            with self._stage("filter"):
                edges = self._filtered(event, x, pairs)
        else:
            edges = oriented(pairs, event.position, graph.direction)
        del pairs
        with self._stage("gnn"):
            weight = np.empty(0, np.float64)
            if edges.shape[1]:
                more = [edge_features(spec, x, edges)] if spec.edge_features else []
                logits = self.networks["gnn"]([x, edges, *more]).reshape(-1)
                weight = logits - np.float64(logit_of_cut(spec.needed_cut("gnn")))
            if self.kept is not None:
                self.kept |= {"filter": edges, "gnn": edges[:, weight > 0.0], "gnn_weight": weight}
        with self._stage("labelling"):
            if spec.labelling.method == "edge_contraction":
                return edge_contraction(edges, weight, hits, "scipy")
            return connected_components(edges[:, weight > 0.0], hits, "scipy")

    def _filtered(self, event: Event, x: Float, pairs: Int) -> Int:
        cut, direction = logit_of_cut(self.spec.needed_cut("filter")), self.spec.needed_graph().direction
        found, near, distance = [np.empty((2, 0), np.int64)], [np.empty((2, 0), np.int64)], [np.empty(0)]
        together = self.spec.filter is not None and self.spec.filter.looks_at_all_rows
        step = max(pairs.shape[1], 1) if together else CHUNK
        for start in range(0, pairs.shape[1], step):
            edges = oriented(pairs[:, start : start + step], event.position, direction)
            logits = self.networks["filter"]([x, edges]).reshape(-1)
            found.append(edges[:, logits > cut])
            if self.kept is not None:
                inside = np.abs(logits - cut) < NEAR
                near.append(edges[:, inside])
                distance.append(logits[inside] - cut)
        if self.kept is not None:
            self.kept |= {"near": np.concatenate(near, axis=1), "near_weight": np.concatenate(distance)}
        return np.concatenate(found, axis=1)
