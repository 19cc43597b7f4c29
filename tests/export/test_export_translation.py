"""Translation to ONNX and TorchScript: what must survive it, and what must be refused; the simplifier that misbehaves."""

from __future__ import annotations

import numpy as np
import onnx
import onnxsim
import pytest
import torch
from onnx import helper, numpy_helper

from trkx.errors import ExportError
from trkx.export.check import Expectation, run_onnx
from trkx.export.onnx_file import onnx_model
from trkx.export.simplify import simplified
from trkx.export.torchscript_file import torchscript_bytes
from trkx.export.zoo import Case

X = np.array([[1e-6, 2.0, 3.0], [4.0, 5.0, 6.0], [0.5, 0.25, 1.0]], np.float32)
EDGES = np.array([[0, 1, 1, 2, 0], [2, 2, 0, 2, 2]])


class _Delicate(torch.nn.Module):
    """A guard far below 1, and a sum in half precision with a factor: things that a translation can lose."""

    def forward(self, x: torch.Tensor, edge_index: torch.Tensor) -> torch.Tensor:
        guarded = torch.sqrt(x[:, :1] * x[:, :1] + 1e-12)
        messages = torch.index_select(x, 0, edge_index[0]).half()
        total = messages.new_zeros((x.shape[0], 3)).index_add(0, edge_index[1], messages, alpha=2)
        return torch.index_select(total.float().sum(1, keepdim=True) + guarded * 1e6, 0, edge_index[1])


def test_small_guards_and_half_sums_survive() -> None:
    network = _Delicate().eval()
    model = onnx_model("gnn", network, 3, "acts-onnx")
    assert [node.op_type for node in model.graph.node if "Scatter" in node.op_type] == ["ScatterElements"]
    inferred = onnx.shape_inference.infer_shapes(model)
    kinds = {value.name: value.type.tensor_type.elem_type for value in inferred.graph.value_info}
    scatter = next(node for node in inferred.graph.node if node.op_type == "ScatterElements")
    assert kinds[scatter.input[2]] == onnx.TensorProto.FLOAT
    found = run_onnx("gnn", model.SerializeToString())(Case("", X, EDGES))
    expected = network(torch.tensor(X), torch.tensor(EDGES)).numpy()
    np.testing.assert_allclose(found, expected, rtol=2e-3)
    edge_to_first = int(np.flatnonzero(EDGES[1] == 0)[0])
    assert found[edge_to_first, 0] == pytest.approx(2 * 15.0 + 1.4142, rel=1e-3)  # without the guard: 31, not 31.41


class _Wide(torch.nn.Module):
    """Sums 30 columns, more than one ScatterElements adds up, and tells every column apart."""

    def forward(self, x: torch.Tensor, edge_index: torch.Tensor) -> torch.Tensor:
        messages = torch.index_select(x, 0, edge_index[0]).repeat(1, 10) * torch.arange(1.0, 31.0)
        total = x.new_zeros((x.shape[0], 30)).index_add(0, edge_index[1], messages)
        return torch.index_select((total * torch.arange(30.0, 0.0, -1.0) ** 2).sum(1, keepdim=True), 0, edge_index[1])


@pytest.mark.parametrize("edges", [EDGES, EDGES[:, :1], EDGES[:, :0]], ids=["repeated", "one", "none"])
def test_wide_sums_are_added_a_few_columns_at_a_time(edges: np.ndarray) -> None:
    network = _Wide().eval()
    model = onnx_model("gnn", network, 3, "acts-onnx")
    scatters = [node for node in model.graph.node if node.op_type == "ScatterElements"]
    assert len(scatters) == 3
    found = run_onnx("gnn", model.SerializeToString())(Case("", X, edges))
    np.testing.assert_allclose(found, network(torch.tensor(X), torch.tensor(edges)).numpy(), rtol=1e-5)
    if edges is EDGES:  # a single one that keeps only the last message is enough to be wrong
        del scatters[1].attribute[:]
        wrong = run_onnx("gnn", model.SerializeToString())(Case("", X, edges))
        assert np.abs(wrong - found).max() > 1.0


class _Untranslatable(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + torch.segment_reduce(x, "sum", lengths=torch.ones(x.shape[0], dtype=torch.int64), axis=0)


def test_what_has_no_lowering_is_refused() -> None:
    with pytest.raises(ExportError, match="embedding: torch could not translate"):
        onnx_model("embedding", _Untranslatable().eval(), 3)


class _Baked(torch.nn.Module):
    def __init__(self, fault: str) -> None:
        super().__init__()
        self.fault = fault

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.fault == "device":
            return x + torch.zeros((1,), device=x.device)
        if self.fault == "size":
            return x * float(len(x))
        return x * x.new_ones((x.shape[0], 1))


@pytest.mark.parametrize(
    ("fault", "message"),
    [("none", ""), ("device", "a device is baked in"), ("size", "bake in a value that depends on the event")],
)
def test_torchscript_bakes_nothing_in(fault: str, message: str) -> None:
    if not message:
        assert torchscript_bytes("embedding", _Baked(fault).eval(), 3)
        return
    with pytest.raises(ExportError, match=message):
        torchscript_bytes("embedding", _Baked(fault).eval(), 3)


def small_model() -> onnx.ModelProto:
    x = helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["num_hits", 3])
    edges = helper.make_tensor_value_info("edge_index", onnx.TensorProto.INT64, [2, "num_edges"])
    output = helper.make_tensor_value_info("output", onnx.TensorProto.FLOAT, ["num_hits", 3])
    nodes = [
        helper.make_node("Gather", ["edge_index", "one"], ["target"], axis=0),
        helper.make_node("Gather", ["x", "target"], ["messages"], axis=0),
        helper.make_node("Unsqueeze", ["target", "last"], ["column"]),
        helper.make_node("Shape", ["messages"], ["shape"]),
        helper.make_node("Expand", ["column", "shape"], ["rows"]),
        helper.make_node("ScatterElements", ["x", "rows", "messages"], ["sum"], axis=0, reduction="add"),
        helper.make_node("Identity", ["sum"], ["output"]),
    ]
    values = [numpy_helper.from_array(np.array(1), "one"), numpy_helper.from_array(np.array([1]), "last")]
    graph = helper.make_graph(nodes, "small", [x, edges], [output], values)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def small_expectation() -> Expectation:
    total = X.astype(np.float64)
    np.add.at(total, EDGES[1], X[EDGES[1]].astype(np.float64))
    return Expectation(Case("small", X, EDGES), total, np.full(total.shape, 1e-5))


def test_a_simplifier_that_works_is_used() -> None:
    result = simplified("gnn", small_model(), [small_expectation()])
    assert result.changed
    assert len(result.model.graph.node) == 6
    assert "7 to 6 nodes" in result.note


def _crash(model: onnx.ModelProto) -> tuple[onnx.ModelProto, bool]:
    raise RuntimeError("segmentation")


def _invalid(model: onnx.ModelProto) -> tuple[onnx.ModelProto, bool]:
    return model, False


def _no_reduction(model: onnx.ModelProto) -> tuple[onnx.ModelProto, bool]:
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    del changed.graph.node[5].attribute[1]
    return changed, True


def _wrong_numbers(model: onnx.ModelProto) -> tuple[onnx.ModelProto, bool]:
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    changed.graph.node[6].op_type = "Neg"
    return changed, True


def _bloated(model: onnx.ModelProto) -> tuple[onnx.ModelProto, bool]:
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    changed.graph.initializer.append(numpy_helper.from_array(np.zeros(10_000, np.float32), "bloat"))
    return changed, True


def _broken(model: onnx.ModelProto) -> tuple[onnx.ModelProto, bool]:
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    changed.graph.node[6].input[0] = "nowhere"
    return changed, True


@pytest.mark.parametrize(
    ("simplify", "reason"),
    [
        (_crash, "RuntimeError: segmentation"),
        (_invalid, "own check failed"),
        (_no_reduction, "changed the scatter operators"),
        (_wrong_numbers, "outputs changed by 12 on graph 'small'"),
        (_bloated, "made it larger"),
        (_broken, "does not run"),
    ],
)
def test_a_simplifier_that_fails_is_not_used_and_told(simplify, reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnxsim, "simplify", simplify)
    model = small_model()
    result = simplified("gnn", model, [small_expectation()])
    assert result.model is model
    assert not result.changed
    assert result.note.startswith("not simplified: ")
    assert reason in result.note
