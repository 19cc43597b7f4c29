"""A validation as one HTML page that needs nothing else: no script, no link to fetch, readable on paper."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from html import escape

from trkx.errors import MissingExtraError
from trkx.export.lint.apply import printable
from trkx.export.validation.plots import Picture, pictures
from trkx.export.validation.reasons import not_run, reasons, row_in_words
from trkx.export.validation.report import GROUPS, Report, Row
from trkx.export.validation.summary import SHORT, in_order, share, summary

FOLD = 3
"""A section with more rows than that for each line of its summary is folded below it; what failed is never."""
MARKS = {"passed": "\u2713 passed", "failed": "\u2717 failed", "not checked": "\u2013 not checked"}
CLASSES = {"passed": "ok", "failed": "bad", "not checked": "open"}

STYLE = """
:root { --ok: #1b6b3a; --bad: #a4161a; --open: #7a5c00; --line: #d9d9d6; --soft: #f5f5f2; }
* { box-sizing: border-box; }
body { font: 15px/1.5 system-ui, "Segoe UI", "DejaVu Sans", Arial, sans-serif; color: #1c1c1c; background: #fff; margin: 0 auto;
  max-width: 1240px; padding: 1.5rem 1.25rem 4rem; }
h1 { font-size: 1.55rem; margin: 0 0 .2rem; overflow-wrap: anywhere; }
h2 { font-size: 1.2rem; margin: 2.4rem 0 .5rem; padding-top: .6rem; border-top: 1px solid var(--line); }
h3 { font-size: 1rem; margin: 1.2rem 0 .4rem; }
p { margin: .4rem 0; }
.verdict { border-left: 6px solid; padding: .7rem 1rem; margin: 1rem 0; background: var(--soft); }
.verdict strong { font-size: 1.25rem; }
.verdict.ok { border-color: var(--ok); } .verdict.bad { border-color: var(--bad); }
.box { border: 1px solid #d8c37a; background: #fffaea; padding: .6rem 1rem; margin: 1rem 0; }
.box ul { margin: .3rem 0; padding-left: 1.2rem; }
.counts { color: #444; }
table { border-collapse: collapse; width: 100%; margin: .5rem 0 1rem; font-size: .87rem; }
caption { text-align: left; color: #555; padding-bottom: .25rem; }
th, td { text-align: left; vertical-align: top; padding: .28rem .55rem; border-bottom: 1px solid var(--line); }
td { overflow-wrap: break-word; } td.detail { min-width: 16rem; overflow-wrap: anywhere; }
td.engine { white-space: nowrap; } td.case { min-width: 8rem; }
th { background: var(--soft); white-space: nowrap; }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
td.status { white-space: nowrap; font-weight: 600; }
td.ok { color: var(--ok); } td.bad { color: var(--bad); } tr.open td.open, p.open { color: var(--open); }
tr.bad td { background: #fdf0f0; } tr.open td { color: #6b6b6b; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .15rem 1rem; font-size: .9rem; margin: .5rem 0; }
dt { color: #555; } dd { margin: 0; overflow-wrap: anywhere; }
figure { margin: 1rem 0; break-inside: avoid; } figure img { max-width: 100%; height: auto; }
figcaption { font-size: .87rem; color: #444; max-width: 60rem; }
details { margin: .4rem 0; } summary { cursor: pointer; color: #1f4e9e; }
nav a { margin-right: 1rem; color: #1f4e9e; }
@media print { body { max-width: none; font-size: 10.5pt; padding: 0; } nav { display: none; } h2 { break-after: avoid; }
  tr { break-inside: avoid; } summary { color: inherit; } }
"""


def html_report(report: Report) -> str:
    """Return the page. Everything that comes from files (names, messages) is escaped; nothing in it is executed or fetched."""
    try:
        shown, without = pictures(report), ""
    except MissingExtraError as error:
        shown, without = [], f"<p class='open'>No pictures: {_text(str(error))}</p>"
    groups = [group for group in GROUPS if any(row.group == group for row in report.rows)]
    links = "".join(f"<a href='#{group}'>{_text(SHORT[group])}</a>" for group in groups)
    unrun = not_run((row.file, row.engine) for row in report.rows)
    body = [
        f"<h1>{_text(report.title)}</h1>", f"<p class='counts'>{_text(report.subject)}</p>", _verdict(report),
        _failures(report), _not_checked(report), without, _facts(report), f"<nav aria-label='Sections'>{links}</nav>",
        *(_section(group, [row for row in report.rows if row.group == group], shown, unrun) for group in groups),
    ]
    content = "\n".join(part for part in body if part)
    return (
        "<!DOCTYPE html>\n<html lang='en'>\n<head>\n<meta charset='utf-8'>\n"
        "<meta name='viewport' content='width=device-width, initial-scale=1'>\n"
        f"<title>{_text(report.title)}: {'passed' if report.passed else 'not passed'}</title>\n"
        f"<style>{STYLE}</style>\n</head>\n<body>\n<main>\n{content}\n</main>\n</body>\n</html>\n"
    )


def _text(text: str) -> str:
    """Return text from anywhere as text of the page: no tags, no attribute's end, nothing that turns the writing around."""
    return escape(printable(text))


def _verdict(report: Report) -> str:
    counts = report.counts()
    if report.passed:
        words = "Passed"
    elif counts["failed"]:
        words = f"Failed: {counts['failed']} of {counts['failed'] + counts['passed']} checks"
    else:
        words = "Not passed: nothing could be checked"
    numbers = _text(report.verdict())
    return f"<div class='verdict {'ok' if report.passed else 'bad'}' role='status'><strong>{words}</strong><br>{numbers}</div>"


def _failures(report: Report) -> str:
    failed = [row for row in report.rows if row.status == "failed"]
    return f"<h2 id='failed'>What failed</h2>{_table(failed, 'Every check that failed')}" if failed else ""


def _not_checked(report: Report) -> str:
    """List what was not checked, once for each engine and reason."""
    found = reasons(report.rows)
    if not found:
        return "<p>Everything that was asked for was checked.</p>"
    items = "".join(f"<li>{_text(str(reason))}</li>" for reason in found)
    title = f"<strong>Not checked: {sum(reason.count for reason in found)}</strong> (these count as nothing, not as passed)"
    return f"<div class='box'>{title}<ul>{items}</ul></div>"


def _facts(report: Report) -> str:
    rows = "".join(f"<dt>{_text(name)}</dt><dd>{_text(value)}</dd>" for name, value in report.facts.items())
    return f"<h2>Made with</h2><dl>{rows}</dl>" if rows else ""


def _section(group: str, rows: Sequence[Row], shown: Sequence[Picture], unrun: Collection[str]) -> str:
    counts = Counter(row.status for row in rows)
    numbers = ", ".join(f"{number} {status}" for status, number in counts.items())
    figures = "".join(
        f"<figure><img src='{picture.uri}' alt='{_text(picture.alt)}'>"
        f"<figcaption>{_text(picture.caption)}</figcaption></figure>"
        for picture in shown if picture.group == group
    )
    done = [row for row in in_order(rows) if row.status != "not checked"]
    missing = [row for row in rows if row.status == "not checked"]
    table = _table(done, f"{len(done)} checks") if done else ""
    if len(rows) > FOLD * len(summary(rows)):
        table = _summary(rows) + _folded(f"All {len(done)} checks", table)
    if missing:
        words = [row_in_words(row, unrun) for row in missing]
        table += _folded(f"{len(missing)} not checked", _table(words, "Not checked"))
    return f"<section><h2 id='{group}'>{_text(GROUPS[group])}</h2><p class='counts'>{numbers}</p>{figures}{table}</section>"


def _folded(title: str, content: str) -> str:
    return f"<details><summary>{title}</summary>{content}</details>" if content else ""


def _summary(rows: Sequence[Row]) -> str:
    lines = [
        f"<tr class='{CLASSES[line.status]}'><td class='status {CLASSES[line.status]}'>{MARKS[line.status]}</td>"
        f"<td>{_text(line.file)}</td><td class='engine'>{_text(line.engine)}</td><td class='number'>{line.passed or ''}</td>"
        f"<td class='number'>{line.failed or ''}</td><td class='number'>{line.not_checked or ''}</td>"
        f"<td>{_text(line.worst.case) if line.worst else ''}</td><td class='number'>{share(line.worst)}</td></tr>"
        for line in summary(rows)
    ]
    names = ("status", "file", "engine", "passed", "failed", "not checked", "nearest to its tolerance", "of it")
    return _framed(names, lines, "By file and engine", numbers=(3, 4, 5, 7))


def _table(rows: Sequence[Row], caption: str) -> str:
    """Return all rows; columns for engines and for numbers only where there are any."""
    numbers, engines = any(row.difference is not None for row in rows), any(row.engine for row in rows)
    lines = []
    for row in rows:
        engine = f"<td class='engine'>{_text(row.engine)}</td>" if engines else ""
        cells = f"<td class='number'>{_number(row.difference)}</td><td class='number'>{_number(row.tolerance)}</td>"
        lines.append(
            f"<tr class='{CLASSES[row.status]}'><td class='status {CLASSES[row.status]}'>{MARKS[row.status]}</td>"
            f"<td>{_text(row.file or row.stage)}</td>{engine}<td class='case'>{_text(row.case)}</td>"
            f"{cells if numbers else ''}<td class='detail'>{_text(row.detail)}</td></tr>"
        )
    names = ["status", "file", *(["engine"] if engines else []), "case"]
    places = (len(names), len(names) + 1) if numbers else ()
    names += [*(["difference", "tolerance"] if numbers else []), "what was seen"]
    return _framed(names, lines, caption, places)


def _framed(names: Sequence[str], lines: Sequence[str], caption: str, numbers: Sequence[int]) -> str:
    cells = (f"<th scope='col'{' class=number' if i in numbers else ''}>{_text(name)}</th>" for i, name in enumerate(names))
    head, body = "".join(cells), "".join(lines)
    return f"<table><caption>{_text(caption)}</caption><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"
