"""`trkx evaluate` and tracks read back from files."""

import inspect
import json

import numpy as np
import pytest
from truth_events import event_of, tracks_of
from typer.testing import CliRunner

from trkx.cli import app
from trkx.errors import InputError
from trkx.runtime.commands.evaluate import command
from trkx.runtime.events import write_event_parquet, write_prototracks, write_trackml_submission, write_tracks_parquet
from trkx.runtime.metrics.selection import Selection
from trkx.runtime.metrics.track_files import open_tracks

A, B = 100, 200
PARTICLE = [A] * 5 + [B] * 4 + [0] * 3
LABELS = {1: [0] * 5 + [1] * 4 + [2, 3, 4], 2: [0] * 5 + [1, 1, 2, 2, 3, 3, 3]}


@pytest.fixture
def made(tmp_path):
    """Two events with truth, and their tracks: all found in event 1, B split in event 2."""
    events = [event_of(PARTICLE, event_id=number) for number in LABELS]
    for event in events:
        write_event_parquet(tmp_path / "events", event)
    return tmp_path, events, [tracks_of(event, LABELS[event.event_id], min_hits=2) for event in events]


def run(*arguments):
    result = CliRunner().invoke(app, ["evaluate", *map(str, arguments)])
    return result.exit_code, result.stdout, result.stderr


def write(form, folder, events, tracks):
    folder.mkdir()
    if form == "trackml":
        return write_trackml_submission(folder / "submission.csv", tracks)
    for event, found in zip(events, tracks, strict=True):
        if form == "acts":
            write_prototracks(folder, event, found)
        else:
            write_tracks_parquet(folder, found)
    return folder


@pytest.mark.parametrize("form", ["parquet", "trackml", "acts"])
def test_track_files_of_every_format(made, form):
    folder, events, tracks = made
    source = write(form, folder / "tracks", events, tracks)
    code, stdout, stderr = run(source, folder / "events", "--out", folder / "out", "--no-plot")
    assert (code, stderr) == (0, "")
    told = " ".join(stdout.split())
    assert "efficiency, perfect 75.00 %" in told and "efficiency, perfect 3 4 particles" in told
    assert all(len(line) <= 80 for line in stdout.splitlines() if str(folder) not in line and not line.startswith("cuts:"))
    assert "pT > 0.9 GeV" in stdout
    report = json.loads((folder / "out" / "evaluation.json").read_text())
    assert report["total"]["rates"]["efficiency_perfect"]["count"] == 3
    assert report["total"]["tracks"] == 3
    assert report["total"]["edges"] == {}
    assert [event["rates"]["efficiency_double_majority"]["value"] for event in report["by_event"]] == [1.0, 0.5]


def test_bundle_runs_the_pipeline_and_counts_edges(made, monkeypatch):
    from trkx.runtime import pipeline

    folder, _, _ = made
    bundle = folder / "bundle"
    bundle.mkdir()
    (bundle / "bundle.json").write_text("{}")
    asked = {}

    class Fake:
        @classmethod
        def open(cls, path, engine, threads, precision, device):
            asked.update(path=path, engine=engine, threads=threads, precision=precision, device=device)
            return cls()

        def run(self, event, keep_graphs=False):
            assert keep_graphs
            return tracks_of(event, LABELS[event.event_id], graphs={"graph": np.array([[0, 1, 0], [1, 2, 9]])})

    monkeypatch.setattr(pipeline, "Pipeline", Fake)
    code, stdout, _ = run(bundle, folder / "events", "--engine", "eager", "--threads", 2)
    assert code == 0
    assert asked == {"path": bundle, "engine": "eager", "threads": 2, "precision": "fp32", "device": None}
    assert run(bundle, folder / "events", "--engine", "triton", "--device", "cuda:1")[0] == 0
    assert asked["device"] == "cuda:1"
    row = next(line for line in stdout.splitlines() if line.startswith("graph"))
    assert row.split() == ["graph", "3", "28.57", "%", "28.57", "%", "66.67", "%", "66.67", "%"]


def test_a_precision_is_for_a_bundle(made):
    folder, events, tracks = made
    write("trackml", folder / "precise", events, tracks)
    code, _, stderr = run(folder / "precise", folder / "events", "--precision", "bf16")
    assert code != 0
    assert "--precision is for a bundle" in " ".join(stderr.split())
    code, _, stderr = run(folder / "precise", folder / "events", "--device", "cuda")
    assert code != 0
    assert "--device is for a bundle" in " ".join(stderr.split())
    assert run(folder / "precise", folder / "events")[0] == 0


def test_pictures(made):
    folder, events, tracks = made
    code, _, _ = run(write("parquet", folder / "tracks", events, tracks), folder / "events", "--out", folder / "out")
    assert code == 0
    for axis in ("pt", "eta", "vertex_r"):
        assert (folder / "out" / f"efficiency_{axis}.png").read_bytes().startswith(b"\x89PNG")


def test_cuts_reach_the_report(made):
    folder, events, tracks = made
    source = write("parquet", folder / "tracks", events, tracks)
    cuts = ["--min-hits-particle", 5, "--min-hits-track", 2, "--eta-max", 1.5, "--exclude-pdg", 11, "--no-charged-only"]
    code, stdout, _ = run(source, folder / "events", "--limit", 1, "--out", folder / "out", "--no-plot", *cuts)
    assert code == 0
    report = json.loads((folder / "out" / "evaluation.json").read_text())
    assert (report["events"], report["total"]["particles"], report["total"]["tracks"]) == (1, 1, 2)
    assert "|eta| < 1.5, |PDG code| not 11, at least 5 hits; tracks of at least 2 hits" in stdout


def test_defaults_are_the_selections():
    defaults = {name: parameter.default for name, parameter in inspect.signature(command).parameters.items()}
    for name, value in Selection().to_dict().items():
        assert (defaults[name] or []) == (value or []), name


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("no truth", "no truth"),
        ("no particle", "no particle passes the cuts"),
        ("nothing", "no such file"),
        ("empty folder", "no tracks and no bundle"),
        ("missing event", "no track file holds event 2"),
        ("other hits", "hit(s) that the event lacks"),
        ("fewer hits", "tracks of another event"),
    ],
)
def test_errors_are_one_message(made, change, words):
    import dataclasses

    folder, events, tracks = made
    cuts = ["--pt-min", 50] if change == "no particle" else []
    if change == "no truth":
        for path in (folder / "events").iterdir():
            path.unlink()
        write_event_parquet(folder / "events", dataclasses.replace(events[0], truth=None))
    if change == "missing event":
        events, tracks = events[:1], tracks[:1]
    if change == "other hits":
        tracks = [dataclasses.replace(found, hit_id=found.hit_id + 1) for found in tracks]
    if change == "fewer hits":
        tracks = [dataclasses.replace(found, hit_id=found.hit_id[:-1], label=found.label[:-1]) for found in tracks]
    source = folder / "tracks"
    if change == "empty folder":
        source.mkdir()
    elif change != "nothing":
        write("parquet", source, events, tracks)
    code, _, stderr = run(source, folder / "events", "--out", folder / "out", *cuts)
    assert code == 1
    assert words in stderr
    assert "Traceback" not in stderr
    assert not (folder / "out").exists()


def test_an_event_without_tracks_is_an_event(made):
    folder, events, _ = made
    none = [tracks_of(event, np.arange(len(event)), min_hits=2) for event in events]
    read = open_tracks(write("parquet", folder / "tracks", events, none)).read(1)
    assert len(read.track_id) == 0
    assert run(folder / "tracks", folder / "events")[0] == 0


def test_unassigned_hits_of_a_submission_are_on_no_track(made):
    folder, events, tracks = made
    read = open_tracks(write("trackml", folder / "tracks", events, tracks)).read(1)
    assert read.track_id.tolist() == [1] * 5 + [2] * 4 + [-1] * 3


def test_a_hit_on_two_tracks_is_refused(tmp_path):
    path = tmp_path / "submission.csv"
    path.write_text("event_id,hit_id,track_id\n1,5,1\n1,5,2\n1,6,1\n")
    with pytest.raises(InputError, match="hit_id 5"):
        open_tracks(path).read(1)


def test_an_event_in_two_files_is_refused(made):
    folder, events, tracks = made
    write("parquet", folder / "tracks", events, tracks)
    write_trackml_submission(folder / "tracks" / "submission.csv", tracks)
    with pytest.raises(InputError, match=r"submission\.csv hold event 1"):
        open_tracks(folder / "tracks")


@pytest.mark.parametrize("damage", [lambda data: data[:40], lambda data: b"", lambda data: b"PAR1" + bytes(100) + b"PAR1"])
def test_damaged_parquet(made, damage):
    folder, _, tracks = made
    path = write_tracks_parquet(folder / "tracks", tracks[0])
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(InputError, match=r"event000000001-tracks\.parquet"):
        open_tracks(folder / "tracks").read(1)


def test_parquet_of_something_else(made):
    folder, _, _ = made
    (folder / "tracks").mkdir()
    (folder / "events" / "event000000001-hits.parquet").rename(folder / "tracks" / "event000000001-tracks.parquet")
    with pytest.raises(InputError, match=r"missing column|track_id"):
        open_tracks(folder / "tracks").read(1)
