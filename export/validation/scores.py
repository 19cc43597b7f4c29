"""Whether a classifier gives scores where logits are wanted, told by its numbers alone: no file says what they mean."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from trkx.errors import ExportError
from trkx.export.check import Expectation
from trkx.export.validation.model_file import ModelFile
from trkx.export.validation.oracle import Oracle
from trkx.export.validation.report import Row

CASE = "logits, not scores"
FAR = 100.0
"""By how much features are enlarged in a second look: logits of a network then leave 0 to 1, its scores do not."""
ENOUGH = 100
"""Outputs that are needed to say anything."""


def score_rows(file: ModelFile, oracle: Oracle, zoo: Sequence[Expectation]) -> list[Row]:
    """Return a row that failed if all outputs of a classifier lie between 0 and 1, also far from where it was trained.

    Lint knows sigmoids by their operators; this knows them by what they do, however they are written. The outputs are those of
    the file's own graph (or code) in float64, so there is nothing to say where something else is known to be right.
    """
    if file.stage == "embedding" or oracle.independent:
        return []
    row = Row("graphs", file.stage, file.path, "", CASE, "passed")
    outputs = np.concatenate([item.output.reshape(-1) for item in zoo])
    if outputs.size < ENOUGH or float(np.ptp(outputs)) == 0.0:
        return [replace(row, status="not checked", detail=f"{outputs.size} outputs, or all the same, tell nothing")]
    if not _scores(outputs):
        return [row]
    case = max((item.case for item in zoo), key=lambda item: item.edge_index.shape[1])
    try:
        far = np.concatenate([
            oracle.expect(replace(case, x=(case.x * factor).astype(np.float32)), 1).output.reshape(-1) for factor in (FAR, -FAR)
        ])
    except ExportError as error:
        return [replace(row, status="not checked", detail=str(error))]
    if not _scores(far[np.isfinite(far)]):
        return [row]
    detail = (f"all {outputs.size + far.size} outputs lie between 0 and 1, also for features {FAR:.0f} times as large: scores, "
              "expected logits; export the network without its last sigmoid")
    return [replace(row, status="failed", detail=detail)]


def _scores(outputs: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> bool:
    return bool(((outputs >= 0.0) & (outputs <= 1.0)).all())
