"""Events of a wanted size: sectors of one event, or several copies of it on top of each other."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from trkx.errors import InputError
from trkx.runtime.events.event import Event

Real = NDArray[np.float64]
GOLDEN = 2.399963229728653  # rad: copies turned by multiples of it never fall on each other


def resized(event: Event, hits: int) -> Event:
    """Return an event of about so many hits: hits per area as they are for fewer, doubled, tripled … for more.

    Fewer: the hits of a sector in azimuth, so that tracks stay whole and candidates per hit stay what they are. More: copies of
    the event, turned in azimuth and mirrored along the beam by turns, laid over each other as pile-up would be; as many as come
    nearest to `hits`, then a sector of them if they are too many. Truth, modules and cells: cells are kept, the others dropped.

    Raises:
        InputError: no hits to make it of, or fewer than one wanted.
    """
    if hits < 1 or len(event) == 0:
        raise InputError(f"benchmark: expected at least 1 hit, found {len(event)} in the event and {hits} wanted.")
    copies = max(1, round(hits / len(event)))
    position = np.concatenate([_turned(event.position.astype(np.float64), number) for number in range(copies)])
    cells = {name: np.tile(values, copies) for name, values in event.cells.items()}
    if len(position) > hits:
        azimuth = np.arctan2(position[:, 1], position[:, 0])
        keep = np.sort(np.argsort(np.abs(azimuth), kind="stable")[:hits])
        position, cells = position[keep], {name: values[keep] for name, values in cells.items()}
    source = f"{event.source}, {len(position)} hits" if event.source else f"{len(position)} hits"
    return Event(event.event_id, np.arange(len(position)), position.astype(np.float32), cells=cells, source=source)


def _turned(position: Real, number: int) -> Real:
    angle = number * GOLDEN
    turn = np.array([[np.cos(angle), np.sin(angle), 0.0], [-np.sin(angle), np.cos(angle), 0.0], [0.0, 0.0, (-1.0) ** number]])
    turned: Real = position @ turn
    return turned


def events_of_sizes(event: Event, sizes: tuple[int, ...]) -> list[Event]:
    """Return the event in each size, or as it is if there are none."""
    return [resized(event, hits) for hits in sizes] if sizes else [event]
