"""Small events with truth for tests of metrics: hits are given by the particle that left them, in the order of its path."""

import numpy as np

from trkx.runtime.events.event import Event, Particles, Truth
from trkx.runtime.tracks import Tracks


def event_of(particle_of_hit, *, event_id=1, pt=None, eta=None, charge=None, vertex=None, weight=None, order=None, table=True):
    """Return an event whose hit i belongs to particle_of_hit[i]; pt, eta, charge, vertex: by particle id."""
    particle = np.asarray(particle_of_hit, dtype=np.int64)
    count = len(particle)
    ids = np.unique(particle[particle != 0])
    angle = 0.3 * particle
    radius = 30.0 + 40.0 * np.arange(count)
    position = np.stack([radius * np.cos(angle), radius * np.sin(angle), 5.0 * radius], axis=1).astype(np.float32)

    def by_id(values, default):
        return np.array([(values or {}).get(int(i), default) for i in ids], dtype=np.float32)

    pts, etas = by_id(pt, 2.0), by_id(eta, 0.5)
    particles = Particles(
        particle_id=ids,
        pdg=np.full(len(ids), 211, dtype=np.int32),
        charge=by_id(charge, 1.0),
        vertex=np.stack([by_id(vertex, 0.0), np.zeros(len(ids)), np.zeros(len(ids))], axis=1).astype(np.float32),
        momentum=np.stack([pts, np.zeros(len(ids)), pts * np.sinh(etas)], axis=1).astype(np.float32),
    )
    truth = Truth(
        particle_id=particle,
        order=np.arange(count, dtype=np.float32) if order is None else np.asarray(order, dtype=np.float32),
        weight=None if weight is None else np.asarray(weight, dtype=np.float32),
        particles=particles if table else None,
    )
    return Event(event_id, 10 * np.arange(count, dtype=np.int64) + 7, position, truth=truth, source="toy").checked()


def tracks_of(event, label, min_hits=1, graphs=None):
    """Return tracks with the given component of each hit."""
    return Tracks(event.event_id, event.hit_id, np.asarray(label, dtype=np.int64), min_hits, graphs=graphs or {})


def random_case(rng, hits=60):
    """Return (track of each hit, particle of each hit) with noise, hits in no track, ties, merged and split tracks."""
    return rng.integers(-1, 9, hits), rng.integers(0, 9, hits) * 1000
