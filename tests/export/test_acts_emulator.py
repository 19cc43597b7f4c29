"""The emulated stages of ACTS's plugin do what its sources do, step by step; and real files pass through them."""

from __future__ import annotations

import io
import itertools
import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from onnx import parser
from support.acts_bundles import acts_bundle_into, acts_bundle_of, few_cases
from support.tiny import tiny_spec
from torch import Tensor, nn
from typer.testing import CliRunner

from trkx import cli
from trkx.errors import ExportError
from trkx.export import build
from trkx.export.acts import contract, contract_memory
from trkx.export.acts.contract import checked, decided
from trkx.export.acts.emulated_onnx import OnnxEdgeClassifier, masked
from trkx.export.acts.emulated_tensorrt import TensorRTEdgeClassifier
from trkx.export.acts.emulated_torch import TorchEdgeClassifier
from trkx.export.acts.emulator import Emulator, Graph, NoEdgesError, candidates, classified, features_of, without_unused_hits
from trkx.export.acts.feeds import EDGE_FEATURES, acts_case, acts_cases, at_one_radius, edge_features_of_acts
from trkx.export.acts.form import acts_network
from trkx.export.acts.metric_learning import TorchMetricLearning, built_edges, raw_floats
from trkx.export.acts.subject import Subject, Trained
from trkx.export.assembling import Given, features_from
from trkx.export.check import Expectation
from trkx.export.pipeline_folder import load_network, open_source
from trkx.export.torchscript_file import torchscript_is_meant
from trkx.export.validation import validate
from trkx.export.validation.model_file import ModelFile
from trkx.export.validation.oracle import oracle_for
from trkx.export.validation.report import Report, Row
from trkx.export.zoo import Case, helix_event
from trkx.runtime.edge_features import edge_features
from trkx.runtime.events import write_event_parquet
from trkx.spec import ChainSpec, CutSpec, FeatureSpec, MessagePassingSpec, PipelineSpec

runner = CliRunner()
EDGES = np.array([[0, 0, 1, 2], [1, 3, 2, 3]])


class Differences(nn.Module):
    """Logit of an edge: the difference of the first feature of its ends."""

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        return (x[edge_index[1], :1] - x[edge_index[0], :1]) + 0.0 * x.sum()


class Degrees(nn.Module):
    """Logit of an edge: how many edges its source has, one message after the other."""

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        ones = torch.ones_like(edge_index[0], dtype=x.dtype)
        return torch.zeros_like(x[:, 0]).index_add(0, edge_index[0], ones)[edge_index[0]].unsqueeze(1)


class Writes(nn.Module):
    """Doubles its input on the way."""

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        x.mul_(2.0)
        return x[edge_index[0], :1]


def script(module: nn.Module, *inputs: Tensor) -> bytes:
    buffer = io.BytesIO()
    with torchscript_is_meant():
        given = inputs or (torch.rand(5, 3), torch.tensor([[0, 1], [2, 3]]))
        torch.jit.save(torch.jit.trace(module, given, check_trace=False), buffer)
    return buffer.getvalue()


def read(data: bytes) -> Callable[[str], bytes]:
    return lambda name: data


def torch_stage(module: nn.Module, **options: Any) -> TorchEdgeClassifier:
    return TorchEdgeClassifier({"stage": "TorchEdgeClassifier", "model": "m.pt", **options}, read(script(module)))


def four_hits(edges: np.ndarray = EDGES) -> Graph:
    x = np.arange(12, dtype=np.float32).reshape(4, 3) * [[1.0, 0.1, 10.0]]
    return Graph(x.astype(np.float32), np.ascontiguousarray(edges))


def test_torch_takes_features_in_the_order_listed() -> None:
    graph = four_hits()
    first, last = (torch_stage(Differences(), selectedFeatures=order).judge(graph).logits for order in ([0, 1, 2], [2, 1, 0]))
    np.testing.assert_allclose(last, 10.0 * first)
    with pytest.raises(ExportError, match=r"\[0, 3\] reach beyond the 3 features"):
        torch_stage(Differences(), selectedFeatures=[0, 3]).judge(graph)


def test_onnx_takes_features_ascending_whatever_the_order() -> None:
    x = four_hits().x
    assert np.array_equal(masked(x, [2, 0]), x[:, [0, 2]])
    with pytest.raises(ExportError, match="reach beyond"):
        masked(x, [-1])


def test_a_score_of_the_cut_is_dropped() -> None:
    graph = four_hits()
    score = torch_stage(Differences()).judge(graph).score
    judged = torch_stage(Differences(), cut=float(score[2])).judge(graph)
    assert not judged.mask[2] and np.array_equal(judged.mask, score > score[2])
    left = classified(torch_stage(Differences(), cut=0.99), graph)
    assert left.edge_index.shape[1] == int((score > 0.99).sum()) and left.score is not None
    with pytest.raises(NoEdgesError):
        classified(torch_stage(Differences(), cut=1.0), graph)


def test_undirected_feeds_both_ways_and_keeps_the_first_half() -> None:
    graph = four_hits()
    once, twice = (torch_stage(Degrees(), undirected=undirected).judge(graph).logits for undirected in (False, True))
    assert once.tolist() == [2.0, 2.0, 1.0, 1.0]
    assert twice.tolist() == [2.0, 2.0, 2.0, 2.0]  # now hit 1 and hit 2 have two each
    one = torch_stage(Differences(), undirected=True).judge(four_hits(EDGES[:, :1]))
    assert one.logits.shape == (1,)


def test_chunks_break_messages_and_a_chunk_of_one_edge_throws() -> None:
    assert torch_stage(Degrees(), nChunks=2).judge(four_hits()).logits.tolist() == [2.0, 2.0, 1.0, 1.0]
    late = four_hits(EDGES[:, [0, 2, 1, 3]])
    assert torch_stage(Degrees(), nChunks=2).judge(late).logits.tolist() != torch_stage(Degrees()).judge(late).logits.tolist()
    with pytest.raises(ExportError, match="a chunk of one edge"):
        torch_stage(Differences(), nChunks=4).judge(four_hits())


@pytest.mark.parametrize("count", [0, 1, 2])
def test_few_edges(count: int) -> None:
    graph = four_hits(EDGES[:, :count])
    stage = torch_stage(Differences())
    if not count:
        with pytest.raises(NoEdgesError):
            stage.judge(graph)
        return
    judged = stage.judge(graph)
    assert judged.logits.shape == judged.mask.shape == (count,)


def test_what_a_model_writes_stays_written() -> None:
    graph, before = four_hits(), four_hits().x
    torch_stage(Writes()).judge(graph)
    assert np.array_equal(graph.x, 2.0 * before)
    graph = four_hits()
    torch_stage(Writes(), selectedFeatures=[0, 1, 2]).judge(graph)  # a selection is a copy
    assert np.array_equal(graph.x, before)


ONNX = """<ir_version: 10, opset_import: ["" : 18]> edges (float[n, 3] {a}, int64[2, e] {b}{more}) => (float[{shape}] {out})
    <int64 zero = {{0}}, int64[1] one = {{1}}, int64[1] none = {{0}}, int64[1] two = {{2}}>
    {{ ends = Gather <axis = 0> ({b}, zero)
       hits = Gather <axis = 0> ({a}, ends)
       {out} = {last} }}"""
COLUMN, FLAT = "Slice (hits, none, one, one)", "ReduceSum <keepdims = 0> (hits, one)"


def onnx_file(
    shape: str = "e, 1", last: str = COLUMN, a: str = "x", b: str = "edge_index", out: str = "output", more: str = ""
) -> bytes:
    text = ONNX.format(shape=shape, last=last, a=a, b=b, out=out, more=more)
    return parser.parse_model(text).SerializeToString()


def onnx_stage(data: bytes, **options: Any) -> OnnxEdgeClassifier:
    return OnnxEdgeClassifier({"stage": "OnnxEdgeClassifier", "model": "m.onnx", **options}, read(data))


def test_onnx_is_fed_by_position_and_writes_into_memory_of_the_declared_rank() -> None:
    graph = four_hits()
    stage = onnx_stage(onnx_file(a="nodes", b="pairs", out="scores"))
    assert stage.judge(graph).logits.tolist() == graph.x[EDGES[0], 0].tolist()
    for count in (1, 2):
        assert stage.judge(four_hits(EDGES[:, :count])).logits.shape == (count,)
    with pytest.raises(NoEdgesError):
        stage.judge(four_hits(EDGES[:, :0]))
    flat = onnx_stage(onnx_file("e", FLAT))
    assert flat.judge(graph).logits.shape == (4,)
    with pytest.raises(ExportError, match="export it as \\[E, 1\\]"):
        flat.judge(four_hits(EDGES[:, :0]))
    with pytest.raises(ExportError, match="preallocated"):
        onnx_stage(onnx_file("m, 3", "Identity (hits)")).judge(graph)


def test_onnx_doors_that_acts_refuses() -> None:
    with pytest.raises(ExportError, match="three inputs"):
        onnx_stage(onnx_file(more=", float[e, 6] edge_attr")).judge(four_hits())
    with pytest.raises(ExportError, match="2 or 3 inputs"):
        onnx_stage(onnx_file(more=", float[e, 6] edge_attr, float[e] weight"))
    with pytest.raises(ExportError, match="can't load"):
        onnx_stage(b"no file")


def tensorrt_stage(data: bytes, **profile: int) -> TensorRTEdgeClassifier:
    options = {"stage": "TensorRTEdgeClassifier", "model": "m.onnx", "cut": 0.4, "profile": {"max": profile}}
    return TensorRTEdgeClassifier(options, read(data))


def test_tensorrt_binds_by_name_and_ends_at_its_profile() -> None:
    data = onnx_file(more=", float[e, 6] edge_attr")
    graph = replace(four_hits(), edge_attr=np.zeros((4, 6), np.float32))
    assert tensorrt_stage(data).judge(graph).mask.all()
    short = tensorrt_stage(data, edges=3, hits=4).judge(graph)
    assert short.mask.tolist() == [True, True, True, False]
    with pytest.raises(NoEdgesError):
        tensorrt_stage(data, hits=3).judge(graph)
    with pytest.raises(ExportError, match="makes no edge features"):
        tensorrt_stage(data).judge(four_hits())
    for other in (onnx_file(), onnx_file(more=", float[e, 6] edges"), onnx_file(more=", float[e, 6] edge_attr", a="nodes")):
        with pytest.raises(ExportError, match="by name"):
            tensorrt_stage(other)


def test_the_embedding_is_read_as_it_lies_in_memory() -> None:
    places = torch.arange(12.0).reshape(4, 3)
    assert np.array_equal(raw_floats(places, "f"), places.numpy())
    assert np.array_equal(raw_floats(places.t().contiguous().t(), "f"), places.t().contiguous().reshape(4, 3).numpy())
    assert np.array_equal(raw_floats(torch.arange(15.0).reshape(5, 3)[1:], "f"), torch.arange(15.0).reshape(5, 3)[1:].numpy())
    for wrong, words in ((places.double(), "is float64"), (places[0], "shape"), (torch.zeros(1, 3).expand(4, 3), "contiguous")):
        with pytest.raises(ExportError, match=words):
            raw_floats(wrong, "f")


def test_pairs_within_the_radius_once_each(rng: np.random.Generator) -> None:
    places = rng.normal(size=(150, 4)).astype(np.float32)
    places[1] = places[0] + np.float32([0.5, 0.0, 0.0, 0.0])
    wanted = [
        (a, b) for a, b in itertools.combinations(range(150), 2)
        if np.sqrt(np.sum((places[a] - places[b]) ** 2, dtype=np.float32)) <= np.float32(0.5)
    ]
    found = built_edges(places, 0.5)
    assert found.T.tolist() == [list(pair) for pair in wanted]
    exact = built_edges(np.float32([[0.0, 0.0, 0.0], [0.25, 0.0, 0.0], [0.5, 0.0, 0.0]]), 0.25)
    assert exact.T.tolist() == [[0, 1], [1, 2]]  # inclusive
    assert built_edges(np.zeros((1, 3), np.float32), 1.0).shape == built_edges(np.zeros((0, 3), np.float32), 1.0).shape == (2, 0)


def embedding_stage(module: nn.Module, **options: Any) -> TorchMetricLearning:
    given = {"stage": "TorchMetricLearning", "model": "e.pt", "rVal": 1.0, "selectedFeatures": [0, 1, 2]}
    return TorchMetricLearning({**given, **options}, read(script(module, torch.rand(5, 3))))


def test_metric_learning() -> None:
    x = four_hits().x
    graph = embedding_stage(nn.Identity(), rVal=30.5)(x)
    assert graph.edge_index.T.tolist() == [[0, 1], [1, 2], [2, 3]] and np.array_equal(graph.x, x)
    assert embedding_stage(nn.Identity(), selectedFeatures=[1])(x).edge_index.shape == (2, 6)
    with pytest.raises(ExportError, match="moved away"):
        embedding_stage(nn.Identity(), selectedFeatures=[])(x)
    with pytest.raises(ExportError, match="1 to 12 dimensions"):
        embedding_stage(nn.Linear(3, 13))(x)
    with pytest.raises(ExportError, match="number of hits"):
        embedding_stage(nn.Identity())(x[:0])
    flipped = embedding_stage(nn.Identity(), rVal=30.5, shuffleDirections=True)(x).edge_index
    assert sorted(np.sort(flipped, axis=0).T.tolist()) == [[0, 1], [1, 2], [2, 3]]


def test_a_chain_from_hits_to_candidates() -> None:
    x = np.float32([[0, 0, 0], [1, 0, 0], [9, 0, 0], [2, 0, 0], [10, 0, 0], [50, 0, 0], [11, 0, 0]])
    stages = [torch_stage(Differences(), cut=0.4), torch_stage(Differences(), cut=0.6)]
    seen: list[Graph] = []
    for shrink in (False, True):
        found = Emulator(embedding_stage(nn.Identity()), stages, 3, shrink).run(x, seen.append)
        assert [track.tolist() for track in found] == [[0, 1, 3], [2, 4, 6]]
    assert [len(graph.x) for graph in seen] == [7, 7, 7, 7, 6, 6]
    assert Emulator(embedding_stage(nn.Identity()), [torch_stage(Differences(), cut=0.9)]).run(x) == []
    assert Emulator(embedding_stage(nn.Identity(), rVal=1e-3), stages).run(x) == []


def test_hits_without_edges_are_removed_in_order() -> None:
    x = np.arange(15, dtype=np.float32).reshape(5, 3)
    graph = Graph(x, np.array([[1, 1], [4, 3]]), spacepoint=np.array([7, 8, 9, 10, 11]))
    less = without_unused_hits(graph)
    assert less.edge_index.tolist() == [[0, 0], [2, 1]] and np.array_equal(less.x, graph.x[[1, 3, 4]])
    assert [part.tolist() for part in candidates(less, 3)] == [[8, 10, 11]] and candidates(less, 4) == []


def test_features_are_divided_in_float32() -> None:
    found = features_of([np.array([1.0, 2.0]), np.array([0.1, 3.0])], [3.0, math.pi])
    assert found.dtype == np.float32 and found[1, 1] == np.float32(3.0) / np.float32(math.pi)
    with pytest.raises(ExportError, match="1 features with 2 scales"):
        features_of([np.zeros(2)], [1.0, 2.0])


ALL = tuple(FeatureSpec(name, scale) for name, scale in (("r", 1000.0), ("phi", math.pi), ("z", 1000.0), ("eta", 1.0)))
OWN = ("dr", "dphi", "rphislope", "phislope")


def module_map_spec(own: tuple[str, ...] = OWN) -> PipelineSpec:
    hidden = ChainSpec((6, 6), "silu", "plain")
    last = ChainSpec((6, 1), "silu", "plain")
    gnn = MessagePassingSpec(hidden, hidden, hidden, hidden, last, 2, features=ALL, edge_features=own)
    return PipelineSpec("module map", ALL, gnn=gnn, cuts=CutSpec(gnn=0.5))


def test_edge_features_are_those_of_the_module_map(rng: np.random.Generator) -> None:
    x = rng.uniform(-1.0, 1.0, (40, 4)).astype(np.float32)
    x[3, 0] = x[5, 0]
    edges = np.concatenate([rng.integers(0, 40, (2, 100)), [[3], [5]]], axis=1)
    found = edge_features_of_acts(module_map_spec(), x, edges)
    ours = edge_features(module_map_spec(EDGE_FEATURES), x, edges)
    np.testing.assert_allclose(found[:-1], ours[:-1], rtol=2e-4, atol=2e-6)
    np.testing.assert_allclose(found[-1, :4], ours[-1, :4], rtol=2e-4, atol=2e-6)
    assert found[-1, 0] == 0.0 and found[-1, 4:].tolist() == [0.0, 0.0] and found[-1, 1] != 0.0
    assert edge_features_of_acts(tiny_spec(), x[:, :3], edges).shape == (101, 6)


def test_graphs_get_the_smaller_number_first_where_acts_makes_pairs() -> None:
    case = Case("graph", np.zeros((4, 3), np.float32), np.array([[3, 1], [0, 2]]))
    assert acts_case(tiny_spec(), case).edge_index.tolist() == [[0, 1], [3, 2]]
    alone = replace(tiny_spec(), embedding=None, graph=None, filter=None, cuts=CutSpec(gnn=0.4))
    assert acts_case(alone, case).edge_index.tolist() == [[3, 1], [0, 2]]
    few = acts_cases(tiny_spec(), [case])
    assert [item.edge_index.shape[1] for item in few] == [2, 2, 1]


def test_edges_whose_direction_is_rounding() -> None:
    x = np.float32([[0.5, 0.1, 0.2], [0.5, 0.3, 0.2], [np.nextafter(np.float32(0.5), np.float32(1)), 0.3, 0.2], [0.6, 0.0, 0.2]])
    case = Case("graph", x, np.array([[0, 0, 0], [1, 2, 3]]))
    assert at_one_radius(tiny_spec(), case).tolist() == [False, True, False]


def test_decisions_within_rounding_of_the_cut_may_differ() -> None:
    logits = np.array([[-1.0], [-1e-6], [1e-6], [1.0]])
    item = Expectation(Case("g", np.zeros((2, 3), np.float32), EDGES), logits, np.full((4, 1), 1e-5))
    assert decided(item, np.array([False, True, False, True]), 0.5) == contract.Decisions(2)
    wrong = decided(item, np.array([True, False, True, False]), 0.5)
    assert wrong.flips == 2 and "2 of 4 edges end on the wrong side" in wrong.problem


@pytest.fixture
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out what every file goes through: that is tested elsewhere."""
    torch.set_num_threads(1)
    monkeypatch.setattr(validate, "cases", few_cases)
    for name in ("file_rows", "lint_rows"):
        monkeypatch.setattr(validate, name, lambda *given: [])
    monkeypatch.setattr(validate, "decision_rows", lambda *given: ([], []))


def emulated(bundle: Path, folder: Path) -> list[Row]:
    return [row for row in validate.validate_bundle(bundle, [folder / "events"], "export").rows if row.group == "acts"]


def failed(rows: list[Row]) -> list[Row]:
    return [row for row in rows if row.status == "failed"]


@pytest.mark.usefixtures("_quick")
def test_files_for_module_maps_and_tensorrt(tmp_path: Path) -> None:
    spec = module_map_spec()
    event = helix_event(spec, tracks=20)
    bundle = acts_bundle_into(tmp_path, spec, event, ("acts-torch", "acts-onnx", "acts-tensorrt"))
    write_event_parquet(tmp_path / "events", replace(event, cells={}))
    rows = emulated(bundle, tmp_path)
    assert failed(rows) == []
    assert {row.file for row in rows} >= {"acts/gnn.pt", "acts/gnn.onnx", "acts/tensorrt/gnn.onnx"}
    open_rows = {(row.file, row.case) for row in rows if row.status == "not checked"}
    assert open_rows == {("acts/tensorrt/gnn.onnx", "engine"), ("", "hits to candidates")}


BAD = Row("acts", "gnn", "acts/gnn.pt", "emulated TorchEdgeClassifier", "one edge", "failed", detail="no score")


def test_rows_are_shown_everywhere_and_a_failed_one_refuses_the_export(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "bundle.json").write_text("{}")
    report = Report("Validation of x", "x", (BAD, replace(BAD, case="two edges", status="passed", detail="")))
    monkeypatch.setattr(validate, "validate_bundle", lambda *given: report)
    result = runner.invoke(cli.app, ["validate", str(tmp_path), "--out", str(tmp_path / "out")])
    assert result.exit_code == 1
    assert "failed: acts/gnn.pt, emulated TorchEdgeClassifier, one edge: no score" in result.output
    assert "ACTS, emulated" in result.output
    assert "As ACTS&#x27;s plugin runs it, emulated" in (tmp_path / "out" / "validation.html").read_text()
    held = json.loads((tmp_path / "out" / "validation.json").read_text())
    assert [row["status"] for row in held["rows"] if row["group"] == "acts"] == ["failed", "passed"]
    with pytest.raises(ExportError, match=r"acts/gnn\.pt, emulated TorchEdgeClassifier, graph 'acts: one edge': no score"):
        build.refuse([build._check_row(row) for row in report.rows], tmp_path)


LRT = Given(features={"": features_from("r=3000 phi=pi z=400")}, values={"cuts": {"gnn": 0.75}})


@pytest.mark.usefixtures("_quick")
def test_the_published_network_passes_and_its_published_files_are_told_apart(golden: Path, tmp_path: Path) -> None:
    source = open_source(None, files={"gnn": golden / "lrt" / "ckpt" / "last.ckpt"}, given=LRT)
    event = helix_event(source.spec, tracks=15)
    bundle = acts_bundle_of(tmp_path, source, event, ("acts-torch", "acts-onnx"), telling=False)
    write_event_parquet(tmp_path / "events", replace(event, cells={}))
    rows = emulated(bundle, tmp_path)
    assert failed(rows) == [] and len([row for row in rows if row.status == "passed"]) > 30

    spec, network = source.spec, load_network(source, "gnn")
    for name, format, target, stage in (
        ("gnn.torchscript.pt", "torchscript", "acts-torch", "TorchEdgeClassifier"),
        ("gnn.onnx", "onnx", "acts-onnx", "OnnxEdgeClassifier"),
    ):
        data = (golden / "lrt" / name).read_bytes()
        file = ModelFile(name, "gnn", format, data, 3, 1, target, acts_network(network, spec, "gnn"), 0.75)
        oracle = oracle_for(file)
        zoo = oracle.expectations(acts_cases(spec, few_cases(spec, event, None)), 1)
        options = {"stage": stage, "model": name, "selectedFeatures": [0, 1, 2], "cut": 0.75}
        subject = Subject(file, options, spec, zoo, Trained(zoo[0], oracle))
        wrong = {row.case for row in failed(checked(subject, contract.CHECKS))}
        if format == "torchscript":
            assert wrong == set()
            memory = {key: contract_memory.TORCH[key] for key in ("inputs unchanged", "output of its own")}
            assert failed(checked(subject, memory)) == []
        else:
            assert {"graphs as ACTS feeds them", "edges as they were trained", "sigmoid after, strict cut"} <= wrong


@pytest.mark.slow
def test_an_export_of_the_published_checkpoint_for_acts(golden: Path, tmp_path: Path) -> None:
    options = ["--features", "r=3000 phi=pi z=400", "--gnn-cut", "0.75", "--sample", str(golden / "lrt" / "in_e1000.csv")]
    targets = ["--target", "acts-torch", "--target", "acts-onnx", "--out", str(tmp_path / "bundle")]
    result = runner.invoke(cli.app, ["export", "--gnn", str(golden / "lrt" / "ckpt" / "last.ckpt"), *options, *targets])
    assert result.exit_code == 0, result.output
    assert {path.name for path in (tmp_path / "bundle" / "acts").iterdir()} >= {"gnn.pt", "gnn.onnx", "acts.json", "README.md"}
