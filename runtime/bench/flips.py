"""Do two pipelines make the same tracks? Hits in other tracks, edges decided otherwise, and how near the cut those were."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trkx.runtime.labelling import same_components
from trkx.spec import PipelineSpec

Int = NDArray[np.int64]
Arrays = Mapping[str, NDArray[Any]]
BAND = 1e-3
"""Distance of a logit from that of the cut within which rounding may decide."""
RADIUS_BAND = 1e-5
"""Distance from the radius within which rounding may decide, in units of the embedding."""
NEAR = 0.05
"""Distance up to which the logits of a filter are kept for the comparison."""


@dataclass(frozen=True)
class GnnFlips:
    """How two GNNs differ on one and the same graph.

    edges: those that one of them passes and the other does not, int64 [2, n]. outside_band: how many of these are not within the
    decision band of the second. that_follow: of the GNN flips of the whole pipelines, those that are not among `edges`: one GNN
    decides otherwise when only the graph changes, so that they follow from the flips before it; where there are none of the
    filter, nothing explains them, and they are called so.
    """

    edges: Int
    outside_band: int
    that_follow: int


@dataclass(frozen=True)
class Flips:
    """How two results differ.

    hits: of how many the track is not the same set of hits in both. filter, gnn: edges that pass that cut in one of them only; of
    the GNNs, among edges that both judged. filter_outside: how many of `filter` were neither within the decision band of the
    filter nor at the edge of the radius, in the second. same_graph: of the GNNs alone; None if that was not looked at. tracks:
    numbers of tracks. edges: the edges of `filter`, int64 [2, filter].
    """

    hits: int
    filter: int
    filter_outside: int
    gnn: int
    same_graph: GnnFlips | None
    tracks: tuple[int, int]
    edges: Int

    def to_facts(self) -> dict[str, Any]:
        """Return columns of a report."""
        facts: dict[str, Any] = {"hits in other tracks": self.hits, "tracks": self.tracks[0], "tracks assembled": self.tracks[1],
                                 "filter flips (outside band)": f"{self.filter} ({self.filter_outside})", "gnn flips": self.gnn}
        if self.same_graph is None:
            return facts
        return facts | {
            "gnn flips, same graph (outside band)": f"{self.same_graph.edges.shape[1]} ({self.same_graph.outside_band})",
            "gnn flips that follow" if self.filter else "gnn flips unexplained": self.same_graph.that_follow,
        }


def compared(spec: PipelineSpec, ours: Arrays, theirs: Arrays) -> Flips:
    """Compare two results of one event.

    Args:
        spec: of the pipeline.
        ours: label int64 [N], tracks; "filter" and "gnn": edges int64 [2, E] that passed each cut; "same_graph", if known: edges
            int64 [2, E] of `theirs["filter"]` that pass the cut of our GNN when that graph is all that it is given.
        theirs: label, tracks, "filter", "gnn", and "near", "near_weight": edges near the filter's cut with logit - logit(cut);
            "gnn_weight": the same of the GNN for each edge of "filter", float [E]; "points": the embedding, [N, D].
    """
    hits = int(np.count_nonzero(~same_components(ours["label"], theirs["label"])))
    size = len(ours["label"])
    flips = outside = 0
    flipped = np.empty(0, np.int64)
    if spec.filter is not None:
        flipped = changed = np.setxor1d(keys(ours["filter"], size), keys(theirs["filter"], size))
        near = keys(theirs["near"], size)[np.abs(theirs["near_weight"]) <= BAND]
        left = np.setdiff1d(changed, near)
        apart = theirs["points"][left // size].astype(np.float64) - theirs["points"][left % size]
        at_the_edge = np.abs(np.sqrt((apart**2).sum(axis=1)) - spec.needed_graph().radius) <= RADIUS_BAND
        flips, outside = len(changed), int(np.count_nonzero(~at_the_edge))
    changed = np.setxor1d(keys(ours["gnn"], size), keys(theirs["gnn"], size))
    if "filter" in ours:
        changed = np.intersect1d(changed, np.intersect1d(keys(ours["filter"], size), keys(theirs["filter"], size)))
    same_graph = _same_graph(ours["same_graph"], theirs, changed, size) if "same_graph" in ours else None
    tracks = (int(ours["tracks"]), int(theirs["tracks"]))
    return Flips(hits, flips, outside, len(changed), same_graph, tracks, _edges(flipped, size))


def _same_graph(passed: Int, theirs: Arrays, changed: Int, size: int) -> GnnFlips:
    """Return the flips of `passed`, edges [2, E] of their graph; changed: keys of the GNN flips of the whole pipelines."""
    flipped = np.setxor1d(keys(passed, size), keys(theirs["gnn"], size))
    near = keys(theirs["filter"], size)[np.abs(theirs["gnn_weight"]) <= BAND]
    return GnnFlips(_edges(flipped, size), len(np.setdiff1d(flipped, near)), len(np.setdiff1d(changed, flipped)))


def keys(edges: Int, hits: int) -> Int:
    """Return one number for each edge [2, E], whatever its direction."""
    found: Int = np.minimum(edges[0], edges[1]) * hits + np.maximum(edges[0], edges[1])
    return found


def _edges(keys: Int, hits: int) -> Int:
    """Return the edges [2, E], lower hit first, of which `keys` are the numbers."""
    return np.stack([keys // hits, keys % hits]) if hits else np.empty((2, 0), np.int64)
