"""Finding events: folders, files, formats, order, and what is said where there are none."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from trkx.errors import InputError
from trkx.runtime.events import Event, open_events, read_event, write_event_parquet

HITS = "hit_id,x,y,z\n1,1,2,3\n"
TRUE = ",".join(f"particle_id_{name}" for name in ("pv", "sv", "part", "gen", "subpart")) + ",geometry_id,tx,ty,tz,tt\n"
TRUE += "1,0,1,0,0,0,1,2,3,4\n"


def csv(folder: Path, number: int, stem: str = "hits", text: str = HITS) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / f"event{number:09d}-{stem}.csv"
    path.write_text(text)
    return path


def parquet(folder: Path, number: int) -> Path:
    return write_event_parquet(folder, Event(number, np.array([1]), np.ones((1, 3), np.float32)))


def test_formats_and_order(tmp_path: Path) -> None:
    csv(tmp_path, 12)
    csv(tmp_path, 3, "hits", TRUE)
    csv(tmp_path, 5, "measurements", "measurement_id,global_x,global_y,global_z\n1,1,2,3\n")
    parquet(tmp_path, 1000000000)
    csv(tmp_path, 4, "prototracks", "trackId,measurementId,x,y,z\n")  # not an event
    csv(tmp_path, 12, "tracks", "")
    (tmp_path / "notes.txt").write_text("")
    sources = open_events(tmp_path)
    assert [(s.event_id, s.format) for s in sources] == [(3, "acts"), (5, "acts"), (12, "trackml"), (1000000000, "parquet")]
    assert [s.read().event_id for s in sources] == [3, 5, 12, 1000000000]


def test_files_and_folders_together(tmp_path: Path) -> None:
    one, two = csv(tmp_path / "a", 1), csv(tmp_path / "a", 2)
    csv(tmp_path / "b", 3)
    csv(tmp_path / "a", 2, "truth", "hit_id,particle_id\n1,4\n")
    assert [s.event_id for s in open_events([tmp_path / "b", one])] == [1, 3]
    assert [s.event_id for s in open_events([two, tmp_path / "a", str(two)])] == [1, 2]  # the same file twice is one event
    assert [s.event_id for s in open_events(str(tmp_path / "a" / "event000000002-truth.csv"))] == [2]
    assert read_event(two).truth is not None


def test_both_formats_of_one_event(tmp_path: Path) -> None:
    path, other = csv(tmp_path, 1), parquet(tmp_path, 1)
    with pytest.raises(InputError, match="event 1 as Parquet and as CSV"):
        open_events(tmp_path)
    assert [s.format for s in open_events(path)] == ["trackml"]
    assert [s.format for s in open_events(other)] == ["parquet"]


def test_no_events(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no events in .*looked for event<number>-hits\.parquet"):
        open_events(tmp_path)
    with pytest.raises(InputError, match="an empty list"):
        open_events([])
    with pytest.raises(InputError, match=r"nowhere: no such file"):
        open_events(tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"other\.csv: not the name of an event file"):
        (tmp_path / "other.csv").write_text(HITS)
        open_events(tmp_path / "other.csv")
    with pytest.raises(InputError, match="event 3 has no hits here, only particles"):
        open_events(csv(tmp_path, 3, "particles", "particle_id\n"))


def test_same_event_in_two_folders(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        csv(tmp_path / folder, 7)
    with pytest.raises(InputError, match=r"event 7 occurs twice, in .*a and .*b"):
        open_events([tmp_path / "a", tmp_path / "b"])


@pytest.mark.parametrize("digits", ["9223372036854775808", "99999999999999999999"])
def test_an_event_id_beyond_int64(tmp_path: Path, digits: str) -> None:
    path = tmp_path / f"event{digits}-hits.csv"
    path.write_text(HITS)
    for given in (tmp_path, path):
        with pytest.raises(InputError, match=rf"event ids must be at most 9223372036854775807 .*found {digits}"):
            open_events(given)
    path.rename(tmp_path / f"event{2**63 - 1}-hits.csv")
    assert read_event(tmp_path).event_id == 2**63 - 1


def test_two_spellings_of_one_number(tmp_path: Path) -> None:
    long = csv(tmp_path, 1)
    (tmp_path / "event1-truth.csv").write_text("hit_id,particle_id\n1,4\n")
    assert read_event(tmp_path).truth is not None  # nothing is dropped
    short = tmp_path / "event1-hits.csv"
    short.write_text(HITS)
    for given in (tmp_path, short, long):
        with pytest.raises(InputError, match=r"event000000001-hits\.csv and event1-hits\.csv are both event 1"):
            open_events(given)
    short.unlink()
    (tmp_path / "event000000001-hits.csv.gz").write_bytes(b"")
    assert open_events(tmp_path)[0].files["hits"] == long  # the packed copy beside it has the same name


def test_one_event_wanted(tmp_path: Path) -> None:
    csv(tmp_path, 1)
    csv(tmp_path, 2)
    with pytest.raises(InputError, match="expected one event, found 2"):
        read_event(tmp_path)


def test_importing_is_cheap() -> None:
    code = "import sys, trkx.runtime.events; sys.exit(any(name in sys.modules for name in ('pyarrow', 'torch', 'scipy')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
