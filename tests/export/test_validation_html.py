"""The page: everything on it is escaped, nothing is fetched, failures and what was not checked are where a reader looks."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import numpy as np
import pytest

from trkx.errors import MissingExtraError
from trkx.export.validation import html
from trkx.export.validation.html import html_report
from trkx.export.validation.plots import pictures
from trkx.export.validation.reasons import reasons
from trkx.export.validation.report import EdgeScores, Efficiency, Report, Row
from trkx.export.validation.summary import in_order, share, summary, used, worst

HOSTILE = "<script>alert(1)</script>' onerror='x' \"\u202e$\\frac$ _.onnx"


class Page(HTMLParser):
    """Reads a page: tags, attributes that load something, text of cells, and whether tags are closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.open: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def row(status: str = "passed", **changes: object) -> Row:
    values = {"group": "graphs", "stage": "gnn", "file": "gnn.onnx", "engine": "engine", "case": "star", "difference": 1e-6,
              "tolerance": 1e-5, "detail": "", **changes}
    return Row(status=status, **values)  # type: ignore[arg-type]


def scores(**changes: object) -> EdgeScores:
    rng = np.random.default_rng(0)
    exact = rng.normal(0.0, 3.0, 500)
    found = exact + rng.normal(0.0, 1e-5, 500)
    exact[0], found[0] = 0.405, 0.406  # logit(0.6) = 0.40547
    values = {"stage": "gnn", "file": "gnn.onnx", "engine": "engine", "event": "event 1", "cut": 0.6, "edges": 500, "flips": 1,
              "flips_outside": 0, "exact": exact.tolist(), "found": found.tolist(), "band": 1e-3, **changes}
    return EdgeScores(**values)  # type: ignore[arg-type]


EFFICIENCY = Efficiency("pT", "GeV", (0.9, 1.2, 2.0, 5.0), {
    "float64 networks": {"value": [0.9, float("nan"), 1.0], "low": [0.8, 0.0, 0.7], "high": [0.95, 1.0, 1.0]},
    "onnxruntime": {"value": [0.8, float("nan"), 1.0], "low": [0.7, 0.0, 0.7], "high": [0.9, 1.0, 1.0]},
})


def test_hostile_names_are_text() -> None:
    statuses = ("passed", "failed", "not checked")
    rows = [row(status, file=HOSTILE, engine=HOSTILE, case=HOSTILE, detail=HOSTILE) for status in statuses]
    report = Report(HOSTILE, HOSTILE, rows, [scores(file=HOSTILE, event=HOSTILE)], [EFFICIENCY], {HOSTILE: HOSTILE})
    text = html_report(report)
    page = Page(text)
    assert "script" not in page.tags
    assert "<script" not in text
    assert "\u202e" not in text
    assert not any(name.startswith("on") for _, name, _ in page.attributes)


def test_nothing_is_fetched() -> None:
    text = html_report(Report("Validation", "bundle", [row()], [scores()], [EFFICIENCY]))
    page = Page(text)
    loads = [(tag, name, value) for tag, name, value in page.attributes if name in ("src", "href", "srcset", "data", "action")]
    assert all(value.startswith(("data:image/png;base64,", "#")) for _, _, value in loads)
    assert not {"link", "script", "iframe", "object", "embed", "form"} & set(page.tags)
    assert not re.search(r"url\(|@import|https?:", text)


def test_pictures_have_words_and_tables_have_headers() -> None:
    rows = [row(group="decisions"), row(group="tracks")]
    page = Page(html_report(Report("Validation", "bundle", rows, [scores()], [EFFICIENCY])))
    alts = [value for tag, name, value in page.attributes if (tag, name) == ("img", "alt")]
    assert len(alts) == page.tags.count("img") == 3
    assert "1 of 500 edges flip, 0 outside the band" in alts[1]
    assert "onnxruntime differs by at most 10 % in any bin" in alts[2]
    assert page.tags.count("table") == page.tags.count("caption") == page.tags.count("thead")
    assert all(value == "col" for tag, name, value in page.attributes if (tag, name) == ("th", "scope"))
    assert ("html", "lang", "en") in page.attributes


def test_a_failure_comes_first_and_is_never_folded() -> None:
    rows = [row(case=f"graph {number}") for number in range(30)] + [row("failed", case="bad graph", detail="bad, differs")]
    text = html_report(Report("Validation", "bundle", rows))
    assert "Failed: 1 of 31 checks" in text
    assert "Passed" not in text
    assert text.index("What failed") < text.index("bad graph") < text.index("<details>") < text.index("graph 29")


def test_what_was_not_checked_is_said_at_the_top_and_is_not_passed() -> None:
    rows = [row(), *(row("not checked", engine="TensorRT", detail="not installed", case=name) for name in "abc")]
    text = html_report(Report("Validation", "bundle", rows))
    assert "1 passed, 0 failed, 3 not checked" in text
    assert "Not checked: 3" in text
    assert "TensorRT: not installed (3 checks: graphs)" in text


def test_raw_text_of_an_engine_is_not_on_the_page() -> None:
    raw = "gnn.bf16.onnx: ONNX can't load it: [ONNXRuntimeError] : 9 : NOT_IMPLEMENTED : no implementation for Gemm(13) node"
    about = {"file": "gnn.bf16.onnx", "case": "all graphs"}
    rows = [row("not checked", engine="ONNX", detail=raw, **about), row(engine="emulated bfloat16", **about)]
    text = html_report(Report("Validation", "bundle", rows))
    assert "Gemm" not in text and "NOT_IMPLEMENTED" not in text
    assert text.count("no engine here runs bf16 files: checked by structure and casts") == 2  # above, and in the group's table
    assert "Not checked: 1" in text


@pytest.mark.parametrize("rows", [[], [row("not checked")]])
def test_a_report_of_nothing_is_not_passed(rows: list[Row]) -> None:
    text = html_report(Report("Validation", "bundle", rows))
    assert "Not passed: nothing could be checked" in text
    assert "<strong>Passed" not in text


def test_without_matplotlib_the_page_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(report: Report) -> None:
        raise MissingExtraError("pictures need matplotlib")

    monkeypatch.setattr(html, "pictures", missing)
    assert "No pictures: pictures need matplotlib" in html_report(Report("Validation", "bundle", [row()], [scores()]))


def test_no_numbers_no_pictures() -> None:
    assert pictures(Report("Validation", "bundle", [row()])) == []


def test_the_worst_check_is_the_one_that_used_most_of_its_tolerance() -> None:
    rows = [row(difference=1e-6), row(difference=9e-6, case="near"), row(difference=None, tolerance=None)]
    nearest = worst(rows)
    assert nearest is not None
    assert (nearest.case, share(nearest)) == ("near", "90%")
    failed = row("failed", difference=2e-3, case="beyond")
    assert worst([*rows, failed]) is failed
    assert share(failed) == "200 times"
    assert share(row(difference=0.0, tolerance=0.0)) == "bitwise"
    assert share(row("failed", difference=float("nan"))) == "beyond"
    assert share(None) == ""
    assert used(row("failed", difference=1e-3, tolerance=0.0)) == float("inf")


def test_lines_of_files_without_results_come_last() -> None:
    missing = [row("not checked", engine="CUDA", file=name) for name in ("a.onnx", "b.onnx")]
    rows = [*missing, row(), row(), row("failed", engine="other")]
    assert [(line.engine, line.status, line.file) for line in summary(rows)] == [
        ("other", "failed", "gnn.onnx"), ("engine", "passed", "gnn.onnx"), ("CUDA", "not checked", "a.onnx, b.onnx"),
    ]
    assert [reason.count for reason in reasons(rows)] == [2]
    assert [one.status for one in in_order(rows)] == ["failed", "passed", "passed", "not checked", "not checked"]
