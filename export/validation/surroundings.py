"""What lies around the networks of a bundle: files as they were written, features as trained, what lint says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from trkx.bundle import Bundle
from trkx.export.door import check_features
from trkx.export.lint.run import Linted, lint
from trkx.export.validation.report import Row
from trkx.runtime.events.event import Event
from trkx.spec import PipelineSpec


def lint_rows(path: Path, target: str | None = None) -> list[Row]:
    """Return a row for each model file in a bundle (or for a file): failed for each error that lint finds in it.

    Args:
        path: a bundle or a model file.
        target: None for what each file is for.
    """
    return [row for linted in lint(path, target) for row in _rows(linted, path)]


def _rows(linted: Linted, path: Path) -> list[Row]:
    file = Path(linted.file)
    name = file.relative_to(path).as_posix() if path.is_dir() and file.is_relative_to(path) else file.name
    row = Row("lint", "all", name, "", linted.target or "no target", "passed")
    if linted.skipped:
        return [replace(row, status="not checked", detail=linted.skipped)]
    errors = [finding for finding in linted.findings if finding.severity == "error"]
    if errors:
        details = [f"{one.rule.id} {one.rule.name}: {one.message}{f' ({one.where})' if one.where else ''}" for one in errors]
        fixes = [one.fix for one in errors]
        return [replace(row, status="failed", detail=f"{what}. {fix}") for what, fix in zip(details, fixes, strict=True)]
    rest = ", ".join(dict.fromkeys(f"{one.rule.id} {one.rule.name}" for one in linted.findings))
    return [replace(row, detail=f"no error; {rest}" if rest else "nothing found")]


def integrity_rows(bundle: Bundle) -> list[Row]:
    """Return a row for each file of a bundle: it has the SHA-256 that `bundle.json` lists."""
    return [
        Row("weights", "all", path, "", "as it was written", "failed" if problem else "passed",
            detail=f"{problem}. Fetch the bundle again or export it again" if problem else "size and SHA-256 are those listed")
        for path, problem in bundle.problems().items()
    ]


def feature_rows(spec: PipelineSpec, events: Sequence[Event]) -> list[Row]:
    """Return a row for each feature of the first event: what the runtime feeds a network, against formulas written twice."""
    return [
        Row("weights", "all", row.file, "runtime", row.stage, "passed" if row.passed else "failed", row.difference,
            row.tolerance, row.problem)
        for event in events[:1] for row in check_features(spec, spec, event) if row.stage != "specification"
    ]
