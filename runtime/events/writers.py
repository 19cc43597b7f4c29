"""Writers of tracks: TrackML submission, ACTS prototracks, Parquet. Nothing is ever half written."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from trkx.errors import InputError
from trkx.runtime.events.event import Event
from trkx.runtime.events.output import csv_bytes, parquet_bytes, write_files
from trkx.runtime.events.tables import SCHEMA

if TYPE_CHECKING:
    from trkx.runtime.tracks import Tracks

SUBMISSION_HEADER = b"event_id,hit_id,track_id\n"


def track_numbers(tracks: Tracks) -> NDArray[np.int64]:
    """Return the track of each hit, int64 [N]: 1, 2, 3, … in the order of `tracks.track_id`, 0 for hits of no track."""
    return tracks.track_id + 1


def write_trackml_submission(path: Path, tracks: Iterable[Tracks]) -> Path:
    """Write a TrackML submission CSV of any number of events and return its path.

    Columns event_id, hit_id, track_id. Every hit has a row; hits of no track have track 0, tracks count from 1 in each event.

    Raises:
        InputError: an event that occurs twice.
        TrkxError: no space, no permission; what was there is untouched.
    """
    parts, seen = [SUBMISSION_HEADER], set()
    for one in tracks:
        if one.event_id in seen:
            raise InputError(f"{path}: event {one.event_id} occurs twice; a submission holds each event once.")
        seen.add(one.event_id)
        parts.append(submission_rows(one))
    write_files({path: b"".join(parts)})
    return path


def submission_rows(tracks: Tracks) -> bytes:
    """Return the rows of one event in a TrackML submission, without a header."""
    event_id = np.full(len(tracks.hit_id), tracks.event_id, dtype=np.int64)
    return csv_bytes({"event_id": event_id, "hit_id": tracks.hit_id, "track_id": track_numbers(tracks)}, header=False)


def write_prototracks(folder: Path, event: Event, tracks: Tracks) -> Path:
    """Write `event<number>-prototracks.csv`, as ACTS's CsvProtoTrackWriter does, and return its path.

    Columns trackId (from 0), measurementId (the hit id), x, y, z (mm). One row a hit on a track, track by track.

    Raises:
        InputError: tracks of another event.
        TrkxError: no space, no permission; what was there is untouched.
    """
    if tracks.event_id != event.event_id or not np.array_equal(tracks.hit_id, event.hit_id):
        raise InputError(f"tracks of event {tracks.event_id} do not belong to event {event.event_id} ({event.source}).")
    rows, number = _by_track(tracks)
    columns = {"trackId": number - 1, "measurementId": event.hit_id[rows]}
    columns |= {name: np.ascontiguousarray(event.position[rows, axis]) for axis, name in enumerate("xyz")}
    path = folder / f"event{event.event_id:09d}-prototracks.csv"
    write_files({path: csv_bytes(columns)})
    return path


def write_tracks_parquet(folder: Path, tracks: Tracks, metadata: Mapping[str, str] | None = None) -> Path:
    """Write `event<number>-tracks.parquet`, one row a track, and return its path.

    Columns event_id int64, track_id int64 (from 1, as in the submission), hit_ids list of int64. The schema's metadata
    holds `trkx.schema`, `trkx.event_id`, `trkx.num_hits` and `metadata`.

    Raises:
        TrkxError: no space, no permission; what was there is untouched.
    """
    import pyarrow as pa

    rows, number = _by_track(tracks)
    track_id, count = np.unique(number, return_counts=True)
    offsets = np.concatenate([[0], np.cumsum(count)]).astype(np.int32)
    columns = {
        "event_id": np.full(len(track_id), tracks.event_id, dtype=np.int64),
        "track_id": track_id,
        "hit_ids": pa.ListArray.from_arrays(pa.array(offsets), pa.array(tracks.hit_id[rows])),
    }
    keys = {"trkx.schema": str(SCHEMA), "trkx.event_id": str(tracks.event_id), "trkx.num_hits": str(len(tracks.hit_id))}
    path = folder / f"event{tracks.event_id:09d}-tracks.parquet"
    write_files({path: parquet_bytes(columns, {**(metadata or {}), **keys})})
    return path


def _by_track(tracks: Tracks) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the rows of the hits on tracks, track by track, and each row's track number."""
    number = track_numbers(tracks)
    rows = np.argsort(number, kind="stable")
    rows = rows[number[rows] > 0]
    return rows.astype(np.int64), number[rows]
