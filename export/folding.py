"""Cleans up a freshly translated graph by exact steps only."""

from __future__ import annotations

import onnx_ir
from onnx_ir.passes import Sequential
from onnx_ir.passes import common as steps
from onnxscript.optimizer import fold_constants


def folded(model: onnx_ir.Model) -> onnx_ir.Model:
    """Return the model with functions inlined, constants folded and unused or repeated nodes removed; changed in place.

    This replaces `torch.onnx.export(optimize=True)`. That also applies onnxscript's rewrite rules, which find constants with
    a tolerance: up to onnxscript 0.7.2 `x + 1e-12` is taken for `x + 0` and becomes `x`, so that a guard against 0 / 0 is
    silently gone from the file (absolute tolerance 1e-8 in `onnxscript.rewriter`).
    """
    steps.InlinePass()(model)
    fold_constants(model)
    Sequential(
        steps.RemoveUnusedNodesPass(),
        steps.RemoveUnusedOpsetsPass(),
        steps.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0),
        steps.DeduplicateInitializersPass(),
        steps.CommonSubexpressionEliminationPass(),
        steps.NameFixPass(),
    )(model)
    return model
