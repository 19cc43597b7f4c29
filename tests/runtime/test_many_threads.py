"""One pipeline, many threads: the serial answer bit for bit, whatever the engine."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from support.small_events import small_events
from support.tiny import tiny_spec

from trkx.backends import backend, probe
from trkx.errors import InputError, SpecError
from trkx.runtime.engines import ENGINES
from trkx.runtime.events import open_events, write_event_parquet
from trkx.runtime.many import threads as many
from trkx.runtime.many import track_in_threads
from trkx.runtime.many.stopping import abandoned_when_told, code_of
from trkx.runtime.pipeline import Pipeline
from trkx.spec import CutSpec, GraphSpec

THREADS, EVENTS, DISTINCT = 8, 200, 20


@pytest.fixture(scope="module")
def events():
    return small_events(DISTINCT)


def differences(pipeline, events, threads=THREADS, count=EVENTS):
    """Return what differs between `count` events on so many threads at once and one after the other: event and what it is."""
    serial = [pipeline.run(event, keep_graphs=True) for event in events]
    assert sum(tracks.graphs["gnn"].shape[1] for tracks in serial) > 100
    with ThreadPoolExecutor(threads) as pool:
        jobs = [events[number % len(events)] for number in range(count)]
        several = list(pool.map(lambda event: pipeline.run(event, keep_graphs=True), jobs))
    found = []
    for number, tracks in enumerate(several):
        expected = serial[number % len(events)]
        assert tracks.event_id == expected.event_id
        if not np.array_equal(tracks.label, expected.label):
            found.append((tracks.event_id, "label"))
        assert tracks.graphs.keys() == expected.graphs.keys()
        pairs = ((name, edges, tracks.graphs[name]) for name, edges in expected.graphs.items())
        found += [(tracks.event_id, name) for name, edges, other in pairs if not np.array_equal(other, edges)]
        if counts(tracks) != counts(expected):
            found.append((tracks.event_id, "counts"))
    return found


def counts(tracks):
    return [(stage.name, stage.count_in, stage.count_out) for stage in tracks.stages]


@pytest.mark.parametrize("name", ENGINES)
def test_eight_threads_give_the_serial_answer(name, tiny_bundle, events):
    found = probe(backend("engine", name))
    if not found.available:
        pytest.skip(f"not checked: {found.why_not}")
    pipeline = Pipeline.open(tiny_bundle, name, threads=2)
    assert differences(pipeline, events) == []


@pytest.mark.parametrize("neighbours", ["kdtree", "brute"])
def test_other_backends_too(neighbours, tiny_bundle, events):
    assert differences(Pipeline.open(tiny_bundle, neighbours=neighbours, labelling="scipy", threads=1), events, count=40) == []


class Racy:
    """An engine that keeps the features of the event in itself: right alone, wrong in company."""

    def embed(self, x):
        self.x = x
        time.sleep(0.002)
        return self.x[: len(x)] if len(self.x) >= len(x) else np.resize(self.x, x.shape)

    def filter(self, x, edge_index):
        return np.full(edge_index.shape[1], 3.0, np.float32)

    gnn = filter


def test_the_comparison_finds_a_race(events):
    spec = tiny_spec(graph=GraphSpec(radius=0.02), cuts=CutSpec(filter=0.3, gnn=0.6))
    pipeline = Pipeline(spec, Racy(), threads=1)
    assert {"label", "graph", "counts"} <= {what for _, what in differences(pipeline, events, count=40)}
    assert differences(pipeline, events, threads=1, count=20) == []


@pytest.fixture(scope="module")
def folder(tmp_path_factory, events):
    folder = tmp_path_factory.mktemp("events")
    for event in events:
        write_event_parquet(folder, event)
    return folder


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_events_come_in_order_whatever_the_workers(workers, tiny_bundle, folder, events):
    pipeline = Pipeline.open(tiny_bundle, threads=1)
    found = list(track_in_threads(pipeline, open_events(folder), workers))
    assert [one.tracks.event_id for one in found] == [event.event_id for event in events]
    for one, event in zip(found, events, strict=True):
        np.testing.assert_array_equal(one.event.position, event.position)
        np.testing.assert_array_equal(one.tracks.label, pipeline.run(event).label)


class Counting:
    """A pipeline that notes how many events are in it at once, and takes its time for the first."""

    def __init__(self, delay=0.0):
        self.delay, self.now, self.most, self.runs, self.lock = delay, 0, 0, [], threading.Lock()

    def run(self, event):
        with self.lock:
            self.now += 1
            self.most = max(self.most, self.now)
            self.runs.append(event.event_id)
        time.sleep(self.delay if event.event_id == 1 else 0.005)
        with self.lock:
            self.now -= 1
        if event.event_id == 15:
            raise InputError("event 15 is bad")
        return event.event_id


def test_no_more_events_than_workers_are_in_memory(folder):
    pipeline = Counting(delay=0.4)
    stream = track_in_threads(pipeline, open_events(folder), 3)
    assert next(stream).tracks == 1
    assert pipeline.most == 3
    assert len(pipeline.runs) <= 6  # the first was slow: answers wait for it, but not without end
    assert [one.tracks for one in [next(stream) for _ in range(13)]] == list(range(2, 15))
    with pytest.raises(InputError, match="event 15"):
        next(stream)
    assert pipeline.now == 0  # nothing runs on behind the back
    before = list(pipeline.runs)
    time.sleep(0.05)
    assert pipeline.runs == before


@pytest.mark.parametrize("devices, workers, most", [(2, 2, [1, 1]), (2, 5, [3, 2]), (3, 3, [1, 1, 1]), (1, 4, [4])])
def test_workers_are_spread_over_pipelines(devices, workers, most, folder):
    """Each has its own: none is in more events at once than it has workers, whatever the others do."""
    pipelines = [Counting(delay=0.3) for _ in range(devices)]
    stream = track_in_threads(pipelines, open_events(folder)[:14], workers)
    assert [one.tracks for one in stream] == list(range(1, 15))
    assert all(pipeline.most <= limit for pipeline, limit in zip(pipelines, most, strict=True))
    assert sum(pipeline.most for pipeline in pipelines) >= min(workers, 3)
    runs = [number for pipeline in pipelines for number in pipeline.runs]
    assert sorted(runs) == list(range(1, 15)) and all(pipeline.runs for pipeline in pipelines)


def test_a_bad_event_on_one_of_several_pipelines(folder):
    pipelines = [Counting(), Counting()]
    stream = track_in_threads(pipelines, open_events(folder), 4)
    assert [one.tracks for one in [next(stream) for _ in range(14)]] == list(range(1, 15))
    with pytest.raises(InputError, match="event 15"):
        next(stream)
    assert [pipeline.now for pipeline in pipelines] == [0, 0]


def test_closing_stops_the_workers(folder):
    pipeline = Counting()
    stream = track_in_threads(pipeline, open_events(folder), 2)
    next(stream)
    stream.close()
    assert pipeline.now == 0
    assert len(pipeline.runs) <= 6
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("trkx-event")]


@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("inside", [True, False])
def test_who_is_told_to_stop_waits_for_no_event(stop, inside, folder):
    pipeline = Waiting()
    stream = track_in_threads(pipeline, open_events(folder), 2)
    try:
        with pytest.raises(stop), abandoned_when_told(stream):
            next(stream)
            pipeline.begun.wait(10.0)
            if inside:
                stream.throw(stop)
            raise stop
        assert pipeline.ended == 1  # the first; two more have begun
        assert next(stream, None) is None
    finally:
        pipeline.go.set()
    for thread in [thread for thread in threading.enumerate() if thread.name.startswith(many.NAME)]:
        thread.join(10.0)
    assert pipeline.ended <= 3  # no other was begun


class Waiting:
    """A pipeline that runs its first event, and the others not before it is let go."""

    def __init__(self):
        self.begun, self.go, self.ended = threading.Event(), threading.Event(), 0

    def run(self, event):
        if event.event_id > 1:
            self.begun.set()
            self.go.wait(30.0)
        self.ended += 1
        return event.event_id


def test_the_code_of_a_process_that_is_stopped():
    assert [code_of(stop) for stop in (KeyboardInterrupt(), SystemExit(143), SystemExit("why"))] == [130, 143, 1]


def test_threads_of_a_worker(monkeypatch):
    monkeypatch.setattr(many, "available_cores", lambda: 8)
    assert [many.threads_of_worker(workers) for workers in (1, 2, 3, 8, 9)] == [8, 4, 2, 1, 1]
    assert many.threads_of_worker(4, 3) == 3
    with pytest.raises(SpecError, match="at least 1, found 0"):
        next(track_in_threads(Counting(), [], 0))
    with pytest.raises(SpecError, match="2 devices need as many workers at least, found 1"):
        next(track_in_threads([Counting(), Counting()], [], 1))
