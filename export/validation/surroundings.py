"""What lies around the networks of a bundle: files as they were written, features as trained, what lint says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from trkx.bundle import Bundle
from trkx.export.door import check_features
from trkx.export.lint.finding import Finding
from trkx.export.lint.run import Linted, lint
from trkx.export.validation.report import Row
from trkx.runtime.events.event import Event
from trkx.spec import PipelineSpec


def lint_rows(path: Path, target: str | None = None) -> list[Row]:
    """Return a row for each model file in a bundle (or for a file): failed, once for each rule that finds an error in it.

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
    errors: dict[str, list[Finding]] = {}
    for finding in linted.findings:
        if finding.severity == "error":
            errors.setdefault(f"{finding.rule.id} {finding.rule.name}", []).append(finding)
    if errors:
        return [replace(row, status="failed", detail=_words(rule, found)) for rule, found in errors.items()]
    rest = ", ".join(dict.fromkeys(f"{one.rule.id} {one.rule.name}" for one in linted.findings))
    return [replace(row, detail=f"no error; {rest}" if rest else "nothing found")]


def _words(rule: str, found: Sequence[Finding]) -> str:
    """Return the findings of one rule in one sentence: how many, the first, and what to do."""
    first = found[0]
    places = f" in {len(found)} places, the first" if len(found) > 1 else ""
    where = f" ({first.where})" if first.where and first.where not in first.message else ""
    return f"{rule}{places}: {first.message.rstrip('.')}{where}. {first.fix}"


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
