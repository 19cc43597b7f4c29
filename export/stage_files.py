"""The model files of one stage: those that every bundle has, and those of the targets that are asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import cast

from torch import nn

from trkx.bundle import FileEntry, Stage, file_entry
from trkx.errors import ExportError, unknown_name
from trkx.export.acts.files import write_acts_model
from trkx.export.acts.limits import ACTS_TARGETS, require_acts
from trkx.export.aoti_file import aoti_bytes
from trkx.export.check import Expectation
from trkx.export.lowerings.words import lowerings_of
from trkx.export.metadata import onnx_metadata
from trkx.export.onnx_file import name_doors, onnx_bytes, onnx_model
from trkx.export.pipeline_folder import Source
from trkx.export.simplify import simplified
from trkx.export.targets import GROUPS, TARGETS, target_of
from trkx.export.torchscript_file import torchscript_bytes
from trkx.export.triton.repository import TARGET as TRITON
from trkx.export.triton.repository import network_path
from trkx.spec import PipelineSpec

ALWAYS = {"onnx": "ort-cpu", "torchscript": "libtorch"}
"""Format to the target of the files that every bundle has; their `FileEntry.target` is ""."""
MODELS = ("onnx", "torchscript", "aoti")


def target_of_entry(entry: FileEntry) -> str:
    """Return the target that a file of a bundle is for."""
    return entry.target or ALWAYS.get(entry.format, entry.format)


def require_targets(targets: Sequence[str], lowerings: Sequence[str], spec: PipelineSpec) -> dict[str, str]:
    """Return target to lowering, as the words of `--lowering` choose.

    Raises:
        ExportError: a target that is unknown or can not be served, or a lowering that is not right or not clear.
    """
    for name in (ALWAYS["onnx"], *targets):
        if name not in TARGETS:
            raise ExportError(unknown_name("target", name, [*TARGETS, *GROUPS]))
        without = [stage for stage in spec.stages if stage != "gnn" or not spec.edge_features]
        if target_of(name).needs_edge_attr and without:
            raise ExportError(
                f"target {name} binds an input edge_attr (module maps make it), which the {' and the '.join(without)} of this "
                "pipeline read not; choose acts-onnx or acts-torch, or tensorrt, and run the engine outside of ACTS."
            )
        if target_of(name).names and spec.edge_features:
            raise ExportError(f"target {name} has no name for edge_attr, which the gnn reads; choose another target.")
    require_acts(targets, spec)
    return lowerings_of(lowerings, (ALWAYS["onnx"], *targets))


def files_a_stage(targets: Sequence[str]) -> int:
    """Return how many model files each stage gets."""
    return len(ALWAYS) + len({name for name in targets if _has_files(name)})


def halved(entry: FileEntry) -> bool:
    """Return whether a file gets forms in half precision beside it: ONNX but that of ACTS, whose files turn edges in float64."""
    return entry.format == "onnx" and entry.target not in ACTS_TARGETS


def halved_a_stage(targets: Sequence[str]) -> int:
    """Return how many files of each stage get forms in half precision."""
    own = {name for name in targets if _has_files(name) and name not in ACTS_TARGETS}
    return 1 + sum(target_of(name).format == "onnx" for name in own)


def _has_files(target: str) -> bool:
    return target not in ALWAYS.values() and (target in ACTS_TARGETS or target_of(target).format != "torchscript")


def write_stage(
    folder: Path,
    source: Source,
    stage: str,
    network: nn.Module,
    expected: Sequence[Expectation],
    targets: Sequence[str] = (),
    lowerings: Mapping[str, str] = MappingProxyType({}),
) -> list[FileEntry]:
    """Write one network into a bundle folder and return the entries: ONNX, TorchScript, and what further targets need.

    libtorch needs nothing further. An ONNX target gets `TARGET/STAGE.onnx`, with its opset and sums, in a model repository for
    `triton`; `aoti` gets `aoti/STAGE.pt2`; targets of ACTS get files of their own form in `acts/`. lowerings: of targets that are
    not to have their own.
    """
    name = cast(Stage, stage)
    columns = len(source.spec.edge_features)
    (folder / f"{stage}.pt").write_bytes(torchscript_bytes(
        stage, network, len(source.spec.features), columns, onnx_metadata(source.spec, stage, ALWAYS["torchscript"])
    ))
    entries = [
        _write_onnx(folder, source, stage, network, expected, ALWAYS["onnx"], lowerings.get(ALWAYS["onnx"])),
        file_entry(folder, f"{stage}.pt", name, "torchscript"),
    ]
    for target in dict.fromkeys(targets):
        row = target_of(target)
        if not _has_files(target):
            continue
        if target in ACTS_TARGETS:
            zoo = [item.case for item in expected]
            entries += write_acts_model(folder, source.spec, stage, network, zoo, target, lowerings.get(target))
            continue
        (folder / target).mkdir(exist_ok=True)
        if row.format == "onnx":
            entries.append(_write_onnx(folder, source, stage, network, expected, target, lowerings.get(target)))
            continue
        metadata = onnx_metadata(source.spec, stage, target)
        path = f"{target}/{stage}.pt2"
        (folder / path).write_bytes(aoti_bytes(stage, network, len(source.spec.features), metadata, columns))
        entries.append(file_entry(folder, path, name, "aoti", target=target, note="runs on this architecture and libtorch only"))
    return entries


def _write_onnx(
    folder: Path,
    source: Source,
    stage: str,
    network: nn.Module,
    expected: Sequence[Expectation],
    target: str,
    lowering: str | None,
) -> FileEntry:
    spec = source.spec
    model = onnx_model(stage, network, len(spec.features), target, lowering, len(spec.edge_features))
    result = simplified(stage, model, expected)
    name_doors(result.model, stage, target)
    own = "" if target == ALWAYS["onnx"] else target
    path = f"{own}/{stage}.onnx" if own else f"{stage}.onnx"
    if own == TRITON:  # its own tree of folders
        path = network_path(stage)
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
    (folder / path).write_bytes(onnx_bytes(result.model, onnx_metadata(spec, stage, target)))
    opset = target_of(target).opset
    return file_entry(folder, path, cast(Stage, stage), "onnx", opset=opset, note=result.note, target=own)
