"""Sums over edges in ONNX: each lowering against float64, on graphs with hubs and holes, for any number of threads."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper

from trkx.errors import ExportError
from trkx.export.lowerings.aggregations import aggregations
from trkx.export.lowerings.lower import lowered
from trkx.export.lowerings.table import LOWERINGS, lowering_of
from trkx.export.onnx_graph import Graph
from trkx.export.targets import TARGETS

WIDTH = 17
SUM = """
<ir_version: 10, opset_import: ["" : 18]>
sums (float[N, 3] x, int64[E] target, float[E, 17] messages) => (float[N, 17] y)
<int64[1] one = {1}, int64[1] width = {17}, float fill = {0}> {
  n = Shape<start = 0, end = 1>(x)
  shape = Concat<axis = 0>(n, width)
  start = Expand(fill, shape)
  column = Unsqueeze(target, one)
  wanted = Shape(messages)
  rows = Expand(column, wanted)
  y = ScatterElements<axis = 0, reduction = "add">(start, rows, messages)
}
"""
NUMPY = {"add": np.add, "max": np.maximum}
BLANK = {"add": 0.0, "max": -np.inf}


def aggregating(reduction: str, fill: float | None = None) -> onnx.ModelProto:
    model = onnx.parser.parse_model(SUM.replace("add", reduction))
    tensor = next(item for item in model.graph.initializer if item.name == "fill")
    tensor.CopyFrom(numpy_helper.from_array(np.float32(BLANK[reduction] if fill is None else fill), "fill"))
    onnx.checker.check_model(model, full_check=True)
    return model


def run(model: onnx.ModelProto, nodes: int, target: np.ndarray, messages: np.ndarray, threads: int = 1) -> np.ndarray:
    onnx.checker.check_model(model, full_check=True)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = threads, 3
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    feeds = {"x": np.zeros((nodes, 3), np.float32), "target": target, "messages": messages}
    return session.run(["y"], {key: feeds[key] for key in (item.name for item in session.get_inputs())})[0]


def exactly(reduction: str, nodes: int, target: np.ndarray, messages: np.ndarray, fill: float | None = None) -> np.ndarray:
    result = np.full((nodes, messages.shape[1]), BLANK[reduction] if fill is None else fill)
    NUMPY[reduction].at(result, target, messages.astype(np.float64))
    return result


def hubs(rng: np.random.Generator, nodes: int, edges: int) -> np.ndarray:
    target = rng.choice(nodes, edges, p=(lambda w: w / w.sum())(rng.pareto(1.2, nodes) + 0.1))
    target[: edges // 3] = nodes // 2
    return target


GRAPHS = {
    "no edges": lambda rng: (20, np.empty(0, np.int64)),
    "no nodes": lambda rng: (0, np.empty(0, np.int64)),
    "one hit": lambda rng: (1, np.empty(0, np.int64)),
    "one hit, many edges": lambda rng: (1, np.zeros(70, np.int64)),
    "one edge": lambda rng: (5, np.array([3])),
    "path": lambda rng: (40, np.arange(39)),
    "star": lambda rng: (200, np.zeros(199, np.int64)),
    "widest degree with a block": lambda rng: (4, np.repeat([0, 2, 3], 32)),
    "one more": lambda rng: (4, np.repeat([0, 2, 3], 33)),
    "many hits, few edges": lambda rng: (500, rng.integers(0, 500, 60)),
    "few hits, many edges": lambda rng: (60, rng.integers(0, 60, 4000)),
    "hubs": lambda rng: (700, hubs(rng, 700, 6000)),
    "last hit only": lambda rng: (300, np.full(40, 299)),
}


@pytest.mark.parametrize("reduction", ["add", "max"])
@pytest.mark.parametrize("name", LOWERINGS)
def test_every_lowering_is_right_on_every_graph(name: str, reduction: str, rng: np.random.Generator) -> None:
    model, count = lowered(aggregating(reduction), LOWERINGS[name])
    assert count == 1
    for graph, make in GRAPHS.items():
        nodes, target = make(rng)
        shape = (len(target), WIDTH)
        for messages in (rng.normal(size=shape), np.ones(shape), rng.uniform(1e-3, 1e3, shape)):
            found = run(model, nodes, target, messages.astype(np.float32))
            expected = exactly(reduction, nodes, target, messages.astype(np.float32))
            scale = exactly("add", nodes, target, np.abs(messages))
            assert found.dtype == np.float32
            assert found.shape == expected.shape, graph
            there = np.isfinite(expected)
            assert (np.isfinite(found) == there).all(), graph
            assert (np.abs(found[there] - expected[there]) <= 2e-6 * scale[there]).all(), graph


@pytest.mark.parametrize("name", LOWERINGS)
def test_bits_are_the_same_for_any_number_of_threads(name: str, rng: np.random.Generator) -> None:
    model, _ = lowered(aggregating("add"), LOWERINGS[name])
    target = hubs(rng, 3000, 40_000)
    messages = rng.normal(size=(40_000, WIDTH)).astype(np.float32)
    first = run(model, 3000, target, messages)
    for threads in (1, 2, 8):
        assert run(model, 3000, target, messages, threads).tobytes() == first.tobytes()


@pytest.mark.parametrize(("reduction", "fill"), [("add", 5.0), ("max", 0.5)])
@pytest.mark.parametrize("name", LOWERINGS)
def test_what_is_added_to_is_kept(name: str, reduction: str, fill: float, rng: np.random.Generator) -> None:
    model, count = lowered(aggregating(reduction, fill), LOWERINGS[name])
    target, messages = rng.integers(0, 30, 200), rng.normal(size=(200, WIDTH)).astype(np.float32)
    assert count == 1
    expected = exactly(reduction, 30, target, messages, fill)
    np.testing.assert_allclose(run(model, 30, target, messages), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", LOWERINGS)
def test_indices_are_taken_as_a_scatter_takes_them(name: str, rng: np.random.Generator) -> None:
    model, _ = lowered(aggregating("add"), LOWERINGS[name])
    target, messages = rng.integers(-30, 30, 300), rng.normal(size=(300, WIDTH)).astype(np.float32)
    np.testing.assert_allclose(run(model, 30, target, messages), exactly("add", 30, target % 30, messages), rtol=1e-4, atol=1e-5)
    target[7] = 30
    with pytest.raises(Exception, match=r"(?i)index|indices"):
        run(model, 30, target, messages)


@pytest.mark.parametrize("name", LOWERINGS)
def test_nan_and_infinity_are_not_lost(name: str) -> None:
    model, _ = lowered(aggregating("add"), LOWERINGS[name])
    target = np.repeat(np.arange(4), [3, 40, 1, 2])
    messages = np.ones((len(target), WIDTH), np.float32)
    messages[1, 0], messages[10, 1] = np.nan, np.inf
    found = run(model, 4, target, messages)
    assert np.isnan(found[0, 0])
    assert not np.isfinite(found[1, 1])
    if name != "prefix64":  # there they spread, loudly, to the nodes after
        assert np.isfinite(np.delete(found.ravel(), [0, WIDTH + 1])).all()


def test_only_the_portable_lowering_scatters_the_messages() -> None:
    for name, row in LOWERINGS.items():
        model, _ = lowered(aggregating("add"), row)
        scattered = [node for node in model.graph.node if node.op_type == "ScatterElements" and node.input[2] == "messages"]
        assert bool(scattered) == (name == "scatter" and WIDTH <= 12)
        assert any(node.op_type == "TopK" for node in model.graph.node) == row.sorts


TWICE = SUM.replace("y = ScatterElements", "a = ScatterElements").replace("messages)\n}", """messages)
  b = ScatterElements<axis = 0, reduction = "add">(start, rows, a_messages)
  y = Sub(a, b)
}""").replace("wanted = Shape", "a_messages = Neg(messages)\n  wanted = Shape")


@pytest.mark.parametrize("name", LOWERINGS)
def test_sums_over_one_index_are_prepared_once(name: str, rng: np.random.Generator) -> None:
    model, count = lowered(onnx.parser.parse_model(TWICE), LOWERINGS[name])
    assert count == 2
    assert sum(node.op_type == "TopK" for node in model.graph.node) == {"buckets": 3, "scatter": 0, "segments": 0}.get(name, 1)
    target, messages = rng.integers(0, 30, 200), rng.normal(size=(200, WIDTH)).astype(np.float32)
    np.testing.assert_allclose(run(model, 30, target, messages), 2 * exactly("add", 30, target, messages), rtol=1e-4, atol=1e-5)


UNSEEN = {
    "values narrower than what they are added to": SUM.replace("float[E, 17] messages", "float[E, 1] messages"),
    "one index for all rows": SUM.replace("int64[E] target", "int64[1] target"),
    "another axis": SUM.replace("axis = 0, reduction", "axis = 1, reduction"),
    "a product": SUM.replace('"add"', '"mul"'),
    "no reduction": SUM.replace(', reduction = "add"', ""),
    "an index that is not spread": SUM.replace("rows = Expand(column, wanted)", "rows = Identity(given)").replace(
        "int64[E] target", "int64[E, 17] given, int64[E] target"
    ),
    "whole numbers": SUM.replace("float[N, 17] y", "int64[N, 17] y").replace("float[E, 17]", "int64[E, 17]").replace(
        "float fill", "int64 fill"
    ),
}


@pytest.mark.parametrize("what", UNSEEN)
def test_what_is_not_a_sum_over_edges_is_left_alone(what: str) -> None:
    model = onnx.parser.parse_model(UNSEEN[what])
    assert aggregations(Graph(model)) == []
    same, count = lowered(model, LOWERINGS["buckets"])
    assert count == 0
    assert same == model


def test_an_old_opset_is_left_alone() -> None:
    model = aggregating("add")
    model.opset_import[0].version = 16
    assert lowered(model, LOWERINGS["buckets"])[1] == 0


def test_names_of_the_graph_are_not_taken_twice() -> None:
    text = SUM.replace("start", "sum_Slice_1").replace("<sum_Slice_1 = 0", "<start = 0")
    model, count = lowered(onnx.parser.parse_model(text), LOWERINGS["buckets"])
    assert count == 1
    onnx.checker.check_model(model, full_check=True)


def test_targets_and_lowerings_are_known_by_name() -> None:
    assert lowering_of("ort-cpu").name == "buckets"
    assert lowering_of("acts-onnx").name == "scatter"
    assert lowering_of("tensorrt").name == "segments"  # plug-ins on request only
    assert lowering_of("ort-cpu", "doubling").name == "doubling"
    for target, name, message in (
        ("ort-gpu", None, r"unknown target 'ort-gpu'.*Did you mean"),
        ("ort-cpu", "scater", r"unknown lowering 'scater'.*Did you mean 'scatter'"),
        ("tensorrt", "prefix64", "prefix64 is not right or not fast on tensorrt; choose segments or scatter"),
        ("libtorch", None, "a lowering is for ONNX"),
    ):
        with pytest.raises(ExportError, match=message):
            lowering_of(target, name)


def test_the_tables_fit_each_other() -> None:
    for row in TARGETS.values():
        assert bool(row.lowerings) == (row.format == "onnx") == (row.opset > 0)
        for name in row.lowerings:
            assert not (LOWERINGS[name].double and not row.double)
            assert not (LOWERINGS[name].sorts and not row.sort)
