"""The half-precision files of a stage, beside the float32 ones: `gnn.fp16.onnx` beside `gnn.onnx`, for every target."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import onnx

from trkx.bundle import FileEntry, file_entry
from trkx.export.metadata import onnx_metadata
from trkx.export.onnx_file import onnx_bytes
from trkx.export.precision.convert import in_half
from trkx.export.precision.table import FLOAT32, types_of
from trkx.identity import PRECISION_KEY
from trkx.runtime.precision import precisions, spelled
from trkx.spec import PipelineSpec


def require_precisions(words: Sequence[str], spec: PipelineSpec) -> list[str]:
    """Return what the words of `--precision` ask for, stage by stage, as the manifest keeps it.

    Raises:
        SpecError: an unknown precision or stage, or a stage that the pipeline lacks.
        ExportError: a precision that no file can say.
    """
    for word in words:
        precisions(word, spec.stages)
        for stage in spec.stages:
            types_of((word,), stage)
    return [spelled(word, spec.stages) for word in words]


def half_count(words: Sequence[str], spec: PipelineSpec, onnx_files: int) -> int:
    """Return how many files in half precision a bundle gets; onnx_files: of each stage in float32."""
    return onnx_files * sum(len(types_of(words, stage)) for stage in spec.stages)


def write_half(folder: Path, spec: PipelineSpec, entries: Sequence[FileEntry], words: Sequence[str]) -> list[FileEntry]:
    """Write the half-precision forms of a stage's ONNX files into a bundle folder, and return their entries.

    Args:
        folder: with the float32 files.
        spec: of the pipeline.
        entries: of the stage's files.
        words: of `--precision`.
    """
    made = []
    for entry in entries:
        if entry.format != "onnx" or entry.precision != FLOAT32:
            continue
        for half in types_of(words, entry.stage):
            result = in_half(onnx.load_model(folder / entry.path), half)
            path = f"{entry.path.removesuffix('.onnx')}.{half.short}.onnx"
            target = entry.target or "ort-cpu"
            metadata = onnx_metadata(spec, entry.stage, target) | {PRECISION_KEY: half.name}
            (folder / path).write_bytes(onnx_bytes(result.model, metadata))
            made.append(file_entry(folder, path, entry.stage, "onnx", half.name, entry.opset, result.plan.note, entry.target))
    return made
