"""Repair of LayerNorm that is written out in half precision."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper, parser
from support.scatter_models import asked

from trkx.export.onnx_graph import Graph
from trkx.export.repair.norms import half_norms, normed
from trkx.export.repair.repair import repaired

PARTS = """
    mean = ReduceMean <axes = [-1]> (x)
    d = Sub (x, mean)
    p = Pow (d, two)
    v = ReduceMean <axes = [-1]> (p)
    e = Add (v, epsilon)
    r = Sqrt (e)
    n = Div (d, r)
    w = Mul (n, weight)
    output = Add (w, bias)
"""


def _norm(parts: str = PARTS, kind: str = "float16", epsilon: float = 1e-3, opset: int = 17) -> onnx.ModelProto:
    doors = f"({kind}[num_hits, 8] x) => ({kind}[num_hits, 8] output)"
    model = parser.parse_model(f'<ir_version: 8, opset_import: ["" : {opset}]> n {doors} {{ {parts} }}')
    dtype = np.float16 if kind == "float16" else np.float32
    held = {"two": np.array(2.0), "epsilon": np.array(epsilon)}
    held |= {"weight": np.linspace(0.5, 2.0, 8), "bias": np.linspace(-1.0, 1.0, 8)}
    model.graph.initializer.extend(numpy_helper.from_array(value.astype(dtype), name) for name, value in held.items())
    return model


def _kinds(model: onnx.ModelProto) -> list[str]:
    return [node.op_type for node in model.graph.node]


@pytest.mark.parametrize(
    "parts",
    [
        PARTS,
        PARTS.replace("Pow (d, two)", "Mul (d, d)"),
        PARTS.replace("axes = [-1]", "axes = [1]"),
        PARTS.replace("Add (v, epsilon)", "Add (epsilon, v)").replace("Mul (n, weight)", "Mul (weight, n)"),
        PARTS.replace("w = Mul (n, weight)", "").replace("output = Add (w, bias)", "output = Identity (n)"),
    ],
    ids=["pow", "mul", "positive axis", "turned", "no weights"],
)
def test_parts_become_one_operator(parts: str) -> None:
    result = repaired(_norm(parts), asked())
    assert result.model is not None, result.problems
    assert "LayerNormalization" in _kinds(result.model)
    assert not {"Sqrt", "ReduceMean", "Pow"} & set(_kinds(result.model))
    assert "TRKX011" in {change.rule for change in result.changes}


def test_it_no_longer_overflows() -> None:
    """A deviation of 300 has a square of 90000, which half precision does not have."""
    result = repaired(_norm(), asked())
    assert result.model is not None
    x = np.tile(np.array([[300.0, -300.0]], np.float32), (2, 4))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(result.model.SerializeToString(), options)
    found = session.run(None, {"x": x})[0]
    wanted = np.sign(x) * np.linspace(0.5, 2.0, 8) + np.linspace(-1.0, 1.0, 8)
    assert np.abs(found - wanted).max() < 0.01


@pytest.mark.parametrize(
    "parts",
    [
        PARTS.replace("axes = [-1]", "axes = [0]"),
        PARTS.replace("d = Sub (x, mean)", "d = Sub (mean, x)"),
        PARTS.replace("Pow (d, two)", "Pow (x, two)"),
        PARTS.replace("Div (d, r)", "Div (x, r)"),
    ],
    ids=["over the rows", "turned", "square of x", "x over the root"],
)
def test_other_formulas_are_no_layer_norm(parts: str) -> None:
    assert not list(half_norms(Graph(_norm(parts))))


def test_float32_stays_as_it_is() -> None:
    assert not normed(_norm(kind="float"), asked()).changes


def test_epsilon_that_is_zero_is_refused() -> None:
    outcome = normed(_norm(epsilon=1e-12), asked())
    assert not outcome.changes
    assert "epsilon" in outcome.refusals[0].why
