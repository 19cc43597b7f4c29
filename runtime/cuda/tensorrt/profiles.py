"""Optimisation profiles: for which numbers of hits and edges the engine of each stage is built."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Self

from trkx.bundle import Bundle
from trkx.errors import BundleError, SpecError, unknown_name
from trkx.runtime.cuda.tensorrt.limits import LARGEST_AXIS, LARGEST_EDGES, LARGEST_HEADROOM, LARGEST_HITS
from trkx.spec import STAGES, PipelineSpec, from_dict

TARGET, FORMAT, FILE = "tensorrt", "profiles", "tensorrt/profiles.json"
SCHEMA = 1
Shape = tuple[int, ...]
Shapes = Mapping[str, tuple[Shape, Shape, Shape]]
"""Input to (smallest, most frequent, largest) shape."""
_EDGES: Mapping[str, int] = {"filter": LARGEST_AXIS, "gnn": LARGEST_EDGES}
"""Stage that reads edges to the most that it takes: the filter sums over none."""


@dataclass(frozen=True)
class Extent:
    """How long an axis may be, `min` to `max`; the engine is fastest at `opt`. At least 1: TensorRT takes no empty axis."""

    min: int
    opt: int
    max: int

    def __post_init__(self) -> None:
        if not 1 <= self.min <= self.opt <= self.max:
            raise SpecError(f"an extent must have 1 <= min <= opt <= max, found {self.min}, {self.opt}, {self.max}.")
        if self.max > LARGEST_AXIS:
            raise SpecError(f"an axis in TensorRT is at most {LARGEST_AXIS} long, found max {self.max}.")


@dataclass(frozen=True)
class StageProfile:
    """One stage: its name, how many hits, and how many edges (None for the embedding, and only for it)."""

    stage: str
    hits: Extent
    edges: Extent | None = None

    def __post_init__(self) -> None:
        if self.stage not in STAGES:
            raise SpecError(unknown_name("stage", self.stage, STAGES))
        if (self.edges is not None) != (self.stage in _EDGES):
            expected = "expected an extent of edges" if self.stage in _EDGES else "it reads no edges, expected none"
            raise SpecError(f"the profile of stage {self.stage} has {'none' if self.edges is None else 'one'}: {expected}.")
        sizes = [("hits", self.hits.max, LARGEST_HITS)]
        sizes += [("edges", self.edges.max, _EDGES[self.stage])] if self.edges is not None else []
        for what, largest, most in sizes:
            if largest > most:
                raise SpecError(f"stage {self.stage}: its file for TensorRT holds at most {most:,} {what}, found up to "
                                f"{largest:,}; take smaller events or less --profile-headroom.")

    def shapes(self, spec: PipelineSpec) -> Shapes:
        """Return the shapes of the stage's inputs, under the names that its file has for them."""
        hits, edges = (self.hits.min, self.hits.opt, self.hits.max), self.edges
        found: dict[str, tuple[Shape, Shape, Shape]] = {"x": _three(hits, lambda count: (count, len(spec.features)))}
        if edges is not None:
            counts = (edges.min, edges.opt, edges.max)
            found["edge_index"] = _three(counts, lambda count: (2, count))
            if self.stage == "gnn" and spec.edge_features:
                found["edge_attr"] = _three(counts, lambda count: (count, len(spec.edge_features)))
        return found


@dataclass(frozen=True)
class Measured:
    """One event that was looked at: its name, hits, candidates (edges before the filter) and edges (that the GNN reads)."""

    event: str
    hits: int
    candidates: int
    edges: int

    def __post_init__(self) -> None:
        if min(self.hits, self.candidates, self.edges) < 0:
            counts = f"{self.hits}, {self.candidates}, {self.edges}"
            raise SpecError(f"event '{self.event}': counts must be at least 0, found {counts}.")


@dataclass(frozen=True)
class Profiles:
    """The profiles of a bundle, as `tensorrt/profiles.json` holds them.

    stages: one a stage. headroom: what the largest measured number was multiplied by. measured: events that it comes from.
    """

    stages: tuple[StageProfile, ...]
    headroom: float
    measured: tuple[Measured, ...]
    schema: int = SCHEMA

    def __post_init__(self) -> None:
        names = [profile.stage for profile in self.stages]
        twice = next((name for name in names if names.count(name) > 1), "")
        if twice:
            raise SpecError(f"stage {twice} has several profiles, expected one a stage.")
        require_headroom(self.headroom)

    def of(self, stage: str) -> StageProfile:
        """Return the profile of a stage.

        Raises:
            BundleError: there is none.
        """
        for profile in self.stages:
            if profile.stage == stage:
                return profile
        known = ", ".join(profile.stage for profile in self.stages) or "none"
        raise BundleError(f"{FILE} has no profile of stage {stage}, only of {known}; export the bundle again, --target {TARGET}.")

    def to_json(self) -> bytes:
        """Return JSON text, UTF-8."""
        return (json.dumps(asdict(self), indent=2) + "\n").encode()

    @classmethod
    def from_json(cls, data: bytes, where: str = FILE) -> Self:
        """Return what JSON text holds.

        Raises:
            BundleError: not JSON, another schema, an unknown or missing key, or numbers that make no sense.
        """
        try:
            values = json.loads(data)
            if not isinstance(values, dict) or values.get("schema") != SCHEMA:
                raise SpecError(f"expected a table with schema {SCHEMA}.")
            return from_dict(cls, values, where)
        except (SpecError, ValueError, RecursionError) as error:  # the last: brackets in brackets
            raise BundleError(f"{where}: no profiles that this trkx reads: {error} Export the bundle again.") from None


def profiles_of(bundle: Bundle) -> Profiles:
    """Return the profiles of a bundle.

    Raises:
        BundleError: it has none, or they can't be read.
    """
    if not any((entry.format, entry.target) == (FORMAT, TARGET) for entry in bundle.manifest.files):
        raise BundleError(
            f"{bundle.path}: has no {FILE}, so it is not known for how many hits and edges an engine is to be built; export it "
            f"again with `export-models … --target {TARGET} --profile-events EVENTS`."
        )
    return Profiles.from_json(bundle.read("all", FORMAT, target=TARGET), str(bundle.path / FILE))


def require_headroom(headroom: float) -> None:
    """Refuse a factor that no profile can have been made with.

    Raises:
        SpecError: below 1, above LARGEST_HEADROOM, or not a number.
    """
    if not 1.0 <= headroom <= LARGEST_HEADROOM:
        raise SpecError(f"headroom must be at least 1 and at most {LARGEST_HEADROOM:g}, found {headroom:g}.")


def _three(counts: tuple[int, int, int], shape: Callable[[int], Shape]) -> tuple[Shape, Shape, Shape]:
    low, usual, high = counts
    return shape(low), shape(usual), shape(high)
