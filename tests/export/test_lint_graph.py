"""Rules about the inside of a graph: order, leftovers of training, constant indices, TensorRT's limits; and lengths of axes."""

from __future__ import annotations

import time

import onnx
import pytest
from onnx import helper
from support.onnx_models import model_of, said, subject_of
from support.tiny import TinyExport

from trkx.bundle import STAGES
from trkx.export.lint.axes import Axes
from trkx.export.lint.doors import doors_of
from trkx.export.lint.finding import Rule
from trkx.export.lint.rules import (
    checker,
    constant_indices,
    dead_doors,
    door_types,
    float64_demoted,
    foreign_operators,
    frozen_axes,
    half_norm,
    node_order,
    rounded_indices,
    scores_out,
    tensorrt_limits,
    training_leftovers,
    weights_not_finite,
    wide_tensor,
    zero_weights,
)
from trkx.export.lint.sizes import Size, reshaped, shown
from trkx.export.targets import TARGETS

RULES = [module.RULE for module in (node_order, training_leftovers, constant_indices, tensorrt_limits)]
OTHERS = [
    module.RULE for module in (
        checker, dead_doors, door_types, float64_demoted, foreign_operators, frozen_axes, half_norm, rounded_indices, scores_out,
        weights_not_finite, wide_tensor, zero_weights,
    )
]
ONE = "int64[1] one = {1}"
OUT = " output = Identity (y)"


def branch(yes: str, no: str = "e = Identity (y)") -> str:
    """Return an If that gives the output: t of one branch, e of the other."""
    bodies = f"yes () => (float[num_edges, 1] t) {{ {yes} }}", f"no () => (float[num_edges, 1] e) {{ {no} }}"
    return f"c = Cast <to = 9> (first) output = If (c) <then_branch = {bodies[0]}, else_branch = {bodies[1]}> "


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
@pytest.mark.parametrize("target", [name for name, row in TARGETS.items() if row.format == "onnx"])
def test_a_good_file_is_passed(rule: Rule, target: str) -> None:
    assert said(rule, model_of(), target) == []


@pytest.mark.parametrize("stage", STAGES)
def test_exported_files_are_passed(stage: str, tiny_export: TinyExport) -> None:
    model = onnx.load(tiny_export.folder / f"{stage}.onnx")
    for rule in RULES:
        assert said(rule, model, "ort-cpu", stage=stage) == []


# --- 019 order


@pytest.mark.parametrize(
    ("tail", "message"),
    [
        ("output = Relu (z) z = Neg (y)", "1 node(s) come before a node whose result they read: Relu that makes 'output'"),
        ("p = Add (y, q) q = Relu (p) r = Neg (q) output = Add (r, y)", "2 node(s) read each other's results in a circle: Add"),
        ("p = Add (y, p) output = Identity (p)", "1 node(s) read each other's results in a circle"),
        ("output = Relu (nothing)", "Relu that makes 'output' reads 'nothing', which nothing makes"),
        ("z = Relu (y) z = Neg (y) output = Identity (z)", "'z' made more than once"),
        ("d = Relu (y) output = Identity (y)", "'d' made more than once"),
        ("z = Relu (y)", "output 'output' is made by no node"),
        (branch("t = Relu (u) u = Neg (y)"), "come before a node"),
        (branch("t = Relu (late)") + "late = Neg (y)", "1 node(s) come before a node"),
    ],
)
def test_disorder_is_found(tail: str, message: str) -> None:
    found = said(node_order.RULE, model_of(tail))
    assert len(found) == 1
    assert found[0].startswith("error")
    assert message in found[0]


def test_only_the_circle_is_named() -> None:
    found = said(node_order.RULE, model_of("p = Add (y, r) q = Relu (p) r = Neg (q) s = Exp (r) output = Add (s, y)"))
    assert "3 node(s) read" in found[0]


@pytest.mark.parametrize(
    "tail",
    [
        # branches with the same names inside, and a body that reads a value of the outer graph
        branch("u = Neg (y) t = Relu (u)", "u = Neg (y) e = Neg (u)"),
        "n = Constant <value = int64 {3}> () c = Cast <to = 9> (second) "
        "output = Loop (n, c, y) <body = step (int64 i, bool go, float[num_edges, 1] v) => (bool on, float[num_edges, 1] r) "
        "{ on = Identity (go) r = Add (v, y) }>",
        "z = Clip (y, , y0) output = Identity (z)",
    ],
)
def test_order_is_passed(tail: str) -> None:
    model = model_of(tail, weights="float y0 = {0}")
    assert said(node_order.RULE, model) == []
    onnx.checker.check_model(model)


def test_a_repeat_in_a_body_is_one_for_the_checker_too() -> None:
    model = model_of(branch("d = Neg (y) t = Relu (d)"))
    assert said(node_order.RULE, model) == ["error: 'd' made more than once"]
    with pytest.raises(onnx.checker.ValidationError, match="single static assignment"):
        onnx.checker.check_model(model)


# --- 023 training


@pytest.mark.parametrize(
    ("tail", "opset", "message"),
    [
        ("z = Dropout (y, half, yes) output = Identity (z)", 18, "error: Dropout that makes 'z' is in training mode"),
        ("t = Cast <to = 9> (first) z = Dropout (y, half, t) output = Identity (z)", 18, ""),  # first is 0: no training
        ("n = Size (x) t = Cast <to = 9> (n) z = Dropout (y, half, t) output = Identity (z)", 18, "warning: Dropout that makes"),
        ("z, m, v = BatchNormalization <training_mode = 1> (y, s, s, s, s) output = Identity (z)", 18, "uses means of the event"),
        ("z, m, v, p, q = BatchNormalization (y, s, s, s, s) output = Identity (z)", 12, "uses means of the event"),
        ("r = RandomNormalLike (y) output = Add (y, r)", 18, "error: RandomNormalLike that makes 'r' draws random numbers"),
        ("r = Bernoulli (y) output = Mul (y, r)", 18, "draws random numbers"),
    ],
)
def test_leftovers_of_training_are_found(tail: str, opset: int, message: str) -> None:
    model = model_of(tail, opset=opset, weights="float half = {0.5}, bool yes = {1}, float[1] s = {1}")
    found = said(training_leftovers.RULE, model)
    assert len(found) == bool(message)
    assert not message or message in found[0]


@pytest.mark.parametrize(
    ("tail", "opset"),
    [
        ("z = Dropout (y) output = Identity (z)", 18),
        ("z = Dropout (y, half, no) output = Identity (z)", 18),
        ("z = Dropout (y, zero, yes) output = Identity (z)", 18),  # drops nothing
        ("z = Dropout <ratio = 0.5> (y) output = Identity (z)", 10),
        ("z = BatchNormalization (y, s, s, s, s) output = Identity (z)", 18),
        ("z = BatchNormalization (y, s, s, s, s) output = Identity (z)", 12),
    ],
)
def test_inference_is_passed(tail: str, opset: int) -> None:
    weights = "float half = {0.5}, float zero = {0}, bool yes = {1}, bool no = {0}, float[1] s = {1}"
    assert said(training_leftovers.RULE, model_of(tail, opset=opset, weights=weights)) == []


# --- 026 constant indices


@pytest.mark.parametrize(
    ("tail", "weights", "target", "message"),
    [
        ("output = Gather <axis = 1> (d, c)", "int64[1] c = {-1}", "tensorrt",
         "warning: Gather that makes 'output' has the negative"),
        ("z = ScatterElements <axis = 1> (d, c, u)" + OUT, "int64[1, 1] c = {-1}, float[1, 1] u = {1}", "tensorrt",
         "error: ScatterElements that makes 'z' has the negative index -1, which TensorRT does not wrap"),
        ("output = ScatterND (y, c, u)", "int64[1, 1] c = {-1}, float[1, 1] u = {1}", "acts-tensorrt", "does not wrap"),
        ("output = Gather <axis = 1> (d, c)", "int64[1] c = {3}", "ort-cpu", "has the index 3, beyond an axis of length 3"),
        ("output = Gather <axis = 1> (d, c)", "int64[1] c = {-4}", "ort-cpu", "has the index -4, beyond"),
    ],
)
def test_constant_indices_are_found(tail: str, weights: str, target: str, message: str) -> None:
    found = said(constant_indices.RULE, model_of(tail, weights=weights), target)
    assert len(found) == 1
    assert message in found[0]


@pytest.mark.parametrize(
    ("tail", "weights", "target"),
    [
        ("z = Gather <axis = 1> (d, c) output = Identity (z)", "int64[1] c = {-1}", "ort-cpu"),
        ("z = Gather <axis = 1> (d, c) output = Identity (z)", "int64[1] c = {2}", "tensorrt"),
        ("z = Gather (y, c) output = Add (y, z)", "int64[1] c = {1000}", "ort-cpu"),  # an event may have that many edges
        ("z = Gather (x, source) output = MatMul (z, w)", "", "tensorrt"),
    ],
)
def test_indices_in_range_are_passed(tail: str, weights: str, target: str) -> None:
    assert said(constant_indices.RULE, model_of(tail, weights=weights), target) == []


# --- 027 TensorRT

LOOP = (
    "c = Cast <to = 9> (second) last, all = Loop (n, c, y) <body = step (int64 i, bool go, float[num_edges, 1] v) => "
    "(bool on, float[num_edges, 1] r, float[num_edges, 1] s) { on = Identity (go) r = Add (v, y) s = Identity (r) }> "
    "output = Identity (last)"
)


@pytest.mark.parametrize(
    ("tail", "weights", "message"),
    [
        ("u, i, j, k = Unique (source)" + OUT, "", "error: Unique that makes 'u': TensorRT has no Unique"),
        ("n = Size (y) h = OneHot (source, n, values)" + OUT, "float[2] values = {0, 1}", "computes its depth"),
        ("n = Shape <end = 1> (first) m = Size (first) z = CumSum (y, m)" + OUT, "", "computes its axis"),
        ("n = NonZero (y)" + OUT, "", "warning: NonZero that makes 'n': the length of its result depends on values"),
        ("n = NonZero (source)" + OUT, "", "error: NonZero that makes 'n' reads INT64"),
        ("n = Size (x) " + LOOP, "", "stacks one result a round"),
        ("z, m, v = LayerNormalization (d, g) output = MatMul (z, w)", "float[3] g = {1, 1, 1}", "TensorRT gives the first only"),
    ],
)
def test_what_tensorrt_does_not_take_is_found(tail: str, weights: str, message: str) -> None:
    model = model_of(tail, weights=weights)
    found = said(tensorrt_limits.RULE, model, "tensorrt")
    assert len(found) == 1
    assert message in found[0]
    assert said(tensorrt_limits.RULE, model, "ort-cpu") == []


@pytest.mark.parametrize(
    ("tail", "weights"),
    [
        ("h = OneHot (source, depth, values)" + OUT, "float[2] values = {0, 1}, int64 depth = {4}"),
        ("z = CumSum (y, first)" + OUT, ""),
        ("z = ReduceSum (y, one) u = Unsqueeze (y, one)" + OUT, ONE),
        ("n = Identity (three) " + LOOP, "int64 three = {3}"),  # a constant number of rounds
        ("z = LayerNormalization (d, g) output = MatMul (z, w)", "float[3] g = {1, 1, 1}"),
    ],
)
def test_what_tensorrt_takes_is_passed(tail: str, weights: str) -> None:
    assert said(tensorrt_limits.RULE, model_of(tail, weights=weights), "tensorrt") == []


# --- lengths of axes


@pytest.mark.parametrize(
    ("tail", "weights", "lengths"),
    [
        ("z = Concat <axis = 1> (a, b, d)", "", "[num_edges, 9]"),
        ("z = Concat <axis = 0> (d, d)", "", "[2 num_edges, 3]"),
        ("z = Concat <axis = 0> (d, x)", "", "[num_edges + num_hits, 3]"),
        ("z = Slice (d, zero, end, zero, one)", f"int64[1] zero = {{0}}, int64[1] end = {{{2**63 - 1}}}, {ONE}",
         "[num_edges, 3]"),
        ("z = Slice (d, zero, end, one, one)", f"int64[1] zero = {{0}}, int64[1] end = {{2}}, {ONE}", "[num_edges, 2]"),
        ("z = Slice (d, zero, end, zero, one)", f"int64[1] zero = {{0}}, int64[1] end = {{4}}, {ONE}", "[?, 3]"),
        ("n = Shape (x) z = ConstantOfShape (n)", "", "[num_hits, 3]"),
        ("n = Shape (d) i = Unsqueeze (source, second) z = Expand (i, n)", "", "[num_edges, 3]"),
        ("z = Reshape (d, s)", "int64[3] s = {-1, 3, 1}", "[num_edges, 3, 1]"),
        ("z = Reshape (d, s)", "int64[1] s = {-1}", "[3 num_edges]"),
        ("k = Concat <axis = 0> (d, d) z = Reshape (k, s)", "int64[3] s = {2, -1, 3}", "[2, num_edges, 3]"),
        ("n = Shape (d) m = Gather (n, first) z = Range (first, m, second)", "", "[num_edges]"),
        ("z = Transpose (d)", "", "[3, num_edges]"),
        ("p, q = Split <axis = 1> (d, s)", "int64[2] s = {1, 2}", "[num_edges, 1]"),
        ("z = ReduceSum <keepdims = 0> (d, one)", ONE, "[num_edges]"),
        ("z = ReduceSum (d)", "", "[1, 1]"),
        ("k, z = TopK (y, n1)", "int64[1] n1 = {1}", "[num_edges, 1]"),
        ("n = Size (first) h = OneHot (source, four, values)", "int64 four = {4}, float[2] values = {0, 1}", "[num_edges, 4]"),
        ("u = Unsqueeze (source, one) z = GatherND (x, u)", ONE, "[num_edges, 3]"),
        ("k = Concat <axis = 1> (a, b) z = Gemm <transB = 1> (k, v)", "float[1, 6] v = {1, 1, 1, 1, 1, 1}", "[num_edges, 1]"),
    ],
)
def test_lengths_are_followed(tail: str, weights: str, lengths: str) -> None:
    subject = subject_of(model_of(tail + OUT, weights=weights))
    doors = doors_of(subject)
    assert doors is not None
    assert subject.graph is not None
    axes = Axes(subject.graph, doors)
    last = subject.graph.nodes[-2].output[0]
    assert shown(axes.shapes[last]) == lengths


def test_reshape_to_an_unknown_length_is_unknown() -> None:
    edges = Size(edges=1)
    assert reshaped((edges, Size(fixed=3)), (Size(fixed=-1), Size(fixed=7))) == (None, Size(fixed=7))
    assert reshaped(None, (Size(fixed=-1), Size(fixed=7))) == (None, Size(fixed=7))
    assert reshaped((edges, None), (Size(), Size(fixed=-1))) == (edges, None)


# --- files that want to hurt


def all_say(model: onnx.ModelProto, target: str) -> list[str]:
    subject = subject_of(model, target)
    return [remark.message for rule in (*RULES, *OTHERS) for remark in rule.check(subject)]


def chain(length: int, op: str = "Relu") -> onnx.ModelProto:
    nodes = [helper.make_node(op, ["y", "y"][: 1 + (op == "Concat")], ["n0"], **({"axis": 0} if op == "Concat" else {}))]
    for k in range(1, length):
        inputs = [f"n{k - 1}"] * (1 + (op == "Concat"))
        nodes.append(helper.make_node(op, inputs, [f"n{k}"], **({"axis": 0} if op == "Concat" else {})))
    model = model_of("")
    model.graph.node.extend([*nodes, helper.make_node("Identity", [f"n{length - 1}"], ["output"])])
    return model


@pytest.mark.parametrize("op", ["Relu", "Identity", "Squeeze", "Concat"])
def test_long_chains_take_no_recursion_and_little_time(op: str) -> None:
    start = time.process_time()
    all_say(chain(3000, op), "tensorrt")
    assert time.process_time() - start < 15.0


def test_a_graph_of_gathers_takes_little_time() -> None:
    model = chain(1500, "Identity")
    for k in range(1500):
        model.graph.node.add(op_type="Gather", input=["x", f"n{k}"], output=[f"g{k}"])
        model.graph.node.add(op_type="Add", input=[f"lost{k}", f"g{k}"], output=[f"a{k}"])
    start = time.process_time()
    assert any("(1500 node(s) read such values)" in line for line in all_say(model, "tensorrt"))
    assert time.process_time() - start < 15.0


def nothing_in_it() -> onnx.ModelProto:
    return onnx.ModelProto()


def nodes_without_inputs() -> onnx.ModelProto:
    model = model_of()
    for op in sorted({schema.name for schema in onnx.defs.get_all_schemas() if schema.domain == ""}):
        model.graph.node.add(op_type=op)
        model.graph.node.add(op_type=op, output=[f"out_{op}"], input=["y"])
        model.graph.node.add(op_type=op, output=[f"more_{op}"], input=["", "", "y"])
    return model


def everything_in_circles() -> onnx.ModelProto:
    model = model_of()
    for op in sorted({schema.name for schema in onnx.defs.get_all_schemas() if schema.domain == ""}):
        model.graph.node.add(op_type=op, output=[f"out_{op}", f"two_{op}"], input=[f"two_{op}", f"out_{op}", f"out_{op}"])
    model.graph.node[-1].output[0] = "output"
    return model


def doors_without_types() -> onnx.ModelProto:
    model = model_of()
    for value in (*model.graph.input, *model.graph.output):
        value.ClearField("type")
    return model


def sequences_at_the_doors() -> onnx.ModelProto:
    model = model_of()
    for value in (*model.graph.input, *model.graph.output):
        value.type.sequence_type.elem_type.tensor_type.elem_type = 1
    return model


def dims_that_lie() -> onnx.ModelProto:
    model = model_of()
    for item in model.graph.initializer:
        item.dims[:] = [2**40, -3]
    model.graph.input[0].type.tensor_type.elem_type = 999
    return model


@pytest.mark.parametrize(
    "make",
    [nothing_in_it, nodes_without_inputs, everything_in_circles, doors_without_types, sequences_at_the_doors, dims_that_lie],
)
@pytest.mark.parametrize("target", ["ort-cpu", "tensorrt"])
def test_missing_fields_raise_nothing(make: type, target: str) -> None:
    assert all_say(make(), target)
