"""Which particles count: fiducial cuts, held as data and printed with every result."""

from __future__ import annotations

import dataclasses
import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trkx.errors import InputError, SpecError, TrkxWarning
from trkx.runtime.events.event import Event, Truth

Int = NDArray[np.int64]
Bool = NDArray[np.bool_]
Real = NDArray[np.float64]


@dataclass(frozen=True)
class Selection:
    """Fiducial cuts on particles, and the shortest track that counts. Every cut is strict but for the two hit counts.

    Attributes:
        pt_min: particles have a transverse momentum above it, GeV.
        pt_max: and below it, GeV; None for no limit.
        eta_max: particles have |eta| below it.
        vertex_r_max: they are produced at a distance from the beam line below it, mm; None for no limit.
        vertex_z_max: they are produced at |z| below it, mm; None for no limit.
        charged_only: neutral particles don't count.
        exclude_pdg: |PDG code| of particles that don't count (11 for electrons).
        min_hits_particle: hits that a particle left, counted over all hits of the event.
        min_hits_track: tracks with fewer hits count nowhere, neither as found nor as fake.
    """

    pt_min: float = 0.9
    pt_max: float | None = None
    eta_max: float = 3.0
    vertex_r_max: float | None = None
    vertex_z_max: float | None = None
    charged_only: bool = True
    exclude_pdg: tuple[int, ...] = ()
    min_hits_particle: int = 4
    min_hits_track: int = 4

    def __post_init__(self) -> None:
        if self.pt_max is not None and self.pt_max <= self.pt_min:
            raise SpecError(f"selection: pt_max {self.pt_max} GeV must lie above pt_min {self.pt_min} GeV.")
        for name, value in (("eta_max", self.eta_max), ("vertex_r_max", self.vertex_r_max), ("vertex_z_max", self.vertex_z_max)):
            if value is not None and not value > 0.0:
                raise SpecError(f"selection: {name} must be above 0, found {value}.")
        for name in ("min_hits_particle", "min_hits_track"):
            if getattr(self, name) < 1:
                raise SpecError(f"selection: {name} must be at least 1, found {getattr(self, name)}.")

    def describe(self) -> str:
        """Return the cuts in words, one line."""
        pt = f"pT > {self.pt_min:g} GeV" if self.pt_max is None else f"{self.pt_min:g} < pT < {self.pt_max:g} GeV"
        parts = ["charged particles" if self.charged_only else "particles", pt, f"|eta| < {self.eta_max:g}"]
        if self.vertex_r_max is not None:
            parts.append(f"produced at r < {self.vertex_r_max:g} mm")
        if self.vertex_z_max is not None:
            parts.append(f"produced at |z| < {self.vertex_z_max:g} mm")
        if self.exclude_pdg:
            parts.append(f"|PDG code| not {', '.join(str(code) for code in self.exclude_pdg)}")
        parts.append(f"at least {self.min_hits_particle} hits")
        return f"{', '.join(parts)}; tracks of at least {self.min_hits_track} hits"

    def to_dict(self) -> dict[str, object]:
        """Return the cuts as plain containers, ready for JSON."""
        return {**dataclasses.asdict(self), "exclude_pdg": list(self.exclude_pdg)}


@dataclass(frozen=True)
class Selected:
    """Particles that left hits, with what plots need of them.

    mask: bool [P], passes the cuts. pt (GeV), eta, vertex_r (mm): float64 [P], NaN for a particle that the particle table
    lacks (and such a particle never passes).
    """

    mask: Bool
    pt: Real
    eta: Real
    vertex_r: Real


def require_truth(event: Event) -> Truth:
    """Return the event's truth; InputError if there is none or it has no particle table."""
    where = f"event {event.event_id}" + (f" ({event.source})" if event.source else "")
    if event.truth is None:
        raise InputError(
            f"{where}: no truth; metrics need the particle of every hit. Expected a TrackML truth file, ACTS simhits or a "
            "particle_id column beside the hits: add it, or evaluate simulated events (trkx simulate)."
        )
    if event.truth.particles is None:
        raise InputError(
            f"{where}: truth without a particle table; cuts on pT and eta need momenta. Expected a particles file beside "
            "the hits: add it, or evaluate simulated events (trkx simulate)."
        )
    return event.truth


def select_particles(event: Event, particle: Int, hits: Int, selection: Selection) -> Selected:
    """Apply fiducial cuts to particles given by id.

    Args:
        event: an event with truth and a particle table.
        particle: ids, int64 [P], above 0.
        hits: hits that each left in the event, int64 [P].
        selection: the cuts.

    Raises:
        InputError: no truth, or no particle table.

    Warns:
        TrkxWarning: particles that the particle table lacks; they never pass, so no efficiency counts them.
    """
    table = require_truth(event).particles
    assert table is not None
    missing = particle[~np.isin(particle, table.particle_id)]
    if len(missing):
        where = f"event {event.event_id}" + (f" ({event.source})" if event.source else "")
        warnings.warn(
            f"{where}: {len(missing)} of {len(particle)} particles with hits are not in the particle table, the first is "
            f"{int(missing[0])}; no efficiency counts them. Give the table of all particles.",
            TrkxWarning,
            stacklevel=2,
        )
    nothing = np.full(len(particle), np.nan)
    if len(table) == 0 or len(particle) == 0:
        return Selected(np.zeros(len(particle), dtype=bool), nothing, nothing.copy(), nothing.copy())
    order = np.argsort(table.particle_id, kind="stable")
    row = order[np.minimum(np.searchsorted(table.particle_id, particle, sorter=order), len(order) - 1)]
    known = table.particle_id[row] == particle

    def column(values: NDArray[np.generic]) -> Real:
        return np.where(known, values[row].astype(np.float64), np.nan)

    pt, eta = column(table.pt), column(table.eta)
    vertex_r, vertex_z = column(np.hypot(table.vertex[:, 0], table.vertex[:, 1])), column(table.vertex[:, 2])
    mask = known & (pt > selection.pt_min) & (np.abs(eta) < selection.eta_max) & (hits >= selection.min_hits_particle)
    if selection.pt_max is not None:
        mask &= pt < selection.pt_max
    if selection.vertex_r_max is not None:
        mask &= vertex_r < selection.vertex_r_max
    if selection.vertex_z_max is not None:
        mask &= np.abs(vertex_z) < selection.vertex_z_max
    if selection.charged_only:
        mask &= table.charge[row] != 0
    if selection.exclude_pdg:
        mask &= ~np.isin(np.abs(table.pdg[row]), np.abs(selection.exclude_pdg))
    return Selected(mask, pt, eta, vertex_r)
