"""Run by test_bench_device.py, in a process of its own; on a GPU without TRITON_INTERPRET."""

import os
import time
from dataclasses import replace
from io import StringIO
from itertools import pairwise

import numpy as np
import pytest
import torch
from rich.console import Console

from trkx.bundle import Bundle
from trkx.errors import MissingExtraError, TrkxError
from trkx.runtime.bench import device_components, device_graphs, device_ladder, device_neighbours, device_rungs, ladder
from trkx.runtime.bench.child import run_fresh
from trkx.runtime.bench.device_measure import DeviceUse, compare_on, device_facts, timed
from trkx.runtime.bench.measure import NotHereError
from trkx.runtime.bench.options import Options
from trkx.runtime.bench.report import table
from trkx.runtime.bench.sizes import resized
from trkx.runtime.events import write_event_parquet
from trkx.runtime.pipeline import Pipeline

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
DEVICE = "cpu" if INTERPRETED else "cuda"
STAGES = ladder.STAGES


@pytest.fixture(scope="module")
def event(tiny_export):
    return resized(replace(tiny_export.event, cells={}), 90 if INTERPRETED else 400)


@pytest.fixture(scope="module")
def place(event, tmp_path_factory):
    folder = tmp_path_factory.mktemp("device")
    write_event_parquet(folder / "event", event)
    return folder / "event"


@pytest.fixture(scope="module")
def inputs(tiny_bundle, event, tmp_path_factory):
    file = tmp_path_factory.mktemp("inputs") / "inputs.npz"
    device_rungs.prepare(Bundle.open(tiny_bundle), event, file, DEVICE)
    return file


@pytest.fixture
def no_gpu_needed(monkeypatch):
    monkeypatch.setattr("trkx.backends.GPU_PLACES", ("/*",))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


def printed(tables):
    out = StringIO()
    console = Console(file=out, width=240)
    for one in tables:
        console.print(one)
    return out.getvalue()


def test_what_stages_are_given_is_what_the_pipeline_finds(tiny_bundle, event):
    given = device_graphs.stages_of(Bundle.open(tiny_bundle), event, torch.device(DEVICE)).arrays()
    found = Pipeline.open(tiny_bundle, engine="onnxruntime", threads=1).run(event, keep_graphs=True).graphs
    for name, graph in (("candidates", "graph"), ("edges", "filter")):
        np.testing.assert_array_equal(given[name][:, np.lexsort(given[name])], found[graph][:, np.lexsort(found[graph])])
    assert given["logits"].shape == (given["edges"].shape[1],)


MEANS = sorted({item for rung in device_ladder.ladder()[:-1] for item in rung.means.items()}
               | {("build edges", "torch, all pairs"), ("labelling", "torch, spreading")})


@pytest.mark.parametrize(("stage", "means"), MEANS)
def test_every_means_gives_what_our_pipeline_gives(stage, means, tiny_bundle, event, place, inputs, no_gpu_needed):
    try:
        device_rungs.required(stage, means, DEVICE)
    except MissingExtraError as error:
        pytest.skip(f"not checked: {error}")
    try:
        found = device_rungs.stage_here(stage, means, str(tiny_bundle), str(place), str(inputs), 1, 2, DEVICE)
    except NotHereError as error:
        pytest.skip(f"not checked: {error}")
    assert len(found["seconds"]) == 2 and min(found["seconds"]) > 0.0
    assert (found["used_bytes"] is None) == (found["peak_bytes"] is None) == INTERPRETED
    tracks = Pipeline.open(tiny_bundle, threads=1).run(event, keep_graphs=True)
    wanted = {
        "data loading": len(event), "embedding": len(event), "build edges": tracks.graphs["graph"].shape[1],
        "filtering": tracks.graphs["filter"].shape[1], "GNN": tracks.graphs["gnn"].shape[1], "labelling": tracks.num_tracks,
    }
    if means == device_rungs.AMP:
        assert abs(found["out"] - wanted[stage]) <= 0.1 * wanted[stage] + 3
    elif stage == "build edges" and means != device_rungs.TRITON:  # what lies within rounding of the radius is there too
        assert wanted[stage] <= found["out"] <= 1.01 * wanted[stage] + 3
    else:
        assert found["out"] == wanted[stage] > 0


def test_our_pipeline_stage_by_stage(tiny_bundle, place, event):
    found = device_rungs.whole_here(str(tiny_bundle), str(place), "torch-cuda", 1, 2, DEVICE)
    assert set(found) == set(STAGES)
    assert all(len(one["seconds"]) == 2 for one in found.values())
    assert found["data loading"]["out"] == len(event)


def test_a_real_run_in_processes_of_their_own(tiny_bundle, place, inputs, monkeypatch):
    """On the CPU with kernels interpreted, as the children inherit it."""
    monkeypatch.setattr(device_ladder, "OUR_ENGINE", "torch-cuda" if INTERPRETED else "triton")
    told = []
    options = Options(tiny_bundle, (place,), rounds=1, peers=("ours in all",), device=DEVICE, tell=told.append)
    rows = device_ladder.rows(options)
    assert [row.graph for row in rows] == [*STAGES, "total"]
    assert [row.timing.note for row in rows] == 7 * [""]
    text = printed(device_ladder.tables(rows, "title"))
    assert "GPU memory, torch" in text and "cuGraph, the third rung" not in text
    given = {"bundle": str(tiny_bundle), "event": str(place), "inputs": str(inputs), "threads": 1, "rounds": 1, "device": DEVICE}
    given |= {"stage": "build edges", "means": device_rungs.TRITON}
    found = run_fresh("trkx.runtime.bench.device_rungs:stage_here", given)
    edges = next(row.facts["out"] for row in rows if row.graph == "build edges")
    assert [found["out"]] == edges


def test_each_rung_changes_one_thing_and_says_what_stands_in(monkeypatch):
    there = {"torch_cluster", "faiss", "cugraph", "cudf", "cupy", "frnn", "sklearn", "torch"}
    monkeypatch.setattr("trkx.backends._is_there", lambda module: module in there)
    rungs = device_ladder.ladder()
    assert [rung.name for rung in rungs] == [
        "baseline", "+ faiss", "+ cuGraph", "+ AMP", "+ FRNN", "+ our kernels", "ours in all",
    ]
    changes = [{stage for stage in STAGES if a.means[stage] != b.means[stage]} for a, b in pairwise(rungs[:-1])]
    assert changes == [
        {"build edges"}, {"labelling"}, {"embedding", "filtering", "GNN"}, {"build edges"}, {"build edges", "labelling"},
    ]
    assert not any(rung.instead for rung in rungs)
    there -= {"torch_cluster", "frnn", "cugraph"}
    there |= {"frnn_cuda", "pylibcugraph"}
    rungs = {rung.name: rung for rung in device_ladder.ladder()}
    assert rungs["baseline"].means["build edges"] == "torch, all pairs"
    assert rungs["baseline"].instead == {"build edges": "torch_cluster"}
    assert rungs["+ faiss"].instead == {}
    assert rungs["+ AMP"].instead == {"labelling": "cuGraph"}
    assert rungs["+ FRNN"].means["build edges"] == "libFRNN"
    assert rungs["+ FRNN"].instead == {"build edges": "FRNN", "labelling": "cuGraph"}
    assert rungs["+ our kernels"].instead == {}
    there -= {"frnn_cuda", "pylibcugraph"}
    rungs = {rung.name: rung for rung in device_ladder.ladder()}
    assert rungs["+ FRNN"].means["build edges"] == "FRNN"  # is shown as not installed
    assert rungs["+ FRNN"].means["labelling"] == "cuGraph"


def test_the_table_says_what_is_missing_and_what_stands_in(tiny_bundle, place, monkeypatch):
    there = {"torch", "triton"}
    monkeypatch.setattr("trkx.backends._is_there", lambda module: module in there)
    monkeypatch.setattr(device_ladder, "prepare", lambda *arguments: None)
    asked = []

    def run_fresh(function, arguments, limit, threads):
        assert arguments["device"] == DEVICE
        one = {"seconds": [0.5], "warm_up": 1.0, "peak_bytes": 2_000_000_000, "used_bytes": 3_000_000_000, "out": 4}
        if function == "trkx.runtime.bench.device_rungs:whole_here":
            assert arguments["engine"] == "triton"
            return dict.fromkeys(STAGES, one)
        asked.append((arguments["stage"], arguments["means"]))
        if asked[-1] == ("GNN", device_rungs.AMP):
            raise TrkxError("out of memory")
        return one

    monkeypatch.setattr(ladder, "run_fresh", run_fresh)
    rows = device_ladder.rows(Options(tiny_bundle, (place,), device=DEVICE))
    by = {(row.timing.name, row.graph): row for row in rows}
    assert by["baseline", "build edges"].facts["in place of"] == "torch_cluster"
    assert ("build edges", "faiss flat") not in asked and ("build edges", "torch, all pairs") in asked
    text = printed(device_ladder.tables(rows, "title"))
    assert "* build edges: torch, all pairs in place of torch_cluster, which is not installed" in text
    assert "500 ms *" in text
    assert "not installed" in text and "not available here" in text
    assert "build edges: peer 'faiss-gpu': faiss-gpu not installed" in text
    assert "GPU memory in use" in text and "3.00 GB" in text and "2.00 GB" in text
    assert by["+ faiss", "total"].facts == {"not installed": True}
    assert "not installed" not in by["+ AMP", "GNN"].facts
    assert by["ours in all", "total"].timing.available


def test_neighbours(tiny_bundle, place, monkeypatch):
    options = Options(tiny_bundle, (place,), sizes=(60,), rounds=1, device=DEVICE, memory=True)
    rows = device_neighbours.rows(options)
    assert [row.timing.name for row in rows] == ["trkx triton", *device_neighbours.NEIGHBOURS]
    by = {row.timing.name: row for row in rows}
    assert by["torch, all pairs"].facts["same pairs"] is True
    assert by["torch, all pairs"].facts["pairs"] == by["trkx triton"].facts["pairs"] > 0
    for row in rows:
        assert row.timing.available or "not installed" in row.timing.note or "NVIDIA" in row.timing.note
    assert "trkx triton (ours)" in printed([table(rows, "title")])
    monkeypatch.setattr(device_neighbours, "search", losing(device_neighbours.search))
    rows = device_neighbours.rows(replace(options, peers=("torch, all pairs",)))
    assert rows[0].facts["same pairs"] is False


def losing(search):
    def fewer(name, points, radius):
        call = search(name, points, radius)
        return lambda: call()[:, 1:]

    return fewer


def test_components(tiny_bundle, place):
    rows = device_components.rows(Options(tiny_bundle, (place,), sizes=(80,), rounds=1, device=DEVICE))
    graphs = list(dict.fromkeys(row.graph for row in rows))
    assert len(graphs) == 7 and "edges after the GNN" in graphs[0]
    for row in rows:
        if row.timing.name == "torch, spreading":
            assert row.facts["same labels"] is True
        assert row.timing.available or "not installed" in row.timing.note or "NVIDIA" in row.timing.note


def test_memory_of_a_gpu_is_asked_for(monkeypatch):
    """The calls that a GPU gets, with made-up answers."""
    state = {"free": 900, "allocated": 100, "peak": 0}
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: None)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda device: state.update(peak=state["allocated"]))
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: state["allocated"])
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: state["peak"])
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (state["free"], 1000))

    def work():
        state.update(peak=400, free=300)
        time.sleep(0.1)
        state.update(free=800)
        return "done"

    with DeviceUse(torch.device("cuda")) as use:
        work()
    assert (use.allocated, use.grown, use.used) == (400, 300, 700)
    timings, used = compare_on(torch.device("cuda"), {"a": work}, 1, True, lambda name, result: None)
    assert timings["a"].peak_bytes == 300 and used == {"a": 700}


def test_measuring(rng):
    device = torch.device(DEVICE)
    came, seconds = timed(device, lambda: torch.ones(3, device=device).sum())
    assert float(came) == 3.0 and seconds > 0.0
    with DeviceUse(device) as use:
        held = torch.zeros(1 << 22, device=device)
        del held
    if INTERPRETED:
        assert use.allocated is None and use.used is None
        assert device_facts(DEVICE)["name"] == "CPU"
    else:
        assert use.allocated >= 1 << 24 and use.used >= use.allocated
        assert "NVIDIA" in device_facts(DEVICE)["name"]

    def gone():
        raise NotHereError("no such thing")

    kept = {}
    timings, used = compare_on(device, {"a": lambda: 1, "b": gone}, 2, True, kept.__setitem__)
    assert kept == {"a": 1} and len(timings["a"].seconds) == 2 and timings["b"].note == "no such thing"
    assert set(used) == (set() if INTERPRETED else {"a"})
