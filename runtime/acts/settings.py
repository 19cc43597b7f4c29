"""What a sequence is made of, as data: events, cuts on particles and tracks, the settings of ACTS's own chain."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from trkx.errors import SpecError
from trkx.runtime.simulate.collisions import SIGMA_Z


@dataclass(frozen=True)
class ParticleCuts:
    """Which true particles count, the same for every chain.

    pt_min: GeV. eta_max: of |eta|. vertex_r_max: distance of the production vertex from the beam line, mm.
    min_measurements: that the particle left. Neutral particles never count.
    """

    pt_min: float = 0.9
    eta_max: float = 3.0
    vertex_r_max: float = 24.0
    min_measurements: int = 7

    def describe(self) -> str:
        """Return the cuts in words, one line."""
        return (
            f"charged particles with pT > {self.pt_min:g} GeV, |eta| < {self.eta_max:g}, produced at "
            f"r < {self.vertex_r_max:g} mm, with at least {self.min_measurements} measurements"
        )


@dataclass(frozen=True)
class TrackCuts:
    """Which fitted tracks count, the same for every chain: the values of ACTS's full chain for the generic detector.

    pt_min: GeV. eta_max: of |eta|. d0_max: of |d0|, mm. min_measurements, max_holes, max_outliers: of the fit.
    """

    pt_min: float = 0.5
    eta_max: float = 3.0
    d0_max: float = 4.0
    min_measurements: int = 7
    max_holes: int = 2
    max_outliers: int = 2

    def describe(self) -> str:
        """Return the cuts in words, one line."""
        return (
            f"tracks with pT > {self.pt_min:g} GeV, |eta| < {self.eta_max:g}, |d0| < {self.d0_max:g} mm, at least "
            f"{self.min_measurements} measurements, at most {self.max_holes} holes and {self.max_outliers} outliers"
        )


@dataclass(frozen=True)
class CkfSettings:
    """ACTS's own chain, with the values of its full chain for the generic detector (Examples/Scripts/Python/full_chain_test.py).

    Seeding is ACTS's grid triplet seeding at its defaults, on the pixel layers of `SEEDING_LAYERS`, but for one: seeds point to
    within seed_z_max of the centre of the beam line, mm. ACTS's default is 150, and one collision in 145 of this simulation
    happens further out; it is 5 widths of the beam spot.
    seed_pt_min: lowest pT of a seed, GeV; ACTS's default. chi2_measurement, chi2_outlier: largest chi2 of a measurement, and of
    an outlier. max_candidates: measurements that a branch tries on a surface. max_shared_hits: of a track after ambiguity
    resolution. iterations: of ambiguity resolution.
    """

    seed_pt_min: float = 0.4
    seed_z_max: float = 5.0 * SIGMA_Z
    chi2_measurement: float = 15.0
    chi2_outlier: float = 25.0
    max_candidates: int = 2
    max_shared_hits: int = 3
    iterations: int = 1_000_000


@dataclass(frozen=True)
class SequenceSpec:
    """What is simulated and how it is judged.

    events: number of events. pileup: inelastic collisions beside the top pair. seed: fixes every number. hard: the top pair is
    there. threads: events at a time; every algorithm runs in one thread. merge: hits of a module that are closer than the
    resolution are one measurement, as ACTS's digitisation has it by default and `trkx simulate` has it not.
    """

    events: int = 10
    pileup: int = 50
    seed: int = 1
    hard: bool = True
    threads: int = 1
    merge: bool = False
    particles: ParticleCuts = field(default_factory=ParticleCuts)
    tracks: TrackCuts = field(default_factory=TrackCuts)
    ckf: CkfSettings = field(default_factory=CkfSettings)

    def __post_init__(self) -> None:
        if self.events < 1 or self.threads < 1:
            raise SpecError(f"events and threads must be at least 1, found {self.events} and {self.threads}.")
        if self.pileup < 0 or (self.pileup == 0 and not self.hard):
            raise SpecError(f"pileup must be at least 0 (1 without a hard collision), found {self.pileup}.")
        if not 0 <= self.seed < 2**31:
            raise SpecError(f"seed must lie in [0, 2^31), found {self.seed}.")

    def to_dict(self) -> dict[str, Any]:
        """Return the settings as plain values."""
        return asdict(self)
