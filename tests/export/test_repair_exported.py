"""Repair of networks as torch's exporters write them today."""

from __future__ import annotations

import logging
import warnings

import onnx
import pytest
import torch
from support.scatter_models import asked
from support.tiny import TinyExport
from torch import nn

from trkx.export.repair.repair import Repaired, repaired

FEW = ("star", "path", "duplicate edges", "one edge", "zero edges")


CASES = {
    ("index_add", "default"): {"TRKX003"}, ("mean", "default"): {"TRKX004"}, ("scatter_add", "12"): {"TRKX001", "TRKX002"},
    ("index_add", "17"): {"TRKX001"}, ("index_put", "13"): {"TRKX001", "TRKX002", "TRKX003"},
}


class Network(nn.Module):
    """One round of message passing; `how` is the operator that aggregates."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how = how
        self.encode, self.message, self.score = nn.Linear(3, 4), nn.Linear(8, 4), nn.Linear(8, 1)

    def forward(self, x: torch.Tensor, edge_index: torch.Tensor) -> torch.Tensor:
        source, target = edge_index[0], edge_index[1]
        h = torch.tanh(self.encode(x))
        m = self.message(torch.cat([h[source], h[target]], dim=1))
        zeros, wide = torch.zeros_like(h), target[:, None].expand_as(m)
        if self.how == "index_add":
            a = zeros.index_add(0, target, m)
        elif self.how == "index_put":
            a = zeros.index_put((target,), m, accumulate=True)
        elif self.how == "scatter_add":
            a = zeros.scatter_add(0, wide, m)
        elif self.how == "mean":
            a = zeros.scatter_reduce(0, wide, m, "mean", include_self=False)
        else:
            a = zeros.scatter(0, wide, m)
        return self.score(torch.cat([a[source], a[target]], dim=1))


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], onnx.ModelProto]:
    """Networks by (operator, exporter): "default", or the older one with an opset."""
    folder = tmp_path_factory.mktemp("exported")
    pairs = torch.tensor([[0, 0, 1, 2, 3, 4, 5, 0, 1, 1, 2], [1, 2, 2, 3, 4, 5, 6, 1, 6, 5, 6]])
    found, level = {}, logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    torch.manual_seed(0)
    names = {"input_names": ["x", "edge_index"], "output_names": ["output"], "verbose": False}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for how, exporter in (*CASES, ("plain", "default")):
                path, inputs = folder / f"{how}-{exporter}.onnx", (torch.rand(7, 3), pairs)
                if exporter == "default":
                    axes = {"x": {0: torch.export.Dim.DYNAMIC}, "edge_index": {1: torch.export.Dim.DYNAMIC}}
                    how_else = {"dynamo": True, "dynamic_shapes": axes, "external_data": False}
                else:
                    named = {"x": {0: "n"}, "edge_index": {1: "e"}, "output": {0: "e"}}
                    how_else = {"dynamo": False, "dynamic_axes": named, "opset_version": int(exporter)}
                torch.onnx.export(Network(how).eval(), inputs, path, **how_else, **names)
                found[how, exporter] = onnx.load(path)
    finally:
        logging.disable(level)
    return found


@pytest.mark.parametrize("case", CASES, ids="-".join)
def test_exported_network_is_mended(case: tuple[str, str], exported: dict[tuple[str, str], onnx.ModelProto]) -> None:
    result: Repaired = repaired(exported[case], asked("acts-onnx"), only=FEW)
    assert result.model is not None, result.problems
    assert CASES[case] <= {change.rule for change in result.changes}


def test_exported_assignment_is_refused(exported: dict[tuple[str, str], onnx.ModelProto]) -> None:
    result = repaired(exported["plain", "default"], asked(), only=FEW)
    assert result.model is None
    assert any("TRKX001" in problem for problem in result.problems)


@pytest.mark.parametrize("stage", ["embedding", "filter", "gnn"])
def test_our_own_files_need_no_repair(stage: str, tiny_export: TinyExport) -> None:
    model = onnx.load(tiny_export.folder / f"{stage}.onnx")
    result = repaired(model, asked(stage=stage), only=FEW)
    assert result.model is model, result.problems
    assert not result.changes
