"""What comes back for one event: its tracks, and as much of the event as the writers need."""

from __future__ import annotations

from dataclasses import dataclass

from trkx.runtime.events import Event
from trkx.runtime.tracks import Tracks


@dataclass(frozen=True)
class Found:
    """Tracks of one event.

    event: hit ids and positions only, so that an answer that waits for its turn holds 36 bytes a hit and no more.
    """

    event: Event
    tracks: Tracks


def hits_of(event: Event) -> Event:
    """Return an event with hit ids and positions and nothing else."""
    return Event(event.event_id, event.hit_id, event.position, source=event.source)
