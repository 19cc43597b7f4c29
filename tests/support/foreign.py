"""Checkpoints of other code bases, made in memory, and graphs on which ours must agree with an independent twin."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from trkx.models.checkpoints.checkpoint import Checkpoint
from trkx.spec import FeatureSpec

if TYPE_CHECKING:
    import torch
    from torch import nn

    from trkx.models.families.reading import Reading


def columns(count: int) -> list[FeatureSpec]:
    """Return features of scale 1 for a network that reads so many columns."""
    return [FeatureSpec(f"feature_{place}", 1.0) for place in range(count)]


def checkpoint_of(
    state: Mapping[str, torch.Tensor], hyper_parameters: Mapping[str, Any] | None = None, **changes: Any
) -> Checkpoint:
    """Return a state dict as an opened Lightning checkpoint."""

    def read(names: Iterable[str]) -> dict[str, torch.Tensor]:
        return {name: state[name] for name in names}

    fields: dict[str, Any] = {
        "path": Path("made.ckpt"),
        "kind": "lightning",
        "shapes": {name: tuple(value.shape) for name, value in state.items()},
        "dtypes": {name: str(value.dtype).removeprefix("torch.") for name, value in state.items()},
        "hyper_parameters": dict(hyper_parameters or {}),
        "hyper_source": "the file" if hyper_parameters else "",
        "reader": read,
    }
    return Checkpoint(**{**fields, **changes})


def random_weights(module: nn.Module, seed: int = 0) -> nn.Module:
    """Move every weight of a module so that none is 0 or 1 by default (variances stay above 0); returns it in eval mode."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, value in module.state_dict().items():
            if value.is_floating_point():
                noise = 0.3 * torch.randn(value.shape, generator=generator)
                value.add_(noise.abs() if name.endswith("running_var") else noise)
    return module.eval()


def graphs(num_features: int, seed: int = 0) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """Return (x float32 [N, F], edge_index int64 [2, E]) by name: repeated edges, isolated nodes, no edges, one edge, a hub, …"""
    import torch

    rng = np.random.default_rng(seed)

    def features(nodes: int) -> torch.Tensor:
        return torch.tensor(rng.normal(size=(nodes, num_features)).astype(np.float32))

    few = rng.integers(0, 12, (2, 40))
    star = np.stack([np.arange(1, 60), np.zeros(59, np.int64)])
    found = {
        "repeated edges": (12, np.concatenate([few, few, few[::-1]], axis=1)),
        "isolated nodes": (60, rng.integers(0, 15, (2, 50))),
        "no edges": (9, np.empty((2, 0), np.int64)),
        "one edge": (2, np.array([[0], [1]])),
        "star": (60, star),
        "self loops": (10, np.stack([np.arange(10), np.arange(10)])),
        "random": (40, rng.integers(0, 40, (2, 300))),
    }
    return {name: (features(nodes), torch.tensor(edges)) for name, (nodes, edges) in found.items()}


def built(checkpoint: Checkpoint, stage: str, family: str | None = None) -> tuple[Reading, nn.Module]:
    """Recognise a checkpoint and return what it was read as, and the module in float32."""
    from trkx.models.families.building import network_of
    from trkx.models.families.table import recognise

    reading = recognise(checkpoint, stage, family)
    return reading, network_of(reading, checkpoint, columns(reading.inputs))


def assert_agrees(
    twin: Callable[..., torch.Tensor], network: nn.Module, cases: Mapping[str, Sequence[torch.Tensor]], tolerance: float = 1e-12
) -> None:
    """Compare a twin (already float64) with our network in float64 on each case's inputs, relative to the largest output."""
    import copy

    import torch

    ours = copy.deepcopy(network).double()
    for name, inputs in cases.items():
        wide = [value.double() if value.is_floating_point() else value for value in inputs]
        with torch.no_grad():
            wanted, found = twin(*wide), ours(*wide)
        found = found.reshape(wanted.shape)
        assert torch.isfinite(wanted).all(), name
        size = max(1.0, float(wanted.abs().max())) if wanted.numel() else 1.0
        assert float((found - wanted).abs().max() if wanted.numel() else 0.0) <= tolerance * size, name


def assert_exports_agree(
    stage: str, twin: Callable[..., torch.Tensor], network: nn.Module, cases: Mapping[str, Sequence[torch.Tensor]],
    tolerance: float = 1e-5,
) -> None:
    """Compare a twin (float64) with the ONNX and TorchScript files of our network, relative to the largest output."""
    import onnxruntime
    import torch

    from trkx.export.onnx_file import onnx_bytes, onnx_model
    from trkx.export.torchscript_file import load_torchscript, torchscript_bytes

    num_features = next(iter(cases.values()))[0].shape[1]
    data = onnx_bytes(onnx_model(stage, network, num_features), {})
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    script = load_torchscript(torchscript_bytes(stage, network, num_features))
    names = [value.name for value in session.get_inputs()]
    for name, inputs in cases.items():
        with torch.no_grad():
            wanted = twin(*[value.double() if value.is_floating_point() else value for value in inputs]).numpy()
            scripted = script(*inputs).numpy().reshape(wanted.shape)
        ran = session.run(None, {key: value.numpy() for key, value in zip(names, inputs, strict=True)})[0].reshape(wanted.shape)
        size = max(1.0, float(np.abs(wanted).max(initial=0.0)))
        for engine, found in (("ONNX", ran), ("TorchScript", scripted)):
            assert np.abs(found - wanted).max(initial=0.0) <= tolerance * size, f"{name}, {engine}"
