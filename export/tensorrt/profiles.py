"""Profiles for TensorRT from events: the bundle's own pipeline runs them, and how many hits and edges each stage saw is kept."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import median_low

from trkx.bundle import FileEntry, file_entry
from trkx.errors import ExportError, SpecError
from trkx.runtime.cuda.tensorrt.profiles import FILE, FORMAT, TARGET, Extent, Measured, Profiles, StageProfile, require_headroom
from trkx.runtime.events.event import Event
from trkx.runtime.pipeline import CHUNK, Pipeline
from trkx.spec import PipelineSpec

HEADROOM = 1.5
"""Factor between the largest event that was looked at and the largest that the engine takes."""
SMALLEST = 16
"""Hits and edges that smaller events are padded to. A builder may take an axis that can be 1 for one to be broadcast."""
STEP = 1024
"""Largest numbers are rounded up to a multiple of this, so that slightly other events make the same engine."""


def measured(folder: Path, events: Iterable[Event]) -> list[Measured]:
    """Return how many hits, candidates and edges events have in the pipeline of a bundle.

    Args:
        folder: the bundle.
        events: read one after the other.

    Raises:
        SpecError: the bundle makes no tracks.
        InputError: events that make no sense.
    """
    pipeline = Pipeline.open(folder)
    found = []
    for event in events:
        stages = {stage.name: stage for stage in pipeline.run(event).stages}
        name = Path(event.source).name if event.source else f"event {event.event_id}"
        candidates = stages["graph"].count_out
        edges = stages["filter"].count_out if "filter" in stages else candidates
        found.append(Measured(name, len(event), candidates, edges))
    return found


def profiles_from(spec: PipelineSpec, events: Sequence[Measured], headroom: float = HEADROOM) -> Profiles:
    """Return the profiles that hold these events and larger ones.

    The filter sees one edge at a time, so it is built for the pieces that the runtime hands it, unless it looks at all rows. A
    network that does can't be padded, so its profile begins at 1.

    Args:
        spec: of the bundle.
        events: at least one.
        headroom: 1 to 100: factor on the largest numbers.

    Raises:
        ExportError: no event, or a headroom that makes no sense.
        SpecError: more hits or edges than the files hold.
    """
    if not events:
        raise ExportError("profiles for TensorRT need at least one event; found none.")
    try:
        require_headroom(headroom)
    except SpecError as error:
        raise ExportError(f"--profile-{error}") from None
    hits = [event.hits for event in events]
    edges = {"filter": [event.candidates for event in events], "gnn": [event.edges for event in events]}
    stages = []
    for stage, network in spec.networks.items():
        smallest = 1 if network.looks_at_all_rows else SMALLEST
        own = None
        if stage in edges:
            pieces = stage == "filter" and not network.looks_at_all_rows
            own = _extent(edges[stage], headroom, smallest, CHUNK if pieces else None)
        stages.append(StageProfile(stage, _extent(hits, headroom, smallest), own))
    return Profiles(tuple(stages), headroom, tuple(events))


def write_profiles(folder: Path, profiles: Profiles) -> FileEntry:
    """Write the profiles into a bundle folder and return their entry."""
    (folder / FILE).write_bytes(profiles.to_json())
    return file_entry(folder, FILE, "all", FORMAT, target=TARGET, note=f"hits and edges of {len(profiles.measured)} event(s)")


def _extent(counts: Sequence[int], headroom: float, smallest: int, piece: int | None = None) -> Extent:
    """Return the extent of an axis. piece: longest that it is cut into, whatever the events have."""
    largest = piece or max(math.ceil(max(counts) * headroom / STEP), 1) * STEP
    return Extent(smallest, min(max(median_low(counts), smallest), largest), largest)
