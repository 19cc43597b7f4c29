"""Interaction networks of other code bases: node and edge states that update each other as a MessagePassingSpec declares it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from trkx.models.chain import BlockChain
from trkx.models.gathering import messages
from trkx.models.inputs import Inputs
from trkx.spec import ChainSpec, FeatureSpec, MessagePassingSpec

Blocks = dict[str, tuple[Tensor, Tensor | None]]
State = Mapping[str, Tensor]
"""Node and edge states by block name: "node", "edge", "node_first", "edge_first"."""


class MessagePassingNetwork(nn.Module):
    """`x`: float [N, F]; `edge_index`: int64 [2, E]; `edge_attr`: float [E, A] where the spec has edge_features.

    Returns logits, float [E, 1]. Every network declares the blocks that its first layer reads; none is concatenated.
    """

    def __init__(self, spec: MessagePassingSpec, features: Sequence[FeatureSpec]) -> None:
        super().__init__()
        self.spec = spec
        self.inputs = Inputs(features, spec.features)
        node, edge = spec.node_encoder.out, spec.edge_encoder.out
        widths = {"source": node, "target": node, "edge": edge}
        self.node_encoder = BlockChain({"x": self.inputs.width}, spec.node_encoder)
        first = {"attributes": len(spec.edge_features)} if spec.edge_features else {"source": node, "target": node}
        self.edge_encoder = BlockChain(first, spec.edge_encoder)

        def edge_blocks(names: Sequence[str]) -> dict[str, int]:
            return {name: widths[name.removesuffix("_first")] for name in names}

        gathers: dict[str, int] = {}
        for block in spec.node_inputs:
            if block.removesuffix("_first") == "node":
                gathers[block] = node
            else:
                gathers |= {f"{block} {kind}": edge for kind in spec.aggregations}
        self.node_networks = _repeated(gathers, spec.node_network, 1 if spec.shared_nodes else spec.iterations)
        reads = edge_blocks(spec.edge_inputs)
        self.edge_networks = _repeated(reads, spec.edge_network, 1 if spec.shared_edges else spec.iterations)
        read = edge_blocks(spec.classifier_inputs)
        self.decoder = None if spec.decoder is None else BlockChain({"edge": edge}, spec.decoder)
        if spec.decoder is not None:
            read["edge"] = spec.decoder.out
        self.classifier = BlockChain(read, spec.classifier)

    def forward(self, x: Tensor, edge_index: Tensor, edge_attr: Tensor | None = None) -> Tensor:
        """Return the logit of each edge, [E, 1]."""
        if not self.spec.undirected:
            return self._logits(x, edge_index, edge_attr)
        edges = edge_index.shape[1]
        logits = self._logits(x, torch.cat([edge_index, torch.flip(edge_index, [0])], dim=1), None)
        return 0.5 * (logits[:edges] + logits[edges:])

    def _logits(self, x: Tensor, edge_index: Tensor, edge_attr: Tensor | None) -> Tensor:
        spec = self.spec
        node: Tensor = self.node_encoder({"x": (self.inputs(x), None)})
        blocks: Blocks
        if spec.edge_features:
            if edge_attr is None:
                raise ValueError("this network reads edge_attr, float [E, A]; give it as the third input.")
            blocks = {"attributes": (edge_attr, None)}
        else:
            blocks = {"source": (node, edge_index[0]), "target": (node, edge_index[1])}
        edge: Tensor = self.edge_encoder(blocks)
        first = {"node_first": node, "edge_first": edge}
        gathered_first = self._gathered(first, edge_index, first=True)
        for step in range(spec.iterations):
            new_node, new_edge = node, edge
            if spec.order == "edges":
                new_edge = self._moved_edge(step, {**first, "node": node, "edge": edge}, edge_index)
            told = new_edge if spec.order == "edges" else edge
            gathered = gathered_first | self._gathered({**first, "node": node, "edge": told}, edge_index)
            new_node = self.node_networks[0 if spec.shared_nodes else step](gathered)  # blocks are found by name
            if spec.residual:
                new_node = node + new_node
            if spec.order != "edges":
                read = new_node if spec.order == "nodes" else node
                new_edge = self._moved_edge(step, {**first, "node": read, "edge": edge}, edge_index)
            node, edge = new_node, new_edge
        if self.decoder is not None:
            edge = self.decoder({"edge": (edge, None)})
        logits: Tensor = self.classifier(_edge_blocks(spec.classifier_inputs, {**first, "node": node, "edge": edge}, edge_index))
        return logits

    def _moved_edge(self, step: int, state: State, edge_index: Tensor) -> Tensor:
        network = self.edge_networks[0 if self.spec.shared_edges else step]
        new: Tensor = network(_edge_blocks(self.spec.edge_inputs, state, edge_index))
        if self.spec.residual:
            new = state["edge"] + new
        return torch.sigmoid(new) if self.spec.edge_squash else new

    def _gathered(self, state: State, edge_index: Tensor, first: bool = False) -> Blocks:
        """Return the blocks of a node: those of the first states, which no iteration changes, or the others."""
        blocks: Blocks = {}
        size = state["node_first"].shape[0]
        for block in self.spec.node_inputs:
            place = block.removesuffix("_first")
            if (place != block) != first:
                continue
            if place == "node":
                blocks[block] = (state[block], None)
                continue
            told = state["edge_first" if first else "edge"]
            found = messages(place, self.spec.aggregations, (told, told), edge_index, size)
            blocks |= {f"{block} {kind}": (value, None) for kind, value in zip(self.spec.aggregations, found, strict=True)}
        return blocks


def _edge_blocks(names: Sequence[str], state: State, edge_index: Tensor) -> Blocks:
    """Return the blocks that an edge reads, node states with the index that gathers them."""
    blocks: Blocks = {}
    for name in names:
        place, suffix = name.removesuffix("_first"), "_first" if name.endswith("_first") else ""
        if place == "edge":
            blocks[name] = (state[name], None)
        else:
            blocks[name] = (state["node" + suffix], edge_index[0] if place == "source" else edge_index[1])
    return blocks


def _repeated(blocks: Mapping[str, int], spec: ChainSpec, count: int) -> nn.ModuleList:
    return nn.ModuleList([BlockChain(blocks, spec) for _ in range(count)])
