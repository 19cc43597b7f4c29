"""Sequences of ACTS for tests: muons at known angles through the generic detector, without Pythia."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from trkx.runtime.events.event import Event
from trkx.runtime.pipeline import Pipeline
from trkx.runtime.simulate.collisions import Generated
from trkx.runtime.tracks import StageReport, Tracks

MUON, MUON_MASS = 13, 0.10566


def muons(count: int, pt: float = 20.0, seed: int = 1, eta_max: float = 2.0) -> Generated:
    """Return muons from the origin at equal distances in phi, with |eta| below a limit; pt in GeV."""
    rng = np.random.default_rng(seed)
    phi, eta = 2.0 * np.pi * np.arange(count) / max(count, 1), rng.uniform(-eta_max, eta_max, count)
    barcode = np.zeros((count, 5), np.int64)
    barcode[:, 0], barcode[:, 2] = 1, np.arange(1, count + 1)
    momentum = pt * np.stack([np.cos(phi), np.sin(phi), np.sinh(eta)], axis=1)
    return Generated(
        barcode, np.full(count, MUON), np.zeros((count, 3)), momentum, np.full(count, MUON_MASS), np.full(count, -1.0)
    )


class Gun:
    """Stands for `Collider`: as many muons as `pileup` says, whatever else is asked for."""

    def generate(self, seed: int, event_id: int, pileup: int, hard: bool = True) -> Generated:
        return muons(pileup, seed=seed + event_id)


class PhiFinder(Pipeline):
    """Stands for a pipeline: hits in the same of `count` sectors in phi are a track; `spoil` then changes the labels."""

    def __init__(self, spec, count: int, spoil=lambda event, label: label) -> None:
        super().__init__(spec, engine=None, threads=1)
        self.count, self.spoil = count, spoil

    def run(self, event: Event, keep_graphs: bool = False) -> Tracks:
        phi = np.arctan2(event.position[:, 1], event.position[:, 0].astype(np.float64))
        label = np.rint(phi / (2.0 * np.pi) * self.count).astype(np.int64) % self.count
        return Tracks(event.event_id, event.hit_id, self.spoil(event, label), 3, (StageReport("all", 0.0, 0, 0, 0, "hits"),))


def write_guns(folder: Path, guns: list[Generated]) -> Path:
    """Write particles of several events where a sequence reads them."""
    from trkx.runtime.simulate.propagate import write_particles

    folder.mkdir(parents=True, exist_ok=True)
    for number, generated in enumerate(guns):
        write_particles(folder / f"event{number:09d}-particles.csv", generated)
    return folder
