"""Do two pipelines make the same tracks? Hits in other tracks, edges decided otherwise, and how near the cut those were."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

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
class Flips:
    """How two results differ.

    hits: of how many the track is not the same set of hits in both. filter, gnn: edges that pass that cut in one of them only.
    filter_outside: how many of those were neither within the decision band of the filter nor at the edge of the radius, in the
    second. gnn_outside: of edges that both GNNs judged, those not within its band: what follows from other edges in the graph.
    tracks: numbers of tracks. edges: the edges of `filter`, int64 [2, filter].
    """

    hits: int
    filter: int
    filter_outside: int
    gnn: int
    gnn_outside: int
    tracks: tuple[int, int]
    edges: Int

    def to_facts(self) -> dict[str, Any]:
        """Return columns of a report."""
        return {"hits in other tracks": self.hits, "filter flips (outside band)": f"{self.filter} ({self.filter_outside})",
                "gnn flips (outside band)": f"{self.gnn} ({self.gnn_outside})", "tracks": self.tracks[0],
                "tracks assembled": self.tracks[1]}


def compared(spec: PipelineSpec, ours: Arrays, theirs: Arrays) -> Flips:
    """Compare two results of one event.

    Args:
        spec: of the pipeline.
        ours: label int64 [N], tracks; "filter" and "gnn": edges int64 [2, E] that passed each cut.
        theirs: the same, and "near", "near_weight": edges near the filter's cut with logit - logit(cut); "gnn_weight": the same
            of the GNN for each of its edges, float [E]; "points": the embedding, [N, D].
    """
    hits = differing_hits(ours["label"], theirs["label"])
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
    both = np.intersect1d(keys(ours["filter"], size), keys(theirs["filter"], size)) if "filter" in ours else None
    judged = keys(theirs["filter"], size)
    changed = np.setxor1d(keys(ours["gnn"], size), keys(theirs["gnn"], size))
    if both is not None:
        changed = np.intersect1d(changed, both)
    near = judged[np.abs(theirs["gnn_weight"]) <= BAND]
    tracks = (int(ours["tracks"]), int(theirs["tracks"]))
    edges = np.stack([flipped // size, flipped % size]) if size else np.empty((2, 0), np.int64)
    return Flips(hits, flips, outside, len(changed), len(np.setdiff1d(changed, near)), tracks, edges)


def keys(edges: Int, hits: int) -> Int:
    """Return one number for each edge [2, E], whatever its direction."""
    found: Int = np.minimum(edges[0], edges[1]) * hits + np.maximum(edges[0], edges[1])
    return found


def differing_hits(a: Int, b: Int) -> int:
    """Return how many hits are in a component of `a` that is not, as a set, one of `b`; int64 [N] labels of the same hits."""
    first, second = np.unique(a, return_inverse=True)[1], np.unique(b, return_inverse=True)[1]
    width = int(second.max(initial=-1)) + 1
    _, place, together = np.unique(first * width + second, return_inverse=True, return_counts=True)
    size_a, size_b = np.bincount(first), np.bincount(second)
    same = (size_a[first] == together[place]) & (size_b[second] == together[place])
    return int(np.count_nonzero(~same))
