"""Timings, fresh processes, rates, arithmetic, sizes and the report of `trkx bench`."""

from __future__ import annotations

import io
import json
import math
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from support.tiny import tiny_spec

from trkx.errors import InputError, MissingExtraError, SpecError, TrkxError
from trkx.runtime.bench import arithmetic, report, roofline
from trkx.runtime.bench.child import TimeLimitError, run_fresh
from trkx.runtime.bench.machine import command_line, machine_facts
from trkx.runtime.bench.measure import NotHereError, Timing, compare, unavailable
from trkx.runtime.bench.options import Options
from trkx.runtime.bench.sizes import events_of_sizes, resized
from trkx.runtime.events import Event
from trkx.spec import AttentionSpec, ChainFilterSpec, ChainSpec, GNNSpec, MessagePassingSpec

LINUX = pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="not checked: no high-water mark here")


def event(hits: int = 400, seed: int = 0) -> Event:
    rng = np.random.default_rng(seed)
    phi, r = rng.uniform(-np.pi, np.pi, hits), rng.uniform(30.0, 1000.0, hits)
    position = np.stack([r * np.cos(phi), r * np.sin(phi), rng.uniform(-2000.0, 2000.0, hits)], axis=1)
    return Event(3, np.arange(hits), position.astype(np.float32), cells={"cell_count": np.ones(hits, np.float32)})


def test_cases_take_turns_and_the_first_call_is_apart() -> None:
    order: list[str] = []

    def slow_once() -> int:
        if order.count("b") == 0:
            time.sleep(0.05)
        order.append("b")
        return 7

    kept: dict[str, object] = {}
    found = compare({"a": lambda: order.append("a"), "b": slow_once}, 3, keep=kept.__setitem__)
    assert order == ["a", "b", "a", "b", "b", "a", "a", "b"]
    assert kept == {"a": None, "b": 7}
    assert list(found) == ["a", "b"]
    assert [len(timing.seconds) for timing in found.values()] == [3, 3]
    assert found["b"].warm_up >= 0.05 > found["b"].median


def test_quartiles() -> None:
    timing = Timing("a", (4.0, 1.0, 2.0, 3.0, 5.0), 9.0, None)
    assert (timing.best, timing.low, timing.median, timing.high) == (1.0, 2.0, 3.0, 4.0)
    assert Timing("a", (2.0,), 1.0, None).high == 2.0
    assert timing.to_dict()["median"] == 3.0


@pytest.mark.parametrize("error", [NotHereError, MissingExtraError])
def test_a_case_that_is_missing_gets_a_row(error: type[TrkxError]) -> None:
    def missing() -> None:
        raise error("no such package")

    found = compare({"a": missing, "b": lambda: None}, 1)
    assert not found["a"].available
    assert found["a"].note == "no such package"
    assert math.isnan(found["a"].median) and math.isnan(found["a"].low)
    assert found["a"].to_dict()["warm_up"] is None
    assert found["b"].available


def test_other_errors_are_not_hidden() -> None:
    def broken() -> None:
        raise InputError("bad")

    with pytest.raises(InputError, match="bad"):
        compare({"a": broken}, 1)
    with pytest.raises(SpecError, match="at least 1, found 0"):
        compare({"a": lambda: None}, 0)


GROWTH = """
import json, numpy as np
from trkx.runtime.bench.measure import compare, growth

held = np.ones(8_000_000)  # 64 MB that were there before do not count
with growth() as grown:
    np.ones(5_000_000).sum()  # above 32 MiB glibc maps and unmaps every block; smaller ones may stay in its heap
    np.ones(12_000_000).sum()
peaks = compare({"small": lambda: np.ones(10), "large": lambda: np.ones(8_000_000)}, 2, memory=True)
print(json.dumps([held.nbytes, grown.bytes, grown.highest, peaks["small"].peak_bytes, peaks["large"].peak_bytes]))
"""


@LINUX
def test_growth_is_what_a_block_needs_at_most() -> None:
    """In a process of its own, as benchmarks measure: a long one has its pages taken and given back by others than this test."""
    told = subprocess.run([sys.executable, "-c", GROWTH], capture_output=True, text=True, check=True).stdout
    held, grown, highest, small, large = json.loads(told)
    assert 90e6 < grown < 110e6
    assert highest > held + 90e6
    assert large > 60e6
    assert small < 5e6


def test_a_fresh_process_is_another_one() -> None:
    assert run_fresh("os:getpid", {}) != os.getpid()
    assert run_fresh("json:loads", {"s": "[1, 2]"}) == [1, 2]
    assert run_fresh("os:getenv", {"key": "OMP_NUM_THREADS"}, threads=3) == "3"


def test_a_fresh_process_is_stopped_and_its_errors_are_told() -> None:
    with pytest.raises(TimeLimitError, match=r"stopped after 0\.5 s"):
        run_fresh("subprocess:run", {"args": ["sleep", "30"]}, limit=0.5)
    with pytest.raises(TrkxError, match="JSONDecodeError"):
        run_fresh("json:loads", {"s": "nonsense"})
    with pytest.raises(NotHereError, match="no such way"):
        run_fresh("trkx.runtime.bench.child:_refuse", {"why": "no such way"})


def test_rates_are_positive_and_name_their_source() -> None:
    assert roofline.copy_rate(2, 0.01, 1 << 20) > 1e8
    calls: list[int] = []
    assert roofline.best(lambda: calls.append(1), 0.0) >= 0.0
    assert len(calls) == 4


def test_rates_say_why_torch_is_not_among_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "trkx.runtime.bench.torch_peers", None)
    monkeypatch.delattr("trkx.runtime.bench.torch_peers", raising=False)  # of a test before this one
    monkeypatch.setattr(roofline, "SHAPES", ((8, 8, 8),))
    monkeypatch.setattr(roofline, "copy_rate", lambda threads, seconds: 1.0)
    makers = {"numpy": roofline._numpy_product}
    found = roofline.Rates(**roofline._rates(makers, 1, 0.0))
    assert list(found.details) == ["numpy 8 x 8 x 8"]
    assert list(found.without) == ["torch"] and "torch_peers" in found.without["torch"]
    assert found.to_dict()["without"] == found.without


FAMILIES = {
    "reference": GNNSpec(8, 2, 3),
    "one layer": GNNSpec(8, 1, 1, geometry=False),
    "attention": AttentionSpec(ChainSpec((6, 8)), ChainSpec((5, 1)), ChainSpec((7, 8)), 2, aggregations=("sum", "max")),
    "message passing": MessagePassingSpec(
        ChainSpec((6, 8)), ChainSpec((5, 7)), ChainSpec((9, 8)), ChainSpec((4, 7)), ChainSpec((3, 1)), 2,
        node_inputs=("node", "incoming", "outgoing_first"), edge_inputs=("source", "target_first", "edge", "edge_first"),
        decoder=ChainSpec((5, 6)), shared_nodes=False, shared_edges=False,
    ),
    "edge features": MessagePassingSpec(
        ChainSpec((6, 8)), ChainSpec((5, 7)), ChainSpec((9, 8)), ChainSpec((4, 7)), ChainSpec((3, 1)), 2,
        shared_nodes=False, shared_edges=False, edge_features=("dr", "dz"),
    ),
}


@pytest.mark.parametrize("name", FAMILIES)
def test_arithmetic_is_that_of_the_weights(name: str) -> None:
    """What torch multiplies, counted by hooks on every linear layer, with blocks of hits once per hit."""
    torch = pytest.importorskip("torch")
    from trkx.models.blocks import BlockLinear
    from trkx.models.networks import build_network

    spec = tiny_spec(gnn=FAMILIES[name])
    counted = 0.0

    def split(module: BlockLinear, given: tuple[dict[str, tuple[object, object]]], out: object) -> None:
        nonlocal counted
        for block, weight in module.parts().items():
            counted += 2.0 * given[0][block][0].shape[0] * weight.numel()

    def plain(module: object, given: tuple[object], out: object) -> None:
        nonlocal counted
        counted += 2.0 * given[0].shape[0] * module.weight.numel()

    hits, edges = 50, 170
    x, index = torch.rand(hits, 3), torch.randint(0, hits, (2, edges))
    for stage in spec.stages:
        network = build_network(spec, stage)
        for module in network.modules():
            if isinstance(module, BlockLinear):
                module.register_forward_hook(split)
            elif isinstance(module, torch.nn.Linear):
                module.register_forward_hook(plain)
        counted = 0.0
        more = [torch.rand(edges, 2)] if stage == "gnn" and spec.edge_features else []
        network(*((x,) if stage == "embedding" else (x, index, *more)))
        work = arithmetic.work_of(spec, stage)
        assert work.flops(hits, edges) == counted
        assert work.bytes(edges) > 0.0 or stage == "embedding"


def test_arithmetic_of_both_directions_and_of_chains() -> None:
    chain = tiny_spec(filter=ChainFilterSpec(ChainSpec((4, 1))))
    assert arithmetic.work_of(chain, "filter").flops(10, 100) == 10 * 2 * 6 * 4 + 100 * 2 * 4
    one = FAMILIES["attention"]
    both = AttentionSpec(one.node_encoder, one.edge_network, one.node_network, 2, aggregations=("sum", "max"), undirected=True)
    single, double = (arithmetic.work_of(tiny_spec(gnn=gnn), "gnn") for gnn in (one, both))
    assert (double.edge_flops, double.hit_flops) == (2.0 * single.edge_flops, single.hit_flops)
    with pytest.raises(SpecError, match="has no embedding"):
        arithmetic.work_of(tiny_spec(embedding=None, graph=None), "embedding")


def test_geometry_has_as_many_columns_as_are_counted() -> None:
    pytest.importorskip("torch")
    from trkx.models import geometry

    assert (arithmetic.NODE_FEATURES, arithmetic.PAIR_FEATURES) == (geometry.NODE_FEATURES, geometry.PAIR_FEATURES)


def test_a_sector_keeps_the_density_and_copies_raise_it() -> None:
    whole = event(400)
    part = resized(whole, 100)
    assert len(part) == 100
    kept, azimuth = np.abs(np.arctan2(part.position[:, 1], part.position[:, 0])), np.abs(np.arctan2(*whole.position.T[1::-1]))
    assert np.array_equal(np.sort(kept), np.sort(azimuth)[:100])
    assert len(part.cells["cell_count"]) == 100
    double = resized(whole, 790)
    assert len(double) == 790
    assert len(np.unique(resized(whole, 1200).position, axis=0)) == 1200  # no copy falls on another
    assert np.allclose(np.hypot(*resized(whole, 800).position[400:, :2].T), np.hypot(*whole.position[:, :2].T), rtol=1e-6)
    assert [len(one) for one in events_of_sizes(whole, (50, 1200))] == [50, 1200]
    assert events_of_sizes(whole, ()) == [whole]
    with pytest.raises(InputError, match="at least 1 hit"):
        resized(whole, 0)


def test_options_say_what_is_missing() -> None:
    with pytest.raises(SpecError, match="folder of a bundle"):
        Options().needed_bundle()
    with pytest.raises(SpecError, match="--events"):
        Options().needed_events()
    assert Options(peers=("b",)).wanted(("a", "b")) == ("b",)
    with pytest.raises(SpecError, match="unknown case 'c'"):
        Options(peers=("c",)).wanted(("a", "b"))


def rows() -> list[report.Row]:
    found = []
    for hits, base in ((100, 1.0), (200, 2.0)):
        sizes = {"hits": hits, "edges": 10 * hits}
        ours, work, facts = Timing("fast", (base, base), 3.0, 1_000_000), 1e9 * base, {"same": True, "pairs": 7}
        found += [
            report.Row(f"{hits} hits", sizes, ours, ours=True, flops=work, bytes=work, facts=facts),
            report.Row(f"{hits} hits", sizes, Timing("peer", (4.0 * base,), 3.0, None, "WRONG RESULT"), facts={"same": False}),
            report.Row(f"{hits} hits", sizes, unavailable("other", 'not installed: pip install "trkx[peers]"')),
        ]
    return found


def test_the_table_shows_ratios_rates_and_what_is_missing() -> None:
    lines = table_lines(rows(), 220)
    fast, peer, other = (next(line for line in lines if line.startswith(f"  {name}")) for name in ("fast", "peer", "other"))
    assert all(part in fast for part in ("fast (ours)", "1 s", "1.00", "25", "50", "1 MB", "yes"))
    assert "4.00" in peer and "peer (WRONG RESULT) " in peer and "no" in peer
    assert other.split() == ["other", "-"]
    assert lines[-1] == 'other: not available here: not installed: pip install "trkx[peers]"'


def table_lines(own: list[report.Row], width: int) -> list[str]:
    console = Console(width=width, file=io.StringIO())
    console.print(report.table(own, "made up", roofline.Rates(4e9, 2e9, "numpy", {})))
    return [line.rstrip() for line in console.file.getvalue().splitlines()]  # type: ignore[attr-defined]


def test_at_80_columns_every_number_is_there() -> None:
    wide, narrow = (table_lines(rows(), width) for width in (220, 80))
    assert max(map(len, narrow)) <= 80
    assert "".join(narrow).count("peer (WRONG RESULT) ") == 2 * len(report.table(rows(), "").parts(80)) > 2
    assert "…" not in "".join(narrow) and set(" ".join(wide).split()) <= set(" ".join(narrow).split())


def test_what_is_missing_on_some_graphs_names_them() -> None:
    own = rows()
    some = replace(own[2], timing=Timing("other", (1.0,), 1.0, None))
    assert table_lines([*own[:5], some], 200)[-1].startswith("other (100 hits): not available here: not installed")


def test_lines_of_a_picture_join_no_two_series(tmp_path: Path) -> None:
    """A line from one kind of graph to another of the same size, or over several stages, says nothing."""
    own = [replace(row, series=series) for series in ("paths", "stars") for row in rows()]
    panels = report.panels_of([*own, replace(own[0], series="one size only")])
    assert [(panel.series, panel.size) for panel in panels] == [("paths", "hits"), ("stars", "hits")]
    assert all({row.series for points in panel.cases.values() for row in points} == {panel.series} for panel in panels)
    assert [[row.sizes["hits"] for row in points] for points in panels[0].cases.values()] == [[100, 200], [100, 200]]
    assert [(panel.series, panel.size) for panel in report.panels_of(rows()[::-1])] == [("", "hits"), ("", "edges")]
    assert report.plot(tmp_path / "one.png", [replace(row, series=row.graph) for row in rows()], "one") is None


def test_ratios_are_to_the_fastest_of_ours_on_the_same_graph() -> None:
    own = rows()
    assert report.ratio(own[1], report.reference_of(own, "100 hits")) == 4.0
    assert report.ratio(own[2], report.reference_of(own, "100 hits")) is None
    assert report.ratio(own[1], report.reference_of(own[1:], "100 hits")) is None


def test_json_is_whole_and_names_no_folder(tmp_path: Path) -> None:
    rates = roofline.Rates(1.0, 2.0, "numpy", {})
    path = report.write_json(tmp_path / "x" / "gnn.json", "gnn", rows(), machine_facts(2), rates, {"before": 0.5})
    held = json.loads(path.read_text())
    assert held["rows"][1]["ratio_to_ours"] == 4.0
    assert held["rows"][1]["ratio_of_best"] == 4.0 and held["rows"][2]["ratio_of_best"] is None
    assert held["rows"][2]["available"] is False
    assert held["machine"]["versions"]["numpy"] == np.__version__
    assert held["rates"]["copy"] == 2.0
    assert command_line(["/usr/bin/trkx", "bench", "gnn", "/some/where/bundle"]) == "trkx bench gnn bundle"
    assert command_line(["/some/benchmarks/per_candidate.py", "/some/where/b"]) == "python benchmarks/per_candidate.py b"
    assert command_line(["/some/trkx/__main__.py", "bench", "gnn"]) == "trkx bench gnn"
    assert command_line(["trkx", "bench", "gnn", "--out=/some/where", "a=/b"]) == "trkx bench gnn --out=where a=/b"


def test_the_picture_needs_two_sizes(tmp_path: Path) -> None:
    pytest.importorskip("mplhep")
    assert report.plot(tmp_path / "one.png", rows()[:3], "one") is None
    path = report.plot(tmp_path / "two.png", rows(), "two")
    assert path is not None and path.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(("seconds", "text"), [(12.345, "12.3 s"), (0.5, "500 ms"), (2.5e-5, "25 us"), (0.0, "0 us")])
def test_durations(seconds: float, text: str) -> None:
    assert report.duration(seconds) == text
