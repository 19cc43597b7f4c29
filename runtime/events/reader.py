"""Where events are: finds them in folders and file lists, tells their formats apart, reads them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from types import MappingProxyType
from typing import Literal

from trkx.errors import InputError
from trkx.runtime.events.event import Event
from trkx.runtime.events.tables import read_header

Format = Literal["trackml", "acts", "parquet"]
Listing = Mapping[tuple[int, str], Mapping[str, Path]]
"""Event files of a folder: event id and family ("csv" or "parquet") to stem to path."""
NAME = re.compile(r"event(\d+)-([A-Za-z0-9_-]+)\.(csv|csv\.gz|parquet)")
MAX_EVENT_ID = (1 << 63) - 1  # outputs hold event ids as int64
ACTS_HITS = ("spacepoint", "spacepoints", "measurements", "simhits", "hits")  # what may serve as hits, best first
LOOKED_FOR = (
    "event<number>-hits.parquet (trkx), event<number>-hits.csv or .csv.gz (TrackML), "
    "event<number>-spacepoint.csv, -measurements.csv, -simhits.csv or -hits.csv (ACTS); folders in folders are not searched"
)
READERS: Mapping[Format, str] = MappingProxyType(
    {"trackml": "trkx.runtime.events.trackml", "acts": "trkx.runtime.events.acts", "parquet": "trkx.runtime.events.parquet"}
)


@dataclass(frozen=True)
class EventSource:
    """The files of one event, not yet read.

    event_id: from the files' names. format: "trackml", "acts" or "parquet". files: what each holds ("hits", "truth",
    "measurements", …) to its path.
    """

    event_id: int
    format: Format
    files: Mapping[str, Path]

    def read(self) -> Event:
        """Return the event; InputError says which file is wrong, and how."""
        reader = import_module(READERS[self.format])
        event: Event = reader.read(self.event_id, self.files)
        return event


def open_events(paths: str | Path | Iterable[str | Path]) -> list[EventSource]:
    """Return the events in folders and files, sorted by event id. Nothing but headers is read yet.

    Args:
        paths: folders (not searched deeper) and files. A file stands for its event, with the files beside it that belong
            to it; an ACTS file of space points, measurements or simulated hits also says which of them are the hits.

    Raises:
        InputError: a path that does not exist, no event, an event id that occurs twice or does not fit into int64, a folder
            that holds an event in two formats or a file under two spellings of its number (event1, event000000001).
    """
    given = [Path(paths)] if isinstance(paths, str | Path) else [Path(path) for path in paths]
    found: dict[tuple[Path, int], EventSource] = {}
    listed = cache(_files)  # thousands of files may be named, all of one folder
    for path in given:
        if not path.exists():
            raise InputError(f"{path}: no such file or folder.")
        for source in _in_folder(path, listed(path)) if path.is_dir() else [_of_file(path, listed(path.parent))]:
            key = (next(iter(source.files.values())).parent.resolve(), source.event_id)
            if key not in found or not path.is_dir():
                found[key] = source
    if not found:
        raise InputError(f"no events in {', '.join(map(str, given)) or 'an empty list'}; looked for {LOOKED_FOR}.")
    sources = sorted(found.values(), key=lambda source: source.event_id)
    for one, two in pairwise(sources):
        if one.event_id == two.event_id:
            where = " and ".join(str(next(iter(source.files.values())).parent) for source in (one, two))
            raise InputError(f"event {one.event_id} occurs twice, in {where}; outputs would overwrite each other, so read one.")
    return sources


def read_event(path: str | Path) -> Event:
    """Return the one event that a file or folder holds; InputError if there are several."""
    sources = open_events(path)
    if len(sources) > 1:
        ids = ", ".join(str(source.event_id) for source in sources[:5])
        raise InputError(f"{path}: expected one event, found {len(sources)} ({ids}, …); name a file of one of them.")
    return sources[0].read()


def _in_folder(folder: Path, events: Listing) -> list[EventSource]:
    sources = []
    for (event_id, _), files in events.items():
        if all(_has_hits(events.get((event_id, kind), {})) for kind in ("csv", "parquet")):
            raise InputError(f"{folder}: holds event {event_id} as Parquet and as CSV; name the files of the one that is meant.")
        if _has_hits(files):
            sources.append(EventSource(event_id, _format(files), MappingProxyType(files)))
    return sources


def _of_file(path: Path, events: Listing) -> EventSource:
    match = NAME.fullmatch(path.name)
    if not match:
        raise InputError(f"{path}: not the name of an event file; expected {LOOKED_FOR}.")
    event_id = _number(path, match[1])
    files = dict(events[event_id, _family(match[3])])
    files[match[2]] = path
    if match[2] in ACTS_HITS:
        for better in ACTS_HITS[: ACTS_HITS.index(match[2])]:
            files.pop(better, None)
    if not _has_hits(files):
        known = ", ".join(sorted(files))
        raise InputError(f"{path}: event {event_id} has no hits here, only {known}; looked for {LOOKED_FOR}.")
    return EventSource(event_id, _format(files), MappingProxyType(files))


def _files(folder: Path) -> Listing:
    """Return the event files of a folder."""
    try:
        names = sorted(folder.iterdir())
    except OSError as error:
        raise InputError(f"{folder}: could not be read ({error.strerror or error}).") from None
    events: dict[tuple[int, str], dict[str, Path]] = {}
    for path in names:
        if match := NAME.fullmatch(path.name):
            files = events.setdefault((_number(path, match[1]), _family(match[3])), {})
            other = files.setdefault(match[2], path)  # sorted: .csv comes before .csv.gz
            if other.name.split("-")[0] != path.name.split("-")[0]:
                raise InputError(
                    f"{folder}: {other.name} and {path.name} are both event {int(match[1])}; move away the one that is not meant."
                )
    return events


def _number(path: Path, digits: str) -> int:
    if int(digits) > MAX_EVENT_ID:
        raise InputError(f"{path}: event ids must be at most {MAX_EVENT_ID} (int64), found {digits}; rename the file.")
    return int(digits)


def _family(suffix: str) -> str:
    return "parquet" if suffix == "parquet" else "csv"


def _has_hits(files: Mapping[str, Path]) -> bool:
    if any(path.suffix == ".parquet" for path in files.values()):
        return "hits" in files
    return any(name in files for name in ACTS_HITS)


def _format(files: Mapping[str, Path]) -> Format:
    first = next(name for name in ACTS_HITS if name in files)
    if files[first].suffix == ".parquet":
        return "parquet"
    if first != "hits":
        return "acts"
    return "acts" if "tx" in read_header(files["hits"]) else "trackml"
