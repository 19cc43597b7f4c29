"""Repair at the doors: scores, types, rank, names, frozen axes; where it applies, where it must refuse, where all is well."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from support.scatter_models import ADDED, SUMMED, asked, network, true_logits

from trkx.export.repair.repair import Repaired, repaired

SOME = ("star", "path", "duplicate edges", "zero edges", "more edges than hits")


def _repaired(model: onnx.ModelProto, target: str = "ort-cpu", **fields: object) -> Repaired:
    return repaired(model, asked(target, **fields), only=() if _frozen(model) else SOME)


def _frozen(model: onnx.ModelProto) -> bool:
    return any(dim.dim_value > 3 for value in model.graph.input for dim in value.type.tensor_type.shape.dim)


def _run(model: onnx.ModelProto, x: np.ndarray, edges: np.ndarray) -> np.ndarray:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options)
    return session.run(None, {"x": x, "edge_index": edges})[0]


def _graph(rng: np.random.Generator, hits: int = 30, edges: int = 200) -> tuple[np.ndarray, np.ndarray]:
    return rng.uniform(0.05, 1.0, (hits, 3)).astype(np.float32), rng.integers(0, hits, (2, edges))


def _rules(result: Repaired) -> set[str]:
    return {change.rule for change in result.changes}


def _shown(model: onnx.ModelProto) -> list[str]:
    return [onnx.helper.printable_value_info(value) for value in (*model.graph.input, *model.graph.output)]


@pytest.mark.parametrize(
    "end",
    [
        "output = Sigmoid (y)",
        "s = Sigmoid (y)  output = Identity (s)",
        "flat = Squeeze (y, last)  s = Sigmoid (flat)  output = Unsqueeze (s, last)",
        "minus = Neg (y)  e = Exp (minus)  d = Add (e, one)  output = Reciprocal (d)",
        "minus = Neg (y)  e = Exp (minus)  d = Add (one, e)  output = Div (one, d)",
        "s = Sigmoid (y)  other = Mul (s, s)  output = Identity (s)",
    ],
)
def test_scores_become_logits(end: str, rng: np.random.Generator) -> None:
    model = network(end=end, weights="float one = {1.0}")
    result = _repaired(model)
    assert result.model is not None, result.problems
    assert _rules(result) == {"TRKX015"}
    x, edges = _graph(rng)
    assert np.abs(_run(result.model, x, edges) - true_logits(model, x, edges)).max() < 1e-5
    assert not {"Sigmoid", "Exp"} & {node.op_type for node in result.model.graph.node}


@pytest.mark.parametrize(
    "end",
    [
        "output = HardSigmoid (y)",
        "e = Exp (y)  d = Add (e, one)  output = Reciprocal (d)",
        "s = Sigmoid (y)  t = Sigmoid (s)  output = Identity (t)",
    ],
    ids=["another function", "the other sign", "two of them"],
)
def test_scores_that_are_no_plain_sigmoid_are_refused(end: str) -> None:
    result = _repaired(network(end=end, weights="float one = {1.0}"))
    assert result.model is None
    assert any("TRKX015" in problem for problem in result.problems)


def test_sigmoid_inside_stays(rng: np.random.Generator) -> None:
    model = network(f"g = Sigmoid (m)  {SUMMED.replace(' m)', ' g)')}")
    result = _repaired(model)
    assert result.model is model
    assert not result.changes


def test_embedding_with_a_sigmoid_is_no_classifier() -> None:
    doors = "(float[num_hits, 3] x) => (float[num_hits, 3] output)"
    result = _repaired(onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["" : 18]> e {doors} {{ output = Sigmoid (x) }}'))
    assert result.model is not None, result.problems
    assert not result.changes


def test_double_doors_become_float32(rng: np.random.Generator) -> None:
    x32 = "x32 = Cast <to = 1> (x)"
    model = network(SUMMED, "output = Cast <to = 11> (y)", x="double[num_hits, 3] x", output="double[num_edges, 1] output")
    for node in model.graph.node:
        node.input[:] = ["x32" if name == "x" else name for name in node.input]
    cast = onnx.parser.parse_graph(f"g (double[n, 3] x) => (float[n, 3] x32) {{ {x32} }}").node[0]
    nodes = [cast, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    result = _repaired(model)
    assert result.model is not None, result.problems
    assert _rules(result) == {"TRKX017"}
    x, edges = _graph(rng)
    found = _run(result.model, x, edges)
    assert found.dtype == np.float32
    assert np.abs(found - true_logits(model, x, edges)).max() < 1e-5


def test_int32_edges_become_int64(rng: np.random.Generator) -> None:
    model = network(edges="int32[2, num_edges] edge_index")
    cast = "wide = Cast <to = 7> (edge_index)"
    for node in model.graph.node:
        node.input[:] = ["wide" if name == "edge_index" else name for name in node.input]
    nodes = [onnx.parser.parse_graph(f"g (int32[2, n] edge_index) => (int64[2, n] wide) {{ {cast} }}").node[0], *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    result = _repaired(model)
    assert result.model is not None, result.problems
    x, edges = _graph(rng)
    assert np.abs(_run(result.model, x, edges) - true_logits(model, x, edges)).max() < 1e-5


def test_rank_is_what_the_target_takes(rng: np.random.Generator) -> None:
    flat = network(end="output = Squeeze (y, last)", output="float[num_edges] output")
    assert not _repaired(flat, "ort-cpu").changes
    result = _repaired(flat, "acts-onnx")
    assert result.model is not None, result.problems
    assert _shown(result.model)[-1] == "%output[FLOAT, num_edgesx1]"
    x, edges = _graph(rng)
    assert np.abs(_run(result.model, x, edges) - true_logits(flat, x, edges)).max() < 1e-5


def test_rank_that_has_no_meaning_is_refused() -> None:
    deep = network(end="z = Unsqueeze (y, last)  output = Unsqueeze (z, last)", output="float[num_edges, 1, 1, 1] output")
    result = _repaired(deep)
    assert result.model is None
    assert any("TRKX017" in problem for problem in result.problems)


def _renamed(model: onnx.ModelProto, new: dict[str, str]) -> onnx.ModelProto:
    for item in (*model.graph.input, *model.graph.output):
        item.name = new.get(item.name, item.name)
    for node in model.graph.node:
        node.input[:] = [new.get(name, name) for name in node.input]
        node.output[:] = [new.get(name, name) for name in node.output]
    return model


def test_names_and_order_of_the_contract(rng: np.random.Generator) -> None:
    model = _renamed(network(), {"x": "nodes", "edge_index": "pairs", "output": "score", "h": "x", "m": "output"})
    turned = [model.graph.input[1], model.graph.input[0]]
    copies = [onnx.ValueInfoProto.FromString(value.SerializeToString()) for value in turned]
    del model.graph.input[:]
    model.graph.input.extend(copies)
    result = _repaired(model, "tensorrt")
    assert result.model is not None, result.problems
    assert [value.name for value in result.model.graph.input] == ["x", "edge_index"]
    assert result.model.graph.output[0].name == "output"
    x, edges = _graph(rng)
    assert np.abs(_run(result.model, x, edges) - true_logits(network(), x, edges)).max() < 1e-5


OF_2021 = {"x": "g_nodes", "edge_index": "g_edges", "output": "gnn_edge_score"}


@pytest.mark.parametrize(
    ("names", "stage", "wanted"),
    [
        (OF_2021, "", list(OF_2021.values())),
        ({}, "", list(OF_2021.values())),
        ({"x": "f_nodes", "edge_index": "f_edges", "output": "f_edge_score"}, "", ["f_nodes", "f_edges", "f_edge_score"]),
        ({"x": "g_edges", "edge_index": "g_nodes"}, "", list(OF_2021.values())),
        (OF_2021, "filter", ["f_nodes", "f_edges", "f_edge_score"]),
    ],
    ids=["its own", "the contract's", "a filter's", "exchanged", "another stage"],
)
def test_names_are_those_of_the_target(names: dict[str, str], stage: str, wanted: list[str], rng: np.random.Generator) -> None:
    result = _repaired(_renamed(network(ADDED), names), "exatrkx-2021", stage=stage)
    assert result.model is not None, result.problems
    assert [value.name for value in (*result.model.graph.input, *result.model.graph.output)] == wanted
    kept = [names.get(role, role) for role in OF_2021] == wanted
    assert _rules(result) == {"TRKX001"} | (set() if kept else {"TRKX016"})
    options = onnxruntime.InferenceSession(result.model.SerializeToString(), providers=["CPUExecutionProvider"])
    x, edges = _graph(rng)
    (found,) = options.run(None, dict(zip(wanted, (x, edges), strict=False)))
    assert np.abs(found - true_logits(network(), x, edges)).max() < 1e-5


def test_advice_names_what_the_target_wants() -> None:
    text = """
        <ir_version: 8, opset_import: ["" : 18]>
        n (float[num_hits, 3] a, float[num_hits, 3] b, int64[2, num_edges] g_edges) => (float[num_edges, 3] output) {
            s = Add (a, b)  zero = Constant <value = int64 {0}> ()  i = Gather (g_edges, zero)  output = Gather (s, i)
        }
    """
    result = _repaired(onnx.parser.parse_model(text), "exatrkx-2021")
    assert result.model is None
    assert any('input_names=["g_nodes", "g_edges"] and output_names=["gnn_edge_score"]' in text for text in result.problems)


def test_names_are_kept_if_asked() -> None:
    model = _renamed(network(ADDED), {"x": "nodes", "edge_index": "pairs", "output": "score"})
    result = _repaired(model, keep_names=True)
    assert result.model is not None, result.problems
    assert [value.name for value in (*result.model.graph.input, *result.model.graph.output)] == ["nodes", "pairs", "score"]
    refused = _repaired(model, "tensorrt", keep_names=True)
    assert refused.model is None
    assert any("TRKX016" in problem for problem in refused.problems)


def test_names_that_could_be_either_are_refused() -> None:
    text = """
        <ir_version: 8, opset_import: ["" : 18]>
        n (float[num_hits, 3] a, float[num_hits, 3] b, int64[2, num_edges] edge_index) => (float[num_edges, 3] output) {
            s = Add (a, b)  zero = Constant <value = int64 {0}> ()  i = Gather (edge_index, zero)  output = Gather (s, i)
        }
    """
    result = _repaired(onnx.parser.parse_model(text), "tensorrt")
    assert result.model is None
    assert any("more than one could be" in problem for problem in result.problems)


def test_name_of_another_type_is_refused() -> None:
    model = _renamed(network(), {"x": "edge_index", "edge_index": "pairs"})
    result = _repaired(model, "tensorrt")
    assert result.model is None
    assert any("another's type" in problem for problem in result.problems)


FROZEN = {
    "x": "float[7, 3] x", "edges": "int64[2, 11] edge_index", "output": "float[11, 1] output",
}


@pytest.mark.parametrize(
    ("aggregation", "weights"),
    [
        (SUMMED, "int64 none = {0}"),
        ("k = Expand (rows, size)  " + SUMMED.replace("index", "k"), "int64[2] size = {11, 4}"),
        ("v = Reshape (j, size)  k = Expand (v, messages)  " + SUMMED.replace("index", "k"), "int64[2] size = {11, 1}"),
        ("q = Reshape (m, size)  " + SUMMED.replace(" m)", " q)"), "int64[2] size = {11, -1}"),
        ("z = ConstantOfShape (size)  " + SUMMED.replace("(zeros", "(z"), "int64[2] size = {7, 4}"),
        ("z = ConstantOfShape (size)  s = ScatterElements <axis = 0> (z, index, m)  a = Add (z, s)", "int64[2] size = {7, 4}"),
        ('c = ScatterElements <axis = 0, reduction = "add"> (nothing, j, ones)  t = Max (c, one)  u = Unsqueeze (t, last)  '
         + SUMMED.replace("a =", "b =") + "  a = Mul (b, one)",
         "float one = {1.0}, float[7] nothing = {0,0,0,0,0,0,0}, float[11] ones = {1,1,1,1,1,1,1,1,1,1,1}"),
    ],
    ids=["doors", "expand", "reshape", "reshape with the rest", "table", "table and sum", "count"],
)
def test_frozen_axes_are_freed(aggregation: str, weights: str, rng: np.random.Generator) -> None:
    model = network(aggregation, weights=weights, **FROZEN)
    result = _repaired(model)
    assert result.model is not None, result.problems
    assert "TRKX012" in _rules(result)
    assert _shown(result.model) == ["%x[FLOAT, num_hitsx3]", "%edge_index[INT64, 2xnum_edges]", "%output[FLOAT, num_edgesx1]"]
    for hits, edges in ((7, 11), (3, 40), (50, 5), (4, 0)):
        x, pairs = _graph(rng, hits, edges)
        assert np.abs(_run(result.model, x, pairs) - true_logits(model, x, pairs)).max(initial=0.0) < 1e-5


@pytest.mark.parametrize(
    ("aggregation", "weights"),
    [
        ("t = Add (m, table)  " + SUMMED.replace(" m)", " t)"),
         f"float[11, 1] table = {{{', '.join(str(k) for k in range(11))}}}"),
        ("mean = ReduceMean (m, none)  t = Sub (m, mean)  " + SUMMED.replace(" m)", " t)"), "int64[1] none = {0}"),
    ],
    ids=["a number for each edge", "a mean over all edges"],
)
def test_frozen_network_that_depends_on_its_size_is_refused(aggregation: str, weights: str) -> None:
    result = _repaired(network(aggregation, weights=weights, **FROZEN))
    assert result.model is None
    assert result.problems


def test_same_number_of_hits_and_edges_is_no_reason_to_mix_them_up(rng: np.random.Generator) -> None:
    doors = {"x": "float[11, 3] x", "edges": "int64[2, 11] edge_index", "output": "float[11, 1] output"}
    text = "v = Reshape (j, size)  k = Expand (v, messages)  " + SUMMED.replace("index", "k")
    model = network(text, weights="int64[2] size = {11, 1}", **doors)
    result = _repaired(model)
    assert result.model is not None, result.problems
    x, pairs = _graph(rng, 4, 30)
    assert np.abs(_run(result.model, x, pairs) - true_logits(model, x, pairs)).max() < 1e-5
