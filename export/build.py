"""Checkpoints to one verified bundle: everything is written beside its place, checked there, and only then put in place."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save
from torch import nn

from trkx.bundle import STAGES, Bundle, FileEntry, Manifest, Stage, file_entry, staged, write_manifest
from trkx.errors import ExportError
from trkx.export.card import model_card
from trkx.export.check import CheckRow, Expectation, check_file, expectations, oracle_of
from trkx.export.door import WEIGHTS, check_features, check_weights
from trkx.export.metadata import onnx_metadata, provenance, weights_metadata
from trkx.export.onnx_file import OPSET, onnx_bytes, onnx_model, problems_at_the_doors
from trkx.export.pipeline_folder import CARD, Source, load_network
from trkx.export.simplify import simplified
from trkx.export.torchscript_file import torchscript_bytes
from trkx.export.zoo import Embed, cases
from trkx.runtime.events.event import Event

Progress = Callable[[str, int, int], None]
"""Called with (what is done next, steps done, steps in all)."""
STEPS = 2 * len(STAGES) + 3


@dataclass(frozen=True)
class FileReport:
    """One file of the bundle. worst: the comparison with the largest difference, None if the file was not compared."""

    entry: FileEntry
    worst: CheckRow | None


@dataclass(frozen=True)
class ExportReport:
    """What an export wrote, and every comparison that it made."""

    target: Path
    files: tuple[FileReport, ...]
    rows: tuple[CheckRow, ...]


def export_models(
    source: Source,
    target: Path,
    event: Event,
    overwrite: bool = False,
    lowering: str = "ort-cpu",
    progress: Progress | None = None,
) -> ExportReport:
    """Write a bundle: each network as ONNX and as TorchScript, the weights, the model card, `bundle.json`.

    Every file is read back from the bundle and compared with the float64 network on the event and on the graphs of
    `trkx.export.zoo`; features and weights are compared as well. Only then does the bundle take its place.

    Args:
        source: from `open_source`.
        target: the bundle folder.
        event: hits to check with.
        overwrite: replace a bundle that is there.
        lowering: a key of `trkx.export.lowering.LOWERINGS`: how aggregation is written in ONNX.
        progress: told what is done.

    Raises:
        CheckpointError: a checkpoint does not fit the spec.
        ExportError: a file is not right; the message names file, graph and error. What was at `target` is untouched.
        BundleError: `target` can't be written or holds something else.
    """
    steps = iter(range(STEPS))

    def tell(what: str) -> None:
        if progress is not None:
            progress(what, next(steps), STEPS)

    with staged(target, overwrite) as folder:
        tell("reading checkpoints")
        networks = {stage: load_network(source, stage) for stage in STAGES}
        tell("float64 reference")
        zoo = cases(source.spec, event, embedder(networks["embedding"]))
        expected = {stage: expectations(stage, networks[stage], zoo) for stage in STAGES}
        refuse_blind(expected)
        entries = []
        for stage in STAGES:
            tell(f"writing {stage}")
            entries += write_stage(folder, source, stage, networks[stage], expected[stage], lowering)
        (folder / WEIGHTS).write_bytes(save(_tensors(networks), weights_metadata(source.spec)))
        entries.append(file_entry(folder, WEIGHTS, "all", "safetensors"))
        manifest = Manifest(source.spec.name, source.spec, tuple(entries), provenance(source.checkpoints, {"lowering": lowering}))
        write_manifest(folder, manifest)
        rows = check_bundle(Bundle.open(folder), source, expected, event, tell)
        refuse(rows, target)
        tell("model card")
        (folder / CARD).write_text(model_card(source, entries, rows, manifest.provenance), encoding="utf-8")
        entries.append(file_entry(folder, CARD, "all", "card"))
        write_manifest(folder, replace(manifest, files=tuple(entries), validation=_validation(rows, event)))
    return ExportReport(target, tuple(_file_report(entry, rows) for entry in entries), tuple(rows))


def embedder(network: nn.Module) -> Embed:
    """Return the embedding in float64 as a function of float32 features [N, F]."""
    oracle = oracle_of(network)

    def embed(x: NDArray[np.float32]) -> NDArray[np.float64]:
        with torch.no_grad():
            return np.asarray(oracle(torch.tensor(x, dtype=torch.float64)).numpy())

    return embed


def write_stage(
    folder: Path, source: Source, stage: str, network: nn.Module, expected: Sequence[Expectation], lowering: str
) -> list[FileEntry]:
    """Write one network as ONNX and as TorchScript, and return the entries of the two files."""
    width, name = len(source.spec.features), cast(Stage, stage)
    result = simplified(stage, onnx_model(stage, network, width, lowering), expected)
    (folder / f"{stage}.onnx").write_bytes(onnx_bytes(result.model, onnx_metadata(source.spec, stage)))
    (folder / f"{stage}.pt").write_bytes(torchscript_bytes(stage, network, width))
    return [
        file_entry(folder, f"{stage}.onnx", name, "onnx", opset=OPSET, note=result.note),
        file_entry(folder, f"{stage}.pt", name, "torchscript"),
    ]


def check_bundle(
    bundle: Bundle,
    source: Source,
    expected: Mapping[str, Sequence[Expectation]],
    event: Event,
    tell: Callable[[str], None] = lambda what: None,
) -> list[CheckRow]:
    """Read every file of a bundle back and compare it with what its source says; nothing is raised for a mismatch."""
    rows = check_features(source.spec, bundle.spec, event)
    rows += check_weights(bundle.read("all", "safetensors"), {s: load_network(source, s).state_dict() for s in STAGES})
    for stage in STAGES:
        tell(f"checking {stage}")
        width = source.spec.embedding.dim if stage == "embedding" else 1
        for format in ("onnx", "torchscript"):
            data, name = bundle.read(stage, format), bundle.entry(stage, format).path
            if format == "onnx":
                metadata = onnx_metadata(source.spec, stage)
                problems = problems_at_the_doors(data, stage, len(source.spec.features), width, metadata)
                rows += [CheckRow(name, stage, "doors", float("nan"), 0.0, False, problem) for problem in problems]
            rows += check_file(name, stage, data, format, expected[stage])
    return rows


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


def _validation(rows: Sequence[CheckRow], event: Event) -> dict[str, Any]:
    checks = [{key: value for key, value in asdict(row).items() if key not in ("problem", "passed")} for row in rows]
    return {
        "reference": "float64 network in PyTorch",
        "event": Path(event.source).name if event.source else f"event {event.event_id}",
        "passed": all(row.passed for row in rows),
        "checks": checks,
    }


def _file_report(entry: FileEntry, rows: Sequence[CheckRow]) -> FileReport:
    return FileReport(entry, max((row for row in rows if row.file == entry.path), key=lambda row: row.difference, default=None))
