"""Times of cases that take turns, so that all meet the same load, and how far a call makes the process grow."""

from __future__ import annotations

import ctypes
import math
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path

from trkx.errors import MissingExtraError, SpecError, TrkxError

Case = Callable[[], object]


class NotHereError(TrkxError):
    """A case that can't run on this machine; the message says why, in a few words."""


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, or its class where it says nothing."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


@dataclass(frozen=True)
class Timing:
    """What was measured of one case.

    name: of the case. seconds: wall time of each round, without the warm-up; empty if it is not available here. warm_up: wall
    time of the first call, which compiles and fills caches. peak_bytes: most that the process grew during a round, None if not
    measured. note: what a reader must know; why it is not available.
    """

    name: str
    seconds: tuple[float, ...]
    warm_up: float
    peak_bytes: int | None
    note: str = ""

    @property
    def available(self) -> bool:
        """Whether it ran."""
        return len(self.seconds) > 0

    @property
    def median(self) -> float:
        """Median of the rounds, s; NaN if it did not run."""
        return statistics.median(self.seconds) if self.seconds else math.nan

    @property
    def best(self) -> float:
        """Shortest round, s: what is least disturbed by others on the machine; NaN if it did not run."""
        return min(self.seconds, default=math.nan)

    @property
    def low(self) -> float:
        """Lower quartile, s; NaN if it did not run."""
        return self._quartiles()[0]

    @property
    def high(self) -> float:
        """Upper quartile, s; NaN if it did not run."""
        return self._quartiles()[1]

    def _quartiles(self) -> tuple[float, float]:
        if len(self.seconds) < 2:
            return self.median, self.median
        first, _, third = statistics.quantiles(self.seconds, n=4, method="inclusive")
        return first, third

    def to_dict(self) -> dict[str, object]:
        """Return it as plain containers, ready for JSON (None instead of NaN)."""
        numbers = {"median": self.median, "best": self.best, "low": self.low, "high": self.high} if self.available else {}
        return {"name": self.name, "available": self.available, "seconds": list(self.seconds), **numbers,
                "warm_up": None if math.isnan(self.warm_up) else self.warm_up, "peak_bytes": self.peak_bytes, "note": self.note}


def unavailable(name: str, reason: str) -> Timing:
    """Return the row of a case that can't run here."""
    return Timing(name, (), math.nan, None, reason)


def compare(
    cases: Mapping[str, Case],
    rounds: int,
    memory: bool = False,
    keep: Callable[[str, object], None] | None = None,
    pause: float = 0.0,
) -> dict[str, Timing]:
    """Return what each case takes: a first call of each, reported apart, then `rounds` rounds in which the cases take turns.

    Args:
        cases: name to what is called. One whose first call raises NotHereError or MissingExtraError gets a row that says why.
        rounds: at least 1.
        memory: also measure how far the process grows during a round (Linux; None elsewhere). Memory that a library keeps between
            calls (an arena) does not count again: the exact figure of a stage needs a fresh process (`trkx.runtime.bench.child`).
        keep: told the name and the result of every first call, to compare results.
        pause: seconds of rest before each timed call: threads of OpenMP and of ONNX Runtime wait busily for a while after their
            work, on the cores of whoever comes next.

    Raises:
        SpecError: fewer than one round.
    """
    if rounds < 1:
        raise SpecError(f"benchmark: rounds must be at least 1, found {rounds}.")
    found: dict[str, Timing] = {}
    warm: dict[str, float] = {}
    for name, case in cases.items():
        start = time.perf_counter()
        try:
            result = case()
        except (NotHereError, MissingExtraError) as error:
            found[name] = unavailable(name, str(error))
            continue
        warm[name] = time.perf_counter() - start
        if keep is not None:
            keep(name, result)
        del result
    seconds: dict[str, list[float]] = {name: [] for name in warm}
    peaks: dict[str, int | None] = dict.fromkeys(warm)
    for number in range(rounds):
        names = list(warm) if number % 2 == 0 else list(warm)[::-1]  # nobody always follows the same neighbour
        for name in names:
            time.sleep(pause)
            with growth() if memory else nullcontext(Growth()) as grown:  # it hands memory back: pages are faulted in again
                start = time.perf_counter()
                result = cases[name]()
                seconds[name].append(time.perf_counter() - start)
            del result
            if grown.bytes is not None:
                peaks[name] = max(peaks[name] or 0, grown.bytes)
    found |= {name: Timing(name, tuple(seconds[name]), warm[name], peaks[name]) for name in warm}
    return {name: found[name] for name in cases}


@dataclass
class Growth:
    """What a block needed; None where the system does not say.

    bytes: how far the process grew, at its highest. highest: its largest size meanwhile, all that it held before included.
    """

    bytes: int | None = None
    highest: int | None = None


@contextmanager
def growth() -> Iterator[Growth]:
    """Measure how far resident memory rises above its value at the start of the block: exact, by the kernel's high-water mark.

    What was freed before but kept by the C library is handed back first. One block at a time: the mark is the process' own.
    """
    grown = Growth()
    before = None
    if _reset():
        before = _status("VmRSS")
    yield grown
    peak = _status("VmHWM")
    if before is not None and peak is not None:
        grown.bytes, grown.highest = max(peak - before, 0), peak


def _reset() -> bool:
    """Set the high-water mark to the present size; False where that is not possible."""
    with suppress(OSError, AttributeError, TypeError):  # no glibc
        ctypes.CDLL(None).malloc_trim(0)
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        return False
    return True


def _status(key: str) -> int | None:
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(key + ":")), None)
