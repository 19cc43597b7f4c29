"""Small events of real shape: slices in phi of the events in tests/data/pileup50."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from trkx.runtime.events import Event, open_events

FOLDER = Path(__file__).parents[1] / "data" / "pileup50"


def small_events(count: int) -> list[Event]:
    """Return events 1 … count of 200 to 1500 hits, all different."""
    whole = [source.read() for source in open_events(FOLDER)]
    made = []
    for number, hits in enumerate(np.geomspace(200, 1500, count).astype(int)):
        event = whole[number % len(whole)]
        phi = np.arctan2(event.position[:, 1], event.position[:, 0])
        rows = np.sort(np.argsort(np.abs(phi - 0.25 * (number % 12)), kind="stable")[:hits])
        made.append(Event(number + 1, event.hit_id[rows], event.position[rows], source=f"slices/{number + 1}"))
    return made
