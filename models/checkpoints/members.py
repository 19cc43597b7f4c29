"""A zip directory is an attacker's until it is checked: what torch would not write is refused before a member is read."""

from __future__ import annotations

import stat
import zipfile
from collections import Counter
from collections.abc import Iterable
from typing import IO

from trkx.errors import CheckpointError
from trkx.shown import shown

MOST_MEMBERS = 100_000
MOST_BYTES_AT_ONCE = 32 * 2**20
"""Largest piece of the file that is read into memory in one go: the zip directory, a pickle, all code."""
MOST_RATIO = 100
MOST_EXPANSION = 200


class Careful:
    """A file that hands out bounded pieces only: sizes in a zip directory are an attacker's."""

    def __init__(self, file: IO[bytes], where: str) -> None:
        self.file, self.where = file, where

    def read(self, size: int = -1) -> bytes:
        """Return at most `size` bytes, all that is left if it is negative; CheckpointError if that is too much at once."""
        data = self.file.read(MOST_BYTES_AT_ONCE + 1 if size < 0 else min(size, MOST_BYTES_AT_ONCE + 1))
        if len(data) > MOST_BYTES_AT_ONCE:
            most = f"{MOST_BYTES_AT_ONCE // 2**20} MiB"
            raise CheckpointError(f"{self.where}: a directory of more than {most} is no plausible model.")
        return data

    def seek(self, offset: int, whence: int = 0) -> int:
        """Move, as in any file."""
        return self.file.seek(offset, whence)

    def tell(self) -> int:
        """Return the position, as in any file."""
        return self.file.tell()

    def seekable(self) -> bool:
        """Return True."""
        return True


def checked_members(infos: list[zipfile.ZipInfo], size: int, where: str) -> dict[str, zipfile.ZipInfo]:
    """Return the members by their name inside the archive's one folder, after looking at what the directory claims.

    Args:
        infos: the zip directory.
        size: of the file, bytes.
        where: file, for messages.

    Raises:
        CheckpointError: a bomb, names that leave the folder or are there twice, overlaps, links, encryption, or not torch's.
    """
    if len(infos) > MOST_MEMBERS:
        raise CheckpointError(f"{where}: {len(infos)} members, at most {MOST_MEMBERS} are plausible in a model.")
    for info in infos:
        problem = _problem_of_entry(info)
        if problem:
            name = shown(info.orig_filename)
            raise CheckpointError(f"{where}: member '{name}' {problem}; torch writes no such archive: refused.")
    twice = [name for name, count in Counter(info.filename for info in infos).items() if count > 1]
    if twice:
        raise CheckpointError(f"{where}: member '{shown(twice[0])}' is there twice: readers would see different files; refused.")
    total = sum(info.file_size for info in infos)
    if total > max(size, 1) * MOST_EXPANSION:
        raise CheckpointError(f"{where}: {size} bytes that claim to hold {total}: a zip bomb, or damaged; refused.")
    end = 0
    for info in sorted(infos, key=lambda item: item.header_offset):
        if info.header_offset < end:
            raise CheckpointError(f"{where}: member '{shown(info.filename)}' overlaps another: a zip bomb, or damaged; refused.")
        end = info.header_offset + 30 + len(info.orig_filename) + info.compress_size
        if end > size:
            name = shown(info.filename)
            raise CheckpointError(f"{where}: member '{name}' ends beyond the file's end: truncated; copy it again.")
    return _in_one_folder([info for info in infos if not info.is_dir()], where)


def _problem_of_entry(info: zipfile.ZipInfo) -> str:
    name = info.orig_filename
    parts = name.rstrip("/").split("/")
    if name != info.filename or "\\" in name or "\0" in name or name.startswith("/") or ":" in parts[0]:
        return "has a name that is no relative path"
    if not name or any(part in ("", ".", "..") for part in parts):
        return "has a name that leaves the archive's folder"
    if len(name) > 1024:
        return f"has a name of {len(name)} characters"
    if info.flag_bits & 0x1:
        return "is encrypted"
    if stat.S_ISLNK(info.external_attr >> 16):
        return "is a symbolic link"
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        return f"is compressed by method {info.compress_type}"
    if info.compress_type == zipfile.ZIP_STORED and info.file_size != info.compress_size:
        return f"is stored, with {info.file_size} bytes that take {info.compress_size}"
    if info.file_size > max(info.compress_size, 1) * MOST_RATIO and info.file_size > 2**16:
        return f"expands from {info.compress_size} to {info.file_size} bytes: a zip bomb"
    return ""


def _in_one_folder(infos: Iterable[zipfile.ZipInfo], where: str) -> dict[str, zipfile.ZipInfo]:
    """Return the members without the name of the folder that torch puts around them."""
    by_name = {}
    root = None
    for info in infos:
        folder, slash, name = info.filename.partition("/")
        root = folder if root is None else root
        if not slash or folder != root:
            raise CheckpointError(f"{where}: a zip archive, but not one of torch: '{shown(info.filename)}' is outside of one "
                                  "common folder; expected what torch.save, torch.jit.save or an export wrote.")
        by_name[name] = info
    return by_name
