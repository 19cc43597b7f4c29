"""Training samples: hits of simulated events, their wanted pairs, and slices of an event in azimuth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trkx.errors import InputError
from trkx.spec import FeatureSpec

PT_MIN = 0.9  # GeV
ETA_MAX = 3.0
MIN_HITS = 4


@dataclass(frozen=True)
class Sample:
    """Hits of one event.

    x: scaled features, float32 [N, F]. phi: float32 [N]. distance: from the origin, float64 [N], mm. particle: int64 [N],
    0 for noise. wanted: hit of a particle that should be found, bool [N]. rank: place of a hit along its particle, int64 [N].
    """

    x: Tensor
    phi: Tensor
    distance: Tensor
    particle: Tensor
    wanted: Tensor
    rank: Tensor

    def __len__(self) -> int:
        return len(self.phi)

    def part(self, keep: Tensor) -> Sample:
        """Return the hits that `keep` (bool or int64) selects; ranks stay those of the whole event."""
        return Sample(self.x[keep], self.phi[keep], self.distance[keep], self.particle[keep], self.wanted[keep], self.rank[keep])

    def slice(self, start: float, width: float) -> Sample:
        """Return the hits with phi in [start, start + width), across the seam at pi too."""
        return self.part(torch.remainder(self.phi - start, 2.0 * torch.pi) < width)


def _columns(path: Path, names: Sequence[str]) -> dict[str, NDArray[Any]]:
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path, columns=list(names))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: not a readable Parquet event ({error}); make it again with `trkx simulate`.") from error
    missing = [name for name in names if name not in table.column_names]
    if missing:
        raise InputError(f"{path}: training needs the column(s) {', '.join(missing)}; make events with `trkx simulate`.")
    return {name: table[name].to_numpy() for name in names}


def read_sample(hits: Path, features: Sequence[FeatureSpec]) -> Sample:
    """Return the sample that `eventNNNNNNNNN-hits.parquet` and its particle file hold. InputError if they can't be read."""
    table = _columns(hits, ("x", "y", "z", "particle_id", "order"))
    particles = _columns(hits.with_name(hits.name.replace("-hits", "-particles")), ("particle_id", "px", "py", "pz", "charge"))
    x, y, z = (table[name].astype(np.float64) for name in ("x", "y", "z"))
    r, phi = np.hypot(x, y), np.arctan2(y, x)
    values = {"r": r, "phi": phi, "z": z}
    unknown = [feature.name for feature in features if feature.name not in values]
    if unknown:
        raise InputError(f"training knows the features r, phi and z, not {', '.join(unknown)}.")
    particle = table["particle_id"].astype(np.int64)
    ids, hit_of = np.unique(particle, return_inverse=True)
    count = np.bincount(hit_of)
    place = np.searchsorted(particles["particle_id"], ids)
    place = np.minimum(place, len(particles["particle_id"]) - 1)
    pt = np.hypot(particles["px"], particles["py"])[place]
    with np.errstate(divide="ignore"):
        eta = np.arcsinh(particles["pz"][place] / pt)
    good = (particles["particle_id"][place] == ids) & (ids > 0) & (pt > PT_MIN) & (np.abs(eta) < ETA_MAX)
    good &= (count >= MIN_HITS) & (particles["charge"][place] != 0)
    order = np.lexsort((table["order"], hit_of))
    first = np.cumsum(count) - count
    rank = np.empty(len(r), np.int64)
    rank[order] = np.arange(len(r)) - first[hit_of[order]]
    columns = [values[feature.name] / feature.scale for feature in features]
    return Sample(
        x=torch.from_numpy(np.stack(columns, axis=1).astype(np.float32)), phi=torch.from_numpy(phi.astype(np.float32)),
        distance=torch.from_numpy(np.sqrt(r * r + z * z)), particle=torch.from_numpy(particle),
        wanted=torch.from_numpy(good[hit_of]), rank=torch.from_numpy(rank),
    )


def pairs_within(points: Tensor, radius: float, rows: Tensor | None = None, chunk: int = 2048) -> Tensor:
    """Return pairs of points of unit length at a distance below `radius`, int64 [2, E].

    Without `rows` each unordered pair once, row 0 below row 1; with `rows` (int64) all neighbours of those points.
    """
    found: list[Tensor] = []
    least = 1.0 - 0.5 * radius * radius
    queries = torch.arange(len(points)) if rows is None else rows
    for start in range(0, len(queries), chunk):
        query = queries[start : start + chunk]
        low = start if rows is None else 0
        near = (points[query] @ points[low:].T) > least
        a, b = torch.nonzero(near, as_tuple=True)
        a, b = query[a], b + low
        keep = a < b if rows is None else a != b
        found.append(torch.stack([a[keep], b[keep]]))
    return torch.cat(found, dim=1) if found else torch.zeros((2, 0), dtype=torch.int64)


def consecutive_pairs(sample: Sample) -> Tensor:
    """Return wanted pairs, int64 [2, M]: hits next to each other along a wanted particle, inner one first."""
    hits = torch.nonzero(sample.wanted).squeeze(1)
    order = np.lexsort((sample.rank[hits].numpy(), sample.particle[hits].numpy()))
    hits = hits[torch.from_numpy(order)]
    a, b = hits[:-1], hits[1:]
    keep = (sample.particle[a] == sample.particle[b]) & (sample.rank[b] - sample.rank[a] == 1)
    return torch.stack([a[keep], b[keep]])


@dataclass(frozen=True)
class Classes:
    """What an edge joins, bool [E] each. same: one particle. wanted: one that should be found. next: its consecutive hits."""

    same: Tensor
    wanted: Tensor
    next: Tensor


def classify(sample: Sample, edges: Tensor) -> Classes:
    """Return the truth of edges, int64 [2, E]."""
    a, b = edges[0], edges[1]
    same = (sample.particle[a] == sample.particle[b]) & (sample.particle[a] != 0)
    wanted = same & sample.wanted[a]
    return Classes(same, wanted, wanted & ((sample.rank[a] - sample.rank[b]).abs() == 1))


def oriented(sample: Sample, pairs: Tensor) -> Tensor:
    """Return pairs with the hit nearer to the origin first: the direction "by_radius"."""
    swap = sample.distance[pairs[1]] < sample.distance[pairs[0]]
    return torch.where(swap, pairs.flip(0), pairs)
