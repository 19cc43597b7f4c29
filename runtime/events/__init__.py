"""Events: what they are, and how they are read and written. pyarrow is imported when the first file is."""

from trkx.runtime.events.event import Event, Particles, Truth
from trkx.runtime.events.parquet import write_event_parquet
from trkx.runtime.events.reader import EventSource, open_events, read_event
from trkx.runtime.events.trackml import write_event_trackml
from trkx.runtime.events.writers import write_prototracks, write_trackml_submission, write_tracks_parquet

__all__ = [
    "Event",
    "EventSource",
    "Particles",
    "Truth",
    "open_events",
    "read_event",
    "write_event_parquet",
    "write_event_trackml",
    "write_prototracks",
    "write_trackml_submission",
    "write_tracks_parquet",
]
