"""The program trkx-run: the tracks of Python, from ONNX Runtime alone and from libtorch alone; errors that say what is wrong."""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from support.cpp import said, write_csv_event
from support.small_events import small_events

from trkx import __version__
from trkx.bundle import Bundle, write_manifest
from trkx.export.torchscript_file import torchscript_is_meant
from trkx.identity import SPEC_KEY, STAGE_KEY, TARGET_KEY
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


def run(build: Path, *words: str | Path, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [str(build / "trkx-run"), *map(str, words)]
    return subprocess.run(command, text=True, capture_output=True, timeout=120, cwd=folder)


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
    command = [cpp_torch / "trkx-run", tmp_path / "bundle", events, "--out", tmp_path / "out", "--engine", "aoti"]
    nowhere = subprocess.run(command, text=True, capture_output=True, env={**os.environ, "TMPDIR": "/nonexistent"})
    assert nowhere.returncode == 1 and "name another folder in TMPDIR" in nowhere.stderr


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
        ((), 2, "expected a bundle and events, found neither."),
        (("B",), 2, "/bundle' alone."),
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


@pytest.mark.parametrize(("build", "format"), [("cpp_onnx", "onnx"), ("cpp_torch", "torchscript")])
def test_a_file_of_another_stage_is_refused_though_its_checksum_is_right(
    request: pytest.FixtureRequest, build: str, format: str, tiny_bundle: Path, events: Path, tmp_path: Path
) -> None:
    target = tmp_path / "bundle"
    shutil.copytree(tiny_bundle, target)
    manifest = Bundle.open(target).manifest
    other = {"gnn": "filter", "filter": "gnn"}
    files = tuple(replace(one, stage=other[one.stage]) if one.stage in other and one.format == format and not one.target else one
                  for one in manifest.files)
    write_manifest(target, replace(manifest, files=files))
    ended = run(request.getfixturevalue(build), target, events, "--out", tmp_path / "out")
    assert ended.returncode == 1
    assert "expected stage filter, as bundle.json says, found 'gnn'" in ended.stderr


def with_file(bundle: Path, folder: Path, name: str, data: bytes) -> Path:
    """Return a copy of a bundle in which a file holds other bytes, listed with their checksum."""
    target = folder / "bundle"
    shutil.copytree(bundle, target)
    (target / name).write_bytes(data)
    manifest = Bundle.open(bundle).manifest
    listed = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    write_manifest(target, replace(manifest, files=tuple(
        replace(one, **listed) if one.path == name else one for one in manifest.files
    )))
    return target


def test_a_torchscript_file_that_does_not_say_what_it_is_for_is_refused(
    cpp_torch: Path, tiny_bundle: Path, events: Path, tmp_path: Path
) -> None:
    bare, data = io.BytesIO(), (tiny_bundle / "gnn.pt").read_bytes()
    with torchscript_is_meant():
        torch.jit.save(torch.jit.load(io.BytesIO(data)), bare)
    ended = run(cpp_torch, with_file(tiny_bundle, tmp_path, "gnn.pt", bare.getvalue()), events, "--out", tmp_path / "out")
    assert ended.returncode == 1
    assert "gnn.pt: expected metadata pkg.trkx.spec, found none" in ended.stderr


def test_a_network_that_raises_says_why(cpp_torch: Path, tiny_bundle: Path, events: Path, tmp_path: Path) -> None:
    class Raises(torch.nn.Module):
        def forward(self, x: torch.Tensor, edge_index: torch.Tensor) -> torch.Tensor:
            raise RuntimeError("the sky is falling")

    extra = dict.fromkeys([SPEC_KEY, STAGE_KEY, TARGET_KEY], "")
    made = io.BytesIO()
    with torchscript_is_meant():
        torch.jit.load(io.BytesIO((tiny_bundle / "gnn.pt").read_bytes()), _extra_files=extra)
        torch.jit.save(torch.jit.script(Raises().eval()), made, _extra_files=extra)
    ended = run(cpp_torch, with_file(tiny_bundle, tmp_path, "gnn.pt", made.getvalue()), events, "--out", tmp_path / "out")
    assert ended.returncode == 1
    assert "stage gnn failed on" in ended.stderr and "the sky is falling" in ended.stderr
    assert "frame #" not in ended.stderr and "File " not in ended.stderr


def test_weights_beside_an_onnx_file_are_not_read(cpp_onnx: Path, tiny_bundle: Path, events: Path, tmp_path: Path) -> None:
    import onnx

    model = onnx.load_model(tiny_bundle / "gnn.onnx")
    place = tmp_path / "here"
    place.mkdir()
    onnx.save_model(model, place / "gnn.onnx", save_as_external_data=True, location="weights.bin", size_threshold=0)
    assert (place / "weights.bin").stat().st_size > 0
    target = with_file(tiny_bundle, tmp_path, "gnn.onnx", (place / "gnn.onnx").read_bytes())
    shutil.copy(place / "weights.bin", target)
    for folder in (place, target):
        ended = run(cpp_onnx, target, events, "--out", tmp_path / "out", folder=folder)
        assert ended.returncode == 1
        assert "gnn.onnx" in ended.stderr and "Its weights must be inside the file" in ended.stderr
        assert "\x1b" not in ended.stderr and ended.stderr.startswith("error: "), "the library speaks for itself"


def test_devices_and_links_are_written_to_not_replaced(cpp_onnx: Path, tiny_bundle: Path, events: Path, tmp_path: Path) -> None:
    link, file, pipe = tmp_path / "link.json", tmp_path / "file.json", tmp_path / "pipe"
    link.symlink_to(file)
    words = [tiny_bundle, events, "--out", tmp_path / "out", "--limit", "1", "--times"]
    assert run(cpp_onnx, *words, link).returncode == 0
    assert link.is_symlink() and json.loads(file.read_text())["events"]
    ended = run(cpp_onnx, *words, "/dev/stderr")
    assert ended.returncode == 0 and json.loads(ended.stderr)["events"]
    os.mkfifo(pipe)
    reading = subprocess.Popen(["cat", pipe], stdout=subprocess.PIPE, text=True)
    assert run(cpp_onnx, *words, pipe).returncode == 0
    assert json.loads(reading.communicate(timeout=60)[0])["events"] and pipe.is_fifo()


def test_an_event_that_is_a_pipe_is_refused(cpp_onnx: Path, tiny_bundle: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "event000000001-hits.csv")
    ended = run(cpp_onnx, tiny_bundle, tmp_path, "--out", tmp_path / "out")
    assert ended.returncode == 1
    assert "event000000001-hits.csv: could not be read (not a regular file)" in ended.stderr


def test_an_output_that_is_full_is_an_error(cpp_onnx: Path, tiny_bundle: Path, events: Path, tmp_path: Path) -> None:
    for words in ([tiny_bundle, events, "--out", tmp_path / "out", "--limit", "1"], ["--help"]):
        with Path("/dev/full").open("w") as full:
            command = [str(cpp_onnx / "trkx-run"), *map(str, words)]
            ended = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, timeout=120)
        assert ended.returncode == 1 and "standard output" in ended.stderr


def test_more_threads_than_cores_are_not_taken(cpp_onnx: Path, tiny_bundle: Path, events: Path, tmp_path: Path) -> None:
    ended = run(cpp_onnx, tiny_bundle, events, "--out", tmp_path / "out", "--limit", "1", "--engine-threads", "1024")
    assert ended.returncode == 0
    assert re.search(r"warning: --engine-threads 1024 is more than the (\d+) cores? here; taken as \1\.", ended.stderr)


def test_the_report_s_words_and_columns(cpp_onnx: Path, tiny_bundle: Path, events: Path, tmp_path: Path) -> None:
    ended = run(cpp_onnx, tiny_bundle, events / "event000000001-hits.csv", "--out", tmp_path / "out")
    lines = ended.stdout.splitlines()
    assert re.fullmatch(r"stage +time \(ms\) +out", lines[1]) and set(lines[2]) == {"─"} == set(lines[-4])
    end = len(lines[1])
    assert all(line[end - 1].isdigit() and line[end] == " " for line in lines[4:-4]), "numbers end where their column's name does"
    assert lines[-2] == f"0 tracks of 1 event in {tmp_path / 'out'}"
    assert re.fullmatch(r"(\d\.\d{2,3}|\d\d\.\d|[\d,]{3,}) events/s", lines[-1])


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
