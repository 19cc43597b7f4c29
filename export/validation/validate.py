"""A whole validation: every file of a bundle, on every engine here, against the float64 networks of its own weights."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from torch import nn

from trkx.bundle import Bundle
from trkx.errors import ExportError, TrkxError, unknown_name
from trkx.export.acts.form import acts_network, acts_width
from trkx.export.acts.rows import (
    NOTHING,
    Text,
    acts_decisions,
    acts_rows,
    as_acts_feeds,
    is_acts,
    reference_for,
    texts_of,
)
from trkx.export.check import Expectation, oracle_of, seeing
from trkx.export.precision.checks import half_decisions, half_files, half_rows
from trkx.export.sample import check_event
from trkx.export.stage_files import MODELS, target_of_entry
from trkx.export.validation.bounds import SAMPLES
from trkx.export.validation.decisions import decision_rows
from trkx.export.validation.engines import Engine, engines_for
from trkx.export.validation.facts import facts
from trkx.export.validation.graphs import graph_rows
from trkx.export.validation.invariance import invariance_rows
from trkx.export.validation.memory import memory_rows
from trkx.export.validation.model_file import ModelFile
from trkx.export.validation.optimisers import optimiser_rows
from trkx.export.validation.oracle import Oracle, oracle_for
from trkx.export.validation.placement import placement_rows
from trkx.export.validation.repeatability import large_case, repeatability_rows
from trkx.export.validation.report import EdgeScores, Efficiency, Report, Row
from trkx.export.validation.surroundings import feature_rows, integrity_rows, lint_rows
from trkx.export.validation.tracks import EXACT, track_rows
from trkx.export.validation.whole_event import Exact, OracleEngine, exact_event
from trkx.export.zoo import cases
from trkx.runtime.engines.eager import load_networks
from trkx.runtime.events import open_events
from trkx.runtime.events.event import Event
from trkx.shown import shown
from trkx.spec import PipelineSpec

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Depth:
    """How much a validation does.

    threads: of CPU engines on graphs and events. edges: of the graph that is run again and again; a tenth of it for networks
    that sum nothing over edges, where threads have nothing to race for. samples: of rounding on whole events. everything: also
    tracks, placement, memory, optimisers, and engines that are only a second opinion.
    """

    threads: tuple[int, ...]
    edges: int
    samples: int
    everything: bool
    hits: int = 1_500


LEVELS: Mapping[str, Depth] = {"export": Depth((1,), 20_000, 2, False), "full": Depth((1, 2, 8), 200_000, SAMPLES, True, 6_000)}
"""What `export-models` does (seconds), and what `trkx validate` does (minutes)."""


def depth_of(level: str) -> Depth:
    """Return what a level does; ExportError lists the known ones."""
    if level not in LEVELS:
        raise ExportError(unknown_name("level", level, LEVELS))
    return LEVELS[level]


def checks_of_export(
    files: Sequence[ModelFile],
    spec: PipelineSpec,
    event: Event,
    expected: Mapping[str, Sequence[Expectation]],
    tell: Tell = lambda what: None,
    acts: Text = NOTHING,
) -> Report:
    """Return what an export checks of its files: graphs, invariance, repeatability, decisions; those of ACTS as ACTS runs them.

    Args:
        files: model files of all three stages, each with its network and cut.
        spec: of the pipeline.
        event: hits to decide on.
        expected: stage to what the float64 network says of the zoo.
        tell: told what is done.
        acts: from `trkx.export.acts.rows.texts_of`.
    """
    depth, start = LEVELS["export"], time.perf_counter()
    for_acts, files = [file for file in files if is_acts(file)], [file for file in files if not is_acts(file)]
    given, files = files, [file for file in files if file.precision == "float32"]
    networks = {file.stage: file.network for file in files if file.network is not None}
    rows: list[Row] = []
    oracles = {file.stage: oracle_for(file) for file in files}  # one a stage: it keeps what it was asked
    for file in files:
        tell(f"checking {shown(file.path)}")
        rows += file_rows(file, oracles[file.stage], expected[file.stage], depth)
    halves, lost = half_files(given, oracles)
    rows += lost
    for item in halves:
        tell(f"checking {shown(item.file.path)}")
        rows += half_rows(item, expected[item.file.stage])
    tell("decisions")
    exact = exact_event(spec, {stage: oracle_of(network) for stage, network in networks.items()}, event)
    decided, scores = decision_rows(files, exact, oracles, spec, depth.threads, depth.samples)
    for item in halves:
        more, plotted = half_decisions(item, exact, spec)
        decided, scores = decided + more, scores + plotted
    checked, plotted = _acts(for_acts, acts, spec, event, expected, oracles, networks, exact, depth, tell)
    rows, scores = rows + checked, scores + plotted
    words = facts("export", EXACT, [event], time.perf_counter() - start)
    return Report(f"Checks of the export of {spec.name}", spec.name, [*rows, *decided], scores, facts=words)


def _acts(
    files: Sequence[ModelFile], text: Text, spec: PipelineSpec, event: Event, expected: Mapping[str, Sequence[Expectation]],
    own: Mapping[str, Oracle], networks: Mapping[str, nn.Module], exact: Exact, depth: Depth, tell: Tell,
) -> tuple[list[Row], list[EdgeScores]]:
    """Return what is checked of files of ACTS's targets: what is of every file, with edges as ACTS feeds them; the emulation."""
    if not files:
        return list(text.rows), []
    tell("float64 networks in the form of ACTS")
    reference = reference_for(files, spec, expected, own)
    rows: list[Row] = []
    for file in [file for file in files if file.precision == "float32"]:
        tell(f"checking {shown(file.path)}")
        rows += file_rows(file, reference.oracles[file.stage], reference.zoo[file.stage], depth)
    halves, lost = half_files(files, reference.oracles)
    rows += lost
    for item in halves:
        tell(f"checking {shown(item.file.path)}")
        rows += half_rows(item, reference.zoo[item.file.stage])
    decided, scores = acts_decisions(files, spec, exact, own, depth.threads, depth.samples)
    for item in halves:
        more, plotted = half_decisions(item, as_acts_feeds(exact, spec), spec)
        decided, scores = decided + more, scores + plotted
    tell("emulating ACTS")
    return [*rows, *decided, *acts_rows(files, text, spec, event, reference, own, networks, depth.samples, depth.hits)], scores


def file_rows(file: ModelFile, oracle: Oracle, zoo: Sequence[Expectation], depth: Depth) -> list[Row]:
    """Return the rows of one file on artificial graphs: (a) to (c), and with every optimiser where the depth says so."""
    engines = engines_of(file.format, depth)
    rows = graph_rows(file, zoo, engines) + invariance_rows(file, zoo, oracle, engines)
    large = large_expectation(file.stage, oracle, zoo, depth)
    rows += repeatability_rows(file, large, [engine for engine in engines_for(file.format) if engine.decisive])
    return rows + (optimiser_rows(file, zoo) if depth.everything else [])


def large_expectation(stage: str, oracle: Oracle, zoo: Sequence[Expectation], depth: Depth) -> Expectation:
    """Return what is right on the graph that is run again and again."""
    edges = depth.edges if stage == "gnn" else depth.edges // 10
    attributes = zoo[0].case.edge_attr
    features = 0 if attributes is None else attributes.shape[1]
    return oracle.expect(large_case(zoo[0].case.x, edges, edge_features=features), 1)


def engines_of(format: str, depth: Depth) -> list[Engine]:
    """Return the engines that a depth runs a format on."""
    return [engine for engine in engines_for(format, depth.threads) if depth.everything or engine.decisive]


def validate_bundle(
    path: Path | str,
    events: Sequence[Path] | None = None,
    level: str = "full",
    tell: Tell = lambda what: None,
    limit: int | None = None,
) -> Report:
    """Validate a bundle: what lint says, its files, features, and every model file on every engine here.

    Nothing is raised for a bad file: it gives rows that failed.

    Args:
        path: the bundle.
        events: folders or files; the simulated event that ships if None.
        level: a key of LEVELS.
        tell: told what is done.
        limit: number of events to use, all if None.

    Raises:
        BundleError: there is no bundle, or `bundle.json` is broken.
        InputError: the events can't be read, or lack a feature.
        ExportError: an unknown level.
    """
    depth, start, place = depth_of(level), time.perf_counter(), Path(path)
    bundle = Bundle.open(place, check=False)
    title, subject = f"Validation of {bundle.manifest.name}", place.resolve().name
    tell("lint")
    rows = [*lint_rows(place), *integrity_rows(bundle)]
    used = [source.read() for source in open_events(list(events))[:limit]] if events else [check_event(bundle.spec)]
    rows += feature_rows(bundle.spec, used)
    try:
        networks = load_networks(bundle)
    except TrkxError as error:
        rows.append(Row("weights", "all", "", "", "networks", "failed", detail=f"no float64 network to compare with: {error}"))
        return Report(title, subject, rows, facts=facts(level, "nothing", used))
    files, lost = files_of(bundle, networks)
    more = _validated(bundle, networks, files, used, depth, tell)
    words = facts(level, EXACT, used, time.perf_counter() - start)
    return Report(title, subject, [*rows, *lost, *more.rows], more.scores, more.efficiencies, words)


def _validated(
    bundle: Bundle, networks: Mapping[str, nn.Module], files: Sequence[ModelFile], events: Sequence[Event],
    depth: Depth, tell: Tell,
) -> Report:
    spec = bundle.spec
    rows: list[Row] = []
    scores: list[EdgeScores] = []
    oracles = {stage: oracle_of(network) for stage, network in networks.items()}
    zoo = cases(spec, events[0], OracleEngine(oracles).places if spec.embedding is not None else None)
    exacts = []
    for event in events:
        tell(f"float64 networks on event {event.event_id}")
        exacts.append(exact_event(spec, oracles, event))
    efficiencies: list[Efficiency] = []
    for_acts, files = [file for file in files if is_acts(file)], [file for file in files if not is_acts(file)]
    judges: dict[str, Oracle] = {}
    expectations: dict[str, Sequence[Expectation]] = {}
    for stage in spec.stages:
        of_stage = [file for file in files if file.stage == stage]
        own = [file for file in of_stage if file.precision == "float32"]
        judged = [*own, *(replace(file, network=networks[stage]) for file in for_acts if file.stage == stage)]
        if not judged:
            continue
        tell(f"float64 {stage} on {len(zoo)} graphs")
        oracle = oracle_for(judged[0])
        expected = oracle.expectations(zoo)
        if spec.networks[stage].looks_at_all_rows:
            expected, blind = seeing(expected)
            rows += [Row("graphs", stage, "", "", item.case.name, "not checked", detail=item.problem) for item in blind]
        judges[stage], expectations[stage] = oracle, expected
        for file in own:
            tell(f"checking {shown(file.path)}")
            rows += file_rows(file, oracle, expected, depth)
            if depth.everything:
                case = exacts[0].cases.get(stage, expected[0].case)
                rows += placement_rows(file, case) + memory_rows(file, case)
        halves, lost = half_files(of_stage, {stage: oracle})
        rows += lost
        for item in halves:
            tell(f"checking {shown(item.file.path)}")
            rows += half_rows(item, expected)
        for exact in exacts:
            tell(f"decisions of the {stage} on {exact.name}")
            decided, plotted = decision_rows(own, exact, {stage: oracle}, spec, depth.threads, depth.samples)
            rows, scores = rows + decided, scores + plotted
            for item in halves:
                more, plotted = half_decisions(item, exact, spec)
                rows, scores = rows + more, scores + plotted
    text = texts_of(bundle)
    for number, exact in enumerate(exacts if for_acts else []):
        found, plotted = (
            _acts(for_acts, text, spec, exact.event, expectations, judges, networks, exact, depth, tell) if not number
            else acts_decisions(for_acts, spec, exact, judges, depth.threads, depth.samples)
        )
        rows, scores = rows + found, scores + plotted
    if depth.everything:
        tracked, efficiencies = track_rows(bundle, networks, exacts, tell)
        rows += tracked
    return Report("", "", rows, scores, efficiencies)


def files_of(bundle: Bundle, networks: Mapping[str, nn.Module]) -> tuple[list[ModelFile], list[Row]]:
    """Return the model files of a bundle, its weights as the runtime reads them (a file for each stage), and failed rows.

    A row for each file that can't be read as it was written.
    """
    spec, files, rows = bundle.spec, [], []
    for entry in bundle.manifest.files:
        if entry.format not in MODELS:
            continue
        try:
            data = bundle.read(entry.stage, entry.format, entry.precision, entry.target)
        except TrkxError as error:
            rows.append(Row("graphs", entry.stage, entry.path, "", "read", "failed", detail=str(error)))
            continue
        file = ModelFile(entry.path, entry.stage, entry.format, data, len(spec.features), spec.width(entry.stage),
                         target_of_entry(entry), networks.get(entry.stage), spec.cut(entry.stage),
                         spec.networks[entry.stage].looks_at_all_rows, precision=entry.precision)
        if is_acts(file) and file.network is not None:
            network, width = acts_network(file.network, spec, file.stage), acts_width(spec, file.stage)
            file = replace(file, network=network, width=width)
        files.append(file)
    return [*files, *_weights(bundle, networks)], rows


def _weights(bundle: Bundle, networks: Mapping[str, nn.Module]) -> list[ModelFile]:
    """Return the weights as a file of each stage that the runtime's tiled engine runs; those of others are not its business."""
    spec, entry = bundle.spec, bundle.entry("all", "safetensors")
    data = bundle.read("all", "safetensors")
    return [
        ModelFile(entry.path, stage, "weights", data, len(spec.features), spec.width(stage), "ort-cpu", networks.get(stage),
                  spec.cut(stage), False, spec)
        for stage, network in spec.networks.items() if not network.looks_at_all_rows
    ]
