"""Rewrite: local functions are replaced by their nodes, so that what they do can be seen."""

from __future__ import annotations

import onnx
import onnx.inliner

from trkx.export.lint.walking import listed
from trkx.export.repair.change import Change, Outcome, Refusal, Request


def inlined(model: onnx.ModelProto, request: Request) -> Outcome:
    """Inline every local function."""
    if not model.functions:
        return Outcome(model)
    names = [f"{item.domain}.{item.name}" for item in model.functions]
    try:
        plain = onnx.inliner.inline_local_functions(model, convert_version=True)
    except Exception as error:  # compiled code with its own error classes
        refusal = Refusal("inlined", "TRKX013", listed(names), f"can't be inlined: {error}", "Export without functions.")
        return Outcome(model, refusals=(refusal,))
    domains = {node.domain for node in plain.graph.node}
    kept = [item for item in plain.opset_import if item.domain in ("", "ai.onnx") or item.domain in domains]
    copies = [onnx.helper.make_opsetid(item.domain, item.version) for item in kept]
    del plain.opset_import[:]
    plain.opset_import.extend(copies)
    what = f"{len(names)} local function(s) replaced by their nodes"
    return Outcome(plain, (Change("inlined", "TRKX013", listed(names), what, "a function is its nodes"),))
