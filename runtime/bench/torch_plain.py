"""The networks as others write them: edge inputs concatenated before the first layer. Same weights, same result to rounding."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor, nn

from trkx.models.blocks import BlockLinear, BlockMLP
from trkx.models.networks import InteractionNetwork

Sums = Literal["index_add", "scatter_add"]


class ConcatenatingLinear(nn.Module):
    """What BlockLinear does, on the concatenation of gathered blocks, by one nn.Linear."""

    def __init__(self, split: BlockLinear) -> None:
        super().__init__()
        self.names = list(split.widths)
        self.linear = nn.Linear(split.weight.shape[1], split.weight.shape[0])
        self.linear.weight, self.linear.bias = split.weight, split.bias

    def forward(self, blocks: Mapping[str, tuple[Tensor, Tensor | None]]) -> Tensor:
        """Return [rows, out]; `blocks` as for BlockLinear."""
        given = [blocks[name] for name in self.names]
        rows = [values if index is None else values[index] for values, index in given]
        result: Tensor = self.linear(torch.cat(rows, dim=1))
        return result


class PlainInteraction(nn.Module):
    """An interaction network as acorn's InteractionGNN is written: concatenate, MLP, add; sums by one torch operation.

    `x`: float [N, F]; `edge_index`: int64 [2, E]. Returns logits, float [E, 1]. `sums`: "index_add", or "scatter_add" with the
    index repeated over the columns, as torch_scatter's fallback does.
    """

    def __init__(self, network: InteractionNetwork, sums: Sums = "index_add") -> None:
        super().__init__()
        self.sums = sums
        self.geometry = network.geometry
        self.node_encoder, self.edge_encoder = _plain(network.node_encoder), _plain(network.edge_encoder)
        self.edge_networks = nn.ModuleList([_plain(mlp) for mlp in network.edge_networks])
        self.node_networks = nn.ModuleList([_plain(mlp) for mlp in network.node_networks])
        self.classifier = _plain(network.classifier)

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        """Return the logit of each edge, [E, 1]."""
        source, target = edge_index[0], edge_index[1]
        values = x if self.geometry is None else self.geometry.node(x)
        pair = [] if self.geometry is None else [self.geometry.pair(x, source, target)]
        node: Tensor = self.node_encoder(values)
        edge: Tensor = self.edge_encoder(torch.cat([values[source], values[target], *pair], dim=1))
        for edge_network, node_network in zip(self.edge_networks, self.node_networks, strict=True):
            edge = edge + edge_network(torch.cat([edge, node[source], node[target]], dim=1))
            sums = [self._sum(edge, index, node.shape[0]) for index in (target, source)]
            node = node + node_network(torch.cat([node, *sums], dim=1))
        logits: Tensor = self.classifier(torch.cat([edge, node[source], node[target]], dim=1))
        return logits

    def _sum(self, edge: Tensor, index: Tensor, size: int) -> Tensor:
        zeros = torch.zeros(size, edge.shape[1], dtype=edge.dtype)
        if self.sums == "index_add":
            return zeros.index_add(0, index, edge)
        return zeros.scatter_add(0, index[:, None].expand_as(edge), edge)


def plain_network(network: nn.Module, sums: Sums = "index_add") -> nn.Module:
    """Return a network with concatenated inputs and the same weights, in eval mode.

    Interaction networks are written out; in those of other families each split first layer is replaced by a concatenating one.
    """
    if isinstance(network, InteractionNetwork):
        return PlainInteraction(network, sums).eval().requires_grad_(False)
    plain = copy.deepcopy(network)
    for parent in list(plain.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, BlockLinear):
                setattr(parent, name, ConcatenatingLinear(child))
    return plain.eval().requires_grad_(False)


def _plain(mlp: nn.Module) -> nn.Sequential:
    assert isinstance(mlp, BlockMLP)
    return nn.Sequential(ConcatenatingLinear(mlp.first).linear, *mlp.rest)
