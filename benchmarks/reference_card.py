"""Measures the reference pipeline on held-out events and writes its model card.

    python benchmarks/reference_card.py BUNDLE --events training/held-out --out models/reference

Simulates the events that are missing (seeds that training never uses). For each stage it also gives the ceiling: the
double-majority efficiency that perfect stages after it would reach, which shows where particles are lost.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

import trkx
from trkx.runtime.events import open_events
from trkx.runtime.events.event import Event
from trkx.runtime.labelling import connected_components
from trkx.runtime.metrics.matching import match_tracks
from trkx.runtime.metrics.report import Report, evaluate_event
from trkx.runtime.metrics.selection import Selection, select_particles
from trkx.runtime.pipeline import Pipeline
from trkx.runtime.simulate.make import SimulationSpec, simulate
from trkx.spec import LabellingSpec

HELD_OUT = ((50, 51, 20), (200, 52, 2))  # pile-up, seed, events
COMPONENTS_CUT = 0.95
"""Score above which edges count when connected components take the place of the bundle's labelling."""
STAGES = {
    "graph": "embedding and radius graph",
    "filter": "filter",
    "gnn": "GNN: true edges above the cut",
    "": "all, as measured",
}


def held_out(folder: Path, pileup: int, seed: int, events: int) -> list[Path]:
    """Return the files of the held-out events, simulating those that are missing."""
    place = folder / f"pileup{pileup}-seed{seed}"
    place.mkdir(parents=True, exist_ok=True)
    missing = [n for n in range(events) if not (place / f"event{n:09d}-hits.parquet").exists()]
    if missing:
        for _ in simulate(SimulationSpec(pileup, seed), range(missing[0], events), place, 2):
            pass
    return sorted(place.glob("*-hits.parquet"))[:events]


def ceilings(event: Event, graphs: Mapping[str, Any], selection: Selection) -> dict[str, tuple[int, int]]:
    """Return for each stage (found, wanted) particles if only the stage's true edges were kept and labelled."""
    assert event.truth is not None
    particle = event.truth.particle_id
    result = {}
    for stage, edges in graphs.items():
        same = (particle[edges[0]] == particle[edges[1]]) & (particle[edges[0]] != 0)
        matching = match_tracks(connected_components(edges[:, same], len(event)), particle, selection.min_hits_track)
        mask = select_particles(event, matching.particle, matching.particle_hits, selection).mask
        result[stage] = (int(matching.found("double_majority")[mask].sum()), int(mask.sum()))
    return result


def measure(bundle: Path, files: Sequence[Path]) -> dict[str, Any]:
    """Return the evaluation, ceilings and stage times of a set of events, ready for JSON."""
    pipeline, selection = Pipeline.open(bundle), Selection()
    spec = pipeline.spec
    plain = replace(spec, cuts=replace(spec.cuts, gnn=COMPONENTS_CUT), labelling=LabellingSpec("connected_components"))
    components = Pipeline(plain, pipeline.engine)
    report, beside = Report(selection), Report(selection)
    lost: dict[str, tuple[int, int]] = {}
    stages = []
    for source in open_events(files):
        event = source.read()
        tracks = pipeline.run(event, keep_graphs=True)
        report = report.merge(evaluate_event(event, tracks, selection))
        beside = beside.merge(evaluate_event(event, components.run(event), selection))
        for stage, (found, wanted) in ceilings(event, tracks.graphs, selection).items():
            before = lost.get(stage, (0, 0))
            lost[stage] = (before[0] + found, before[1] + wanted)
        stages.append({stage.name: {"seconds": stage.seconds, "out": stage.count_out} for stage in tracks.stages})
        print(f"event {event.event_id}: {len(event)} hits, {tracks.num_tracks} tracks", file=sys.stderr)
    return {"evaluation": report.to_dict(), "components": beside.to_dict(), "ceilings": lost, "stages": stages}


def _rate(entry: Mapping[str, float]) -> str:
    return f"{100 * entry['value']:.2f} % ({100 * entry['low']:.2f} – {100 * entry['high']:.2f})"


def _bins(binned: Mapping[str, Any], unit: str) -> list[str]:
    rows = [f"| {unit} | particles | double majority | perfect |", "|---|---|---|---|"]
    edges = binned["edges"]
    for i, total in enumerate(binned["total"]):
        if total:
            found = [100 * binned["rules"][rule]["found"][i] / total for rule in ("double_majority", "perfect")]
            rows.append(f"| {edges[i]:g} – {edges[i + 1]:g} | {total} | {found[0]:.1f} % | {found[1]:.1f} % |")
    return rows


def section(pileup: int, seed: int, result: Mapping[str, Any]) -> list[str]:
    """Return the card's text for one set of events."""
    evaluation = result["evaluation"]
    total, rates = evaluation["total"], evaluation["total"]["rates"]
    counts = ", ".join(f"{total[name]} {name}" for name in ("hits", "particles", "tracks"))
    lines = [f"### mu = {pileup}: {evaluation['events']} events, {counts}", "",
             f"Simulated with `trkx simulate --pileup {pileup} --seed {seed} --events {evaluation['events']}`. "
             f"Cuts: {evaluation['selection']['words']}. "
             f"Intervals: {100 * evaluation['interval_level']:.1f} % Clopper-Pearson.", "",
             f"| figure | as in the bundle | mean ± std over events | connected components, GNN cut {COMPONENTS_CUT} |",
             "|---|---|---|---|"]
    names = {"efficiency_double_majority": "efficiency, double majority", "efficiency_lhc": "efficiency, LHC 75 %",
             "efficiency_perfect": "efficiency, perfect", "efficiency_atlas": "efficiency, ATLAS", "fake_rate": "fake rate",
             "unmatched_rate": "tracks that double-majority match no particle", "duplicate_rate": "duplicate rate"}
    beside, spread = result["components"]["total"]["rates"], evaluation["over_events"]
    for name, words in names.items():
        over = f"{100 * spread[name]['mean']:.2f} ± {100 * spread[name]['std']:.2f} %"
        lines.append(f"| {words} | {_rate(rates[name])} | {over} | {_rate(beside[name])} |")
    lines += ["", "| edges after | edges | wanted pairs kept | of one particle |", "|---|---|---|---|"]
    for stage, edges in total["edges"].items():
        lines.append(f"| {stage} | {edges['edges']} | {100 * edges['found_wanted'] / edges['wanted']:.2f} % | "
                     f"{100 * edges['same_particle'] / max(edges['edges'], 1):.1f} % |")
    lines += ["", "| what limits: efficiency if all later stages were perfect | double majority |", "|---|---|"]
    for stage, words in STAGES.items():
        value = rates["efficiency_double_majority"]["value"] if not stage else np.divide(*result["ceilings"][stage])
        lines.append(f"| {words} | {100 * value:.2f} % |")
    for axis, unit in (("pt", "pT (GeV)"), ("eta", "eta"), ("vertex_r", "production radius (mm)")):
        if axis in evaluation["binned"]:
            lines += ["", *_bins(evaluation["binned"][axis], unit)]
    return [*lines, "", ""]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--events", type=Path, default=Path("training/held-out"))
    parser.add_argument("--out", type=Path, default=Path("models/reference"))
    options = parser.parse_args()
    results = {}
    for pileup, seed, events in HELD_OUT:
        results[f"pileup{pileup}"] = measure(options.bundle, held_out(options.events, pileup, seed, events))
    text = (Path(__file__).parent / "reference_card.md").read_text()
    figures = [f"Measured by `benchmarks/reference_card.py` with trkx {trkx.__version__}, Python {platform.python_version()}, "
               "ONNX Runtime engine.", ""]
    for pileup, seed, _ in HELD_OUT:
        figures += section(pileup, seed, results[f"pileup{pileup}"])
    (options.out / "MODEL_CARD.md").write_text(text.replace("FIGURES\n", "\n".join(figures)))
    (options.out / "evaluation.json").write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
