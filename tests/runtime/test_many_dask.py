"""Events on a Dask cluster: the serial answer, each event once, whatever dies."""

import contextlib
import dataclasses
import json
import logging
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
import types
import warnings

import numpy as np
import pytest
from support.small_events import small_events
from typer.testing import CliRunner

from trkx import __version__
from trkx.bundle import Bundle
from trkx.cli import app
from trkx.errors import BundleError, InputError, MissingExtraError, TrkxError, TrkxWarning
from trkx.runtime.events import open_events, write_event_parquet
from trkx.runtime.many import remote
from trkx.runtime.many.remote import Job, answer, packed
from trkx.runtime.pipeline import Pipeline

distributed = pytest.importorskip("distributed", reason="not checked: needs distributed (pip install 'trkx[dask]')")
from trkx.runtime.many import cluster as many  # noqa: E402
from trkx.runtime.many import connect  # noqa: E402
from trkx.runtime.many.travel import runner  # noqa: E402

EVENTS = 30


@pytest.fixture(scope="module")
def events():
    return small_events(EVENTS)


@pytest.fixture(scope="module")
def folder(tmp_path_factory, events):
    folder = tmp_path_factory.mktemp("events")
    for event in events:
        write_event_parquet(folder, event)
    return folder


@pytest.fixture(scope="module")
def serial(tiny_bundle, events):
    pipeline = Pipeline.open(tiny_bundle, "onnxruntime", threads=1)
    return [pipeline.run(event) for event in events]


@contextlib.contextmanager
def local_cluster(workers=2, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of Dask and tornado, about sockets and ports
        with distributed.LocalCluster(
            n_workers=workers, threads_per_worker=1, dashboard_address=None, silence_logs=logging.CRITICAL + 1, **options
        ) as cluster:
            yield cluster


@pytest.fixture(scope="module")
def cluster():
    with local_cluster() as cluster:
        yield cluster


def job(bundle, **changes):
    return dataclasses.replace(Job(str(bundle), "onnxruntime", "grid", "union_find", 1), **changes)


def on_cluster(client, bundle, sources, **changes):
    return many.track_on_cluster(client, Bundle.open(bundle), job(bundle, **changes), sources)


def same(found, serial):
    assert [one.tracks.event_id for one in found] == [tracks.event_id for tracks in serial]
    for one, tracks in zip(found, serial, strict=True):
        np.testing.assert_array_equal(one.tracks.label, tracks.label)
        np.testing.assert_array_equal(one.tracks.hit_id, tracks.hit_id)
        assert [(s.name, s.count_out) for s in one.tracks.stages] == [(s.name, s.count_out) for s in tracks.stages]


def test_the_serial_answer_and_one_load_a_worker(cluster, tiny_bundle, folder, serial):
    with connect.connected(cluster.scheduler_address) as client:
        stream = on_cluster(client, tiny_bundle, open_events(folder))
        found = [next(stream) for _ in range(EVENTS - 1)]
        opened = client.run(lambda dask_worker: [p.opened for n, p in dask_worker.plugins.items() if n.startswith("trkx-")])
        assert list(opened.values()) == [[1], [1]]
        same([*found, *stream], serial)
        left = client.run(lambda dask_worker: [name for name in dask_worker.plugins if name.startswith("trkx-")])
        assert list(left.values()) == [[], []]
        assert not client.futures


def test_events_in_flight_are_bounded(cluster, tiny_bundle, folder, monkeypatch):
    sources, read = open_events(folder), []
    plain = type(sources[0]).read
    monkeypatch.setattr(type(sources[0]), "read", lambda self: read.append(self.event_id) or plain(self))
    with connect.connected(cluster.scheduler_address) as client:
        ahead = []
        for number, _ in enumerate(on_cluster(client, tiny_bundle, sources)):
            ahead.append(len(read) - number)
    assert max(ahead) <= many.AHEAD * 2
    assert read == list(range(1, EVENTS + 1))


def kill_at_work(client, pids):
    """Kill the first worker with work in hand and return that work; nothing if all are idle."""
    for address, pid in pids.items():
        os.kill(pid, signal.SIGSTOP)  # so that what it has now stays undone
        time.sleep(0.1)  # what it said before arrives
        if lost := client.processing().get(address):
            os.kill(pid, signal.SIGKILL)
            return lost
        os.kill(pid, signal.SIGCONT)
    return ()


def test_a_killed_worker_loses_and_doubles_nothing(tiny_bundle, folder, serial):
    with local_cluster() as cluster, connect.connected(cluster.scheduler_address) as client:
        first = client.run(os.getpid)
        found, lost = [], ()
        for one in on_cluster(client, tiny_bundle, open_events(folder)):
            found.append(one)
            if 5 <= len(found) < 25 and not lost:
                lost = kill_at_work(client, first)
        assert lost
        same(found, serial)
        assert set(client.run(os.getpid).values()) != set(first.values())


def test_a_worker_that_hangs_at_the_end_does_not_hold_the_run(tiny_bundle, folder, serial, monkeypatch):
    monkeypatch.setattr(many, "TIMEOUT", 1)
    with local_cluster(1) as cluster, connect.connected(cluster.scheduler_address) as client:
        (pid,) = client.run(os.getpid).values()
        stream = on_cluster(client, tiny_bundle, open_events(folder)[:3])
        found = [next(stream) for _ in range(3)]
        os.kill(pid, signal.SIGSTOP)
        try:
            assert list(stream) == []
        finally:
            os.kill(pid, signal.SIGCONT)
        same(found, serial[:3])


def test_answers_that_die_with_their_worker_are_made_again(tiny_bundle, folder, serial):
    """All workers die, with answers that nobody has fetched."""
    with local_cluster() as cluster, connect.connected(cluster.scheduler_address) as client:
        stream = on_cluster(client, tiny_bundle, open_events(folder))
        found = [next(stream)]
        end = time.monotonic() + 20
        while not (kept := [key for keys in client.has_what().values() for key in keys if not key.endswith("-event-1")]):
            assert time.monotonic() < end
            time.sleep(0.01)
        assert kept
        for pid in client.run(os.getpid).values():
            os.kill(pid, signal.SIGKILL)
        same([*found, *stream], serial)


def test_an_event_that_kills_every_worker_is_named(tiny_bundle, folder, monkeypatch):
    def deadly(name, version):
        plain = runner(name, version)

        def task(event):
            import os
            import pickle
            import signal
            import time

            if pickle.loads(event).event_id == 3:
                time.sleep(0.5)  # Dask also suspects what the worker had not yet reported as done
                os.kill(os.getpid(), signal.SIGKILL)
            return plain(event)

        return task

    monkeypatch.setattr(many, "runner", deadly)
    import dask

    message = r"event 3: 1 Dask workers that had it died, the last was tcp://.*lack of memory"
    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 0}),
        local_cluster() as cluster,
        connect.connected(cluster.scheduler_address) as client,
        pytest.raises(TrkxError, match=message),
    ):
        list(on_cluster(client, tiny_bundle, open_events(folder)))


def test_a_cluster_that_goes_away(tiny_bundle, folder):
    import dask

    with (
        dask.config.set({"distributed.comm.timeouts.connect": "1s"}),
        local_cluster(1) as cluster,
        connect.connected(cluster.scheduler_address) as client,
    ):
        stream = on_cluster(client, tiny_bundle, open_events(folder))
        next(stream)
        cluster.close()
        with pytest.raises(TrkxError, match="Dask cluster went away"):
            list(stream)


def test_an_error_is_that_of_the_serial_run(cluster, tiny_bundle, folder, tmp_path, events):
    bad = dataclasses.replace(events[1], cells={"cell_count": np.ones(len(events[1]), np.float32)})
    for event in (events[0], bad, events[2]):
        write_event_parquet(tmp_path, event)
    path = tmp_path / "event000000002-hits.parquet"
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(InputError) as here:
        open_events(tmp_path)[1].read()
    with connect.connected(cluster.scheduler_address) as client:
        stream = on_cluster(client, tiny_bundle, open_events(tmp_path))
        assert next(stream).tracks.event_id == 1
        with pytest.raises(InputError) as there:
            next(stream)
    assert str(there.value) == str(here.value)


def test_a_worker_that_can_not_open_the_bundle_says_so(cluster, tiny_bundle, folder):
    message = r"Dask worker tcp://\S+: unknown engine 'onnx'"
    with connect.connected(cluster.scheduler_address) as client, pytest.raises(TrkxError, match=message):
        list(on_cluster(client, tiny_bundle, open_events(folder), engine="onnx"))


def test_devices_reach_the_workers(cluster, tiny_bundle, folder):
    torch = pytest.importorskip("torch", reason="not checked: needs torch")
    if torch.cuda.is_available():
        pytest.skip("not checked: there is a GPU here")
    message = r"Dask worker tcp://\S+: device 'cuda:[36]': torch .* sees no NVIDIA GPU"
    with connect.connected(cluster.scheduler_address) as client, pytest.raises(MissingExtraError, match=message):
        list(on_cluster(client, tiny_bundle, open_events(folder), engine="torch-cuda", devices=("cuda:3", "cuda:6")))


def test_ranges_are_warned_of_once_a_folder(cluster, tiny_bundle, tmp_path, events):
    for event in events[-3:]:
        write_event_parquet(tmp_path, dataclasses.replace(event, position=event.position / 10))
    with connect.connected(cluster.scheduler_address) as client, pytest.warns(TrkxWarning, match="'r' .* on 0 to 1.1") as said:
        assert len(list(on_cluster(client, tiny_bundle, open_events(tmp_path)))) == 3
    assert len(said) == 1


# without a cluster


@pytest.mark.parametrize("address, message", [
    ("tcp://127.0.0.1:9", "no Dask scheduler answers there .*tcp://host:8786"),
    ("hello", "missing port number"),
    ("nowhere.json", "no such scheduler file; `dask scheduler --scheduler-file nowhere.json`"),
    (__file__, "expected a scheduler file, JSON with an address"),
])
def test_wrong_addresses(address, message, monkeypatch):
    monkeypatch.setattr(connect, "TIMEOUT", 1)
    with pytest.raises(TrkxError, match=message), connect.connected(address):
        pass


def test_a_port_that_speaks_something_else(monkeypatch):
    import socket

    monkeypatch.setattr(connect, "TIMEOUT", 1)
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        with pytest.raises(TrkxError, match="no Dask scheduler answers there"), connect.connected(address):
            pass


def test_a_worker_is_no_scheduler(cluster):
    with connect.connected(cluster.scheduler_address) as client:
        address = next(iter(client.nthreads()))
    with pytest.raises(TrkxError, match="it is the address of a worker"), connect.connected(address):
        pass


def test_a_scheduler_file(cluster, tmp_path):
    (tmp_path / "s.json").write_text(json.dumps({"address": cluster.scheduler_address}))
    with connect.connected(str(tmp_path / "s.json")) as client:
        assert len(client.nthreads()) == 2


def test_no_workers_is_a_warning():
    with local_cluster(0) as cluster:
        address = cluster.scheduler_address
        with pytest.warns(TrkxWarning, match="no workers yet"), connect.connected(address):
            pass


def test_another_python_is_refused():
    client = types.SimpleNamespace(get_versions=lambda check: {
        "scheduler": {"host": {"python": sys.version.split()[0]}},
        "workers": {"tcp://w:1": {"host": {"python": "3.1.4.final.0"}}},
    })
    with pytest.raises(TrkxError, match=r"worker tcp://w:1 runs Python 3\.1\.4, here runs"):
        connect._check(client, "tcp://s:1")


def held(bundle, **changes):
    opened = Bundle.open(bundle)
    names = ["bundle.json", *(entry.path for entry in opened.manifest.files)]
    parcel = packed(job(bundle, **changes), {name: (bundle / name).read_bytes() for name in names})
    return types.SimpleNamespace(
        name="trkx-test", parcel=parcel, lock=threading.Lock(), pipeline=None, place=None, opened=0
    )


def test_another_version_of_trkx_is_refused(tiny_bundle, events):
    one = answer(held(tiny_bundle), "tcp://w:1", "99.0", b"not a pickle of ours")
    assert f"tcp://w:1 has trkx {__version__}, but trkx 99.0 sends the events; install the same" in str(one.error)


def test_threads_of_a_worker_open_the_bundle_once(tiny_bundle, events, serial):
    plugin, answers = held(tiny_bundle), {}
    data = [pickle.dumps(event) for event in events[:8]]
    threads = [
        threading.Thread(target=lambda n=n: answers.update({n: answer(plugin, "w", __version__, data[n])})) for n in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert plugin.opened == 1
    for number in range(8):
        np.testing.assert_array_equal(answers[number].tracks.label, serial[number].label)


def test_the_precision_arrives(tiny_bundle, events):
    error = answer(held(tiny_bundle, engine="tiled", precision="fp8"), "tcp://w:1", __version__, pickle.dumps(events[0])).error
    assert "unknown precision 'fp8'" in str(error)
    found = answer(held(tiny_bundle, engine="tiled", precision="mixed"), "tcp://w:1", __version__, pickle.dumps(events[0]))
    wanted = Pipeline.open(tiny_bundle, threads=1, precision="mixed").run(events[0])
    np.testing.assert_array_equal(found.tracks.label, wanted.label)


def test_the_bundle_is_checked_again_where_it_arrives(tiny_bundle, events):
    plugin = held(tiny_bundle)
    made, files = pickle.loads(plugin.parcel)
    files["gnn.onnx"] = files["gnn.onnx"][:-1] + b"\0"
    plugin.parcel = packed(made, files)
    error = answer(plugin, "tcp://w:1", __version__, pickle.dumps(events[0])).error
    assert isinstance(error, BundleError)
    assert f"Dask worker tcp://w:1: {tiny_bundle}: gnn.onnx has SHA-256" in str(error)


def test_an_edited_bundle_is_not_sent(tiny_bundle, tmp_path, folder):
    import shutil

    copy = shutil.copytree(tiny_bundle, tmp_path / "copy")
    path = copy / "filter.pt"
    path.write_bytes(path.read_bytes()[:-1] + b"\1")
    with pytest.raises(BundleError, match=r"filter\.pt has SHA-256"):
        next(many.track_on_cluster(None, Bundle.open(copy), job(copy), open_events(folder)))


def test_what_travels_needs_no_trkx():
    """The scheduler unpacks the task, a worker the plugin: neither may need trkx; the task then says what is missing."""
    from distributed.protocol.pickle import dumps

    from trkx.runtime.many.travel import holder

    code = (
        "import pickle, sys\n"
        "class Blocker:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.split('.')[0] == 'trkx': raise ModuleNotFoundError(f'No module named {name!r}', name=name)\n"
        "sys.meta_path.insert(0, Blocker())\n"
        "import distributed, types\n"
        "plugin, task = pickle.loads(sys.stdin.buffer.read())\n"
        "plugin.setup(None)\n"
        "distributed.get_worker = lambda: types.SimpleNamespace(address='tcp://w:1')\n"
        "print(plugin.name, plugin.parcel, task(b''))\n"
    )
    sent = dumps((holder("trkx-1", b"x"), runner("trkx-1", "0.5")))
    done = subprocess.run([sys.executable, "-c", code], input=sent, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    expected = "trkx-1 b'x' Dask worker tcp://w:1 can't load trkx 0.5 (No module named 'trkx'); install it there."
    assert done.stdout.decode().strip() == expected


def test_without_distributed(monkeypatch):
    monkeypatch.setattr("trkx.backends._is_there", lambda module: module != "distributed")
    message = r'distributed not installed\. Install: pip install "trkx\[dask\]"'
    with pytest.raises(MissingExtraError, match=message), connect.connected("tcp://127.0.0.1:9"):
        pass


@pytest.mark.parametrize("format", ["parquet", "acts", "trackml"])
def test_the_command_writes_the_same_files(format, cluster, tiny_bundle, folder, tmp_path):
    outs = {}
    for name, options in (("serial", ["--threads", "1"]), ("dask", ["--dask", cluster.scheduler_address])):
        out = tmp_path / name
        arguments = ["run", str(tiny_bundle), str(folder), "--out", str(out), "--format", format, "--limit", "8", *options]
        result = CliRunner().invoke(app, arguments)
        assert result.exit_code == 0, result.output
        outs[name] = {path.name: path.read_bytes() for path in out.iterdir() if path.name != "stages.json"}
        outs[name + " stages"] = {
            event: [(stage["name"], stage["count_out"]) for stage in stages]
            for event, stages in json.loads((out / "stages.json").read_text()).items()
        }
    assert outs["dask"] == outs["serial"]
    assert outs["dask stages"] == outs["serial stages"]
    assert "Dask cluster tcp://" in result.stdout


def test_remote_is_what_the_plugin_is_for():
    from trkx.runtime.many.travel import holder

    plugin = holder("name", b"")
    plugin.setup(None)
    assert set(vars(plugin)) == set(remote.Held.__annotations__)
    plugin.teardown(None)
    closed = []
    plugin.place = types.SimpleNamespace(close=lambda: closed.append(1))
    plugin.teardown(None)
    assert closed == [1]


@pytest.mark.parametrize("devices, wanted", [
    ((), [None, None, None]), (("cuda:3",), ["cuda:3"] * 3), (("cuda:0", "cuda:2"), ["cuda:0", "cuda:2", "cuda:0"]),
])
def test_processes_of_one_machine_take_devices_in_turn(devices, wanted, tiny_bundle, events, monkeypatch, tmp_path):
    """Three workers, of which each has a plugin; a place that is free again is taken first."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    asked, plain = [], Pipeline.open(tiny_bundle, "onnxruntime", threads=1)

    def opened(self, folder, device):
        asked.append(device)
        return plain

    monkeypatch.setattr(Job, "open", opened)
    plugins = [held(tiny_bundle, devices=devices) for _ in range(3)]
    for plugin in plugins:
        for event in events[:2]:
            assert answer(plugin, "tcp://w:1", __version__, pickle.dumps(event)).tracks is not None
    assert asked == wanted
    if len(devices) < 2:
        assert not list(tmp_path.iterdir())
        return
    plugins[1].place.close()
    late = held(tiny_bundle, devices=devices)
    assert answer(late, "tcp://w:1", __version__, pickle.dumps(events[0])).error is None
    assert asked[-1] == "cuda:2"
    for plugin in (plugins[0], late, plugins[2]):
        plugin.place.close()
    assert not list(tmp_path.iterdir())


def test_a_device_that_a_worker_has_not(tiny_bundle, events):
    plugin = held(tiny_bundle, engine="tiled", devices=("cuda:1",))
    error = answer(plugin, "tcp://w:1", __version__, pickle.dumps(events[0])).error
    assert "Dask worker tcp://w:1: device 'cuda:1': engine 'tiled' runs on the CPU" in str(error)


def test_a_place_is_free_when_its_holder_dies(tmp_path):
    from trkx.runtime.many.place import Place

    code = (
        "import sys, time; from pathlib import Path; from trkx.runtime.many.place import Place\n"
        f"place = Place('run', Path({str(tmp_path)!r})); print(place.number, flush=True); time.sleep(60)"
    )
    first = Place("run", tmp_path)
    other = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    try:
        assert other.stdout.readline() == "1\n"
        third, another = Place("run", tmp_path), Place("another", tmp_path)
        assert (first.number, third.number, another.number) == (0, 2, 0)
    finally:
        other.kill()
        other.wait()
        other.stdout.close()
    again = Place("run", tmp_path)
    assert again.number == 1
    for place in (first, third, again, another):
        place.close()
    assert not list(tmp_path.iterdir())


def test_a_place_whose_file_was_just_removed_is_not_taken(tmp_path, monkeypatch):
    """Its last holder leaves between our opening of the file and our lock: a lock on what has no name keeps nobody out."""
    from trkx.runtime.many import place

    files, plain = [], place._locked

    def locked(file):
        files.append(file.name)
        if len(files) == 1:
            (tmp_path / "run-places" / "0").unlink()
            (tmp_path / "run-places").rmdir()
        return plain(file)

    monkeypatch.setattr(place, "_locked", locked)
    made = place.Place("run", tmp_path)
    other = place.Place("run", tmp_path)
    assert (made.number, other.number, len(files)) == (0, 1, 4)
    made.close()
    other.close()


def test_a_folder_of_places_that_was_just_removed_is_made_again(tmp_path, monkeypatch):
    from trkx.runtime.many.place import Place

    plain, calls = type(tmp_path).mkdir, []

    def mkdir(self, *given, **more):
        calls.append(self)
        if len(calls) > 1:
            plain(self, *given, **more)

    with monkeypatch.context() as patch:
        patch.setattr(type(tmp_path), "mkdir", mkdir)
        made = Place("run", tmp_path)
    assert (made.number, len(calls)) == (0, 2)
    made.close()
