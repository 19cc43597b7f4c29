"""The place of a process among those of a run on one machine: so that each takes another GPU."""

from __future__ import annotations

import os
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import IO

from trkx.errors import TrkxError


class Place:
    """The lowest place that nobody living of a group has on this machine: 0, 1, 2 … Free again when its holder ends.

    A place is a lock on a file of that number, which the system takes away from a process that is no more.

    group: name of the run, the same for all its workers. folder: for the files; None for the machine's temporary one.

    Raises:
        TrkxError: a system without such locks (Windows).
    """

    def __init__(self, group: str, folder: Path | None = None) -> None:
        """Take it."""
        self._folder = (Path(tempfile.gettempdir()) if folder is None else folder) / f"{group}-places"
        number, file = 0, self._taken(0)
        while file is None:
            number += 1
            file = self._taken(number)
        self.number = number
        self._file = file

    def close(self) -> None:
        """Leave it to others."""
        with suppress(OSError):  # others hold theirs, or the system's cleaning was here
            self._path(self.number).unlink()
            self._folder.rmdir()
        self._file.close()

    def _path(self, number: int) -> Path:
        return self._folder / str(number)

    def _taken(self, number: int) -> IO[str] | None:
        """Return the file of a place, locked; None if somebody has it."""
        path = self._path(number)
        while True:
            try:
                self._folder.mkdir(exist_ok=True)
                file = path.open("w")
            except FileNotFoundError:  # the last holder of a place has just removed the folder
                continue
            if not _locked(file):
                file.close()
                return None
            with suppress(FileNotFoundError):
                if path.stat().st_ino == os.fstat(file.fileno()).st_ino:
                    return file
            file.close()  # its last holder removed it between our opening and our lock


def _locked(file: IO[str]) -> bool:
    if sys.platform == "win32":
        raise TrkxError(
            "several devices for Dask workers need locks that Windows does not have: start each worker with CUDA_VISIBLE_DEVICES "
            "set to its GPU, and leave --device out."
        )
    import fcntl

    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
