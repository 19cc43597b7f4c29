"""The whole sequence on muons of a gun: ACTS's verdict follows what is done to the tracks; the command writes its numbers."""

from __future__ import annotations

import copy
import dataclasses
import json
import re
from pathlib import Path

import numpy as np
import pytest
from support.acts_gun import Gun, PhiFinder, muons
from support.tiny import tiny_spec
from typer.testing import CliRunner

pytest.importorskip("acts", reason="needs the extra 'simulate'")
pytest.importorskip("pythia8mc", reason="needs the extra 'simulate'")

from trkx.cli import app
from trkx.errors import InputError, SpecError, TrkxError
from trkx.runtime.acts.compact import compact_json
from trkx.runtime.acts.report import chain_seconds, own_words, record, run_words, sequence_table, steps_table
from trkx.runtime.acts.sequence import CHAINS, LOG, run_sequence
from trkx.runtime.acts.settings import CkfSettings, ParticleCuts, SequenceSpec, TrackCuts
from trkx.runtime.acts.steps import Steps
from trkx.runtime.acts.verdict import core
from trkx.runtime.simulate.collisions import SIGMA_Z

MUONS = 40
SPEC = SequenceSpec(events=2, pileup=MUONS, seed=3)


@pytest.fixture(autouse=True)
def gun(monkeypatch):
    """Muons instead of collisions: Pythia takes seconds to start, and has its own tests."""
    monkeypatch.setattr("trkx.runtime.simulate.collisions.Collider", Gun)


def judge(tmp_path, spoil=lambda event, label: label, spec=SPEC):
    return run_sequence(PhiFinder(tiny_spec(), MUONS, spoil), spec, tmp_path)


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("trkx.runtime.simulate.collisions.Collider", Gun)
        counted = []
        spec, folder = SPEC, tmp_path_factory.mktemp("good")
        results = run_sequence(PhiFinder(tiny_spec(), MUONS), spec, folder, counted.append)
    assert counted == [1, 2]
    assert (folder / LOG).exists()
    return results


def test_right_tracks_are_found_right(good):
    assert set(good["chains"]) == set(CHAINS)
    for name in ("trkx", "ckf"):
        chain = good["chains"][name]
        assert chain["particles"] == chain["found"] == 2 * MUONS, name
        assert chain["tracks"] == 2 * MUONS
        assert chain["fakes"] == chain["duplicates"] == 0
        assert chain["completeness"] > 0.99
        assert chain["purity"] > 0.99
        # 20 GeV muons in pixels of 50 µm: d0 to tens of micrometres, q/p to a per cent or two of 0.05 / GeV
        assert 0.005 < chain["resolution"]["d0"]["res_width"] < 0.06, name
        assert 0.0002 < chain["resolution"]["qop"]["res_width"] < 0.002, name
        assert 0.6 < chain["resolution"]["d0"]["pull_width"] < 1.5, name
        assert chain["resolution"]["d0"]["pt"]["width"][-1] == pytest.approx(chain["resolution"]["d0"]["res_width"], rel=0.3)
        for axis in ("eta", "pt"):
            counts = chain["binned"][axis]["efficiency"]
            assert sum(counts["of"]) == sum(counts["count"]) == 2 * MUONS
            assert len(counts["edges"]) == len(counts["of"]) + 1
    own = good["own"]["total"]["rates"]
    assert own["efficiency_double_majority"]["value"] == 1.0
    assert own["efficiency_double_majority"]["of"] == 2 * MUONS
    assert own["fake_rate"]["count"] == 0


def test_split_tracks_are_duplicates_or_lost(tmp_path):
    def halves(event, label):
        """Every second layer, from inside, to another track."""
        radius = np.linalg.norm(event.position, axis=1)
        place = np.zeros(len(label), np.int64)
        for sector in range(MUONS):
            rows = np.flatnonzero(label == sector)
            place[rows[np.argsort(radius[rows])]] = np.arange(len(rows))
        return np.where(place % 2 == 0, label, label + MUONS)

    cuts = TrackCuts(min_measurements=3, max_holes=9)
    spec = SequenceSpec(events=1, pileup=MUONS, seed=3, tracks=cuts)
    whole, split = judge(tmp_path / "a", spec=spec), judge(tmp_path / "b", halves, spec)
    before, after = whole["chains"]["trkx"], split["chains"]["trkx"]
    assert before["duplicates"] == 0
    assert after["tracks"] > 1.5 * before["tracks"]
    assert after["completeness"] < 0.7 < before["completeness"]
    assert after["duplicates"] + after["fakes"] + (before["found"] - after["found"]) > 5
    assert split["chains"]["ckf"]["found"] == whole["chains"]["ckf"]["found"]  # the other chain does not see it
    assert split["own"]["total"]["rates"]["efficiency_perfect"]["count"] == 0


def test_mixed_tracks_are_fakes(tmp_path):
    """Thirds of three neighbouring muons on each track: none has a majority."""

    def mixed(event, label):
        rank = np.argsort(np.argsort(np.linalg.norm(event.position, axis=1), kind="stable"), kind="stable")
        return (label + rank % 3) % MUONS

    results = judge(tmp_path, mixed, SequenceSpec(events=1, pileup=MUONS, seed=3))
    chain = results["chains"]["trkx_before_cuts"]
    assert chain["found"] < MUONS // 2
    assert results["own"]["total"]["rates"]["fake_rate"]["count"] > MUONS // 2
    assert results["chains"]["ckf"]["found"] == MUONS


def test_cuts_on_particles_and_tracks_reach_acts(tmp_path):
    spec = SequenceSpec(
        events=1, pileup=MUONS, seed=3, particles=ParticleCuts(eta_max=1.0), tracks=TrackCuts(pt_min=100.0), ckf=CkfSettings()
    )
    results = judge(tmp_path, spec=spec)
    for chain in (results["chains"]["trkx"], results["chains"]["ckf"]):
        assert 0 < chain["particles"] < MUONS
        assert chain["tracks"] == chain["found"] == 0
        assert chain["resolution"]["d0"]["res_width"] is None
        assert chain["completeness"] is None or chain["completeness"] == 0.0
    assert results["own"]["total"]["particles"] == results["chains"]["trkx"]["particles"]
    json.dumps(results, allow_nan=False)
    sequence_table({**results}, "empty")


class SoftGun(Gun):
    """Muons just above the cut, every second one from 28 mm off the beam line."""

    def generate(self, seed, event_id, pileup, hard=True):
        made = muons(pileup, pt=0.95, seed=seed)
        away = 28.0 * made.momentum / np.hypot(made.momentum[:, 0], made.momentum[:, 1])[:, None]
        return dataclasses.replace(made, vertex=np.where(np.arange(pileup)[:, None] % 2 == 1, away, 0.0))


def test_particles_near_the_cut_and_from_anywhere_are_counted(tmp_path, monkeypatch):
    monkeypatch.setattr("trkx.runtime.simulate.collisions.Collider", SoftGun)
    chain = judge(tmp_path, spec=SequenceSpec(events=1, pileup=MUONS, seed=3))["chains"]["ckf"]
    assert chain["particles"] == MUONS // 2
    assert chain["particles_anywhere"] == MUONS
    for axis in ("eta", "pt"):
        assert sum(chain["binned"][axis]["efficiency"]["of"]) == MUONS // 2  # not those above 1 GeV alone
        assert sum(chain["binned"][axis]["efficiency"]["count"]) == chain["found"] > MUONS // 4


class WideGun(Gun):
    """Muons from four widths of the beam spot away."""

    def generate(self, seed, event_id, pileup, hard=True):
        made = muons(pileup, seed=seed, eta_max=0.5)
        return dataclasses.replace(made, vertex=np.tile([0.0, 0.0, 4.0 * SIGMA_Z * (1 - 2 * (seed % 2))], (pileup, 1)))


@pytest.mark.parametrize("seed", [3, 4])
def test_the_whole_beam_spot_is_seeded(tmp_path, monkeypatch, seed):
    """ACTS's default looks 150 mm far."""
    monkeypatch.setattr("trkx.runtime.simulate.collisions.Collider", WideGun)
    spec = SequenceSpec(events=1, pileup=MUONS, seed=seed)
    chain = judge(tmp_path / "whole", spec=spec)["chains"]["ckf"]
    assert chain["particles"] > 30
    assert chain["found"] == chain["particles"]
    narrow = dataclasses.replace(spec, ckf=CkfSettings(seed_z_max=150.0))
    assert judge(tmp_path / "narrow", spec=narrow)["chains"]["ckf"]["found"] == 0


def test_the_message_of_trkx_comes_out(tmp_path):
    def fail(event, label):
        raise InputError("a hit that makes no sense")

    with pytest.raises(InputError, match="a hit that makes no sense"):
        judge(tmp_path, fail)
    assert "a hit that makes no sense" in (tmp_path / LOG).read_text()


def test_two_threads_find_the_same(good, tmp_path):
    again = judge(tmp_path, spec=SequenceSpec(events=2, pileup=MUONS, seed=3, threads=2))
    for name in CHAINS:
        for key in ("particles", "found", "tracks", "fakes", "duplicates"):
            assert again["chains"][name][key] == good["chains"][name][key], (name, key)


def test_times_are_by_chain(good):
    seconds = chain_seconds(good)
    assert set(seconds) == {"simulation", "trkx", "ckf", "referee"}
    assert all(value > 0.0 for value in seconds.values())
    assert set(good["processor_seconds"]) == {"trkx", "ckf"}
    for chain, spent in good["processor_seconds"].items():
        assert 0.0 < spent < 1.05 * seconds[chain], chain  # the thread's own time is part of the wall time
    steps = {(step["chain"], step["step"]) for step in good["times"]}
    assert {("trkx", "TrkxTrackFinding"), ("trkx", "TrackFittingAlgorithm"), ("ckf", "TrackFindingAlgorithm")} <= steps
    assert ("ckf", "TrkxTrackFinding") not in steps
    whole = next(step["seconds"] for step in good["times"] if step["step"] == "TrkxTrackFinding")
    assert 0.0 < sum(good["trkx_seconds"].values()) <= 1.01 * whole


def test_times_of_another_sequence_are_refused(tmp_path):
    steps = Steps(None, tmp_path)
    with pytest.raises(TrkxError, match=r"expected the times that ACTS's sequencer writes"):
        steps.times()
    (tmp_path / "timing.csv").write_text("identifier,time_total_s,time_perevent_s\nAlgorithm:A,1,1\n")
    with pytest.raises(TrkxError, match="expected 0 rows, one an element of the sequence, found 1"):
        steps.times()


def test_the_record_and_the_tables(good):
    written = record(good, SPEC, {"name": "gun", "weights": "0" * 64}, "none")
    assert json.loads(json.dumps(written, allow_nan=False)) == json.loads(json.dumps(written))
    assert written["packages"]["pyacts"]
    assert written["settings"]["particles"] == {"pt_min": 0.9, "eta_max": 3.0, "vertex_r_max": 24.0, "min_measurements": 7}
    assert written["resolution_mm"]["16"] == pytest.approx([0.12 / 12**0.5, 10.8 / 12**0.5])
    text = drawn(sequence_table(written, "title")) + drawn(steps_table(written)) + own_words(written)
    for word in ("100.00 % (80/80)", "fake rate", "d0 residual (µm)", "q/p pull", "wall time (ms/event)", "TrkxTrackFinding"):
        assert word in text
    assert "│ ACTS  │ TrackFindingAlgorithm" in text
    assert "ckf" not in text  # a name of the record alone
    assert "pT > 0.9 GeV, |eta| < 3, produced at r < 24 mm, with at least 7 measurements" in written["particles"]


def test_the_tables_fit_80_columns(good):
    """Rows of a table are lines of it, with the counts of hundreds of events."""
    written = copy.deepcopy(record(good, SPEC, {"name": "gun", "weights": "0" * 64}, "none"))
    for chain in written["chains"].values():
        chain |= {"particles": 82_680, "found": 81_000, "particles_anywhere": 88_220, "found_anywhere": 83_380, "tracks": 109_100}
    rows = [line for line in drawn(sequence_table(written, "title"), 80).splitlines() if line.startswith("│")]
    assert len(rows) == 6 + 10 + 2
    assert any("… produced anywhere" in row and row.count("94.51 % (83380/88220)") == 2 for row in rows)
    rows = [line for line in drawn(steps_table(written), 80).splitlines() if line.startswith("│")]
    assert len(rows) == 6 + 5


def test_a_width_within_its_error_is_none(good):
    written = record(good, SPEC, {"name": "gun", "weights": "0" * 64}, "none")
    chain = written["chains"]["trkx"]
    fit = {**chain["resolution"]["d0"], "pull_width": 18.0, "pull_width_error": 1152.0}
    spoiled = {**written, "chains": {**written["chains"], "trkx": {**chain, "resolution": {**chain["resolution"], "d0": fit}}}}
    assert "too few tracks" not in drawn(sequence_table(written, "title"))
    assert "too few tracks" in drawn(sequence_table(spoiled, "title"))


def test_words_of_a_run(good):
    def words(**changes):
        return run_words({"settings": {**SPEC.to_dict(), **changes}})

    assert words(events=1, pileup=1) == "1 event, top pair and 1 pile-up collision"
    assert words(events=10, pileup=50) == "10 events, top pair and 50 pile-up collisions"
    assert words(events=2, pileup=0, hard=False) == "2 events, 0 pile-up collisions"
    assert "here tracks of which no particle owns more than half; ACTS calls fake" in own_words(good)


def test_json_for_people():
    rows = [{"step": "a", "seconds": 1.5}, {"step": "[b,\n  c]", "seconds": None}]
    value = {"η": {"edges": [-1.0, 0.5], "none": [], "map": {}}, "times": rows, "deep": [[1, 2], [3, [4, {"a": [5]}]]]}
    text = compact_json(value)
    assert json.loads(text) == value
    assert text.isascii()
    assert '\n  "edges": [-1.0, 0.5],\n' in text
    assert '\n  {"step": "a", "seconds": 1.5},\n' in text
    for top in (3, None, [], {}, [{}], "a"):
        assert json.loads(compact_json(top)) == top
    with pytest.raises(ValueError, match="JSON"):
        compact_json({"a": [float("nan")]})


def drawn(table, width=160):
    from rich.console import Console

    console = Console(width=width, record=True, file=open("/dev/null", "w"))  # noqa: SIM115, PTH123
    with console.file:
        console.print(table)
        return console.export_text()


def test_the_picture(good, tmp_path):
    pytest.importorskip("mplhep", reason="needs the extra 'plot'")
    from trkx.runtime.acts.plot import plot_sequence

    path = plot_sequence(record(good, SPEC, {"name": "gun", "weights": ""}, "none"), tmp_path / "picture.png")
    assert path.read_bytes().startswith(b"\x89PNG")
    assert plot_sequence(good, tmp_path / "without_settings.png").stat().st_size > 10_000


def test_the_picture_shows_every_point(good):
    """Axes hold all points and intervals; a colour is a chain; an empty panel says why it is empty."""
    pytest.importorskip("mplhep", reason="needs the extra 'plot'")
    from trkx.runtime.acts.plot import draw_sequence

    written = copy.deepcopy(record(good, SPEC, {"name": "gun", "weights": ""}, "none"))
    for number, name in enumerate(("trkx", "ckf")):
        chain = written["chains"][name]
        bins = chain["binned"]["pt"]["efficiency"]
        bins["of"] = [0, 0, 900, 500, 300, 200, 100, 50, 20, 3 - number]  # few at high pT
        bins["count"] = [0, 0, 890, 490, 290, 190, 90, 40, 10, 0]
        chain["binned"]["eta"]["fake_rate"]["of"] = [number, *([40] * 10), 1 - number]  # other bins than the other chain's
        chain["binned"]["eta"]["fake_rate"]["count"] = [0, *([2] * 10), 0]
        for parameter in ("d0", "theta"):
            chain["resolution"][parameter]["eta"] |= {"width": [0.05, *([0.01 + number] * 11)], "error": [0.049, *([1e-3] * 11)]}
        chain["resolution"]["z0"]["eta"] |= {"width": [None] * 12, "error": [None] * 12}
    figure = draw_sequence(written)
    panels = {panel.get_ylabel(): panel for panel in figure.axes[1:]}
    assert len(figure.axes) == 9
    for panel in figure.axes:
        left, right = panel.get_xlim()
        bottom, top = panel.get_ylim()
        for drawn_chain, colour in zip(panel.containers, ("#1f4e9e", "#d1662a"), strict=True):
            points, _, bars = drawn_chain.lines
            assert points.get_color() == colour
            assert all(left <= x <= right for x in points.get_xdata())
            ends = [y for bar in bars for segment in bar.get_segments() for y in segment[:, 1]]
            assert all(bottom <= y <= top for y in (*ends, *points.get_ydata()))
    assert figure.axes[0].get_ylim()[0] < 0.0 < figure.axes[0].containers[0].lines[0].get_ydata()[0]
    assert len(panels["fake rate"].containers[0].lines[0].get_xdata()) == 11
    assert [text.get_text() for text in panels["fake rate"].get_legend().get_texts()] == ["0 of 80 tracks", "0 of 80 tracks"]
    said = {label: [text.get_text() for text in panel.texts] for label, panel in panels.items()}
    assert said["residual of z0: width [µm]"] == ["too few tracks to fit"]
    assert said["residual of d0: width [µm]"] == []
    assert "|η| < 3" in figure.get_supxlabel()
    assert "|eta|" not in figure.get_supxlabel()
    assert "2 events, top pair" in figure.get_supxlabel()
    words = [text.get_text() for text in figure.legends[0].get_texts()]
    assert words == [CHAINS["trkx"], CHAINS["ckf"]]


def test_the_fit_of_a_core():
    class Histogram:
        def __init__(self, values):
            edges = np.linspace(-1.0, 1.0, 201)
            sampled, _ = np.histogram(values, edges)
            self.histogram = self
            self._values, self.edges = sampled.astype(float), edges.tolist()

        def values(self):
            return self._values

        def axis(self, _):
            return self

    rng = np.random.default_rng(5)
    values = np.concatenate([rng.normal(0.02, 0.05, 20_000), rng.normal(0.0, 0.4, 2000)])  # with tails
    mean, width, mean_error, width_error = core(Histogram(values))
    assert mean == pytest.approx(0.02, abs=0.002)
    assert width == pytest.approx(0.05, rel=0.05)
    assert mean_error < 0.001
    assert width_error < 0.001
    assert core(Histogram(np.empty(0))) == (None, None, None, None)


@pytest.mark.parametrize("changes, message", [
    ({"events": 0}, "events and threads must be at least 1"),
    ({"threads": 0}, "events and threads must be at least 1"),
    ({"pileup": -1}, "pileup must be at least 0"),
    ({"pileup": 0, "hard": False}, "1 without a hard collision"),
    ({"seed": 2**31}, r"seed must lie in \[0, 2\^31\)"),
])  # fmt: skip
def test_settings_that_make_no_sense(changes, message):
    with pytest.raises(SpecError, match=message):
        SequenceSpec(**changes)


def test_the_command(tiny_bundle, tmp_path):
    out = tmp_path / "out"
    arguments = ["acts", str(tiny_bundle), "--events", "1", "--pileup", "20", "--seed", "4", "--out", str(out), "--plot"]
    arguments += ["--seed-pt-min", "0.7", "--track-pt-min", "0.8"]
    result = CliRunner(env={"COLUMNS": "200"}).invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert sorted(path.name for path in out.iterdir()) == ["acts-sequence.json", "acts-sequence.png", LOG]
    written = json.loads((out / "acts-sequence.json").read_text())
    assert written["bundle"]["name"] == "tiny"
    assert re.fullmatch("[0-9a-f]{64}", written["bundle"]["weights"])
    assert written["chains"]["ckf"]["particles"] == 20
    assert written["chains"]["ckf"]["found"] >= 18
    assert written["settings"]["seed"] == 4
    assert written["settings"]["ckf"]["seed_pt_min"] == 0.7
    assert written["settings"]["tracks"]["pt_min"] == 0.8
    for word in ("ACTS says", "efficiency", "trkx + Kalman fit", "ACTS: seeds + CKF", "TrkxTrackFinding", "own evaluation"):
        assert word in result.stdout
    assert f"what ACTS said: {out / LOG}" in result.stdout

    def again(*more):
        few = ["acts", str(tiny_bundle), "--events", "1", "--pileup", "1", "--seed", "5", "--out", str(out), *more]
        return CliRunner(env={"COLUMNS": "80"}).invoke(app, few)

    before = (out / "acts-sequence.json").read_bytes()
    refused = again()
    assert refused.exit_code == 1
    assert "already holds acts-sequence.json and acts-sequence.png of another run" in " ".join(refused.output.split())
    assert (out / "acts-sequence.json").read_bytes() == before
    replaced = again("--overwrite")
    assert replaced.exit_code == 0, replaced.output
    assert sorted(path.name for path in out.iterdir()) == ["acts-sequence.json", LOG]  # no picture of other numbers
    assert json.loads((out / "acts-sequence.json").read_text())["settings"]["seed"] == 5
    assert "tiny, tiled: 1 event, top pair and 1 pile-up collision" in replaced.stdout
    (out / "acts-sequence.json").unlink()
    (out / "acts-sequence.png").write_bytes(b"old")
    assert "already holds acts-sequence.png of another run" in " ".join(again().output.split())


def test_the_extra_asks_for_a_pyacts_that_counts():
    """`stats()` of ACTS's writers came with 48.1."""
    text = (Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8")
    least = re.search(r'"pyacts>=(\d+)\.(\d+)"', text)
    assert least
    assert (int(least[1]), int(least[2])) >= (48, 1)


def test_the_command_without_pyacts(tiny_bundle, tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name, *rest: None if name == "acts" else __import__(name).__spec__)
    result = CliRunner().invoke(app, ["acts", str(tiny_bundle), "--out", str(tmp_path / "out")])
    assert result.exit_code == 1
    assert "pyacts not installed" in result.output
    assert 'pip install "trkx[simulate]"' in result.output
    assert not (tmp_path / "out").exists()
