"""Writing events and tracks: what is written is what is read, and a failure leaves what was there."""

from __future__ import annotations

import dataclasses
import errno
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from trkx.errors import InputError, TrkxError
from trkx.runtime.events import (
    Event,
    Particles,
    Truth,
    open_events,
    read_event,
    write_event_parquet,
    write_prototracks,
    write_trackml_submission,
    write_tracks_parquet,
)
from trkx.runtime.events.parquet import producer
from trkx.runtime.events.tables import rows_of
from trkx.runtime.tracks import Tracks


def event_of(rng: np.random.Generator, hits: int = 50, event_id: int = 7) -> Event:
    particles = Particles(
        particle_id=np.array([3, 2**62, 5]),
        pdg=np.array([211, -11, 1000010020], dtype=np.int32),
        charge=np.array([1, 1, 1], dtype=np.float32),
        vertex=rng.normal(size=(3, 3)).astype(np.float32),
        momentum=rng.normal(size=(3, 3)).astype(np.float32),
    )
    return Event(
        event_id=event_id,
        hit_id=rng.permutation(hits).astype(np.int64) + 2**40,
        position=rng.normal(0, 500, (hits, 3)).astype(np.float32),
        volume=rng.integers(7, 19, hits).astype(np.int32),
        layer=rng.integers(2, 14, hits).astype(np.int32),
        module=rng.integers(1, 3000, hits).astype(np.int32),
        cells={"cell_count": rng.integers(1, 9, hits).astype(np.float32), "my_feature": rng.random(hits, np.float32)},
        truth=Truth(
            particle_id=rng.choice(np.array([0, 3, 2**62, 5]), hits),
            order=rng.random(hits, np.float32),
            weight=rng.random(hits, np.float32),
            particles=particles,
        ),
    )


def plain(value: object) -> object:
    """Return a dataclass of arrays as something that compares by value and dtype."""
    if dataclasses.is_dataclass(value):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value) if field.name != "source"}
    if isinstance(value, np.ndarray):
        return value.dtype.str, value.shape, value.tobytes()
    return {key: plain(item) for key, item in value.items()} if isinstance(value, dict) else value


def without(event: Event, *names: str) -> Event:
    return dataclasses.replace(event, **{name: {} if name == "cells" else None for name in names})


CASES: dict[str, Callable[[Event], Event]] = {
    "everything": lambda event: event,
    "positions only": lambda event: without(event, "volume", "layer", "module", "truth", "cells"),
    "truth without particles": lambda event: dataclasses.replace(
        event, truth=dataclasses.replace(event.truth, particles=None, weight=None)
    ),
    "no hits": lambda event: Event(event.event_id, np.empty(0, np.int64), np.empty((0, 3), np.float32)),
}


@pytest.mark.parametrize("case", CASES)
def test_event_there_and_back(tmp_path: Path, rng: np.random.Generator, case: str) -> None:
    event = CASES[case](event_of(rng))
    path = write_event_parquet(tmp_path / "new" / "folder", event, {"seed": 3, "by": "me"})
    assert path.name == "event000000007-hits.parquet"
    back = read_event(path)
    assert plain(back) == plain(event)
    assert producer(path) == {"seed": 3, "by": "me"}
    assert [s.format for s in open_events(path.parent)] == ["parquet"]


def test_old_particles_do_not_outlive_their_event(tmp_path: Path, rng: np.random.Generator) -> None:
    event = event_of(rng)
    write_event_parquet(tmp_path, event)
    write_event_parquet(tmp_path, CASES["truth without particles"](event))
    truth = read_event(tmp_path).truth
    assert truth is not None and truth.particles is None


@pytest.mark.parametrize("cells", [{"x": 0.0}, {"order": 0.0}, {"a,b": 0.0}])
def test_cell_feature_of_a_wrong_name(tmp_path: Path, cells: dict[str, float]) -> None:
    arrays = {name: np.full(1, value, np.float32) for name, value in cells.items()}
    event = Event(1, np.array([1]), np.ones((1, 3), np.float32), cells=arrays)
    with pytest.raises(InputError, match="rename"):
        write_event_parquet(tmp_path, event)
    assert list(tmp_path.iterdir()) == []


def test_parquet_of_others(tmp_path: Path) -> None:
    """Float64 positions, int32 ids and further columns are fine; the known cell features are taken."""
    import pyarrow as pa

    path = tmp_path / "event000000001-hits.parquet"
    xyz = {name: [0.5, 1.5] for name in "xyz"}
    columns = {"hit_id": pa.array([1, 2], pa.int32()), **xyz, "leta": [1.0, 2.0], "tx": [1.0, 2.0]}
    pq.write_table(pa.table(columns), path)
    event = read_event(path)
    assert event.position.tolist() == [[0.5] * 3, [1.5] * 3] and event.hit_id.dtype == np.int64
    assert list(event.cells) == ["leta"]
    pq.write_table(pa.table({**columns, "hit_id": [1.5, 2.0]}), path)
    with pytest.raises(InputError, match=r"hits\.parquet"):
        read_event(path)
    pq.write_table(pa.table(columns).drop_columns(["y"]), path)
    with pytest.raises(InputError, match="missing column y; found hit_id, x, z"):
        read_event(path)
    pq.write_table(pa.table({**columns, "particle_id": [1, 2]}), path)
    with pytest.raises(InputError, match="missing column order"):
        read_event(path)
    pq.write_table(pa.table(columns).replace_schema_metadata({"trkx.schema": "2"}), path)
    with pytest.raises(InputError, match=r"newer.*upgrade"):
        read_event(path)


@pytest.mark.parametrize("keep", [0.0, 0.5, 0.99])
@pytest.mark.parametrize("stem", ["hits", "particles"])
def test_truncated_parquet(tmp_path: Path, rng: np.random.Generator, stem: str, keep: float) -> None:
    write_event_parquet(tmp_path, event_of(rng))
    path = tmp_path / f"event000000007-{stem}.parquet"
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * keep)])
    with pytest.raises(InputError, match=rf"{stem}\.parquet: not a readable Parquet file"):
        read_event(tmp_path)


def test_bad_events_are_not_written(tmp_path: Path) -> None:
    event = Event(1, np.array([1, 1]), np.ones((2, 3), np.float32))
    with pytest.raises(InputError, match="duplicate"):
        write_event_parquet(tmp_path, event)
    assert list(tmp_path.iterdir()) == []


def tracks_of(event_id: int = 7) -> Tracks:
    """Hits 10 … 17: tracks {10, 12, 15} and {11, 16, 17}, a pair that is too short {13, 14}."""
    return Tracks(event_id, np.arange(10, 18), np.array([0, 1, 0, 2, 2, 0, 1, 1]), min_hits=3)


def test_submission(tmp_path: Path) -> None:
    path = write_trackml_submission(tmp_path / "submission.csv", iter([tracks_of(), tracks_of(8)]))
    lines = path.read_text().splitlines()
    assert lines[0] == "event_id,hit_id,track_id"
    assert lines[1:9] == ["7,10,1", "7,11,2", "7,12,1", "7,13,0", "7,14,0", "7,15,1", "7,16,2", "7,17,2"]
    assert len(lines) == 17 and lines[9] == "8,10,1"
    with pytest.raises(InputError, match="event 7 occurs twice"):
        write_trackml_submission(path, [tracks_of(), tracks_of()])
    assert path.read_text().splitlines() == lines


def test_prototracks(tmp_path: Path) -> None:
    position = np.arange(24, dtype=np.float32).reshape(8, 3) / 8
    event = Event(7, np.arange(10, 18), position)
    path = write_prototracks(tmp_path, event, tracks_of())
    assert path.name == "event000000007-prototracks.csv"
    lines = path.read_text().splitlines()
    assert lines[0] == "trackId,measurementId,x,y,z"
    assert lines[1] == "0,10,0,0.125,0.25"
    assert [tuple(line.split(",")[:2]) for line in lines[1:]] == [
        ("0", "10"), ("0", "12"), ("0", "15"), ("1", "11"), ("1", "16"), ("1", "17")
    ]  # fmt: skip
    back = np.array([line.split(",")[2:] for line in lines[1:]], dtype=np.float32)
    assert (back == position[[0, 2, 5, 1, 6, 7]]).all()
    with pytest.raises(InputError, match="do not belong to event 7"):
        write_prototracks(tmp_path, event, tracks_of(8))


def test_tracks_parquet(tmp_path: Path) -> None:
    path = write_tracks_parquet(tmp_path, tracks_of(), {"bundle": "reference"})
    table = pq.read_table(path)
    assert path.name == "event000000007-tracks.parquet"
    assert table.to_pydict() == {"event_id": [7, 7], "track_id": [1, 2], "hit_ids": [[10, 12, 15], [11, 16, 17]]}
    assert table.schema.metadata[b"trkx.num_hits"] == b"8" and table.schema.metadata[b"bundle"] == b"reference"


def test_no_tracks(tmp_path: Path) -> None:
    none = Tracks(3, np.array([4, 5]), np.array([0, 1]), min_hits=3)
    assert write_trackml_submission(tmp_path / "s.csv", [none]).read_text() == "event_id,hit_id,track_id\n3,4,0\n3,5,0\n"
    assert pq.read_table(write_tracks_parquet(tmp_path, none)).num_rows == 0
    empty = Tracks(3, np.empty(0, np.int64), np.empty(0, np.int64), min_hits=3)
    event = Event(3, np.empty(0, np.int64), np.empty((0, 3), np.float32))
    assert write_prototracks(tmp_path, event, empty).read_text() == "trackId,measurementId,x,y,z\n"
    assert write_trackml_submission(tmp_path / "s.csv", [empty]).read_text() == "event_id,hit_id,track_id\n"
    assert pq.read_table(write_tracks_parquet(tmp_path, empty)).num_rows == 0


def full(*_: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def interrupted(*_: object) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize(("fault", "raised"), [(full, TrkxError), (interrupted, KeyboardInterrupt)])
@pytest.mark.parametrize("calls_before", [0, 1])
def test_a_failure_leaves_what_was_there(
    tmp_path: Path, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch,
    fault: Callable[..., None], raised: type[BaseException], calls_before: int,
) -> None:  # fmt: skip
    event = event_of(rng)
    write_event_parquet(tmp_path, event)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    calls = []

    def fsync(number: int) -> None:
        calls.append(number)
        if len(calls) > calls_before:
            fault()

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(raised) as error:
        write_event_parquet(tmp_path, event_of(rng, hits=9))
    if raised is TrkxError:
        assert "No space left" in str(error.value) and "untouched" in str(error.value) and str(tmp_path) in str(error.value)
    assert len(calls) == calls_before + 1
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    assert len(before) == 2


def test_a_file_where_the_folder_should_be(tmp_path: Path, rng: np.random.Generator) -> None:
    (tmp_path / "taken").write_text("mine")
    with pytest.raises(TrkxError, match="could not be written"):
        write_event_parquet(tmp_path / "taken", event_of(rng))
    with pytest.raises(TrkxError, match="could not be written"):
        write_tracks_parquet(tmp_path / "taken" / "deeper", tracks_of())
    assert (tmp_path / "taken").read_text() == "mine"


@pytest.mark.parametrize(
    ("ids", "wanted", "rows"),
    [
        ([], [1], [-1]),
        ([1, 2], [], []),
        ([1, 2, 3], [1, 2, 3], [0, 1, 2]),
        ([3, 1, 2], [2, 9, 3, 0], [2, -1, 0, -1]),
        ([4, 4], [4, 4], [0, 0]),
    ],
)
def test_rows_of(ids: list[int], wanted: list[int], rows: list[int]) -> None:
    assert rows_of(np.array(ids, np.int64), np.array(wanted, np.int64)).tolist() == rows
