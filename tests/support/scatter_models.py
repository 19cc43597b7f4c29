"""One round of message passing as ONNX text: who aggregates, and how, is up to the test."""

from __future__ import annotations

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper, parser

from trkx.export.repair.change import Request
from trkx.export.targets import target_of

ADDED = "s = ScatterElements <axis = 0> (zeros, index, m)  a = Add (zeros, s)"
"""How torch's older exporter writes a sum."""
SUMMED = 'a = ScatterElements <axis = 0, reduction = "add"> (zeros, index, m)'
"""A sum that is right."""
PLAIN = "a = ScatterElements <axis = 0> (zeros, index, m)"
"""What an assignment writes, and a sum never should."""
BY_ROWS = 'a = ScatterND <reduction = "add"> (zeros, rows, m)'
"""What torch's default exporter writes for index_add."""

_WIDTHS = {"w0": (3, 4), "w1": (8, 4), "w2": (8, 1)}


def network(aggregation: str = SUMMED, end: str = "output = Identity (y)", opset: int = 18, **changes: str) -> onnx.ModelProto:
    """Return a classifier of edges: h = tanh(x w0), messages m [E, 4], their `aggregation` a [N, 4], logits y [E, 1], an `end`.

    Args:
        aggregation: text that makes `a`; it may read h, m, i, j [E], zeros [N, 4], index [E, 4] and rows [E, 1].
        end: text that makes the output.
        opset: 9 or newer.
        changes: `x`, `edges`, `output`: the declarations of the doors; `weights`: more initialisers; `kind`: float or float16.
    """
    kind = changes.get("kind", "float")
    x = changes.get("x", "float[num_hits, 3] x")
    edges = changes.get("edges", "int64[2, num_edges] edge_index")
    output = changes.get("output", "float[num_edges, 1] output")
    zero = "0" if kind == "float16" else "0.0"  # halves are given by their bits
    column = "Unsqueeze (j, last)" if opset >= 13 else "Unsqueeze <axes = [1]> (j)"
    body = f"""
        i = Gather (edge_index, first)
        j = Gather (edge_index, second)
        hidden = MatMul (x, w0)
        h = Tanh (hidden)
        hi = Gather (h, i)
        hj = Gather (h, j)
        pair = Concat <axis = 1> (hi, hj)
        m = MatMul (pair, w1)
        shape = Shape (h)
        zeros = ConstantOfShape <value = {kind}[1] {{{zero}}}> (shape)
        rows = {column}
        messages = Shape (m)
        index = Expand (rows, messages)
        {aggregation}
        ai = Gather (a, i)
        aj = Gather (a, j)
        both = Concat <axis = 1> (ai, aj)
        y = MatMul (both, w2)
        {end}
    """
    weights = "int64 first = {0}, int64 second = {1}, int64[1] last = {-1}"
    held = f"{weights}, {changes['weights']}" if "weights" in changes else weights
    text = f'<ir_version: 8, opset_import: ["" : {opset}]> network ({x}, {edges}) => ({output}) <{held}> {{ {body} }}'
    model = parser.parse_model(text)
    rng, dtype = np.random.default_rng(7), np.float16 if kind == "float16" else np.float32
    for name, size in _WIDTHS.items():
        model.graph.initializer.append(numpy_helper.from_array(rng.normal(0.0, 0.5, size).astype(dtype), name))
    return model


def asked(target: str = "ort-cpu", **fields: object) -> Request:
    """Return a request for a target."""
    return Request(target_of(target), **fields)  # type: ignore[arg-type]


def true_logits(
    model: onnx.ModelProto, x: NDArray[np.float32], edges: NDArray[np.int64], mean: bool = False
) -> NDArray[np.float64]:
    """Return what `network` means, written out in numpy: float64 [E, 1], with the sum (or mean) of the messages of each hit."""
    w0, w1, w2 = (numpy_helper.to_array(item).astype(np.float64) for item in model.graph.initializer if item.name in _WIDTHS)
    h = np.tanh(x @ w0)
    m = np.concatenate([h[edges[0]], h[edges[1]]], axis=1) @ w1
    a = np.zeros_like(h)
    np.add.at(a, edges[1], m)
    if mean:
        a /= np.maximum(np.bincount(edges[1], minlength=len(x)), 1)[:, None]
    logits: NDArray[np.float64] = np.concatenate([a[edges[0]], a[edges[1]]], axis=1) @ w2
    return logits
