"""What must not matter: right files of every stage pass; faults fail without any reference."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from support.scatter_models import ADDED, PLAIN
from support.small_files import LastMessage, onnx_file, some_cases, torchscript_file, without_network
from torch import Tensor, nn

from trkx.export.torchscript_file import torchscript_bytes
from trkx.export.validation.engines import engines_for
from trkx.export.validation.invariance import CHANGES, PROBES, invariance_rows
from trkx.export.validation.model_file import ModelFile
from trkx.export.validation.oracle import oracle_for
from trkx.export.validation.report import Row

GRAPHS = ("star", "duplicate edges", "complete bipartite")


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Torch on one thread: more of them wait for each other on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def rows_of(file: ModelFile, *names: str, reference: bytes | None = None) -> list[Row]:
    oracle = oracle_for(file, reference)
    engines = [engine for engine in engines_for(file.format, (1,)) if engine.decisive and not engine.why_not]
    return invariance_rows(file, oracle.expectations(some_cases(*(names or GRAPHS))), oracle, engines)


def failed(rows: list[Row]) -> set[str]:
    return {row.case for row in rows if row.status == "failed"}


@pytest.mark.parametrize("file", [onnx_file(), onnx_file(known=False), torchscript_file(), torchscript_file(known=False)],
                         ids=["onnx", "lone onnx", "torchscript", "lone torchscript"])
def test_a_right_file_passes(file: ModelFile) -> None:
    rows = rows_of(file)
    assert {row.status for row in rows} == {"passed"}
    kinds = {row.case.split(": ")[1] for row in rows}
    assert kinds >= {*CHANGES["gnn"], "copies of edges listed twice"}
    assert ("sums of edges listed twice" in kinds) == (file.network is not None)


WITHOUT_SUM = {
    "assignment": onnx_file(PLAIN, known=False),
    "the exporter of 2021": onnx_file(ADDED, known=False),
    "torchscript": torchscript_file(LastMessage(), known=False),
}


@pytest.mark.parametrize("file", WITHOUT_SUM.values(), ids=WITHOUT_SUM.keys())
def test_a_missing_sum_fails_without_any_reference(file: ModelFile) -> None:
    rows = rows_of(file)
    assert failed(rows) >= {f"{name}: edges permuted" for name in GRAPHS}
    row = next(row for row in rows if row.status == "failed")
    assert "what must not matter does" in row.detail
    assert row.case.split(": ")[1] not in row.detail  # reports show both
    assert row.difference > row.tolerance


def test_a_mean_in_place_of_a_sum_shows_when_edges_are_listed_twice() -> None:
    mean = """t = ScatterElements <axis = 0, reduction = "add"> (zeros, index, m)
        ones = ConstantOfShape <value = float[1] {1.0}> (messages)
        c = ScatterElements <axis = 0, reduction = "add"> (zeros, index, ones)
        d = Max (c, least)
        a = Div (t, d)"""
    file = onnx_file(mean, weights="float[1] least = {1.0}")
    assert failed(rows_of(file, "path")) == set()  # no hit has two edges, PROBES leaves it out
    assert failed(rows_of(file, "star")) == {"star: sums of edges listed twice"}
    assert failed(rows_of(without_network(file), "star")) == set()  # a mean is a network too


SHIFTS = {
    "order of edges": ("n = Shape (y) e = Gather (n, one_) output = ReverseSequence <batch_axis = 1, time_axis = 0> (y, e)",
                       {"edges permuted", "copies of edges listed twice"}),
    "number of hits": ("n = Shape (x) c = Gather (n, one_) f = Cast <to = 1> (c) output = Mul (y, f)", {"one more hit"}),
    "name of a hit": ("f = Cast <to = 1> (rows) output = Add (y, f)", {"hits relabelled"}),
}


@pytest.mark.parametrize("fault", SHIFTS)
def test_what_must_not_matter_is_seen_to_matter(fault: str) -> None:
    end, kinds = SHIFTS[fault]
    rows = rows_of(onnx_file(end=end, weights="int64[1] one_ = {0}", known=False), "duplicate edges")
    assert failed(rows) == {f"duplicate edges: {kind}" for kind in kinds}


class Filter(nn.Module):
    def __init__(self, fault: str) -> None:
        super().__init__()
        self.fault = fault

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        logits = (x[edge_index[0]] * x[edge_index[1]]).sum(1, keepdim=True)
        if self.fault == "normalised over edges":
            return logits / logits.abs().max(0, keepdim=True)[0]
        return logits - torch.mean(logits, 0, keepdim=True) if self.fault == "centred" else logits


class Embedding(nn.Module):
    def __init__(self, fault: str) -> None:
        super().__init__()
        self.fault = fault

    def forward(self, x: Tensor) -> Tensor:
        place = torch.tanh(torch.cat([x, x[:, :1] * 2.0], 1))
        return torch.cumsum(place, 0) if self.fault == "order" else place - place.mean(0) if self.fault == "centred" else place


def lone(stage: str, module: nn.Module) -> ModelFile:
    data = torchscript_bytes(stage, module.eval(), 3)
    return ModelFile(f"{stage}.pt", stage, "torchscript", data, 3, 4 if stage == "embedding" else 1, "libtorch")


def test_a_filter_sees_one_edge_at_a_time() -> None:
    assert {row.status for row in rows_of(lone("filter", Filter("")))} == {"passed"}
    assert "star: edges in portions" in failed(rows_of(lone("filter", Filter("centred"))))
    assert "star: edges in portions" in failed(rows_of(lone("filter", Filter("normalised over edges"))))


def test_an_embedding_sees_one_hit_at_a_time() -> None:
    assert {row.status for row in rows_of(lone("embedding", Embedding("")))} == {"passed"}
    assert failed(rows_of(lone("embedding", Embedding("order")), "star")) == {"star: hits permuted", "star: hits in portions"}
    assert failed(rows_of(lone("embedding", Embedding("centred")), "star")) == {"star: hits in portions"}


def test_outputs_that_are_lost_nan_or_too_many_fail() -> None:
    nan = onnx_file(end="s = Abs (y) t = Neg (s) output = Log (t)", known=False)
    assert len(failed(rows_of(nan, "star"))) == 4
    frozen = onnx_file(end="output = Reshape (y, size)", weights="int64[2] size = {199, 1}")
    rows = rows_of(frozen, "star")
    assert failed(rows) == {"star: copies of edges listed twice", "star: sums of edges listed twice"}
    assert any("can't run it" in row.detail for row in rows)
    twice = onnx_file(end="output = Concat <axis = 0> (y, y)", known=False)
    assert "rows before" in next(row for row in rows_of(replace(twice, network=onnx_file().network), "star")).detail
    broken = rows_of(replace(onnx_file(), data=b"nothing"), "star")
    assert [(row.status, row.case) for row in broken] == [("failed", "all graphs")]


def test_the_published_file_needs_no_reference_to_be_found_out(golden: Path) -> None:
    folder = golden / "lrt"
    wrong = ModelFile("gnn.onnx", "gnn", "onnx", (folder / "gnn.onnx").read_bytes(), 3, 1, "acts-onnx")
    right = ModelFile("gnn.pt", "gnn", "torchscript", (folder / "gnn.torchscript.pt").read_bytes(), 3, 1, "acts-torch")
    assert "duplicate edges: edges permuted" in failed(rows_of(wrong, "duplicate edges"))
    assert failed(rows_of(right, "duplicate edges")) == set()


def test_probes_are_graphs_of_the_zoo() -> None:
    assert {case.name for case in some_cases(*PROBES)} == set(PROBES) - {"event"}
