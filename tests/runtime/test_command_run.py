import json
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from support.processes import hear_interrupts
from support.small_events import small_events
from typer.testing import CliRunner

from trkx.cli import app
from trkx.runtime.commands.run_report import go_on
from trkx.runtime.events import Event, write_event_parquet
from trkx.runtime.pipeline import Pipeline


def event(number, rng, hits=300):
    radius, phi = rng.choice([32.0, 72, 116, 172, 260, 360, 500, 660, 820, 1020], hits), rng.uniform(-np.pi, np.pi, hits)
    position = np.stack([radius * np.cos(phi), radius * np.sin(phi), rng.normal(0, 700, hits)], axis=1)
    return Event(number, np.arange(1, hits + 1), position.astype(np.float32))


@pytest.fixture
def events(tmp_path, rng):
    folder = tmp_path / "events"
    made = [event(number, rng) for number in (1, 2, 3)]
    for one in made:
        write_event_parquet(folder, one)
    return folder, made


def run(*arguments):
    return CliRunner().invoke(app, ["run", *map(str, arguments)])


@pytest.mark.parametrize("format, files", [
    ("parquet", [f"event00000000{n}-tracks.parquet" for n in (1, 2, 3)]),
    ("acts", [f"event00000000{n}-prototracks.csv" for n in (1, 2, 3)]),
    ("trackml", ["submission.csv"]),
])
def test_tracks_are_written(format, files, events, tiny_bundle, tmp_path):
    folder, made = events
    out = tmp_path / "out"
    result = run(tiny_bundle, folder, "--out", out, "--format", format, "--threads", 1)
    assert result.exit_code == 0, result.output
    assert sorted(path.name for path in out.iterdir()) == sorted([*files, "run.json", "stages.json"])
    for word in ("features", "embedding", "graph", "filter", "gnn", "labelling", "peak memory", "of 3 events"):
        assert word in result.stdout
    stages = json.loads((out / "stages.json").read_text())
    assert list(stages) == ["1", "2", "3"]
    expected = [Pipeline.open(tiny_bundle).run(one) for one in made]
    assert [rows[-1]["count_out"] for rows in stages.values()] == [tracks.num_tracks for tracks in expected]
    if format == "trackml":
        table = np.loadtxt(out / "submission.csv", delimiter=",", skiprows=1, dtype=np.int64)
        np.testing.assert_array_equal(table[:, 2], np.concatenate([tracks.track_id + 1 for tracks in expected]))


def test_tracks_of_two_precisions_are_not_mixed(events, tiny_bundle, tmp_path):
    folder, _ = events
    out = tmp_path / "out"
    assert run(tiny_bundle, folder, "--out", out, "--limit", 1, "--precision", "mixed").exit_code == 0
    said = json.loads((out / "run.json").read_text())
    assert (said["engine"], said["precision"]) == ("tiled", "mixed")
    assert run(tiny_bundle, folder, "--out", out, "--skip", 1, "--precision", "mixed").exit_code == 0
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    for other in (("--precision", "fp32"), ("--precision", "mixed", "--engine", "onnxruntime")):
        refused = run(tiny_bundle, folder, "--out", out, *other)
        assert refused.exit_code != 0
    assert "another --out" in " ".join(run(tiny_bundle, folder, "--out", out).output.split())
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


def test_tracks_of_who_knows_what_are_not_mixed(events, tiny_bundle, tmp_path):
    folder, _ = events
    out = tmp_path / "out"
    assert run(tiny_bundle, folder, "--out", out, "--limit", 1).exit_code == 0
    said = (out / "run.json").read_text()
    for text in (None, "[]", "{", said.replace(json.loads(said)["weights"], "0" * 64)):
        (out / "run.json").unlink() if text is None else (out / "run.json").write_text(text)
        assert run(tiny_bundle, folder, "--out", out, "--limit", 1).exit_code != 0
    (out / "run.json").write_text(said)
    assert run(tiny_bundle, folder, "--out", out, "--limit", 1).exit_code == 0


def written(out):
    """Return what a run wrote: name to bytes, and of stages.json all but times and memory."""
    files = {path.name: path.read_bytes() for path in out.iterdir()}
    stages = json.loads(files.pop("stages.json"))
    for rows in stages.values():
        for row in rows:
            del row["seconds"], row["peak_bytes"]
    return files, json.dumps(stages)


@pytest.mark.parametrize("format", ["parquet", "acts", "trackml"])
def test_workers_do_not_change_the_files(format, tiny_bundle, tmp_path):
    for one in small_events(9):
        write_event_parquet(tmp_path / "events", one)
    for workers in (1, 3):
        arguments = ["--out", tmp_path / str(workers), "--format", format, "--workers", workers, "--threads", 1]
        result = run(tiny_bundle, tmp_path / "events", *arguments)
        assert result.exit_code == 0, result.output
        assert "9/9" in result.stderr
    assert "3 workers with 1 thread each" in " ".join(result.stdout.split())
    serial, several = written(tmp_path / "1"), written(tmp_path / "3")
    assert len(serial[0]) == (2 if format == "trackml" else 10)  # with run.json
    assert several == serial


@pytest.mark.parametrize("number, code, said", [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "")])
def test_a_signal_keeps_what_is_done(number, code, said, tiny_bundle, tmp_path):
    for one in small_events(60):
        write_event_parquet(tmp_path / "events", one)
    out = tmp_path / "out"
    arguments = ["run", str(tiny_bundle), str(tmp_path / "events"), "--out", str(out), "--workers", "2"]
    command = [sys.executable, "-m", "trkx", *arguments]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, preexec_fn=hear_interrupts)
    while len(list(out.glob("*-tracks.parquet"))) < 2 and process.poll() is None:
        time.sleep(0.005)
    process.send_signal(number)
    _, err = process.communicate(timeout=120)
    assert process.returncode == code, err
    assert said in err and "Traceback" not in err
    done = sorted(path.name for path in out.iterdir() if path.name not in ("run.json", "stages.json"))
    events = [int(event) for event in json.loads((out / "stages.json").read_text())]
    assert events == list(range(1, len(events) + 1)) and 0 < len(events) < 60
    files = [f"event{event:09d}-tracks.parquet" for event in range(1, len(events) + 2)]
    assert done in (files[:-1], files)  # a signal may come between the file of an event and its line


SLOW = """
import sys, time
from trkx.cli import main
from trkx.runtime.pipeline import Pipeline

quick = Pipeline.run

def run(self, event, keep_graphs=False):
    if event.event_id > {done}:
        time.sleep(60)  # lets go of the interpreter's lock, as networks and kernels do, and is interrupted by nothing
    return quick(self, event, keep_graphs)

Pipeline.run = run
sys.argv[0] = "trkx"
main()
"""


def stopped(number, tiny_bundle, tmp_path, last, ready, *more):
    """Run 12 events of which those after `last` take a minute; when `ready` says so of the folder of tracks, send a signal.

    Returns exit code, message, and the seconds that stopping took.
    """
    for one in small_events(12):
        write_event_parquet(tmp_path / "events", one)
    out = tmp_path / "out"
    arguments = ["run", str(tiny_bundle), str(tmp_path / "events"), "--out", str(out), "--workers", "3", *more]
    command = [sys.executable, "-c", SLOW.format(done=last), *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=hear_interrupts)
    while not ready(out) and process.poll() is None:
        time.sleep(0.005)
    time.sleep(0.5)  # the workers are in their minute
    start = time.monotonic()
    process.send_signal(number)
    _, err = process.communicate(timeout=50)
    return process.returncode, err, time.monotonic() - start


@pytest.mark.parametrize("number, code, what", [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")])
def test_a_signal_waits_for_no_event(number, code, what, tiny_bundle, tmp_path):
    returned, err, seconds = stopped(number, tiny_bundle, tmp_path, 4, lambda out: len(list(out.glob("*-tracks.parquet"))) == 4)
    assert returned == code, err
    assert seconds < 10.0  # about 0.1 s; an event takes 60 s
    out = tmp_path / "out"
    said = (f"{what}: 4 of 12 events are done, their tracks are in {out}. For the others run it again with --skip 4 and "
            "another --out.")
    assert err.splitlines()[-1] == said
    assert "Traceback" not in err and "Exception" not in err
    files = [f"event{event:09d}-tracks.parquet" for event in range(1, 5)]
    assert sorted(path.name for path in out.iterdir()) == [*files, "run.json", "stages.json"]
    assert list(json.loads((out / "stages.json").read_text())) == ["1", "2", "3", "4"]
    rest = run(tiny_bundle, tmp_path / "events", "--out", tmp_path / "rest", "--skip", 4)
    assert rest.exit_code == 0, rest.output
    assert len(list((tmp_path / "rest").glob("*-tracks.parquet"))) == 8
    assert not {path.name for path in (tmp_path / "rest").glob("*-tracks.parquet")} & set(files)


def test_a_submission_that_is_interrupted_has_the_events_that_are_done(tiny_bundle, tmp_path):
    def ready(out):
        return any("\n3," in path.read_text() for path in out.glob(".submission.csv.*.tmp"))

    more = ("--format", "trackml", "--skip", "1", "--limit", "7")
    returned, err, _ = stopped(signal.SIGINT, tiny_bundle, tmp_path, 3, ready, *more)
    assert returned == 130
    assert "2 of 7 events are done" in err and "--skip 3 --limit 5" in err
    table = np.loadtxt(tmp_path / "out" / "submission.csv", delimiter=",", skiprows=1, dtype=np.int64)
    assert sorted(set(table[:, 0])) == [2, 3]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["run.json", "stages.json", "submission.csv"]


@pytest.mark.parametrize("done, said", [(0, "none of 9 events is done; run it again."), (9, "all of 9 events are done, their")])
def test_a_run_that_is_stopped_says_what_is_there(done, said):
    assert go_on(done, 9, 3, None, "out").startswith(said)


def test_skipping_every_event(events, tiny_bundle, tmp_path):
    result = run(tiny_bundle, events[0], "--out", tmp_path / "out", "--skip", 3)
    assert result.exit_code == 1
    assert "--skip 3 leaves none of the 3 event(s)" in result.stderr


def test_workers_or_a_cluster(events, tiny_bundle, tmp_path):
    result = run(tiny_bundle, events[0], "--out", tmp_path / "out", "--workers", 2, "--dask", "tcp://127.0.0.1:9")
    assert result.exit_code == 1
    assert "give one of them" in result.stderr


def test_limit_and_plot(events, tiny_bundle, tmp_path):
    pytest.importorskip("matplotlib", reason="not checked: needs matplotlib")
    out = tmp_path / "out"
    result = run(tiny_bundle, events[0], "--out", out, "--limit", 1, "--plot")
    assert result.exit_code == 0, result.output
    files = ["event000000001-tracks.parquet", "event000000001.png", "run.json", "stages.json"]
    assert sorted(path.name for path in out.iterdir()) == files
    assert (out / "event000000001.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("format, kept", [("parquet", "event000000001-tracks.parquet"), ("trackml", "submission.csv")])
@pytest.mark.parametrize("workers", [1, 2])
def test_a_bad_event_stops_and_keeps_what_is_done(workers, format, kept, events, tiny_bundle, tmp_path):
    folder, out = events[0], tmp_path / "out"
    bad = folder / "event000000002-hits.parquet"
    bad.write_bytes(bad.read_bytes()[:-50])
    result = run(tiny_bundle, folder, "--out", out, "--format", format, "--workers", workers)
    assert result.exit_code == 1
    message = " ".join(result.stderr.split())
    assert "Stopped at event 2. The tracks of 1 event(s) before it (1) are in" in message
    assert "Traceback" not in message
    assert sorted(path.name for path in out.iterdir()) == sorted([kept, "run.json", "stages.json"])


def test_first_event_bad(events, tiny_bundle, tmp_path):
    folder, out = events[0], tmp_path / "out"
    (folder / "event000000001-hits.parquet").write_bytes(b"")
    result = run(tiny_bundle, folder, "--out", out)
    assert result.exit_code == 1
    assert "No tracks were written." in result.stderr
    assert not out.exists()


@pytest.mark.parametrize("change, message", [
    (["--engine", "onnx"], "unknown engine 'onnx'"),
    (["--neighbours", "tree"], "unknown neighbour backend 'tree'"),
])
def test_unknown_backends(change, message, events, tiny_bundle, tmp_path):
    result = run(tiny_bundle, events[0], "--out", tmp_path / "out", *change)
    assert result.exit_code == 1
    assert message in result.stderr


def test_empty_folder(tiny_bundle, tmp_path):
    (tmp_path / "empty").mkdir()
    result = run(tiny_bundle, tmp_path / "empty", "--out", tmp_path / "out")
    assert result.exit_code == 1
    assert "no events" in result.stderr
