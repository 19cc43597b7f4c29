"""Repairs an ONNX model: applies what can be proven, verifies the result, gives nothing if anything is left open."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

import onnx

from trkx.errors import ExportError
from trkx.export.loops import refuse_endless
from trkx.export.repair.change import Change, Refusal, Request
from trkx.export.repair.door_names import name_axes
from trkx.export.repair.editing import prune
from trkx.export.repair.linted import left_by_lint
from trkx.export.repair.table import REARRANGED, REWRITES
from trkx.export.repair.verify import verified
from trkx.export.repair.versions import raised
from trkx.export.validation.report import Row
from trkx.identity import PREFIX

REPAIRED_KEY = PREFIX + "repaired"
"""Key of the metadata property that lists what was changed."""


@dataclass(frozen=True)
class Repaired:
    """What came of a repair.

    Attributes:
        model: the repaired model; the model as it was if nothing had to be changed; None if it is refused.
        changes: what was rewritten, in order.
        refused: what was seen and could not be mended.
        rows: what was compared; a file with a failed one is refused.
    """

    model: onnx.ModelProto | None
    changes: tuple[Change, ...]
    refused: tuple[Refusal, ...]
    rows: tuple[Row, ...] = ()

    @property
    def problems(self) -> list[str]:
        """Say why the file is refused, an empty list if it is not."""
        failed = [f"{row.engine}, graph '{row.case}': {row.detail}" for row in self.rows if row.status == "failed"]
        return [str(item) for item in self.refused] + failed


def repaired(model: onnx.ModelProto, request: Request, only: Sequence[str] = ()) -> Repaired:
    """Return a model with what can be proven rewritten, and verified against the model as it was.

    Args:
        model: any ONNX model, ours or not; is not changed.
        request: target, path (external data lie beside it), what the user declares.
        only: names of graphs to verify on; all if empty.

    Raises:
        ExportError: the model can't be evaluated, so that nothing can be proven, or holds a loop without end.
    """
    now = onnx.ModelProto()
    now.CopyFrom(model)
    changes: list[Change] = []
    refused: list[Refusal] = []
    meant: list[tuple[str, str]] = []
    before = now
    for rewrites in (REARRANGED, REWRITES):
        for rewrite in rewrites:
            outcome = rewrite.apply(now, request)
            now = outcome.model
            changes += outcome.changes
            refused += outcome.refusals
            meant += outcome.meant
        if refused:
            return Repaired(None, tuple(changes), tuple(refused))
        if rewrites is REARRANGED:
            refuse_endless(now, str(request.path))  # those that stood in functions
            before = onnx.ModelProto()
            before.CopyFrom(now)
    if changes:
        name_axes(now, request)
        _finish(now, model, changes)
    else:
        now = model
    scores = any(change.rewrite == "unsquashed" for change in changes)
    try:
        rows = tuple(verified(before, now, request, meant, scores, only=only))
    except ExportError:
        refused = left_by_lint(now, request)  # why it can't be evaluated, in better words
        if not refused:
            raise
        return Repaired(None, tuple(changes), tuple(refused))
    refused = left_by_lint(now, request)
    wrong = refused or any(row.status == "failed" for row in rows)
    return Repaired(None if wrong else now, tuple(changes), tuple(refused), rows)


def _finish(model: onnx.ModelProto, original: onnx.ModelProto, changes: Sequence[Change]) -> None:
    """Remove what is no longer read, and note the changes in the metadata, which are kept."""
    prune(model.graph)
    del model.graph.value_info[:]
    raised(model)
    properties = {item.key: item.value for item in original.metadata_props}
    try:
        earlier = json.loads(properties.get(REPAIRED_KEY, "[]"))
    except ValueError:
        earlier = []
    listed = [*(earlier if isinstance(earlier, list) else []), *(change.to_dict() for change in changes)]
    properties[REPAIRED_KEY] = json.dumps(listed, ensure_ascii=False)
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, properties)
    try:
        onnx.checker.check_model(model, full_check=True)
    except Exception as error:  # the checker has its own error classes
        raise ExportError(f"the rewritten graph is not valid ONNX: {error}; export the network again.") from error
