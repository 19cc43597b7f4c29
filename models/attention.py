"""ResAGNN: a network in which edges weigh what hits tell each other, as an AttentionSpec declares it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from trkx.models.chain import BlockChain
from trkx.models.gathering import messages
from trkx.models.inputs import Inputs
from trkx.spec import AttentionSpec, FeatureSpec


class AttentionNetwork(nn.Module):
    """`x`: float [N, F]; `edge_index`: int64 [2, E]. Returns logits, float [E, 1].

    One edge network for all iterations and for the logits, one node network for all iterations.
    """

    def __init__(self, spec: AttentionSpec, features: Sequence[FeatureSpec]) -> None:
        super().__init__()
        self.spec = spec
        self.inputs = Inputs(features, spec.features)
        given, hidden = self.inputs.width, spec.node_encoder.out
        width = hidden + given if spec.shortcut else hidden
        self.node_encoder = BlockChain({"x": given}, spec.node_encoder)
        self.edge_network = BlockChain({"source": width, "target": width}, spec.edge_network)
        blocks: dict[str, int] = {}
        for block in spec.node_inputs:
            names = ["node"] if block == "node" else [f"{block} {kind}" for kind in spec.aggregations]
            blocks |= dict.fromkeys(names, width)
        self.node_network = BlockChain(blocks, spec.node_network)

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        """Return the logit of each edge, [E, 1]."""
        if not self.spec.undirected:
            return self._scores(x, edge_index)
        edges = edge_index.shape[1]
        logits = self._scores(x, torch.cat([edge_index, torch.flip(edge_index, [0])], dim=1))
        return 0.5 * (logits[:edges] + logits[edges:])

    def _scores(self, x: Tensor, edge_index: Tensor) -> Tensor:
        given = self.inputs(x)
        node = self._beside(self.node_encoder({"x": (given, None)}), given)
        for _ in range(self.spec.iterations):
            new = self._beside(self.node_network(self._blocks(node, edge_index)), given)
            node = node + new if self.spec.residual else new
        return self._logits(node, edge_index)

    def _beside(self, state: Tensor, given: Tensor) -> Tensor:
        return torch.cat([state, given], dim=1) if self.spec.shortcut else state

    def _logits(self, node: Tensor, edge_index: Tensor) -> Tensor:
        logits: Tensor = self.edge_network({"source": (node, edge_index[0]), "target": (node, edge_index[1])})
        return logits

    def _blocks(self, node: Tensor, edge_index: Tensor) -> dict[str, tuple[Tensor, Tensor | None]]:
        weight = torch.sigmoid(self._logits(node, edge_index))
        told = (weight * torch.index_select(node, 0, edge_index[0]), weight * torch.index_select(node, 0, edge_index[1]))
        blocks: dict[str, tuple[Tensor, Tensor | None]] = {}
        for block in self.spec.node_inputs:
            if block == "node":
                blocks["node"] = (node, None)
                continue
            found = messages(block, self.spec.aggregations, told, edge_index, node.shape[0])
            blocks |= {f"{block} {kind}": (value, None) for kind, value in zip(self.spec.aggregations, found, strict=True)}
        return blocks
