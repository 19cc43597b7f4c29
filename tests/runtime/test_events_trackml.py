"""TrackML files: what is read, from a public event and from files written here."""

from __future__ import annotations

import gzip
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from trkx.errors import InputError, TrkxWarning
from trkx.runtime.events import Event, Particles, Truth, open_events, read_event, write_event_trackml

HITS = "hit_id,x,y,z,volume_id,layer_id,module_id\n5,1,2,3.5,7,2,1\n9,-1,0,4,8,4,2\n7,0,1,-1,8,4,3\n"
CELLS = "hit_id,ch0,ch1,value\n7,1,1,0.5\n5,1,2,0.25\n7,1,2,1.0\n99,0,0,3\n"
TRUTH = "hit_id,particle_id,tx,ty,tz,tpx,tpy,tpz,weight\n7,12,0,1,-1,0,0,0,0.5\n5,0,1,2,3,0,0,0,0\n9,12,-1,0,4,0,0,0,0.5\n"
PARTICLES = "particle_id,vx,vy,vz,px,py,pz,q,nhits\n0,0,0,0,0,0,0,0,4\n12,0,1,1,3,4,0,-1,2\n"
FILES = {"hits": HITS, "cells": CELLS, "truth": TRUTH, "particles": PARTICLES}


def put(folder: Path, number: int = 7, packed: bool = False, **files: str) -> Path:
    for stem, text in files.items():
        name = f"event{number:09d}-{stem}.csv"
        if packed:
            (folder / f"{name}.gz").write_bytes(gzip.compress(text.encode()))
        else:
            (folder / name).write_text(text)
    return folder


@pytest.mark.parametrize("packed", [False, True])
def test_all_files(tmp_path: Path, packed: bool) -> None:
    event = read_event(put(tmp_path, packed=packed, **FILES))
    assert event.event_id == 7
    assert event.hit_id.tolist() == [5, 9, 7]
    assert event.position.dtype == np.float32
    assert event.position.tolist() == [[1, 2, 3.5], [-1, 0, 4], [0, 1, -1]]
    assert event.volume is not None and event.volume.tolist() == [7, 8, 8] and event.volume.dtype == np.int32
    assert event.layer is not None and event.layer.tolist() == [2, 4, 4]
    assert event.module is not None and event.module.tolist() == [1, 2, 3]
    assert sorted(event.cells) == ["cell_count", "cell_val"]
    assert event.cells["cell_count"].tolist() == [1, 0, 2]
    assert event.cells["cell_val"].tolist() == [0.25, 0, 1.5]
    truth = event.truth
    assert truth is not None and truth.weight is not None and truth.particles is not None
    assert truth.particle_id.tolist() == [0, 12, 12]
    assert truth.order[2] < truth.order[1]  # distance from the vertex (0, 1, 1): 2 and sqrt(11)
    assert truth.order[1:].tolist() == pytest.approx([11**0.5, 2.0])
    assert truth.weight.tolist() == [0, 0.5, 0.5]
    assert truth.particles.particle_id.tolist() == [12]
    assert truth.particles.pt.tolist() == [5.0]
    assert truth.particles.charge.tolist() == [-1.0]


def test_hits_alone_and_other_spellings(tmp_path: Path) -> None:
    text = '\ufeff"z","hit_id","x","y","extra"\r\n3,1,1,2,a\r\n4,2,-1,0,b\r\n'
    event = read_event(put(tmp_path, hits=text))
    assert event.position.tolist() == [[1, 2, 3], [-1, 0, 4]]
    assert event.truth is None and event.volume is None and event.cells == {}


def test_one_hit_and_no_hits(tmp_path: Path) -> None:
    assert len(read_event(put(tmp_path, hits="hit_id,x,y,z\n1,1,2,3\n"))) == 1
    put(tmp_path, hits="hit_id,x,y,z\n", cells="hit_id,ch0,ch1,value\n", truth="hit_id,particle_id\n")
    empty = read_event(tmp_path)
    assert len(empty) == 0
    assert empty.position.shape == (0, 3)
    assert empty.truth is not None and empty.truth.order.shape == (0,)


def test_no_noise_like_mistake_for_particles_that_are_not_listed(tmp_path: Path) -> None:
    files = {**FILES, "particles": "particle_id,vx,vy,vz,px,py,pz,q\n"}
    truth = read_event(put(tmp_path, **files)).truth
    assert truth is not None and truth.particle_id.tolist() == [0, 12, 12]
    assert truth.order[1:].tolist() == pytest.approx([17**0.5, 2**0.5])


BAD = {
    "a missing column": ({"hits": "hit_id,x,y\n1,1,2\n"}, ["hits.csv", "missing column z", "found hit_id, x, y"]),
    "no header": ({"hits": "1,1,2,3\n"}, ["missing columns hit_id, x, y, z"]),
    "a column twice": ({"hits": "hit_id,x,x,y,z\n1,1,1,2,3\n"}, ["column x stands more than once"]),
    "nothing at all": ({"hits": ""}, ["hits.csv", "empty file"]),
    "NaN": ({"hits": "hit_id,x,y,z\n1,1,nan,3\n2,1,2,3\n"}, ["NaN or infinite", "hit_id 1"]),
    "an infinity": ({"hits": "hit_id,x,y,z\n1,1,2,3\n2,1,2,-inf\n"}, ["NaN or infinite", "hit_id 2"]),
    "an empty coordinate": ({"hits": "hit_id,x,y,z\n3,1,,3\n"}, ["NaN or infinite", "hit_id 3"]),
    "an empty id": ({"hits": "hit_id,x,y,z\n1,1,2,3\n,1,2,3\n"}, ["column hit_id", "row 2"]),
    "a word": ({"hits": "hit_id,x,y,z\n1,one,2,3\n"}, ["hits.csv", "'one'"]),
    "a short row": ({"hits": "hit_id,x,y,z\n1,1,2,3\n2,1,2"}, ["hits.csv", "truncated"]),
    "ids twice": ({"hits": "hit_id,x,y,z\n1,1,2,3\n1,1,2,4\n"}, ["duplicate hit id", "1"]),
    "truth of another event": ({**FILES, "truth": "hit_id,particle_id\n5,1\n"}, ["truth.csv", "2 hit(s)", "hit_id 9"]),
    "a particle twice": ({**FILES, "particles": PARTICLES + "12,0,0,0,0,0,0,0,1\n"}, ["particles.csv", "12 twice"]),
    "a negative particle": ({**FILES, "particles": PARTICLES + "-3,0,0,0,0,0,0,0,1\n"}, ["particles.csv", "above 0", "-3"]),
    "a negative hit": ({"hits": "hit_id,x,y,z\n4,1,2,3\n-2,1,2,3\n-5,1,2,4\n"}, ["0 or above", "2 negative", "is -2"]),
    "a hit of a negative particle": ({**FILES, "truth": TRUTH.replace("9,12", "9,-12")}, ["found -12 at hit_id 9", "for noise"]),
    "old Mac line ends": ({"hits": "hit_id,x,y,z\r1,1,2,3\r"}, ["hits.csv", "carriage return", "convert the line ends"]),
    "NaN in the cells": ({**FILES, "cells": CELLS + "5,1,1,nan\n"}, ["cell_val", "NaN"]),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_files(tmp_path: Path, name: str) -> None:
    files, words = BAD[name]
    with pytest.raises(InputError) as error:
        read_event(put(tmp_path, **files))
    for word in words:
        assert word in str(error.value)


@pytest.mark.parametrize("text, position", [
    ("hit_id,x,y,z\n1,1,2,34\n2,1,2,34", [[1, 2, 34], [1, 2, 34]]),
    ("hit_id,x,y,z\r\n1,1,2,3", [[1, 2, 3]]),
    ("hit_id,x,y,z", []),
])
def test_a_file_that_may_be_cut(tmp_path: Path, text: str, position: list[list[float]]) -> None:
    with pytest.warns(TrkxWarning, match=r"hits\.csv: does not end with a line break: it may be truncated"):
        event = read_event(put(tmp_path, hits=text))
    assert event.position.tolist() == position


@pytest.mark.parametrize("damage", ["cut", "flip", "not gzip"])
def test_damaged_gzip(tmp_path: Path, damage: str) -> None:
    rows = "".join(f"{i},{i * 0.37},{i * 1.7},{i * -2.1}\n" for i in range(2000))
    put(tmp_path, packed=True, hits="hit_id,x,y,z\n" + rows)
    path = next(tmp_path.iterdir())
    data = bytearray(path.read_bytes())
    assert len(read_event(tmp_path)) == 2000
    if damage == "cut":
        del data[-100:]
    elif damage == "flip":
        data[-6] ^= 1  # of the checksum
    else:
        data = bytearray(b"hit_id,x,y,z\n")
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"hits\.csv\.gz: truncated or damaged gzip"):
        read_event(tmp_path)


def test_public_event(golden: Path) -> None:
    (source,) = open_events(golden / "trackml_small")
    assert (source.event_id, source.format) == (1, "trackml")
    event = source.read()
    truth = event.truth
    assert truth is not None and truth.particles is not None and truth.weight is not None
    assert len(event) == 5527
    assert int((truth.particle_id == 0).sum()) == 829
    ids, hits = np.unique(truth.particle_id[truth.particle_id > 0], return_counts=True)
    assert len(ids) == 468
    assert int((hits >= 5).sum()) == 406
    assert np.isin(ids, truth.particles.particle_id).all()
    assert event.volume is not None and np.unique(event.volume).tolist() == [7, 8, 9, 12, 13, 14, 16, 17, 18]
    assert (event.cells["cell_count"] >= 1).all() and event.cells["cell_count"].sum() <= 18564


def made(rng: np.random.Generator, hits: int = 500, particles: int = 20) -> Event:
    """An event whose float32 columns have all their digits, from tiny to large."""

    def numbers(*shape: int) -> np.ndarray:
        return (rng.normal(size=shape) * 10.0 ** rng.integers(-30, 9, shape)).astype(np.float32)

    ids = rng.permutation(np.arange(1, 10 * particles))[:particles].astype(np.int64)
    table = Particles(ids, rng.integers(-2212, 2213, particles).astype(np.int32), numbers(particles), numbers(particles, 3),
                      numbers(particles, 3))
    truth = Truth(rng.choice(np.append(ids, 0), hits), numbers(hits), np.abs(numbers(hits)), table)
    volume, layer, module = rng.integers(1, 2000, (3, hits)).astype(np.int32)
    hit_id = rng.permutation(2**40 + np.arange(hits))
    return Event(12, hit_id, numbers(hits, 3), volume, layer, module, truth=truth)


def same(one: object, two: object) -> bool:
    """Whether two events are equal to the bit, but for `order` and `source`."""
    if isinstance(one, Event | Truth | Particles):
        names = [name for name in vars(one) if name not in ("order", "source")]
        return type(one) is type(two) and all(same(getattr(one, name), getattr(two, name)) for name in names)
    if isinstance(one, np.ndarray):
        return isinstance(two, np.ndarray) and one.dtype == two.dtype and np.array_equal(one, two)
    return one == two


def test_an_event_that_is_written_is_read_back_the_same(tmp_path: Path, rng: np.random.Generator) -> None:
    event = made(rng)
    assert write_event_trackml(tmp_path, event) == tmp_path / "event000000012-hits.csv"
    assert sorted(path.name.split("-")[1] for path in tmp_path.iterdir()) == ["hits.csv", "particles.csv", "truth.csv"]
    found = read_event(tmp_path)
    assert same(found, event) and not same(found, replace(event, hit_id=event.hit_id[::-1]))
    rows = (tmp_path / "event000000012-particles.csv").read_text().splitlines()
    assert rows[0].split(",")[-1] == "nhits"
    assert sum(int(row.split(",")[-1]) for row in rows[1:]) == np.count_nonzero(event.truth.particle_id)
    assert int(rows[1].split(",")[-1]) == np.count_nonzero(event.truth.particle_id == event.truth.particles.particle_id[0])


@pytest.mark.parametrize("bare", ["no weight", "no particles", "no truth", "no modules", "no hits"])
def test_what_an_event_lacks_is_not_written(tmp_path: Path, rng: np.random.Generator, bare: str) -> None:
    event = made(rng, hits=0 if bare == "no hits" else 5)
    truth = event.truth
    assert truth is not None
    changes: dict[str, Event] = {
        "no weight": replace(event, truth=replace(truth, weight=None)),
        "no particles": replace(event, truth=replace(truth, particles=None)),
        "no truth": replace(event, truth=None),
        "no modules": replace(event, volume=None, layer=None, module=None),
        "no hits": event,
    }
    put(tmp_path, 12, **FILES)
    put(tmp_path, 12, packed=True, **FILES)
    write_event_trackml(tmp_path, changes[bare])
    assert same(read_event(tmp_path), changes[bare]), "files of an older event are read along"


def test_features_of_cells_are_not_lost_in_silence(tmp_path: Path, rng: np.random.Generator) -> None:
    event = replace(made(rng, hits=1), cells={"leta": np.ones(1, np.float32)})
    with pytest.raises(InputError, match=r"event 12: .* found leta; write Parquet"):
        write_event_trackml(tmp_path, event)
    assert list(tmp_path.iterdir()) == []
