"""Graph networks in one form: which chains there are, what they read, and who moves first, for all three declarations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from trkx.runtime.tiled.chains import Chain, Weights, chain_of_mlp, chain_of_spec, judging, reading_features
from trkx.runtime.tiled.inputs import Inputs, chosen, geometric
from trkx.spec import Aggregation, ChainSpec, EdgeBlock, FeatureSpec, GNNSpec, MessagePassingSpec, NodeBlock

Widths = dict[str, int]


@dataclass(frozen=True)
class GraphForm:
    """An interaction network. Chains that are used again in each iteration stand once for each.

    encoder_reads: "inputs" where the edge encoder reads what the node encoder does, "states" where it reads that one's output,
    "attributes" where it reads edge_attr. Other attributes as in MessagePassingSpec.
    """

    inputs: Inputs
    node_encoder: Chain
    edge_encoder: Chain
    node_chains: tuple[Chain, ...]
    edge_chains: tuple[Chain, ...]
    decoder: Chain | None
    classifier: Chain
    encoder_reads: Literal["inputs", "states", "attributes"]
    order: Literal["nodes", "edges", "together"]
    aggregations: tuple[Aggregation, ...]
    node_inputs: tuple[NodeBlock, ...]
    edge_inputs: tuple[EdgeBlock, ...]
    classifier_inputs: tuple[EdgeBlock, ...]
    node_residual: bool
    edge_residual: bool
    edge_squash: bool
    undirected: bool

    @property
    def chains(self) -> tuple[Chain, ...]:
        """All chains."""
        own = (self.node_encoder, self.edge_encoder, *self.node_chains, *self.edge_chains, self.classifier)
        return own if self.decoder is None else (*own, self.decoder)


def gathered_blocks(node_inputs: Sequence[NodeBlock], aggregations: Sequence[Aggregation], node: int, edge: int) -> Widths:
    """Return the blocks that a node reads, with their widths, in the order of the concatenation."""
    blocks: Widths = {}
    for block in node_inputs:
        if block.removesuffix("_first") == "node":
            blocks[block] = node
        else:
            blocks |= {f"{block} {kind}": edge for kind in aggregations}
    return blocks


def edge_blocks(names: Sequence[EdgeBlock], node: int, edge: int) -> Widths:
    """Return the blocks that an edge reads, with their widths."""
    return {name: edge if name.removesuffix("_first") == "edge" else node for name in names}


def form_of_gnn(spec: GNNSpec, features: Sequence[FeatureSpec], weights: Weights) -> GraphForm:
    """Return the form of a network of this project."""
    inputs = geometric(features, spec.geometry)
    width, hidden_layers = spec.hidden, max(spec.layers - 1, 1)

    def mlp(prefix: str, blocks: Mapping[str, int], layers: int, out: int | None) -> Chain:
        return chain_of_mlp(weights, prefix, blocks, width, layers, spec.activation, spec.layer_norm, out)

    seen = {"source": inputs.width, "target": inputs.width} | ({"pair": inputs.pair_width} if spec.geometry else {})
    edge: tuple[EdgeBlock, ...] = ("edge", "source", "target")
    node: tuple[NodeBlock, ...] = ("node", "incoming", "outgoing")
    edges, nodes = edge_blocks(edge, width, width), gathered_blocks(node, ("sum",), width, width)
    return GraphForm(
        inputs,
        reading_features(mlp("node_encoder.", {"x": inputs.width}, spec.layers, None)),
        reading_features(mlp("edge_encoder.", seen, spec.layers, None)),
        tuple(mlp(f"node_networks.{n}.", nodes, hidden_layers, width) for n in range(spec.iterations)),
        tuple(mlp(f"edge_networks.{n}.", edges, hidden_layers, width) for n in range(spec.iterations)),
        None,
        judging(mlp("classifier.", edges, spec.layers, 1)),
        "inputs",
        "edges",
        ("sum",),
        node,
        edge,
        edge,
        True,
        True,
        False,
        False,
    )


def form_of_message_passing(spec: MessagePassingSpec, features: Sequence[FeatureSpec], weights: Weights) -> GraphForm:
    """Return the form of another code base's network."""
    inputs = chosen(features, spec.features)
    node, edge = spec.node_encoder.out, spec.edge_encoder.out
    first = {"attributes": len(spec.edge_features)} if spec.edge_features else {"source": node, "target": node}
    nodes = gathered_blocks(spec.node_inputs, spec.aggregations, node, edge)
    edges, read = edge_blocks(spec.edge_inputs, node, edge), edge_blocks(spec.classifier_inputs, node, edge)
    decoder = None if spec.decoder is None else chain_of_spec(weights, "decoder.", {"edge": edge}, spec.decoder)
    if spec.decoder is not None:
        read["edge"] = spec.decoder.out

    def repeated(name: str, blocks: Widths, chain: ChainSpec, shared: bool) -> tuple[Chain, ...]:
        """Return a chain for each iteration; a shared one is read once, also if there is no iteration."""
        made = [chain_of_spec(weights, f"{name}.{n}.", blocks, chain) for n in range(1 if shared else spec.iterations)]
        return tuple(made * spec.iterations if shared else made)

    edge_encoder = chain_of_spec(weights, "edge_encoder.", first, spec.edge_encoder)
    return GraphForm(
        inputs,
        reading_features(chain_of_spec(weights, "node_encoder.", {"x": inputs.width}, spec.node_encoder)),
        reading_features(edge_encoder) if spec.edge_features else edge_encoder,
        repeated("node_networks", nodes, spec.node_network, spec.shared_nodes),
        repeated("edge_networks", edges, spec.edge_network, spec.shared_edges),
        decoder,
        judging(chain_of_spec(weights, "classifier.", read, spec.classifier)),
        "attributes" if spec.edge_features else "states",
        spec.order,
        spec.aggregations,
        spec.node_inputs,
        spec.edge_inputs,
        spec.classifier_inputs,
        spec.residual,
        spec.residual,
        spec.edge_squash,
        spec.undirected,
    )
