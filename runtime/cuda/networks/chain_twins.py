"""What `chain` does, in plain torch on any device: every product and step as one tensor, with the same rounding."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch.nn import functional

from trkx.runtime.cuda.networks.chain_inputs import PAIR, Gather, Pair, PairInputs, check_inputs, check_out

if TYPE_CHECKING:
    from trkx.runtime.tiled.chains import Chain, Layer

ACTIVATIONS: Mapping[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "silu": functional.silu, "relu": functional.relu, "tanh": torch.tanh, "gelu": functional.gelu,
    "leaky_relu": functional.leaky_relu, "elu": functional.elu, "mish": functional.mish, "softplus": functional.softplus,
    "sigmoid": torch.sigmoid, "none": lambda x: x,
}  # fmt: skip
HALVES = {"fp16": torch.float16, "bf16": torch.bfloat16}
TINY = 1e-12
DROPPED = 13  # bits of float32's fraction that tf32 lacks


def rounded(values: torch.Tensor, precision: str) -> torch.Tensor:
    """Return float32 values, rounded to a precision: to nearest, ties to even; NaN stays."""
    if precision in HALVES:
        return values.to(HALVES[precision]).to(torch.float32)
    if precision == "tf32":
        bits = values.contiguous().view(torch.int32)
        near = bits + ((1 << (DROPPED - 1)) - 1) + (bits >> DROPPED & 1)
        return torch.where(values.isnan(), values, (near & -(1 << DROPPED)).view(torch.float32))
    return values


def pair_features(inputs: PairInputs, source: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Return features of pairs, float32 [rows, 11], as trkx.models.geometry computes them; in the dtype of `inputs`."""
    r_scale, phi_scale, z_scale = inputs.scales
    a, b = source.long(), target.long()
    r_a, r_b, z_a = inputs.r[a] * r_scale, inputs.r[b] * r_scale, inputs.z[a] * z_scale
    dr, dz = (inputs.r[b] - inputs.r[a]) * r_scale, (inputs.z[b] - inputs.z[a]) * z_scale
    dphi = (inputs.phi[b] - inputs.phi[a]) * phi_scale
    sine, half = torch.sin(dphi), torch.sin(0.5 * dphi)
    chord = torch.sqrt(dr * dr + 4.0 * r_a * r_b * half * half + TINY)
    curvature = sine / (chord + 1e-6)
    farther = torch.maximum(r_a, r_b)
    square = torch.minimum(curvature * curvature, 1.0 / (farther * farther + TINY))
    q_a, q_b = square * r_a * r_a, square * r_b * r_b
    arc_a, arc_b = q_a * (1.0 / 6.0 + q_a * (3.0 / 40.0)), q_b * (1.0 / 6.0 + q_b * (3.0 / 40.0))
    slope = square * (r_a + r_b) * (1.0 / 6.0 + (q_a + q_b) * (3.0 / 40.0))
    ds = dr * (1.0 + arc_b + r_a * slope)
    s_a = r_a * (1.0 + arc_a)
    length = torch.sqrt(ds * ds + dz * dz + TINY)
    cross = z_a * ds - s_a * dz
    return torch.stack([
        4.0 * dr,
        2.0 * dz,
        8.0 * sine,
        torch.tanh(1.5 * curvature),
        torch.tanh(20.0 * chord),
        dz / length,
        ds / length,
        cross / torch.sqrt(cross * cross + 0.01 * (ds * ds) + TINY),
        10.0 * torch.tanh(0.5 * cross / length),
        sine / torch.sqrt(sine * sine + dr * dr + TINY),
        torch.tanh(3.0 * torch.sqrt(dr * dr + dz * dz + TINY)),
    ], dim=1)  # fmt: skip


class ChainTwin:
    """A chain with its weights on a device. Methods are those of `DeviceChain`.

    dtype: float64 computes all but the rounding in it.
    """

    def __init__(self, chain: Chain, precision: str, device: torch.device, dtype: torch.dtype = torch.float32) -> None:
        self.chain, self.precision, self.device, self.dtype = chain, precision, device, dtype
        self._first = "fp32" if chain.reads_features else precision
        self._ends_in_dot = chain.judges and len(chain.layers) > 1 and not chain.layers[-1].steps

    @classmethod
    def of(cls, chain: Chain, precision: str, device: torch.device) -> ChainTwin:
        """Return the twin of a chain."""
        return cls(chain, precision, device)

    def product(self, block: str, values: torch.Tensor, with_bias: bool) -> torch.Tensor:
        """Return the product of a block of hits, float [N, width], once per hit."""
        found = self._read(values, self._first) @ self._weight(self.chain.blocks[block], self._first).t()
        return found + self._tensor(self.chain.layers[0].bias) if with_bias else found

    def states(
        self,
        rows: int,
        blocks: Mapping[str, torch.Tensor],
        gathers: Sequence[Gather] = (),
        pair: Pair | None = None,
        out: torch.Tensor | None = None,
        residual: bool = False,
        squash: bool = False,
    ) -> torch.Tensor:
        """Return the chain's output, [rows, out]; written to `out` where given."""
        check_out(self.chain, rows, out, residual)
        found = self._run(rows, blocks, gathers, pair, len(self.chain.layers))
        if residual and out is not None:
            found = out + found
        if squash:
            found = torch.sigmoid(found)
        return found if out is None else out.copy_(found)

    def logits(
        self, rows: int, blocks: Mapping[str, torch.Tensor], gathers: Sequence[Gather] = (), pair: Pair | None = None
    ) -> torch.Tensor:
        """Return the chain's one column, [rows]."""
        last = self.chain.layers[-1]
        if not self._ends_in_dot:
            return self._run(rows, blocks, gathers, pair, len(self.chain.layers))[:, 0]
        here = self._run(rows, blocks, gathers, pair, len(self.chain.layers) - 1)
        return here @ self._tensor(last.weight[0]) + self._tensor(last.bias)

    def _run(
        self, rows: int, blocks: Mapping[str, torch.Tensor], gathers: Sequence[Gather], pair: Pair | None, layers: int
    ) -> torch.Tensor:
        check_inputs(self.chain, rows, blocks, gathers, pair, self.dtype)
        first = self.chain.layers[0]
        width = len(first.bias)
        here = torch.zeros(rows, width, dtype=self.dtype, device=self.device)
        here = here if gathers else here + self._tensor(first.bias)
        for gather in gathers:
            here = here + gather.product[gather.index.long(), :width]
        values = dict(blocks) if pair is None else {**blocks, PAIR: pair_features(*pair)}
        for name, block in values.items():
            kind = "fp32" if name == PAIR else self._first
            here = here + self._read(block, kind) @ self._weight(self.chain.blocks[name], kind).t()
        here = self._steps(here, first)
        for layer in self.chain.layers[1:layers]:
            here = self._read(here, self.precision) @ self._weight(layer.weight, self.precision).t() + self._tensor(layer.bias)
            here = self._steps(here, layer)
        return here

    def _steps(self, here: torch.Tensor, layer: Layer) -> torch.Tensor:
        scales = iter(layer.scales)
        for step in layer.steps:
            if step.kind == "norm":
                here = functional.layer_norm(here, here.shape[1:], eps=step.eps)
            elif step.kind == "scale":
                factor, summand = next(scales)
                here = here * self._tensor(factor) + self._tensor(summand)
            else:
                here = ACTIVATIONS[step.activation](here)
        return here

    def _tensor(self, values: object) -> torch.Tensor:
        return torch.as_tensor(values, dtype=self.dtype, device=self.device)

    def _weight(self, values: object, precision: str) -> torch.Tensor:
        return rounded(torch.as_tensor(values, dtype=torch.float32, device=self.device), precision).to(self.dtype)

    def _read(self, values: torch.Tensor, precision: str) -> torch.Tensor:
        return values.to(self.dtype) if precision == "fp32" else rounded(values.float(), precision).to(self.dtype)
