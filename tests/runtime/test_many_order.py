"""Answers in order, and what a run writes: bounded, stable, whole or not there."""

import errno
import json
import os
import threading
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from trkx.errors import InputError, TrkxError
from trkx.runtime.events import Event, write_trackml_submission
from trkx.runtime.many.found import Found, hits_of
from trkx.runtime.many.order import in_order
from trkx.runtime.many.output import Output, _Submission
from trkx.runtime.tracks import StageReport, Tracks


class Slow:
    """Answers that come when they are told to; counts what is open."""

    def __init__(self):
        self.futures = {}
        self.taken = []

    def items(self, count):
        for item in range(count):
            self.taken.append(item)
            yield item

    def submit(self, item):
        self.futures[item] = Future()
        return self.futures[item]


def test_order_is_that_of_the_items():
    slow = Slow()
    answers = in_order(slow.items(4), slow.submit, lambda: 4)

    def answer_backwards():
        while len(slow.futures) < 4:
            pass
        for item in (3, 2, 1, 0):
            slow.futures[item].set_result(item * item)

    helper = threading.Thread(target=answer_backwards)
    helper.start()
    assert list(answers) == [0, 1, 4, 9]
    helper.join()


@pytest.mark.parametrize("limit", [1, 3])
def test_so_many_are_open_and_no_more(limit):
    open_now, most, lock = 0, 0, threading.Lock()

    def submit(item):
        nonlocal open_now, most
        with lock:
            open_now += 1
            most = max(most, open_now)
        return pool.submit(lambda: item)

    with ThreadPoolExecutor(8) as pool:
        for _ in in_order(range(50), submit, lambda: limit):
            open_now -= 1
    assert most <= limit + 1  # what is yielded counts until the consumer has taken it
    assert open_now == 0


def test_items_are_taken_when_there_is_room():
    slow = Slow()
    answers = in_order(slow.items(100), slow.submit, lambda: 5)
    helper = threading.Timer(0.05, lambda: slow.futures[0].set_result("first"))
    helper.start()
    assert next(answers) == "first"
    assert len(slow.futures) == 5
    answers.close()
    assert all(slow.futures[item].cancelled() for item in range(1, 5))
    assert slow.taken == [0, 1, 2, 3, 4, 5]


def test_the_limit_may_change():
    slow, limit = Slow(), [1]
    answers = in_order(slow.items(4), slow.submit, lambda: limit[0])
    threading.Timer(0.05, lambda: slow.futures[0].set_result("first")).start()
    assert next(answers) == "first"
    assert len(slow.futures) == 1
    limit[0] = 9
    threading.Timer(0.05, lambda: slow.futures[1].set_result("second")).start()
    assert next(answers) == "second"
    assert len(slow.futures) == 4


@pytest.mark.parametrize("where", ["submit", "result"])
def test_an_error_comes_in_its_turn(where):
    def submit(item):
        if item == 3 and where == "submit":
            raise InputError("event 3 is bad")
        future = Future()
        if item == 3:
            future.set_exception(InputError("event 3 is bad"))
        elif item < 3:
            threading.Timer(0.02 * (3 - item), future.set_result, [item]).start()
        return future

    seen = []
    with pytest.raises(InputError, match="event 3 is bad"):
        seen.extend(in_order(range(9), submit, lambda: 6))
    assert seen == [0, 1, 2]


def test_a_cancelled_future_is_what_close_leaves():
    slow = Slow()
    answers = in_order(slow.items(3), slow.submit, lambda: 3)
    threading.Timer(0.05, lambda: slow.futures[0].set_exception(InputError("first"))).start()
    with pytest.raises(InputError):
        next(answers)
    with pytest.raises(CancelledError):
        slow.futures[2].result(0)


def found(number, hits=6):
    event = Event(number, np.arange(hits) + 5, np.ones((hits, 3), np.float32), volume=np.ones(hits, np.int32))
    stages = (StageReport("gnn", 0.5, 100, 4, 2, "edges"),)
    return Found(hits_of(event), Tracks(number, event.hit_id, np.array([0, 0, 0, 1, 2, 2]), 2, stages, truncated=number))


def test_an_answer_holds_hits_and_nothing_else():
    assert found(1).event.volume is None
    assert found(1).event.truth is None


def test_the_submission_is_the_same_as_in_one_piece(tmp_path):
    made = [found(number) for number in (1, 2, 3)]
    output = Output(tmp_path / "out", "trackml")
    for one in made:
        output.add(one)
        assert not (tmp_path / "out" / "submission.csv").exists()
    output.finish()
    whole = write_trackml_submission(tmp_path / "whole.csv", [one.tracks for one in made])
    assert (tmp_path / "out" / "submission.csv").read_bytes() == whole.read_bytes()
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["stages.json", "submission.csv"]
    assert [(row.event_id, row.num_tracks, row.truncated) for row in output.rows] == [(1, 2, 1), (2, 2, 2), (3, 2, 3)]
    assert json.loads((tmp_path / "out" / "stages.json").read_text())["2"][0]["seconds"] == 0.5


@pytest.mark.parametrize("format", ["parquet", "acts", "trackml"])
def test_without_events_nothing_is_made(format, tmp_path):
    Output(tmp_path / "out", format).finish()
    assert not (tmp_path / "out").exists()


def test_a_full_disk_keeps_the_events_before(tmp_path, monkeypatch):
    path = tmp_path / "submission.csv"
    submission = _Submission(path)
    submission.add(b"1,1,1\n")
    real, calls = submission._file, []

    class Full:
        def write(self, rows):
            calls.append(len(rows))
            if len(calls) == 1:
                return real.write(rows[:3])  # half of it fits
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        def __getattr__(self, name):
            return getattr(real, name)

    submission._file = Full()
    with pytest.raises(TrkxError, match=r"submission\.csv: could not be written \(No space left on device\)"):
        submission.add(b"2,2,2\n")
    submission._file = real
    submission.add(b"3,3,3\n")
    submission.put_in_place()
    submission.discard()
    assert path.read_bytes() == b"event_id,hit_id,track_id\n1,1,1\n3,3,3\n"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_where_the_folder_should_be(tmp_path):
    Path(tmp_path / "taken").write_text("mine")
    output = Output(tmp_path / "taken", "trackml")
    with pytest.raises(TrkxError, match="could not be written"):
        output.add(found(1))
    output.finish()
    assert (tmp_path / "taken").read_text() == "mine"
