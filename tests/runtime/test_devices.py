"""Words of `--device`, and the commands that take it."""

import functools
import json
import sys
from typing import ClassVar

import pytest
from support.small_events import small_events
from typer.testing import CliRunner

from trkx.cli import app
from trkx.errors import SpecError
from trkx.runtime.compare.runs import Run, Setting
from trkx.runtime.cuda.engines.table import DEVICE_ENGINES
from trkx.runtime.devices import chosen_devices, one_device
from trkx.runtime.engines import ENGINES
from trkx.runtime.events import write_event_parquet
from trkx.runtime.pipeline import Pipeline


@pytest.mark.parametrize("engine", DEVICE_ENGINES)
@pytest.mark.parametrize("said, words", [
    (None, ("cuda",)), ("cuda", ("cuda",)), ("cuda:1", ("cuda:1",)), (" cuda:10 ,cuda:0", ("cuda:10", "cuda:0")),
])
def test_devices_of_an_engine_on_a_gpu(engine, said, words):
    assert chosen_devices(engine, said) == words


@pytest.mark.parametrize("engine", ENGINES)
def test_an_engine_on_the_cpu_has_none(engine):
    assert chosen_devices(engine, None) == chosen_devices(engine, "cpu") == ()
    with pytest.raises(SpecError, match=rf"--device cuda: engine '{engine}' runs on the CPU; leave --device out, .*: triton, "):
        chosen_devices(engine, "cuda")


@pytest.mark.parametrize("said, message", [
    ("gpu", r"--device gpu: 'gpu' is no device; expected cuda, or cuda:0, cuda:1 …"),
    ("cuda:", "'cuda:' is no device"), ("cuda:x", "'cuda:x' is no device"), ("cuda:01", "'cuda:01' is no device"),
    ("", "'' is no device"), ("cuda:0,", "'' is no device"), ("cuda:0,mps", "'mps' is no device"),
    ("CUDA", "'CUDA' is no device"),
    ("cuda,cuda:1", "'cuda' has no number; of several GPUs each needs one"), ("cpu,cuda:1", "'cpu' has no number"),
    ("cuda:1,cuda:0,cuda:1", "cuda:1 stands there twice"),
    ("cpu", "--device cpu: engine 'triton' runs on an NVIDIA GPU; leave --device out, or choose .*: tiled, onnxruntime"),
])
def test_words_that_are_refused(said, message, monkeypatch):
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    with pytest.raises(SpecError, match=message):
        chosen_devices("triton", said)


@pytest.mark.parametrize("value, there", [("1", True), ("true", True), ("ON", True), ("yes", True), ("0", False), ("", False)])
def test_the_cpu_is_for_the_interpreter(value, there, monkeypatch):
    monkeypatch.setenv("TRITON_INTERPRET", value)
    if there:
        assert chosen_devices("triton", "cpu") == ("cpu",)
    else:
        with pytest.raises(SpecError, match="runs on an NVIDIA GPU"):
            chosen_devices("triton", "cpu")


def test_an_unknown_engine_is_not_taken_for_one_on_the_cpu(tiny_bundle):
    for call in (lambda: chosen_devices("tritn", "cuda"), lambda: Pipeline.open(tiny_bundle, "tritn", device="cuda")):
        with pytest.raises(SpecError, match=r"unknown engine 'tritn'\. Did you mean 'triton'\?"):
            call()


def test_one_device():
    assert one_device(["tiled"], None) is one_device(["tiled", "onnxruntime"], "cpu") is None
    assert one_device(["tiled", "triton"], "cuda:2") == "cuda:2"
    assert one_device(["triton"], None) == "cuda"
    with pytest.raises(SpecError, match="expected one device, such as cuda:0; `trkx run` spreads"):
        one_device(["triton"], "cuda:0,cuda:1")
    with pytest.raises(SpecError, match="engine 'tiled' runs on the CPU"):
        one_device(["tiled", "onnxruntime"], "cuda:0")


class Somewhere:
    """A pipeline that says where it is, opened as one on a GPU would be."""

    opened: ClassVar[list["Somewhere"]] = []

    def __init__(self, pipeline, device):
        self.pipeline, self.device, self.warm, self.events = pipeline, device, 0, []
        Somewhere.opened.append(self)

    @classmethod
    def open(cls, bundle, engine="tiled", neighbours=None, labelling=None, threads=None, precision="fp32", device=None):
        return cls(plain(bundle), "cuda:7" if device == "cuda" else device)

    def warm_up(self):
        self.warm += 1

    def run(self, event, keep_graphs=False):
        self.events.append(event.event_id)
        return self.pipeline.run(event, keep_graphs)


OPEN = Pipeline.open


@functools.cache
def plain(bundle):
    return OPEN(bundle, threads=1)


@pytest.fixture
def somewhere(monkeypatch, tmp_path):
    Somewhere.opened.clear()
    monkeypatch.setattr(Pipeline, "open", Somewhere.open)
    for event in small_events(6):
        write_event_parquet(tmp_path / "events", event)
    return tmp_path


def run(bundle, folder, *more):
    return CliRunner().invoke(app, ["run", str(bundle), str(folder / "events"), "--out", str(folder / "out"), *map(str, more)])


def files(out):
    return {path.name: path.read_bytes() for path in out.glob("*-tracks.parquet")}


@pytest.mark.parametrize("more, opened, said", [
    ((), ["cuda:7"], "cuda:7, 2 threads"),
    (("--device", "cuda:1"), ["cuda:1"], "cuda:1, 2 threads"),
    (("--device", "cuda:1", "--workers", 2), ["cuda:1"], "cuda:1, 2 workers with 2 threads each"),
    (("--device", "cuda:0,cuda:2"), ["cuda:0", "cuda:2"], "cuda:0,cuda:2, 2 workers with 2 threads each"),
    (("--device", "cuda:0,cuda:2", "--workers", 5), ["cuda:0", "cuda:2"], "cuda:0,cuda:2, 5 workers with 2 threads each"),
])
def test_events_run_on_every_device(more, opened, said, tiny_bundle, somewhere):
    result = run(tiny_bundle, somewhere, "--engine", "triton", "--threads", 2, *more)
    assert result.exit_code == 0, result.output
    assert [one.device for one in Somewhere.opened] == opened
    assert [one.warm for one in Somewhere.opened] == [1] * len(opened)
    assert sorted(number for one in Somewhere.opened for number in one.events) == list(range(1, 7))
    assert all(one.events for one in Somewhere.opened)
    assert json.loads((somewhere / "out" / "run.json").read_text())["device"] == ",".join(opened)
    assert said in " ".join(result.stdout.split())


def test_devices_do_not_change_the_tracks(tiny_bundle, somewhere):
    for device in ("cuda:0", "cuda:0,cuda:1,cuda:2"):
        result = run(tiny_bundle, somewhere, "--engine", "triton", "--device", device)
        assert result.exit_code == 0, result.output  # into one folder: where tracks were made is no part of what they are
        found = files(somewhere / "out")
        if device == "cuda:0":
            expected = found
            for path in (somewhere / "out").glob("*-tracks.parquet"):
                path.unlink()
    assert len(found) == 6 and found == expected


def test_fewer_workers_than_devices(tiny_bundle, somewhere):
    result = run(tiny_bundle, somewhere, "--engine", "triton", "--device", "cuda:0,cuda:1", "--workers", 1)
    assert result.exit_code == 1
    assert "--workers 1: 2 devices need one each at least" in " ".join(result.stderr.split())
    assert not Somewhere.opened


def test_an_engine_on_the_cpu_says_so(tiny_bundle, tmp_path):
    write_event_parquet(tmp_path / "events", small_events(1)[0])
    result = run(tiny_bundle, tmp_path, "--device", "cuda")
    assert result.exit_code == 1
    assert "engine 'tiled' runs on the CPU; leave --device out" in " ".join(result.stderr.split())
    assert not (tmp_path / "out").exists()
    assert run(tiny_bundle, tmp_path, "--threads", 1).exit_code == 0
    assert json.loads((tmp_path / "out" / "run.json").read_text())["device"] == "cpu"


@pytest.mark.parametrize("words, message", [
    (("--device", "cuda"), "engine 'tiled' runs on the CPU; leave --device out"),
    (("--engine", "triton", "--device", "cuda:0,cuda:1"), "expected one device, such as cuda:0"),
])
def test_evaluate_refuses(words, message, tiny_bundle):
    result = CliRunner().invoke(app, ["evaluate", str(tiny_bundle), "tests/data/pileup50", *words])
    assert result.exit_code == 1
    assert message in " ".join(result.stderr.split())


@pytest.mark.parametrize("words, message", [
    (("--device", "cuda"), "engine 'tiled' runs on the CPU; leave --device out"),
    (("--engine", "tiled,triton", "--device", "cuda:0,cuda:1"), "expected one device, such as cuda:0"),
])
def test_compare_refuses(words, message, tiny_bundle):
    result = CliRunner().invoke(app, ["compare", str(tiny_bundle), "tests/data/pileup50", *words])
    assert result.exit_code == 1
    assert message in " ".join(result.stderr.split())


def test_compare_gives_its_device_to_engines_on_a_gpu(monkeypatch):
    asked = {}
    monkeypatch.setattr(Pipeline, "open", lambda bundle, engine, *_, **more: asked.update({engine: more.get("device")}))
    setting = Setting("bundle", device="cuda:1")
    for engine in ("tiled", "triton"):
        setting.open(Run(engine, "fp32"))
    assert asked == {"tiled": None, "triton": "cuda:1"}


def test_no_torch_is_loaded():
    import subprocess

    code = "import sys; sys.modules['torch'] = None; from trkx.runtime.devices import chosen_devices as c; c('triton', 'cuda:1')"
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)
