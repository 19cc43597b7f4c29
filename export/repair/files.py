"""Repairs a file: reads it without running it, writes the result whole or not at all."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from trkx.errors import ExportError
from trkx.export.lint.opening import opened
from trkx.export.repair.change import Request
from trkx.export.repair.repair import Repaired, repaired
from trkx.runtime.events.output import write_files


def repair_file(request: Request, out: Path, overwrite: bool = False) -> Repaired:
    """Repair the file `request.path` into `out`; what is refused is not written.

    A file that needs no change is copied byte for byte.

    Args:
        request: with target and path; an empty stage is read from the file's metadata.
        out: the file to write; its folder is made.
        overwrite: replace a file that is there.

    Raises:
        ExportError: the file is no ONNX model or can't be evaluated, the target takes no ONNX, or `out` is there.
        TrkxError: `out` can't be written.
    """
    if not request.target.opset:
        raise ExportError(f"target '{request.target.name}' takes no ONNX files, and only those can be repaired; export again.")
    if out.is_dir() or (out.exists() and not overwrite):
        how = "name a file" if out.is_dir() else "choose another name, or pass --overwrite"
        raise ExportError(f"{out}: is there already; {how}.")
    subject = opened(request.path, request.target, stage=request.stage)
    if subject.model is None:
        raise ExportError(f"{request.path}: expected an ONNX file, found {subject.kind}; that can only be exported again.")
    result = repaired(subject.model, replace(request, stage=subject.stage))
    if result.model is not None:
        data = result.model.SerializeToString(deterministic=True) if result.changes else request.path.read_bytes()
        write_files({out: data})
    return result
