"""A chain of linear layers as a ChainSpec says, its first layer over named blocks that are never concatenated."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from trkx.models.blocks import ACTIVATIONS, BlockLinear
from trkx.spec import BatchNorm, ChainSpec, Norm


class EventNorm(nn.Module):
    """Batch norm with the mean and the biased variance of the rows that it is given: of all hits or edges of an event.

    What `nn.BatchNorm1d(track_running_stats=False)` does also at inference. One row gives 0 (or the bias), where that raises.
    """

    def __init__(self, width: int, eps: float, affine: bool) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(width)) if affine else None
        self.bias = nn.Parameter(torch.zeros(width)) if affine else None

    def forward(self, x: Tensor) -> Tensor:
        """Return the normed rows, [rows, width]; no row is as good as any."""
        count = torch.clamp(torch.sum(torch.ones_like(x[:, :1]), dim=0, keepdim=True), min=1.0)  # a mean of no rows would be NaN
        distance = x - torch.sum(x, dim=0, keepdim=True) / count
        variance = torch.sum(distance * distance, dim=0, keepdim=True) / count
        normed = distance / torch.sqrt(variance + self.eps)
        return normed if self.weight is None or self.bias is None else normed * self.weight + self.bias


class StoredNorm(nn.Module):
    """Batch norm with stored mean and variance."""

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, width: int, eps: float, affine: bool) -> None:
        super().__init__()
        self.eps = eps
        self.register_buffer("running_mean", torch.zeros(width))
        self.register_buffer("running_var", torch.ones(width))
        self.weight = nn.Parameter(torch.ones(width)) if affine else None
        self.bias = nn.Parameter(torch.zeros(width)) if affine else None

    def forward(self, x: Tensor) -> Tensor:
        """Return the normed rows, [rows, width]."""
        normed = (x - self.running_mean) / torch.sqrt(self.running_var + self.eps)
        return normed if self.weight is None or self.bias is None else normed * self.weight + self.bias


class BlockChain(nn.Module):
    """The layers of a ChainSpec on named blocks.

    Weights: `linears.I.weight`, `.bias`; `norms.I.…` (LayerNorm) and `batch_norms.I.…` of layer I where they have weights.
    """

    def __init__(self, blocks: Mapping[str, int], spec: ChainSpec) -> None:
        super().__init__()
        self.spec = spec
        self.linears = nn.ModuleList([BlockLinear(blocks, spec.widths[0])])
        self.linears.extend(nn.Linear(a, b) for a, b in zip(spec.widths, spec.widths[1:], strict=False))
        self.norms, self.batch_norms, self.activations = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        for place, width in enumerate(spec.widths):
            norm, batch_norm, activation = spec.after(place)
            self.norms.append(_layer_norm(norm, width))
            self.batch_norms.append(_batch_norm(batch_norm, width, spec.batch_norm_eps))
            self.activations.append(ACTIVATIONS[activation]())

    def forward(self, blocks: Mapping[str, tuple[Tensor, Tensor | None]]) -> Tensor:
        """Return [rows, widths[-1]]; `blocks` as in BlockLinear."""
        value: Tensor = self.linears[0](blocks)
        for place in range(len(self.linears)):
            if place:
                value = self.linears[place](value)
            if self.spec.activation_first:
                value = self.activations[place](value)
            value = self.batch_norms[place](self.norms[place](value))
            if not self.spec.activation_first:
                value = self.activations[place](value)
        return value


def _layer_norm(kind: Norm, width: int) -> nn.Module:
    return nn.Identity() if kind == "none" else nn.LayerNorm(width, elementwise_affine=kind == "affine")


def _batch_norm(kind: BatchNorm, width: int, eps: float) -> nn.Module:
    if kind == "none":
        return nn.Identity()
    return (EventNorm if kind.startswith("event") else StoredNorm)(width, eps, kind.endswith("affine"))
