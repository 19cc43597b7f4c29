"""Events of every size through an engine built for a range of sizes: refused above it, padded below it, never cut.

Padding can't change a real logit: two hits are appended, copies of real ones so that no feature is out of range, and the
additional edges join these two only; what a network computes of them is cut off. A network that looks at all rows of an event at
once would see them, so its profile begins at 1 and nothing is padded.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from trkx.errors import InputError
from trkx.runtime.cuda.tensorrt.profiles import TARGET, Extent, StageProfile

PADDING_HITS = 2


@dataclass(frozen=True)
class Fitted:
    """The inputs of a stage within its profile. inputs: by name. rows: of the output that are real; they come first."""

    inputs: dict[str, torch.Tensor]
    rows: int


def fitted(
    profile: StageProfile, x: torch.Tensor, edge_index: torch.Tensor | None = None, edge_attr: torch.Tensor | None = None
) -> Fitted:
    """Return the inputs of a stage, padded to the smallest that its profile allows; as they are if they fit.

    Args:
        profile: of the stage.
        x: float32 [N, F], N at least 1.
        edge_index: int64 [2, E], E at least 1; None for the embedding.
        edge_attr: float32 [E, A], of a graph network that reads it.

    Raises:
        InputError: more hits or edges than the profile holds.
    """
    _require(profile, "hits", len(x), profile.hits)
    if edge_index is None or profile.edges is None:
        return Fitted({"x": _with_copies(x, max(profile.hits.min - len(x), 0)).contiguous()}, len(x))
    edges = edge_index.shape[1]
    _require(profile, "edges", edges, profile.edges)
    missing = max(profile.edges.min - edges, 0)
    more = max(profile.hits.min - len(x), PADDING_HITS if missing else 0)
    if missing:  # needs hits of its own, which must be within the profile too
        _require(profile, "hits (two of them for padding)", len(x) + more, profile.hits)
    inputs = {"x": _with_copies(x, more), "edge_index": edge_index}
    if missing:
        ends = torch.tensor([[len(x)], [len(x) + 1]], dtype=edge_index.dtype, device=edge_index.device)
        inputs["edge_index"] = torch.cat([edge_index, ends.expand(2, missing)], dim=1)
    if edge_attr is not None:
        inputs["edge_attr"] = _with_copies(edge_attr, missing)
    return Fitted({name: value.contiguous() for name, value in inputs.items()}, edges)


def parts(profile: StageProfile, edge_index: torch.Tensor) -> list[torch.Tensor]:
    """Return edges int64 [2, E] in nearly equal pieces that a profile holds; for networks that see one edge at a time."""
    assert profile.edges is not None
    count = max(-(-edge_index.shape[1] // profile.edges.max), 1)
    return list(edge_index.tensor_split(count, dim=1))


def _require(profile: StageProfile, what: str, count: int, extent: Extent) -> None:
    if count > extent.max:
        raise InputError(
            f"stage {profile.stage}: the event has {count} {what}, the TensorRT profile holds {extent.max} "
            f"(min {extent.min}, opt {extent.opt}); nothing is cut off, so it is refused. Export the bundle again with events as "
            f"large as this one: `export-models … --target {TARGET} --profile-events EVENTS`, or more --profile-headroom."
        )


def _with_copies(rows: torch.Tensor, count: int) -> torch.Tensor:
    """Return rows with so many copies of its first and last row behind, by turns."""
    if not count:
        return rows
    copies = rows[[0, -1]].repeat((count + 1) // 2, 1)[:count]
    return torch.cat([rows, copies])
