"""TorchScript on the CPU, from verified bytes."""

from __future__ import annotations

import io
import warnings
import zipfile

import torch

from trkx.bundle import Bundle
from trkx.identity import SPEC_KEY, STAGE_KEY, TARGET_KEY, require_same
from trkx.runtime.engines.base import not_loadable
from trkx.runtime.engines.torch_cpu import TorchEngine


def open_engine(bundle: Bundle, threads: int) -> TorchEngine:
    """Return the engine for a bundle's TorchScript files.

    Raises:
        BundleError: a file that is edited, is refused by torch, or says that it was made for another spec or stage.
    """
    modules = {}
    for stage in bundle.spec.stages:
        data = bundle.read(stage, "torchscript")
        try:
            with warnings.catch_warnings():  # torch 2.10 and newer advise torch.export to those who write such files
                warnings.filterwarnings("ignore", r"`torch\.jit\.\w+` is (deprecated|not supported)", DeprecationWarning)
                modules[stage] = torch.jit.load(io.BytesIO(data), map_location="cpu").eval()
        except Exception as error:  # RuntimeError, zip and pickle errors
            raise not_loadable(bundle, stage, "torchscript", error) from error
        where = str(bundle.path / bundle.entry(stage, "torchscript").path)
        require_same(said_of_itself(data), bundle.spec, where, stage, target="libtorch")
    return TorchEngine(modules, threads)


def said_of_itself(data: bytes) -> dict[str, str]:
    """Return the `pkg.trkx.*` that a TorchScript file holds beside its code; nothing of the file is run."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        names = {name.partition("/extra/")[2]: name for name in archive.namelist() if "/extra/" in name}
        return {key: archive.read(names[key]).decode() for key in (SPEC_KEY, STAGE_KEY, TARGET_KEY) if key in names}
