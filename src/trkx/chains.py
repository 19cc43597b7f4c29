"""What an MLP is, layer by layer, and the embeddings and filters of other code bases that are such chains."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from trkx.plain import require_that

Activation = Literal["silu", "relu", "tanh", "gelu", "leaky_relu", "elu", "mish", "softplus", "sigmoid", "none"]
Norm = Literal["none", "plain", "affine"]
BatchNorm = Literal["none", "event", "event_affine", "running", "running_affine"]


@dataclass(frozen=True)
class FeatureSpec:
    """One column of the network input: `value / scale`, with value in mm, radians or counts.

    Attributes:
        name: a feature that `trkx.runtime.features` knows ("r", "phi", "z", …).
        scale: what the raw value is divided by.
        low: smallest scaled value seen in training, None if unknown.
        high: largest scaled value seen in training, None if unknown.
    """

    name: str
    scale: float
    low: float | None = None
    high: float | None = None

    def __post_init__(self) -> None:
        require_that(self.scale != 0.0, f"feature {self.name}: scale must not be 0.")
        if self.low is not None and self.high is not None:
            require_that(self.low <= self.high, f"feature {self.name}: low {self.low} is above high {self.high}.")


@dataclass(frozen=True)
class ChainSpec:
    """Linear layers one after the other, and what stands between them.

    A hidden layer is Linear, layer norm, batch norm, activation; the last one is Linear and what the `output_…` attributes say.

    Attributes:
        widths: columns that each Linear gives; the last are those of the output.
        activation: of hidden layers.
        norm: LayerNorm of hidden layers, with weights ("affine") or without ("plain").
        batch_norm: BatchNorm of hidden layers: with the mean and spread of the event's own rows ("event": every hit or edge
            of the event changes all others) or with stored ones ("running"); "…_affine" has weights.
        batch_norm_eps: added to the variance.
        activation_first: activation before the norms, as in VanillaFilter.
        bare_first: the first Linear has neither norm nor activation after it.
        output_activation, output_norm, output_batch_norm: after the last Linear.
    """

    widths: tuple[int, ...]
    activation: Activation = "relu"
    norm: Norm = "none"
    batch_norm: BatchNorm = "none"
    batch_norm_eps: float = 1e-5
    activation_first: bool = False
    bare_first: bool = False
    output_activation: Activation = "none"
    output_norm: Norm = "none"
    output_batch_norm: BatchNorm = "none"

    def __post_init__(self) -> None:
        require_that(len(self.widths) > 0, "widths must list at least one layer.")
        require_that(all(width >= 1 for width in self.widths), f"widths must be at least 1, found {list(self.widths)}.")
        require_that(self.batch_norm_eps > 0.0, f"batch_norm_eps must be above 0, found {self.batch_norm_eps}.")

    @property
    def out(self) -> int:
        """Columns of the output."""
        return self.widths[-1]

    def after(self, place: int) -> tuple[Norm, BatchNorm, Activation]:
        """Return what follows the Linear number `place`."""
        if place == len(self.widths) - 1:
            return self.output_norm, self.output_batch_norm, self.output_activation
        if place == 0 and self.bare_first:
            return "none", "none", "none"
        return self.norm, self.batch_norm, self.activation

    @property
    def looks_at_all_rows(self) -> bool:
        """Whether a row's result depends on the other rows of the event: batch norms with the event's own statistics."""
        hidden = len(self.widths) > 1 and self.batch_norm.startswith("event")
        return hidden or self.output_batch_norm.startswith("event")


@dataclass(frozen=True)
class ChainEmbeddingSpec:
    """Embedding of another code base: hit features to a metric space by one chain. `normalize`: outputs of unit length.

    features: the columns that it reads, with the scales it was trained with; None for all of the pipeline's.
    """

    chain: ChainSpec
    normalize: bool
    features: tuple[FeatureSpec, ...] | None = None
    family: Literal["chain_embedding"] = "chain_embedding"

    def __post_init__(self) -> None:
        require_that(1 <= self.chain.out <= 32, f"dim must be 1 to 32, found {self.chain.out}.")

    @property
    def dim(self) -> int:
        """Dimensions of the space."""
        return self.chain.out

    @property
    def geometry(self) -> bool:
        """Whether it computes features of its own: no."""
        return False

    @property
    def summary(self) -> str:
        """One line for people."""
        return f"{layers_of(self.chain)}, {self.dim} dimensions"

    @property
    def looks_at_all_rows(self) -> bool:
        """Whether a hit's place depends on the other hits of the event."""
        return self.chain.looks_at_all_rows


@dataclass(frozen=True)
class ChainFilterSpec:
    """Edge filter of another code base: features of source and target, one after the other, through one chain to a logit.

    features: as in ChainEmbeddingSpec.
    """

    chain: ChainSpec
    features: tuple[FeatureSpec, ...] | None = None
    family: Literal["chain_filter"] = "chain_filter"

    def __post_init__(self) -> None:
        require_that(self.chain.out == 1, f"a filter gives one logit, found {self.chain.out} columns.")

    @property
    def geometry(self) -> bool:
        """Whether it computes features of its own: no."""
        return False

    @property
    def looks_at_all_rows(self) -> bool:
        """Whether an edge's logit depends on the other edges, so that edges must not come in chunks."""
        return self.chain.looks_at_all_rows

    @property
    def summary(self) -> str:
        """One line for people."""
        return layers_of(self.chain)


def layers_of(chain: ChainSpec) -> str:
    """Return a chain in words: "4 layers of 512, 512, 512, 8, tanh"."""
    return f"{len(chain.widths)} layers of {', '.join(map(str, chain.widths))}, {chain.activation}"
