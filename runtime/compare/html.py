"""A comparison as one HTML page that needs nothing else: no script, nothing to fetch, readable on paper."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from html import escape

from trkx.runtime.compare.advised import Told, recommendation
from trkx.runtime.compare.report import Comparison
from trkx.runtime.compare.sheets import Sheet, sheets
from trkx.shown import visible

NO_TRUTH = "No event has truth with a table of particles: efficiencies and fake rates are left out."
STYLE = """
:root { --line: #d9d9d6; --soft: #f5f5f2; }
* { box-sizing: border-box; }
body { font: 15px/1.5 system-ui, "Segoe UI", "DejaVu Sans", Arial, sans-serif; color: #1c1c1c; background: #fff; margin: 0 auto;
  max-width: 1280px; padding: 1.5rem 1.25rem 4rem; }
h1 { font-size: 1.55rem; margin: 0 0 .2rem; overflow-wrap: anywhere; }
h2 { font-size: 1.2rem; margin: 2.2rem 0 .5rem; padding-top: .6rem; border-top: 1px solid var(--line); }
.soft { color: #444; } .wide { overflow-x: auto; }
.advice { border-left: 6px solid #1f4e9e; background: var(--soft); padding: .7rem 1rem; margin: 1rem 0; }
.advice p { margin: .25rem 0; overflow-wrap: anywhere; } .advice .network { margin-top: .7rem; }
.advice h3 { font-size: 1rem; margin: 1rem 0 .2rem; } .advice .why { padding-left: 1.5rem; font-size: .9rem; color: #444; }
.advice .label { margin-top: .9rem; font-weight: 600; }
.advice pre { margin: .2rem 0; padding: .4rem .6rem; background: #fff; border: 1px solid var(--line); white-space: pre-wrap;
  overflow-wrap: anywhere; }
.box { border: 1px solid #d8c37a; background: #fffaea; padding: .6rem 1rem; margin: 1rem 0; overflow-wrap: anywhere; }
table { border-collapse: collapse; width: 100%; margin: .5rem 0 .3rem; font-size: .85rem; }
th, td { text-align: left; vertical-align: bottom; padding: .28rem .5rem; border-bottom: 1px solid var(--line); }
th { background: var(--soft); }
.number { text-align: right; font-variant-numeric: tabular-nums; } td.number { white-space: nowrap; }
.note { font-size: .85rem; color: #555; margin: .2rem 0 1rem; max-width: 70rem; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .15rem 1rem; font-size: .9rem; } dt { color: #555; }
dd { margin: 0; overflow-wrap: anywhere; }
figure { margin: 1rem 0; break-inside: avoid; } figure img { max-width: 100%; height: auto; }
figcaption { font-size: .87rem; color: #444; max-width: 60rem; }
@media print { figure img { max-height: 8.5cm; } @page { size: A4 landscape; margin: 1.2cm; }
  body { max-width: none; font-size: 9.5pt; padding: 0; }
  h2 { break-after: avoid; } tr { break-inside: avoid; } table { font-size: 7.5pt; } .wide { overflow: visible; } }
"""


def html_page(comparison: Comparison, pictures: Mapping[str, tuple[bytes, str]], without: str = "") -> str:
    """Return the page. Everything that comes from files is escaped; nothing in it is executed or fetched.

    pictures: name to PNG and caption. without: why there are none.
    """
    found = comparison.found
    title = f"{comparison.title}: {', '.join(comparison.runs)}"
    several = "" if found.events == 1 else "s"
    subject = (f"{found.events} event{several}, {found.hits:,} hits, engine {', '.join(comparison.engines)}; compared with "
               f"{comparison.first}")
    advice = "\n".join(map(_told, recommendation(comparison)))
    given_up = "".join(f"<p>{_text(name)} was given up: {_text(why)}</p>" for name, why in comparison.failed.items())
    figures = "".join(
        f"<figure><img src='data:image/png;base64,{b64encode(data).decode('ascii')}' alt='{_text(caption)}'>"
        f"<figcaption>{_text(caption)}</figcaption></figure>"
        for data, caption in pictures.values()
    )
    notes = [] if found.with_truth else [NO_TRUTH]
    notes += [f"No pictures: {without}"] if without else []
    body = [
        f"<h1>{_text(title)}</h1>", f"<p class='soft'>{_text(subject)}</p>",
        f"<div class='advice'>{advice}</div>", f"<p class='soft'>{_text(comparison.rule_in_words)}</p>",
        f"<div class='box'>{given_up}</div>" if given_up else "", *(f"<p class='soft'>{_text(note)}</p>" for note in notes),
        *(_sheet(sheet) for sheet in sheets(comparison)), f"<h2>Pictures</h2>{figures}" if figures else "", _facts(comparison),
    ]
    content = "\n".join(part for part in body if part)
    return (
        "<!DOCTYPE html>\n<html lang='en'>\n<head>\n<meta charset='utf-8'>\n"
        "<meta name='viewport' content='width=device-width, initial-scale=1'>\n"
        f"<title>{_text(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n{content}\n</main>\n</body>\n</html>\n"
    )


def _text(text: str) -> str:
    return "\n".join(escape(visible(line, 1000)) for line in text.split("\n"))


def _told(line: Told) -> str:
    text = _text(line.text)
    if line.kind == "command":
        return f"<pre>{text}</pre>"
    if line.kind == "engine":
        return f"<h3>{text}</h3>"
    if line.kind == "network":
        return f"<p class='network'><b>{text}</b></p>"
    return f"<p class='{line.kind}'>{text}</p>"


def _sheet(sheet: Sheet) -> str:
    def cell(kind: str, place: int, text: str) -> str:
        number = " class='number'" if place >= sheet.words else ""
        scope = " scope='col'" if kind == "th" else ""
        return f"<{kind}{scope}{number}>{_text(text)}</{kind}>"

    head = "".join(cell("th", place, name) for place, name in enumerate(sheet.head))
    rows = "".join("<tr>" + "".join(cell("td", place, text) for place, text in enumerate(row)) + "</tr>" for row in sheet.rows)
    note = f"<p class='note'>{_text(sheet.note)}</p>" if sheet.note else ""
    table = f"<div class='wide'><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>"
    return f"<section><h2>{_text(sheet.title)}</h2>{table}{note}</section>"


def _facts(comparison: Comparison) -> str:
    def words(value: object) -> str:
        return ", ".join(f"{name} {item}" for name, item in value.items()) if isinstance(value, Mapping) else str(value)

    rows = "".join(f"<dt>{_text(name)}</dt><dd>{_text(words(value))}</dd>" for name, value in comparison.facts.items())
    return f"<h2>Made with</h2><dl>{rows}</dl>" if rows else ""
