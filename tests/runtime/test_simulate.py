"""Simulation: reproducible, independent of the number of processes, truth kept, hits where the detector is."""

from __future__ import annotations

import numpy as np
import pytest
from typer.testing import CliRunner

from trkx.cli import app
from trkx.errors import SpecError
from trkx.runtime.events import read_event
from trkx.runtime.simulate.make import SimulationSpec, simulate, simulate_event

pytest.importorskip("acts", reason="needs the extra 'simulate'")
pytest.importorskip("pythia8mc", reason="needs the extra 'simulate'")

SPEC = SimulationSpec(pileup=3, seed=5)


@pytest.fixture(scope="module")
def event():
    return simulate_event(SPEC, 0)


def test_the_same_event_again_and_another_seed(event) -> None:
    between = simulate_event(SPEC, 1)
    again = simulate_event(SPEC, 0)
    other = simulate_event(SimulationSpec(pileup=3, seed=6), 0)
    assert np.array_equal(event.position, again.position)
    assert np.array_equal(event.truth.particle_id, again.truth.particle_id)
    assert not np.array_equal(event.position[:50], between.position[:50])
    assert not np.array_equal(event.position[:50], other.position[:50])


def test_files_do_not_depend_on_the_number_of_processes(tmp_path) -> None:
    made = {}
    for processes in (1, 2):
        folder = tmp_path / str(processes)
        folder.mkdir()
        assert sorted(number for number, _ in simulate(SPEC, range(4, 6), folder, processes)) == [4, 5]
        made[processes] = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert len(made[1]) == 4
    assert made[1] == made[2]


def test_truth_is_kept_and_nothing_is_cleaned(event) -> None:
    truth = event.truth
    assert truth.particles is not None
    known = np.isin(truth.particle_id, np.append(truth.particles.particle_id, 0))
    assert known.all()
    assert np.mean(truth.particle_id == 0) == pytest.approx(SPEC.noise_fraction, abs=0.002)
    hits = np.bincount(truth.particle_id, minlength=len(truth.particles) + 1)[1:]
    assert (hits[truth.particles.pt < 0.5] > 0).any(), "low-momentum particles stay in"
    assert (np.hypot(*truth.particles.vertex[hits > 0, :2].T) > 1.0).any(), "secondaries stay in"


def test_hits_are_in_the_detector_and_in_no_telling_order(event) -> None:
    r = np.hypot(event.position[:, 0], event.position[:, 1])
    assert r.min() > 25
    assert r.max() < 1100
    assert np.abs(event.position[:, 2]).max() < 3000
    assert set(np.unique(event.volume)) == {7, 8, 9, 12, 13, 14, 16, 17, 18}
    same = event.truth.particle_id[1:] == event.truth.particle_id[:-1]
    assert same.mean() < 0.1


def test_positions_are_smeared_by_the_stated_resolution() -> None:
    """The same event with and without smearing: the pulls along the local axes of pixels are of unit width."""
    measured = simulate_event(SPEC, 2)
    true = simulate_event(SimulationSpec(pileup=3, seed=5, smear=False), 2)
    assert np.array_equal(measured.truth.order[measured.truth.order > 0].shape, true.truth.order[true.truth.order > 0].shape)
    ordered = [e.position[np.lexsort((e.truth.order, e.truth.particle_id))] for e in (measured, true)]
    volume = [e.volume[np.lexsort((e.truth.order, e.truth.particle_id))] for e in (measured, true)]
    noise = [int((e.truth.particle_id == 0).sum()) for e in (measured, true)]
    shift = (ordered[0][noise[0]:] - ordered[1][noise[1]:]).astype(np.float64)
    barrel = volume[0][noise[0]:] == 8
    assert np.array_equal(volume[0][noise[0]:], volume[1][noise[1]:])
    along_z = shift[barrel, 2]
    assert np.std(along_z) == pytest.approx(0.05625 / np.sqrt(12), rel=0.1)
    assert np.std(np.hypot(shift[barrel, 0], shift[barrel, 1])) < 0.05


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"pileup": -1}, "pileup"),
        ({"pileup": 0, "hard": False}, "pileup"),
        ({"pileup": 1, "noise_fraction": 1.0}, "noise_fraction"),
        ({"pileup": 1, "seed": -1}, "seed"),
        ({"pileup": 1, "sigma_z": -1.0}, "sigma_z"),
    ],
)
def test_settings_out_of_range_are_refused(changes, word) -> None:
    with pytest.raises(SpecError, match=word):
        SimulationSpec(**changes)


def test_the_command_writes_trackml_and_no_event_in_two_formats(tmp_path, event) -> None:
    def run(*more):
        words = ["simulate", "--out", str(tmp_path), "--events", "1", "--pileup", "3", "--seed", "5", "--processes", "1", *more]
        return CliRunner().invoke(app, words)

    done = run("--format", "trackml")
    assert done.exit_code == 0, done.output
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        f"event000000000-{name}.csv" for name in ("hits", "particles", "truth")
    ]
    found = read_event(tmp_path)
    for name in ("hit_id", "position", "volume", "layer", "module"):
        assert np.array_equal(getattr(found, name), getattr(event, name))
    for name in ("particle_id", "pdg", "charge", "vertex", "momentum"):
        assert np.array_equal(getattr(found.truth.particles, name), getattr(event.truth.particles, name))
    assert np.array_equal(found.truth.particle_id, event.truth.particle_id)
    again, other, forced = run("--format", "trackml"), run(), run("--overwrite")
    assert again.exit_code == other.exit_code == forced.exit_code == 1
    said = [" ".join(ended.stderr.split()) for ended in (again, other, forced)]
    assert "already holds event 0; give another --out, another --first, or --overwrite" in said[0]
    assert "already holds event 0 as trackml" in said[1] and said[1] == said[2]
    assert run("--format", "trackml", "--overwrite").exit_code == 0
