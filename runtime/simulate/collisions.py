"""Proton collisions at 14 TeV with Pythia 8: one top pair and Poisson-free pile-up, as particles at their vertices."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Beam spot of the TrackML challenge (mm): Gaussian in z and in the transverse plane.
SIGMA_Z = 55.5
SIGMA_XY = 0.0125
ETA_MAX = 4.0
PHOTON = 22
PHOTON_PT_MIN = 0.1


@dataclass(frozen=True)
class Generated:
    """Stable particles of one event that the detector may see.

    barcode: int64 [P, 5], ACTS's particle id (primary vertex, secondary vertex, particle, generation, sub-particle).
    pdg: int64 [P]. vertex: float64 [P, 3], mm. momentum: float64 [P, 3], GeV. mass: float64 [P], GeV. charge: float64 [P].
    """

    barcode: NDArray[np.int64]
    pdg: NDArray[np.int64]
    vertex: NDArray[np.float64]
    momentum: NDArray[np.float64]
    mass: NDArray[np.float64]
    charge: NDArray[np.float64]


def event_seed(seed: int, event_id: int, purpose: int) -> int:
    """Return a seed in [1, 9e8) that depends on run seed, event and purpose only: any process may make any event."""
    return 1 + int(np.random.SeedSequence([seed, event_id, purpose]).generate_state(1, np.uint64)[0] % 899_999_999)


class Collider:
    """Two Pythia instances, one for the hard process and one for pile-up, seeded anew for every event.

    Pythia keeps no memory between events here (maxima found at start-up are not raised, which is its default), so an event
    depends on its seed alone.
    """

    def __init__(self) -> None:
        import pythia8mc

        def instance(*settings: str) -> Any:
            pythia = pythia8mc.Pythia("", False)
            for setting in ("Beams:eCM = 14000.", "Print:quiet = on", "Random:setSeed = on", "Random:seed = 1", *settings):
                pythia.readString(setting)
            pythia.init()
            return pythia

        self._hard = instance("Top:gg2ttbar = on", "Top:qqbar2ttbar = on")
        self._soft = instance("SoftQCD:inelastic = on")

    def generate(self, seed: int, event_id: int, pileup: int, hard: bool = True, sigma_z: float = SIGMA_Z) -> Generated:
        """Return one event: a top pair if `hard`, and exactly `pileup` inelastic collisions, spread by `sigma_z` (mm) in z."""
        self._hard.rndm.init(event_seed(seed, event_id, 0))
        self._soft.rndm.init(event_seed(seed, event_id, 1))
        beam_spot = np.random.default_rng(event_seed(seed, event_id, 2))
        rows: list[tuple[float, ...]] = []
        for index in range(pileup + int(hard)):
            pythia = self._hard if hard and index == 0 else self._soft
            while not pythia.next():
                pass
            place = beam_spot.normal(0.0, (SIGMA_XY, SIGMA_XY, sigma_z))
            rows += _stable(pythia.event, index + 1, place)
        table = np.array(rows, dtype=np.float64).reshape(len(rows), 13)
        return Generated(
            barcode=table[:, :5].astype(np.int64), pdg=table[:, 5].astype(np.int64), vertex=table[:, 6:9],
            momentum=table[:, 9:12], mass=_masses(pythia, table[:, 5]), charge=table[:, 12] / 3.0,
        ) if len(rows) else _nothing()


def _nothing() -> Generated:
    none = np.zeros((0, 3))
    return Generated(np.zeros((0, 5), np.int64), np.zeros(0, np.int64), none, none, np.zeros(0), np.zeros(0))


def _masses(pythia: Any, pdg: NDArray[np.float64]) -> NDArray[np.float64]:
    kinds, inverse = np.unique(pdg.astype(np.int64), return_inverse=True)
    return np.array([pythia.particleData.m0(int(kind)) for kind in kinds])[inverse]


def _stable(event: Any, primary: int, place: NDArray[np.float64]) -> list[tuple[float, ...]]:
    """Return charged final particles and photons in |eta| < ETA_MAX; displaced vertices are numbered as secondary."""
    rows: list[tuple[float, ...]] = []
    secondary: dict[tuple[float, float, float], int] = {}
    number = 0
    for index in range(1, event.size()):
        particle = event[index]
        if not particle.isFinal():
            continue
        charge = particle.chargeType()
        if charge == 0 and (particle.id() != PHOTON or particle.pT() < PHOTON_PT_MIN):
            continue
        if abs(particle.eta()) > ETA_MAX:
            continue
        at = (particle.xProd(), particle.yProd(), particle.zProd())
        vertex = 0
        if at[0] ** 2 + at[1] ** 2 + at[2] ** 2 > 1e-12:
            vertex = secondary.setdefault(at, len(secondary) + 1)
        number += 1
        rows.append((
            primary, vertex, number, 0, 0, particle.id(), at[0] + place[0], at[1] + place[1], at[2] + place[2],
            particle.px(), particle.py(), particle.pz(), charge,
        ))
    return rows
