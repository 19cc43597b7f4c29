"""Repair of the published ONNX network of 2021, wrong for years."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from support.scatter_models import asked

from trkx.export.repair.repair import repaired

FEW = ("path", "duplicate edges", "one edge")


def _run(model: onnx.ModelProto, *inputs: np.ndarray) -> np.ndarray:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, dict(zip([item.name for item in session.get_inputs()], inputs, strict=True)))[0]


def _column_table(path: Path) -> np.ndarray:
    with path.open(newline="") as file:
        rows = [[float(item) for item in row if item.strip()] for row in csv.reader(file)]
    return np.array([row for row in rows if row])


def test_published_network_is_mended(golden: Path) -> None:
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    folder = golden / "lrt"
    x = _column_table(folder / "in_e1000.csv").astype(np.float32)
    edges = _column_table(next(folder.glob("stage_outputs/applyfilter*.csv"))).astype(np.int64)
    wanted = _column_table(next(folder.glob("stage_outputs/gnn_output*.csv"))).ravel()
    edges = edges if len(edges) == 2 else edges.T.copy() if edges.shape[1] == 2 else edges.reshape(2, -1)
    assert (x.shape, edges.shape, wanted.shape) == ((314, 3), (2, 584), (584,))

    model = onnx.load(folder / "gnn.onnx")
    wrong = _run(model, x, edges).ravel()
    assert np.abs(wrong - wanted).max() > 10.0

    result = repaired(model, asked("ort-cpu"), only=FEW)
    assert result.model is not None, result.problems
    assert sum(change.rule == "TRKX001" for change in result.changes) == 16
    found = _run(result.model, x, edges).ravel()
    assert np.abs(found - wanted).max() < 1e-3
    kept, meant = (1.0 / (1.0 + np.exp(-logits.astype(np.float64))) > 0.75 for logits in (found, wanted))
    assert np.array_equal(kept, meant)
    source, target = edges[:, kept]
    count, labels = connected_components(coo_array((np.ones(len(source)), (source, target)), (314, 314)), directed=False)
    assert count == 37
    sizes = np.bincount(labels)
    assert (int((sizes >= 2).sum()), int((sizes >= 3).sum())) == (32, 29)
