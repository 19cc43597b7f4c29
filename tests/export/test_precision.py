"""Half precision inside ONNX files: what is converted, what stays float32 and why, and what the checks must catch."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from support.tiny import TinyExport

from trkx.bundle import STAGES, Bundle
from trkx.errors import ExportError, SpecError
from trkx.export.build import embedder
from trkx.export.check import Expectation, expectations
from trkx.export.lint.run import lint_file
from trkx.export.onnx_graph import HALF, Graph
from trkx.export.pipeline_folder import load_network
from trkx.export.precision import plan as planning
from trkx.export.precision.bounds import bounds_of
from trkx.export.precision.checks import STRUCTURE, UNROUNDED, HalfFile, half_files, half_rows
from trkx.export.precision.convert import in_half
from trkx.export.precision.oracle import emulated
from trkx.export.precision.plan import plan_of
from trkx.export.precision.planned import strays
from trkx.export.precision.structure import problems, unrounded
from trkx.export.precision.table import TYPES, HalfType, file_precision, rounded, tensor_of, types_of
from trkx.export.validation.model_file import ModelFile
from trkx.export.validation.oracle import oracle_for
from trkx.export.zoo import Case, cases
from trkx.runtime.precision import FILE_TYPES, MIXED, PRECISIONS, precisions

FP16, BF16 = TYPES["float16"], TYPES["bfloat16"]
FLOAT = TensorProto.FLOAT
GRAPHS = ("star", "duplicate edges", "one edge", "zero edges", "Pareto degrees, one-signed features")


@pytest.fixture(scope="module")
def models(tiny_export: TinyExport) -> dict[str, onnx.ModelProto]:
    bundle = Bundle.open(tiny_export.folder)
    own = {stage: onnx.load_model_from_string(bundle.read(stage, "onnx")) for stage in STAGES}
    cuda = {stage: bundle.read(stage, "onnx", target="ort-cuda") for stage in STAGES}
    return own | {f"cuda {stage}": onnx.load_model_from_string(data) for stage, data in cuda.items()}


@pytest.fixture(scope="module")
def zoo(tiny_export: TinyExport) -> dict[str, list[Expectation]]:
    networks = {stage: load_network(tiny_export.source, stage) for stage in STAGES}
    graphs = cases(tiny_export.source.spec, tiny_export.event, embedder(networks["embedding"]))
    graphs = [case for case in graphs if case.name in GRAPHS]
    assert len(graphs) == len(GRAPHS)
    return {stage: expectations(stage, networks[stage], graphs) for stage in STAGES}


def item_of(tiny: TinyExport, model: onnx.ModelProto, float32: onnx.ModelProto, stage: str, precision: str) -> HalfFile:
    """Return a half model as a validation sees it, beside the float32 file it was made from."""
    spec = tiny.source.spec
    made = [
        ModelFile(path, stage, "onnx", held.SerializeToString(), len(spec.features), spec.width(stage), "ort-cpu",
                  load_network(tiny.source, stage), spec.cut(stage), precision=kind)
        for path, held, kind in ((f"{stage}.onnx", float32, "float32"), (f"{stage}.half.onnx", model, precision))
    ]
    found, lost = half_files(made, {stage: oracle_for(made[0])})
    assert not lost
    return found[0]


def failures(item: HalfFile, zoo: list[Expectation]) -> set[str]:
    return {row.case for row in half_rows(item, zoo) if row.status == "failed"}


# --- table


def test_numbers_round_to_nearest_even(rng: np.random.Generator) -> None:
    values = rng.normal(0.0, 1.0, 20_000) * 10.0 ** rng.integers(-44, 38, 20_000)
    values = np.concatenate([values, [0.0, 1.0, 2049.0, 65504.0, 65519.9, 65520.0, 1e-41, 3.3e38, np.inf, -np.inf, np.nan]])
    values = values.astype(np.float32)
    with np.errstate(over="ignore"):
        assert np.array_equal(rounded(values, FP16), values.astype(np.float16).astype(np.float64), equal_nan=True)
    found = numpy_helper.to_array(tensor_of(values, BF16, "w")).astype(np.float64)
    assert np.array_equal(rounded(values, BF16), found, equal_nan=True)
    normal = np.isfinite(found) & (np.abs(values) > 1e-30)
    step = np.spacing(np.abs(values[normal])).astype(np.float64) * 2.0**16
    assert (np.abs(found[normal] - values[normal]) <= 0.5 * step).all()
    assert rounded(np.array([1.0 + 2.0**-8, 1.0 + 3 * 2.0**-8]), BF16).tolist() == [1.0, 1.0 + 2 * 2.0**-7]  # ties to even


def test_which_stage_gets_which_file() -> None:
    assert [file_precision("fp16", stage) for stage in STAGES] == ["float16"] * 3
    assert [file_precision("mixed", stage) for stage in STAGES] == ["float32", "bfloat16", "bfloat16"]
    assert [file_precision("bf16", stage) for stage in STAGES] == ["bfloat16"] * 3
    assert [file_precision("filter=fp16,gnn=bf16", stage) for stage in STAGES] == ["float32", "float16", "bfloat16"]
    assert types_of(("fp16", "mixed", "bf16"), "gnn") == (FP16, BF16)
    with pytest.raises(SpecError, match="unknown precision 'int8'"):
        file_precision("int8", "gnn")
    with pytest.raises(ExportError, match="there is no tf32 file"):
        file_precision("gnn=tf32", "gnn")


def test_a_word_means_the_same_for_files_and_for_runs() -> None:
    for word in (*PRECISIONS, MIXED, "filter=fp16,gnn=bf16"):
        for stage, run in precisions(word).items():
            if run == "tf32":
                with pytest.raises(ExportError):
                    file_precision(word, stage)
            else:
                assert file_precision(word, stage) == FILE_TYPES[run]


# --- bounds and plan


DOORS = "net (float[n, 4] x, int64[2, e] edge_index) => (float[m, k] output)"


def small_model(tail: str, weights: dict[str, np.ndarray]) -> onnx.ModelProto:
    model = onnx.parser.parse_model(f'<ir_version: 10, opset_import: ["" : 20]> {DOORS} {{{tail}}}')
    model.graph.initializer.extend(numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights.items())
    return model


HIDDEN = "a = MatMul (x, v) b = LayerNormalization (a, g, c) h = Relu (b) p = Gemm (h, w, d) q = LayerNormalization (p, g, c) "


def weights_for(rng: np.random.Generator, **changes: np.ndarray) -> dict[str, np.ndarray]:
    held = {"v": rng.normal(0, 1, (4, 6)), "g": rng.normal(1, 0.3, 6), "c": rng.normal(0, 0.3, 6),
            "w": rng.normal(0, 0.5, (6, 6)), "d": rng.normal(0, 0.1, 6), "u": rng.normal(0, 0.5, (6, 1))}
    return {name: np.asarray(value, np.float32) for name, value in (held | changes).items()}


def test_bounds_hold_and_are_not_far(rng: np.random.Generator) -> None:
    model = small_model(HIDDEN + "t = Tanh (p) s = Add (t, h) output = Mul (s, q)", weights_for(rng))
    bounds = bounds_of(Graph(model))
    taps = onnx.ModelProto()
    taps.CopyFrom(model)
    taps.graph.output.extend(helper.make_tensor_value_info(name, FLOAT, None) for name in ("b", "h", "p", "t", "s"))
    from onnx.reference import ReferenceEvaluator

    worst = dict.fromkeys(("b", "h", "p", "t", "s", "output"), 0.0)
    for scale in (1e-3, 1.0, 1e4):
        x = (scale * rng.normal(0, 1, (2000, 4))).astype(np.float32)
        names = [value.name for value in taps.graph.output]
        values = ReferenceEvaluator(taps).run(None, {"x": x, "edge_index": np.zeros((2, 0), np.int64)})
        for name, value in zip(names, values, strict=True):
            assert np.abs(value).max() <= bounds[name].largest * 1.00001
            assert np.linalg.norm(value, axis=1).max() <= bounds[name].norm * 1.00001
            worst[name] = max(worst[name], float(np.abs(value).max()))
    assert all(worst[name] > 0.05 * bounds[name].largest for name in worst)
    assert bounds["a"].largest == np.inf  # raw features may be anything


def test_sums_over_edges_have_no_bound(models: dict[str, onnx.ModelProto]) -> None:
    for name in ("gnn", "cuda gnn"):
        graph = Graph(models[name])
        half, wide = plan_of(graph, FP16), plan_of(graph, BF16)
        sums = [kept for kept in half.kept if "sums over edges" in kept.why]
        assert len(sums) == 4  # two iterations, both ends
        assert half.products + len(sums) == wide.products  # bfloat16 reaches as far as float32
        assert "4 read values that may pass" in half.note


@pytest.mark.parametrize(
    ("tail", "changes", "why"),
    [
        ("output = MatMul (q, u)", {}, ""),
        ("output = MatMul (q, u)", {"w": np.full((6, 6), 7e4)}, "have weights beyond 6.55e+04"),
        ("output = MatMul (q, u)", {"w": np.full((6, 6), 3e4)}, "may make values beyond"),
        ("output = MatMul (q, u)", {"w": np.diag([1.0, 1.0, 1.0, 1.0, 1.0, 1e-6])}, "subnormal in float16 and not small"),
        ("output = MatMul (q, u)", {"w": np.where(np.eye(6) == 1, 1.0, 1e-6)}, ""),
        ("output = MatMul (q, u)", {"d": np.full(6, np.nan)}, "NaN or infinite"),
        ("output = Identity (p)", {}, "make the output"),
        ("s = Concat <axis = 1> (p, x) output = Relu (s)", {}, "make the output"),
    ],
)
def test_why_a_product_stays_float32(tail: str, changes: dict[str, np.ndarray], why: str, rng: np.random.Generator) -> None:
    graph = Graph(small_model(HIDDEN + tail, weights_for(rng, **changes)))
    plan = plan_of(graph, FP16)
    reasons = [kept.why for kept in plan.kept]
    assert reasons[0] == "read raw features"
    assert plan.products == (0 if why else 1)
    assert not why or why in reasons[1]


def test_states_and_what_reads_them_elsewhere_stay_float32(rng: np.random.Generator) -> None:
    residual = small_model(HIDDEN + "s = Add (h, p) y = MatMul (s, w) z = LayerNormalization (y, g, c) output = MatMul (z, u)",
                           weights_for(rng))
    graph = Graph(residual)
    half = {graph.nodes[place].op_type + " " + graph.nodes[place].output[0] for place in plan_of(graph, FP16).half}
    assert half == {"Gemm p", "MatMul y"}  # neither the residual sum nor the norm that a float32 product reads
    double = small_model(HIDDEN + "r = Relu (q) y = MatMul (r, w) output = MatMul (y, u)", weights_for(rng))
    graph = Graph(double)
    half = {graph.nodes[place].output[0] for place in plan_of(graph, FP16).half}
    assert half == {"p", "q", "r", "y"}  # a whole layer between two products
    tail = "r = Relu (q) y = MatMul (r, w) n = Concat <axis = 1> (r, x) m = MatMul (n, z) t = Add (y, m) output = MatMul (t, u)"
    graph = Graph(small_model(HIDDEN + tail, weights_for(rng, z=rng.normal(0, 1, (10, 6)))))
    assert {graph.nodes[place].output[0] for place in plan_of(graph, FP16).half} == {"p", "y"}  # float32 reads the layer too


# --- conversion


@pytest.mark.parametrize("half", TYPES.values(), ids=TYPES)
@pytest.mark.parametrize("name", [*STAGES, "cuda gnn"])
def test_what_is_half_and_what_is_not(name: str, half: HalfType, models: dict[str, onnx.ModelProto]) -> None:
    before = models[name].SerializeToString()
    result = in_half(models[name], half)
    assert models[name].SerializeToString() == before
    onnx.checker.check_model(result.model, full_check=True)
    assert list(result.model.graph.input) == list(models[name].graph.input)
    assert list(result.model.graph.output) == list(models[name].graph.output)
    graph = Graph(result.model)
    types = {(node.op_type, kind) for node in graph.nodes for kind in map(graph.dtype, node.output) if kind in HALF}
    assert {kind for _, kind in types} == {half.onnx}
    assert {op for op, _ in types} <= {"Gemm", "MatMul", "Cast", "Gather", "Add", "Mul", "Sigmoid", "LayerNormalization"}
    assert result.plan.products > 0
    for node in graph.nodes:
        if node.op_type == "Gather":
            assert graph.dtype(node.input[1]) == TensorProto.INT64
    casts = [tuple(node.input) for node in graph.nodes if node.op_type == "Cast" and graph.dtype(node.output[0]) == half.onnx]
    assert len(casts) == len(set(casts))
    with pytest.raises(ExportError, match="found values in half precision"):
        in_half(result.model, half)


def test_emulation_agrees_with_engines(models: dict[str, onnx.ModelProto], rng: np.random.Generator) -> None:
    from onnx.reference import ReferenceEvaluator

    x, edges = np.abs(rng.normal(0, 1, (30, 3))).astype(np.float32), rng.integers(0, 30, (2, 80))
    for half in TYPES.values():
        data = in_half(models["filter"], half).model.SerializeToString()
        ours = emulated(data, half, "filter", Case("random", x, edges))
        theirs = ReferenceEvaluator(onnx.load_model_from_string(data)).run(None, {"x": x, "edge_index": edges})[0]
        exact = ReferenceEvaluator(models["filter"]).run(None, {"x": x, "edge_index": edges})[0]
        assert np.abs(ours - theirs).max() <= 8 * half.unit
        assert 0.0 < np.abs(ours - exact).max() <= 32 * half.unit


# --- checks, and mutants that they must catch


@pytest.mark.parametrize(
    ("stage", "precision"),
    [("embedding", "float16"), ("embedding", "bfloat16"), ("filter", "bfloat16"), ("gnn", "float16"), ("gnn", "bfloat16")]
)
def test_right_files_pass(stage: str, precision: str, tiny_export: TinyExport, models: dict[str, onnx.ModelProto],
                          zoo: dict[str, list[Expectation]]) -> None:
    item = item_of(tiny_export, in_half(models[stage], TYPES[precision]).model, models[stage], stage, precision)
    rows = half_rows(item, zoo[stage])
    assert [row for row in rows if row.status == "failed"] == []
    assert {row.case for row in rows if row.status == "passed"} >= {STRUCTURE, UNROUNDED}
    compared = {row.case for row in rows if row.engine and row.case in GRAPHS}
    assert compared == set(GRAPHS)
    cpu = [row for row in rows if row.engine.startswith("ONNX Runtime CPU")]
    assert [row.status for row in cpu] == (["not checked"] if precision == "bfloat16" else [row.status for row in cpu])


def cast_around(model: onnx.ModelProto, node: onnx.NodeProto, places: tuple[int, ...], to: int) -> None:
    """Let a float32 node compute in a half type, with casts before and after it."""
    where = list(model.graph.node).index(node)
    new = []
    for place in places:
        name = f"{node.input[place]}_in_{place}"
        new.append(helper.make_node("Cast", [node.input[place]], [name], to=to))
        node.input[place] = name
    out = node.output[0]
    node.output[0] = f"{out}_out"
    nodes = [*list(model.graph.node)[:where], *new, node, helper.make_node("Cast", [f"{out}_out"], [out], to=FLOAT),
             *list(model.graph.node)[where + 1:]]
    copies = [onnx.NodeProto.FromString(item.SerializeToString()) for item in nodes]
    del model.graph.node[:]
    model.graph.node.extend(copies)


def first(model: onnx.ModelProto, op: str, wanted: Callable[[Graph, onnx.NodeProto], bool] = lambda g, n: True) -> onnx.NodeProto:
    graph = Graph(model)
    name = next(node.output[0] for node in graph.nodes if node.op_type == op and wanted(graph, node))
    return next(node for node in model.graph.node if node.output[0] == name)


def scatter_in_half(model: onnx.ModelProto) -> None:
    floats = lambda graph, node: graph.dtype(node.output[0]) == FLOAT  # noqa: E731
    cast_around(model, first(model, "ScatterElements", floats), (0, 2), TensorProto.FLOAT16)


def bucket_in_half(model: onnx.ModelProto) -> None:
    cast_around(model, first(model, "ReduceSum"), (0,), TensorProto.FLOAT16)


def norm_in_half(model: onnx.ModelProto) -> None:
    node = first(model, "LayerNormalization", lambda graph, node: graph.dtype(node.output[0]) == TensorProto.FLOAT16)
    next(item for item in node.attribute if item.name == "stash_type").i = TensorProto.FLOAT16


def logits_in_half(model: onnx.ModelProto) -> None:
    node = next(node for node in model.graph.node if "output" in node.output)
    cast_around(model, node, tuple(range(len(node.input))), TensorProto.FLOAT16)


def raw_in_half(model: onnx.ModelProto) -> None:
    node = next(node for node in model.graph.node if node.op_type in ("Gather", "Slice") and node.input[0] == "x")
    model.graph.node.insert(0, helper.make_node("Cast", ["x_half"], ["x_again"], to=FLOAT))
    model.graph.node.insert(0, helper.make_node("Cast", ["x"], ["x_half"], to=TensorProto.FLOAT16))
    node.input[0] = "x_again"


def other_weights(model: onnx.ModelProto) -> None:
    halves = [item for item in model.graph.initializer if item.data_type == TensorProto.FLOAT16 and len(item.dims) == 2]
    one, other = next((a, b) for a in halves for b in halves if a.name < b.name and a.dims == b.dims)
    one.raw_data, other.raw_data = other.raw_data, one.raw_data


def half_digit(model: onnx.ModelProto) -> None:
    item = next(item for item in model.graph.initializer if item.data_type == TensorProto.FLOAT16 and len(item.dims) == 2)
    bits = np.frombuffer(item.raw_data, np.uint16).copy()
    bits[0] += 1
    item.raw_data = bits.tobytes()


def lost_residual(model: onnx.ModelProto) -> None:
    graph = Graph(model)
    for node in model.graph.node:
        made = graph.producer(node.input[1]) if node.op_type == "Add" else None
        if made is not None and made.op_type == "Cast":
            node.op_type = "Sub"
            return
    raise AssertionError("no residual sum found")


@pytest.mark.parametrize(
    ("stage", "mutant", "caught"),
    [
        ("cuda gnn", scatter_in_half, STRUCTURE),
        ("gnn", bucket_in_half, STRUCTURE),
        ("gnn", norm_in_half, STRUCTURE),
        ("gnn", logits_in_half, STRUCTURE),
        ("filter", logits_in_half, STRUCTURE),
        ("filter", raw_in_half, STRUCTURE),
        ("gnn", other_weights, UNROUNDED),
        ("gnn", half_digit, STRUCTURE),
        ("gnn", lost_residual, UNROUNDED),
    ],
)
def test_mutants_are_caught(stage: str, mutant: Callable[[onnx.ModelProto], None], caught: str, tiny_export: TinyExport,
                            models: dict[str, onnx.ModelProto], zoo: dict[str, list[Expectation]]) -> None:
    model, own = in_half(models[stage], FP16).model, stage.removeprefix("cuda ")
    mutant(model)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of half sums in onnx's evaluator
        found = failures(item_of(tiny_export, model, models[stage], own, "float16"), zoo[own])
    assert caught in found


@pytest.mark.parametrize("half", TYPES.values(), ids=TYPES)
@pytest.mark.parametrize("name", [*STAGES, "cuda gnn"])
def test_what_the_plan_made_half_may_be(name: str, half: HalfType, models: dict[str, onnx.ModelProto]) -> None:
    made = in_half(models[name], half).model
    assert strays(made, half, unrounded(made, models[name], half)) == strays(made, half) == []
    other = models[name]
    (found,) = strays(other, half, other)
    assert "float32 under another name" in found and strays(other, half) == [found]


def test_a_product_that_may_overflow_is_caught(tiny_export: TinyExport, models: dict[str, onnx.ModelProto],
                                               zoo: dict[str, list[Expectation]], monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(planning, "AS_FAR", 0.0)  # no bound is asked for
        model = in_half(models["gnn"], FP16).model
    assert problems(model, FP16) == []
    for found in (strays(model, FP16, unrounded(model, models["gnn"], FP16)), strays(model, FP16)):
        assert found and any("may pass 6.55e+04" in text for text in found)
    item = item_of(tiny_export, model, models["gnn"], "gnn", "float16")
    assert failures(item, zoo["gnn"]) == {STRUCTURE}  # numbers on these graphs are right


def test_a_float32_file_under_the_name_of_a_half_type_is_caught(tiny_export: TinyExport, models: dict[str, onnx.ModelProto],
                                                                zoo: dict[str, list[Expectation]]) -> None:
    for stage, precision in (("gnn", "float16"), ("filter", "bfloat16")):
        item = item_of(tiny_export, models[stage], models[stage], stage, precision)
        assert STRUCTURE in failures(item, zoo[stage])


def test_lint_sees_half_sums_and_norms(tmp_path: Path, models: dict[str, onnx.ModelProto]) -> None:
    for mutant, rule in ((scatter_in_half, "TRKX005"), (norm_in_half, "TRKX011"), (None, "")):
        model = in_half(models["cuda gnn"], FP16).model
        if mutant is not None:
            mutant(model)
        (tmp_path / "gnn.onnx").write_bytes(model.SerializeToString())
        errors = {item.rule.id for item in lint_file(tmp_path / "gnn.onnx", stage="gnn") if item.severity == "error"}
        assert errors == ({rule} if rule else set())
