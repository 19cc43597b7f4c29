"""What `acts.json` says against what the pipeline is: features, scales, radius, cuts, options for which one value is right."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trkx.errors import ExportError, InputError
from trkx.export.acts.components import best_cut
from trkx.export.acts.config import Sizes
from trkx.export.acts.emulator import Float, features_of
from trkx.export.acts.limits import FEATURES
from trkx.export.acts.options import every_option
from trkx.export.door import FORMULAS, independent_feature
from trkx.export.validation.report import Row, Status
from trkx.runtime.events.event import Event
from trkx.spec import PipelineSpec

FILE = "acts/acts.json"
OF_SPACE_POINTS = {"R": "r", "Phi": "phi", "X": "x", "Y": "y", "Z": "z", "Eta": "eta"}
"""ACTS's features of a space point to the formula of `trkx.export.door`; written down again, on purpose."""

Config = Mapping[str, Any]


def parsed(data: bytes) -> Config:
    """Return the content of acts.json; ExportError if it is no JSON object with the parts that everything is read from."""
    try:
        config = json.loads(data)
    except ValueError as error:
        raise ExportError(f"{FILE}: not JSON: {error}") from None
    if not isinstance(config, dict) or config.get("schema") != 1:
        raise ExportError(f"{FILE}: expected an object with schema 1, found {str(config)[:60]}.")
    for key in ("features", "feature_scales", "classifiers"):
        if not isinstance(config.get(key), list):
            raise ExportError(f"{FILE}: {key} must be a list, found {config.get(key)!r}.")
    if not all(isinstance(item, dict) for item in config["classifiers"]):
        raise ExportError(f"{FILE}: classifiers must be objects.")
    return config


def features_of_acts(config: Config, event: Event) -> Float:
    """Return the features that ACTS would make of an event, float32 [N, F], in the order and with the scales of acts.json.

    Raises:
        ExportError: a feature that ACTS has not.
        InputError: one that the event lacks.
    """
    ours = {acts: name for name, acts in FEATURES.items()}
    x, y, z = event.position.astype(np.float64).T
    columns: list[NDArray[Any]] = []
    for name in config["features"]:
        if name in OF_SPACE_POINTS:
            columns.append(FORMULAS[OF_SPACE_POINTS[name]](x, y, z))
        elif name in ours and ours[name] in event.cells:
            columns.append(event.cells[ours[name]])
        elif name in ours:
            raise InputError(f"event {event.event_id} has no {ours[name]}, which ACTS's feature {name} is.")
        else:
            raise ExportError(f"{FILE}: ACTS has no feature {name!r}.")
    return features_of(columns, config["feature_scales"])


def config_rows(
    config: Config, spec: PipelineSpec, event: Event, stage_of_entry: Callable[[Config], str], targets: Collection[str],
    sizes: Sizes | None = None,
) -> list[Row]:
    """Return a row for each part of acts.json.

    Args:
        config: from `parsed`.
        spec: of the pipeline.
        event: hits to make features of.
        stage_of_entry: entry of `classifiers` to the stage of the pipeline, "" if it names no file of the bundle.
        targets: those of ACTS that the bundle has files for.
        sizes: of the event, where its neighbours were counted.
    """
    rows = [_row("all", "every option", *_said(every_option(config, spec, targets), "as made of the specification"))]
    rows += [_row("features", "features and scales", *_features(config, spec, event))]
    graph = config.get("graph")
    if graph:
        module_map = graph.get("stage") == "ModuleMapCuda"
        rows.append(_row("embedding", "edge building", *(_module_map(graph, spec) if module_map else _graph(graph, spec, sizes))))
    for entry in config["classifiers"]:
        stage = stage_of_entry(entry)
        name = f"{entry.get('stage')} {entry.get('model')}"
        rows.append(_row(stage or "all", name, *_classifier(entry, stage, spec)))
    rows += [_row("all", f"order of {backend}", *found) for backend, found in _orders(config, spec, stage_of_entry).items()]
    if config.get("components"):
        rows.append(_row("gnn", "cut for components", *_components(config["components"], spec)))
    if spec.makes_tracks:
        rows.append(_row("pipeline", "track building", *_tracks(config.get("track_building"), spec)))
    return rows


def _row(stage: str, case: str, status: Status, detail: str) -> Row:
    return Row("acts", stage, FILE, "", case, status, detail=detail)


Verdict = tuple[Status, str]


def _said(problems: Sequence[str], right: str) -> Verdict:
    return ("failed", "; ".join(problems)) if problems else ("passed", right)


def _features(config: Config, spec: PipelineSpec, event: Event) -> Verdict:
    if len(config["features"]) != len(spec.features):
        return "failed", f"{len(config['features'])} features, the pipeline reads {len(spec.features)}"
    try:
        found = features_of_acts(config, event)
    except InputError as error:
        return "not checked", str(error)
    except (ExportError, TypeError, ValueError) as error:
        return "failed", str(error)
    problems = []
    for column, feature in enumerate(spec.features):
        wanted = independent_feature(event, feature)
        allowed = 8.0 * float(np.finfo(np.float32).eps) * max(float(np.abs(wanted).max(initial=0.0)), 1e-30)
        off = float(np.abs(found[:, column] - wanted).max(initial=0.0))
        if not off <= allowed:
            told = f"{config['features'][column]} / {config['feature_scales'][column]}"
            meant = f"{feature.name} / {feature.scale:g}"
            problems.append(f"column {column} is {told}, the pipeline was trained on {meant} (off by {off:.3g})")
    return _said(problems, f"{', '.join(config['features'])} as the pipeline was trained")


def _graph(graph: Config, spec: PipelineSpec, sizes: Sizes | None) -> Verdict:
    radius = spec.needed_graph().radius
    problems = []
    if graph.get("rVal") != radius:
        problems.append(f"rVal is {graph.get('rVal')}, the pipeline's radius is {radius}")
    if graph.get("shuffleDirections") is not False:
        problems.append(f"shuffleDirections is {graph.get('shuffleDirections')}, expected false: training had no random ones")
    if graph.get("selectedFeatures") != list(range(len(spec.features))):
        problems.append(f"selectedFeatures is {graph.get('selectedFeatures')}, expected all columns, ascending")
    if not isinstance(graph.get("knnVal"), int) or graph["knnVal"] < 1:
        problems.append(f"knnVal is {graph.get('knnVal')}, expected at least 1")
    elif sizes is not None and sizes.neighbours >= graph["knnVal"]:
        told = f"the busiest hit of {sizes.event} has {sizes.neighbours} neighbours, on CUDA ACTS keeps {graph['knnVal']} of them"
        if sizes.event == graph.get("measured_on"):
            problems.append(f"{told}, and measured_neighbours says {graph.get('measured_neighbours')}")
        return _said(problems, f"pairs within {radius:g}; {told}: export with --event of such a size for CUDA")
    return _said(problems, f"pairs within {radius:g}")


def _module_map(graph: Config, spec: PipelineSpec) -> Verdict:
    """ACTS takes node features 0 to 3 for r, phi, z, eta and undoes their scales for its cuts."""
    problems = []
    for feature in spec.features[:4]:
        key = f"{feature.name}Scale"
        if graph.get(key) != feature.scale:
            problems.append(f"{key} is {graph.get(key)}, the pipeline's is {feature.scale}")
    if not spec.edge_features:
        problems.append("the stage is a module map, but no network here reads its edge features")
    return _said(problems, "a module map with the pipeline's scales")


def _classifier(entry: Config, stage: str, spec: PipelineSpec) -> Verdict:
    if not stage:
        return "failed", f"{entry.get('model')} is no model file of this bundle for {entry.get('backend')}"
    cut, edges = spec.needed_cut(stage), stage == "gnn" and bool(spec.edge_features)
    problems = []
    if entry.get("cut") != cut:
        problems.append(f"cut is {entry.get('cut')}, the pipeline's is {cut}")
    if entry.get("stage") != "TensorRTEdgeClassifier" and entry.get("selectedFeatures") != list(range(len(spec.features))):
        problems.append(f"selectedFeatures is {entry.get('selectedFeatures')}, expected all columns, ascending")
    if entry.get("undirected", False) is not False:
        problems.append("undirected is true: ACTS feeds every edge twice and keeps the first half; the file takes each once")
    if entry.get("stage") == "TorchEdgeClassifier" and entry.get("useEdgeFeatures", False) is not edges:
        problems.append(f"useEdgeFeatures is {entry.get('useEdgeFeatures')}, expected {str(edges).lower()}")
    if entry.get("nChunks", 1) != 1 and stage == "gnn":
        problems.append(f"nChunks is {entry.get('nChunks')}, expected 1: the network passes messages between edges")
    return _said(problems, f"cut {cut:g}, every edge once")


def _orders(config: Config, spec: PipelineSpec, stage_of_entry: Callable[[Config], str]) -> dict[str, Verdict]:
    wanted = [stage for stage in spec.stages if stage != "embedding"]
    found: dict[str, list[str]] = {}
    for entry in config["classifiers"]:
        found.setdefault(str(entry.get("backend")), []).append(stage_of_entry(entry))
    return {
        backend: _said([f"classifiers are {', '.join(stages)}, expected {', '.join(wanted)}"] if stages != wanted else [],
                       ", then ".join(wanted))
        for backend, stages in found.items()
    }


def _components(found: Config, spec: PipelineSpec) -> Verdict:
    """The advice must be the best of what was measured, from the pipeline's own cut on."""
    try:
        cuts, best = [row["cut"] for row in found["measured"]], best_cut(found["measured"])
    except (KeyError, TypeError, ValueError):
        return "failed", "measured must be a list of cut, found, tracks and fakes"
    problems = []
    if found.get("cut_for_components") != best:
        problems.append(f"cut_for_components is {found.get('cut_for_components')}, the best that was measured is {best:g}")
    if not all(isinstance(cut, float) and spec.needed_cut("gnn") <= cut < 1.0 for cut in cuts):
        problems.append(f"cuts are {cuts}, expected {spec.needed_cut('gnn'):g}, the pipeline's own, and higher ones below 1")
    return _said(problems, f"{best:g}, the best of {len(cuts)}")


def _tracks(building: Config | None, spec: PipelineSpec) -> Verdict:
    size, least = (building or {}).get("minCandidateSize"), spec.labelling.min_hits
    problems = [f"minCandidateSize is {size}, the pipeline's min_hits is {least}"] if size != least else []
    return _said(problems, f"from {least} hits on")
