"""What a pipeline is: features and scales, the three networks, graph, cuts, labelling. Plain frozen data, no torch."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self

from trkx.chains import Activation, BatchNorm, ChainEmbeddingSpec, ChainFilterSpec, ChainSpec, FeatureSpec, Norm
from trkx.errors import SpecError
from trkx.graph_networks import Aggregation, AttentionSpec, EdgeBlock, GNNSpec, MessagePassingSpec, NodeBlock
from trkx.plain import from_dict, require_that

__all__ = [
    "STAGES",
    "Activation",
    "Aggregation",
    "AnyEmbedding",
    "AnyFilter",
    "AnyGNN",
    "AttentionSpec",
    "BatchNorm",
    "ChainEmbeddingSpec",
    "ChainFilterSpec",
    "ChainSpec",
    "CutSpec",
    "EdgeBlock",
    "EmbeddingSpec",
    "FeatureSpec",
    "FilterSpec",
    "GNNSpec",
    "GraphSpec",
    "LabellingSpec",
    "MessagePassingSpec",
    "NodeBlock",
    "Norm",
    "PipelineSpec",
    "from_dict",
    "logit_of_cut",
]

STAGES = ("embedding", "filter", "gnn")
Direction = Literal["by_radius", "by_index"]
LabellingMethod = Literal["connected_components", "edge_contraction"]


@dataclass(frozen=True)
class EmbeddingSpec:
    """Embedding MLP: hit features [N, F] to a metric space [N, dim] in which hits of one track are near.

    `geometry` adds r, cos phi, sin phi, z and eta, computed inside the network from the r, phi and z columns.
    """

    hidden: int
    layers: int
    dim: int
    activation: Activation = "silu"
    layer_norm: bool = True
    normalize: bool = True
    geometry: bool = True
    family: Literal["mlp_embedding"] = "mlp_embedding"

    def __post_init__(self) -> None:
        require_that(self.hidden >= 1 and self.layers >= 1, "hidden and layers must be at least 1.")
        require_that(1 <= self.dim <= 32, f"dim must be 1 to 32, found {self.dim}.")

    @property
    def summary(self) -> str:
        """One line for people."""
        return f"{self.layers} layers of {self.hidden}, {self.dim} dimensions"

    @property
    def looks_at_all_rows(self) -> bool:
        """Whether a hit's place depends on the other hits: no."""
        return False


@dataclass(frozen=True)
class FilterSpec:
    """Edge-filter MLP: two hits to one logit. `geometry` adds differences of the two hits, computed inside."""

    hidden: int
    layers: int
    activation: Activation = "silu"
    layer_norm: bool = True
    geometry: bool = True
    family: Literal["pair_filter"] = "pair_filter"

    def __post_init__(self) -> None:
        require_that(self.hidden >= 1 and self.layers >= 1, "hidden and layers must be at least 1.")

    @property
    def summary(self) -> str:
        """One line for people."""
        return f"{self.layers} layers of {self.hidden}"

    @property
    def looks_at_all_rows(self) -> bool:
        """Whether an edge's logit depends on the other edges: no."""
        return False


AnyEmbedding = EmbeddingSpec | ChainEmbeddingSpec
AnyFilter = FilterSpec | ChainFilterSpec
AnyGNN = GNNSpec | AttentionSpec | MessagePassingSpec


@dataclass(frozen=True)
class GraphSpec:
    """How candidate edges are made: all pairs within `radius` (inclusive) in the embedding.

    Attributes:
        radius: in units of the embedding.
        k_max: keep the nearest k_max neighbours of a hit (self not counted), None for all.
        direction: which end is the source: "by_radius" the one nearer to the origin (3-D distance, ties by lower
            index), "by_index" the lower index.
    """

    radius: float
    k_max: int | None = None
    direction: Direction = "by_radius"

    def __post_init__(self) -> None:
        require_that(self.radius > 0.0, f"radius must be above 0, found {self.radius}.")
        require_that(self.k_max is None or self.k_max >= 1, f"k_max must be at least 1, found {self.k_max}.")


@dataclass(frozen=True)
class CutSpec:
    """Scores (sigmoid of the logit) that an edge must exceed, strictly, to stay; None where there is no such network."""

    filter: float | None = None
    gnn: float | None = None

    def __post_init__(self) -> None:
        for name, cut in (("filter", self.filter), ("gnn", self.gnn)):
            require_that(cut is None or 0.0 < cut < 1.0, f"cut {name} is a score and must lie in (0, 1), found {cut}.")


@dataclass(frozen=True)
class LabellingSpec:
    """How edges become tracks. `min_hits` is the smallest track that is written.

    `method`: "connected_components" of the edges above the GNN's cut; or "edge_contraction", where edges below the cut speak
    against a joint track with as much weight as those above it speak for one (logit - logit of the cut).
    """

    method: LabellingMethod = "connected_components"
    min_hits: int = 3

    def __post_init__(self) -> None:
        require_that(self.min_hits >= 1, f"min_hits must be at least 1, found {self.min_hits}.")


@dataclass(frozen=True)
class PipelineSpec:
    """Everything that turns hits into tracks, but for the weights.

    A pipeline may lack networks: whoever makes edges by a module map has a `gnn` alone. Then what belongs to the others is None
    as well: `graph` to the embedding, a cut to each classifier.
    """

    name: str
    features: tuple[FeatureSpec, ...]
    embedding: AnyEmbedding | None = None
    graph: GraphSpec | None = None
    filter: AnyFilter | None = None
    gnn: AnyGNN | None = None
    cuts: CutSpec = CutSpec()
    labelling: LabellingSpec = LabellingSpec()

    def __post_init__(self) -> None:
        names = [feature.name for feature in self.features]
        require_that(len(names) > 0, "features must list at least one feature.")
        twice = sorted({name for name in names if names.count(name) > 1})
        require_that(not twice, f"features lists {', '.join(twice)} more than once.")
        require_that(len(self.stages) > 0, f"there is no network; give at least one of {', '.join(STAGES)}.")
        pairs = (("embedding", self.embedding, "graph", self.graph), ("filter", self.filter, "cuts.filter", self.cuts.filter),
                 ("gnn", self.gnn, "cuts.gnn", self.cuts.gnn))
        for stage, network, part, value in pairs:
            require_that(network is None or value is not None, f"{stage} needs {part}: add it.")
            require_that(network is not None or value is None, f"{part} is there, but no {stage}: add that or leave out {part}.")
        missing = [name for name in ("r", "phi", "z") if name not in names]
        wants = [stage for stage, network in self.networks.items() if network.geometry]
        needs = f"{', '.join(wants)} with geometry = true need the feature(s) {', '.join(missing)}."
        require_that(not (missing and wants), needs)
        for stage, network in self.networks.items():
            own = [feature.name for feature in getattr(network, "features", None) or ()]
            unknown = [name for name in own if name not in names]
            require_that(not unknown, f"{stage} reads {', '.join(unknown)}, which features does not list.")

    @property
    def networks(self) -> dict[str, AnyEmbedding | AnyFilter | AnyGNN]:
        """The networks that there are, by stage, in the order of the data."""
        found = {"embedding": self.embedding, "filter": self.filter, "gnn": self.gnn}
        return {stage: network for stage, network in found.items() if network is not None}

    @property
    def stages(self) -> tuple[str, ...]:
        """Names of the networks that there are."""
        return tuple(self.networks)

    @property
    def makes_tracks(self) -> bool:
        """Whether hits become tracks: an embedding makes edges, a GNN judges them."""
        return self.embedding is not None and self.gnn is not None

    @property
    def edge_features(self) -> tuple[str, ...]:
        """Columns of `edge_attr` that the GNN reads."""
        return self.gnn.edge_features if self.gnn is not None else ()

    def needed_graph(self) -> GraphSpec:
        """Return how candidate edges are made; SpecError if the pipeline has no embedding to make them with."""
        if self.graph is None:
            raise SpecError(f"{self.name} has no embedding (only {', '.join(self.stages)}), so it can't make edges from hits.")
        return self.graph

    def cut(self, stage: str) -> float | None:
        """Return the cut of a stage, None for an embedding."""
        return {"filter": self.cuts.filter, "gnn": self.cuts.gnn}.get(stage)

    def needed_cut(self, stage: str) -> float:
        """Return the cut of a stage; SpecError if there is none."""
        cut = self.cut(stage)
        if cut is None:
            raise SpecError(f"{self.name} has no {stage} with a cut; it has {', '.join(self.stages)}.")
        return cut

    def width(self, stage: str) -> int:
        """Return the number of columns of a stage's output."""
        return self.embedding.dim if stage == "embedding" and self.embedding is not None else 1

    @classmethod
    def from_dict(cls, values: Mapping[str, object], where: str = "spec") -> Self:
        """Return the spec that a mapping holds; SpecError names an unknown or missing key."""
        return from_dict(cls, values, where)

    def to_dict(self) -> dict[str, Any]:
        """Return the spec as plain containers, ready for JSON; `from_dict` is its inverse."""
        return dataclasses.asdict(self)


def logit_of_cut(cut: float) -> float:
    """Return the logit above which sigmoid exceeds `cut`: cuts are applied to logits, so that scores near 1 stay distinct."""
    return math.log(cut) - math.log1p(-cut)
