"""Weights in files: written as safetensors, and read into a network that they must fit exactly."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from trkx.errors import CheckpointError
from trkx.models.checkpoints.opening import open_checkpoint


def save_checkpoint(path: Path, module: nn.Module, metadata: Mapping[str, str] | None = None) -> None:
    """Write a network's weights, float32 on the CPU, to a temporary name and rename it."""
    state = {name: value.detach().to("cpu", torch.float32).contiguous().clone() for name, value in module.state_dict().items()}
    temporary = path.with_name(path.name + ".tmp")
    try:
        save_file(state, temporary, metadata=dict(metadata or {}))
        temporary.replace(path)
    except OSError as error:
        raise CheckpointError(f"{path}: can't be written: {error}. What was there before is untouched.") from error
    finally:
        temporary.unlink(missing_ok=True)


def fit(module: nn.Module, state: Mapping[str, Tensor], where: str) -> None:
    """Load weights into a network, or raise CheckpointError that lists missing, unexpected and mis-shaped keys."""
    own = module.state_dict()
    missing = sorted(own.keys() - state.keys())
    extra = sorted(state.keys() - own.keys())
    shapes = [f"{name}: file {list(state[name].shape)}, spec {list(own[name].shape)}"
              for name in sorted(own.keys() & state.keys()) if own[name].shape != state[name].shape]
    problems = [f"{title} {', '.join(names[:6])}{' …' if len(names) > 6 else ''}"
                for title, names in (("missing", missing), ("unexpected", extra), ("other shapes:", shapes)) if names]
    if problems:
        raise CheckpointError(f"{where} does not fit its specification: {'; '.join(problems)}. Check hidden, layers, iterations, "
                              "layer_norm, geometry and features in the specification.")
    broken = [name for name, value in state.items() if value.is_floating_point() and not bool(torch.isfinite(value).all())]
    if broken:
        raise CheckpointError(f"{where}: NaN or infinite weights in {', '.join(broken[:6])}; the training did not end well.")
    module.load_state_dict(dict(state))


def load_checkpoint(path: Path, module: nn.Module) -> None:
    """Load a checkpoint file into a network; nothing in it is executed. CheckpointError if it can't be read or does not fit."""
    checkpoint = open_checkpoint(path)
    fit(module, checkpoint.tensors(checkpoint.shapes), str(path))
