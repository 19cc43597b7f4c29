"""ACTS files: an event that ACTS 48 wrote, older column names, particle ids in five parts."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from trkx.errors import InputError
from trkx.runtime.events import open_events, read_event
from trkx.runtime.events.acts import geometry_parts
from trkx.runtime.events.barcodes import BITS, fits, numbered, pack, packed_ids, unpack

GUN = Path(__file__).resolve().parents[1] / "data" / "acts_gun"
EVENT = "event000000000-{}.csv"


@pytest.fixture
def gun(tmp_path: Path) -> Path:
    folder = tmp_path / "gun"
    folder.mkdir()
    for path in GUN.glob("*.csv"):
        shutil.copy(path, folder)
    return folder


def test_space_points_come_first() -> None:
    (source,) = open_events(GUN)
    assert (source.format, source.event_id) == ("acts", 0)
    event = source.read()
    assert "spacepoint" in event.source
    assert len(event) == 63
    assert event.hit_id.tolist() == list(range(63))
    assert event.volume is not None and event.layer is not None and event.module is not None
    assert set(event.volume.tolist()) <= {7, 8, 9, 12, 13, 14, 16, 17, 18}
    assert event.layer.min() >= 2 and (event.layer % 2 == 0).all() and event.module.min() >= 1  # the generic detector's numbering
    assert event.cells["cell_count"].sum() == len((GUN / EVENT.format("cells")).read_text().splitlines()) - 1
    assert (event.cells["cell_val"] > 0).all()


def test_truth_follows_the_map() -> None:
    measured = read_event(GUN / EVENT.format("measurements"))
    true = read_event(GUN / EVENT.format("hits"))
    assert measured.truth is not None and true.truth is not None
    links = np.loadtxt(GUN / EVENT.format("measurement-simhit-map"), delimiter=",", skiprows=1, dtype=np.int64)
    assert (links[:, 0] != links[:, 1]).any()  # so that ignoring the map would be seen
    row = links[np.argsort(links[:, 0]), 1]
    assert (measured.truth.particle_id == true.truth.particle_id[row]).all()
    assert (measured.truth.order == true.truth.order[row]).all()
    assert measured.module is not None and true.module is not None and (measured.module == true.module[row]).all()
    distance = np.linalg.norm(measured.position - true.position[row], axis=1)
    assert 0 < np.median(distance) < 0.3
    assert true.hit_id.tolist() == list(range(63)) and true.cells == {}
    particles = measured.truth.particles
    assert particles is not None and np.isin(measured.truth.particle_id, particles.particle_id).all()
    assert (np.abs(particles.pdg) == 211).all() and (np.abs(particles.charge) == 1).all()
    # along each particle `order` grows with the distance from its vertex: nothing curls back at these momenta
    for particle in particles.particle_id:
        mine = measured.truth.particle_id == particle
        along = np.argsort(measured.truth.order[mine])
        assert (np.diff(np.linalg.norm(measured.position[mine], axis=1)[along]) > -2).all()


def test_a_named_file_says_which_are_the_hits() -> None:
    at = {name: read_event(GUN / EVENT.format(name)) for name in ("spacepoint", "measurements", "hits")}
    assert {name: event.source.rsplit("-", 1)[1] for name, event in at.items()} == {name: f"{name}.csv" for name in at}
    assert np.allclose(at["spacepoint"].position, at["measurements"].position, atol=1e-3)
    assert not np.allclose(at["spacepoint"].position, at["hits"].position, atol=1e-3)


def test_measurement_without_a_simulated_hit_is_noise(gun: Path) -> None:
    path = gun / EVENT.format("measurement-simhit-map")
    path.write_text("\n".join(line for line in path.read_text().splitlines() if not line.startswith("5,")) + "\n")
    truth = read_event(gun).truth
    assert truth is not None and np.flatnonzero(truth.particle_id == 0).tolist() == [5]
    assert truth.order[5] == 0


def test_older_column_names(tmp_path: Path) -> None:
    barcode = (3 << 52) | (1 << 40) | (7 << 24) | (2 << 16) | 9  # 12, 12, 16, 8, 16 bits
    geometry = (8 << 56) | (2 << 36) | (89 << 8)
    (tmp_path / EVENT.format("spacepoint")).write_text(f"measurement_id,sp_x,sp_y,sp_z,geometry_id\n4,1,2,3,{geometry}\n")
    (tmp_path / EVENT.format("hits")).write_text(f"particle_id,geometry_id,tx,ty,tz,tt\n{barcode},{geometry},1,2,3,0.5\n")
    (tmp_path / EVENT.format("measurement-simhit-map")).write_text("measurement_id,hit_id\n4,0\n")
    event = read_event(tmp_path)
    assert event.hit_id.tolist() == [4] and event.position.tolist() == [[1, 2, 3]]
    assert event.truth is not None and event.truth.particles is None
    assert unpack(event.truth.particle_id).tolist() == [[3, 1, 7, 2, 9]]
    assert [None if part is None else part.tolist() for part in (event.volume, event.layer, event.module)] == [[8], [2], [89]]


def test_geometry_identifier_uses_all_bits() -> None:
    parts = geometry_parts(np.array([0xFF00FFF00FFFFF00, 0x00FF000FF00000FF], dtype=np.uint64))
    assert [part.tolist() for part in parts] == [[255, 0], [4095, 0], [0xFFFFF, 0]]


def test_barcodes_pack_and_unpack(rng: np.random.Generator) -> None:
    limits = np.left_shift(1, np.array(BITS))
    barcode = np.concatenate([np.zeros((1, 5), np.int64), limits[None] - 1, rng.integers(0, limits, (200, 5))])
    ids = pack(barcode)
    assert ids[0] == 0 and ids[1] == np.iinfo(np.int64).max and (ids[1:] > 0).all()
    assert (unpack(ids) == barcode).all()
    assert len(np.unique(ids)) == len(np.unique(barcode, axis=0))
    for part in range(5):
        beyond = np.zeros((1, 5), np.int64)
        beyond[0, part] = limits[part]
        assert not fits(beyond)
        with pytest.raises(InputError, match="63 bits"):
            pack(beyond)


def test_barcodes_that_do_not_fit_are_numbered_alike_in_all_tables() -> None:
    hits = np.array([[5000, 0, 1, 0, 0], [0, 0, 0, 0, 0], [1, 0, 1, 0, 0], [5000, 0, 1, 0, 0]])
    particles = np.array([[1, 0, 1, 0, 0], [5000, 0, 1, 0, 0], [2, 0, 1, 0, 0]])
    of_hits, none, of_particles = packed_ids({"barcode": hits}, None, {"barcode": particles})
    assert of_hits.tolist() == [3, 0, 1, 3] and of_particles.tolist() == [1, 3, 2] and none.tolist() == []
    table = numbered(hits, particles)
    assert (table[of_particles - 1] == particles).all()


BAD = {
    "a map into nowhere": ("measurement-simhit-map", lambda text: text + "3,63\n", "names simulated hit 63, but there are 63"),
    "space points that share": ("spacepoint", lambda text: text + text.splitlines()[1] + "\n", "more than one hit"),
    "no global position": ("measurements", lambda text: text.replace("global_x", "globalx"), "missing column x"),
    "no particle id": ("hits", lambda text: text.replace("particle_id_sv", "sv"), "missing column particle_id_sv"),
    "a negative id": ("hits", lambda text: text.replace("\n1,0,", "\n1,-4,"), "must not be negative"),
    "an NaN": ("spacepoint", lambda text: text + "99,0,0,0,1,nan,2,0,0,0\n", "NaN or infinite"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_files(gun: Path, name: str) -> None:
    stem, change, words = BAD[name]
    path = gun / EVENT.format(stem)
    before = path.read_text()
    path.write_text(change(before))
    assert path.read_text() != before
    with pytest.raises(InputError, match=words):
        read_event(path if stem == "measurements" else gun)
