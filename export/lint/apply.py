"""Applies rules to an opened file; a rule that fails on it is a finding too, never silence."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from itertools import islice
from pathlib import Path

from trkx.export.lint.finding import Finding, Rule, Severity, Subject
from trkx.export.lint.table import RULES

MOST_REMARKS = 1000
"""Remarks of one rule about one file; a hostile file has no end of them."""
ORDER: tuple[Severity, ...] = ("error", "warning", "note")


def findings_of(subject: Subject, rules: Sequence[Rule] = RULES, ignore: Collection[str] = ()) -> list[Finding]:
    """Return what rules say of an opened file, errors first. ignore: ids of rules to leave out."""
    chosen = [rule for rule in rules if subject.kind in rule.kinds and rule.id not in ignore]
    found = [finding for rule in chosen for finding in _apply(rule, subject)]
    return sorted(found, key=lambda finding: ORDER.index(finding.severity))


def finding(rule: Rule, path: Path, message: str, where: str = "", severity: Severity | None = None, fix: str = "") -> Finding:
    """Return a finding about a file, with nothing in its text that a terminal would obey."""
    text = (printable(item) for item in (message, where, fix or rule.fix))
    return Finding(rule, str(path), next(text), next(text), severity or rule.severity, next(text))


def _apply(rule: Rule, subject: Subject) -> Iterator[Finding]:
    path = subject.path
    try:
        for count, remark in enumerate(islice(rule.check(subject), MOST_REMARKS + 1)):
            if count == MOST_REMARKS:
                yield finding(rule, path, f"and more: the first {MOST_REMARKS} are listed")
            else:
                yield finding(rule, path, remark.message, remark.where, remark.severity, remark.fix)
    except Exception as error:  # whatever a file does to a rule, lint does not pass it by
        problem = f"the rule failed on this file ({type(error).__name__}: {error}), so it is not known to be free of this fault"
        fix = f"Please report it to trkx, with the file. --ignore {rule.id} leaves the rule out."
        yield finding(rule, path, problem, severity="error", fix=fix)


def printable(text: str) -> str:
    """Return text of a file with nothing in it that a terminal would obey. Brackets stay: it is printed without markup."""
    return "".join(character if character.isprintable() else ascii(character)[1:-1] for character in text)
