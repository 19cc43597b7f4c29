"""The device under test: its clock, its memory, its ceilings. On a CPU (kernels interpreted) clock and ceilings are the CPU's."""

from __future__ import annotations

import shutil
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
import triton

from trkx.runtime.bench.machine import machine_facts
from trkx.runtime.crew import available_cores
from trkx.runtime.measure import resident_bytes

DTYPES = {"fp32": torch.float32, "tf32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass
class Peak:
    """Most bytes that tensors took inside a block, and what they took before it."""

    before: int = 0
    highest: int = 0


@dataclass(frozen=True)
class Device:
    """One device. rates: measured matrix rate by precision, operations per second; copy: bytes read and written per second."""

    torch: torch.device
    facts: dict[str, Any]
    rates: dict[str, float] = field(default_factory=dict)
    copy: float = 0.0

    @property
    def real(self) -> bool:
        """Whether this is a GPU."""
        return self.torch.type == "cuda"

    def wait(self) -> None:
        """Return when all that was asked of the device is done."""
        wait(self.torch)

    def seconds(self, work: Callable[[], object], rounds: int) -> float:
        """Return the median time of `work`, after one run that does not count."""
        return seconds(self.torch, work, rounds)

    @contextmanager
    def peak(self) -> Iterator[Peak]:
        """Measure the memory of tensors in the block."""
        found = Peak(self.held())
        if self.real:
            torch.cuda.reset_peak_memory_stats(self.torch)
        yield found
        self.wait()
        found.highest = torch.cuda.max_memory_allocated(self.torch) if self.real else self.held()

    def used(self) -> int | None:
        """Return the bytes of the GPU that are taken by whomever, None on a CPU."""
        if not self.real:
            return None
        free, total = torch.cuda.mem_get_info(self.torch)
        return int(total - free)

    def held(self) -> int:
        """Return the bytes that tensors take now; on a CPU the whole process."""
        return torch.cuda.memory_allocated(self.torch) if self.real else resident_bytes()


def wait(device: torch.device) -> None:
    """Return when all that was asked of a device is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def seconds(device: torch.device, work: Callable[[], object], rounds: int) -> float:
    """Return the median time of `work`, after one run that does not count."""
    taken = []
    for turn in range(rounds + 1):
        wait(device)
        start = time.perf_counter()
        work()
        wait(device)
        if turn:
            taken.append(time.perf_counter() - start)
    return statistics.median(taken)


def opened(name: str) -> Device:
    """Return the device with its ceilings measured: a matrix product in each precision, a copy that no cache holds."""
    device = torch.device(name)
    real = device.type == "cuda"
    if real and not torch.cuda.is_available():
        raise SystemExit("--device cuda: torch sees no CUDA device here. On a CPU: TRITON_INTERPRET=1, --device cpu, a few hits.")
    if not real and not triton.knobs.runtime.interpret:
        raise SystemExit("--device cpu runs the kernels in Triton's interpreter: set TRITON_INTERPRET=1.")
    size, rounds = (8192, 10) if real else (256, 3)
    rates = {}
    for precision, dtype in DTYPES.items():
        a, b = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
        with tf32(precision == "tf32"):
            taken = seconds(device, lambda a=a, b=b: torch.mm(a, b), rounds)  # type: ignore[misc]
        rates[precision] = 2.0 * size**3 / taken
    source = torch.randn(1 << 29 if real else 1 << 22, device=device)
    target = torch.empty_like(source)
    copy = 2.0 * source.numel() * 4 / seconds(device, lambda: target.copy_(source), rounds)
    return Device(device, facts(device), rates, copy)


def facts(device: torch.device) -> dict[str, Any]:
    """Return what measurements must be read with."""
    found = machine_facts(available_cores()) | {"triton": triton.__version__, "cuda": torch.version.cuda}
    if device.type != "cuda":
        return found | {"device": "cpu, kernels interpreted: no time here means anything"}
    seen = torch.cuda.get_device_properties(device)
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    driver = subprocess.run(command, capture_output=True, text=True).stdout if shutil.which(command[0]) else "unknown"
    return found | {
        "device": seen.name, "device_memory_bytes": seen.total_memory, "multiprocessors": seen.multi_processor_count,
        "compute_capability": f"{seen.major}.{seen.minor}", "driver": driver.strip(),
    }


@contextmanager
def tf32(allowed: bool) -> Iterator[None]:
    """Let float32 products of torch be rounded to TF32 in the block, or not."""
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = allowed
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before
