"""What goes wrong on a GPU in words that say what to do; what a failed event held there is let go, so that others can follow."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import torch

from trkx.errors import MissingExtraError, TrkxError

MEMORY = (
    "Events before it are done, and others may follow. What helps: free memory there (nvidia-smi lists who holds it), "
    "a GPU with more, engine 'triton' (which holds least), or in stage filter a lower `chunk` of the pipeline"
)
LONGEST = 300  # characters of a library's own words
OTHER_ENGINE = "take engine 'torch-cuda' with --neighbours grid --labelling union_find, or an engine on the CPU"


@dataclass(frozen=True)
class Failure:
    """A kind of failure. fragments: of messages that mean it. what: has happened. advice: what to do next."""

    fragments: tuple[str, ...]
    what: str
    advice: str
    error: type[TrkxError] = TrkxError


OUT_OF_MEMORY = Failure(
    ("out of memory", "OutOfMemoryError", "STATUS_ALLOC_FAILED", "Failed to allocate memory"),
    "out of memory", MEMORY,
)
FAILURES = (
    OUT_OF_MEMORY,
    Failure(
        ("MemoryError", "DefaultCPUAllocator"), "this machine, not the GPU, has no memory left",
        "Events before it are done, and others may follow. Stop what else runs here, or give it fewer --workers",
    ),
    Failure(
        ("driver on your system is too old", "driver version is insufficient", "unsupported toolchain", "no kernel image",
         "forward compatibility was attempted"),
        "driver, GPU and torch do not fit together",
        "Compare nvidia-smi with what your torch is made for (torch.version.cuda): renew the driver, or install another torch",
    ),
    Failure(
        ("busy or unavailable", "DevicesUnavailable"), "the GPU is taken",
        "Another process has it for itself (nvidia-smi lists it): wait for that one, or choose another --device",
    ),
    Failure(
        ("in forked subprocess",), "this process is a copy of one that had used the GPU",
        "Start processes with multiprocessing's method 'spawn', or open the pipeline only in the copy",
    ),
    Failure(
        ("Failed to find C compiler", "No working C++ compiler"), "there is no C compiler, which new kernels need",
        "Install gcc and g++ (apt-get install g++), or set CC and CXX to yours", MissingExtraError,
    ),
    Failure(
        ("libcuda.so cannot found", "libcuda.so cannot be found"), "Triton found no libcuda.so, a part of NVIDIA's driver",
        "Install the driver; in a container, start it with --gpus all", MissingExtraError,
    ),
    Failure(
        ("CalledProcessError",), "a compiler failed while a kernel was made ready",
        "Look whether Python's headers are installed (apt-get install python3-dev) and gcc works", MissingExtraError,
    ),
    Failure(
        ("OutOfResources", "out of resource", "PTXASError", "CompilationError"), "a kernel does not run on this GPU",
        f"Kernels are made for compute capability 8.0 and newer (A100, H100, RTX 30 and later): {OTHER_ENGINE}",
    ),
    Failure(
        ("AcceleratorError", "CUDA error", "Triton Error [CUDA]", "CUDA driver error", "CUBLAS_STATUS", "CUDNN_STATUS"),
        "the GPU failed, and this process can use it no more",
        "Events before it are done; start again with those that are left. nvidia-smi and the system's log (Xid) tell of a broken "
        "device; if it is always the same event, CUDA_LAUNCH_BLOCKING=1 shows where, which is worth a report",
    ),
)
"""In the order in which they are looked for."""


@contextmanager
def explained(device: torch.device, doing: Callable[[], str]) -> Iterator[None]:
    """Make a TrkxError of a failure of the device inside the block; other errors pass as they are.

    The tensors that the failed calls held are let go, even while somebody holds the error, and after a lack of memory what torch
    keeps for later goes back to the device.

    Args:
        device: where the block works.
        doing: called when it failed; what was being done, the beginning of the message.

    Raises:
        TrkxError: of a kind in `FAILURES`, for a RuntimeError and whatever else torch, Triton or a compiler raise.
    """
    try:
        yield
    except TrkxError:
        raise
    except Exception as error:
        kind = kind_of(error)
        if kind is None:
            raise
        told = kind.error(message(kind, error, device, doing()))
        for one in _chain(error):
            traceback.clear_frames(one.__traceback__)  # their variables are tensors of the event
        if kind is OUT_OF_MEMORY:
            give_back(device)
        raise told from error


def kind_of(error: BaseException) -> Failure | None:
    """Return what kind of failure an error is, or one that led to it; None for an error that is not of a device."""
    words = [f"{type(one).__name__}: {one}" for one in _chain(error)]
    return next((kind for kind in FAILURES if any(part in word for word in words for part in kind.fragments)), None)


def message(kind: Failure, error: BaseException, device: torch.device, doing: str) -> str:
    """Return what an error says: what was being done, what happened on which device, the library's own words, what to do."""
    first = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
    first = first if len(first) <= LONGEST else f"{first[:LONGEST]}…"
    return f"{doing}: {kind.what} ({_described(device)}; {first}). {kind.advice}."


def give_back(device: torch.device) -> None:
    """Return memory that torch keeps for later to the device, where others (ONNX Runtime, the next event) can have it."""
    if device.type == "cuda":
        with suppress(RuntimeError):  # of a device that is lost
            torch.cuda.empty_cache()


def _described(device: torch.device) -> str:
    """Return what the device is and how full, as far as it still answers."""
    words = [str(device)]
    if device.type == "cuda":
        with suppress(RuntimeError, AssertionError):
            gpu = torch.cuda.get_device_properties(device)
            words.append(f"{gpu.name}, compute capability {gpu.major}.{gpu.minor}")
        with suppress(RuntimeError, AssertionError):
            free, total = torch.cuda.mem_get_info(device)
            words.append(f"{free / 1e9:.1f} of {total / 1e9:.1f} GB free")
    return ", ".join(words)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """Return an error and those that led to it."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__
