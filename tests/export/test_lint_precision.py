"""Rules about numbers: float64 that is demoted, half precision, counts, sizes beyond 32 bits, weights."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from support.onnx_models import X, model_of, said
from support.tiny import TinyExport

from trkx.bundle import STAGES
from trkx.export.lint.finding import Rule
from trkx.export.lint.rules import float64_demoted, half_norm, rounded_indices, weights_not_finite, wide_tensor, zero_weights
from trkx.export.targets import TARGETS

RULES = [module.RULE for module in (float64_demoted, half_norm, wide_tensor, rounded_indices, weights_not_finite, zero_weights)]
DOUBLE, HALF, BFLOAT = onnx.TensorProto.DOUBLE, onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16
ONE = "int64[1] one = {1}"


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
@pytest.mark.parametrize("target", [name for name, row in TARGETS.items() if row.format == "onnx"])
def test_a_good_file_is_passed(rule: Rule, target: str) -> None:
    assert said(rule, model_of(), target) == []


@pytest.mark.parametrize("stage", STAGES)
def test_exported_files_are_passed(stage: str, tiny_export: TinyExport) -> None:
    model = onnx.load(tiny_export.folder / f"{stage}.onnx")
    for rule in RULES:
        assert said(rule, model, "ort-cpu", stage=stage) == []


# --- 010 float64


@pytest.mark.parametrize(
    ("tail", "weights"),
    [
        ("e = Cast <to = 11> (y) s = CumSum (e, first) output = Cast <to = 1> (s)", ""),
        ("e = Cast <to = 11> (y) s = Mul (e, c) output = Cast <to = 1> (s)", "double c = {2}"),
        ("e = Cast <to = 11> (source) i = Cast <to = 7> (e) z = Gather (x, i) output = MatMul (z, w)", ""),  # indices, and back
        ("i = Cast <to = 7> (c) f = Cast <to = 1> (i) output = Mul (y, f)", "double c = {16777217}"),
        ("c = Cast <to = 9> (first) output = If (c) <then_branch = yes () => (float[num_edges, 1] t) { e = Cast <to = 11> (y) "
         "s = Sqrt (e) t = Cast <to = 1> (s) }, else_branch = no () => (float[num_edges, 1] o) { o = Identity (y) }>", ""),
    ],
)
def test_float64_is_found_where_it_is_demoted(tail: str, weights: str) -> None:
    model = model_of(tail, weights=weights)
    assert "node(s) compute in float64" in said(float64_demoted.RULE, model, "tensorrt")[0]
    assert said(float64_demoted.RULE, model, "acts-tensorrt")
    assert said(float64_demoted.RULE, model, "ort-cpu") == []
    assert said(float64_demoted.RULE, model, "ort-cuda") == []


@pytest.mark.parametrize(
    ("tail", "weights"),
    [
        ("f = Cast <to = 1> (c) output = Mul (y, f)", "double c = {0.1}"),  # a constant that is cast away
        ("r = Reshape (c, one) f = Cast <to = 1> (r) output = Mul (y, f)", f"double c = {{0.1}}, {ONE}"),
        ("e = Cast <to = 11> (y) t = Transpose (e) u = Transpose (t) output = Cast <to = 1> (u)", ""),  # there and back
        ("i = Cast <to = 7> (c) f = Cast <to = 1> (i) output = Mul (y, f)", "double c = {16777216}"),
    ],
)
def test_float64_that_is_only_moved_is_passed(tail: str, weights: str) -> None:
    assert said(float64_demoted.RULE, model_of(tail, weights=weights), "tensorrt") == []


# --- 011 norms


def norm(dtype: int, epsilon: float = 1e-5, squares: str = "s = Pow (c, two)", island: bool = False) -> onnx.ModelProto:
    """Return a network with a decomposed LayerNorm of d in an element type; `island`: its squares are taken in float32."""
    up, back = ("Cast <to = 1>", f"Cast <to = {dtype}>") if island else ("Identity", "Identity")
    held = onnx.helper.tensor_dtype_to_np_dtype(1 if island else dtype)
    tail = f"""
        h = Cast <to = {dtype}> (d)
        m = ReduceMean <axes = [-1]> (h)
        k = Sub (h, m)
        c = {up} (k)
        {squares}
        v = ReduceMean <axes = [-1]> (s)
        e = Add (v, eps)
        g = Sqrt (e)
        l = {back} (g)
        q = Div (k, l)
        f = Cast <to = 1> (q)
        output = MatMul (f, w)
    """
    model = model_of(tail, opset=17, arrays={"two": np.asarray(2, held), "eps": np.asarray(epsilon, held)})
    onnx.checker.check_model(model, full_check=True)
    return model


def test_norms_in_half_precision_are_found() -> None:
    assert "error: Pow that makes 's': 1 norm(s) square and sum in FLOAT16, which over" in said(half_norm.RULE, norm(HALF))[0]
    assert "overflows" in said(half_norm.RULE, norm(HALF, squares="s = Mul (c, c)"))[0]
    assert said(half_norm.RULE, norm(BFLOAT))[0].startswith("warning")


def test_an_epsilon_of_0_is_found() -> None:
    found = said(half_norm.RULE, norm(HALF, epsilon=1e-8))  # 0 in float16
    assert any(line.startswith("error: the epsilon of Sqrt that makes 'g' is 0 in FLOAT16") for line in found)
    assert said(half_norm.RULE, norm(1, epsilon=0.0)) == [
        "warning: the epsilon of Sqrt that makes 'g' is 0 in FLOAT: a row without spread gives 0 / 0"
    ]


def test_norms_in_float32_are_passed() -> None:
    assert said(half_norm.RULE, norm(1)) == []
    assert said(half_norm.RULE, norm(1, epsilon=1e-12)) == []
    assert said(half_norm.RULE, norm(HALF, island=True)) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("epsilon = 0.0", "is 0"),
        ("stash_type = 10", "overflows"),
        ("epsilon = 0.00001", ""),
        ("", ""),
    ],
)
def test_the_norm_operator_computes_in_float32(options: str, message: str) -> None:
    tail = f"h = Cast <to = 10> (d) n = LayerNormalization <axis = -1{', ' if options else ''}{options}> (h, g) "
    model = model_of(tail + "f = Cast <to = 1> (n) output = MatMul (f, w)", arrays={"g": np.ones(3, np.float16)})
    found = said(half_norm.RULE, model)
    assert bool(found) == bool(message)
    assert all(message in line for line in found)


def test_other_roots_are_passed() -> None:
    tail = "h = Cast <to = 10> (y) k = Abs (h) e = Add (k, zero) r = Sqrt (e) output = Cast <to = 1> (r)"
    assert said(half_norm.RULE, model_of(tail, arrays={"zero": np.zeros(1, np.float16)})) == []


def test_what_a_converter_makes_of_a_network_is_found() -> None:
    """A converter of ONNX Runtime takes the parts of a norm for any other nodes, and leaves the graph unsorted."""
    from onnxruntime.transformers.float16 import convert_float_to_float16

    converted = convert_float_to_float16(norm(1), keep_io_types=True)
    assert "error: Pow that makes 's': 1 norm(s) square and sum in FLOAT16" in said(half_norm.RULE, converted)[0]
    whole = model_of("n = LayerNormalization <axis = -1> (d, g) output = MatMul (n, w)", arrays={"g": np.ones(3, np.float32)})
    assert said(half_norm.RULE, convert_float_to_float16(whole, keep_io_types=True)) == []


# --- 014 wide tensors


def test_wide_tensors_are_found_and_named() -> None:
    tail = "j = Concat <axis = 1> (a, b, d) z = MatMul (j, v) output = MatMul (z, u)"
    model = model_of(tail, arrays={"v": np.ones((9, 4), np.float32), "u": np.ones((4, 1), np.float32)})
    assert said(wide_tensor.RULE, model, max_edges=2**31 // 9) == []  # the concatenated inputs are just below
    found = said(wide_tensor.RULE, model, max_edges=2**31 // 9 + 1)
    assert len(found) == 1
    assert found[0].startswith("warning: 'j' [num_edges, 9] has 2.1e+09 elements at 238609295 edges")
    assert said(wide_tensor.RULE, model, "tensorrt", max_edges=2**31 // 9 + 1)[0].startswith("error")
    assert "and 5 more are beyond" in said(wide_tensor.RULE, model, max_edges=2**30)[0]


def test_the_index_of_a_scatter_counts() -> None:
    tail = """
        n = Shape (d) i = Unsqueeze (target, second) j = Expand (i, n) k = Shape (x) z = ConstantOfShape (k)
        s = ScatterElements <axis = 0, reduction = "add"> (z, j, d) g = Gather (s, source) output = MatMul (g, w)
    """
    assert "[num_edges, 3]" in said(wide_tensor.RULE, model_of(tail), max_edges=2**31 // 3 + 1)[0]


def test_a_table_of_all_hits_by_all_edges_is_found() -> None:
    tail = "n = Shape <end = 1> (x) k = Squeeze (n) h = OneHot (source, k, values) p = Transpose (h) "
    tail += "s = MatMul (p, y) output = Gather (s, source)"
    model = model_of(tail, weights="float[2] values = {0, 1}")
    assert said(wide_tensor.RULE, model, max_edges=1_000_000) != []
    assert said(wide_tensor.RULE, model, max_edges=10_000) == []


# --- 025 indices and counts


@pytest.mark.parametrize(
    ("tail", "weights", "message"),
    [
        ("h = Cast <to = 10> (source) output = Identity (y)", "", "error: Cast that makes 'h' turns hit indices into FLOAT16"),
        ("h = Cast <to = 5> (source) k = Cast <to = 7> (h)", "", "error: Cast that makes 'h' turns hit indices into INT16"),
        ("p = Add (source, first) q = Squeeze (p) h = Cast <to = 16> (q)", "", "turns hit indices into BFLOAT16"),
        ("n = Shape (x) k = Gather (n, first) h = Cast <to = 10> (k)", "", "turns indices or counts into FLOAT16"),
        ("h = Cast <to = 10> (c)", "int64[2] c = {1, 2049}", "rounds constants above 2048"),
        ("g = ConstantOfShape <value = int64[1] {1}> (n0) k = ScatterElements <reduction = \"add\"> (g, target, source) "
         "h = Cast <to = 10> (k)", "int64[1] n0 = {5}", "turns indices or counts into FLOAT16"),
        ("n = Shape (y) f = ConstantOfShape <value = float[1] {1}> (n) g = Cast <to = 10> (f) h = CumSum (g, first)", "",
         "counts in FLOAT16, which stops at 2048"),
        ("t = Less (y, y) g = Cast <to = 16> (t) h = ReduceSum (g, axes)", "int64[1] axes = {0}", "counts in BFLOAT16, which"),
    ],
)
def test_rounded_indices_are_found(tail: str, weights: str, message: str) -> None:
    found = said(rounded_indices.RULE, model_of(tail + " output = Identity (y)" * ("output" not in tail), weights=weights))
    assert len(found) == 1
    assert message in found[0]


@pytest.mark.parametrize(
    ("tail", "weights"),
    [
        ("h = Cast <to = 1> (source)", ""),  # float32 holds a million
        ("n = Shape (d) k = Gather (n, second) h = Cast <to = 10> (k)", ""),  # three columns: a scale, not a count
        ("h = Cast <to = 10> (c)", "int64[2] c = {1, 2048}"),
        ("t = Less (y, y) h = Cast <to = 10> (t)", ""),
        ("g = Cast <to = 10> (d) h = ReduceSum (g, axes)", "int64[1] axes = {1}"),  # values, not ones
        ("g = Floor (d) i = Cast <to = 7> (g) h = Cast <to = 10> (i)", ""),  # a feature in whole numbers
        ("g = Cast <to = 10> (ones) h = ReduceSum (g, axes)", "float[1, 3] ones = {1, 1, 1}, int64[1] axes = {1}"),  # three
    ],
)
def test_exact_whole_numbers_are_passed(tail: str, weights: str) -> None:
    assert said(rounded_indices.RULE, model_of(tail + " output = Identity (y)", weights=weights)) == []


def test_indices_in_float32_are_a_risk_only_beyond_2_to_24() -> None:
    model = model_of("h = Cast <to = 1> (source) output = Identity (y)")
    assert said(rounded_indices.RULE, model, max_edges=2**24) == []
    assert said(rounded_indices.RULE, model, max_edges=2**24 + 1)[0].startswith("warning")


# --- 028, 029 weights


def with_weights(values: np.ndarray) -> onnx.ModelProto:
    return model_of("z = Mul (d, c) output = MatMul (z, w)", arrays={"c": values})


@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.float64, onnx.helper.tensor_dtype_to_np_dtype(BFLOAT)])
def test_weights_that_are_not_finite_are_found(dtype: type) -> None:
    found = said(weights_not_finite.RULE, with_weights(np.array([1, np.nan, 3], dtype)))
    assert found == ["error: 'c' holds 1 NaN among 3 values"]
    assert "1 infinities" in said(weights_not_finite.RULE, with_weights(np.array([1, -np.inf, 3], dtype)))[0]
    assert said(weights_not_finite.RULE, with_weights(np.array(np.nan, dtype))) != []


def test_nan_in_an_attribute_is_found() -> None:
    model = model_of("c = Constant <value = float[1] {0}> () z = Mul (y, c) output = Identity (z)")
    tensor = next(item.t for node in model.graph.node for item in node.attribute if item.name == "value")
    tensor.CopyFrom(numpy_helper.from_array(np.array([np.nan], np.float32), ""))
    assert len(said(weights_not_finite.RULE, model)) == 1


@pytest.mark.parametrize(
    "values",
    [np.array(-np.inf), np.full((4,), -np.inf, np.float32), np.array([0, -np.inf, 0], np.float32), np.zeros((0, 3), np.float32)],
    ids=["start of a maximum", "fill", "mask", "empty"],
)
def test_infinity_as_a_fill_is_passed(values: np.ndarray) -> None:
    assert said(weights_not_finite.RULE, with_weights(values)) == []


def test_what_was_not_looked_into_is_said() -> None:
    model = model_of()
    model.graph.initializer.add(name="large", data_type=1, dims=[2**40, 2**40])  # says so, and holds nothing
    assert said(weights_not_finite.RULE, model)[0].startswith("note: 'large' has 1.2e+24 elements and was not looked into")


def test_zero_weights_are_found() -> None:
    model = model_of("z = MatMul (d, c) output = MatMul (z, w)", weights="float[3, 3] c = {0, 0, 0, 0, 0, 0, 0, 0, 0}")
    assert said(zero_weights.RULE, model) == [
        "warning: MatMul that makes 'z' multiplies by 'c', whose 9 weights are all zero"
    ]


@pytest.mark.parametrize(
    ("tail", "weights"),
    [
        ("z = MatMul (d, c) output = MatMul (z, w)", "float[3, 3] c = {0, 0, 0, 0, 0, 0, 0, 0, 1}"),
        ("z = Add (d, c) output = MatMul (z, w)", "float[1, 3] c = {0, 0, 0}"),  # a bias may be zero
        ("output = Gemm (d, w, c)", "float[1] c = {0}"),
    ],
)
def test_other_zeros_are_passed(tail: str, weights: str) -> None:
    assert said(zero_weights.RULE, model_of(tail, weights=weights)) == []


def test_an_embedding_is_looked_at_too() -> None:
    embedding = {"inputs": (X,), "outputs": ("float[num_hits, 1] output",), "body": "", "tail": "output = MatMul (x, v)"}
    assert said(zero_weights.RULE, model_of(weights="float[3, 1] v = {0, 0, 0}", **embedding), stage="embedding") != []
