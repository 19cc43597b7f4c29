"""Rules about what a file shows to the outside: doors, metadata, versions, operators, other files."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import onnx
import pytest
from onnx import helper, numpy_helper
from support.onnx_models import EDGES, LOGITS, PAIRS, X, model_of, said, subject_of
from support.tiny import TinyExport, tiny_spec

from trkx.bundle import STAGES
from trkx.export.lint.finding import Rule
from trkx.export.lint.rules import (
    checker,
    dead_doors,
    door_names,
    door_types,
    external_data,
    foreign_operators,
    frozen_axes,
    half_scatter,
    scatter_overwrites,
    scores_out,
    spec_metadata,
    too_new,
)
from trkx.export.metadata import onnx_metadata
from trkx.export.onnx_file import name_doors
from trkx.export.targets import TARGETS, target_of
from trkx.identity import spec_json
from trkx.spec import FeatureSpec

RULES = [
    module.RULE for module in (
        frozen_axes, foreign_operators, scores_out, door_names, door_types, external_data, spec_metadata, too_new, checker,
        dead_doors,
    )
]
ONNX_TARGETS = [name for name, row in TARGETS.items() if row.format == "onnx"]
ATTR = "float[num_edges, 6] edge_attr"
ONE = "int64[1] one = {1}"
SUMS = """
    i = Unsqueeze (target, second)
    z = ScatterElements <axis = 0, reduction = "add"> (c, i, y)
    output = Gather (z, source)
"""
SCORES_IN_A_BRANCH = """
    c = Cast <to = 9> (first)
    output = If (c) <
        then_branch = yes () => (float[num_edges, 1] t) { t = Sigmoid (y) },
        else_branch = no () => (float[num_edges, 1] e) { e = Identity (y) }
    >
"""


def with_metadata(model: onnx.ModelProto, stage: str = "filter") -> onnx.ModelProto:
    helper.set_model_props(model, onnx_metadata(tiny_spec(), stage))
    return model


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
@pytest.mark.parametrize("target", [name for name in ONNX_TARGETS if name not in ("acts-tensorrt", "exatrkx-2021")])
def test_a_good_file_is_passed(rule: Rule, target: str) -> None:
    assert said(rule, with_metadata(model_of()), target) == []


@pytest.mark.parametrize("stage", STAGES)
def test_exported_files_are_passed(stage: str, tiny_export: TinyExport) -> None:
    model = onnx.load(tiny_export.folder / f"{stage}.onnx")
    expected = onnx_metadata(tiny_export.source.spec, stage)
    for rule in RULES:
        assert said(rule, model, "ort-cpu", stage=stage, expected=expected) == []


def test_a_target_with_names_of_its_own_wants_those(tiny_export: TinyExport) -> None:
    model = onnx.load(tiny_export.folder / "gnn.onnx")
    found = said(door_names.RULE, model, "exatrkx-2021", stage="gnn")
    assert len(found) == 3 and "the contract has 'g_nodes'" in str(found[0])
    fixes = [remark.fix for remark in door_names.RULE.check(subject_of(model, "exatrkx-2021", stage="gnn"))]
    assert all('input_names=["g_nodes", "g_edges"] and output_names=["gnn_edge_score"]' in fix for fix in fixes)
    name_doors(model, "gnn", "exatrkx-2021")
    assert said(door_names.RULE, model, "exatrkx-2021", stage="gnn") == []
    assert len(said(door_names.RULE, model, "triton", stage="gnn")) == 3


# --- 012 frozen axes


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"inputs": ("float[7, 3] x", EDGES)}, "input 'x' has a fixed num_hits of 7"),
        ({"inputs": (X, "int64[2, 11] edge_index")}, "'edge_index' has a fixed num_edges of 11"),
        ({"outputs": ("float[11, 1] output",)}, "output 'output' has a fixed num_edges of 11"),
        ({"inputs": (X, EDGES, "float[11, 6] edge_attr")}, "input 'edge_attr' has a fixed num_edges of 11"),
        ({"tail": "output = Reshape (y, shape)", "weights": "int64[2] shape = {11, 1}"}, "a fixed number of elements"),
        ({"tail": "output = Reshape (d, shape)", "weights": "int64[2] shape = {7, -1}"}, "fits only some"),
        ({"tail": "output = Expand (d, shape)", "weights": "int64[2] shape = {11, 3}"}, "expands an axis of length"),
        ({"tail": "output = Add (y, c)", "weights": "float[3, 1] c = {1, 2, 3}"}, "combines an axis of length num_edges with"),
        ({"tail": "output = Concat <axis = 1> (y, c)", "weights": "float[2, 1] c = {1, 2}"}, "joins parts of length"),
        ({"tail": "z = Gather (c, source) output = Mul (y, z)", "weights": "float[2, 1] c = {1, 2}"}, "a fixed number of 2 rows"),
        ({"tail": SUMS, "weights": "float[2, 1] c = {0, 0}"}, "a fixed number of 2 rows"),
    ],
)
def test_frozen_axes_are_found(changes: dict, message: str) -> None:
    found = said(frozen_axes.RULE, model_of(**{"tail": "output = Identity (y)", **changes}))
    assert any(message in line and line.startswith("error") for line in found), found


@pytest.mark.parametrize(
    ("tail", "weights"),
    [
        ("z = Reshape (d, shape) output = MatMul (z, w)", "int64[2] shape = {-1, 3}"),
        ("z = Reshape (d, shape) output = MatMul (z, w)", "int64[2] shape = {0, 3}"),
        ("z = Reshape (d, shape) output = ReduceSum (z, second)", "int64[2] shape = {3, -1}"),  # 3 columns: fits every E
        ("z = Expand (y, shape) output = ReduceSum (z, one)", "int64[2] shape = {1, 4}, int64[1] one = {1}"),
        ("n = Shape (y) z = Expand (c, n) output = Add (y, z)", "float[1, 1] c = {1}"),
        ("output = Add (y, c)", "float[1, 1] c = {1}"),
        ("n = Shape <end = 1> (x) k = Concat <axis = 0> (n, one) c = ConstantOfShape (k)" + SUMS, ONE),
        # a module's number, made from a feature, points into a table of modules: that table has a fixed size
        ("m = Cast <to = 7> (b) k = Gather <axis = 1> (m, first) z = Gather (c, k) output = Add (y, z)",
         "float[2, 1] c = {1, 2}"),
    ],
)
def test_axes_that_move_are_passed(tail: str, weights: str) -> None:
    assert said(frozen_axes.RULE, model_of(tail, weights=weights)) == []


# --- 013 foreign operators


@pytest.mark.parametrize(
    ("tail", "domains", "functions", "opset", "message"),
    [
        ("output = torch_scatter.scatter_max (y)", {"torch_scatter": 1}, "", 18, "error: 1 operator(s) of domain 'torch_sc"),
        ("output = com.acme.Magic (y)", {"com.acme": 1}, "", 18, "which ort-cpu does not have"),
        ("output = Swish (y)", None, "", 18, "opset 18 of ONNX has no operator Swish"),
        ("output = Gelu (y)", None, "", 18, "no operator Gelu"),  # new in opset 20
        ("i = Unsqueeze (target, second) output = Scatter (y, i, y)", None, "", 18, "Scatter was removed from ONNX in opset 11"),
        (
            "output = local.odd (y)", {"local": 1, "com.acme": 1},
            '<domain: "local", opset_import: ["" : 18, "com.acme" : 1]> odd (v) => (r) { r = com.acme.Magic (v) }',
            18, "error: 1 operator(s) of domain 'com.acme'",
        ),
        (
            "output = local.again (y)", {"local": 1},
            '<domain: "local", opset_import: ["" : 18, "local" : 1]> again (v) => (r) { r = local.again (v) }',
            18, "error: local function 'local.again' was not looked into: local functions call themselves",
        ),
    ],
)
def test_foreign_operators_are_found(
    tail: str, domains: dict[str, int] | None, functions: str, opset: int, message: str
) -> None:
    found = said(foreign_operators.RULE, model_of(tail, domains=domains, functions=functions, opset=opset))
    assert any(message in line for line in found), found


FUNCTIONS = [
    (foreign_operators.RULE, "r = Add (v, v)", ""),
    (scatter_overwrites.RULE, "r = ScatterElements (v, i, v)", "indices (from 'edge_index') may repeat"),
    (scores_out.RULE, "r = Sigmoid (v)", "the Sigmoid of Sigmoid"),
    (half_scatter.RULE, "r = Identity (v)", "in FLOAT16"),
]
HALF_SUM = """
    yh = Cast <to = 10> (y) up = Unsqueeze (target, last) s = ScatterElements <axis = 0, reduction = "add"> (yh, up, yh)
    y2 = Cast <to = 1> (s) l = local.own (y2, up) output = Identity (l)
"""
PLAIN_CALL = "up = Unsqueeze (target, last) output = local.own (y, up)"


@pytest.mark.parametrize(("rule", "body", "message"), FUNCTIONS, ids=[rule.name for rule, _, _ in FUNCTIONS])
def test_rules_look_into_local_functions(rule: Rule, body: str, message: str) -> None:
    """And a function beside it does not blind a rule for the main graph: types are inferred through it."""
    function = f'<domain: "local", opset_import: ["" : 18]> own (v, i) => (r) {{ {body} }}'
    tail = HALF_SUM if rule is half_scatter.RULE else PLAIN_CALL
    model = model_of(tail, domains={"local": 1}, functions=function, weights="int64[1] last = {-1}")
    found = said(rule, model, "ort-cuda" if rule is half_scatter.RULE else "ort-cpu", stage="gnn")
    assert (len(found) == 1 and message in found[0]) if message else found == []


def test_operators_that_the_target_has_are_passed() -> None:
    model = model_of("output = com.acme.Magic (y)", domains={"com.acme": 1})
    assert said(foreign_operators.RULE, model, dataclasses.replace(target_of("ort-cpu"), foreign_domains=("com.acme",))) == []
    assert said(foreign_operators.RULE, model_of("output = Gelu (y)", opset=20)) == []
    fused = model_of("output = com.microsoft.QuickGelu (y)", domains={"com.microsoft": 1})
    assert said(foreign_operators.RULE, fused, "ort-cpu") == []
    assert "which tensorrt does not have" in said(foreign_operators.RULE, fused, "tensorrt")[0]
    assert said(foreign_operators.RULE, model_of(domains={"com.acme": 1})) == []  # imported, but not used


def test_foreign_operators_in_bodies_are_found() -> None:
    model = model_of(SCORES_IN_A_BRANCH.replace("Sigmoid", "com.acme.Magic"), domains={"com.acme": 1})
    assert "domain 'com.acme'" in said(foreign_operators.RULE, model)[0]


# --- 015 scores

SCALES = """float one = {1}, float half = {0.5}, float two = {2}, float ten = {10}, float minus = {-1}, float none = {0},
float low = {0.000001}, float high = {0.999999}"""


@pytest.mark.parametrize(
    ("tail", "message"),
    [
        ("output = Sigmoid (y)", "is the Sigmoid of Sigmoid"),
        ("s = Sigmoid (y) q = Squeeze (s, axis) u = Unsqueeze (q, axis) output = Cast <to = 1> (u)", "is the Sigmoid"),
        ("s = Sigmoid (y) output = Sigmoid (s)", "has already made"),
        ("two = Concat <axis = 1> (y, y) p = Softmax <axis = 1> (two) output = Gather <axis = 1> (p, axis)", "is the Softmax"),
        ("n = Neg (y) e = Exp (n) s = Add (e, one) output = Div (one, s)", "1 / (1 + exp(-x))"),
        ("n = Neg (y) e = Exp (n) s = Add (one, e) output = Reciprocal (s)", "1 / (1 + exp(-x))"),
        (SCORES_IN_A_BRANCH, "is the Sigmoid"),
        ("s = Sigmoid (y) output = Clip (s, low, high)", "is the Sigmoid"),
        ("s = Sigmoid (y) m = Max (s, low) output = Min (high, m)", "is the Sigmoid"),
        ("s = Sigmoid (y) output = Mul (s, one)", "is the Sigmoid"),
        ("s = Sigmoid (y) t = Mul (s, half) output = Add (half, t)", "is the scaled Sigmoid"),
        ("s = Sigmoid (y) output = Sub (one, s)", "is the scaled Sigmoid"),
        ("a = Mul (y, half) t = Tanh (a) u = Mul (t, half) output = Add (u, half)", "is the Tanh"),
        ("t = Erf (y) u = Add (t, one) output = Div (u, two)", "is the Erf"),
        ("n = Neg (y) p = Softplus (n) l = Neg (p) output = Exp (l)", "logarithm of the sigmoid"),
        ("n = Neg (y) e = Exp (n) a = Add (e, one) g = Log (a) l = Neg (g) output = Exp (l)", "logarithm of the sigmoid"),
        ("n = Neg (y) e = Exp (n) a = Add (e, one) output = Pow (a, minus)", "1 / (1 + exp(-x))"),
        ("s = Sigmoid (y) b = Greater (s, half) output = Cast <to = 1> (b)", "is the decision of Greater"),
    ],
)
def test_scores_are_found(tail: str, message: str) -> None:
    found = said(scores_out.RULE, model_of(tail, weights=f"int64[1] axis = {{1}}, {SCALES}"))
    assert len(found) == 1
    assert found[0].startswith("error")
    assert message in found[0]


@pytest.mark.parametrize(
    "tail",
    [
        "s = Sigmoid (y) output = Mul (y, s)",  # SiLU
        "s = Sigmoid (d) output = MatMul (s, w)",
        "s = Sigmoid (y) m = Mul (d, s) output = MatMul (m, w)",  # attention
        "e = Exp (y) s = Add (e, one) output = Log (s)",  # softplus
        "s = Add (y, one) output = Reciprocal (s)",
        "output = Clip (y, low, high)",
        "output = Tanh (y)",
        "a = Div (y, ten) t = Tanh (a) output = Mul (t, ten)",  # logits that are kept within bounds
        "s = Sigmoid (y) t = Sub (s, half) output = Mul (t, ten)",  # scores on the scale of logits
        "output = Exp (y)",
        "p = Softplus (y) output = Neg (p)",
        "n = Neg (y) e = Exp (n) output = Pow (e, minus)",
        "s = Sigmoid (y) l = Log (s) k = Sub (one, s) m = Log (k) output = Sub (l, m)",  # logits again
        "b = Greater (y, half) c = Cast <to = 1> (b) output = Mul (y, c)",
        "s = Sigmoid (y) output = Mul (s, none)",
    ],
)
def test_inner_scores_are_passed(tail: str) -> None:
    assert said(scores_out.RULE, model_of(tail, weights=SCALES)) == []


def test_an_embedding_may_end_with_a_sigmoid() -> None:
    model = model_of("output = Sigmoid (x)", inputs=(X,), outputs=("float[num_hits, 3] output",), body="")
    assert said(scores_out.RULE, model, stage="embedding") == []
    assert said(scores_out.RULE, model) == []


# --- 016 names, 017 types


def test_other_names_are_an_error_only_where_names_bind() -> None:
    model = model_of(inputs=("float[n, 3] nodes", "int64[2, m] pairs"), outputs=("float[m, 1] score",),
                     body=PAIRS.replace("edge_index", "pairs").replace("(x,", "(nodes,"), tail="score = Identity (y)")
    for target, severity in (("ort-cpu", "warning"), ("tensorrt", "error"), ("triton", "error")):
        found = said(door_names.RULE, model, target)
        assert [line.split(":")[0] for line in found] == [severity] * 3
        assert "'nodes' stands where the contract has 'x'" in found[0]
    assert said(door_types.RULE, model, "ort-cpu") == []  # types are right, whatever the names


def test_another_order_is_an_error_only_where_positions_bind() -> None:
    model = model_of(inputs=(EDGES, X))
    assert "in the order edge_index, x, expected x, edge_index" in said(door_names.RULE, model, "acts-onnx")[0]
    assert said(door_names.RULE, model, "tensorrt") == []


@pytest.mark.parametrize(
    ("changes", "target", "message"),
    [
        ({"inputs": ("double[num_hits, 3] x", EDGES)}, "ort-cpu", "'x' has element type DOUBLE, expected FLOAT"),
        ({"inputs": ("float16[num_hits, 3] x", EDGES), "outputs": ("float16[num_edges, 1] output",)}, "ort-cpu", "type FLOAT16"),
        ({"inputs": (X, "int32[2, num_edges] edge_index")}, "ort-cpu", "'edge_index' has element type INT32, expected INT64"),
        ({"inputs": (X, "int64[num_edges, 2] edge_index")}, "ort-cpu", "transposed, expected [2, num_edges]"),
        ({"inputs": (X, "int64[3, num_edges] edge_index")}, "ort-cpu", "expected [2, num_edges]"),
        ({"inputs": ("float[num_hits] x", EDGES)}, "ort-cpu", "'x' has rank 1"),
        ({"inputs": (X, EDGES, "bool[num_edges] mask")}, "ort-cpu", "'mask' is none of"),
        ({"inputs": (X,), "body": "", "tail": "output = Gather <axis = 1> (x, one)", "weights": ONE,
          "outputs": ("float[num_hits, 1] output",)}, "ort-cpu", "no input that could be 'edge_index'"),
        ({"outputs": ("float[num_edges] output",), "tail": "output = Squeeze (y, one)", "weights": ONE}, "acts-onnx",
         "has rank 1, acts-onnx takes 2"),
        ({"outputs": ("float[num_edges, 2] output",), "tail": "output = Concat <axis = 1> (y, y)"}, "ort-cpu", "one logit an"),
        ({"outputs": ("float[num_hits, 1] output",), "tail": "output = MatMul (x, w)"}, "ort-cpu",
         "has num_hits rows, expected num_edges"),
        ({"outputs": ("float[num_hits, 1] output",)}, "ort-cpu", "declares the axis 'num_hits', expected 'num_edges'"),
        ({"tail": "output = Concat <axis = 0> (y, y)"}, "ort-cpu", "has 2 num_edges rows"),
        ({"outputs": (LOGITS, "float[num_edges, 3] d")}, "acts-onnx", "error: there are 2 outputs (output, d)"),
        ({"inputs": ("float[n, 3] x", "int64[2, n] edge_index")}, "tensorrt", "error: hits and edges share the axis name 'n'"),
        ({}, "acts-tensorrt", "no input that could be 'edge_attr'"),
    ],
)
def test_wrong_doors_are_found(changes: dict, target: str, message: str) -> None:
    found = said(door_types.RULE, model_of(**{"tail": "output = Identity (y)", **changes}), target, stage="filter")
    assert any(message in line for line in found), found


@pytest.mark.parametrize(
    ("changes", "target"),
    [
        ({"outputs": ("float[num_edges] output",), "tail": "output = Squeeze (y, one)", "weights": ONE}, "ort-cpu"),
        ({"inputs": (X, EDGES, ATTR), "tail": "z = ReduceSum (edge_attr, one) output = Add (y, z)", "weights": ONE},
         "acts-tensorrt"),
        ({"inputs": ("float[N, 3] x", "int64[2, E] edge_index"), "outputs": ("float[E, 1] output",)}, "acts-onnx"),
        ({"inputs": (X, "int64[two, num_edges] edge_index")}, "ort-cpu"),
        ({"outputs": ("float[anything, 1] output",)}, "ort-cpu"),
    ],
)
def test_right_doors_are_passed(changes: dict, target: str) -> None:
    assert said(door_types.RULE, model_of(**{"tail": "output = Identity (y)", **changes}), target) == []


def test_weights_that_old_files_list_as_inputs_are_no_doors() -> None:
    model = model_of(ir=3, inputs=(X, EDGES))
    model.graph.input.append(helper.make_tensor_value_info("w", onnx.TensorProto.FLOAT, [3, 1]))
    assert said(door_types.RULE, model) == []
    assert said(door_names.RULE, model) == []


# --- 018 external data


def test_external_data_is_found_in_initialisers_and_attributes() -> None:
    model = model_of()
    weight = next(item for item in model.graph.initializer if item.name == "w")
    weight.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight), "w"))  # the parser writes no raw_data
    onnx.external_data_helper.set_external_data(weight, "../../etc/weights.bin")
    weight.ClearField("raw_data")
    weight.data_location = onnx.TensorProto.EXTERNAL
    found = said(external_data.RULE, model)
    assert len(found) == 1
    assert "'../../etc/weights.bin', which leaves the folder of the model: w" in found[0]
    assert said(checker.RULE, model) == []  # it would look for the file

    constant = model_of("c = Constant <value = float[1] {1}> () output = Add (y, c)")
    tensor = next(item.t for node in constant.graph.node for item in node.attribute if item.name == "value")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    assert len(said(external_data.RULE, constant)) == 1


def test_weights_inside_are_passed() -> None:
    model = model_of("c = Constant <value = float[1] {1}> () output = Add (y, c)")
    model.graph.initializer[0].data_location = onnx.TensorProto.DEFAULT
    assert said(external_data.RULE, model) == []


# --- 020 metadata


@pytest.mark.parametrize(
    ("held", "severity"),
    [({}, "note"), ({"author": "x", "pkg.trkx.repaired": "[]"}, "note"), ({"pkg.trkx.stage": "gnn"}, "warning")],
    ids=["of others", "of others, repaired", "ours"],
)
def test_a_file_that_does_not_say_what_it_is_is_a_risk_alone_if_it_is_ours(held: dict[str, str], severity: str) -> None:
    model = model_of()
    helper.set_model_props(model, held)
    (remark,) = spec_metadata.RULE.check(subject_of(model))
    assert (remark.severity, "pkg.trkx.spec" in remark.message) == (severity, True)
    assert ("must travel beside it" in remark.fix) == (severity == "note")


def test_a_file_that_does_not_say_what_it_is_is_an_error_in_a_bundle() -> None:
    expected = onnx_metadata(tiny_spec(), "gnn")
    assert said(spec_metadata.RULE, model_of(), expected=expected)[0].startswith("error")


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("pkg.trkx.spec", "{", "can't be read"),
        ("pkg.trkx.spec", "[" * 100_000, "can't be read"),
        ("pkg.trkx.spec", "{\"name\": 1}", "can't be read"),
        ("pkg.trkx.stage", "tracking", "to be embedding, filter, gnn, found 'tracking'"),
        ("pkg.trkx.stage", "embedding", "error: output has 1 columns, but the specification's embedding has 4"),
        ("pkg.trkx.spec", spec_json(tiny_spec(features=(*tiny_spec().features, FeatureSpec("eta", 1.0)))),
         "error: x has 3 columns, but the specification lists 4 features"),
    ],
)
def test_unreadable_or_wrong_metadata_is_found(key: str, value: str, message: str) -> None:
    model = model_of()
    helper.set_model_props(model, {**onnx_metadata(tiny_spec(), "filter"), key: value})
    found = said(spec_metadata.RULE, model)
    assert any(message in line for line in found), found


def test_metadata_of_another_bundle_is_an_error() -> None:
    model = with_metadata(model_of(), "filter")
    bundles = {"spec": onnx_metadata(tiny_spec(name="other"), "filter"), "stage": onnx_metadata(tiny_spec(), "gnn")}
    for key, expected in bundles.items():
        found = said(spec_metadata.RULE, model, expected=expected)
        assert len(found) == 1
        assert f"error: metadata pkg.trkx.{key} is another" in found[0]


def test_the_same_specification_in_other_words_is_passed() -> None:
    model, expected = model_of(), onnx_metadata(tiny_spec(), "filter")
    spaced = json.dumps(json.loads(expected["pkg.trkx.spec"]), indent=1)
    helper.set_model_props(model, {**expected, "pkg.trkx.spec": spaced, "author": "somebody"})
    assert said(spec_metadata.RULE, model, expected=expected) == []


def test_metadata_that_stands_twice_is_an_error() -> None:
    model = with_metadata(model_of())
    model.metadata_props.add(key="pkg.trkx.stage", value="filter")
    assert said(spec_metadata.RULE, model) == ["error: metadata pkg.trkx.stage stands there twice"]


# --- 021 versions, 022 checker


@pytest.mark.parametrize(
    ("opset", "ir", "target", "message"),
    [
        (22, 10, "ort-cpu", "error: opset 22, but ONNX Runtime, CPU provider takes 21"),
        (999, 10, "ort-cpu", "opset 999 is newer than"),
        (18, 11, "ort-cpu", "IR version 11, but ONNX Runtime, CPU provider takes at most 10"),
        (18, 999, "ort-cpu", "IR version 999 is newer than"),
        (20, 10, "acts-onnx", "opset 20"),
        (6, 3, "ort-cpu", "warning: opset 6 is older"),
    ],
)
def test_versions_that_the_target_does_not_take_are_found(opset: int, ir: int, target: str, message: str) -> None:
    model = model_of()
    model.opset_import[0].version, model.ir_version = opset, ir
    row = dataclasses.replace(target_of(target), opset={"ort-cpu": 21, "acts-onnx": 18}[target], ir=10)
    found = said(too_new.RULE, model, row)
    assert len(found) == 1
    assert message in found[0]


def test_versions_that_the_target_takes_are_passed() -> None:
    row = dataclasses.replace(target_of("ort-cpu"), opset=21, ir=10)
    for opset, ir in ((21, 10), (12, 6), (7, 3)):
        model = model_of()
        model.opset_import[0].version, model.ir_version = opset, ir
        assert said(too_new.RULE, model, row) == []
    named = model_of()
    named.opset_import[0].domain = "ai.onnx"
    assert said(too_new.RULE, named, row) == []


def test_no_opset_or_two_are_errors() -> None:
    model = model_of()
    model.opset_import.add(domain="ai.onnx", version=17)
    assert "imports opsets 17, 18" in said(too_new.RULE, model)[0]
    del model.opset_import[:]
    assert "imports no opset" in said(too_new.RULE, model)[0]


@pytest.mark.parametrize(
    "model",
    [
        model_of("z = Relu <slope = 1.0> (y) output = Identity (z)"),  # no such attribute
        model_of("z = Cast <to = 10> (d) output = MatMul (z, w)"),  # two types
        model_of("output = Identity (y)", outputs=("float[num_edges, 4] output",)),
        model_of("output = LayerNormalization (y)"),  # no scale
    ],
    ids=["attribute", "types", "shape", "inputs"],
)
def test_invalid_files_are_found(model: onnx.ModelProto) -> None:
    found = said(checker.RULE, model)
    assert len(found) == 1
    assert found[0].startswith("error")


def test_what_other_rules_say_by_node_is_not_said_twice() -> None:
    assert said(checker.RULE, model_of("output = Relu (z) z = Relu (y)")) == []
    assert said(checker.RULE, model_of("output = Swish (y)")) == []
    assert said(checker.RULE, model_of("output = com.acme.Magic (y)", domains={"com.acme": 1})) == []


# --- 024 dead doors


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tail": "z = ReduceSum <keepdims = 0> (x) n = Shape (y) output = Expand (z, n)", "body": PAIRS}, "'edge_index'"),
        ({"body": "n = Shape <start = 1> (edge_index) k = Concat <axis = 0> (n, one) m = ReduceMean (x)",
          "tail": "output = Expand (m, k)", "weights": ONE}, "error: no output depends on the values of input 'edge_index'"),
        ({"body": "", "weights": ONE,
          "tail": "e = Cast <to = 1> (edge_index) t = Transpose (e) output = Gather <axis = 1> (t, one)"},
         "error: no output depends on the values of input 'x'"),
        ({"inputs": (X, EDGES, ATTR)}, "warning: no output depends on the values of input 'edge_attr'"),
        ({"body": "", "tail": "output = Identity (w)", "outputs": ("float[3, 1] output",)}, "depends on the values of no input"),
    ],
)
def test_dead_doors_are_found(changes: dict, message: str) -> None:
    found = said(dead_doors.RULE, model_of(**{"tail": "output = Identity (y)", **changes}))
    assert any(message in line for line in found), found


def test_an_output_that_is_an_input_is_found() -> None:
    model = model_of()
    model.graph.output.append(helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["num_hits", 3]))
    assert "output 'x' is an input" in said(dead_doors.RULE, model)[0]


@pytest.mark.parametrize(
    ("changes", "target"),
    [
        ({"inputs": (X, EDGES, ATTR)}, "acts-tensorrt"),  # has to be there
        ({"tail": SCORES_IN_A_BRANCH}, "ort-cpu"),  # read inside a branch only
    ],
)
def test_doors_in_use_are_passed(changes: dict, target: str) -> None:
    assert said(dead_doors.RULE, model_of(**{"tail": "output = Identity (y)", **changes}), target) == []


def test_the_published_graph_network_shows_no_other_fault_at_its_doors(golden: Path) -> None:
    model = onnx.load(golden / "lrt" / "gnn.onnx")
    found = {rule.id for rule in RULES if said(rule, model)}
    assert found == {"TRKX016", "TRKX020"}  # its own names, and no word of what it is
