"""Networks that sum over edges in every way torch has: exported, lowered, and compared with themselves in float64."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor

from trkx.errors import ExportError
from trkx.export.check import run_onnx
from trkx.export.lowerings.table import LOWERINGS
from trkx.export.onnx_file import onnx_model
from trkx.export.targets import TARGETS
from trkx.export.zoo import Case
from trkx.models.segment import segment_max, segment_mean, segment_softmax, segment_sum

Way = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(start [N, 4], target [E], messages [E, 4]) to [N, 4]."""


def spread(target: Tensor, messages: Tensor) -> Tensor:
    return target.view(-1, 1).expand_as(messages)


def reducing(reduce: str, include_self: bool) -> Way:
    return lambda s, t, m: s.scatter_reduce(0, spread(t, m), m, reduce, include_self=include_self)


def pyg_mean(start: Tensor, target: Tensor, messages: Tensor) -> Tensor:
    """As PyTorch Geometric writes it."""
    count = messages.new_zeros(start.shape[0]).scatter_add_(0, target, messages.new_ones(messages.shape[0])).clamp(min=1)
    total = messages.new_zeros(start.shape).scatter_add_(0, target.view(-1, 1).expand(-1, 4), messages)
    return total / count.view(-1, 1)


def columns(start: Tensor, target: Tensor, messages: Tensor) -> Tensor:
    return start.index_add(1, torch.tensor([0, 1, 1, 3]), start * 2.0) + 0.0 * segment_sum(messages, target, start.shape[0])


def three_axes(reduce: str, axis: int) -> Way:
    """Return a reduction of [2, E, 2] to [2, N, 2] with an index that a column [E, 1] is expanded to."""

    def way(start: Tensor, target: Tensor, messages: Tensor) -> Tensor:
        parts = messages.view(messages.shape[0], 2, 2).transpose(0, 1)
        index = target.unsqueeze(1).expand(2, -1, 2)
        zeros = start.view(start.shape[0], 2, 2).transpose(0, 1)
        found = zeros.scatter_reduce(axis, index, parts, reduce, include_self=False)
        return found.transpose(0, 1).reshape(start.shape[0], 4)

    return way


WAYS: dict[str, Way] = {
    "scatter_reduce mean along the axis before the last": three_axes("mean", -2),
    "scatter_reduce mean along the second axis": three_axes("mean", 1),
    "scatter_reduce amax along the axis before the last": three_axes("amax", -2),
    "index_add": lambda s, t, m: s.index_add(0, t, m),
    "index_add in place": lambda s, t, m: s.clone().index_add_(0, t, m, alpha=-2.5),
    "index_add on columns": columns,
    "index_put": lambda s, t, m: s.index_put((t,), m, accumulate=True),
    "index_put of one row": lambda s, t, m: s.index_put((t,), s.new_tensor([1.0, 2.0, 3.0, 0]), accumulate=True) + 0.0 * m.sum(),
    "scatter_add": lambda s, t, m: s.scatter_add(0, spread(t, m), m),
    "scatter_add, another index in each column": lambda s, t, m: s.scatter_add(0, torch.stack([t, t.flip(0)] * 2, 1), m),
    "scatter_add, fewer rows than the source": lambda s, t, m: s.scatter_add(0, spread(t, m)[: t.shape[0] // 2], m),
    "scatter_add, fewer columns than the source": lambda s, t, m: s.scatter_add(0, spread(t, m)[:, :3], m),
    "scatter with a reduction": lambda s, t, m: torch.scatter(s, 0, spread(t, m), m, reduce="add"),
    "scatter_reduce sum": reducing("sum", True),
    "scatter_reduce sum, without self": reducing("sum", False),
    "scatter_reduce mean": reducing("mean", True),
    "scatter_reduce mean, without self": reducing("mean", False),
    "scatter_reduce amax": reducing("amax", True),
    "scatter_reduce amax, without self": reducing("amax", False),
    "scatter_reduce amin": reducing("amin", True),
    "scatter_reduce amin, without self": reducing("amin", False),
    "scatter_reduce prod": reducing("prod", True),
    "scatter_reduce prod, without self": reducing("prod", False),
    "index_reduce amax": lambda s, t, m: s.index_reduce(0, t, m, "amax", include_self=False),
    "index_reduce mean": lambda s, t, m: s.index_reduce(0, t, m, "mean"),
    "PyG's mean": pyg_mean,
    "segment_sum": lambda s, t, m: s + segment_sum(m, t, s.shape[0]),
    "segment_mean": lambda s, t, m: s + segment_mean(m, t, s.shape[0]),
    "segment_max": lambda s, t, m: s + segment_max(m, t, s.shape[0]),
    "segment_softmax": lambda s, t, m: s + segment_sum(m * segment_softmax(3.0 * m, t, s.shape[0]), t, s.shape[0]),
}


class Summing(torch.nn.Module):
    """The way is applied twice, to one's own result, so that its index is used twice; read at each edge."""

    def __init__(self, way: Way) -> None:
        super().__init__()
        self.way = way

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        source, target = edge_index[0], edge_index[1]
        weights = torch.arange(1.0, 13.0, dtype=x.dtype).reshape(3, 4) / 12.0
        state = torch.tanh(x @ weights)
        for _ in range(2):
            messages = torch.index_select(state, 0, source) * torch.index_select(state, 0, target) + 0.7
            state = torch.tanh(0.5 * self.way(state, target, messages))
        return torch.index_select(state, 0, source).sum(1, keepdim=True)


GRAPHS = {"repeated": (7, 60), "few edges": (40, 11), "one edge": (2, 1), "none": (5, 0), "one hit": (1, 3), "a hub": (9, 300)}


@pytest.fixture(scope="module")
def exported() -> dict[str, onnx.ModelProto]:
    return {}


def found(model: onnx.ModelProto, x: np.ndarray, edges: np.ndarray) -> np.ndarray:
    return run_onnx("gnn", model.SerializeToString())(Case("", x, edges))


@pytest.mark.filterwarnings("ignore:index_reduce:UserWarning", "ignore:The reduce argument of torch.scatter:UserWarning")
@pytest.mark.parametrize("way", WAYS)
def test_every_way_of_summing_is_exported_right(way: str, rng: np.random.Generator) -> None:
    network = Summing(WAYS[way]).eval()
    model = onnx_model("gnn", network, 3)
    onnx.checker.check_model(model, full_check=True)
    assert not [node for node in model.graph.node if node.op_type == "ScatterND"]
    for name, (nodes, edges) in GRAPHS.items():
        x, edge_index = rng.normal(size=(nodes, 3)).astype(np.float32), rng.integers(0, nodes, (2, edges))
        if name == "a hub":
            edge_index[1, :200] = 3
        with torch.no_grad():
            expected = network(torch.tensor(x, dtype=torch.float64), torch.tensor(edge_index)).numpy()
        np.testing.assert_allclose(found(model, x, edge_index), expected, rtol=2e-5, atol=2e-6, err_msg=name)


@pytest.mark.parametrize("lowering", LOWERINGS)
@pytest.mark.parametrize("way", ["index_add", "scatter_reduce amax", "segment_softmax"])
def test_every_lowering_does(way: str, lowering: str, rng: np.random.Generator) -> None:
    network = Summing(WAYS[way]).eval()
    target = next(row.name for row in TARGETS.values() if lowering in row.lowerings)
    model = onnx_model("gnn", network, 3, target, lowering)
    x, edge_index = rng.normal(size=(30, 3)).astype(np.float32), rng.integers(0, 30, (2, 400))
    with torch.no_grad():
        expected = network(torch.tensor(x, dtype=torch.float64), torch.tensor(edge_index)).numpy()
    np.testing.assert_allclose(found(model, x, edge_index), expected, rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize("target", ["ort-cpu", "ort-cuda", "tensorrt", "acts-onnx", "acts-tensorrt", "triton"])
def test_every_target_gets_its_opset_and_sums(target: str, rng: np.random.Generator) -> None:
    from trkx.export.targets import target_of

    network, row = Summing(WAYS["index_add"]).eval(), target_of(target)
    model = onnx_model("gnn", network, 3, target)
    assert [item.version for item in model.opset_import if item.domain == ""] == [row.opset]
    kinds = {node.op_type for node in model.graph.node}
    assert row.sort or not kinds & {"TopK", "NonZero", "Loop"}
    inferred = onnx.shape_inference.infer_shapes(model)
    doubles = [v.name for v in inferred.graph.value_info if v.type.tensor_type.elem_type == onnx.TensorProto.DOUBLE]
    assert row.double or not doubles
    x, edge_index = rng.normal(size=(30, 3)).astype(np.float32), rng.integers(0, 30, (2, 400))
    with torch.no_grad():
        expected = network(torch.tensor(x, dtype=torch.float64), torch.tensor(edge_index)).numpy()
    np.testing.assert_allclose(found(model, x, edge_index), expected, rtol=2e-5, atol=2e-6)


def half(way: Way) -> Way:
    return lambda s, t, m: way(s.half(), t, m.half()).to(s.dtype)


@pytest.mark.parametrize("way", ["index_add", "scatter_add", "scatter_reduce mean, without self", "segment_mean"])
def test_half_precision_is_summed_in_float32(way: str) -> None:
    model = onnx_model("gnn", Summing(half(WAYS[way])).eval(), 3)
    inferred = onnx.shape_inference.infer_shapes(model)
    kinds = {v.name: v.type.tensor_type.elem_type for v in (*inferred.graph.value_info, *inferred.graph.output)}
    sums = [node for node in inferred.graph.node if node.op_type in ("ReduceSum", "ScatterElements")]
    assert sums
    assert not [node for node in sums if kinds[node.output[0]] == onnx.TensorProto.FLOAT16]
    edges = np.stack([np.arange(3000) % 3, np.zeros(3000, np.int64)])  # a count in half would stop at 2048
    x = np.full((3, 3), 0.1, np.float32)
    expected = Summing(WAYS[way])(torch.tensor(x), torch.tensor(edges)).numpy()
    np.testing.assert_allclose(found(model, x, edges), expected, rtol=5e-3)


REFUSED: dict[str, tuple[Way, str]] = {
    "two indices": (lambda s, t, m: s.index_put((t, t % 4), m[:, 0], accumulate=True), "one index"),
    "mean of whole numbers": (lambda s, t, m: reducing("mean", True)(s.long(), t, m.long()).to(s.dtype), "whole numbers"),
    "maximum of whole numbers": (lambda s, t, m: reducing("amax", False)(s.long(), t, m.long()).to(s.dtype), "whole numbers"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_has_no_safe_form_is_refused(what: str) -> None:
    way, message = REFUSED[what]
    with pytest.raises(ExportError, match=message):
        onnx_model("gnn", Summing(way).eval(), 3)


def test_segment_functions_in_torch(rng: np.random.Generator) -> None:
    values = torch.tensor(rng.normal(size=(50, 3)))
    index = torch.tensor(rng.integers(0, 7, 50))
    index[index == 4] = 5
    for row in range(8):
        own = values[index == row]
        nothing = torch.zeros(3, dtype=values.dtype)
        assert torch.allclose(segment_mean(values, index, 8)[row], own.mean(0) if len(own) else nothing)
        assert torch.equal(segment_max(values, index, 8)[row], own.amax(0) if len(own) else nothing)
        assert torch.allclose(segment_softmax(1e3 * values, index, 8)[index == row], torch.softmax(1e3 * own, 0))
    ones = torch.ones((3000, 1), dtype=torch.bfloat16)
    assert segment_mean(ones, torch.zeros(3000, dtype=torch.int64), 1).item() == 1.0
    assert segment_max(ones[:0], torch.zeros(0, dtype=torch.int64), 2).tolist() == [[0.0], [0.0]]
