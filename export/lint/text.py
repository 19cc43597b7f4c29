"""Findings as a person reads them: by file, by rule, at any width of the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import RenderableType
from rich.padding import Padding
from rich.text import Text

from trkx.export.lint.apply import ORDER, printable
from trkx.export.lint.finding import Finding, Severity
from trkx.export.lint.run import Linted

STYLES: dict[Severity, str] = {"error": "bold red", "warning": "yellow", "note": "cyan"}
PLACES = 4
"""Places of one fault that are named; JSON and SARIF have all of them."""
_WORDS = {"onnx": "ONNX", "torchscript": "TorchScript", "aoti": "AOTInductor package"}


def report(files: Sequence[Linted]) -> Iterator[RenderableType]:
    """Yield what is printed: for each file its faults, each with its places and what to do; then the sum of it."""
    for file in files:
        head = Text(printable(file.file), "bold")
        if file.kind:
            head.append(f"  {_WORDS[file.kind]}{f' for {file.target}' if file.target else ''}", "not bold dim")
        head.append(*(("  skipped: " + file.skipped, "not bold dim") if file.skipped else _verdict(file)))
        yield head
        for group in _groups(file.findings):
            yield from _group(group)
    yield Text(summary(files), "bold red" if any(file.count("error") for file in files) else "bold green")


def summary(files: Sequence[Linted]) -> str:
    """Return one line: how many files, and how many findings of each severity."""
    looked = [file for file in files if not file.skipped]
    parts = [_number(len(looked), "file")]
    parts += [f"{len(files) - len(looked)} skipped"] if len(looked) < len(files) else []
    counts = {severity: sum(file.count(severity) for file in files) for severity in ORDER}
    found = ", ".join(_number(count, severity) for severity, count in counts.items() if count)
    return f"{', '.join(parts)}: {found or 'nothing found'}"


def _verdict(file: Linted) -> tuple[str, str]:
    return ("", "") if file.findings else ("  nothing found", "not bold green")


def _groups(findings: Sequence[Finding]) -> list[list[Finding]]:
    """Return findings of one rule, severity and fix together, in the order in which they come."""
    groups: dict[tuple[str, str, str], list[Finding]] = {}
    for finding in findings:
        groups.setdefault((finding.rule.id, finding.severity, finding.fix), []).append(finding)
    return list(groups.values())


def _group(group: list[Finding]) -> Iterator[RenderableType]:
    first = group[0]
    line = Text.assemble("  ", (f"{first.severity:<8}", STYLES[first.severity]), (first.rule.id, "bold"), " ", first.rule.name)
    if len(group) > 1:
        line.append(f", {len(group)} places", "dim")
    yield line
    yield Padding(Text(first.message), (0, 0, 0, 10))
    if len(group) > 1:
        named = [finding.where or finding.message for finding in group[1 : PLACES + 1]]
        more = f" and {len(group) - 1 - len(named)} more" if len(group) > len(named) + 1 else ""
        yield Padding(Text(f"also {', '.join(named)}{more}", "dim"), (0, 0, 0, 10))
    yield Padding(Text.assemble(("fix: ", "green"), first.fix), (0, 0, 0, 10))


def _number(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"
