"""Rules about TensorRT: plug-ins, shapes that depend on values, types; and the proof that a counting sort moves edges only."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import helper, numpy_helper
from support.onnx_models import model_of, said
from support.tiny import tiny_spec
from test_lowerings import aggregating, exactly, run

from trkx.export.lint.finding import Rule
from trkx.export.lint.rules import (
    scatter_overwrites,
    short_sort,
    tensorrt_plugins,
    tensorrt_shapes,
    tensorrt_types,
    tensorrt_wrong,
)
from trkx.export.lint.run import lint_file
from trkx.export.lowerings import counting, segments
from trkx.export.lowerings.builder import Builder
from trkx.export.lowerings.counting import ordered
from trkx.export.lowerings.lower import lowered
from trkx.export.lowerings.table import LOWERINGS
from trkx.export.onnx_file import onnx_model
from trkx.export.targets import TARGETS
from trkx.models.networks import build_network
from trkx.spec import AttentionSpec, ChainSpec, MessagePassingSpec

OUT = " output = Identity (y)"
RULES = [module.RULE for module in (tensorrt_plugins, tensorrt_shapes, tensorrt_types, tensorrt_wrong)]
ONNX = [name for name, row in TARGETS.items() if row.format == "onnx"]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
@pytest.mark.parametrize("target", ONNX)
def test_a_good_file_is_passed(rule: Rule, target: str) -> None:
    assert said(rule, model_of(), target) == []


@pytest.mark.parametrize("name", LOWERINGS)
def test_each_lowering_on_tensorrt(name: str) -> None:
    model, _ = lowered(aggregating("add"), LOWERINGS[name])
    plugins = said(tensorrt_plugins.RULE, model, "tensorrt")
    assert bool(plugins) == (name != "segments")  # the others count degrees by scatter, if nothing else
    assert all(text.startswith("warning: ") for text in plugins)
    assert all(text.startswith("note: ") for text in said(tensorrt_plugins.RULE, model, "acts-tensorrt"))
    assert bool(said(tensorrt_shapes.RULE, model, "tensorrt")) == (name == "buckets")
    counted = said(tensorrt_types.RULE, model, "tensorrt")
    assert all("CumSum read INT64, TensorRT's parser lists" in text and text.startswith("warning: ") for text in counted)
    assert bool(counted) == (name not in ("segments", "scatter"))  # the others count degrees by running sums
    assert bool(said(tensorrt_wrong.RULE, model, "tensorrt")) == (name == "buckets")
    for rule in RULES:
        assert said(rule, model, "ort-cuda") == []


@pytest.mark.parametrize(
    ("tail", "weights", "message"),
    [
        ("m = ReduceMax <keepdims = 0> (source) n = Range (none, m, one)" + OUT, "int64 none = {0}, int64 one = {1}",
         "takes its shape from values of input 'edge_index'"),
        ("n = NonZero (y) s = Shape (n) z = ConstantOfShape (s)" + OUT, "", ""),  # a length, if of an unknown axis
        ("v, i = TopK <axis = 0> (y, k) e = Slice (d, k, i)" + OUT, "int64[1] k = {1}", "takes its shape from values of TopK"),
        ("c = Cast <to = 7> (y) r = Reshape (c, flat) z = Expand (d, r)" + OUT, "int64[1] flat = {-1}", "values of MatMul"),
    ],
)
def test_shapes_from_values_are_found(tail: str, weights: str, message: str) -> None:
    found = said(tensorrt_shapes.RULE, model_of(tail, weights=weights), "tensorrt")
    assert len(found) == bool(message)
    assert all(message in text and text.startswith("error: ") for text in found)
    assert said(tensorrt_shapes.RULE, model_of(tail, weights=weights), "ort-cpu") == []


@pytest.mark.parametrize(
    "tail",
    [
        "s = Shape (d) n = Div (s, two) m = Max (n, two) z = ConstantOfShape (m)" + OUT,
        "s = Shape <start = 0, end = 1> (x) t = Squeeze (s) r = Range (none, t, one) z = Gather (r, source)" + OUT,
        "s = Size (source) u = Unsqueeze (s, first_) z = Expand (none, u)" + OUT,
    ],
)
def test_shapes_from_lengths_are_passed(tail: str) -> None:
    model = model_of(tail, weights="int64[1] two = {2}, int64 none = {0}, int64 one = {1}, int64[1] first_ = {0}")
    assert said(tensorrt_shapes.RULE, model, "tensorrt") == []


def test_shapes_from_values_are_found_however_far() -> None:
    steps = 2000
    far = " ".join(f"m{step + 1} = Add (m{step}, none)" for step in range(steps))
    for start, wanted in (("ReduceMax <keepdims = 0> (source)", 1), ("Size (source)", 0)):
        tail = f"m0 = {start} {far} n = Range (none, m{steps}, one) o = Range (none, m{steps}, one)" + OUT
        found = said(tensorrt_shapes.RULE, model_of(tail, weights="int64 none = {0}, int64 one = {1}"), "tensorrt")
        assert len(found) == 2 * wanted
        assert all("takes its shape from values of input 'edge_index'" in text for text in found)


BRANCHES = (
    "{} c = If (yes) <then_branch = then () => (int64[k] r) {{ {} }}, "
    "else_branch = other () => (int64[k] q) {{ q = Identity (source) }}>"
)


@pytest.mark.parametrize(
    ("before", "inside", "wanted"),
    [
        ("m = ReduceMax <keepdims = 0> (source)", "r = Range (none, m, one)", "values of input 'edge_index'"),
        ("", "m = ReduceMax <keepdims = 0> (edge_index) r = Range (none, m, one)", "values of input 'edge_index'"),
        ("m = Cast <to = 7> (y) k = ReduceMax <keepdims = 0> (m)", "r = Range (none, k, one)", "values of MatMul"),
        ("m = Size (source)", "r = Range (none, m, one)", ""),
        ("m = Size (source)", "k = Add (m, one) r = Range (none, k, one)", ""),
    ],
)
def test_shapes_in_a_body_from_values_outside_are_found(before: str, inside: str, wanted: str) -> None:
    weights = "int64 none = {0}, int64 one = {1}, bool yes = {1}"
    found = said(tensorrt_shapes.RULE, model_of(BRANCHES.format(before, inside) + OUT, weights=weights), "tensorrt")
    assert len(found) == bool(wanted) and all(wanted in text for text in found)


@pytest.mark.parametrize(
    ("tail", "message"),
    [
        ("z = Cast <to = 12> (source)" + OUT, "1 node(s) make UINT32, which TensorRT has not"),
        ("z = Cast <to = 5> (y) u = Neg (z)" + OUT, "2 node(s) make INT16"),
        ("z = Unsqueeze (y, seven)" + OUT, "a tensor of rank 9, TensorRT's have at most 8"),
        ("z = Cast <to = 16> (y) u = Cast <to = 9> (z) w_ = Cast <to = 6> (u)" + OUT, ""),
        ("z = CumSum (source, none)" + OUT, "1 CumSum read INT64, TensorRT's parser lists BFLOAT16, FLOAT, FLOAT16: CumSum that"),
        ("a_ = Cast <to = 9> (y) z = Add (source, source) u = Equal (a_, a_)" + OUT, "1 Equal read BOOL"),
        ("z = Cast <to = 16> (y) u = Mish (z)" + OUT, "1 Mish read BFLOAT16, TensorRT's parser lists FLOAT, FLOAT16"),
    ],
)
def test_types_and_ranks(tail: str, message: str) -> None:
    model = model_of(tail, weights="int64[7] seven = {0, 1, 2, 3, 4, 5, 6}, int64 none = {0}")
    found = said(tensorrt_types.RULE, model, "tensorrt")
    assert len(found) == bool(message)
    assert all(message in text for text in found)


# --- the counting sort


def node_of(model: onnx.ModelProto, kind: str, number: int) -> onnx.NodeProto:
    return [node for node in model.graph.node if node.op_type == kind][number]


def _attribute(node: onnx.NodeProto, name: str, value: int) -> None:
    kept = [item for item in node.attribute if item.name != name]
    del node.attribute[:]
    node.attribute.extend([*kept, helper.make_attribute(name, value)])


def _spoil_constant(model: onnx.ModelProto, name: str, value: np.ndarray) -> None:
    tensor = next(item for item in model.graph.initializer if item.name == name)
    tensor.CopyFrom(numpy_helper.from_array(value, name))


def _within(model: onnx.ModelProto, step: int) -> onnx.NodeProto:
    """Return the Gather of a step within the blocks of the first pass."""
    shifts = [node for node in model.graph.node if node.op_type == "Gather" and any(item.i == 1 for item in node.attribute)]
    return shifts[step]


def _places(model: onnx.ModelProto) -> onnx.NodeProto:
    """Return the Reshape that flattens the places of the first pass."""
    name = node_of(model, "ScatterElements", 0).input[1]
    return next(node for node in model.graph.node if node.output[0] == name)


def _made(model: onnx.ModelProto, name: str) -> onnx.NodeProto:
    return next(node for node in model.graph.node if node.output[0] == name)


def _inclusive(model: onnx.ModelProto) -> None:
    _spoil_constant(model, _within(model, 6).input[1], np.arange(1, 33))  # the places within a block, one on


def _a_step_too_far(model: onnx.ModelProto) -> None:
    _spoil_constant(model, _within(model, 2).input[1], np.maximum(np.arange(33) - 5, 0))


def _a_step_missing(model: onnx.ModelProto) -> None:
    later, earlier = _within(model, 3), _within(model, 2)
    added = next(node for node in model.graph.node if node.op_type == "Add" and later.output[0] in node.input)
    added.input[0] = later.input[0] = earlier.input[0]


def _too_few_blocks(model: onnx.ModelProto) -> None:
    sums = [node for node in model.graph.node if node.op_type == "ReduceSum" and _made(model, node.input[0]).op_type == "Gather"]
    _made(model, sums[3].input[0]).input[0] = _made(model, sums[2].input[0]).input[0]


def _starts_with_its_own(model: onnx.ModelProto) -> None:
    name = next(item.name for item in model.graph.initializer if tuple(item.dims) == (8, 8))
    _spoil_constant(model, name, np.tril(np.ones((8, 8), np.int32)))


def _too_few_digits(model: onnx.ModelProto) -> None:
    _spoil_constant(model, node_of(model, "Equal", 0).input[1], np.array([[0, 1, 2, 3, 4, 5, 6, 9]], np.int32))


def _a_digit_twice(model: onnx.ModelProto) -> None:
    _spoil_constant(model, node_of(model, "Equal", 0).input[1], np.array([[0, 1, 2, 3, 4, 5, 6, 6]], np.int32))


def _other_units(model: onnx.ModelProto) -> None:
    _spoil_constant(model, node_of(model, "LessOrEqual", 0).input[0], np.array([[1, 2, 3, 4, 5, 6, 8]], np.int32))


def _along_another_axis(model: onnx.ModelProto) -> None:
    _attribute(_within(model, 1), "axis", 0)


def _of_another_sort(model: onnx.ModelProto) -> None:
    node_of(model, "ScatterElements", 1).input[1] = node_of(model, "ScatterElements", 0).input[1]
    table = _made(model, _places(model).input[0])
    product = _made(model, table.input[0])
    product.input[0] = _within(model, 8).input[0]


def _not_the_places(model: onnx.ModelProto) -> None:
    product = _made(model, _made(model, _places(model).input[0]).input[0])
    product.input[1] = product.input[0]


def _not_of_the_digits(model: onnx.ModelProto) -> None:
    node_of(model, "ScatterElements", 0).input[1] = node_of(model, "Gather", 0).output[0]


def _of_another_domain(model: onnx.ModelProto) -> None:
    _within(model, 0).domain = "com.microsoft"


MUTANTS = (
    _inclusive, _a_step_too_far, _a_step_missing, _too_few_blocks, _starts_with_its_own, _too_few_digits, _a_digit_twice,
    _other_units, _along_another_axis, _of_another_sort, _not_the_places, _not_of_the_digits, _of_another_domain,
)


@pytest.mark.parametrize("spoil", MUTANTS)
def test_a_sort_that_is_none_is_found(spoil: Callable[[onnx.ModelProto], None]) -> None:
    good, _ = lowered(aggregating("add"), LOWERINGS["segments"])
    assert said(scatter_overwrites.RULE, good, "tensorrt") == []
    spoil(good)
    found = said(scatter_overwrites.RULE, good, "tensorrt")
    assert len(found) >= 1
    assert "its indices" in found[0]


@pytest.mark.parametrize("last", [1, 4, 5, 7])
def test_a_sort_that_is_cut_short_is_found(last: int, rng: np.random.Generator) -> None:
    """Its sums are right where hits are few, so that no small graph tells."""
    good, _ = lowered(aggregating("add"), LOWERINGS["segments"])
    assert said(short_sort.RULE, good, "tensorrt") == []
    orders = [node.output[0] for node in good.graph.node if node.op_type == "ScatterElements"]
    for node in good.graph.node:
        node.input[:] = [orders[last - 1] if name == orders[-1] else name for name in node.input]
    target = rng.integers(0, 8, 100)
    messages = rng.integers(-4, 5, (100, 17)).astype(np.float32)
    np.testing.assert_array_equal(run(good, 8, target, messages), exactly("add", 8, target, messages))
    assert said(scatter_overwrites.RULE, good, "tensorrt") == []
    found = said(short_sort.RULE, good, "tensorrt")
    assert len(found) == 1
    assert f"after pass {last} of 8" in found[0]


@pytest.mark.parametrize("edges", [1, 31, 32, 33, 255, 256, 257, 2049, 70_000])
def test_the_sort_is_stable_and_each_place_is_there_once(edges: int, rng: np.random.Generator) -> None:
    b = Builder("sort")
    order = ordered(b, "node")
    graph = helper.make_graph(
        b.nodes, "sort", [helper.make_tensor_value_info("node", onnx.TensorProto.INT64, ["edges"])],
        [helper.make_tensor_value_info(order, onnx.TensorProto.INT64, None)], b.initializers,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    for node in (
        np.full(edges, counting.HITS - 1), rng.integers(0, counting.HITS, edges), rng.integers(0, 3, edges),
        np.arange(edges)[::-1].copy(), rng.choice([0, 7, 8, 8**7, counting.HITS - 1], edges),
    ):
        np.testing.assert_array_equal(session.run(None, {"node": node})[0], np.argsort(node, kind="stable"))


# --- what TensorRT takes and computes wrong


@pytest.mark.parametrize(
    ("tail", "message"),
    [
        ("z = CumSum (y, none)" + OUT, ""),
        ("z = CumSum (y, none) u = CumSum (d, none)" + OUT, ""),
        ("z = CumSum (y, none) u = CumSum (d, one)" + OUT, "error: CumSum along several axes or in several ways in one file"),
        ("z = CumSum (y, none) u = CumSum <exclusive = 1> (y, none)" + OUT, "along several axes"),
        ("z = CumSum (y, none) u = CumSum <reverse = 1> (y, none)" + OUT, "along several axes"),
        ("z = CumSum (y, last) u = CumSum (d, first)" + OUT, "along several axes"),
        ("z = CumSum (d, none) u = CumSum (d, first)" + OUT, ""),  # one axis, counted from either end
        ("f = Reshape (d, flat) z = CumSum (d, last) u = CumSum (f, last)" + OUT, "along several axes"),  # 1 of two, 0 of one
        ("z = Mod (source, eight)" + OUT, "Mod that makes 'z' of whole numbers that may pass 2^24: TensorRT may give -1 for 31"),
        ("m = Min (source, small) n = Max (m, none) z = Mod (n, eight)" + OUT, ""),
        ("m = Min (source, small) z = Mod (m, eight)" + OUT, "may pass 2^24"),
        ("z = Mod <fmod = 1> (source, eight)" + OUT, ""),  # truncates: its own quotient is not rounded down
    ],
)
def test_what_tensorrt_computes_wrong(tail: str, message: str) -> None:
    weights = "int64 none = {0}, int64 one = {1}, int64 eight = {8}, int64 small = {16777215}, "
    weights += "int64 last = {-1}, int64 first = {-2}, int64[1] flat = {-1}"
    found = said(tensorrt_wrong.RULE, model_of(tail, weights=weights), "tensorrt")
    assert len(found) == bool(message)
    assert all(message in text for text in found)
    assert said(tensorrt_wrong.RULE, model_of(tail, weights=weights), "ort-cpu") == []


# --- all kinds of networks

FAMILIES = {
    "attention": AttentionSpec(ChainSpec((6, 8)), ChainSpec((5, 1)), ChainSpec((7, 8)), 2, aggregations=("sum", "max", "mean")),
    "message passing": MessagePassingSpec(
        ChainSpec((6, 8)), ChainSpec((6, 5)), ChainSpec((7, 8)), ChainSpec((7, 5)), ChainSpec((6, 1)), 2,
        aggregations=("sum", "std"), undirected=True,
    ),
}


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_has_a_form_without_plugins(family: str, tmp_path: Path, rng: np.random.Generator) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        network = build_network(tiny_spec(gnn=FAMILIES[family]), "gnn").eval()
    file = tmp_path / "gnn.onnx"
    onnx.save(onnx_model("gnn", network, 3, "tensorrt"), file)
    assert [finding.rule.id for finding in lint_file(file, "tensorrt", stage="gnn") if finding.severity != "note"] == []
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    for hits, edges in ((1, 0), (5, 1), (50, 300), (300, 2000)):
        x = torch.tensor(rng.uniform(0.05, 1.0, (hits, 3)), dtype=torch.float32)
        edge_index = torch.tensor(rng.integers(0, hits, (2, edges)))
        with torch.no_grad():
            expected = network(x, edge_index).numpy()
        found = session.run(None, {"x": x.numpy(), "edge_index": edge_index.numpy()})[0]
        np.testing.assert_allclose(found, expected, atol=1e-5)


# --- the sums, where levels and digits end


@pytest.mark.parametrize("edges", [1, 31, 32, 33, 1023, 1024, 1025, 32_767, 32_768, 40_000])
def test_sums_are_right_at_the_borders_of_blocks(edges: int, rng: np.random.Generator) -> None:
    model, _ = lowered(aggregating("add"), LOWERINGS["segments"])
    for target in (np.zeros(edges, np.int64), np.sort(rng.integers(0, 3, edges)), rng.integers(0, 70_000, edges)):
        messages = rng.integers(-4, 5, (edges, 17)).astype(np.float32)  # whole numbers: sums are exact in any order
        found = run(model, 70_000, target, messages)
        np.testing.assert_array_equal(found, exactly("add", 70_000, target, messages))


@pytest.mark.parametrize("hits", [2**18 + 1, 2**21 + 5])
def test_every_digit_of_the_sort_counts(hits: int, rng: np.random.Generator) -> None:
    model, _ = lowered(aggregating("add"), LOWERINGS["segments"])
    few = np.array([0, 1, 2**18 - 1, 2**18, hits - 2**18, hits - 1, 5])  # some differ in the highest digits alone
    target = np.concatenate([rng.permutation(np.repeat(few, 3)), rng.integers(0, hits, 40)])
    messages = rng.integers(-4, 5, (len(target), 17)).astype(np.float32)
    found = run(model, hits, target, messages)
    np.testing.assert_array_equal(found, exactly("add", hits, target, messages))


def test_more_edges_than_the_levels_hold_give_no_sum(rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segments, "LEVELS", 2)
    model, _ = lowered(aggregating("add"), LOWERINGS["segments"])
    messages = np.ones((2000, 17), np.float32)
    assert run(model, 5, np.full(990, 3), messages[:990])[3, 0] == 990.0
    with pytest.raises(Exception, match=r"(?i)reshape"):
        run(model, 5, rng.integers(0, 5, 2000), messages)


def test_the_limits_follow_from_the_levels() -> None:
    rows = segments.LARGEST
    for _ in range(segments.LEVELS - 1):
        rows = (rows + 1) // segments.BLOCK + 1
    assert rows < segments.BLOCK
    assert 2 ** segments._SEARCH > segments.LARGEST
    assert counting.HITS == 2 ** (counting.BITS * counting.PASSES)
    assert counting.SPAN**counting.SPANS > segments.LARGEST // counting.BLOCK + 1
    assert 2**counting.STEPS == counting.BLOCK
    assert segments.LARGEST == 30 * segments.BLOCK ** (segments.LEVELS - 1)
