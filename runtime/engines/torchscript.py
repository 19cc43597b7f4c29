"""TorchScript on the CPU, from verified bytes."""

from __future__ import annotations

import io
import warnings

import torch

from trkx.bundle import Bundle
from trkx.runtime.engines.base import not_loadable
from trkx.runtime.engines.torch_cpu import TorchEngine


def open_engine(bundle: Bundle, threads: int) -> TorchEngine:
    """Return the engine for a bundle's TorchScript files; BundleError if one is edited or is refused by torch."""
    modules = {}
    for stage in bundle.spec.stages:
        data = bundle.read(stage, "torchscript")
        try:
            with warnings.catch_warnings():  # torch 2.10 and newer advise torch.export to those who write such files
                warnings.filterwarnings("ignore", r"`torch\.jit\.\w+` is (deprecated|not supported)", DeprecationWarning)
                modules[stage] = torch.jit.load(io.BytesIO(data), map_location="cpu").eval()
        except Exception as error:  # RuntimeError, zip and pickle errors
            raise not_loadable(bundle, stage, "torchscript", error) from error
    return TorchEngine(modules, threads)
