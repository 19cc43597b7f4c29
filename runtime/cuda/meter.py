"""Time and memory of the stages of one run on a device."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self

import torch

from trkx.runtime.measure import Count, Meter
from trkx.runtime.tracks import StageReport


class DeviceMeter(Meter):
    """As Meter; on a GPU, a stage ends when the device is done with it, and its memory is what torch held there at most.

    Libraries with an allocator of their own, as ONNX Runtime and TensorRT are, hold memory that is not counted.

    last: the stage that was begun last; "" before the first.
    """

    def __init__(self, device: torch.device) -> None:
        super().__init__()
        self.last = ""
        self._device = device
        self._on_gpu = device.type == "cuda"

    def __enter__(self) -> Self:
        return self if self._on_gpu else super().__enter__()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if not self._on_gpu:
            super().__exit__(kind, error, trace)

    @contextmanager
    def stage(self, name: str, count_in: int, unit: str) -> Iterator[Count]:
        """Measure the block as stage `name`; as `Meter.stage`. One thread at a time, as the peak is that of the process."""
        self.last = name
        if not self._on_gpu:
            with super().stage(name, count_in, unit) as count:
                yield count
            return
        count = Count(count_in, unit)
        torch.cuda.reset_peak_memory_stats(self._device)
        start = time.perf_counter()
        yield count
        torch.cuda.current_stream(self._device).synchronize()
        seconds = time.perf_counter() - start
        self._add(name, seconds, torch.cuda.max_memory_allocated(self._device), count)

    @contextmanager
    def stage_on_host(self, name: str, count_in: int, unit: str) -> Iterator[Count]:
        """Measure a block that does not use the device, whose memory is what others hold there; any number of threads at once."""
        self.last = name
        if not self._on_gpu:
            with super().stage(name, count_in, unit) as count:
                yield count
            return
        count = Count(count_in, unit)
        start = time.perf_counter()
        yield count
        self._add(name, time.perf_counter() - start, torch.cuda.memory_allocated(self._device), count)

    def _add(self, name: str, seconds: float, peak: int, count: Count) -> None:
        self.stages.append(StageReport(name, seconds, peak, count.count_in, count.count_out, count.unit))
