"""The table of engines on a GPU. Importing it loads no torch: names are known before one of them is opened."""

from __future__ import annotations

import importlib
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, cast

from trkx.backends import TORCH_FOR_GPUS, require
from trkx.bundle import Bundle
from trkx.errors import MissingExtraError, SpecError, unknown_name
from trkx.runtime.precision import EXACT, PRECISIONS, precisions
from trkx.spec import STAGES

if TYPE_CHECKING:
    import torch

    from trkx.runtime.cuda.engines.base import DeviceEngine

# name -> module with `open_engine(bundle, device, precision) -> DeviceEngine`; what it needs stands in trkx.backends
DEVICE_ENGINES: Mapping[str, str] = {
    "triton": "trkx.runtime.cuda.engines.fused",
    "torch-cuda": "trkx.runtime.cuda.engines.torch_modules",
    "torch-compile": "trkx.runtime.cuda.engines.torch_modules",
    "onnxruntime-cuda": "trkx.runtime.cuda.engines.ort",
    "onnxruntime-tensorrt": "trkx.runtime.cuda.engines.ort",
    "tensorrt": "trkx.runtime.cuda.engines.tensorrt",
}
OPENERS: Mapping[str, str] = {"torch-compile": "open_compiled", "onnxruntime-tensorrt": "open_tensorrt"}
"""Engine to the function of its module that opens it, where that is not `open_engine`."""
DEVICE_PRECISIONS: Mapping[str, tuple[str, ...]] = {
    "triton": PRECISIONS,
    "torch-cuda": PRECISIONS,
    "torch-compile": PRECISIONS,
    "onnxruntime-cuda": PRECISIONS,
    "onnxruntime-tensorrt": PRECISIONS,
    "tensorrt": PRECISIONS,
}
"""Engine to the precisions that it runs a stage in. Engines that read files take half precision from files in half precision."""


def device_of(name: str) -> torch.device:
    """Return the device that a word like "cuda", "cuda:1" or "cpu" means.

    Raises:
        SpecError: no such device, or one that is neither a CPU nor an NVIDIA GPU.
        MissingExtraError: torch is not installed or sees no GPU.
    """
    import torch

    from trkx.runtime.cuda.failures import explained

    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise SpecError(f"device '{name}': expected cuda, or cuda:0, cuda:1 … of several GPUs.") from error
    if device.type == "cpu":
        return device
    with warnings.catch_warnings(record=True) as said:  # torch only warns of a driver that is too old
        warnings.simplefilter("always")
        there = torch.cuda.is_available()
    if device.type != "cuda" or (torch.version.cuda is None and there):
        raise SpecError(f"device '{name}': engines run on NVIDIA GPUs; say cuda, or cuda:0, cuda:1 … of several.")
    if not there:
        raise _no_gpu(name, [str(one.message) for one in said])
    count = torch.cuda.device_count()
    if device.index is not None and device.index >= count:
        raise SpecError(f"device '{name}': torch sees {count} GPU(s), counted from cuda:0{_visible()}.")
    with explained(device, lambda: f"device '{name}'"):
        return numbered(device)


def _no_gpu(name: str, said: Sequence[str]) -> MissingExtraError:
    """Return the error for a torch that sees no GPU. said: what it warned of when it looked."""
    import torch

    known = "nvidia-smi tells which GPUs and driver there are"
    if torch.version.cuda is None:
        why = f"this torch is for CPUs. Where there is a GPU: {TORCH_FOR_GPUS}. {known}; trkx doctor --load what else is missing."
    elif said:
        why = f"{said[0].strip()} {known}."
    else:
        why = f"there is none{_visible()}, or its driver is too old for this torch. {known}."
    return MissingExtraError(
        f"device '{name}': torch {torch.__version__} sees no NVIDIA GPU (torch.cuda.is_available() is False): {why}"
    )


def _visible() -> str:
    """Return a remark where the environment hides GPUs, which are then counted anew."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return "" if visible is None else f" of those that CUDA_VISIBLE_DEVICES leaves ('{visible}')"


def require_precision(name: str, precision: str, stages: Sequence[str] = STAGES) -> dict[str, str]:
    """Return stage to precision; SpecError for a word that is none, or that engine `name` does not run in.

    stages: those that the bundle has; another may not be named.
    """
    wanted = precisions(precision, stages)
    strange = sorted({one for one in wanted.values() if one not in DEVICE_PRECISIONS[name]})
    if strange:
        able = ", ".join(other for other, known in DEVICE_PRECISIONS.items() if set(strange) <= set(known))
        raise SpecError(
            f"engine '{name}' runs in {', '.join(DEVICE_PRECISIONS[name])}, not in {', '.join(strange)}; that is for: {able}."
        )
    return wanted


def open_device_engine(name: str, bundle: Bundle, device: torch.device, precision: str = EXACT) -> DeviceEngine:
    """Load the networks of a bundle onto a device.

    Args:
        name: of the engine.
        bundle: opened.
        device: a CUDA device as `device_of` gives it; the CPU is for tests, and for Triton kernels needs its interpreter.
        precision: of all stages, or of each, as in `trkx.runtime.precision.precisions`.

    Raises:
        SpecError: an unknown engine or precision, or one that the engine does not run in.
        MissingExtraError: something is not installed, or there is no GPU.
        BundleError: a file that is missing, edited, or can't be loaded.
        TrkxError: the device fails, or has no memory for the networks (`trkx.runtime.cuda.failures`).
    """
    if name not in DEVICE_ENGINES:
        raise SpecError(unknown_name("engine", name, DEVICE_ENGINES))
    require_precision(name, precision, bundle.spec.stages)
    require("engine", name, gpu=False)  # `device_of` has asked torch, which knows better than a look at the driver
    module = importlib.import_module(DEVICE_ENGINES[name])
    opener = cast("Callable[[Bundle, torch.device, str], DeviceEngine]", getattr(module, OPENERS.get(name, "open_engine")))
    from trkx.runtime.cuda.failures import explained
    from trkx.runtime.cuda.on_host import current

    device = numbered(device)
    with explained(device, lambda: f"engine '{name}'"), current(device):  # libraries leave their device the current one
        return opener(bundle, device, precision)


def numbered(device: torch.device) -> torch.device:
    """Return a device with its number, as tensors on it have it: "cuda" is the current one."""
    import torch

    return torch.device("cuda", torch.cuda.current_device()) if device.type == "cuda" and device.index is None else device
