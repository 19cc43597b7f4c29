"""Tracks read back from files: Parquet, TrackML submission CSV, ACTS prototracks CSV."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from trkx.errors import InputError
from trkx.runtime.events.tables import read_csv, read_header

Int = NDArray[np.int64]
NAME = re.compile(r"event(\d+)-(tracks\.parquet|prototracks\.csv(\.gz)?)")
LOOKED_FOR = (
    "event<number>-tracks.parquet (trkx), a CSV with the columns event_id, hit_id, track_id (TrackML submission), "
    "event<number>-prototracks.csv (ACTS)"
)


@dataclass(frozen=True)
class WrittenTracks:
    """Tracks of one event as a file holds them.

    hit_id: hits that the file names, int64 [N']. track_id: the track of each, int64 [N'], -1 for none.
    """

    event_id: int
    hit_id: Int
    track_id: Int
    graphs: Mapping[str, Int] = field(default_factory=dict)


@dataclass(frozen=True)
class TrackFiles:
    """Which file holds the tracks of which event. files: event id to path."""

    files: Mapping[int, Path]

    def read(self, event_id: int, num_hits: int | None = None) -> WrittenTracks:
        """Return the tracks of one event.

        Args:
            event_id: number of the event.
            num_hits: hits of the event; compared with the number that a Parquet file of trkx says its event had.

        Raises:
            InputError: no file holds the event, a file is damaged or lacks a column, a hit is on two tracks, the tracks of
                another event (its number of hits differs).
        """
        if event_id not in self.files:
            known = ", ".join(str(number) for number in sorted(self.files)[:8])
            raise InputError(f"no track file holds event {event_id}; they hold event(s) {known}. Run trkx run on it first.")
        path = self.files[event_id]
        hit_id, track_id = _read_parquet(path, num_hits) if path.suffix == ".parquet" else _read_csv(path, event_id)
        ids, counts = np.unique(hit_id, return_counts=True)
        if (counts > 1).any():
            first = int(ids[np.argmax(counts > 1)])
            raise InputError(
                f"{path}: event {event_id}: {int((counts > 1).sum())} hit(s) are named more than once, the first is hit_id "
                f"{first}; a hit may be on one track only: resolve shared hits before evaluating."
            )
        return WrittenTracks(event_id, hit_id, track_id)


def open_tracks(path: Path) -> TrackFiles:
    """Find the tracks in a file or folder (not searched deeper).

    Raises:
        InputError: nothing there, no track file, or an event that two files hold.
    """
    if not path.exists():
        raise InputError(f"{path}: no such file or folder.")
    candidates = sorted(path.iterdir()) if path.is_dir() else [path]
    files: dict[int, Path] = {}
    for file in candidates:
        for event_id in _events_of(file):
            if event_id in files:
                both = f"{files[event_id].name} and {file.name}"
                raise InputError(f"{path}: both {both} hold event {event_id}; name the one that is meant.")
            files[event_id] = file
    if not files:
        raise InputError(f"{path}: no tracks and no bundle found; looked for bundle.json, {LOOKED_FOR}.")
    return TrackFiles(files)


def _events_of(path: Path) -> list[int]:
    if match := NAME.fullmatch(path.name):
        return [int(match[1])]
    if path.is_file() and re.search(r"\.csv(\.gz)?$", path.name) and {"event_id", "hit_id", "track_id"} <= set(read_header(path)):
        return [int(number) for number in np.unique(_submission(path, path.stat().st_mtime_ns)[0])]
    return []


@lru_cache(maxsize=1)
def _submission(path: Path, _written: int) -> tuple[Int, Int, Int]:
    columns = read_csv(path, {"event_id": "int64", "hit_id": "int64", "track_id": "int64"})
    return columns["event_id"], columns["hit_id"], columns["track_id"]


def _read_csv(path: Path, event_id: int) -> tuple[Int, Int]:
    if NAME.fullmatch(path.name):
        columns = read_csv(path, {"trackId": "int64", "measurementId": "int64"})
        return columns["measurementId"], columns["trackId"]
    events, hit_id, track_id = _submission(path, path.stat().st_mtime_ns)
    rows = events == event_id
    return hit_id[rows], np.where(track_id[rows] > 0, track_id[rows], -1)


def _read_parquet(path: Path, num_hits: int | None) -> tuple[Int, Int]:
    import pyarrow as pa
    from pyarrow import parquet

    try:
        table = parquet.read_table(path, columns=["track_id", "hit_ids"], partitioning=None)
        if missing := [name for name in ("track_id", "hit_ids") if name not in table.column_names]:
            raise InputError(f"{path}: missing column {', '.join(missing)}; expected track_id and hit_ids, one row a track.")
        written = (table.schema.metadata or {}).get(b"trkx.num_hits", b"").decode(errors="replace")
        if written and num_hits is not None and written != str(num_hits):
            raise InputError(
                f"{path}: tracks of another event: made from {written} hits, but the event has {num_hits}; give the events that "
                "the tracks were made from."
            )
        hits = table.column("hit_ids").cast(pa.list_(pa.int64())).combine_chunks()
        lengths = np.asarray(hits.value_lengths().to_numpy(zero_copy_only=False), dtype=np.int64)
        track_id = np.asarray(table.column("track_id").to_numpy(), dtype=np.int64)
        return np.asarray(hits.flatten().to_numpy(zero_copy_only=False), dtype=np.int64), np.repeat(track_id, lengths)
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{path}: not a readable Parquet file of tracks ({error}); write it again.") from None
