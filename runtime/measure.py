"""Wall time and memory of the stages of one run, by a thread that samples the size of the process."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from trkx.runtime.tracks import StageReport

INTERVAL = 0.005  # s


def resident_bytes() -> int:
    """Return the memory that the process occupies now (Linux); elsewhere the most it ever did."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return _largest_ever()


def _largest_ever() -> int:
    try:
        import resource
    except ImportError:  # Windows
        return 0
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return used if os.uname().sysname == "Darwin" else used * 1024


class Count:
    """What a stage counts: set `count_in` before and `count_out` after the work, both in `unit`."""

    def __init__(self, count_in: int, unit: str) -> None:
        self.count_in = count_in
        self.count_out = 0
        self.unit = unit


class Meter:
    """Context that samples memory every 5 ms while it is open and collects a StageReport for each `stage`."""

    def __init__(self) -> None:
        self.stages: list[StageReport] = []
        self._peak = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample, name="trkx-memory", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stop.set()
        self._thread.join()

    def _sample(self) -> None:
        while not self._stop.wait(INTERVAL):
            self._peak = max(self._peak, resident_bytes())

    @contextmanager
    def stage(self, name: str, count_in: int, unit: str) -> Iterator[Count]:
        """Measure the block as stage `name`; the block sets `count_out` on what is yielded. Failed stages leave no report."""
        count = Count(count_in, unit)
        self._peak = resident_bytes()
        start = time.perf_counter()
        yield count
        seconds = time.perf_counter() - start
        peak = max(self._peak, resident_bytes())
        self.stages.append(StageReport(name, seconds, peak, count.count_in, count.count_out, count.unit))

    @contextmanager
    def stages_at_once(self, names: tuple[str, str], count_in: int, unit: str) -> Iterator[tuple[Count, Count, list[float]]]:
        """Measure a block that does the work of two stages together; as `stage`.

        The block sets the counts of both and, in the list, the seconds of the first; the rest is that of the second. The peak is
        that of both.
        """
        counts, first = (Count(count_in, unit), Count(0, unit)), [0.0]
        self._peak = resident_bytes()
        start = time.perf_counter()
        yield counts[0], counts[1], first
        total = time.perf_counter() - start
        peak = max(self._peak, resident_bytes())
        for name, count, seconds in zip(names, counts, (first[0], total - first[0]), strict=True):
            self.stages.append(StageReport(name, seconds, peak, count.count_in, count.count_out, count.unit))
