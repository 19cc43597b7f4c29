"""A first layer over named blocks that is never concatenated, and the MLP that starts with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from trkx.spec import Activation

ACTIVATIONS: dict[Activation, type[nn.Module]] = {
    "silu": nn.SiLU, "relu": nn.ReLU, "tanh": nn.Tanh, "gelu": nn.GELU, "leaky_relu": nn.LeakyReLU, "elu": nn.ELU,
    "mish": nn.Mish, "softplus": nn.Softplus, "sigmoid": nn.Sigmoid, "none": nn.Identity,
}


class BlockLinear(nn.Module):
    """Linear layer on the concatenation of named blocks, held as one weight and applied block by block.

    `blocks` maps a name to its width; the order is that of the concatenation, so the weight is the one that `nn.Linear`
    on concatenated input would have. A block of node values that edges read is multiplied once per node, then gathered.
    """

    def __init__(self, blocks: Mapping[str, int], out_features: int) -> None:
        super().__init__()
        self.widths = dict(blocks)
        linear = nn.Linear(sum(blocks.values()), out_features)
        self.weight = linear.weight
        self.bias = linear.bias

    def parts(self) -> dict[str, Tensor]:
        """Return the weight of each block, [out, width]."""
        return dict(zip(self.widths, torch.split(self.weight, list(self.widths.values()), dim=1), strict=True))

    def forward(self, blocks: Mapping[str, tuple[Tensor, Tensor | None]]) -> Tensor:
        """Return the layer's output, [rows, out].

        blocks: name to (values, index). With an index (int64 [rows]) the product is taken on `values` and gathered by it;
        without, `values` has one row per row of the output. Raises KeyError if a block is missing.
        """
        total: Tensor | None = None
        for name, weight in self.parts().items():
            values, index = blocks[name]
            term = functional.linear(values, weight, self.bias if total is None else None)
            if index is not None:
                term = torch.index_select(term, 0, index)
            total = term if total is None else total + term
        assert total is not None
        return total


class BlockMLP(nn.Module):
    """MLP whose first layer reads named blocks: `layers` hidden layers of `hidden`, then one linear layer to `out` if given.

    Each hidden layer is Linear, LayerNorm (if wanted), activation.
    """

    def __init__(self, blocks: Mapping[str, int], hidden: int, layers: int, activation: Activation, layer_norm: bool,
                 out: int | None = None) -> None:
        super().__init__()
        self.first = BlockLinear(blocks, hidden)
        rest: list[nn.Module] = [*_after(hidden, activation, layer_norm)]
        for _ in range(layers - 1):
            rest += [nn.Linear(hidden, hidden), *_after(hidden, activation, layer_norm)]
        if out is not None:
            rest.append(nn.Linear(hidden, out))
        self.rest = nn.Sequential(*rest)

    def forward(self, blocks: Mapping[str, tuple[Tensor, Tensor | None]]) -> Tensor:
        """Return [rows, out or hidden]; `blocks` as in BlockLinear."""
        result: Tensor = self.rest(self.first(blocks))
        return result


def _after(width: int, activation: Activation, layer_norm: bool) -> Sequence[nn.Module]:
    return [*([nn.LayerNorm(width)] if layer_norm else []), ACTIVATIONS[activation]()]
