"""Small ONNX graphs as text, and rules applied to them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import onnx
from numpy.typing import NDArray
from onnx import numpy_helper, parser

from trkx.export.functions import unfolded
from trkx.export.lint.finding import Rule, Subject
from trkx.export.onnx_graph import Graph
from trkx.export.targets import Target, target_of

X, EDGES, LOGITS = "float[num_hits, 3] x", "int64[2, num_edges] edge_index", "float[num_edges, 1] output"
PAIRS = """
    source = Gather (edge_index, first)
    target = Gather (edge_index, second)
    a = Gather (x, source)
    b = Gather (x, target)
    d = Sub (a, b)
    y = MatMul (d, w)
"""
"""How every network here starts: source and target [E], hits a and b of each edge [E, 3], their difference d, and y [E, 1]."""


def model_of(
    tail: str = "output = Identity (y)",
    *,
    inputs: tuple[str, ...] = (X, EDGES),
    outputs: tuple[str, ...] = (LOGITS,),
    weights: str = "",
    body: str = PAIRS,
    opset: int = 18,
    ir: int = 10,
    domains: Mapping[str, int] | None = None,
    functions: str = "",
    arrays: Mapping[str, NDArray[Any]] | None = None,
) -> onnx.ModelProto:
    """Return a pair classifier that ends with `tail`; `weights` and `arrays` are more initialisers, `body` its beginning."""
    imports = ", ".join(f'"{name}" : {version}' for name, version in {"": opset, **(domains or {})}.items())
    own = "int64 first = {0}, int64 second = {1}, float[3, 1] w = {0.5, -0.25, 0.125}"
    held = f"{own}, {weights}" if weights else own
    text = f"<ir_version: {ir}, opset_import: [{imports}]> network ({', '.join(inputs)}) => ({', '.join(outputs)}) <{held}> "
    model = parser.parse_model(text + "{" + body + tail + "}" + functions)
    model.graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in (arrays or {}).items())
    return model


def subject_of(model: onnx.ModelProto, target: str | Target = "ort-cpu", **fields: Any) -> Subject:
    """Return a model as lint's subject; `fields` are those of Subject."""
    row = target if isinstance(target, Target) else target_of(target)
    fields = {"max_edges": 1_000_000, **fields}
    return Subject(Path("model.onnx"), "onnx", row, model=model, graph=Graph(unfolded(model)), **fields)


def said(rule: Rule, model: onnx.ModelProto, target: str | Target = "ort-cpu", **fields: Any) -> list[str]:
    """Return what a rule says of a model: "severity: message" for each remark."""
    remarks = rule.check(subject_of(model, target, **fields))
    return [f"{remark.severity or rule.severity}: {remark.message}" for remark in remarks]
