"""What a file's own numbers say of it: scores where logits are wanted, scatters that overwrite, and what the terminal is told."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import helper
from support.scatter_models import ADDED, PLAIN, SUMMED, network
from support.small_files import onnx_file, some_cases, torchscript_file, without_network
from torch import Tensor, nn

from trkx.export.validation.lone import validate_file
from trkx.export.validation.model_file import ModelFile
from trkx.export.validation.onnx_float64 import Float64Graph
from trkx.export.validation.oracle import oracle_for
from trkx.export.validation.report import Row
from trkx.export.validation.scores import CASE, score_rows
from trkx.export.validation.validate import LEVELS

MASK = """
    size = Shape <start = 0, end = 1> (h)  nobody = ConstantOfShape (size)  edges = Shape (j)
    each = ConstantOfShape <value = float[1] {1}> (edges)  met = ScatterElements <axis = 0> (nobody, j, each)
    column = Unsqueeze (met, last)  a = Mul (total, column)
"""


@pytest.fixture(autouse=True)
def _few_edges(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.set_num_threads(1)
    for name, depth in LEVELS.items():
        monkeypatch.setitem(LEVELS, name, replace(depth, edges=1_000, threads=(1,)))  # type: ignore[arg-type]


def rows_of(file: ModelFile) -> list[Row]:
    oracle = oracle_for(file)
    return score_rows(file, oracle, oracle.expectations(some_cases()))


class ByHand(nn.Module):
    """Scores that no list of operators knows."""

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        logits = (x[edge_index[0]] * x[edge_index[1]]).sum(1, keepdim=True)
        return 0.5 + 0.5 * logits / (1.0 + logits.abs())


class Bounded(ByHand):
    """Logits between -10 and 10."""

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        return 10.0 * torch.tanh((x[edge_index[0]] - x[edge_index[1]]).sum(1, keepdim=True))


class Small(ByHand):
    """Logits that happen to lie between 0 and 1 where features are as usual."""

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        return 0.5 + 0.02 * (x[edge_index[0]] - x[edge_index[1]]).sum(1, keepdim=True)


END = "a_ = Abs (y)  b_ = Add (a_, unit)  c_ = Div (y, b_)  d_ = Mul (c_, half)  output = Add (d_, half)"
SCORES = {
    "sigmoid": onnx_file(end="output = Sigmoid (y)"),
    "softsign by hand": onnx_file(end=END, weights="float unit = {1.0}, float half = {0.5}"),
    "TorchScript": torchscript_file(ByHand()),
}


@pytest.mark.parametrize("name", SCORES)
def test_scores_are_known_by_their_numbers(name: str) -> None:
    (row,) = rows_of(without_network(SCORES[name]))
    assert (row.case, row.status) == (CASE, "failed")
    assert "expected logits" in row.detail


LOGITS = {"network": onnx_file(), "bounded": torchscript_file(Bounded()), "small": torchscript_file(Small())}


@pytest.mark.parametrize("name", LOGITS)
def test_logits_pass(name: str) -> None:
    assert [row.status for row in rows_of(without_network(LOGITS[name]))] == ["passed"]


def test_nothing_is_said_of_embeddings_of_constants_and_of_what_has_a_network() -> None:
    assert rows_of(SCORES["sigmoid"]) == []  # with its network, that says more
    file = without_network(SCORES["sigmoid"])
    oracle = oracle_for(file)
    zoo = oracle.expectations(some_cases())
    assert score_rows(replace(file, stage="embedding"), oracle, zoo) == []
    same = [replace(item, output=np.full_like(item.output, 0.5)) for item in zoo]
    assert [row.status for row in score_rows(file, oracle, same)] == ["not checked"]


def test_scatters_that_overwrite_each_other_are_noted() -> None:
    """A second look at what lint proves: when they run, and only where two updates meet in zeros."""
    rng = np.random.default_rng(0)
    for aggregation, met in ((PLAIN, {"a"}), (SUMMED, set()), (ADDED, {"s"}),
                             (f"{SUMMED.replace('a =', 'total =')} {MASK}", {"met"})):
        graph = Float64Graph(network(aggregation))
        x = rng.uniform(0.05, 1.0, (5, 3)).astype(np.float32)
        graph.run({"x": x, "edge_index": np.array([[0, 1, 2], [1, 2, 3]])})
        assert graph.met == set()  # no hit is met twice
        graph.run({"x": x, "edge_index": np.array([[0, 1, 2], [1, 2, 1]])})
        assert graph.met == met


def test_a_mask_is_reported_as_not_checked(tmp_path: Path) -> None:
    for aggregation, count in ((f"{SUMMED.replace('a =', 'total =')} {MASK}", 1), (SUMMED, 0)):
        path = tmp_path / "small.onnx"
        path.write_bytes(network(aggregation).SerializeToString())
        report = validate_file(path, level="export")
        rows = [row for row in report.rows if "two updates met" in row.detail]
        assert [row.status for row in rows] == ["not checked"] * count
        assert report.passed, [row for row in report.rows if row.status == "failed"]
        assert all("'met'" in row.detail for row in rows)


def test_a_file_that_can_t_be_computed_is_reported_with_what_lint_says(tmp_path: Path) -> None:
    path = tmp_path / "small.onnx"
    few = "start = Slice (index, none, two, last)  " + SUMMED.replace("index, m", "start, m")
    path.write_bytes(network(few, weights="int64[1] none = {0}, int64[1] two = {2}").SerializeToString())
    report = validate_file(path, level="export")
    failed = [row for row in report.rows if row.status == "failed"]
    assert {row.group for row in failed} == {"lint", "graphs"}
    assert any("TRKX006" in row.detail for row in failed)


def test_names_of_files_do_not_reach_the_terminal_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "a\x1b[31m\u202e.onnx"
    path.write_bytes(network().SerializeToString())
    told: list[str] = []
    validate_file(path, level="export", tell=told.append)
    assert any("checking" in line for line in told)
    assert all(line.isprintable() for line in told)


def test_a_loop_over_all_edges_is_run(tmp_path: Path) -> None:
    """Local functions and loops that end are no reason to refuse a file."""
    model = network()
    model.opset_import.append(helper.make_opsetid("own", 1))
    for name, inner in (("outer", "inner"), ("inner", "")):
        node = helper.make_node(inner or "Identity", ["v"], ["w"], domain="own" if inner else "")
        opsets = [helper.make_opsetid("", 18), helper.make_opsetid("own", 1)]
        model.functions.append(helper.make_function("own", name, ["v"], ["w"], [node], opsets))
    last = next(node for node in model.graph.node if node.output[0] == "output")
    last.CopyFrom(helper.make_node("outer", list(last.input), ["output"], domain="own"))
    path = tmp_path / "small.onnx"
    onnx.save(model, path)
    report = validate_file(path, level="export")
    assert report.passed, [row for row in report.rows if row.status == "failed"]
