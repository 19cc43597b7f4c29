"""The TrackML score: the weight of hits that are on the right track."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from trkx.runtime.events.event import Truth
from trkx.runtime.metrics.matching import match_tracks

MIN_HITS = 4
"""Particles with fewer hits weigh nothing in TrackML."""


@dataclass(frozen=True)
class Score:
    """TrackML score of one event: `value` in [0, 1], None where no hit has weight; `weights` says where these came from."""

    value: float | None
    weights: Literal["event", "uniform"]


def hit_weights(truth: Truth) -> tuple[NDArray[np.float64], Literal["event", "uniform"]]:
    """Return the weight of each hit, float64 [N] with sum 1 (or all 0), and where it came from.

    Without weights in the truth every hit of a particle with at least four hits weighs the same, and all others nothing:
    TrackML's own rule for which hits weigh, without its preference for first and last hits and high pT.
    """
    if truth.weight is not None:
        weight, source = np.asarray(truth.weight, dtype=np.float64), "event"
    else:
        _, row, counts = np.unique(truth.particle_id, return_inverse=True, return_counts=True)
        weight, source = ((truth.particle_id != 0) & (counts[row] >= MIN_HITS)).astype(np.float64), "uniform"
    total = weight.sum()
    return (weight / total if total > 0 else weight), ("event" if source == "event" else "uniform")


def trackml_score(track_id: NDArray[np.int64], truth: Truth) -> Score:
    """Return the TrackML score of one event.

    It is the sum of the weights of hits that lie on a track whose double-majority particle left them. Tracks of every
    length count; a hit in no track adds nothing. Source: Amrouche et al., arXiv:1904.06778, section 4.

    Args:
        track_id: track of each hit, int64 [N], negative for a hit in no track.
        truth: particle and, where known, weight of each hit.
    """
    weight, source = hit_weights(truth)
    matching = match_tracks(track_id, truth.particle_id)
    good = np.flatnonzero(matching.matched("double_majority"))
    track, owner = matching.track[good], matching.particle[matching.owner[good]]
    if len(track) == 0:
        return Score(0.0 if weight.sum() > 0 else None, source)
    row = np.minimum(np.searchsorted(track, track_id), len(track) - 1)
    right = (track[row] == track_id) & (owner[row] == truth.particle_id)
    return Score(float(weight[right].sum()) if weight.sum() > 0 else None, source)
