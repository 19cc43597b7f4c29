"""Time and memory on a GPU: the clock stops when the device is done; libraries allocate past torch, so the device is asked."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Self

import torch

from trkx.runtime.bench.measure import Case, Timing, compare
from trkx.runtime.cuda.engines.table import device_of

INTERVAL = 0.002
"""Seconds between two looks at the device's memory."""


def synchronize(device: torch.device) -> None:
    """Wait until the device has done what it was given; nothing on the CPU."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def device_facts(name: str) -> dict[str, Any]:
    """Return name, compute capability, memory of a device and what drives it; errors as of `device_of`."""
    device = device_of(name)
    facts: dict[str, Any] = {"name": "CPU", "torch": torch.__version__, "cuda": torch.version.cuda}
    if device.type == "cuda":
        known = torch.cuda.get_device_properties(device)
        facts |= {"name": known.name, "capability": f"{known.major}.{known.minor}", "memory_bytes": known.total_memory,
                  "multiprocessors": known.multi_processor_count}
    return facts


class DeviceUse:
    """Context that finds how much memory of a device is used; on the CPU it finds nothing.

    allocated: most bytes that torch had given out. grown: how many more than at the start. used: most bytes in use on the
    device by whomever, contexts and pools included, seen every 2 ms: what libraries hold for a shorter time may be missed.
    """

    def __init__(self, device: torch.device) -> None:
        self.allocated: int | None = None
        self.grown: int | None = None
        self.used: int | None = None
        self._device = device
        self._before = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample, name="trkx-gpu-memory", daemon=True)

    def __enter__(self) -> Self:
        if self._device.type == "cuda":
            synchronize(self._device)
            torch.cuda.reset_peak_memory_stats(self._device)
            self._before = torch.cuda.memory_allocated(self._device)
            self._look()
            self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._device.type == "cuda":
            self._stop.set()
            self._thread.join()
            if error is None:
                synchronize(self._device)
                self._look()
                self.allocated = torch.cuda.max_memory_allocated(self._device)
                self.grown = self.allocated - self._before

    def _sample(self) -> None:
        while not self._stop.wait(INTERVAL):
            self._look()

    def _look(self) -> None:
        free, total = torch.cuda.mem_get_info(self._device)
        self.used = max(self.used or 0, total - free)


def compare_on(
    device: torch.device, cases: Mapping[str, Case], rounds: int, memory: bool, keep: Callable[[str, object], None]
) -> tuple[dict[str, Timing], dict[str, int]]:
    """Return what cases take on a device, as `compare`; and the most memory in use there, by case.

    Their own memory is by how much torch's rises. Others hold results of theirs meanwhile.
    """

    def waited(case: Case) -> Case:
        def call() -> object:
            result = case()
            synchronize(device)
            return result

        return call

    timings = compare({name: waited(case) for name, case in cases.items()}, rounds, keep=keep)
    used: dict[str, int] = {}
    if memory and device.type == "cuda":
        for name, timing in timings.items():
            if timing.available:
                torch.cuda.empty_cache()
                with DeviceUse(device) as use:
                    cases[name]()
                timings[name] = Timing(name, timing.seconds, timing.warm_up, use.grown, timing.note)
                used[name] = use.used or 0
    return timings, used


def timed(device: torch.device, work: Callable[[], Any]) -> tuple[Any, float]:
    """Return what work returns and how many seconds it took, from an idle device to an idle device."""
    synchronize(device)
    start = time.perf_counter()
    came = work()
    synchronize(device)
    return came, time.perf_counter() - start
