"""One simulated event, from seed to measured hits with truth; and many of them, on several processes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trkx.errors import MissingExtraError, SpecError
from trkx.runtime.events.event import Event, Particles, Truth
from trkx.runtime.simulate.collisions import SIGMA_Z, Collider, event_seed
from trkx.runtime.simulate.detector import Modules, modules_from_geometry, noise, smear
from trkx.runtime.simulate.propagate import BARCODE, Fatras, quiet


@dataclass(frozen=True)
class SimulationSpec:
    """What is simulated.

    pileup: inelastic collisions beside the hard one. hard: a top pair is there. seed: with the event's number it fixes
    everything. noise_fraction: noise hits as a fraction of all hits. smear: measured positions, else the true ones.
    sigma_z: width of the beam spot along the beam, mm.
    """

    pileup: int
    seed: int = 1
    hard: bool = True
    noise_fraction: float = 0.02
    smear: bool = True
    sigma_z: float = SIGMA_Z

    def __post_init__(self) -> None:
        if self.pileup < 0 or (self.pileup == 0 and not self.hard):
            raise SpecError(f"pileup must be at least 0 (1 without a hard collision), found {self.pileup}.")
        if not 0.0 <= self.noise_fraction < 1.0:
            raise SpecError(f"noise_fraction must lie in [0, 1), found {self.noise_fraction}.")
        if not self.sigma_z >= 0.0:
            raise SpecError(f"sigma_z must be at least 0 mm, found {self.sigma_z}.")
        if not 0 <= self.seed < 2**31:
            raise SpecError(f"seed must lie in [0, 2^31), found {self.seed}.")

    def to_dict(self) -> dict[str, Any]:
        """Return the settings as plain values."""
        return asdict(self)


@cache
def _machinery() -> tuple[Collider, Fatras, Modules]:
    """Return what is slow to start, once a process."""
    try:
        fatras = Fatras()
        return Collider(), fatras, modules_from_geometry(fatras.geometry)
    except ImportError as error:
        message = f'simulation needs pyacts and pythia8mc ({error}); install them: pip install "trkx[simulate]"'
        raise MissingExtraError(message) from error


def simulate_event(spec: SimulationSpec, event_id: int) -> Event:
    """Return event `event_id` of the run: hits with truth, the same on any process and machine.

    Hits are shuffled (their order holds no truth) and hit_id counts from 1. Particle ids count from 1 in the order of
    ACTS's five-part ids. Raises MissingExtraError without the extra `simulate`.
    """
    with quiet():
        collider, fatras, modules = _machinery()
        generated = collider.generate(spec.seed, event_id, spec.pileup, spec.hard, spec.sigma_z)
        hits, particles = fatras.propagate(generated, event_seed(spec.seed, event_id, 4))
    rng = np.random.default_rng(event_seed(spec.seed, event_id, 3))
    barcode = np.stack([particles[name].astype(np.int64) for name in BARCODE], axis=1)
    hit_barcode = np.stack([hits[name].astype(np.int64) for name in BARCODE], axis=1)
    order = np.lexsort(barcode.T[::-1])
    particle_of = _ids(barcode[order], hit_barcode)
    table = Particles(
        particle_id=np.arange(1, len(order) + 1, dtype=np.int64), pdg=particles["particle_type"][order].astype(np.int32),
        charge=particles["q"][order].astype(np.float32), vertex=_columns(particles, "vx", "vy", "vz")[order].astype(np.float32),
        momentum=_columns(particles, "px", "py", "pz")[order].astype(np.float32),
    )
    row = modules.index(hits["geometry_id"].astype(np.uint64))
    position = _columns(hits, "tx", "ty", "tz")
    if spec.smear:
        position = smear(modules, row, position, rng)
    count = round(len(row) * spec.noise_fraction / (1.0 - spec.noise_fraction))
    noise_row, noise_position = noise(modules, count, rng)
    shuffle = rng.permutation(len(row) + count)
    row = np.concatenate([row, noise_row])[shuffle]
    truth = Truth(
        particle_id=np.concatenate([particle_of, np.zeros(count, np.int64)])[shuffle],
        order=np.concatenate([hits["tt"], np.zeros(count)]).astype(np.float32)[shuffle], particles=table,
    )
    return Event(
        event_id=event_id, hit_id=np.arange(1, len(shuffle) + 1, dtype=np.int64),
        position=np.concatenate([position, noise_position])[shuffle].astype(np.float32),
        volume=modules.volume[row], layer=modules.layer[row], module=modules.module[row], truth=truth, source="trkx simulate",
    ).checked()


def _columns(table: dict[str, NDArray[Any]], *names: str) -> NDArray[np.float64]:
    return np.stack([table[name] for name in names], axis=1).astype(np.float64)


def _ids(known: NDArray[np.int64], wanted: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return for each five-part id its place (from 1) among the known ones, which are sorted; 0 where it is not known."""
    pack = np.dtype([(name, np.int64) for name in BARCODE])
    left, right = (np.ascontiguousarray(a).view(pack).ravel() for a in (known, wanted))
    place = np.searchsorted(left, right)
    found = (place < len(left)) & (left[np.minimum(place, len(left) - 1)] == right)
    return np.where(found, place + 1, 0).astype(np.int64)


def simulate_to_parquet(spec: SimulationSpec, event_id: int, folder: Path) -> tuple[int, int]:
    """Write one event as Parquet, and return (event_id, hits)."""
    from trkx.runtime.events.parquet import write_event_parquet

    event = simulate_event(spec, event_id)
    write_event_parquet(folder, event, {"simulation": spec.to_dict()})
    return event_id, len(event)


def simulate_to_trackml(spec: SimulationSpec, event_id: int, folder: Path) -> tuple[int, int]:
    """Write one event as TrackML CSV, which does not hold times and settings, and return (event_id, hits)."""
    from trkx.runtime.events.trackml import write_event_trackml

    event = simulate_event(spec, event_id)
    write_event_trackml(folder, event)
    return event_id, len(event)


def simulate(spec: SimulationSpec, events: range, folder: Path, processes: int = 1,
             write: Callable[[SimulationSpec, int, Path], tuple[int, int]] = simulate_to_parquet) -> Iterator[tuple[int, int]]:
    """Write events (Parquet if not said otherwise) and yield (event_id, hits) as each is done, the same for any `processes`."""
    if processes <= 1 or len(events) <= 1:
        yield from (write(spec, event_id, folder) for event_id in events)
        return
    with ProcessPoolExecutor(min(processes, len(events)), mp_context=get_context("spawn")) as pool:
        futures = [pool.submit(write, spec, event_id, folder) for event_id in events]
        try:
            for future in as_completed(futures):
                yield future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
