"""Eager PyTorch on the CPU: the networks of trkx.models with the bundle's weights."""

from __future__ import annotations

from safetensors.torch import load
from torch import nn

from trkx.bundle import Bundle
from trkx.identity import require_same
from trkx.models.checkpoint import fit
from trkx.models.networks import build_network
from trkx.runtime.describe import describe_safetensors
from trkx.runtime.engines.base import not_loadable
from trkx.runtime.engines.torch_cpu import TorchEngine


def open_engine(bundle: Bundle, threads: int) -> TorchEngine:
    """Return the engine for a bundle's weights; errors as in `load_networks`."""
    return TorchEngine(load_networks(bundle), threads)


def load_networks(bundle: Bundle) -> dict[str, nn.Module]:
    """Return the networks of a bundle with its weights, stage to float32 module in eval mode.

    Raises:
        BundleError: they are edited, or say that they were made for another spec.
        CheckpointError: they do not fit the spec.
    """
    data = bundle.read("all", "safetensors")
    try:
        weights = load(data)
    except Exception as error:  # SafetensorError has no stable place
        raise not_loadable(bundle, "all", "safetensors", error) from error
    where = bundle.path / bundle.entry("all", "safetensors").path
    require_same(describe_safetensors(data, str(where))["metadata"], bundle.spec, str(where))
    modules: dict[str, nn.Module] = {}
    for stage in bundle.spec.stages:
        module = build_network(bundle.spec, stage)
        prefix = f"{stage}."
        own = {name.removeprefix(prefix): value for name, value in weights.items() if name.startswith(prefix)}
        fit(module, own, f"{where}, stage {stage},")
        modules[stage] = module.eval().requires_grad_(False)
    return modules
