"""Rules as text: for `--explain`, for the documentation, and for what code hosts show beside a finding."""

from __future__ import annotations

from trkx.export.lint.finding import Rule
from trkx.export.lint.table import RULES

_KINDS = {"onnx": "ONNX", "torchscript": "TorchScript", "aoti": "AOTInductor"}


def explanation(rule: Rule) -> str:
    """Return everything that is known of a rule, as Markdown."""
    kinds = ", ".join(_KINDS[kind] for kind in rule.kinds)
    return (
        f"### {rule.id} `{rule.name}`\n\n"
        f"**{rule.title[0].upper()}{rule.title[1:]}.** {kinds}; {rule.severity}.\n\n"
        f"{rule.reason}\n\n"
        f"- Affected: {rule.affected}.\n"
        f"- Fix: {rule.fix}\n"
        f"- More: <{rule.link}>\n"
    )


def catalogue() -> str:
    """Return all rules as Markdown: a table, then each of them. `docs/lint.md` ends with it."""
    rows = [f"| {rule.id} | `{rule.name}` | {', '.join(_KINDS[kind] for kind in rule.kinds)} | {rule.severity} | {rule.title} |"
            for rule in RULES]
    table = "\n".join(("| id | name | files | severity | fault |", "|---|---|---|---|---|", *rows))
    return f"{table}\n\n" + "\n".join(explanation(rule) for rule in RULES)
