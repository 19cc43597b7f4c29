"""A checkpoint opened by what it holds, not by its name. Nothing in it is executed; torch is imported when weights are read."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import IO, TYPE_CHECKING

from trkx.errors import CheckpointError
from trkx.models.checkpoints.archives import open_archive
from trkx.models.checkpoints.checkpoint import Checkpoint
from trkx.models.checkpoints.files import regular_file
from trkx.models.checkpoints.hyper_files import hyper_file_of, merged, read_hyper_file
from trkx.models.checkpoints.legacy import open_legacy
from trkx.models.checkpoints.safetensors_file import open_safetensors, starts_like_safetensors
from trkx.shown import shown

if TYPE_CHECKING:
    from torch import Tensor

READS = "trkx reads Lightning checkpoints, files of torch.save, TorchScript and safetensors"
PREFIXES = ("module.", "_orig_mod.", "model.")
"""What DataParallel, torch.compile and wrapping classes put before every name."""
_PICKLES = tuple(bytes((0x80, protocol)) for protocol in range(2, 6))
SIGNATURES: tuple[tuple[int, bytes, str], ...] = (
    (0, b"version https://git-lfs", "a git-lfs pointer, the checkpoint itself was not fetched; run `git lfs pull`"),
    (0, b"\x89HDF", f"an HDF5 file; {READS}"),
    (0, b"\x93NUMPY", f"a NumPy array; {READS}"),
    (0, b"\x1f\x8b", f"compressed by gzip; unpack it first. {READS}"),
    (0, b"\x28\xb5\x2f\xfd", f"compressed by zstd; unpack it first. {READS}"),
    (0, b"\x7fELF", f"a compiled program or library; {READS}"),
    (257, b"ustar", "a tar archive: unpack it; one of torch before 0.1.10 is to be saved again with that torch"),
)
"""Offset, bytes, and what a file with them is and what to do."""


def open_checkpoint(path: Path, hparams: Path | None = None) -> Checkpoint:
    """Return what a checkpoint holds: names and shapes of its tensors, hyper-parameters, and weights when asked for.

    Args:
        path: of a Lightning checkpoint, a file of torch.save (state dict or module, old or new), TorchScript or safetensors.
        hparams: YAML, JSON or TOML with hyper-parameters, which win over those in the checkpoint. If None, a checkpoint without
            any takes those of hparams.yaml beside it or a folder up, and says so; it may be that of another training.

    Raises:
        CheckpointError: it is no checkpoint, damaged, or made to harm; the message says what was found and what to do. Whatever
            the file, this takes bounded time and memory.
    """
    path = Path(path)
    where = shown(str(path), 400)
    try:
        with regular_file(path, where, "one checkpoint file") as file:
            checkpoint = _opened(file, path, where)
    except OSError as error:
        raise CheckpointError(f"{where}: can't be read ({error.strerror}).") from error
    except MemoryError:
        raise CheckpointError(f"{where}: reading it takes more memory than there is here.") from None
    return _with_file(_without_prefix(checkpoint), hparams)


def _opened(file: IO[bytes], path: Path, where: str) -> Checkpoint:
    size = os.fstat(file.fileno()).st_size
    head = file.read(4096)
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return open_archive(file, path, where)
    if starts_like_safetensors(head, size):  # before pickles: a header of 640 bytes has a length that begins like one
        return open_safetensors(file, path, where)
    if head.startswith(_PICKLES):
        return open_legacy(file, path, where)
    if path.suffix == ".onnx":
        raise CheckpointError(f"{where}: an ONNX file, no checkpoint: `trkx lint`, `repair` and `validate` take it; {READS}.")
    raise CheckpointError(f"{where}: {_what(head)}.")


def _what(head: bytes) -> str:
    """Return what a file is that is no checkpoint, and what to do."""
    if not head:
        return "an empty file: the copy or download failed; get it again"
    for offset, signature, what in SIGNATURES:
        if head[offset:offset + len(signature)] == signature:
            return what
    if head.lstrip()[:64].lower().startswith((b"<!doctype", b"<html", b"<?xml")):
        return "a web page or XML, not a checkpoint: the download failed, or needs a login; fetch it again"
    if not head.strip(b"\0"):
        return f"begins with {len(head)} zero bytes: not a checkpoint, or an interrupted copy; copy it again"
    if head[8:9] == b"{":
        return "begins like safetensors but is shorter than its header says: truncated; copy it again"
    if all(byte in b"\r\n\t\f" or 32 <= byte != 127 for byte in head):
        return f"a text file, expected a checkpoint; {READS}"
    return f"not a checkpoint: it begins with {shown(repr(head[:8])[2:-1])}; {READS}"


def _without_prefix(checkpoint: Checkpoint) -> Checkpoint:
    """Return a checkpoint without the wrappers that are in front of every name."""
    names = list(checkpoint.shapes)
    cut = ""
    while found := next((prefix for prefix in PREFIXES if names and all(name.startswith(cut + prefix) for name in names)), ""):
        cut += found
    if not cut or any(name == cut for name in names):
        return checkpoint

    def read(wanted: Iterable[str]) -> dict[str, Tensor]:
        listed = list(wanted)
        held = checkpoint.tensors(cut + name for name in listed)
        return {name: held[cut + name] for name in listed}

    return replace(
        checkpoint,
        shapes={name.removeprefix(cut): shape for name, shape in checkpoint.shapes.items()},
        dtypes={name.removeprefix(cut): dtype for name, dtype in checkpoint.dtypes.items()},
        modules={name.removeprefix(cut): kind for name, kind in checkpoint.modules.items() if name.startswith(cut)},
        reader=read,
        notes=(*checkpoint.notes, f"'{cut}' before every name was left away"),
    )


def _with_file(checkpoint: Checkpoint, hparams: Path | None) -> Checkpoint:
    """Return a checkpoint with the hyper-parameters of a file: the one given, or hparams.yaml near it."""
    own = checkpoint.hyper_parameters
    complete = bool(own) and checkpoint.kind != "torchscript"  # TorchScript keeps a few attributes only
    file = (None if complete else hyper_file_of(checkpoint.path)) if hparams is None else hparams
    if file is None:
        return checkpoint
    given, notes = read_hyper_file(file)
    values, more = merged(own, given, file.name, wins=hparams is not None)
    sources = [checkpoint.hyper_source, f"in {shown(str(file), 400)}" if given else ""]
    return replace(checkpoint, hyper_parameters=values, hyper_source=" and ".join(source for source in sources if source),
                   notes=(*checkpoint.notes, *notes, *more))
