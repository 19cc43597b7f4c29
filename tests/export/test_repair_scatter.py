"""Repair of scatters: sums, means, ScatterND, half precision. Each where it applies, where it must refuse, where all is well."""

from __future__ import annotations

import json

import numpy as np
import onnx
import onnxruntime
import pytest
from support.scatter_models import ADDED, BY_ROWS, PLAIN, SUMMED, asked, network, true_logits

from trkx.export.onnx_graph import SCATTERS, reduction_of
from trkx.export.repair.repair import REPAIRED_KEY, Repaired, repaired
from trkx.export.validation.report import overwrote

SOME = ("star", "path", "duplicate edges", "one edge", "zero edges", "more edges than hits")
ND_ADDED = "s = ScatterND (zeros, rows, m)  a = Add (zeros, s)"
RESIDUAL = "s = ScatterElements <axis = 0> (zeros, index, m)  a = Add (h, s)"
EVERY_HIT = """
    n = Gather (shape, first)
    every = Range (first, n, second)
    all = Unsqueeze (every, last)
    wide = Expand (all, shape)
"""
MEAN = """
    nothing = ConstantOfShape (messages)
    cleared = ScatterElements <axis = 0> (zeros, index, nothing)
    a = ScatterElements <axis = 0> (cleared, index, m)
"""


def _repaired(model: onnx.ModelProto, target: str = "ort-cpu", **fields: object) -> Repaired:
    before = model.SerializeToString()
    result = repaired(model, asked(target, **fields), only=SOME)
    assert model.SerializeToString() == before  # the caller's model is never touched
    return result


def _run(model: onnx.ModelProto, x: np.ndarray, edges: np.ndarray) -> np.ndarray:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options)
    return session.run(None, {"x": x, "edge_index": edges})[0]


def _graph(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    return rng.uniform(0.05, 1.0, (30, 3)).astype(np.float32), rng.integers(0, 30, (2, 200))


def _scatters(model: onnx.ModelProto) -> list[tuple[str, str]]:
    return [(node.op_type, reduction_of(node)) for node in model.graph.node if node.op_type in SCATTERS]


@pytest.mark.parametrize("opset", [11, 12, 13, 15, 16, 18])
@pytest.mark.parametrize("aggregation", [ADDED, ND_ADDED], ids=["elements", "rows"])
def test_sum_that_overwrites_is_mended(aggregation: str, opset: int, rng: np.random.Generator) -> None:
    model = network(aggregation, opset=opset)
    x, edges = _graph(rng)
    wanted = true_logits(model, x, edges)
    assert np.abs(_run(model, x, edges) - wanted).max() > 0.1  # wrong as it is

    result = _repaired(model)
    assert result.model is not None, result.problems
    assert np.abs(_run(result.model, x, edges) - wanted).max() < 1e-5
    assert _scatters(result.model) == [("ScatterElements", "add")]
    assert "TRKX001" in {change.rule for change in result.changes}
    assert any(item.version >= 16 for item in result.model.opset_import)
    worse = [row for row in result.rows if row.detail.endswith("how wrong the original was")]
    assert worse and worse[0].difference is not None and worse[0].difference > 0.1
    assert worse[0].status == "not checked"  # nothing is compared there that could fail


@pytest.mark.parametrize("opset", [9, 10])
def test_oldest_form_of_the_sum(opset: int, rng: np.random.Generator) -> None:
    model = network(ADDED.replace("ScatterElements", "Scatter"), opset=opset)
    result = _repaired(model)
    assert result.model is not None, result.problems
    x, edges = _graph(rng)
    assert np.abs(_run(result.model, x, edges) - true_logits(model, x, edges)).max() < 1e-5


def test_edge_attributes_are_fed(rng: np.random.Generator) -> None:
    doors = "int64[2, num_edges] edge_index, float[num_edges, 4] edge_attr"
    text = "t = Mul (m, edge_attr)  " + ADDED.replace(" m)", " t)")
    result = _repaired(network(text, edges=doors), "acts-onnx")
    assert result.model is not None, result.problems
    assert [value.name for value in result.model.graph.input] == ["x", "edge_index", "edge_attr"]


def test_scatter_that_is_read_in_a_branch_as_well_is_refused() -> None:
    """What is added to zeros must be all that the scatter is for."""
    branches = (
        "then_branch = yes () => (float[n, 4] b) { b = Identity (s) }, "
        "else_branch = no () => (float[n, 4] c) { c = Identity (h) }"
    )
    asked_twice = f"size = Size (shape)  many = Greater (size, first)  f = If (many) <{branches}>  a = Add (t, f)"
    assert _repaired(network(f"{ADDED.replace('a =', 't =')}  {asked_twice}")).model is None


def test_sum_in_an_old_file_with_weights_among_the_inputs() -> None:
    model = network(ADDED, opset=12)
    model.ir_version = 3
    for item in model.graph.initializer:
        model.graph.input.append(onnx.helper.make_tensor_value_info(item.name, item.data_type, item.dims))
    result = _repaired(model)
    assert result.model is not None, result.problems
    assert [value.name for value in result.model.graph.input] == ["x", "edge_index"]
    assert result.model.ir_version >= 8


@pytest.mark.parametrize(
    ("aggregation", "words"),
    [
        (PLAIN, "plain scatter or assignment"),
        (RESIDUAL, "plain scatter or assignment"),
        ("a = ScatterElements <axis = 0> (h, index, m)", "not provably zeros"),
        ("ones = Exp (zeros)  a = ScatterElements <axis = 0> (ones, index, m)", "not provably zeros"),
        ("s = ScatterElements <axis = 0> (zeros, index, m)  t = Tanh (s)  a = Add (zeros, t)", "plain scatter or assignment"),
        ("s = ScatterElements <axis = 0> (zeros, index, m)  b = Add (zeros, s)  a = Add (b, s)", "plain scatter or assignment"),
    ],
)
def test_scatter_that_may_be_an_assignment_is_refused(aggregation: str, words: str) -> None:
    result = _repaired(network(aggregation))
    assert result.model is None
    assert any(words in problem and "TRKX001" in problem for problem in result.problems)


COUNTED = """
    size = Shape <start = 0, end = 1> (h)
    nobody = ConstantOfShape (size)
    edges = Shape (j)
    one_each = ConstantOfShape <value = float[1] {1}> (edges)
    count = ScatterElements <axis = 0> (nobody, j, one_each)
    column = Unsqueeze (count, last)
    nought = Equal (column, none)
    divisor = Where (nought, least, column)
    a = Div (total, divisor)
"""
COUNT_WEIGHTS = "float none = {0.0}, float least = {1.0}"


@pytest.mark.parametrize("total", [ADDED, SUMMED], ids=["overwriting sum", "right sum"])
def test_count_that_overwrites_is_refused_and_mended_if_declared(total: str, rng: np.random.Generator) -> None:
    model = network(f"{total.replace('a =', 'total =')}  {COUNTED}", weights=COUNT_WEIGHTS)
    result = _repaired(model)
    assert result.model is None
    assert any("'count'" in problem and "--sum count" in problem for problem in result.problems)
    result = _repaired(model, sums=frozenset(["count"]))
    assert result.model is not None, result.problems
    x, edges = _graph(rng)
    assert np.abs(_run(result.model, x, edges) - true_logits(model, x, edges, mean=True)).max() < 1e-5


def test_mask_that_is_met_twice_is_kept_and_said() -> None:
    """A mask may be overwritten; repair can't tell it from a count that becomes a factor, and does not call it checked."""
    mask = COUNTED[: COUNTED.index("nought")] + "a = Mul (total, column)"
    result = _repaired(network(f"{ADDED.replace('a =', 'total =')}  {mask}"))
    assert result.model is not None, result.problems
    (row,) = [row for row in result.rows if row.case == "what overwrites"]
    assert row.status == "not checked" and "'count' overwrites, and two updates met" in row.detail
    assert not [row for row in _repaired(network(ADDED)).rows if "two updates met" in row.detail]


def test_many_that_overwrite_are_one_row() -> None:
    seven = overwrote({f"s{number}" for number in range(7)})
    assert seven.startswith("7 scatters overwrite ('s0', 's1', 's2', 's3', 's4', …), and")
    assert overwrote(["a", "b"]).startswith("2 scatters overwrite ('a', 'b'), and")


@pytest.mark.parametrize("aggregation", [PLAIN, RESIDUAL], ids=["plain", "residual"])
def test_declared_sum(aggregation: str, rng: np.random.Generator) -> None:
    model = network(aggregation)
    name = "s" if aggregation == RESIDUAL else "a"
    result = _repaired(model, sums=frozenset([name]))
    assert result.model is not None, result.problems
    assert "declared" in result.changes[0].why
    if aggregation == PLAIN:
        x, edges = _graph(rng)
        assert np.abs(_run(result.model, x, edges) - true_logits(model, x, edges)).max() < 1e-5


def test_declaring_what_is_not_there_or_no_zeros_is_refused() -> None:
    assert any("nowhere" in problem for problem in _repaired(network(ADDED), sums=frozenset(["nowhere"])).problems)
    table = network("a = ScatterElements <axis = 0> (h, index, m)")
    assert _repaired(table, sums=frozenset(["a"])).model is None


def test_unique_indices_are_left_alone() -> None:
    """A table that is written once a row, by a Range, is no sum."""
    table = f"{EVERY_HIT}  table = ScatterElements <axis = 0> (zeros, wide, h)  "
    result = _repaired(network(table + SUMMED.replace("zeros", "table")))
    assert result.model is not None, result.problems
    assert not result.changes


def test_count_is_mended_with_the_sum() -> None:
    """PyG's mean in an old file: the count overwrites ones with ones, and is a wrong count all the same."""
    mean = """
        e = Shape (j)
        ones = ConstantOfShape <value = float[1] {1.0}> (e)
        n = Gather (shape, none)
        empty = ConstantOfShape (n)
        c = ScatterElements <axis = 0> (empty, j, ones)
        d = Add (empty, c)
        count = Max (d, one)
        per_hit = Unsqueeze (count, last)
    """
    text = mean + ADDED.replace("a = Add", "b = Add") + " a = Div (b, per_hit)"
    model = network(text, weights="float one = {1.0}, int64[1] none = {0}")
    result = _repaired(model)
    assert result.model is not None, result.problems
    assert _scatters(result.model) == [("ScatterElements", "add")] * 2
    rng = np.random.default_rng(0)
    x, edges = _graph(rng)
    assert np.abs(_run(result.model, x, edges) - true_logits(model, x, edges, mean=True)).max() < 1e-5


def test_mean_is_sum_over_count(rng: np.random.Generator) -> None:
    model = network(MEAN)
    x, edges = _graph(rng)
    wanted = true_logits(model, x, edges, mean=True)
    assert np.abs(_run(model, x, edges) - wanted).max() > 0.1
    result = _repaired(model)
    assert result.model is not None, result.problems
    assert [change.rule for change in result.changes] == ["TRKX004"]
    assert np.abs(_run(result.model, x, edges) - wanted).max() < 1e-5


@pytest.mark.parametrize(
    "aggregation",
    [
        MEAN.replace("(zeros, index, nothing)", "(h, index, nothing)"),
        "k = Expand (rows, messages)  other = Add (k, zero)" + MEAN.replace("(cleared, index, m)", "(cleared, other, m)"),
        MEAN.replace("nothing = ConstantOfShape (messages)", "nothing = Tanh (m)"),
    ],
    ids=["into a table", "another index", "no zeros first"],
)
def test_what_is_no_mean_for_certain_is_refused(aggregation: str) -> None:
    result = _repaired(network(aggregation, weights="int64 zero = {0}"))
    assert result.model is None
    assert not any(change.rule == "TRKX004" for change in result.changes)


@pytest.mark.parametrize("target", ["ort-cpu", "acts-onnx", "tensorrt"])
def test_rows_become_elements(target: str, rng: np.random.Generator) -> None:
    model = network(BY_ROWS)
    result = _repaired(model, target)
    assert result.model is not None, result.problems
    assert _scatters(result.model) == [("ScatterElements", "add")]
    x, edges = _graph(rng)
    assert np.abs(_run(result.model, x, edges) - true_logits(model, x, edges)).max() < 1e-5


@pytest.mark.parametrize(
    "aggregation",
    [
        "r = Unsqueeze (rows, middle)  u = Unsqueeze (m, middle)  a = ScatterND <reduction = \"add\"> (zeros, r, u)",
        "d = Unsqueeze (zeros, two)  u = Unsqueeze (m, two)"
        " b = ScatterND <reduction = \"add\"> (d, rows, u)  a = Squeeze (b, two)",
    ],
    ids=["indices [E, 1, 1]", "data [N, 4, 1]"],
)
def test_rows_of_other_ranks_become_elements(aggregation: str, rng: np.random.Generator) -> None:
    model = network(aggregation, weights="int64[1] middle = {1}, int64[1] two = {2}")
    result = _repaired(model)
    assert result.model is not None, result.problems
    x, edges = _graph(rng)
    assert np.abs(_run(result.model, x, edges) - true_logits(model, x, edges)).max() < 1e-5


def test_tuples_of_indices_are_refused() -> None:
    column = "k = Mul (rows, none)  both_axes = Concat <axis = 1> (rows, k)  f = Gather <axis = 1> (m, first)"
    model = network(f'{column}  a = ScatterND <reduction = "add"> (zeros, both_axes, f)', weights="int64 none = {0}")
    result = _repaired(model)
    assert result.model is None
    assert any("TRKX003" in problem and "[..., 1]" in problem for problem in result.problems)


def test_rows_stay_where_the_target_adds_them_right() -> None:
    result = _repaired(network(BY_ROWS), "ort-cuda")
    assert result.model is not None, result.problems
    assert not result.changes
    assert any(row.status == "not checked" and "races" in row.detail for row in result.rows)


def _half(aggregation: str) -> onnx.ModelProto:
    doors = {"x": "float16[num_hits, 3] x", "output": "float16[num_edges, 1] output", "kind": "float16"}
    return network(aggregation, **doors)


@pytest.mark.parametrize("aggregation", [SUMMED, BY_ROWS, ADDED], ids=["elements", "rows", "overwrites"])
def test_half_scatter_adds_in_float32(aggregation: str, rng: np.random.Generator) -> None:
    model = _half(aggregation)
    result = _repaired(model)
    assert result.model is not None, result.problems
    assert {"TRKX005", "TRKX017"} <= {change.rule for change in result.changes}
    x, edges = _graph(rng)
    assert np.abs(_run(result.model, x, edges) - true_logits(model, x, edges)).max() < 0.05
    inferred = onnx.shape_inference.infer_shapes(result.model)
    kinds = {value.name: value.type.tensor_type.elem_type for value in inferred.graph.value_info}
    scatter = next(node for node in result.model.graph.node if node.op_type == "ScatterElements")
    assert kinds[scatter.input[0]] == kinds[scatter.input[2]] == onnx.TensorProto.FLOAT


def test_half_scatter_stays_where_nothing_is_added() -> None:
    """Numbers that are only moved lose nothing in half precision."""
    summed = SUMMED.replace("a =", "b =").replace("zeros", "zeros32").replace(" m)", " m32)")
    cast = f"zeros32 = Cast <to = 1> (zeros)  m32 = Cast <to = 1> (m)  {summed}  c = Cast <to = 10> (b)"
    result = _repaired(_half(f"{EVERY_HIT}  {cast}  a = ScatterElements <axis = 0> (zeros, wide, c)"))
    assert not any(change.rule == "TRKX005" for change in result.changes)


def test_good_file_is_not_changed() -> None:
    model = network(SUMMED)
    result = _repaired(model)
    assert result.model is model
    assert not result.changes
    assert not result.problems
    assert all(row.status == "passed" for row in result.rows)


def test_changes_are_noted_and_metadata_kept() -> None:
    model = network(ADDED)
    onnx.helper.set_model_props(model, {"theirs": "kept", REPAIRED_KEY: json.dumps([{"rule": "TRKX000"}])})
    result = _repaired(model)
    assert result.model is not None
    held = {item.key: item.value for item in result.model.metadata_props}
    notes = json.loads(held[REPAIRED_KEY])
    assert held["theirs"] == "kept"
    assert [note["rule"] for note in notes] == ["TRKX000", "TRKX001"]
    assert notes[1] == result.changes[0].to_dict()


def test_scatter_inside_a_branch_is_mended_too(rng: np.random.Generator) -> None:
    inside = "s = ScatterElements <axis = 0> (zeros, index, m)  b = Add (zeros, s)"
    branches = (
        f"then_branch = yes () => (float[n, 4] b) {{ {inside} }}, "
        "else_branch = no () => (float[n, 4] c) { c = Identity (zeros) }"
    )
    model = network(f"two = Size (shape)  many = Greater (two, first)  a = If (many) <{branches}>")
    result = _repaired(model)
    assert result.model is not None, result.problems
    x, edges = _graph(rng)
    assert np.abs(_run(result.model, x, edges) - true_logits(model, x, edges)).max() < 1e-5
