"""What a reader of a validation needs to know of where and with what it was made."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from pathlib import Path

from trkx.export.metadata import utc_time, versions
from trkx.runtime.crew import available_cores
from trkx.runtime.events.event import Event


def facts(level: str, oracle: str, events: Sequence[Event] = (), seconds: float | None = None) -> dict[str, str]:
    """Return name to value, for the head of a report: no path and no name of the machine is among them.

    Args:
        level: how much was done.
        oracle: what files were compared with, in words.
        events: that were used.
        seconds: that it took, None if not measured.
    """
    found = {
        "compared with": oracle,
        "level": level,
        "made": utc_time(),
        "machine": f"{platform.system()} {platform.machine()}, {available_cores()} cores, Python {platform.python_version()}",
        "versions": ", ".join(f"{name} {value}" for name, value in versions().items()),
    }
    if events:
        found["events"] = ", ".join(event_words(event) for event in events)
    if seconds is not None:
        found["took"] = f"{seconds:.0f} s"
    return found


def event_words(event: Event) -> str:
    """Return an event in words: number, first file without folders, hits, truth or not."""
    file = Path(event.source.split(",")[0]).name if event.source else ""
    truth = "with truth" if event.truth is not None else "without truth"
    return f"event {event.event_id} ({f'{file}, ' if file else ''}{len(event)} hits, {truth})"
