"""`trkx bench ladder`: the rungs, every stage by every means, and a table that says what is missing or too slow."""

from dataclasses import replace
from io import StringIO
from itertools import pairwise

import numpy as np
import pytest
from rich.console import Console
from support.tiny import tiny_spec

from trkx.bundle import Bundle
from trkx.errors import MissingExtraError, SpecError, TrkxError
from trkx.runtime.bench import ladder, rungs
from trkx.runtime.bench.child import TimeLimitError
from trkx.runtime.bench.options import Options
from trkx.runtime.events import Event, write_event_parquet
from trkx.runtime.pipeline import Pipeline
from trkx.spec import LabellingSpec

STAGES = rungs.STAGES


@pytest.fixture
def event(tiny_export):
    return replace(tiny_export.event, cells={})


@pytest.fixture
def place(event, tmp_path):
    write_event_parquet(tmp_path / "event", event)
    return tmp_path / "event"


@pytest.fixture
def inputs(tiny_bundle, event, tmp_path):
    rungs.prepare(Bundle.open(tiny_bundle), event, tmp_path / "inputs.npz", 1)
    return tmp_path / "inputs.npz"


def printed(rows):
    out = StringIO()
    console = Console(file=out, width=220)
    for table in ladder.tables(rows, "title"):
        console.print(table)
    return out.getvalue()


def answer(seconds, peak=1_000_000_000, out=5):
    return {"seconds": [seconds], "warm_up": 0.5, "peak_bytes": peak, "out": out}


def stand_in(monkeypatch, change=None, whole=0.25):
    """Replace processes of their own by made-up answers; `change`: (stage, means) to an answer or to what is raised."""
    asked = []

    def run_fresh(function, arguments, limit, threads):
        if function.endswith("whole_here"):
            if isinstance(whole, Exception):
                raise whole
            return {stage: answer(whole) for stage in STAGES}
        key = arguments["stage"], arguments["means"]
        asked.append(key)
        found = (change or {}).get(key, answer(1.0))
        if isinstance(found, Exception):
            raise found
        return found

    monkeypatch.setattr(ladder, "run_fresh", run_fresh)
    monkeypatch.setattr(ladder, "required", lambda stage, means: None)
    monkeypatch.setattr(ladder, "prepare", lambda *arguments: None)
    return asked


def test_each_rung_changes_one_thing():
    steps = ladder.ladder()
    assert [rung.name for rung in steps][:2] == ["baseline", "+ faiss"]
    changes = [{stage for stage in STAGES if a.means[stage] != b.means[stage]} for a, b in pairwise(steps[:-1])]
    assert changes == [{"build edges"}, {"labelling"}, {"embedding", "filtering", "GNN"}, {"build edges"}]
    assert all(set(rung.means) == set(STAGES) for rung in steps)


def test_without_scikit_network_scipy_finds_components(monkeypatch):
    monkeypatch.setattr("trkx.backends._is_there", lambda module: False)
    assert ladder.ladder()[2].means["labelling"] == "scipy"
    monkeypatch.setattr("trkx.backends._is_there", lambda module: True)
    assert ladder.ladder()[2].means["labelling"] == "scikit-network"


MEANS = sorted({item for rung in ladder.ladder()[:-1] for item in rung.means.items()} | {("labelling", "scipy")})


@pytest.mark.parametrize(("stage", "means"), MEANS)
def test_every_means_gives_what_our_pipeline_gives(stage, means, tiny_bundle, event, place, inputs):
    try:
        rungs.required(stage, means)
    except MissingExtraError as error:
        pytest.skip(f"not checked: {error}")
    found = rungs.stage_here(stage, means, str(tiny_bundle), str(place), str(inputs), 1, 2)
    assert len(found["seconds"]) == 2 and min(found["seconds"]) > 0.0
    assert found["peak_bytes"] is None or found["peak_bytes"] > 1_000_000
    tracks = Pipeline.open(tiny_bundle, threads=1).run(event, keep_graphs=True)
    wanted = {
        "data loading": len(event), "embedding": len(event), "build edges": tracks.graphs["graph"].shape[1],
        "filtering": tracks.graphs["filter"].shape[1], "GNN": tracks.graphs["gnn"].shape[1],
    }
    if stage == "labelling":  # the tiny pipeline takes components
        assert found["out"] == tracks.num_tracks > 1
        assert tracks.num_tracks < len(np.unique(tracks.label))  # short ones don't count
    elif means == rungs.BFLOAT16:
        assert abs(found["out"] - wanted[stage]) <= 0.1 * wanted[stage] + 3
    elif stage == "build edges" and means != rungs.GRID:  # what lies within rounding of the radius is there too
        assert wanted[stage] <= found["out"] <= 1.01 * wanted[stage] + 3
    else:
        assert found["out"] == wanted[stage] > 0


@pytest.mark.parametrize(("min_hits", "tracks"), [(1, 5), (2, 2), (3, 1), (4, 0)])
@pytest.mark.parametrize("label", [[0, 0, 0, 1, 1, -1, -1, -1], [7, 7, 7, 2, 2, 9, 4, 0]], ids=["noise", "any numbers"])
def test_labels_count_as_tracks_whatever_their_numbers(label, min_hits, tracks):
    hits = Event(1, np.arange(8), np.ones((8, 3), np.float32))
    spec = tiny_spec(labelling=LabellingSpec(min_hits=min_hits))
    assert rungs.counted(np.array(label), hits, spec) == tracks


def test_our_pipeline_stage_by_stage(tiny_bundle, place, event):
    found = rungs.whole_here(str(tiny_bundle), str(place), "onnxruntime", 1, 2)
    assert set(found) == set(STAGES)
    assert all(len(one["seconds"]) == 2 for one in found.values())
    assert found["data loading"]["out"] == len(event)


def test_a_real_run_in_processes_of_their_own(tiny_bundle, place, event):
    told = []
    options = Options(tiny_bundle, (place,), rounds=1, peers=("ours in all",), tell=told.append)
    rows = ladder.rows(options)
    assert [row.graph for row in rows] == [*STAGES, "total"]
    assert all(row.timing.available and row.ours for row in rows)
    assert rows[-1].timing.median == pytest.approx(sum(row.timing.median for row in rows[:-1]))
    assert told[-1].startswith("ladder: our pipeline")


def test_the_table_has_mean_and_deviation_over_events(tiny_bundle, place, event, tmp_path, monkeypatch):
    write_event_parquet(place, replace(event, event_id=7))
    asked = stand_in(monkeypatch)
    rows = ladder.rows(Options(tiny_bundle, (place,)))
    assert len(asked) == 2 * len(set(asked))  # once an event, however many rungs share it
    text = printed(rows)
    assert "1 s ± 0 us" in text
    assert "6 s ± 0 us" in text  # the total of six stages
    assert "250 ms ± 0 us" in text
    assert text.count("4.0") >= 5  # times longer than ours
    assert "1.00 GB" in text
    assert "cuGraph" in text
    assert "torch_cluster: 5" in text


def test_too_slow_and_not_here(tiny_bundle, place, monkeypatch):
    stand_in(monkeypatch, {
        ("build edges", "torch_cluster"): TimeLimitError("stopped"),
        ("labelling", "DBSCAN"): answer(2.0),
        ("build edges", "faiss flat"): TrkxError('peer: not installed. Install: pip install "trkx[peers]"'),
    })
    rows = ladder.rows(Options(tiny_bundle, (place,), limit=100.0))
    by = {(row.timing.name, row.graph): row for row in rows}
    assert by["baseline", "build edges"].facts["at least"] == 100.0
    assert by["baseline", "total"].facts["at least"] == pytest.approx(106.0)  # 100, 4 stages of 1 s, 2 s
    assert not by["+ faiss", "total"].timing.available
    assert "at least" not in by["+ faiss", "total"].facts
    text = printed(rows)
    assert "> 100 s" in text
    assert "> 106 s" in text
    assert "not available here" in text
    assert 'pip install "trkx[peers]"' in text  # brackets are not markup
    assert "stopped" not in text


def test_what_is_too_slow_on_one_event_is_not_tried_on_the_next(tiny_bundle, place, event, monkeypatch):
    write_event_parquet(place, replace(event, event_id=7))
    key = ("build edges", "torch_cluster")
    asked = stand_in(monkeypatch, {key: TimeLimitError("stopped")})
    ladder.rows(Options(tiny_bundle, (place,), peers=("baseline",)))
    assert asked.count(key) == 1
    assert asked.count(("labelling", "DBSCAN")) == 2


def test_ours_failing_is_a_row(tiny_bundle, place, monkeypatch):
    stand_in(monkeypatch, whole=TrkxError("no memory"))
    rows = ladder.rows(Options(tiny_bundle, (place,)))
    assert [row.timing.note for row in rows if row.ours][:2] == ["no memory", "no memory"]
    assert "no memory" in printed(rows)


def test_missing_libraries_start_no_process(monkeypatch):
    monkeypatch.setattr("trkx.backends._is_there", lambda module: False)
    for stage, means in (("build edges", "faiss flat"), ("labelling", "DBSCAN"), ("GNN", rungs.EAGER), ("GNN", rungs.BFLOAT16)):
        with pytest.raises(MissingExtraError):
            rungs.required(stage, means)
    rungs.required("build edges", rungs.GRID)
    rungs.required("data loading", rungs.PARQUET)


def test_a_bundle_without_a_filter_has_no_ladder(monkeypatch, tmp_path, tiny_bundle):
    class Without:
        spec = tiny_spec(filter=None, cuts=replace(tiny_spec().cuts, filter=None))

    monkeypatch.setattr(ladder.Bundle, "open", lambda path: Without())
    with pytest.raises(SpecError, match="tiny has none; use trkx bench pipeline"):
        ladder.rows(Options(tmp_path, (tmp_path,)))


def test_an_unknown_rung():
    with pytest.raises(SpecError, match="unknown case '\\+ fais'"):
        Options(peers=("+ fais",)).wanted(ladder.known_cases())
