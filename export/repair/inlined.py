"""Rewrite: local functions are replaced by their nodes, so that what they do can be seen."""

from __future__ import annotations

import onnx

from trkx.errors import ExportError
from trkx.export.functions import without_functions
from trkx.export.lint.walking import listed
from trkx.export.repair.change import Change, Outcome, Refusal, Request


def inlined(model: onnx.ModelProto, request: Request) -> Outcome:
    """Inline every local function."""
    if not model.functions:
        return Outcome(model)
    names = [f"{item.domain}.{item.name}" for item in model.functions]
    try:
        plain = without_functions(model)
    except ExportError as error:
        refusal = Refusal("inlined", "TRKX013", listed(names), str(error).rstrip("."), "Export without functions.")
        return Outcome(model, refusals=(refusal,))
    what = f"{len(names)} local function(s) replaced by their nodes"
    return Outcome(plain, (Change("inlined", "TRKX013", listed(names), what, "a function is its nodes"),))
