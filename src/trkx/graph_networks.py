"""What a graph network is: ours, and the message passing of other code bases as one declaration of blocks and orders."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from trkx.chains import Activation, ChainSpec, FeatureSpec, layers_of
from trkx.plain import require_that

Aggregation = Literal["sum", "mean", "max", "std"]
EdgeBlock = Literal["source", "target", "edge", "source_first", "target_first", "edge_first"]
NodeBlock = Literal["node", "node_first", "incoming", "outgoing", "both", "incoming_first", "outgoing_first", "both_first"]


@dataclass(frozen=True)
class GNNSpec:
    """Interaction network: edge and node states updated in turn, residual, sums of edge states at both ends.

    Source: Battaglia et al., arXiv:1612.00222; the form with residuals of arXiv:2103.06995.
    """

    hidden: int
    iterations: int
    layers: int = 2
    activation: Activation = "silu"
    layer_norm: bool = True
    geometry: bool = True
    family: Literal["interaction_network"] = "interaction_network"

    def __post_init__(self) -> None:
        require_that(self.hidden >= 1 and self.layers >= 1, "hidden and layers must be at least 1.")
        require_that(self.iterations >= 1, f"iterations must be at least 1, found {self.iterations}.")

    @property
    def summary(self) -> str:
        """One line for people."""
        return f"{self.iterations} iterations, width {self.hidden}"

    @property
    def edge_features(self) -> tuple[str, ...]:
        """Columns of `edge_attr` that it reads: none."""
        return ()

    @property
    def looks_at_all_rows(self) -> bool:
        """Whether hits without edges change logits: no."""
        return False


@dataclass(frozen=True)
class AttentionSpec:
    """ResAGNN: in every iteration an edge weighs (sigmoid of its logit) what its two hits tell each other.

    With state n of a hit, a = sigmoid(edge([n_source, n_target])), messages = sums of a n over the edges of a hit:
    n <- n + [node(node_inputs), x]. The logits are those of the edge network on the last states.

    Attributes:
        node_encoder: x to the first state.
        edge_network: [source, target] to one logit.
        node_network: `node_inputs` to the new state.
        iterations: how often.
        shortcut: x is kept beside the state, as its last columns (the state starts as [encoder(x), x]).
        node_inputs: order of what a hit reads: "node", and aggregates over edges that end ("incoming") or start ("outgoing")
            at it, or the sum of both ("both").
        aggregations: how a hit gathers, one block each, in this order.
        residual: the old state is added to the new one.
        undirected: edges run in both directions, and the logit of an edge is the mean of its two.
        features: as in ChainEmbeddingSpec.

    Source: Ju et al., arXiv:2103.06995; the code bases of Exa.TrkX.
    """

    node_encoder: ChainSpec
    edge_network: ChainSpec
    node_network: ChainSpec
    iterations: int
    shortcut: bool = True
    node_inputs: tuple[NodeBlock, ...] = ("both", "node")
    aggregations: tuple[Aggregation, ...] = ("sum",)
    residual: bool = True
    undirected: bool = False
    features: tuple[FeatureSpec, ...] | None = None
    family: Literal["attention"] = "attention"

    def __post_init__(self) -> None:
        require_that(self.iterations >= 0, f"iterations must be at least 0, found {self.iterations}.")
        require_that(self.edge_network.out == 1, f"the edge network gives one logit, found {self.edge_network.out} columns.")
        require_that(self.node_encoder.out == self.node_network.out,
                     f"the state has {self.node_encoder.out} columns, but the node network gives {self.node_network.out}.")
        _check_blocks(self.node_inputs, self.aggregations)
        bad = [block for block in self.node_inputs if block.endswith("_first")]
        require_that(not bad, f"node_inputs of attention can't have {', '.join(bad)}: it has no first edge states.")

    @property
    def geometry(self) -> bool:
        """Whether it computes features of its own: no."""
        return False

    @property
    def edge_features(self) -> tuple[str, ...]:
        """Columns of `edge_attr` that it reads: none."""
        return ()

    @property
    def looks_at_all_rows(self) -> bool:
        """Whether a batch norm takes its statistics from the event."""
        return any(chain.looks_at_all_rows for chain in (self.node_encoder, self.edge_network, self.node_network))

    @property
    def summary(self) -> str:
        """One line for people."""
        networks = f"edges {layers_of(self.edge_network)}, nodes {layers_of(self.node_network)}"
        return f"attention, {self.iterations} iterations, {networks}"


@dataclass(frozen=True)
class MessagePassingSpec:
    """Interaction network of another code base: node and edge states that update each other.

    Attributes:
        node_encoder: x to node states.
        edge_encoder: [source, target] (encoded states), or `edge_attr` if there are edge_features, to edge states.
        node_network: `node_inputs` to node states.
        edge_network: `edge_inputs` to edge states.
        classifier: `classifier_inputs` to one logit.
        decoder: applied to the edge states before the classifier reads them, None for none.
        iterations: how often.
        order: who moves first in an iteration: "nodes" (edges then read new nodes), "edges" (nodes then read new edges), or
            "together" (both read old states).
        aggregations: how a hit gathers edge states, one block each, in this order.
        node_inputs: order of the blocks that a node reads: "node", aggregates over edges that end ("incoming") or start
            ("outgoing") at it, or the sum of both ("both"). "…_first": of the encoder's states instead of the current.
        edge_inputs: order of the blocks that an edge reads, "…_first" likewise.
        classifier_inputs: order of the blocks that the classifier reads.
        residual: updates are added to the old states.
        edge_squash: a sigmoid follows each update of edges.
        shared_nodes, shared_edges: one network for all iterations instead of one each.
        undirected: edges run in both directions, and the logit of an edge is the mean of its two.
        edge_features: columns of `edge_attr`, with their names.
        features: as in ChainEmbeddingSpec.
    """

    node_encoder: ChainSpec
    edge_encoder: ChainSpec
    node_network: ChainSpec
    edge_network: ChainSpec
    classifier: ChainSpec
    iterations: int
    decoder: ChainSpec | None = None
    order: Literal["nodes", "edges", "together"] = "nodes"
    aggregations: tuple[Aggregation, ...] = ("sum",)
    node_inputs: tuple[NodeBlock, ...] = ("node", "incoming")
    edge_inputs: tuple[EdgeBlock, ...] = ("source", "target", "edge")
    classifier_inputs: tuple[EdgeBlock, ...] = ("source", "target", "edge")
    residual: bool = False
    edge_squash: bool = False
    shared_nodes: bool = True
    shared_edges: bool = True
    undirected: bool = False
    edge_features: tuple[str, ...] = ()
    features: tuple[FeatureSpec, ...] | None = None
    family: Literal["message_passing"] = "message_passing"

    def __post_init__(self) -> None:
        require_that(self.iterations >= 0, f"iterations must be at least 0, found {self.iterations}.")
        require_that(self.classifier.out == 1, f"the classifier gives one logit, found {self.classifier.out} columns.")
        _check_blocks(self.node_inputs, self.aggregations)
        for name, blocks in (("edge_inputs", self.edge_inputs), ("classifier_inputs", self.classifier_inputs)):
            require_that("edge" in blocks and len(set(blocks)) == len(blocks), f"{name} must have 'edge', and each block once.")
        require_that(self.node_network.out == self.node_encoder.out and self.edge_network.out == self.edge_encoder.out,
                     "node_network and edge_network must give as many columns as the encoders.")
        both = self.undirected and len(self.edge_features) > 0
        require_that(not both, "undirected networks can't read edge_attr: it has a direction.")

    @property
    def geometry(self) -> bool:
        """Whether it computes features of its own: no."""
        return False

    @property
    def looks_at_all_rows(self) -> bool:
        """Whether a batch norm takes its statistics from the event."""
        chains = (self.node_encoder, self.edge_encoder, self.node_network, self.edge_network, self.classifier, self.decoder)
        return any(chain is not None and chain.looks_at_all_rows for chain in chains)

    @property
    def summary(self) -> str:
        """One line for people."""
        gathered = "+".join(self.aggregations)
        return (f"{self.iterations} iterations, nodes {layers_of(self.node_network)}, edges {layers_of(self.edge_network)}, "
                f"{gathered} over {', '.join(item for item in self.node_inputs if not item.startswith('node'))}")


def _check_blocks(blocks: tuple[NodeBlock, ...], aggregations: tuple[Aggregation, ...]) -> None:
    require_that(len(aggregations) > 0 and len(set(aggregations)) == len(aggregations), "aggregations: at least one, each once.")
    require_that("node" in blocks and len(set(blocks)) == len(blocks) > 1,
                 "node_inputs must have 'node' and an aggregate, each block once.")
