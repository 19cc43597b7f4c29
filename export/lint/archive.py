"""TorchScript and .pt2 archives, read without loading them: members, code, pickles; what is damaged or hostile is refused."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import IO, Literal

from trkx.errors import CheckpointError, ExportError
from trkx.export.lint.flow import Flow, flow_of
from trkx.export.lint.script import Script, script_of
from trkx.models.checkpoints.members import MOST_BYTES_AT_ONCE, Careful, checked_members
from trkx.models.checkpoints.pickles import MOST_OPCODES, Pickle, read_pickle, texts
from trkx.models.checkpoints.stored import DTYPES, Made, StoredTensor
from trkx.shown import shown

MOST_CODE = 2**20
"""Bytes of code; our own networks have a hundredth of it, and following takes seconds a MiB."""
MOST_CHECKED = 2 * 2**30
"""Bytes of members whose checksums are verified; weights beyond are not read."""
_CHUNK = 2**20
_TEXTS = ("version", "byteorder", "archive_format", "archive_version")
_PICKLE_DEBUG = ".debug_pkl"
_DEBUG_OPCODES = 300_000


@dataclass(frozen=True)
class Archive:
    """What an archive holds. Names of members are relative to its folder, as torch knows them.

    Attributes:
        path: the file.
        layout: "torchscript", "aoti", or what else torch writes: "checkpoint" (torch.save), "program" (torch.export.save).
        members: name to bytes.
        sources: name of each file of code (`code/__torch__/…py`) to its text.
        pickles: "data.pkl", "constants.pkl", … to what they hold.
        texts: small files of text: version, byteorder, metadata of a compiled model.
        headers: the first 64 bytes of each shared object.
        debug: absolute paths of source files that debug records name.
    """

    path: Path
    layout: Literal["torchscript", "aoti", "checkpoint", "program"]
    members: Mapping[str, int]
    sources: Mapping[str, str]
    pickles: Mapping[str, Pickle]
    texts: Mapping[str, str]
    headers: Mapping[str, bytes]
    debug: tuple[str, ...] = ()

    @cached_property
    def script(self) -> Script:
        """Classes and functions of the code, parsed."""
        return script_of(self.sources)

    @cached_property
    def flow(self) -> Flow:
        """What `forward` does, operator by operator."""
        root = self.pickles["data.pkl"].root if "data.pkl" in self.pickles else None
        return flow_of(self.script, root, self.constants)

    @property
    def constants(self) -> tuple[object, ...]:
        """Values of CONSTANTS.c0, CONSTANTS.c1, … in the code."""
        root = self.pickles["constants.pkl"].root if "constants.pkl" in self.pickles else ()
        return tuple(root) if isinstance(root, tuple | list) else ()

    @property
    def root_class(self) -> str:
        """Qualified name of the module's class, "" if the file holds no module."""
        root = self.pickles["data.pkl"].root if "data.pkl" in self.pickles else None
        return str(root.callee) if isinstance(root, Made) else ""

    def parameters(self) -> tuple[StoredTensor, ...]:
        """Return the tensors of data.pkl: parameters, buffers, attributes."""
        return self.pickles["data.pkl"].tensors if "data.pkl" in self.pickles else ()


def read_archive(file: IO[bytes], path: Path) -> Archive:
    """Return what a zip archive of torch holds; nothing of it is executed, imported or written.

    Args:
        file: opened for reading; stays open.
        path: for messages.

    Raises:
        ExportError: not a zip, damaged, made to harm (bomb, names that leave the folder, overlaps, links), or no model.
    """
    where = shown(str(path), 400)
    size = file.seek(0, 2)
    try:
        with zipfile.ZipFile(Careful(file, where)) as opened:
            entries = checked_members(opened.infolist(), size, where)
            return _content(opened, entries, path, where)
    except CheckpointError as error:
        raise ExportError(str(error)) from None
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, ValueError, OverflowError, RuntimeError) as error:
        raise ExportError(f"{where}: a damaged or truncated zip archive ({shown(str(error))}); copy or save it again.") from None


def _content(opened: zipfile.ZipFile, entries: Mapping[str, zipfile.ZipInfo], path: Path, where: str) -> Archive:
    layout = _layout(opened, entries, where)
    _check_sums(opened, entries, where)
    code = {name: info for name, info in entries.items() if name.startswith("code/") and name.endswith(".py")}
    total = sum(info.file_size for info in code.values())
    if total > MOST_CODE:
        raise ExportError(f"{where}: {total} bytes of code, at most {MOST_CODE} are plausible in a model; it was not read.")
    sources = {name: opened.read(info).decode("utf-8", "replace") for name, info in code.items()}
    pickles: dict[str, Pickle] = {}
    left = MOST_OPCODES
    if layout == "torchscript":
        for name in sorted(name for name in entries if name.endswith(".pkl")):
            pickles[name] = read_pickle(_small(opened, entries[name], where), f"{where}, {shown(name)}", left)
            left -= pickles[name].opcodes
        _check_storages(entries, pickles, where)
    wanted = [name for name in entries if name in _TEXTS or name.endswith("_metadata.json")]
    return Archive(
        path, layout, {name: info.file_size for name, info in entries.items()}, sources, pickles,
        {name: _small(opened, entries[name], where, 2**20).decode("utf-8", "replace") for name in wanted},
        {name: _start(opened, info) for name, info in entries.items() if name.endswith(".so")},
        _debug_paths(opened, entries, where),
    )


def _layout(opened: zipfile.ZipFile, entries: Mapping[str, zipfile.ZipInfo],
            where: str) -> Literal["torchscript", "aoti", "checkpoint", "program"]:
    if any(name.startswith("data/aotinductor/") for name in entries):
        return "aoti"
    if any(name.startswith("models/") for name in entries) and "archive_format" in entries:
        return "program"
    if "data.pkl" in entries:
        return "torchscript" if any(name.startswith("code/") for name in entries) or "constants.pkl" in entries else "checkpoint"
    names = ", ".join(shown(name, 40) for name in sorted(entries)[:5]) or "nothing"
    raise ExportError(f"{where}: a zip archive, but no model of torch: it holds {names}. "
                      "trkx reads ONNX, TorchScript and AOTInductor files.")


def _check_sums(opened: zipfile.ZipFile, entries: Mapping[str, zipfile.ZipInfo], where: str) -> None:
    left = MOST_CHECKED
    for info in entries.values():
        left -= info.file_size
        if left < 0:
            return
        with opened.open(info) as member:
            while member.read(_CHUNK):
                pass


def _check_storages(entries: Mapping[str, zipfile.ZipInfo], pickles: Mapping[str, Pickle], where: str) -> None:
    """Check that the bytes of every tensor are there: torch would read beyond them, or fail late."""
    for name in (name for name in ("data.pkl", "constants.pkl") if name in pickles):  # torch stores no bytes of traced inputs
        for tensor in pickles[name].tensors:
            storage = tensor.storage
            width = DTYPES.get(storage.kind, ("", 0))[1]
            member = f"{name.removesuffix('.pkl')}/{storage.key}"
            found = entries[member].file_size if member in entries else -1
            if found < storage.numel * width:
                state = "is missing" if found < 0 else f"has {found} bytes"
                raise ExportError(f"{where}: weights '{shown(member)}' of {storage.numel} elements take {storage.numel * width} "
                                  f"bytes: the member {state}; copy or save the file again.")
            last = tensor.offset + sum((size - 1) * step for size, step in zip(tensor.shape, tensor.strides, strict=False))
            if min((tensor.offset, *tensor.shape, *tensor.strides)) < 0 or (0 not in tensor.shape and last >= storage.numel):
                raise ExportError(f"{where}: a tensor of {shown(name)} with shape {shown(str(list(tensor.shape[:8])))} does not "
                                  f"fit into its {storage.numel} stored elements: damaged, or made to harm; refused.")


def _small(opened: zipfile.ZipFile, info: zipfile.ZipInfo, where: str, most: int = MOST_BYTES_AT_ONCE) -> bytes:
    if info.file_size > most:
        raise ExportError(f"{where}: '{shown(info.filename)}' has {info.file_size} bytes, at most {most} are plausible; "
                          "it was not read.")
    return opened.read(info)


def _start(opened: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    with opened.open(info) as member:
        return member.read(64)


def _debug_paths(opened: zipfile.ZipFile, entries: Mapping[str, zipfile.ZipInfo], where: str) -> tuple[str, ...]:
    found: dict[str, None] = {}
    for name, info in entries.items():
        if name.endswith(_PICKLE_DEBUG) and info.file_size <= MOST_BYTES_AT_ONCE:
            for text in texts(opened.read(info), _DEBUG_OPCODES):
                if text.startswith("/") and text.endswith(".py") and "\n" not in text:
                    found[text] = None
    return tuple(found)
