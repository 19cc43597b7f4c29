"""A run that is told to stop: it waits for no event that is on its way, and keeps what is done."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from typing import NoReturn

from trkx.runtime.many.threads import NAME

STOPS = (KeyboardInterrupt, SystemExit)
"""What Ctrl-C (SIGINT) and SIGTERM raise in the main thread of a command."""
INTERRUPTED = 130
"""Exit code after Ctrl-C, as of shells: 128 + SIGINT."""


@contextmanager
def abandoned_when_told(stream: Generator[object, None, None]) -> Iterator[None]:
    """Close a stream of events at the end; where one of `STOPS` passes, it is told, so that it waits for no event."""
    try:
        yield
    except STOPS as stop:
        with suppress(Exception, *STOPS):  # at the least `stop` itself, which comes out at the other end
            stream.throw(stop)
        raise
    finally:
        stream.close()


def code_of(stop: BaseException) -> int:
    """Return the exit code of a process that one of `STOPS` ends."""
    code = stop.code if isinstance(stop, SystemExit) else INTERRUPTED
    return code if isinstance(code, int) else 1


def leave(code: int) -> NoReturn:
    """End the process; at once if worker threads are still in an event, which can't be interrupted.

    Call it when everything that is to be kept is written: clean-up at exit is then left out.
    """
    if any(thread.name.startswith(NAME) for thread in threading.enumerate()):
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError):
                stream.flush()
        os._exit(code)
    sys.exit(code)
