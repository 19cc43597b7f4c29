"""What ACTS does otherwise than trkx with the same files, in sentences: they go into acts.json and its README."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from trkx.export.acts.limits import LEAST_DIM, turns_edges
from trkx.spec import PipelineSpec


def differences(
    spec: PipelineSpec, targets: Collection[str], graph: Mapping[str, Any] | None, event: str,
    components: Mapping[str, Any] | None = None,
) -> list[str]:
    """Return the sentences that hold for a pipeline.

    Args:
        spec: of the pipeline.
        targets: those of ACTS whose files are there.
        graph: the part "graph" of acts.json.
        event: name of the event that neighbours were counted in, "" if there was none.
        components: the part "components" of acts.json.
    """
    return [*_tracks(spec, components), *_candidates(spec, targets, graph, event), *_edges(spec), *_numbers(spec)]


def _tracks(spec: PipelineSpec, components: Mapping[str, Any] | None) -> list[str]:
    if spec.gnn is None and spec.filter is None:
        return ["Tracks: there is no edge classifier here, and all pairs of the embedding would be joined; add one of your own."]
    if spec.gnn is None:
        return ["Tracks: there is no GNN here, so the candidates are the components of what the filter keeps."]
    if spec.labelling.method != "edge_contraction":
        return []
    return [
        "Tracks: trkx joins hits by edge contraction, where edges below the cut speak against a joint track. ACTS has no such "
        f"track builder: it takes the connected components of the edges above the cut. The cut {spec.needed_cut('gnn'):g} of the "
        f"GNN was chosen for edge contraction and is kept; with components one false edge joins two tracks. {_advice(components)}"
    ]


def _advice(components: Mapping[str, Any] | None) -> str:
    """Return what is known of other cuts: only what was measured."""
    give = "as the GNN's cut (gnn_cut in acts_pipeline.py, gnnCut in acts_pipeline.hpp)"
    if components is None:
        return (
            f"A higher one {give} may find more tracks. None was measured, since the event that the export was checked with has "
            "no truth, or too few particles: compare several on simulated events."
        )
    own, cut = components["edge_contraction"], components["cut_for_components"]
    rows = {row["cut"]: row for row in components["measured"]}
    kept, best = rows[own["cut"]], rows[cut]
    told = (
        f"On {components['event']}, which the export was checked with, edge contraction finds {_counts(own)} of the "
        f"{components['particles']} particles ({components['selection']}; double majority); components at {kept['cut']:g} find "
        f"{_counts(kept)}"
    )
    if best is kept:
        return f"{told}, and no higher cut did better."
    return (
        f"{told}, at {cut:g}, the best that was measured, {_counts(best)}. Give {cut:g} {give}; one event tells little, so "
        "measure on yours."
    )


def _counts(row: Mapping[str, Any]) -> str:
    return f"{row['found']} with {row['fakes']} fakes in {row['tracks']} tracks"


def _candidates(spec: PipelineSpec, targets: Collection[str], graph: Mapping[str, Any] | None, event: str) -> list[str]:
    if spec.edge_features:
        return [
            "Edges: they come from ACTS's module maps, on a GPU alone, and the module map is not part of the bundle.",
            "Edge features: ACTS sets both slopes to 0 between hits at the same r; the files put back the steepest slope, +-100 "
            "by the sign of dphi, which the network was trained with.",
        ]
    if spec.embedding is None or spec.graph is None:
        return ["Edges: there is no embedding here; give the algorithm a graph constructor that makes the edges of the training."]
    told = []
    if "acts-torch" not in targets:
        told.append("Edges: ACTS runs embeddings as TorchScript only; export for acts-torch too, or give your own constructor.")
    elif graph is not None:
        told.append(
            "Neighbours: on the CPU knnVal only reserves memory; on CUDA a hit keeps no more than that. The busiest hit of "
            f"{event}, the event that the export was checked with, has {graph['measured_neighbours']}; knnVal is half as much "
            "again, and at least ACTS's default of 500: "
            f"{graph['knnVal']}."
        )
    if spec.graph.k_max is not None:
        told.append(
            f"Neighbours: trkx keeps the nearest {spec.graph.k_max} of a hit, ACTS on the CPU all within rVal: more candidates "
            "go into the filter and the GNN than in trkx."
        )
    if spec.embedding.dim < LEAST_DIM:
        told.append(
            f"Embedding: it has {spec.embedding.dim} dimension(s), the file gives {LEAST_DIM}, the others 0, for CUDA's search."
        )
    return told


def _edges(spec: PipelineSpec) -> list[str]:
    told = []
    turned = [stage for stage in spec.stages if turns_edges(spec, stage)]
    if turned:
        told.append(
            f"Direction: ACTS gives edges from the smaller to the larger index; the files of {' and '.join(turned)} turn them "
            "inside, from the hit nearer to the origin to the other, as trained. Distances come from the features, which are "
            "rounded to float32: where those of two hits agree to 1e-7, either may become the source."
        )
    elif spec.graph is not None and spec.graph.direction == "by_index":
        told.append(
            "Direction: edges go from the smaller to the larger index as trained, but the index is that of ACTS's own order of "
            "space points (newer versions sort them by module), not that of the training files."
        )
    elif spec.graph is None:
        told.append("Direction: edges go into the files as they come; they must have the direction of the training.")
    doubled = [stage for stage in spec.stages if getattr(spec.networks[stage], "undirected", False)]
    if doubled:
        told.append(
            f"Undirected: the {' and the '.join(doubled)} ran edges both ways in training. The file does so inside and gives the "
            "mean of both logits; ACTS's own option undirected keeps the first half alone, so it stays false."
        )
    whole = [stage for stage in spec.stages if spec.networks[stage].looks_at_all_rows]
    if whole:
        told.append(
            f"Statistics: the {' and the '.join(whole)} take means over all hits or edges of an event, so edges must not come in "
            "chunks and hits must not be removed (shrinkNodes) in between."
        )
    return told


def _numbers(spec: PipelineSpec) -> list[str]:
    return [
        "Features: ACTS divides float32 values by float32 scales, trkx divides in float64 and rounds once; the last digit may "
        "differ.",
        "Cuts: ACTS compares a float32 sigmoid with a float32 cut, trkx the logit with that of the cut; radii likewise. What "
        "lies within rounding of a cut may fall on either side.",
        "Short tracks: minCandidateSize (space points) and minMeasurementsPerTrack (measurements) are the least hits of a track "
        f"that trkx writes, {spec.labelling.min_hits}. Older versions of ACTS have the second alone.",
    ]
