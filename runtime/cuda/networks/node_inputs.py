"""What first layers see of hits, on their device: as `trkx.runtime.tiled.inputs` makes it in numpy."""

from __future__ import annotations

import torch

from trkx.errors import InputError
from trkx.runtime.cuda.networks.chain_inputs import PairInputs
from trkx.runtime.tiled.inputs import Inputs


def node_inputs(inputs: Inputs, x: torch.Tensor) -> torch.Tensor:
    """Return what a network reads of hits, float32 [N, width], of x, float32 [N, F].

    Raises:
        InputError: x has other columns than the pipeline has features.
    """
    require_columns(inputs, x)
    x = x.to(torch.float32)
    if inputs.geometry is None:
        columns = [x[:, column] if factor == 1.0 else x[:, column] * factor for column, factor in inputs.own or ()]
        return torch.stack(columns, dim=1)
    r, phi, z = (x[:, column] * scale for column, scale in zip(inputs.geometry.columns, inputs.geometry.scales, strict=True))
    eta = torch.asinh(z / torch.clamp(r, min=1e-6))
    others = [x[:, column] for column in inputs.others]
    return torch.stack([r, torch.cos(phi), torch.sin(phi), z, eta * 0.25, *others], dim=1)


def require_columns(inputs: Inputs, x: torch.Tensor) -> None:
    """Raise InputError unless x has the columns that the pipeline has features."""
    if x.ndim != 2 or x.shape[1] != inputs.given:
        raise InputError(f"x must be float32 [N, {inputs.given}], found {list(x.shape)}.")


def pair_inputs(inputs: Inputs, x: torch.Tensor) -> PairInputs | None:
    """Return of what features of pairs are made of x, float32 [N, F]; None for a network that reads none."""
    if inputs.geometry is None:
        return None
    r, phi, z = (x[:, column].to(torch.float32).contiguous() for column in inputs.geometry.columns)
    return PairInputs(r, phi, z, inputs.geometry.scales)
