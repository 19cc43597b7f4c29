"""Verification of a repair can fail: faults put into a repaired file are found, and a right one raises no alarm."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from support.scatter_models import ADDED, BY_ROWS, SUMMED, asked, network, true_logits

import trkx.export.repair.repair as repair_module
from trkx.errors import ExportError
from trkx.export.repair.change import Change, Outcome, Request, Rewrite
from trkx.export.repair.float64 import Evaluate, evaluator
from trkx.export.repair.repair import repaired
from trkx.export.repair.sides import Side
from trkx.export.repair.sums import set_reduction
from trkx.export.repair.verify import verified

SOME = ("star", "path", "duplicate edges", "one edge", "zero edges", "more edges than hits")
MEANT = [("s", "sum")]


def _after(model: onnx.ModelProto) -> onnx.ModelProto:
    result = repaired(model, asked(), only=("star",))
    assert result.model is not None
    copy = onnx.ModelProto()
    copy.CopyFrom(result.model)
    return copy


def _failed(before: onnx.ModelProto, after: onnx.ModelProto, meant: list[tuple[str, str]] = MEANT, **fields: bool) -> list[str]:
    rows = verified(before, after, asked(), meant, only=SOME, **fields)
    return [f"{row.case}: {row.detail}" for row in rows if row.status == "failed"]


def _node(model: onnx.ModelProto, output: str) -> onnx.NodeProto:
    return next(node for node in model.graph.node if output in node.output)


def _weight(model: onnx.ModelProto, name: str, change: Callable[[np.ndarray], np.ndarray]) -> None:
    item = next(item for item in model.graph.initializer if item.name == name)
    item.CopyFrom(numpy_helper.from_array(change(numpy_helper.to_array(item)).copy(), name))


def _swap(model: onnx.ModelProto) -> None:
    source, target = _node(model, "i"), _node(model, "j")
    source.output[0], target.output[0] = "j", "i"


FAULTS: dict[str, Callable[[onnx.ModelProto], None]] = {
    "no reduction": lambda model: set_reduction(_node(model, "s"), "none"),
    "product": lambda model: set_reduction(_node(model, "s"), "mul"),
    "largest": lambda model: set_reduction(_node(model, "s"), "max"),
    "sign": lambda model: _weight(model, "w2", np.negative),
    "one weight": lambda model: _weight(model, "w1", lambda value: value + np.eye(8, 4, dtype=np.float32) * 1e-5),
    "turned weights": lambda model: _weight(model, "w1", lambda value: value[::-1]),
    "source and target": _swap,
    "another activation": lambda model: setattr(_node(model, "h"), "op_type", "Sigmoid"),
    "sigmoid": lambda model: setattr(_node(model, "output"), "op_type", "Sigmoid"),
    "other data": lambda model: _node(model, "s").input.__setitem__(0, "h"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_fault_is_found(fault: str) -> None:
    before = network(ADDED)
    after = _after(before)
    assert not _failed(before, after)
    FAULTS[fault](after)
    assert _failed(before, after)


def test_scores_are_compared_as_scores() -> None:
    before = network(SUMMED, "output = Sigmoid (y)")
    after = _after(before)
    assert not _failed(before, after, [], scores=True)
    assert _failed(before, after, [])
    FAULTS["one weight"](after)
    assert _failed(before, after, [], scores=True)


def test_file_that_misses_rows_is_found() -> None:
    before = network(SUMMED)
    weights = "int64[1] start = {1}, int64[1] end = {9999}, int64[1] axis = {0}"
    after = network(SUMMED, "output = Slice (y, start, end, axis)", weights=weights)
    assert any("expected finite ones" in problem for problem in _failed(before, after, []))


def test_nan_is_found() -> None:
    before, after = network(SUMMED), network(SUMMED, "z = Sub (y, y)  output = Div (z, z)")
    assert _failed(before, after, [])


def test_what_the_engine_can_not_run_is_found() -> None:
    """ONNX Runtime's CPU kernel has no half-precision scatter that adds; a file that holds one does not pass."""
    doors = {"x": "float16[num_hits, 3] x", "output": "float16[num_edges, 1] output", "kind": "float16"}
    model = network(SUMMED, **doors)
    assert any("ONNX Runtime can't run" in problem for problem in _failed(model, model, []))


def test_race_is_left_to_the_engine_that_has_none() -> None:
    """On a CPU a ScatterND that adds can't be trusted with threads: for a target that adds right that is not checked."""
    model = network(BY_ROWS)
    rows = verified(model, model, asked("ort-cuda"), only=SOME)
    assert [row.status for row in rows if row.group == "repeatability"] == ["passed", "not checked"]


def test_results_that_change_from_run_to_run_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    plain, count = Side.session, itertools.count()

    def shaky(side: Side, threads: int) -> Evaluate:
        run = plain(side, threads)
        return lambda feeds: run(feeds) + np.float32(1e-7 * (next(count) % 7 == 0)) * (threads > 1)

    monkeypatch.setattr(Side, "session", shaky)
    rows = verified(network(), network(), asked(), only=SOME)
    assert [row.status for row in rows if row.group == "repeatability"] == ["passed", "failed"]


@pytest.mark.parametrize("reduction", ["mul", "none"])
def test_wrong_rewrite_gives_no_file(reduction: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(model: onnx.ModelProto, request: Request) -> Outcome:
        set_reduction(_node(model, "a"), reduction)
        return Outcome(model, (Change("wrong", "TRKX001", "a", "something", "no reason"),))

    monkeypatch.setattr(repair_module, "REWRITES", (Rewrite("wrong", ("TRKX001",), "wrong", "none", wrong),))
    result = repaired(network(SUMMED), asked(), only=SOME)
    assert result.model is None
    assert any("another formula" in problem for problem in result.problems)


def test_lint_has_the_last_word() -> None:
    """A file that computes what it did, in a way that the target can't take, is refused."""
    summed = SUMMED.replace("a =", "b =").replace("zeros", "z64").replace(" m)", " m64)")
    model = network(f"m64 = Cast <to = 11> (m)  z64 = Cast <to = 11> (zeros)  {summed}  a = Cast <to = 1> (b)")
    assert repaired(model, asked("ort-cpu"), only=SOME).model is not None
    result = repaired(model, asked("tensorrt"), only=SOME)
    assert result.model is None
    assert any("TRKX010" in problem for problem in result.problems)


def test_second_output_would_go_unchecked() -> None:
    model = network(output="float[num_edges, 1] output, float[num_hits, 4] a")
    with pytest.raises(ExportError, match="one output, found 2"):
        repaired(model, asked(), only=SOME)


def test_graph_without_anything_to_feed_is_an_error() -> None:
    doors = "(float[num_hits, width] x) => (float[num_hits, width] output)"
    model = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["" : 18]> n {doors} {{ output = Tanh (x) }}')
    with pytest.raises(ExportError, match="columns"):
        repaired(model, asked())


@pytest.mark.parametrize("aggregation", [ADDED, BY_ROWS, SUMMED], ids=["meant", "rows", "elements"])
@pytest.mark.parametrize("opset", [16, 18])
def test_second_opinion_agrees_with_numpy(aggregation: str, opset: int, rng: np.random.Generator) -> None:
    model = network(aggregation, opset=opset)
    x, edges = rng.uniform(0.0, 1.0, (9, 3)).astype(np.float32), rng.integers(0, 9, (2, 60))
    meant = MEANT if aggregation == ADDED else []
    found = evaluator(model, "output", meant)({"x": x, "edge_index": edges})
    assert np.abs(found - true_logits(model, x, edges)).max() < 1e-12


@pytest.mark.parametrize("reduction", ["none", "add", "mul", "max", "min"])
@pytest.mark.parametrize("axis", [0, 1, -1])
def test_second_opinion_scatters_as_onnx_says(reduction: str, axis: int, rng: np.random.Generator) -> None:
    from onnx.reference.ops.op_scatter_elements import scatter_elements

    data, updates = rng.normal(size=(5, 6)), rng.normal(size=(4, 3))
    indices = rng.integers(-3, 3, (4, 3))
    text = f"""
        <ir_version: 8, opset_import: ["" : 18]>
        n (double[5, 6] d, int64[4, 3] i, double[4, 3] u) => (double[5, 6] o)
        {{ o = ScatterElements <axis = {axis}, reduction = "{reduction}"> (d, i, u) }}
    """
    found = evaluator(onnx.parser.parse_model(text), "o")({"d": data, "i": indices, "u": updates})
    assert np.allclose(found, scatter_elements(data, indices, updates, axis, reduction), rtol=0.0, atol=1e-15)


def test_declared_meaning_of_what_is_no_overwriting_scatter_is_an_error() -> None:
    for name in ("nowhere", "h", "a"):
        with pytest.raises(ExportError, match=name):
            evaluator(network(SUMMED), "output", [(name, "sum")])
