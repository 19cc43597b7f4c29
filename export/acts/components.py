"""Which cut of the GNN suits ACTS's connected components, measured on the event that an export is checked with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from trkx.export.check import oracle_of
from trkx.export.validation.efficiency import RULE, can_be_measured
from trkx.export.validation.whole_event import OracleEngine, Recorder
from trkx.runtime.events.event import Event
from trkx.runtime.labelling import connected_components
from trkx.runtime.metrics.report import evaluate_event
from trkx.runtime.metrics.selection import Selection
from trkx.runtime.pipeline import Pipeline
from trkx.runtime.tracks import Tracks
from trkx.spec import PipelineSpec

CUTS = (0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.93, 0.95, 0.97, 0.99)
"""Cuts that are tried where they are above the pipeline's own."""
LEAST = 50
"""With fewer particles to find, nothing is said: one particle would move the efficiency by more than 2 %."""
HOW = "the most particles found by double majority, then the fewest fakes, then the lowest cut"


def best_cut(measured: Sequence[Mapping[str, Any]]) -> float:
    """Return the cut of the best of rows with cut, found and fakes, by the rule HOW."""
    return float(min(measured, key=lambda row: (-row["found"], row["fakes"], row["cut"]))["cut"])


def components_of(spec: PipelineSpec, networks: Mapping[str, nn.Module], event: Event) -> dict[str, Any] | None:
    """Return the part "components" of acts.json: tracks of ACTS's builder at several cuts of the GNN, beside edge contraction.

    None for a pipeline that makes components itself or no tracks, and for an event without truth or with fewer than LEAST
    particles that pass the default selection of `trkx evaluate`. The float64 networks run once; edges are labelled for each cut.

    Args:
        spec: of the pipeline.
        networks: stage to its float32 network.
        event: that the export is checked with.
    """
    if spec.labelling.method != "edge_contraction" or spec.gnn is None or not spec.makes_tracks or not can_be_measured(event):
        return None
    selection = Selection()
    recorder = Recorder(OracleEngine({stage: oracle_of(network) for stage, network in networks.items()}))
    own = _counted(event, Pipeline(spec, recorder, neighbours="kdtree").run(event), selection)
    seen = recorder.seen("gnn", "event")
    if seen is None or own["particles"] < LEAST:
        return None
    case, logits = seen
    cut = spec.needed_cut("gnn")
    measured = []
    for value in (cut, *(value for value in CUTS if value > cut)):
        label = connected_components(case.edge_index[:, logits > np.log(value) - np.log1p(-value)], len(event))
        tracks = Tracks(event.event_id, event.hit_id, label, spec.labelling.min_hits)
        measured.append({"cut": value, **_counted(event, tracks, selection)})
    for row in measured:
        del row["particles"]
    return {
        "cut_for_components": best_cut(measured),
        "chosen_by": HOW,
        "event": Path(event.source).name if event.source else f"event {event.event_id}",
        "selection": selection.describe(),
        "particles": own.pop("particles"),
        "edge_contraction": {"cut": cut, **own},
        "measured": measured,
    }


def _counted(event: Event, tracks: Tracks, selection: Selection) -> dict[str, int]:
    counts = evaluate_event(event, tracks, selection).total()
    return {"particles": counts.particles, "found": counts.found[RULE], "tracks": counts.tracks, "fakes": counts.fake}
