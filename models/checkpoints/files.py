"""A regular file, opened: folders, pipes and devices are refused without waiting for them."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import IO

from trkx.errors import CheckpointError


def regular_file(path: Path, where: str, wanted: str = "one model file") -> IO[bytes]:
    """Return a file, opened for reading.

    Args:
        path: of the file.
        where: how messages call it.
        wanted: what was expected, for messages.

    Raises:
        CheckpointError: nothing there, a folder, pipe, socket or device.
        OSError: it is there and can't be read.
    """
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            raise CheckpointError(f"{where}: a folder, expected {wanted}.")
        if not stat.S_ISREG(mode):
            raise CheckpointError(f"{where}: a pipe, socket or device, expected a file.")
        file = os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb")
    except FileNotFoundError:
        raise CheckpointError(f"{where}: there is no such file; give the path of {wanted}.") from None
    except ValueError as error:  # a NUL in the name
        raise CheckpointError(f"{where}: no name of a file ({error}).") from None
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):  # replaced meanwhile
        file.close()
        raise CheckpointError(f"{where}: a pipe, socket or device, expected a file.")
    return file
