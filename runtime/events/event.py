"""One collision event: hits, what the detector says of them, and the truth where a simulation knows it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import cast

import numpy as np
from numpy.typing import NDArray

from trkx.errors import InputError

Int = NDArray[np.int64]
Float = NDArray[np.float32]


@dataclass(frozen=True)
class Particles:
    """Generated particles, one row each.

    particle_id: int64 [P], unique, above 0. pdg: int32 [P]. charge: float32 [P], units of e.
    vertex: production point, float32 [P, 3], mm. momentum: float32 [P, 3], GeV.
    """

    particle_id: Int
    pdg: NDArray[np.int32]
    charge: Float
    vertex: Float
    momentum: Float

    @property
    def pt(self) -> Float:
        """Transverse momentum, float32 [P], GeV."""
        return np.hypot(self.momentum[:, 0], self.momentum[:, 1])

    @property
    def eta(self) -> Float:
        """Pseudorapidity of the momentum, float32 [P]; +-inf along the beam."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return cast(Float, np.arcsinh(self.momentum[:, 2] / self.pt))

    def __len__(self) -> int:
        return len(self.particle_id)


@dataclass(frozen=True)
class Truth:
    """Which particle made which hit.

    particle_id: int64 [N], 0 for noise. order: float32 [N], grows along the particle's path (time in ns, or distance
    from the production vertex in mm); comparable only between hits of one particle. weight: float32 [N], the
    TrackML score's hit weights, or None.
    """

    particle_id: Int
    order: Float
    weight: Float | None = None
    particles: Particles | None = None


@dataclass(frozen=True)
class Event:
    """Hits of one event.

    event_id: number of the event. hit_id: int64 [N], unique, 0 or above. position: float32 [N, 3], global x, y, z in mm.
    volume, layer, module: int32 [N] or None. cells: feature name to float32 [N] (cell_count, cell_val, leta, …).
    truth: None where no simulation knows it. source: the file(s) it came from, for messages.
    """

    event_id: int
    hit_id: Int
    position: Float
    volume: NDArray[np.int32] | None = None
    layer: NDArray[np.int32] | None = None
    module: NDArray[np.int32] | None = None
    cells: Mapping[str, Float] = field(default_factory=dict)
    truth: Truth | None = None
    source: str = ""

    def __len__(self) -> int:
        return len(self.hit_id)

    def checked(self) -> Event:
        """Return self, or raise InputError: lengths that differ, NaN or infinite positions, negative or duplicate hit ids,
        negative particle ids.

        Two hits at the same place are legitimate; two hits with the same id are not.
        """
        where = f"event {self.event_id}" + (f" ({self.source})" if self.source else "")
        count = len(self.hit_id)
        if self.position.shape != (count, 3):
            raise InputError(f"{where}: position must be [{count}, 3] for {count} hit ids, found {list(self.position.shape)}.")
        columns: dict[str, NDArray[np.generic] | None] = {
            "volume": self.volume, "layer": self.layer, "module": self.module, **self.cells,
        }
        if self.truth is not None:
            columns |= {"particle_id": self.truth.particle_id, "order": self.truth.order, "weight": self.truth.weight}
        for name, column in columns.items():
            if column is not None and len(column) != count:
                raise InputError(f"{where}: {name} has {len(column)} rows for {count} hits.")
        bad = ~np.isfinite(self.position).all(axis=1)
        if bad.any():
            first = int(np.flatnonzero(bad)[0])
            raise InputError(
                f"{where}: {int(bad.sum())} hit(s) with NaN or infinite coordinates, the first is hit_id "
                f"{int(self.hit_id[first])} at {self.position[first].tolist()}; mend or drop them before reading."
            )
        for name, values in self.cells.items():
            if not np.isfinite(values).all():
                raise InputError(f"{where}: feature {name} holds NaN or infinite values; mend or drop these hits.")
        if (self.hit_id < 0).any():
            below = self.hit_id[self.hit_id < 0]
            raise InputError(f"{where}: hit ids must be 0 or above, found {len(below)} negative, the first is {int(below[0])}.")
        if self.truth is not None and (self.truth.particle_id < 0).any():
            row = int((self.truth.particle_id < 0).argmax())
            raise InputError(
                f"{where}: particle ids must be above 0, or 0 for noise; found {int(self.truth.particle_id[row])} at hit_id "
                f"{int(self.hit_id[row])}, the first of {int((self.truth.particle_id < 0).sum())} negative; write 0 for noise."
            )
        ordered = np.sort(self.hit_id)
        repeated = ordered[1:][ordered[1:] == ordered[:-1]]
        if len(repeated):
            raise InputError(f"{where}: {len(repeated)} duplicate hit id(s), first {int(repeated[0])}; ids must be unique.")
        return self
