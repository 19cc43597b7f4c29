"""Findings as SARIF 2.1.0 (OASIS), which code hosts show beside the files, and as plain JSON."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from trkx import __version__
from trkx.export.lint.explain import explanation
from trkx.export.lint.finding import Finding
from trkx.export.lint.run import Linted
from trkx.export.lint.table import RULES

SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
_RULE_NUMBER = {rule.id: number for number, rule in enumerate(RULES)}


def sarif(files: Sequence[Linted], root: Path) -> dict[str, Any]:
    """Return a SARIF log. root: folder that paths are shown relative to, usually the one of the repository.

    A model file has no lines; findings point to its first, because code hosts show nothing without one, and name the node or
    tensor as a logical location.
    """
    rules = [
        {
            "id": rule.id,
            "name": "".join(part.capitalize() for part in rule.name.split("-")),
            "shortDescription": {"text": rule.title},
            "fullDescription": {"text": rule.reason},
            "help": {"text": f"{rule.fix} Affected: {rule.affected}.", "markdown": explanation(rule)},
            "helpUri": rule.link,
            "defaultConfiguration": {"level": rule.severity},
            "properties": {"tags": ["correctness", *rule.kinds]},
        }
        for rule in RULES
    ]
    driver = {"name": "trkx lint", "version": __version__, "rules": rules}
    results = [_result(finding, root) for file in files for finding in file.findings]
    run = {"tool": {"driver": driver}, "columnKind": "unicodeCodePoints", "results": results}
    return {"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}


def plain(files: Sequence[Linted]) -> dict[str, Any]:
    """Return findings as plain containers for JSON."""
    return {
        "schema": 1,
        "trkx": __version__,
        "counts": {severity: sum(file.count(severity) for file in files) for severity in ("error", "warning", "note")},
        "files": [
            {
                "file": file.file,
                "kind": file.kind,
                "target": file.target,
                "skipped": file.skipped,
                "findings": [
                    {"rule": item.rule.id, "name": item.rule.name, "severity": item.severity, "message": item.message,
                     "where": item.where, "fix": item.fix, "link": item.rule.link}
                    for item in file.findings
                ],
            }
            for file in files
        ],
    }


def _result(finding: Finding, root: Path) -> dict[str, Any]:
    uri = _uri(Path(finding.file), root)
    location: dict[str, Any] = {"physicalLocation": {"artifactLocation": {"uri": uri}, "region": {"startLine": 1}}}
    if finding.where:
        location["logicalLocations"] = [{"fullyQualifiedName": finding.where, "kind": "element"}]
    same = "\0".join((finding.rule.id, uri, finding.where, finding.message)).encode("utf-8", "replace")
    return {
        "ruleId": finding.rule.id,
        "ruleIndex": _RULE_NUMBER[finding.rule.id],
        "level": finding.severity,
        "message": {"text": f"{finding.message}. {finding.fix}"},
        "locations": [location],
        "partialFingerprints": {"trkxFinding/v1": hashlib.sha256(same).hexdigest()},
    }


def _uri(path: Path, root: Path) -> str:
    """Return a path as a relative URI; of a file that is not below `root` the name only, so that no folder is told."""
    full, base = path.absolute(), root.absolute()
    relative = full.relative_to(base) if full.is_relative_to(base) else Path(path.name)
    return quote(relative.as_posix().encode("utf-8", "surrogateescape"))
