"""Zip archives of torch: what torch.save and torch.jit.save write, opened without loading."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING

from trkx.errors import CheckpointError
from trkx.models.checkpoints.checkpoint import Checkpoint
from trkx.models.checkpoints.files import regular_file
from trkx.models.checkpoints.members import MOST_BYTES_AT_ONCE, Careful, checked_members
from trkx.models.checkpoints.modules import module_of
from trkx.models.checkpoints.pickles import read_pickle
from trkx.models.checkpoints.states import MOST_OPCODES, State, attributes_of, checkpoint_of_state, state_of_pickle
from trkx.models.checkpoints.stored import StoredTensor
from trkx.models.checkpoints.weights import checked, read_tensors
from trkx.shown import shown

if TYPE_CHECKING:
    from torch import Tensor

_CHUNK = 2**20
_ENDIANNESS = {"little": False, "big": True}
_FAULTS = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, ValueError, OverflowError, RuntimeError)


@contextmanager
def _archive(file: IO[bytes], where: str) -> Iterator[tuple[zipfile.ZipFile, Mapping[str, zipfile.ZipInfo]]]:
    """Open a zip archive, with its members by their names inside the archive's folder; faults become CheckpointError."""
    size = file.seek(0, 2)
    try:
        with zipfile.ZipFile(Careful(file, where)) as opened:
            yield opened, checked_members(opened.infolist(), size, where)
    except _FAULTS as error:
        reason = shown(str(error))
        raise CheckpointError(f"{where}: a damaged or truncated zip archive ({reason}); copy or save it again.") from None


def open_archive(file: IO[bytes], path: Path, where: str) -> Checkpoint:
    """Return what a zip archive of torch holds as a checkpoint; its weights stay in the file until they are asked for.

    Args:
        file: opened for reading.
        path: of the same file, opened again when weights are read.
        where: for messages.

    Raises:
        CheckpointError: damaged, made to harm, or an archive without weights under names.
    """
    with _archive(file, where) as (opened, entries):
        if "data.pkl" not in entries:
            raise CheckpointError(f"{where}: a zip archive of torch without data.pkl: {_other(entries)}.")
        root = read_pickle(_member(opened, entries["data.pkl"], where), f"{where}, data.pkl", MOST_OPCODES).root
        swapped = _swapped(opened, entries, where)
        scripted = "constants.pkl" in entries or any(name.startswith("code/") for name in entries)
        state = _scripted(root, where) if scripted else state_of_pickle(root, where)
        checked(state.tensors, lambda tensor: _bytes_held(entries, tensor), where)
    return checkpoint_of_state(state, path, _reader(path, where, state.tensors, swapped))


def _scripted(root: object, where: str) -> State:
    module = module_of(root, where)
    if module is None:
        raise CheckpointError(f"{where}: TorchScript code without a module: a function has no weights; give the checkpoint.")
    if not module.tensors:
        raise CheckpointError(f"{where}: a TorchScript file without named weights: torch.jit.freeze makes constants of them. "
                              "Give the file as it was before freezing, or the checkpoint of the training.")
    values = attributes_of(module, where)
    if len(module.activations) == 1:
        values.setdefault("hidden_activation", next(iter(module.activations)))
    return State("torchscript", module.tensors, values, module.class_name, module.modules)


def _other(entries: Mapping[str, zipfile.ZipInfo]) -> str:
    if any(name.startswith("data/aotinductor/") for name in entries):
        return "a compiled AOTInductor package, whose weights have no names; give the checkpoint of the training"
    if any(name.startswith("models/") for name in entries):
        return "a program that torch.export.save wrote; give the checkpoint of the training, or save its state_dict()"
    return f"it holds {', '.join(shown(name, 40) for name in sorted(entries)[:5]) or 'nothing'}; expected what torch.save wrote"


def _member(opened: zipfile.ZipFile, info: zipfile.ZipInfo, where: str, most: int = MOST_BYTES_AT_ONCE) -> bytes:
    if info.file_size > most:
        raise CheckpointError(f"{where}: '{shown(info.filename)}' has {info.file_size} bytes, at most {most} are plausible; it "
                              "was not read.")
    return opened.read(info)


def _swapped(opened: zipfile.ZipFile, entries: Mapping[str, zipfile.ZipInfo], where: str) -> bool:
    if "byteorder" not in entries:
        return False
    order = _member(opened, entries["byteorder"], where, 64).decode("ascii", "replace").strip()
    if order not in _ENDIANNESS:
        raise CheckpointError(f"{where}: byte order '{shown(order)}', expected little or big; save the file again.")
    return _ENDIANNESS[order]


def _bytes_held(entries: Mapping[str, zipfile.ZipInfo], tensor: StoredTensor) -> int:
    info = entries.get(f"data/{tensor.storage.key}")
    return -1 if info is None else info.file_size


def _reader(path: Path, where: str, tensors: Mapping[str, StoredTensor],
            swapped: bool) -> Callable[[Iterable[str]], dict[str, Tensor]]:
    def read(names: Iterable[str]) -> dict[str, Tensor]:
        with regular_file(path, where) as file:
            size = file.seek(0, 2)
            with _archive(file, where) as (opened, entries):
                checked(tensors, lambda tensor: _bytes_held(entries, tensor), where)  # the file may have changed

                def bytes_of(tensor: StoredTensor) -> bytearray:
                    data = bytearray()
                    with opened.open(entries[f"data/{tensor.storage.key}"]) as member:
                        while chunk := member.read(_CHUNK):  # to its end, so that the checksum is compared
                            data += chunk
                    return data

                return read_tensors(tensors, names, bytes_of, size, where, swapped)
    return read
