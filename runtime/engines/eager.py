"""Eager PyTorch on the CPU: the networks of trkx.models with the bundle's weights."""

from __future__ import annotations

from safetensors.torch import load
from torch import nn

from trkx.bundle import Bundle
from trkx.models.checkpoint import fit
from trkx.models.networks import build_network
from trkx.runtime.engines.base import of_stage, read_weights
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
    weights = read_weights(bundle, load)
    where = bundle.path / bundle.entry("all", "safetensors").path
    modules: dict[str, nn.Module] = {}
    for stage in bundle.spec.stages:
        module = build_network(bundle.spec, stage)
        fit(module, of_stage(weights, stage), f"{where}, stage {stage},")
        modules[stage] = module.eval().requires_grad_(False)
    return modules
