"""`trkx bench neighbours`: cases that find the same, and rows that say so when they do not."""

import math
from dataclasses import replace

import numpy as np
import pytest

from trkx.errors import MissingExtraError, SpecError
from trkx.runtime.bench import neighbours
from trkx.runtime.bench.child import TimeLimitError
from trkx.runtime.bench.measure import Timing
from trkx.runtime.bench.options import Options
from trkx.runtime.events import write_event_parquet
from trkx.runtime.neighbours import radius_graph


@pytest.fixture
def points(rng):
    return rng.uniform(size=(300, 4)).astype(np.float32)


@pytest.fixture
def file(points, tmp_path):
    np.save(tmp_path / "points.npy", points)
    return str(tmp_path / "points.npy")


def by_hand(answers):
    """Return a stand-in for processes of their own: name to an answer, or to what is raised."""
    def run_fresh(function, arguments, limit, threads):
        assert function == "trkx.runtime.bench.neighbours:alone_here"
        answer = answers[arguments["name"]]
        if callable(answer):
            answer = answer(arguments)
        if isinstance(answer, Exception):
            raise answer
        return answer
    return run_fresh


def answer(seconds=0.01, pairs=10, digest="a", tuned=None):
    return {"seconds": seconds, "pairs": pairs, "digest": digest, "peak": 1000, "tuned": tuned}


def test_alone_both_find_the_same(file, points):
    ours, theirs = (neighbours.alone_here(file, 0.2, name, 1) for name in (neighbours.GRID, "cKDTree"))
    assert ours["pairs"] == theirs["pairs"] == radius_graph(points, 0.2).pairs.shape[1] > 50
    assert ours["digest"] == theirs["digest"]
    assert ours["seconds"] > 0 and ours["tuned"] is None
    assert neighbours.alone_here(file, 0.21, "cKDTree", 1)["digest"] != ours["digest"]


def test_rows_compare_with_ours(points, monkeypatch):
    names = (neighbours.GRID, "cKDTree")
    monkeypatch.setattr(neighbours, "run_fresh", by_hand({names[0]: answer(), names[1]: answer()}))
    ours, theirs = neighbours.measured(points, 0.2, names, Options(rounds=2))
    assert ours.ours and not theirs.ours
    assert len(theirs.timing.seconds) == 2
    assert theirs.facts["same pairs"] is True
    assert "same pairs" not in ours.facts
    assert theirs.facts["ns/pair"] == pytest.approx(theirs.timing.median * 1e8)
    assert ours.sizes == {"hits": 300, "edges": 10}
    assert ours.timing.peak_bytes is None


def test_rows_say_when_pairs_differ_or_a_case_did_not_run(points, monkeypatch):
    answers = {
        neighbours.GRID: answer(), "cKDTree": answer(pairs=9, digest="b"), "faiss flat": TimeLimitError("stopped"),
        "pynanoflann": MissingExtraError("pynanoflann not installed"), "faiss IVF": answer(seconds=99.0, tuned=8),
    }
    monkeypatch.setattr(neighbours, "run_fresh", by_hand(answers))
    monkeypatch.setattr("trkx.backends._is_there", lambda module: True)
    found = neighbours.measured(points, 0.2, tuple(answers), Options(rounds=1, limit=7, memory=True))
    rows = {row.timing.name: row for row in found}
    assert rows["cKDTree"].facts["same pairs"] is False
    assert rows["cKDTree"].facts["pairs lost"] == 1
    assert rows["faiss flat"].timing.note == "longer than 7 s"
    assert not rows["faiss flat"].timing.available
    assert "pynanoflann not installed" in rows["pynanoflann"].timing.note
    slow = rows["faiss IVF"]
    assert (slow.timing.seconds, slow.timing.note, slow.facts["cells looked at"]) == ((99.0,), "run once, by itself", 8)
    assert math.isnan(slow.timing.warm_up)
    assert slow.timing.peak_bytes == 1000


@pytest.mark.parametrize(("enough", "reached", "same"), [(8, 8, True), (10**6, 2 * 2**neighbours.MOST_DOUBLINGS, False)])
def test_tuning_goes_on_until_no_pair_is_lost(enough, reached, same, points, monkeypatch):
    def inverted(given):
        cells = given.get("tuned") or 2
        return answer(seconds=99.0, tuned=cells) if cells >= enough else answer(seconds=99.0, pairs=9, digest="b", tuned=cells)

    monkeypatch.setattr(neighbours, "run_fresh", by_hand({neighbours.GRID: answer(), "faiss IVF": inverted}))
    monkeypatch.setattr("trkx.backends._is_there", lambda module: True)
    (row,) = neighbours.measured(points, 0.2, ("faiss IVF",), Options(rounds=1))
    assert row.facts["cells looked at"] == reached
    assert row.facts["same pairs"] is same


def test_a_missing_library_starts_no_process(points, monkeypatch):
    monkeypatch.setattr("trkx.backends._is_there", lambda module: False)
    monkeypatch.setattr(neighbours, "run_fresh", by_hand({neighbours.GRID: answer()}))
    rows = neighbours.measured(points, 0.2, ("faiss flat",), Options(rounds=1))
    assert [row.timing.note for row in rows] == ["peer 'faiss': faiss-cpu not installed. Install: pip install \"trkx[peers]\""]


def test_unknown_case(points):
    with pytest.raises(SpecError, match=r"unknown case 'cKDTre'\. Did you mean 'cKDTree'"):
        neighbours.search("cKDTre", points, 0.2, 1)


def test_an_event_in_two_sizes(tiny_export, tmp_path, monkeypatch):
    write_event_parquet(tmp_path, replace(tiny_export.event, cells={}))
    monkeypatch.setattr(neighbours, "run_fresh", lambda function, given, limit, threads: neighbours.alone_here(**given))
    options = Options(tiny_export.folder, (tmp_path,), (50, 120), rounds=1, peers=("cKDTree", neighbours.GRID))
    rows = neighbours.rows(options)
    assert [(row.sizes["hits"], row.timing.name) for row in rows] == [
        (50, neighbours.GRID), (50, "cKDTree"), (120, neighbours.GRID), (120, "cKDTree")]
    assert [row.facts["same pairs"] for row in rows if not row.ours] == [True, True]
    assert rows[2].facts["pairs"] > 0


def test_a_timing_without_a_run_gives_no_facts(points):
    row = neighbours._row("g", points, "cKDTree", Timing("cKDTree", (), math.nan, None, "why"), None, answer())
    assert dict(row.facts) == {}
