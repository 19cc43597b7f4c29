"""A model file opened by what it holds, not by its name: ONNX, TorchScript or .pt2. Nothing in it is executed."""

from __future__ import annotations

import os
from pathlib import Path
from typing import IO

from trkx.errors import CheckpointError, ExportError
from trkx.export.lint.archive import read_archive
from trkx.export.lint.finding import Kind, Subject
from trkx.export.lint.parsing import read_onnx
from trkx.export.lint.protobuf import starts_like_onnx
from trkx.export.targets import TARGETS, Target, target_of
from trkx.identity import STAGE_KEY
from trkx.models.checkpoints.files import regular_file
from trkx.shown import shown

MAX_EDGES = 2_000_000
"""Edges of the largest event that is expected, where nobody says otherwise."""
DEFAULT_TARGETS: dict[Kind, str] = {"onnx": "ort-cpu", "torchscript": "libtorch", "aoti": "aoti"}
_WORDS: dict[str, str] = {"onnx": "ONNX", "torchscript": "TorchScript", "aoti": "a compiled AOTInductor package"}
_READS = "trkx reads ONNX, TorchScript and AOTInductor files."
_CHECKPOINT = ("weights without a network: `trkx inspect FILE` says what it is, `export-models --gnn FILE` (or --embedding, "
               "--filter) makes model files of it.")
SIGNATURES: tuple[tuple[int, bytes, str], ...] = (
    (0, b"version https://git-lfs", "a git-lfs pointer, the model itself was not fetched; run `git lfs pull`."),
    (0, b"\x80\x02", f"a pickled checkpoint: {_CHECKPOINT}"),
    (0, b"\x80\x03", f"a pickled checkpoint: {_CHECKPOINT}"),
    (0, b"\x80\x04", f"a pickled checkpoint: {_CHECKPOINT}"),
    (0, b"\x80\x05", f"a pickled checkpoint: {_CHECKPOINT}"),
    (0, b"\x89HDF", f"an HDF5 file. {_READS}"),
    (0, b"\x93NUMPY", f"a NumPy array. {_READS}"),
    (0, b"\x1f\x8b", f"compressed by gzip; unpack it first. {_READS}"),
    (0, b"\x28\xb5\x2f\xfd", f"compressed by zstd; unpack it first. {_READS}"),
    (0, b"\x7fELF", f"a compiled program or library. {_READS}"),
    (0, b"ftrt", "a built TensorRT engine, tied to its GPU; lint the ONNX file that it was built from."),
    (0, b"ptrt", "a built TensorRT engine, tied to its GPU; lint the ONNX file that it was built from."),
    (4, b"ORTM", "ONNX Runtime's own format; lint the ONNX file that it was made from."),
    (4, b"TFL3", f"a TensorFlow Lite model. {_READS}"),
    (257, b"ustar", f"a tar archive; unpack it first. {_READS}"),
)
"""Offset, bytes, and what a file with them is and what to do."""


def opened(path: Path | str, target: Target | str | None = None, max_edges: int = MAX_EDGES, stage: str = "",
           expected: dict[str, str] | None = None) -> Subject:
    """Return a model file, read and ready for rules.

    Args:
        path: the file.
        target: what it is meant for, a row or its name; by default `ort-cpu`, `libtorch` or `aoti`, by what the file is.
        max_edges: largest number of edges that is expected of an event.
        stage: "embedding", "filter" or "gnn"; read from the file's own metadata if empty.
        expected: metadata that the file must carry, if it comes from a bundle.

    Raises:
        ExportError: it is no model file, it is damaged or made to harm, or its format is not that of the target. Whatever the
            file, this takes bounded time and memory.
    """
    path = Path(path)
    where = shown(str(path), 400)
    row = target_of(target) if isinstance(target, str) else target
    try:
        with regular_file(path, where) as file:
            size = os.fstat(file.fileno()).st_size
            head = file.read(4096)
            if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
                return _archive(file, path, where, row, max_edges, stage, expected)
            _refuse_others(head, size, where)
            row = _fitting("onnx", row, where)
            model = read_onnx(file, size, where)
    except CheckpointError as error:  # of the readers of archives and pickles, which checkpoints share
        raise ExportError(str(error)) from None
    except OSError as error:
        raise ExportError(f"{where}: can't be read ({error.strerror}).") from error
    except MemoryError:
        raise ExportError(f"{where}: reading it takes more memory than there is here.") from None
    from trkx.export.functions import unfolded
    from trkx.export.onnx_graph import Graph

    stage = stage or next((item.value for item in model.metadata_props if item.key == STAGE_KEY), "")
    return Subject(path, "onnx", row, max_edges, stage, expected, model=model, graph=Graph(unfolded(model)))


def _fitting(kind: Kind, target: Target | None, where: str) -> Target:
    if target is None:
        return target_of(DEFAULT_TARGETS[kind])
    if target.format != kind:
        fitting = ", ".join(row.name for row in TARGETS.values() if row.format == kind)
        raise ExportError(f"{where}: target {target.name} takes {_WORDS[target.format]}, this is {_WORDS[kind]}; "
                          f"targets of such a file: {fitting}.")
    return target


def _archive(file: IO[bytes], path: Path, where: str, target: Target | None, max_edges: int, stage: str,
             expected: dict[str, str] | None) -> Subject:
    archive = read_archive(file, path)
    if archive.layout == "checkpoint":
        raise ExportError(f"{where}: a checkpoint that torch.save wrote: {_CHECKPOINT}")
    if archive.layout == "program":
        raise ExportError(f"{where}: a program that torch.export.save wrote, not compiled; "
                          "`torch._inductor.aoti_compile_and_package` makes the package that C++ can load.")
    kind: Kind = archive.layout
    return Subject(path, kind, _fitting(kind, target, where), max_edges, stage, expected, archive=archive)


def _refuse_others(head: bytes, size: int, where: str) -> None:
    """Say what a file is that is neither a zip archive nor ONNX."""
    if not head:
        raise ExportError(f"{where}: an empty file.")
    for offset, signature, what in SIGNATURES:
        if head[offset:offset + len(signature)] == signature:
            raise ExportError(f"{where}: {what}")
    if int.from_bytes(head[:8], "little") <= size - 8 and head[8:9] == b"{":
        raise ExportError(f"{where}: safetensors: {_CHECKPOINT}")
    start = head.lstrip()[:64].lower()
    if start.startswith((b"<!doctype", b"<html", b"<?xml")):
        raise ExportError(f"{where}: a web page or XML, not a model: the download failed, or needs a login; fetch it again.")
    if not head.strip(b"\0"):
        raise ExportError(f"{where}: begins with {len(head)} zero bytes: not a model, or an interrupted copy; copy it again.")
    if _is_text(head):
        raise ExportError(f"{where}: a text file, expected a model. {_READS}")
    if not starts_like_onnx(head):
        raise ExportError(f"{where}: not a model file: it begins with {shown(repr(head[:8])[2:-1])}. {_READS}")


def _is_text(head: bytes) -> bool:
    if starts_like_onnx(head) and head[0] in (8, 10):  # fields 1 and 2 begin like a backspace or a line break
        return False
    try:
        text = head.decode("utf-8", "strict" if len(head) < 4096 else "ignore")
    except UnicodeDecodeError:
        return False
    return all(character.isprintable() or character in "\r\n\t\f\ufeff" for character in text)
