"""The program trkx-run: the tracks of Python, from ONNX Runtime alone and from libtorch alone; errors that say what is wrong."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from support.cpp import said, write_csv_event
from support.small_events import small_events

from trkx import __version__
from trkx.bundle import Bundle
from trkx.runtime.events import Event, read_event, write_prototracks, write_trackml_submission
from trkx.runtime.pipeline import Pipeline
from trkx.runtime.tracks import Tracks

EVENTS = 6


@pytest.fixture(scope="module")
def events(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of small events as CSV: none with hits, one hit, and slices of real ones."""
    folder = tmp_path_factory.mktemp("events")
    one = small_events(1)[0]
    made = [Event(event.event_id + 10, event.hit_id, event.position) for event in small_events(EVENTS - 2)]
    made += [Event(1, one.hit_id[:0], one.position[:0]), Event(2, one.hit_id[:1], one.position[:1])]
    for event in made:
        write_csv_event(folder, event)
    return folder


def tracks_of(bundle: Path, events: Path, engine: str, precision: str = "fp32") -> list[Tracks]:
    pipeline = Pipeline.open(bundle, engine, threads=1, precision=precision)
    return [pipeline.run(read_event(path)) for path in sorted(events.glob("*-hits.csv"))]


def run(build: Path, *words: str | Path) -> subprocess.CompletedProcess[str]:
    command = [str(build / "trkx-run"), *map(str, words)]
    return subprocess.run(command, text=True, capture_output=True, timeout=120)


def same_files(build: Path, bundle: Path, events: Path, out: Path, tracks: list[Tracks], *more: str) -> None:
    """Require that trkx-run writes, byte for byte, what Python writes of these tracks, in both formats."""
    count = sum(len(one) for one in tracks)
    for threads in ("1", "3"):
        ended = run(build, bundle, events, "--out", out / threads, "--threads", threads, "--format", "trackml", *more)
        assert (ended.returncode, ended.stderr) == (0, "")
        assert f"{count} tracks of {EVENTS} events in {out / threads}" in ended.stdout
        assert "events/s" in ended.stdout
        wanted = write_trackml_submission(out / "python" / "submission.csv", tracks)
        assert (out / threads / "submission.csv").read_bytes() == wanted.read_bytes()
    assert run(build, bundle, events, "--out", out / "acts", *more).returncode == 0
    for path, one in zip(sorted(events.glob("*-hits.csv")), tracks, strict=True):
        wanted = write_prototracks(out / "python", read_event(path), one)
        assert (out / "acts" / wanted.name).read_bytes() == wanted.read_bytes()


def test_onnxruntime_gives_the_tracks_of_python(cpp_onnx: Path, tiny_bundle: Path, events: Path, tmp_path: Path) -> None:
    tracks = tracks_of(tiny_bundle, events, "onnxruntime")
    assert sum(len(one) for one in tracks) > 10, "no tracks, nothing to compare"
    same_files(cpp_onnx, tiny_bundle, events, tmp_path, tracks)


def test_half_precision_gives_the_tracks_of_python(cpp_onnx: Path, half_bundle: Path, events: Path, tmp_path: Path) -> None:
    tracks = tracks_of(half_bundle, events, "onnxruntime", "filter=fp16,gnn=fp16")
    same_files(cpp_onnx, half_bundle, events, tmp_path, tracks, "--precision", "filter=fp16,gnn=fp16")


def test_torchscript_gives_the_tracks_of_python(cpp_torch: Path, tiny_bundle: Path, events: Path, tmp_path: Path) -> None:
    same_files(cpp_torch, tiny_bundle, events, tmp_path, tracks_of(tiny_bundle, events, "torchscript"))


@pytest.mark.slow
def test_packages_of_aotinductor_give_the_tracks_of_torchscript(cpp_torch: Path, events: Path, tmp_path: Path) -> None:
    from support.tiny import tiny_pipeline

    from trkx.export.build import export_models
    from trkx.export.pipeline_folder import open_source
    from trkx.export.zoo import helix_event

    source = open_source(tiny_pipeline(tmp_path / "pipeline"))
    export_models(source, tmp_path / "bundle", helix_event(source.spec, tracks=40), targets=("aoti",))
    tracks = tracks_of(tmp_path / "bundle", events, "torchscript")
    same_files(cpp_torch, tmp_path / "bundle", events, tmp_path, tracks, "--engine", "aoti")
    said([cpp_torch / "tests" / "test_engine_aoti"], {"TRKX_TEST_AOTI_BUNDLE": str(tmp_path / "bundle")})
    assert not list(Path("/tmp").glob("trkx-??????/*.pt2")), "private copies stay behind"


def test_neither_program_needs_the_other_library(cpp_onnx: Path, cpp_torch: Path) -> None:
    needs = {build: said(["readelf", "-d", build / "trkx-run"]) for build in (cpp_onnx, cpp_torch)}
    assert "libonnxruntime" in needs[cpp_onnx]
    assert "libtorch" not in needs[cpp_onnx]
    assert "libtorch" in needs[cpp_torch]
    assert "libonnxruntime" not in needs[cpp_torch]


def test_times_tell_every_stage_of_every_event(cpp_onnx: Path, tiny_bundle: Path, events: Path, tmp_path: Path) -> None:
    words = [tiny_bundle, events, "--out", tmp_path / "out", "--times", tmp_path / "times.json", "--repeat", "3", "--limit", "3"]
    assert run(cpp_onnx, *words).returncode == 0
    found = json.loads((tmp_path / "times.json").read_text())
    assert [event["event_id"] for event in found["events"]] == [1, 2, 11]
    assert len(found["seconds"]) == 3
    names = ["features", "embedding", "graph", "filter", "gnn", "labelling"]
    assert all([stage["name"] for stage in event["stages"]] == names for event in found["events"])
    assert len(list((tmp_path / "out").iterdir())) == 3


@pytest.mark.parametrize(
    ("words", "code", "said_so"),
    [
        ((), 2, "expected a bundle and events"),
        (("B", "E"), 2, "--out is missing"),
        (("B", "E", "--out", "O", "--threads", "0"), 2, "--threads: expected a whole number from 1"),
        (("B", "E", "--out", "O", "--limit", "many"), 2, "found 'many'"),
        (("B", "E", "--out", "O", "--format", "root"), 2, "one of acts, trackml"),
        (("B", "E", "--out", "O", "--colour", "red"), 2, "no such option: --colour"),
        (("B", "E", "--out", "O", "--engine", "onxruntime"), 1, "unknown engine 'onxruntime'"),
        (("B", "E", "--out", "O", "--engine", "torchscript"), 1, "compiled without libtorch"),
        (("B", "E", "--out", "O", "--precision", "fp8"), 1, "unknown precision 'fp8'"),
        (("B", "E", "--out", "O", "--precision", "fp16"), 1, "float16"),
        (("B", "E", "--out", "B/bundle.json"), 1, "choose another --out"),
        (("B", "E/none.csv", "--out", "O"), 1, "none.csv"),
        (("E", "E", "--out", "O"), 1, "bundle.json"),
    ],
)
def test_refusals(
    cpp_onnx: Path, tiny_bundle: Path, events: Path, tmp_path: Path, words: tuple[str, ...], code: int, said_so: str
) -> None:
    places = {"B": tiny_bundle, "E": events, "O": tmp_path / "out"}
    given = ["/".join([str(places.get(word.split("/")[0], word.split("/")[0])), *word.split("/")[1:]]) for word in words]
    ended = run(cpp_onnx, *given)
    assert ended.returncode == code
    assert ended.stderr.startswith("error: ")
    assert said_so in ended.stderr
    assert ended.stdout == ""


def edited(bundle: Path, folder: Path, name: str, change: object = None) -> Path:
    """Return a copy of a bundle with one byte of a file flipped, or the file cut or gone."""
    target = folder / "bundle"
    shutil.copytree(bundle, target)
    data = bytearray((target / name).read_bytes())
    if change == "gone":
        (target / name).unlink()
        return target
    data = data[: len(data) // 2] if change == "cut" else data
    data[len(data) // 3] ^= 1
    (target / name).write_bytes(data)
    return target


@pytest.mark.parametrize("name", ["bundle.json", "embedding.onnx", "gnn.onnx"])
@pytest.mark.parametrize("change", ["flipped", "cut", "gone"])
def test_a_bundle_that_is_not_whole_is_refused(
    cpp_onnx: Path, tiny_bundle: Path, events: Path, tmp_path: Path, name: str, change: str
) -> None:
    ended = run(cpp_onnx, edited(tiny_bundle, tmp_path, name, change), events, "--out", tmp_path / "out")
    assert ended.returncode == 1
    assert name in ended.stderr
    assert not (tmp_path / "out").exists()


def test_a_file_of_another_stage_is_refused_though_its_checksum_is_right(
    cpp_onnx: Path, tiny_bundle: Path, events: Path, tmp_path: Path
) -> None:
    from dataclasses import replace

    from trkx.bundle import write_manifest

    target = tmp_path / "bundle"
    shutil.copytree(tiny_bundle, target)
    manifest = Bundle.open(target).manifest
    other = {"gnn": "filter", "filter": "gnn"}
    files = tuple(replace(one, stage=other[one.stage]) if one.stage in other and one.format == "onnx" and not one.target else one
                  for one in manifest.files)
    write_manifest(target, replace(manifest, files=files))
    ended = run(cpp_onnx, target, events, "--out", tmp_path / "out")
    assert ended.returncode == 1
    assert "expected stage filter, as bundle.json says, found 'gnn'" in ended.stderr


def test_a_bad_event_stops_the_run_after_those_before_it(cpp_onnx: Path, tiny_bundle: Path, events: Path, tmp_path: Path) -> None:
    broken = tmp_path / "events"
    shutil.copytree(events, broken)
    (broken / "event000000012-hits.csv").write_text("hit_id,x,y,z\n1,0,nan,5\n")
    ended = run(cpp_onnx, tiny_bundle, broken, "--out", tmp_path / "out", "--threads", "2")
    assert ended.returncode == 1
    assert "NaN" in ended.stderr or "nan" in ended.stderr
    assert "Stopped at" in ended.stderr
    assert "The tracks of 3 event(s) before it" in ended.stderr
    assert len(list((tmp_path / "out").iterdir())) == 3


def test_features_out_of_range_are_a_warning_once(cpp_onnx: Path, tiny_bundle: Path, tmp_path: Path) -> None:
    for event in small_events(2):
        write_csv_event(tmp_path / "events", Event(event.event_id, event.hit_id, event.position * np.float32(10)))
    ended = run(cpp_onnx, tiny_bundle, tmp_path / "events", "--out", tmp_path / "out", "--threads", "2")
    assert ended.returncode == 0
    assert ended.stderr.count("warning: ") == 1
    assert "'r'" in ended.stderr


def test_help_and_version(cpp_onnx: Path) -> None:
    assert run(cpp_onnx, "--version").stdout == f"trkx-run {__version__}\n"
    ended = run(cpp_onnx, "--help")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "--engine NAME" in ended.stdout
