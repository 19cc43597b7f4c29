"""Rows about the files of ACTS's targets: the emulated plugin runs each of them, then the whole chain, as acts.json says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from torch import nn

from trkx.bundle import Bundle
from trkx.errors import ExportError, TrkxError
from trkx.export.acts import contract, contract_calls, contract_embedding, contract_memory
from trkx.export.acts.chain import chain_problem, shuffled
from trkx.export.acts.config import sizes_of
from trkx.export.acts.configured import FILE, Config, config_rows, parsed
from trkx.export.acts.contract import checked
from trkx.export.acts.emulated_onnx import session_of
from trkx.export.acts.emulator import Emulator
from trkx.export.acts.feeds import acts_case, acts_cases
from trkx.export.acts.files import TEXTS
from trkx.export.acts.limits import ACTS_TARGETS
from trkx.export.acts.metric_learning import TorchMetricLearning
from trkx.export.acts.readme import readme
from trkx.export.acts.snippet_cpp import cpp_snippet
from trkx.export.acts.snippet_python import python_snippet
from trkx.export.acts.subject import CLASSIFIERS, GROUP, Subject, Trained
from trkx.export.check import Expectation, oracle_of, seeing, torch_threads
from trkx.export.validation.decisions import decision_rows
from trkx.export.validation.graphs import brief
from trkx.export.validation.model_file import ModelFile
from trkx.export.validation.oracle import Oracle, oracle_for
from trkx.export.validation.report import EdgeScores, Row, Status
from trkx.export.validation.whole_event import Exact, exact_event
from trkx.export.zoo import Case, pie_slice
from trkx.runtime.events.event import Event
from trkx.spec import PipelineSpec

STAGE_OF = {"acts-torch": "TorchEdgeClassifier", "acts-onnx": "OnnxEdgeClassifier", "acts-tensorrt": "TensorRTEdgeClassifier"}
CLASSIFIER_CHECKS = {**contract.CHECKS, **contract_calls.CHECKS}
WITHOUT_NUMBERS = ("no edge", "selected features", "threads at once", "other sizes in between")
"""Checks of a classifier that compare nothing with the float64 network."""
NO_ENGINE = "a TensorRT engine is built and run on a GPU; here ONNX Runtime computed its graph"
OLD = "for forks of ACTS that read an ONNX embedding, whose stage isn't emulated; ACTS itself reads the embedding as TorchScript"


@dataclass(frozen=True)
class Text:
    """What acts.json holds, and the rows about reading it and what was written from it."""

    config: Config | None
    rows: tuple[Row, ...] = ()


NOTHING = Text(None)
"""Where no file is for ACTS."""


def is_acts(file: ModelFile) -> bool:
    """Return whether a file has the form that ACTS feeds."""
    return file.target in ACTS_TARGETS


def texts_of(bundle: Bundle) -> Text:
    """Return acts.json of a bundle, and rows that failed if it can't be read or if code beside it says something else."""
    if not any(entry.target in ACTS_TARGETS for entry in bundle.manifest.files):
        return Text(None)
    try:
        config = parsed(bundle.read("all", "acts-config"))
        made = {"acts-python": python_snippet(config), "acts-cpp": cpp_snippet(config), "acts-readme": readme(config)}
    except TrkxError as error:
        return Text(None, (Row(GROUP, "all", FILE, "", "read", "failed", detail=str(error)),))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        detail = f"code and README can't be made of it again: {type(error).__name__} {error}"
        return Text(config, (Row(GROUP, "all", FILE, "", "read", "failed", detail=detail),))
    rows = []
    for format, text in made.items():
        try:
            same = bundle.read("all", format) == text.encode("utf-8")
            problem = "" if same else "says something else than acts.json: one of the two was edited; export again"
        except TrkxError as error:
            problem = str(error)
        status: Status = "failed" if problem else "passed"
        rows.append(Row(GROUP, "all", TEXTS[format], "", "made from acts.json", status, detail=problem))
    return Text(config, tuple(rows))


@dataclass(frozen=True)
class Reference:
    """What ACTS's files are compared with.

    oracles: stage to the network in ACTS's form, float64. zoo: stage to what that says of graphs as ACTS feeds them, an event
    first. trained: stage to the same event by the pipeline's own network, in the direction of its training.
    """

    oracles: Mapping[str, Oracle]
    zoo: Mapping[str, Sequence[Expectation]]
    trained: Mapping[str, Trained]


def reference_for(
    files: Sequence[ModelFile], spec: PipelineSpec, expected: Mapping[str, Sequence[Expectation]], own: Mapping[str, Oracle]
) -> Reference:
    """Return what files of ACTS's targets (with the network in its form) are compared with.

    expected: stage to what the pipeline's own float64 network says of the zoo, an event first. own: its oracles.
    """
    first = {file.stage: file for file in reversed(files)}  # the network is the same in all files of a stage
    oracles = {stage: oracle_for(file) for stage, file in first.items()}
    zoo = {}
    for stage, oracle in oracles.items():
        found = oracle.expectations(acts_cases(spec, [item.case for item in expected[stage]]))
        telling = seeing(found)[0] if spec.networks[stage].looks_at_all_rows else found
        zoo[stage] = telling or found
    trained = {stage: Trained(expected[stage][0], own[stage]) for stage in oracles}
    return Reference(oracles, zoo, trained)


def acts_decisions(
    files: Sequence[ModelFile], spec: PipelineSpec, exact: Exact, own: Mapping[str, Oracle], threads: Sequence[int], samples: int
) -> tuple[list[Row], list[EdgeScores]]:
    """Return which edges of a whole event change sides of the cut, with edges as ACTS feeds them.

    What is right is what the pipeline's own network says in the direction of its training: the same edges in the same order.
    """
    def meant(stage: str, case: Case, samples: int) -> Expectation:
        return replace(own[stage].expect(exact.cases[stage], samples), case=case)

    classifiers = [file for file in files if file.stage != "embedding" and file.precision == "float32"]
    stages = {file.stage for file in classifiers}
    oracles = {stage: Oracle("the pipeline's own network", True, partial(meant, stage)) for stage in stages}
    return decision_rows(classifiers, as_acts_feeds(exact, spec), oracles, spec, threads, samples)


def as_acts_feeds(exact: Exact, spec: PipelineSpec) -> Exact:
    """Return the graphs of an event with edges as ACTS feeds them, in the same order."""
    return replace(exact, cases={stage: acts_case(spec, case) for stage, case in exact.cases.items()})


def contract_rows(file: ModelFile, config: Config | None, spec: PipelineSpec, reference: Reference) -> list[Row]:
    """Return the rows of one file: everything that a stage of the plugin may do to it.

    Of a file that is half inside only what needs no numbers: those are compared elsewhere, with the tolerances of its type.
    """
    entry = entry_of(file, config)
    options = entry if entry is not None else _default(file, spec)
    subject = Subject(file, options, spec, reference.zoo[file.stage], reference.trained.get(file.stage))
    rows = []
    embedding = file.stage == "embedding"
    if file.precision != "float32":
        return _half_rows(subject)
    if entry is None and config is not None and not (embedding and file.format == "onnx"):
        rows.append(subject.row("configured", "failed", f"{FILE} does not mention this file; its options are guessed"))
    with torch_threads(1):
        rows += checked(subject, contract_memory.TORCH if file.format == "torchscript" else contract_memory.ONNX)
        if not embedding:
            rows += checked(subject, CLASSIFIER_CHECKS)
        elif file.format == "torchscript":
            rows += checked(subject, contract_embedding.CHECKS)
        else:
            rows.append(replace(subject.row("stage", "not checked", OLD), engine=""))
    if file.target == "acts-tensorrt":
        rows.append(subject.row("engine", "not checked", NO_ENGINE))
    return rows


def _half_rows(subject: Subject) -> list[Row]:
    try:
        session_of(subject.file.data)
    except Exception as error:  # ONNX Runtime lacks operators in bfloat16 on a CPU
        return [subject.row("types, rank, names", "not checked", f"ONNX Runtime can't load it on a CPU: {brief(error)}")]
    checks = dict(contract_memory.ONNX)
    if subject.file.stage != "embedding":
        checks |= {name: CLASSIFIER_CHECKS[name] for name in WITHOUT_NUMBERS}
    with torch_threads(1):
        return checked(subject, checks)


def entry_of(file: ModelFile, config: Config | None) -> Config | None:
    """Return the part of acts.json about a file, None if there is none."""
    entries = [] if config is None else [*([config["graph"]] if config.get("graph") else []), *config["classifiers"]]
    return next((entry for entry in entries if f"acts/{entry.get('model')}" == file.path), None)


def _default(file: ModelFile, spec: PipelineSpec) -> Config:
    stage = "TorchMetricLearning" if file.stage == "embedding" else STAGE_OF[file.target]
    cut = {} if file.cut is None else {"cut": file.cut}
    reads = {"useEdgeFeatures": True} if spec.edge_features and file.target == "acts-torch" else {}
    return {"stage": stage, "model": file.path, "selectedFeatures": list(range(len(spec.features))), **cut, **reads}


def acts_rows(
    files: Sequence[ModelFile], text: Text, spec: PipelineSpec, event: Event, reference: Reference, own: Mapping[str, Oracle],
    networks: Mapping[str, nn.Module], samples: int, hits: int,
) -> list[Row]:
    """Return all rows of the emulated plugin.

    Args:
        files: of ACTS's targets, each with the network in ACTS's form.
        text: from `texts_of`.
        spec: of the pipeline.
        event: hits; the chain runs a slice of it.
        reference: from `reference_for`.
        own: stage to the oracle of the pipeline's own network.
        networks: stage to the pipeline's own network.
        samples: of rounding, in the chain.
        hits: at most so many go through the chain.
    """
    rows = list(text.rows)
    if text.config is not None:
        stages = {file.path: file.stage for file in files}
        targets = [target for target in ACTS_TARGETS if any(file.target == target for file in files)]
        own_embedding = networks.get("embedding")
        sizes = None if own_embedding is None or "acts-torch" not in targets else sizes_of(spec, own_embedding, event)
        rows += config_rows(
            text.config, spec, event, lambda entry: stages.get(f"acts/{entry.get('model')}", ""), targets, sizes,
        )
    for file in files:
        rows += contract_rows(file, text.config, spec, reference)
    if text.config is not None:
        rows += chain_rows(files, text.config, spec, shuffled(pie_slice(event, hits)), own, networks, samples)
    return rows


def chain_rows(
    files: Sequence[ModelFile], config: Config, spec: PipelineSpec, event: Event, own: Mapping[str, Oracle],
    networks: Mapping[str, nn.Module], samples: int,
) -> list[Row]:
    """Return a row for each backend and way to run the whole chain on an event; "not checked" where ACTS has no such chain."""
    graph = config.get("graph") or {}
    if graph.get("stage") != "TorchMetricLearning" or not spec.makes_tracks:
        why = "edges come from elsewhere (a module map, or a TorchScript embedding): no chain from hits to tracks to emulate"
        return [Row(GROUP, "pipeline", "", "emulated GnnPipeline", "hits to candidates", "not checked", detail=why)]
    data = {file.path: file.data for file in files}
    exact = exact_event(spec, {stage: oracle_of(network) for stage, network in networks.items()}, event)
    rows = []
    together = any(network.looks_at_all_rows for network in spec.networks.values())
    for backend in dict.fromkeys(str(entry.get("backend")) for entry in config["classifiers"]):
        entries = [entry for entry in config["classifiers"] if entry.get("backend") == backend]
        for shrink in (False,) if together else (False, True):
            name = f"hits to candidates, {backend}{', shrinkNodes' * shrink}"
            row = Row(GROUP, "pipeline", "", "emulated GnnPipeline", name, "passed")
            try:
                with torch_threads(1):
                    emulator = _opened(graph, entries, config, data, shrink)
                    problem, told = chain_problem(emulator, config, spec, event, own, exact, samples)
            except Exception as error:  # the engines have error classes of their own
                problem, told = str(error) if isinstance(error, ExportError) else brief(error), ""
            rows.append(replace(row, status="failed" if problem else "passed", detail=problem or told))
    return rows


def _opened(graph: Config, entries: Sequence[Config], config: Config, data: Mapping[str, bytes], shrink: bool) -> Emulator:
    def read(name: str) -> bytes:
        if f"acts/{name}" not in data:
            raise ExportError(f"{FILE} names {name}, which is not in the bundle.")
        return data[f"acts/{name}"]

    classifiers = [CLASSIFIERS[str(entry.get("stage"))](entry, read) for entry in entries]
    size = (config.get("track_building") or {}).get("minCandidateSize", 3)
    return Emulator(TorchMetricLearning(graph, read), classifiers, int(size), shrink)
