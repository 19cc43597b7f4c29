"""Every engine on every graph: a right file passes on all that are here, and each fault fails where it shows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from support.scatter_models import ADDED, PLAIN
from support.small_files import LastMessage, Twin, onnx_file, some_cases, torchscript_file, without_network
from support.tiny import tiny_pipeline

from trkx.bundle import STAGES
from trkx.errors import ExportError
from trkx.export.build import embedder
from trkx.export.pipeline_folder import load_network, open_source
from trkx.export.torchscript_file import torchscript_bytes
from trkx.export.validation.engines import THREADS, Engine, engines_for
from trkx.export.validation.graphs import graph_rows
from trkx.export.validation.model_file import ModelFile
from trkx.export.validation.oracle import oracle_for
from trkx.export.validation.report import Row
from trkx.export.zoo import FEATURES, WITH_FEATURES, Case, cases, feeds_of, helix_event, plain_cases, shapes

ONE = (1,)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Torch on one thread: more of them wait for each other on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def rows_of(file: ModelFile, *names: str, reference: bytes | None = None) -> list[Row]:
    expected = oracle_for(file, reference).expectations(some_cases(*names))
    return graph_rows(file, expected, engines_for(file.format, ONE))


def failed(rows: list[Row], engine: str = "ONNX Runtime CPU, 1 thread") -> set[str]:
    return {row.case for row in rows if row.status == "failed" and row.engine == engine}


SUMMED_AND_ADDED = ADDED.replace("<axis = 0>", '<axis = 0, reduction = "add">')


@pytest.mark.parametrize("file", [onnx_file(), onnx_file(SUMMED_AND_ADDED)], ids=["sum", "sum and zeros"])
def test_a_right_file_passes_everywhere(file: ModelFile) -> None:
    expected = oracle_for(file).expectations(some_cases())
    rows = graph_rows(file, expected)
    assert {row.status for row in rows} == {"passed", "not checked"}
    here = {row.engine for row in rows if row.status == "passed"}
    assert here >= {f"ONNX Runtime CPU, {n} thread{'s' * (n > 1)}" for n in THREADS} | {"onnx reference evaluator"}
    for engine in here:
        assert {row.case for row in rows if row.engine == engine} == {item.case.name for item in expected}
    assert all(row.difference <= row.tolerance for row in rows if row.status == "passed")


def test_torchscript_and_eager_pass() -> None:
    assert {row.status for row in rows_of(torchscript_file()) if "CUDA" not in row.engine} == {"passed"}
    eager = ModelFile("small", "gnn", "eager", b"", 3, 1, "libtorch", Twin().eval())
    assert {row.status for row in rows_of(eager) if "CUDA" not in row.engine} == {"passed"}


def test_what_is_not_here_is_not_checked_and_says_why() -> None:
    rows = [row for row in rows_of(onnx_file(), "star") if row.engine == "TensorRT"]
    assert [(row.case, row.status) for row in rows] == [("all graphs", "not checked")]
    assert "tensorrt" in rows[0].detail.lower()
    with pytest.raises(ExportError, match="TensorRT: "):
        next(engine for engine in engines_for("onnx") if engine.name == "TensorRT").start(onnx_file())


def test_a_missing_reduction_fails_where_indices_repeat_and_only_there() -> None:
    assert failed(rows_of(onnx_file(PLAIN))) == {"star", "duplicate edges", "complete bipartite", "self loops"}
    assert failed(rows_of(torchscript_file(LastMessage())), "TorchScript, 1 thread") >= {"star", "duplicate edges"}
    row = next(row for row in rows_of(onnx_file(PLAIN), "star") if row.status == "failed")
    assert "outputs differ from the float64 network" in row.detail
    assert row.difference > row.tolerance > 0.0


ENDS = {
    "sign": ("output = Neg (y)", "differ from the float64 network"),
    "sigmoid": ("output = Sigmoid (y)", "differ from the float64 network"),
    "NaN": ("root = Neg (y) s = Abs (y) t = Neg (s) output = Log (t)", "NaN or infinite"),
    "order": ("n = Shape (y) e = Slice (n, first_, one_) output = ReverseSequence <batch_axis = 1, time_axis = 0> (y, e)",
              "differ from the float64 network"),
}


@pytest.mark.parametrize("fault", ENDS)
def test_a_wrong_output_fails(fault: str) -> None:
    end, message = ENDS[fault]
    file = onnx_file(end=end, weights="int64[1] first_ = {0}, int64[1] one_ = {1}")
    rows = [row for row in rows_of(file, "duplicate edges") if row.engine.startswith("ONNX Runtime CPU")]
    assert [row.status for row in rows] == ["failed"]
    assert message in rows[0].detail


def test_wrong_types_and_shapes_fail() -> None:
    flat = onnx_file(end="output = Squeeze (y, last)", output="float[num_edges] output")
    assert "shape [199], expected [199, 1]" in rows_of(flat, "star")[0].detail
    wide = onnx_file(end="output = Cast <to = 11> (y)", output="double[num_edges, 1] output")
    assert "float64, expected float32" in rows_of(wide, "star")[0].detail
    assert {row.status for row in rows_of(wide, "star") if row.status != "not checked"} == {"failed"}


def test_a_file_that_does_not_load_or_run_fails_without_an_exception() -> None:
    rows = rows_of(replace(onnx_file(), data=onnx_file().data[:200]), "star", "path")
    assert [(row.case, row.status) for row in rows if row.engine.startswith("ONNX Runtime CPU")] == [("all graphs", "failed")]
    assert "can't load the file" in rows[0].detail
    frozen = onnx_file(end="output = Reshape (y, size)", weights="int64[2] size = {199, 1}")
    rows = [row for row in rows_of(frozen, "star", "path") if row.engine.startswith("ONNX Runtime CPU")]
    assert [(row.case, row.status) for row in rows] == [("star", "passed"), ("path", "failed")]
    assert "can't run it" in rows[1].detail
    script = rows_of(replace(torchscript_file(), data=b"nothing"), "star")[0]
    assert script.status == "failed"
    package = ModelFile("small.pt2", "gnn", "aoti", b"nothing", 3, 1, "aoti", Twin().eval())
    assert {row.status for row in rows_of(package, "star")} == {"failed"}


def test_an_evaluator_that_lacks_an_operator_is_no_judge() -> None:
    model = onnx.load_model_from_string(onnx_file().data)
    end = next(node for node in model.graph.node if "output" in node.output)
    end.op_type, end.domain = "QuickGelu", "com.microsoft"
    model.opset_import.append(onnx.helper.make_opsetid("com.microsoft", 1))
    rows = rows_of(replace(onnx_file(), data=model.SerializeToString()), "path")
    assert {row.engine: row.status for row in rows}["onnx reference evaluator"] == "not checked"
    assert {row.engine: row.status for row in rows}["ONNX Runtime CPU, 1 thread"] == "failed"  # it runs, and is no logit


def test_an_engine_that_falls_over_gives_rows() -> None:
    def broken(file: ModelFile, threads: int):
        def run(case: Case):
            raise MemoryError
        return run

    file = onnx_file()
    expected = oracle_for(file).expectations(some_cases("star"))
    row = graph_rows(file, expected, [Engine("broken", ("onnx",), "", broken)])[0]
    assert (row.status, row.detail) == ("failed", "broken can't run it: MemoryError")


def test_a_file_without_its_network_is_compared_with_itself_or_with_a_twin() -> None:
    stranger = without_network(onnx_file(PLAIN))
    own = oracle_for(stranger)
    assert (own.independent, own.title) == (False, "the file's own graph in float64")
    assert failed(rows_of(stranger)) == set()  # engines compute what it says; what it says is wrong
    twin = torchscript_file().data
    assert oracle_for(stranger, twin).independent
    assert failed(rows_of(stranger, "star", "path", reference=twin)) == {"star"}
    assert failed(rows_of(without_network(onnx_file()), "star", "path", reference=twin)) == set()
    row = next(row for row in rows_of(stranger, "star", reference=twin) if row.status == "failed")
    assert "the reference in float64" in row.detail


def test_a_twin_may_leave_out_the_column_of_one() -> None:
    flat = onnx_file(end="output = Squeeze (y, last)", output="float[num_edges] output", known=False)
    assert failed(rows_of(flat, "star", reference=torchscript_file().data)) == set()


def test_what_has_no_oracle_is_refused() -> None:
    with pytest.raises(ExportError, match=r"small.pt2: nothing says what is right"):
        oracle_for(ModelFile("small.pt2", "gnn", "aoti", b"", 3, 1, "aoti"))
    with pytest.raises(ExportError, match="the reference: expected a TorchScript file"):
        oracle_for(without_network(onnx_file()), b"nothing")
    with pytest.raises(ExportError, match="can't be computed in float64"):
        oracle_for(replace(without_network(onnx_file()), data=b"nothing"))


def test_networks_of_a_pipeline_pass_on_the_whole_zoo(tmp_path: Path) -> None:
    source = open_source(tiny_pipeline(tmp_path / "pipeline"))
    networks = {stage: load_network(source, stage) for stage in STAGES}
    zoo = cases(source.spec, helix_event(source.spec, tracks=40), embedder(networks["embedding"]))
    for stage, network in networks.items():
        data = torchscript_bytes(stage, network, 3)
        file = ModelFile(f"{stage}.pt", stage, "torchscript", data, 3, 1, "libtorch", network)
        rows = graph_rows(file, oracle_for(file).expectations(zoo), engines_for("torchscript", ONE)[:1])
        assert [row for row in rows if row.status != "passed"] == []
        assert len(rows) == len(zoo)


def test_the_published_file_is_told_from_its_twin(golden: Path) -> None:
    folder = golden / "lrt"
    twin = (folder / "gnn.torchscript.pt").read_bytes()
    right = ModelFile("gnn.torchscript.pt", "gnn", "torchscript", twin, 3, 1, "acts-torch")
    wrong = ModelFile("gnn.onnx", "gnn", "onnx", (folder / "gnn.onnx").read_bytes(), 3, 1, "acts-onnx")
    for file, expected in ((right, set()), (wrong, {"star", "duplicate edges"})):
        rows = rows_of(file, "path", "star", "duplicate edges", reference=None if file is right else twin)
        engine = "TorchScript, 1 thread" if file is right else "ONNX Runtime CPU, 1 thread"
        assert failed(rows, engine) == expected


def test_the_zoo_has_what_it_promises() -> None:
    zoo = {case.name: case for case in plain_cases(5)}
    assert set(zoo) == {name for name, _, _ in shapes(np.random.default_rng(0))} | {
        f"{name}, {kind}" for name in WITH_FEATURES for kind in FEATURES
    }
    degrees = np.bincount(zoo["Pareto degrees"].edge_index[1])
    assert 500 < degrees.max() < 2000
    assert np.median(degrees) < 10
    assert (zoo["self loops"].edge_index[0] == zoo["self loops"].edge_index[1]).sum() == 40
    ordered, mixed = zoo["sorted by target"].edge_index, zoo["shuffled"].edge_index
    assert (np.diff(ordered[1]) >= 0).all()
    assert not (np.diff(mixed[1]) >= 0).all()
    assert sorted(map(tuple, ordered.T)) == sorted(map(tuple, mixed.T))
    assert (zoo["star, ones"].x == 1.0).all()
    assert (zoo["star, one-signed features"].x > 0.0).all()
    assert (zoo["star, wide features"].x < 0.0).any()
    sizes = {(len(case.x), case.edge_index.shape[1]) for case in zoo.values()}
    assert len(sizes) >= 12
    assert {1} <= {len(case.x) for case in zoo.values()}
    assert {0, 1} <= {case.edge_index.shape[1] for case in zoo.values()}
    for case in zoo.values():
        assert case.x.dtype == np.float32
        assert case.x.shape[1] == 5
        assert case.edge_index.dtype == np.int64
        assert case.edge_index.size == 0 or case.edge_index.max() < len(case.x)
        assert case.edge_index.flags.c_contiguous


def test_a_file_with_edge_features_is_not_fed_with_anything_else() -> None:
    case = some_cases("path")[0]
    assert list(feeds_of(case, ["a", "b"])) == ["a", "b"]
    with pytest.raises(ExportError, match="found x, edge_index, edge_attr"):
        feeds_of(case, ["x", "edge_index", "edge_attr"])


def test_threads_of_torch_are_put_back() -> None:
    before = torch.get_num_threads()
    engine = next(item for item in engines_for("torchscript") if item.threads == 8)
    engine.start(torchscript_file())(some_cases("path")[0])
    assert torch.get_num_threads() == before
