"""trkx's own evaluation of its proto tracks, on the truth of the sequence: to be compared with ACTS's verdict."""

from __future__ import annotations

import threading
from typing import Any

import acts
import acts.examples as examples
import numpy as np
from numpy.typing import NDArray

from trkx.runtime.acts.chains import ALL_POINTS, PROTO_TRACKS
from trkx.runtime.acts.hits import Needs, hits_from_space_points
from trkx.runtime.acts.settings import ParticleCuts
from trkx.runtime.acts.simulation import PARTICLES, PARTICLES_OF_MEASUREMENTS
from trkx.runtime.events.barcodes import pack
from trkx.runtime.events.event import Event, Particles, Truth
from trkx.runtime.metrics.report import Report, evaluate_event
from trkx.runtime.metrics.selection import Selection
from trkx.runtime.tracks import Tracks

Int = NDArray[np.int64]


class OwnEvaluation(examples.IAlgorithm):  # type: ignore[misc]
    """Judges proto tracks with `trkx evaluate`'s definitions; `report` holds the sum over events."""

    def __init__(self, cuts: ParticleCuts, min_hits_track: int) -> None:
        """cuts: of the particles that count. min_hits_track: shorter proto tracks count nowhere."""
        examples.IAlgorithm.__init__(self, "TrkxEvaluation", acts.logging.ERROR)
        self._points = _reads(self, acts.SpacePointContainer, "InputSpacePoints", ALL_POINTS)
        self._tracks = _reads(self, examples.ProtoTrackContainer, "InputProtoTracks", PROTO_TRACKS)
        self._particles = _reads(self, examples.SimParticleContainer, "InputParticles", PARTICLES)
        self._makers = _reads(self, examples.MeasurementParticlesMap, "InputMakers", PARTICLES_OF_MEASUREMENTS)
        selection = Selection(
            pt_min=cuts.pt_min, eta_max=cuts.eta_max, vertex_r_max=cuts.vertex_r_max, min_hits_particle=cuts.min_measurements,
            min_hits_track=min_hits_track,
        )  # fmt: skip
        self._lock = threading.Lock()
        self.report = Report(selection)

    def execute(self, context: Any) -> Any:
        """Judge one event."""
        store = context.eventStore
        hits = hits_from_space_points(self._points(store), int(context.eventNumber), Needs(False, ()), strips=False)
        event = hits.event
        truth = _truth(self._particles(store), self._makers(store), hits.measurement)
        judged = Event(event.event_id, hits.measurement, event.position, truth=truth, source=event.source).checked()
        label = -np.arange(1, len(judged) + 1, dtype=np.int64)
        row = {measurement: place for place, measurement in enumerate(hits.measurement.tolist())}
        for number, track in enumerate(self._tracks(store)):
            label[[row[index] for index in track]] = number
        report = evaluate_event(judged, Tracks(event.event_id, judged.hit_id, label), self.report.selection)
        with self._lock:
            self.report = self.report.merge(report)
        return examples.ProcessCode.SUCCESS


def _reads(parent: Any, kind: Any, name: str, key: str) -> Any:
    handle = examples.ReadDataHandle(parent, kind, name)
    handle.initialize(key)
    return handle


def _truth(particles: Any, makers: Any, measurement: Int) -> Truth:
    """Return the truth of measurements, int64 [N]: ids packed of ACTS's five parts. Times are not read, so `order` is 0."""
    rows = list(particles)
    barcode = np.array([_parts(row.particleId) for row in rows], np.int64).reshape(len(rows), 5)
    made: dict[int, Any] = {}
    for index, particle in makers:
        made.setdefault(index, particle)  # of merged hits the first listed counts, as in events read from files
    maker = np.array([_parts(made[index]) if index in made else (0,) * 5 for index in measurement.tolist()], np.int64)
    table = Particles(
        particle_id=pack(barcode), pdg=np.array([int(row.pdg) for row in rows], np.int32),
        charge=np.array([row.charge for row in rows], np.float32),
        vertex=np.array([tuple(row.position) for row in rows], np.float32).reshape(len(rows), 3),
        momentum=np.array([tuple(row.momentum) for row in rows], np.float32).reshape(len(rows), 3),
    )  # fmt: skip
    return Truth(pack(maker.reshape(len(measurement), 5)), np.zeros(len(measurement), np.float32), particles=table)


def _parts(barcode: Any) -> tuple[int, int, int, int, int]:
    return barcode.vertexPrimary, barcode.vertexSecondary, barcode.particle, barcode.generation, barcode.subParticle
