"""Checkpoints to one verified bundle: everything is written beside its place, checked there, and only then put in place."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save
from torch import nn

from trkx.bundle import Bundle, FileEntry, Manifest, file_entry, staged, write_manifest
from trkx.errors import ExportError
from trkx.export.acts.files import ACTS_TARGETS, write_acts_texts
from trkx.export.acts.form import acts_edge_columns
from trkx.export.acts.rows import is_acts, texts_of
from trkx.export.card import model_card
from trkx.export.check import CheckRow, Expectation, expectations, oracle_of, seeing
from trkx.export.door import WEIGHTS, check_features, check_weights
from trkx.export.metadata import onnx_metadata, provenance, weights_metadata
from trkx.export.next_steps import commands, profiles_in_words
from trkx.export.onnx_file import problems_at_the_doors
from trkx.export.pipeline_folder import CARD, Source, load_network
from trkx.export.precision.files import half_count, require_precisions, write_half
from trkx.export.stage_files import files_a_stage, halved, halved_a_stage, require_targets, write_stage
from trkx.export.tensorrt.profiles import HEADROOM, measured, profiles_from, write_profiles
from trkx.export.triton.repository import TARGET as TRITON
from trkx.export.triton.repository import write_repository
from trkx.export.validation.report import Row
from trkx.export.validation.surroundings import lint_rows
from trkx.export.validation.validate import checks_of_export, files_of
from trkx.export.zoo import Embed, cases
from trkx.runtime.cuda.tensorrt.profiles import TARGET
from trkx.runtime.events.event import Event
from trkx.spec import PipelineSpec

Progress = Callable[[str, int, int], None]
"""Called with (what is done next, steps done, steps in all)."""


def steps_of(spec: PipelineSpec, targets: Sequence[str] = (), precisions: Sequence[str] = ()) -> int:
    """Return how many steps an export has.

    Reading, float64, each stage written, each file checked, weights checked in the runtime's engine, lint, decisions, profiles
    for TensorRT, card; files of ACTS's targets also in float64 in their own form, and emulated.
    """
    tiled = sum(not network.looks_at_all_rows for network in spec.networks.values())
    halves = half_count(precisions, spec, halved_a_stage(targets))
    acts = 2 * any(target in ACTS_TARGETS for target in targets)
    return len(spec.stages) * (1 + files_a_stage(targets)) + tiled + halves + acts + (TARGET in targets) + 5


@dataclass(frozen=True)
class FileReport:
    """One file of the bundle. worst: the comparison with the largest difference, None if no numbers of it were compared."""

    entry: FileEntry
    worst: CheckRow | None


@dataclass(frozen=True)
class ExportReport:
    """What an export wrote, every comparison that it made, and what it could not compare here.

    profiles: of TensorRT, in words, "" if there are none. commands: that run what was written.
    """

    target: Path
    files: tuple[FileReport, ...]
    rows: tuple[CheckRow, ...]
    not_checked: tuple[str, ...]
    profiles: str = ""
    commands: tuple[str, ...] = ()


def export_models(
    source: Source,
    target: Path,
    event: Event,
    overwrite: bool = False,
    targets: Sequence[str] = (),
    lowerings: Sequence[str] = (),
    progress: Progress | None = None,
    precisions: Sequence[str] = (),
    profile_events: Iterable[Event] = (),
    headroom: float = HEADROOM,
) -> ExportReport:
    """Write a bundle: each network as ONNX and as TorchScript, the weights, the model card, `bundle.json`.

    Every file is read back from the bundle and compared with the float64 network on the event and on the graphs of
    `trkx.export.zoo`; features and weights are compared as well. Only then does the bundle take its place.

    Args:
        source: from `open_source`.
        target: the bundle folder.
        event: hits to check with.
        overwrite: replace a bundle that is there.
        targets: keys of `trkx.export.targets.TARGETS` that get files of their own beside those that every bundle has.
        lowerings: words of `trkx.export.lowerings.words`: how ONNX files of a target sum over edges, if not as its own.
        progress: told what is done.
        precisions: words of `trkx.runtime.precision.precisions`: half-precision forms of the ONNX files, beside them.
        profile_events: events that profiles for TensorRT are measured from, read when they are needed; `event` if there is none.
        headroom: factor between the largest of them and what an engine takes.

    Raises:
        CheckpointError: a checkpoint does not fit the spec.
        ExportError: a file is not right; the message names file, graph and error. What was at `target` is untouched.
        BundleError: `target` can't be written or holds something else.
    """
    chosen = require_targets(targets, lowerings, source.spec)
    stages = source.spec.stages
    spelled = require_precisions(precisions, source.spec)
    steps = iter(range(steps_of(source.spec, targets, precisions)))

    def tell(what: str) -> None:
        if progress is not None:
            progress(what, next(steps), steps_of(source.spec, targets, precisions))

    with staged(target, overwrite) as folder:
        tell("reading checkpoints")
        networks = {stage: load_network(source, stage) for stage in stages}
        tell("float64 reference")
        expected, blind = _expected(source.spec, networks, event)
        entries = []
        for stage in stages:
            tell(f"writing {stage}")
            own = write_stage(folder, source, stage, networks[stage], expected[stage], targets, chosen)
            entries += [*own, *write_half(folder, source.spec, [entry for entry in own if halved(entry)], precisions)]
        (folder / WEIGHTS).write_bytes(save(_tensors(networks), weights_metadata(source.spec)))
        entries.append(file_entry(folder, WEIGHTS, "all", "safetensors"))
        entries += write_acts_texts(folder, source.spec, targets, networks, event)
        if TRITON in targets:
            entries += write_repository(folder, source.spec)
        options = _options(source, targets, chosen, spelled)
        manifest = Manifest(source.spec.name, source.spec, tuple(entries), provenance(source.checkpoints, options))
        write_manifest(folder, manifest)
        rows, not_checked = check_bundle(Bundle.open(folder), source, networks, expected, event, tell)
        refuse(rows, target)
        not_checked, profiled = [*blind, *not_checked], ""
        if TARGET in targets:
            tell("profiles for TensorRT")
            if source.spec.makes_tracks:
                sizes = measured(folder, profile_events) or measured(folder, [event])
                profiles = profiles_from(source.spec, sizes, headroom)
                entries.append(write_profiles(folder, profiles))
                profiled = profiles_in_words(profiles)
            else:
                not_checked.append("TensorRT: no profiles, for this pipeline makes no edges itself")
        tell("model card")
        (folder / CARD).write_text(model_card(source, entries, rows, manifest.provenance), encoding="utf-8")
        entries.append(file_entry(folder, CARD, "all", "card"))
        write_manifest(folder, replace(manifest, files=tuple(entries), validation=_validation(rows, not_checked, event)))
    files = tuple(_file_report(entry, rows) for entry in entries)
    ready = commands(target, source.spec, targets, precisions)
    return ExportReport(target, files, tuple(rows), tuple(not_checked), profiled, ready)


def _expected(
    spec: PipelineSpec, networks: Mapping[str, nn.Module], event: Event
) -> tuple[dict[str, Sequence[Expectation]], list[str]]:
    """Return what each network says of every graph in float64, and of which graphs nothing can be said, in words.

    Raises:
        ExportError: no file of a network could be checked.
    """
    zoo = cases(spec, event, embedder(networks["embedding"]) if "embedding" in networks else None)
    expected: dict[str, Sequence[Expectation]] = {stage: expectations(stage, networks[stage], zoo) for stage in spec.stages}
    blind = []
    for stage in spec.stages:
        if spec.networks[stage].looks_at_all_rows and not expected[stage][0].problem:
            expected[stage], dropped = seeing(expected[stage])
            blind += [f"{stage}: graph '{item.case.name}': {item.problem}" for item in dropped]
    refuse_blind(expected)
    return expected, blind


def _options(source: Source, targets: Sequence[str], lowerings: Mapping[str, str], precisions: Sequence[str]) -> dict[str, Any]:
    """Return what the manifest keeps of how a bundle was asked for."""
    options: dict[str, Any] = {"targets": list(targets), "lowerings": dict(lowerings)}
    if precisions:
        options["precisions"] = list(precisions)
    if source.readings:
        families = {stage: reading.family for stage, reading in source.readings.items()}
        options |= {"families": families, "assumed": list(source.notes)}
    return options


def embedder(network: nn.Module) -> Embed:
    """Return the embedding in float64 as a function of float32 features [N, F]."""
    oracle = oracle_of(network)

    def embed(x: NDArray[np.float32]) -> NDArray[np.float64]:
        with torch.no_grad():
            return np.asarray(oracle(torch.tensor(x, dtype=torch.float64)).numpy())

    return embed


def check_bundle(
    bundle: Bundle,
    source: Source,
    networks: Mapping[str, nn.Module],
    expected: Mapping[str, Sequence[Expectation]],
    event: Event,
    tell: Callable[[str], None] = lambda what: None,
) -> tuple[list[CheckRow], list[str]]:
    """Read every file of a bundle back and compare it with what its source says; nothing is raised for a mismatch.

    Features, weights, doors and lint first; then, if all files can be read, what `trkx.export.validation.validate` checks of an
    export: graphs, invariance, repeatability, decisions.

    Returns:
        Every comparison, and what could not be compared here, in words.
    """
    rows = check_features(source.spec, bundle.spec, event)
    held = {stage: load_network(source, stage).state_dict() for stage in source.spec.stages}
    rows += check_weights(bundle.read("all", "safetensors"), held)
    files, lost = files_of(bundle, networks)
    for file in files:
        if file.format == "onnx":
            metadata = onnx_metadata(source.spec, file.stage, file.target)
            columns = acts_edge_columns(source.spec) if is_acts(file) else len(source.spec.edge_features)
            problems = problems_at_the_doors(file.data, file.stage, file.num_features, file.width, metadata, file.target, columns)
            rows += [CheckRow(file.path, file.stage, "doors", float("nan"), 0.0, False, problem) for problem in problems]
    tell("lint")
    linted = lint_rows(bundle.path)
    checked = checks_of_export(files, source.spec, event, expected, tell, texts_of(bundle))
    found = [*lost, *linted, *checked.rows]
    missing = dict.fromkeys(f"{row.engine or row.file}: {row.detail}" for row in found if row.status == "not checked")
    return rows + [_check_row(row) for row in found if row.status != "not checked"], list(missing)


def _check_row(row: Row) -> CheckRow:
    name = row.case if row.group in ("graphs", "lint") else f"{row.group}: {row.case}"
    difference = float("nan") if row.difference is None else row.difference
    passed = row.status == "passed"
    problem, counted = ("", row.detail if row.group in ("decisions", "acts") else "") if passed else (row.detail, "")
    return CheckRow(row.file, row.stage, name, difference, row.tolerance or 0.0, passed, problem, row.engine, counted)


def refuse_blind(expected: Mapping[str, Sequence[Expectation]]) -> None:
    """Raise ExportError if the networks themselves are such that no file of them could be checked."""
    for stage, items in expected.items():
        for item in items:
            if item.problem:
                raise ExportError(f"network {stage}, graph '{item.case.name}': {item.problem}. No file of it can be checked.")


def refuse(rows: Sequence[CheckRow], target: Path) -> None:
    """Raise ExportError naming file, graph and error of each failed comparison, if there is any."""
    failed = [row for row in rows if not row.passed]
    if failed:
        shown = "\n".join(f"  {row}" for row in failed[:8])
        more = f"\n  … and {len(failed) - 8} more" if len(failed) > 8 else ""
        raise ExportError(f"{len(failed)} of {len(rows)} checks failed, {target} is left as it was:\n{shown}{more}")


def _tensors(networks: Mapping[str, nn.Module]) -> dict[str, torch.Tensor]:
    states = {stage: network.state_dict() for stage, network in networks.items()}
    return {f"{stage}.{key}": value.contiguous() for stage, state in states.items() for key, value in state.items()}


def _validation(rows: Sequence[CheckRow], not_checked: Sequence[str], event: Event) -> dict[str, Any]:
    checks = [
        {
            key: None if value != value else value  # NaN, where there was nothing to compare
            for key, value in asdict(row).items()
            if key not in ("problem", "passed") and (value != "" or key == "file")
        }
        for row in rows
    ]
    return {
        "reference": "float64 network in PyTorch",
        "not_checked": list(not_checked),
        "event": Path(event.source).name if event.source else f"event {event.event_id}",
        "passed": all(row.passed for row in rows),
        "checks": checks,
    }


def _file_report(entry: FileEntry, rows: Sequence[CheckRow]) -> FileReport:
    own = [row for row in rows if row.file == entry.path and row.difference == row.difference]  # not NaN
    if entry.format == "onnx" and entry.precision != "float32":
        own = [row for row in own if row.tolerance > 0.0]  # a graph without edges says nothing of half precision
    return FileReport(entry, max(own, key=lambda row: row.difference, default=None))
