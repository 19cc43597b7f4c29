"""acts.json: every option of ACTS's GNN plugin for the files beside it, and what ACTS will do otherwise than trkx."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from trkx.export.acts.differences import differences
from trkx.export.acts.form import acts_width
from trkx.export.acts.limits import FEATURES, NEED_CLUSTERS
from trkx.runtime.events.event import Event
from trkx.runtime.features import node_features
from trkx.runtime.neighbours import radius_graph
from trkx.spec import PipelineSpec

SCHEMA = 1
FOLDER = "acts"
BACKENDS: Mapping[str, tuple[str, str, str]] = {
    "acts-torch": ("torch", "TorchEdgeClassifier", "{}.pt"),
    "acts-onnx": ("onnx", "OnnxEdgeClassifier", "{}.onnx"),
    "acts-tensorrt": ("tensorrt", "TensorRTEdgeClassifier", "tensorrt/{}.onnx"),
}
"""Target to the word for it in acts.json, the class of its edge classifiers, and its files in the folder acts/."""
LEAST_KNN = 500
"""ACTS's own default of knnVal."""
HEADROOM = 1.5
"""Factor between the neighbours of the busiest hit of the event that an export is checked with, and knnVal."""
MODULE_MAP = {"gpuDevice": 0, "gpuBlocks": 512, "epsilon": 1e-8}
ENGINE_SIZES = {"min": (1, 1), "opt": (100_000, 500_000), "max": (400_000, 3_000_000)}
"""Hits and edges of a TensorRT engine's only profile; a proposal, since module maps and their events are not known here."""


@dataclass(frozen=True)
class Sizes:
    """What an event gives. neighbours: of the hit that has most, itself not counted. event: its name."""

    neighbours: int
    event: str


def sizes_of(spec: PipelineSpec, embedding: nn.Module | None, event: Event) -> Sizes | None:
    """Return what ACTS's graph stage finds in an event: all pairs within the radius; None for a pipeline without embedding."""
    if embedding is None or spec.graph is None:
        return None
    with torch.no_grad():
        places = embedding(torch.from_numpy(node_features(event, spec.features))).numpy()
    pairs = radius_graph(np.ascontiguousarray(places, np.float32), spec.graph.radius).pairs
    busiest = int(np.bincount(pairs.ravel(), minlength=1).max()) if pairs.size else 0
    return Sizes(busiest, Path(event.source).name if event.source else f"event {event.event_id}")


def configuration(
    spec: PipelineSpec, targets: Collection[str], sizes: Sizes | None, components: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Return the content of acts.json.

    Args:
        spec: of the pipeline, which `trkx.export.acts.limits.require_acts` has passed.
        targets: those of ACTS whose files are there; only they are described.
        sizes: from `sizes_of`.
        components: from `trkx.export.acts.components.components_of`.
    """
    names = [FEATURES[feature.name] for feature in spec.features]
    graph = _graph(spec, targets, sizes)
    classifiers = [
        _classifier(spec, stage, target)
        for stage in spec.stages if stage != "embedding" for target in BACKENDS if target in targets
    ]
    return {
        "schema": SCHEMA,
        "pipeline": spec.name,
        "features": names,
        "feature_scales": [feature.scale for feature in spec.features],
        "needs_clusters": any(name in NEED_CLUSTERS for name in names),
        "device": "cpu",
        "graph": graph,
        "embedding_onnx": "embedding.onnx" if spec.embedding is not None and "acts-onnx" in targets else None,
        "classifiers": classifiers,
        "track_building": {"stage": "BoostTrackBuilding", "minCandidateSize": spec.labelling.min_hits},
        "algorithm": {
            "stage": "TrackFindingAlgorithmGnn", "minMeasurementsPerTrack": spec.labelling.min_hits, "shrinkNodes": False,
        },
        "components": components,
        "differences": differences(spec, targets, graph, sizes.event if sizes else "", components),
    }


def config_bytes(config: Mapping[str, Any]) -> bytes:
    """Return acts.json as UTF-8 text."""
    return (json.dumps(config, indent=2, allow_nan=False) + "\n").encode("utf-8")


def read_config(data: bytes) -> dict[str, Any]:
    """Return what acts.json holds, from its content."""
    found: dict[str, Any] = json.loads(data)
    return found


def _graph(spec: PipelineSpec, targets: Collection[str], sizes: Sizes | None) -> dict[str, Any] | None:
    if spec.edge_features:
        scales = {f"{feature.name}Scale": feature.scale for feature in spec.features[:4]}
        return {"stage": "ModuleMapCuda", **scales, **MODULE_MAP}
    if spec.embedding is None or spec.graph is None or sizes is None or "acts-torch" not in targets:
        return None
    return {
        "stage": "TorchMetricLearning",
        "model": "embedding.pt",
        "selectedFeatures": list(range(len(spec.features))),
        "embeddingDim": acts_width(spec, "embedding"),
        "rVal": spec.graph.radius,
        "knnVal": max(LEAST_KNN, math.ceil(HEADROOM * (sizes.neighbours + 1))),
        "measured_neighbours": sizes.neighbours,
        "measured_on": sizes.event,
        "shuffleDirections": False,
    }


def _classifier(spec: PipelineSpec, stage: str, target: str) -> dict[str, Any]:
    backend, name, file = BACKENDS[target]
    common = {
        "backend": backend,
        "stage": name,
        "network": stage,
        "model": file.format(stage),
        "selectedFeatures": list(range(len(spec.features))),
        "cut": spec.needed_cut(stage),
    }
    if backend == "torch":
        return common | {
            "nChunks": 1,  # ACTS throws on a chunk of one edge, and messages do not cross chunks
            "undirected": False,
            "useEdgeFeatures": stage == "gnn" and bool(spec.edge_features),
        }
    if backend == "onnx":
        return common | {"featureScales": []}
    return common | {
        "engine": f"tensorrt/{stage}.engine",
        "numExecutionContexts": 1,
        "profile": {name: {"hits": hits, "edges": edges} for name, (hits, edges) in ENGINE_SIZES.items()},
    }
