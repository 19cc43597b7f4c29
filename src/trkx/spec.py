"""What a pipeline is: features and scales, the three networks, graph, cuts, labelling. Plain frozen data, no torch."""

from __future__ import annotations

import dataclasses
import math
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from types import UnionType
from typing import Any, Literal, Self

from trkx.errors import SpecError, unknown_name

Direction = Literal["by_radius", "by_index"]
Activation = Literal["silu", "relu", "tanh", "gelu"]
LabellingMethod = Literal["connected_components", "edge_contraction"]
T = typing.TypeVar("T")


def _convert(value: object, kind: Any, where: str) -> Any:
    """Return a TOML or JSON value as the annotated type, or raise SpecError naming the key."""
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, UnionType):
        if value is None and type(None) in args:
            return None
        kind = next(a for a in args if a is not type(None))
        origin, args = typing.get_origin(kind), typing.get_args(kind)
    if origin is Literal:
        if value not in args:
            raise SpecError(f"{where}: " + unknown_name("value", str(value), [str(a) for a in args]))
        return value
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise SpecError(f"{where}: expected a list, found {value!r}.")
        return tuple(_convert(item, args[0], f"{where}[{i}]") for i, item in enumerate(value))
    if dataclasses.is_dataclass(kind):
        if not isinstance(value, Mapping):
            raise SpecError(f"{where}: expected a table of {', '.join(_keys(kind))}, found {value!r}.")
        return from_dict(typing.cast(type[Any], kind), value, where)
    if kind is float and isinstance(value, int | float) and not isinstance(value, bool):
        if not math.isfinite(value):
            raise SpecError(f"{where}: expected a finite number, found {value!r}.")
        return float(value)
    if isinstance(value, kind) and (kind is bool or not isinstance(value, bool)):
        return value
    raise SpecError(f"{where}: expected {kind.__name__}, found {value!r}.")


def _keys(kind: Any) -> list[str]:
    return [field.name for field in dataclasses.fields(kind)]


def from_dict(kind: type[T], values: Mapping[str, object], where: str = "") -> T:
    """Build a frozen dataclass from a mapping, rejecting unknown and missing keys by name.

    Args:
        kind: the dataclass.
        values: what a TOML or JSON file holds.
        where: how messages call the place ("pipeline.toml: gnn").

    Raises:
        SpecError: an unknown key, a missing key, a value of the wrong type or out of range.
    """
    where = where or kind.__name__
    hints = typing.get_type_hints(kind)
    for key in values:
        if key not in hints:
            raise SpecError(f"{where}: " + unknown_name("key", str(key), hints))
    required = [
        field.name
        for field in dataclasses.fields(typing.cast(Any, kind))
        if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    ]
    missing = [name for name in required if name not in values]
    if missing:
        raise SpecError(f"{where}: missing {'keys' if len(missing) > 1 else 'key'} {', '.join(missing)}; add what is missing.")
    converted = {key: _convert(value, hints[key], f"{where}.{key}") for key, value in values.items()}
    try:
        return kind(**converted)
    except SpecError as error:
        raise SpecError(f"{where}: {error}") from None


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise SpecError(message)


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
        _require(self.scale != 0.0, f"feature {self.name}: scale must not be 0.")
        if self.low is not None and self.high is not None:
            _require(self.low <= self.high, f"feature {self.name}: low {self.low} is above high {self.high}.")


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
        _require(self.hidden >= 1 and self.layers >= 1, "hidden and layers must be at least 1.")
        _require(1 <= self.dim <= 32, f"dim must be 1 to 32, found {self.dim}.")


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
        _require(self.hidden >= 1 and self.layers >= 1, "hidden and layers must be at least 1.")


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
        _require(self.hidden >= 1 and self.layers >= 1, "hidden and layers must be at least 1.")
        _require(self.iterations >= 1, f"iterations must be at least 1, found {self.iterations}.")


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
        _require(self.radius > 0.0, f"radius must be above 0, found {self.radius}.")
        _require(self.k_max is None or self.k_max >= 1, f"k_max must be at least 1, found {self.k_max}.")


@dataclass(frozen=True)
class CutSpec:
    """Scores (sigmoid of the logit) that an edge must exceed, strictly, to stay."""

    filter: float
    gnn: float

    def __post_init__(self) -> None:
        for name, cut in (("filter", self.filter), ("gnn", self.gnn)):
            _require(0.0 < cut < 1.0, f"cut {name} is a score and must lie in (0, 1), found {cut}.")


@dataclass(frozen=True)
class LabellingSpec:
    """How edges become tracks. `min_hits` is the smallest track that is written.

    `method`: "connected_components" of the edges above the GNN's cut; or "edge_contraction", where edges below the cut speak
    against a joint track with as much weight as those above it speak for one (logit - logit of the cut).
    """

    method: LabellingMethod = "connected_components"
    min_hits: int = 3

    def __post_init__(self) -> None:
        _require(self.min_hits >= 1, f"min_hits must be at least 1, found {self.min_hits}.")


@dataclass(frozen=True)
class PipelineSpec:
    """Everything that turns hits into tracks, but for the weights."""

    name: str
    features: tuple[FeatureSpec, ...]
    embedding: EmbeddingSpec
    graph: GraphSpec
    filter: FilterSpec
    gnn: GNNSpec
    cuts: CutSpec
    labelling: LabellingSpec = LabellingSpec()

    def __post_init__(self) -> None:
        names = [feature.name for feature in self.features]
        _require(len(names) > 0, "features must list at least one feature.")
        twice = sorted({name for name in names if names.count(name) > 1})
        _require(not twice, f"features lists {', '.join(twice)} more than once.")
        missing = [name for name in ("r", "phi", "z") if name not in names]
        wants = [s for s in ("embedding", "filter", "gnn") if getattr(self, s).geometry]
        _require(not (missing and wants), f"{', '.join(wants)} with geometry = true need the feature(s) {', '.join(missing)}.")

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
