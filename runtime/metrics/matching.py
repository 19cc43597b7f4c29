"""Tracks against particles: who owns a track, by which rule it is found, fake or a duplicate."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from trkx.errors import InputError, unknown_name

Int = NDArray[np.int64]
Bool = NDArray[np.bool_]

RULES: Mapping[str, str] = MappingProxyType(
    {
        "double_majority": "more than 50 % of the track's hits are the particle's, and more than 50 % of the particle's are its",
        "lhc": "at least 75 % of the track's hits are the particle's",
        "perfect": "the track's hits are exactly the particle's hits",
        "atlas": "match probability above 0.5: more than 50 % of the track's hits are the particle's",
    }
)
"""Rules by which a track finds a particle. All hits weigh the same, and all hits of the event count.

Sources: double majority is the criterion of the TrackML score (Amrouche et al., arXiv:1904.06778, section 4) and the "two-way"
matching of acorn's evaluation; the ATLAS rule is acorn's "ATLAS" matching (ATLAS itself weighs pixel and strip hits
differently, ATL-PHYS-PUB-2015-018); 75 % of the track's hits is the one-sided rule usual in LHC experiments.
"""

RATES: Mapping[str, str] = MappingProxyType(
    {
        "fake": "tracks of which no particle owns more than 50 % of the hits (noise hits count in the denominator)",
        "unmatched": "tracks that double-majority match no particle, selected or not; fakes and fragments of long particles",
        "duplicate": "tracks that match a particle by the ATLAS rule which another, better track matches already",
    }
)
"""Fractions of all tracks that are long enough, whatever particle they belong to."""


@dataclass(frozen=True)
class Matching:
    """Tracks and particles of one event, and what they share.

    track: track ids, int64 [T], ascending. hits: hits of each track, int64 [T]. owner: row of the particle that owns most of
    the track's hits (ties: the lower particle id), int64 [T], -1 if all of them are noise. shared: hits that track and
    owner have in common, int64 [T]. particle: ids of particles with hits, int64 [P], ascending, noise not among them.
    particle_hits: hits of each particle in the whole event, int64 [P].
    """

    track: Int
    hits: Int
    owner: Int
    shared: Int
    particle: Int
    particle_hits: Int

    @property
    def purity(self) -> NDArray[np.float64]:
        """Fraction of each track's hits that its owner left, float64 [T]."""
        return self.shared / np.maximum(self.hits, 1)

    def matched(self, rule: str) -> Bool:
        """Return which tracks match their owner by a rule of `RULES`, bool [T]."""
        of_owner: Int = np.append(self.particle_hits, 0)[self.owner]
        if rule == "double_majority":
            good = (2 * self.shared > self.hits) & (2 * self.shared > of_owner)
        elif rule == "lhc":
            good = 4 * self.shared >= 3 * self.hits
        elif rule == "perfect":
            good = (self.shared == self.hits) & (self.shared == of_owner)
        elif rule == "atlas":
            good = 2 * self.shared > self.hits
        else:
            raise InputError(unknown_name("matching rule", rule, RULES))
        return good & (self.owner >= 0)

    def found(self, rule: str) -> Bool:
        """Return which particles at least one track matches by a rule, bool [P]."""
        found = np.zeros(len(self.particle), dtype=bool)
        found[self.owner[self.matched(rule)]] = True
        return found

    def fakes(self) -> Bool:
        """Return which tracks are fake: no particle owns more than half of their hits, bool [T]."""
        return 2 * self.shared <= self.hits

    def unmatched(self) -> Bool:
        """Return which tracks double-majority match no particle, bool [T]; every fake is among them."""
        return ~self.matched("double_majority")

    def duplicates(self) -> Bool:
        """Return which tracks repeat a particle, bool [T].

        Of the tracks that match one particle by the ATLAS rule the best is the one that shares most hits with it, then the
        one with fewest hits, then the one of lowest id; the others are duplicates.
        """
        rows = np.flatnonzero(self.matched("atlas"))
        rows = rows[np.lexsort((rows, self.hits[rows], -self.shared[rows], self.owner[rows]))]
        again = np.zeros(len(rows), dtype=bool)
        again[1:] = self.owner[rows[1:]] == self.owner[rows[:-1]]
        duplicates = np.zeros(len(self.track), dtype=bool)
        duplicates[rows[again]] = True
        return duplicates


def match_tracks(track_id: Int, particle_id: Int, min_hits: int = 1) -> Matching:
    """Match tracks to particles by the hits that they share.

    Args:
        track_id: track of each hit, int64 [N], negative for a hit in no track.
        particle_id: particle of each hit, int64 [N], 0 for noise.
        min_hits: tracks with fewer hits are left out. Particles never are.

    Raises:
        InputError: arrays of different lengths.
    """
    if track_id.shape != particle_id.shape or track_id.ndim != 1:
        shapes = f"{list(track_id.shape)} and {list(particle_id.shape)}"
        raise InputError(f"match_tracks: expected a track and a particle of each hit, found shapes {shapes}.")
    ids, column, counts = np.unique(particle_id, return_inverse=True, return_counts=True)
    on_track = np.flatnonzero(track_id >= 0)
    track, row, hits = np.unique(track_id[on_track], return_inverse=True, return_counts=True)

    # One entry for each (track, particle) that share hits, ascending by track, then particle id.
    cell, shared = np.unique(row * max(len(ids), 1) + column[on_track], return_counts=True)
    cell_track, cell_particle = np.divmod(cell, max(len(ids), 1))
    real = ids[cell_particle] != 0
    cell_track, cell_particle, shared = cell_track[real], cell_particle[real], shared[real]

    # Best entry of each track: most shared hits, then the lower particle id, written last.
    best = np.lexsort((-cell_particle, shared, cell_track))
    owner, owned = np.full(len(track), -1, dtype=np.int64), np.zeros(len(track), dtype=np.int64)
    last = best[np.flatnonzero(np.append(cell_track[best][1:] != cell_track[best][:-1], True))] if len(best) else best
    noise = np.searchsorted(ids, 0)
    has_noise = noise < len(ids) and ids[noise] == 0
    owner[cell_track[last]] = cell_particle[last] - (has_noise & (cell_particle[last] > noise))
    owned[cell_track[last]] = shared[last]
    keep, is_particle = hits >= min_hits, ids != 0
    return Matching(track[keep], hits[keep], owner[keep], owned[keep], ids[is_particle], counts[is_particle])
