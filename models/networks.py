"""The three networks of the pipeline, built from a PipelineSpec. Inputs are `x` and `edge_index`; outputs are logits."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor, nn
from torch.nn import functional

from trkx.errors import SpecError
from trkx.models.attention import AttentionNetwork
from trkx.models.blocks import BlockMLP
from trkx.models.chain import BlockChain
from trkx.models.geometry import PAIR_FEATURES, Geometry
from trkx.models.inputs import Inputs
from trkx.models.message_passing import MessagePassingNetwork
from trkx.models.segment import segment_sum
from trkx.spec import ChainEmbeddingSpec, ChainFilterSpec, EmbeddingSpec, FeatureSpec, FilterSpec, GNNSpec, PipelineSpec


class _Network(nn.Module):
    """What the networks share: node values seen by the first layers, and pair features where the spec wants them."""

    def __init__(self, features: Sequence[FeatureSpec], geometry: bool) -> None:
        super().__init__()
        self.geometry = Geometry(features) if geometry else None
        self.node_width = len(features) if self.geometry is None else self.geometry.node_width
        self.pair_width = PAIR_FEATURES if geometry else 0

    def node_values(self, x: Tensor) -> Tensor:
        """Return what the first layers see of each hit, [N, node_width]."""
        return x if self.geometry is None else self.geometry.node(x)

    def edge_blocks(self, x: Tensor, edge_index: Tensor) -> dict[str, tuple[Tensor, Tensor | None]]:
        """Return the blocks "source", "target" and, with geometry, "pair"."""
        source, target = edge_index[0], edge_index[1]
        values = self.node_values(x)
        blocks: dict[str, tuple[Tensor, Tensor | None]] = {"source": (values, source), "target": (values, target)}
        if self.geometry is not None:
            blocks["pair"] = (self.geometry.pair(x, source, target), None)
        return blocks

    def edge_widths(self) -> dict[str, int]:
        """Return the widths of the blocks that `edge_blocks` gives."""
        widths = {"source": self.node_width, "target": self.node_width}
        return widths | ({"pair": self.pair_width} if self.geometry is not None else {})


class Embedding(_Network):
    """Hit features to a metric space. `x`: float [N, F]. Returns float [N, dim], of unit length if `spec.normalize`."""

    def __init__(self, spec: EmbeddingSpec, features: Sequence[FeatureSpec]) -> None:
        super().__init__(features, spec.geometry)
        self.normalize = spec.normalize
        self.network = BlockMLP({"x": self.node_width}, spec.hidden, spec.layers, spec.activation, spec.layer_norm, spec.dim)

    def forward(self, x: Tensor) -> Tensor:
        """Return the place of each hit, [N, dim]."""
        place: Tensor = self.network({"x": (self.node_values(x), None)})
        return functional.normalize(place, dim=1) if self.normalize else place


class EdgeFilter(_Network):
    """Two hits to one logit. `x`: float [N, F]; `edge_index`: int64 [2, E]. Returns logits, float [E, 1]."""

    def __init__(self, spec: FilterSpec, features: Sequence[FeatureSpec]) -> None:
        super().__init__(features, spec.geometry)
        self.network = BlockMLP(self.edge_widths(), spec.hidden, spec.layers, spec.activation, spec.layer_norm, 1)

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        """Return the logit of each edge, [E, 1]."""
        logits: Tensor = self.network(self.edge_blocks(x, edge_index))
        return logits


class InteractionNetwork(_Network):
    """Edge and node states that update each other. `x`: float [N, F]; `edge_index`: int64 [2, E]. Returns logits, [E, 1].

    In every iteration an edge reads its two nodes, a node reads the sums over its incoming and outgoing edges; both add
    what they compute to their state. Iterations have their own weights.
    """

    def __init__(self, spec: GNNSpec, features: Sequence[FeatureSpec]) -> None:
        super().__init__(features, spec.geometry)
        width = spec.hidden

        def mlp(blocks: dict[str, int], layers: int, out: int | None) -> BlockMLP:
            return BlockMLP(blocks, width, layers, spec.activation, spec.layer_norm, out)

        self.node_encoder = mlp({"x": self.node_width}, spec.layers, None)
        self.edge_encoder = mlp(self.edge_widths(), spec.layers, None)
        edge, node = {"edge": width, "source": width, "target": width}, {"node": width, "incoming": width, "outgoing": width}
        hidden_layers = max(spec.layers - 1, 1)
        self.edge_networks = nn.ModuleList([mlp(edge, hidden_layers, width) for _ in range(spec.iterations)])
        self.node_networks = nn.ModuleList([mlp(node, hidden_layers, width) for _ in range(spec.iterations)])
        self.classifier = mlp(edge, spec.layers, 1)

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        """Return the logit of each edge, [E, 1]."""
        source, target = edge_index[0], edge_index[1]
        size = x.shape[0]
        node: Tensor = self.node_encoder({"x": (self.node_values(x), None)})
        edge: Tensor = self.edge_encoder(self.edge_blocks(x, edge_index))
        for edge_network, node_network in zip(self.edge_networks, self.node_networks, strict=True):
            edge = edge + edge_network({"edge": (edge, None), "source": (node, source), "target": (node, target)})
            node = node + node_network({
                "node": (node, None),
                "incoming": (segment_sum(edge, target, size), None),
                "outgoing": (segment_sum(edge, source, size), None),
            })
        logits: Tensor = self.classifier({"edge": (edge, None), "source": (node, source), "target": (node, target)})
        return logits


class ChainEmbedding(nn.Module):
    """Embedding of another code base. `x`: float [N, F]. Returns float [N, dim], of unit length if `spec.normalize`."""

    def __init__(self, spec: ChainEmbeddingSpec, features: Sequence[FeatureSpec]) -> None:
        super().__init__()
        self.inputs = Inputs(features, spec.features)
        self.normalize = spec.normalize
        self.network = BlockChain({"x": self.inputs.width}, spec.chain)

    def forward(self, x: Tensor) -> Tensor:
        """Return the place of each hit, [N, dim]."""
        place: Tensor = self.network({"x": (self.inputs(x), None)})
        return functional.normalize(place, dim=1) if self.normalize else place


class ChainFilter(nn.Module):
    """Edge filter of another code base. `x`: float [N, F]; `edge_index`: int64 [2, E]. Returns logits, float [E, 1]."""

    def __init__(self, spec: ChainFilterSpec, features: Sequence[FeatureSpec]) -> None:
        super().__init__()
        self.inputs = Inputs(features, spec.features)
        self.network = BlockChain({"source": self.inputs.width, "target": self.inputs.width}, spec.chain)

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        """Return the logit of each edge, [E, 1]."""
        values = self.inputs(x)
        logits: Tensor = self.network({"source": (values, edge_index[0]), "target": (values, edge_index[1])})
        return logits


BUILDERS: Mapping[str, Callable[[Any, Sequence[FeatureSpec]], nn.Module]] = {
    "mlp_embedding": Embedding,
    "chain_embedding": ChainEmbedding,
    "pair_filter": EdgeFilter,
    "chain_filter": ChainFilter,
    "interaction_network": InteractionNetwork,
    "attention": AttentionNetwork,
    "message_passing": MessagePassingNetwork,
}
"""Family of a stage's specification to the module that is built from it and the pipeline's features."""


def build_network(spec: PipelineSpec, stage: str) -> nn.Module:
    """Return one network of a pipeline, with random weights.

    Raises:
        SpecError: the pipeline has no such stage.
    """
    if stage not in spec.networks:
        raise SpecError(f"{spec.name} has no {stage}; it has {', '.join(spec.stages)}.")
    own = spec.networks[stage]
    return BUILDERS[own.family](own, spec.features)
