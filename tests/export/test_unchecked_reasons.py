"""What was not checked: one entry for a reason, in words, with engines and files; every check is counted once."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from support.tiny import TinyExport
from typer.testing import CliRunner

from trkx import cli
from trkx.bundle import Bundle, write_manifest
from trkx.export.validation.reasons import Reason, reasons, reasons_of_lines
from trkx.export.validation.report import Row

FILES = ["filter.bf16.onnx", "tensorrt/filter.bf16.onnx", "gnn.bf16.onnx", "gnn.onnx"]
CPU = "ONNX Runtime CPU, 1 thread"
RAW = "[ONNXRuntimeError] : 9 : NOT_IMPLEMENTED : Could not find an implementation for Gemm(13)"
WIDE = "bfloat16 may move the outputs too much to see faults by them"
LINES = [
    "TensorRT: the package tensorrt is not installed.",
    *(line for file in FILES[:3] for line in (
        f"emulated bfloat16: {file}: {WIDE}", f"onnx reference evaluator: {file}: {WIDE}",
        f"{CPU}: {file}: {CPU} can't load it: {RAW} node with name 'node_{file}'",
    )),
]


def test_lines_of_an_export_become_one_entry_for_a_reason() -> None:
    three = "(3 files: filter.bf16.onnx, tensorrt/filter.bf16.onnx, gnn.bf16.onnx)"
    assert [str(reason) for reason in reasons_of_lines(LINES, FILES, ())] == [
        "TensorRT: the package tensorrt is not installed",
        f"emulated bfloat16, onnx reference evaluator: {WIDE} {three}",
        f"no engine here runs bf16 files: checked by structure and casts {three}",
    ]


def test_engines_that_say_the_same_of_other_files_stay_apart() -> None:
    lines = ["A: gnn.onnx: wide", "B: gnn.onnx: wide", "C: gnn.bf16.onnx: wide", "A: filter.bf16.onnx: wide"]
    assert [str(reason) for reason in reasons_of_lines(lines, FILES, ())] == [
        "A: wide (2 files: gnn.onnx, filter.bf16.onnx)", "B: wide (1 file: gnn.onnx)", "C: wide (1 file: gnn.bf16.onnx)",
    ]


def test_where_another_engine_ran_a_file_no_more_is_said_than_that_this_one_did_not() -> None:
    line = f"{CPU}: gnn.bf16.onnx: {CPU} can't load it: {RAW}"
    assert [str(reason) for reason in reasons_of_lines([line], FILES, [("gnn.bf16.onnx", "ONNX Runtime CUDA")])] == [
        f"{CPU}: runs no bf16 files (1 file: gnn.bf16.onnx)"
    ]
    assert "no engine here" in str(reasons_of_lines([line], FILES, [("gnn.bf16.onnx", "emulated bfloat16")])[0])


def _row(file: str, detail: str, engine: str = CPU, group: str = "graphs") -> Row:
    return Row(group, "gnn", file, engine, "all graphs", "not checked", detail=detail)


def test_rows_of_a_report_are_counted_once_each() -> None:
    rows = [
        *(_row(file, f"{file}: {CPU} can't load it: {RAW}") for file in FILES[:3]),
        *(Row("graphs", "gnn", file, "emulated bfloat16", "star", "passed") for file in FILES[:3]),
        *(_row(file, "no GPU.", "CUDA", group) for file in FILES for group in ("graphs", "decisions")),
        _row("gnn.onnx", "ONNX Runtime can't load the file: [ONNXRuntimeError] : 10 : INVALID_GRAPH : bad", "ONNX Runtime"),
    ]
    found = reasons(rows)
    assert found[1] == Reason(("CUDA",), "no GPU", (), ("Graphs", "Decisions"), 8)  # of all files: they are not listed
    assert str(found[0]) == ("no engine here runs bf16 files: checked by structure and casts (3 checks: graphs; 3 files: "
                             "filter.bf16.onnx, tensorrt/filter.bf16.onnx, gnn.bf16.onnx)")
    assert str(found[2]) == "ONNX Runtime: can't load the file: invalid graph: bad (1 check: graphs; 1 file: gnn.onnx)"
    assert sum(reason.count for reason in found) == sum(row.status == "not checked" for row in rows)


def test_a_file_on_its_own_is_not_said_to_have_its_casts_checked() -> None:
    twin = "a file on its own has no float32 twin, which shows that nothing but casts was added; validate its bundle"
    rows = [_row("gnn.bf16.onnx", twin, ""), _row("gnn.bf16.onnx", f"gnn.bf16.onnx: {RAW}"),
            Row("graphs", "gnn", "gnn.bf16.onnx", "emulated bfloat16", "star", "passed")]
    assert [reason.why for reason in reasons(rows)] == [twin, "no engine here runs bf16 files: checked by structure"]


@pytest.mark.parametrize("width", [80, 110])
def test_inspect_lists_them_in_words_and_fits(
    width: int, tiny_export: TinyExport, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = Bundle.open(tiny_export.folder).manifest
    target = shutil.copytree(tiny_export.folder, tmp_path / "bundle")
    lines = [*(line.replace("bf16.", "") for line in LINES[:3]), f"{CPU}: gnn.onnx: {CPU} can't load it: {RAW}"]
    write_manifest(target, replace(manifest, validation={**manifest.validation, "not_checked": lines}))
    monkeypatch.setenv("COLUMNS", str(width))
    result = CliRunner().invoke(cli.app, ["inspect", str(target)])
    assert result.exit_code == 0, result.output
    said = [line for line in result.stdout.splitlines() if line.startswith("not checked: ")]
    assert said == [
        "not checked: TensorRT: the package tensorrt is not installed",
        f"not checked: emulated bfloat16, onnx reference evaluator: {WIDE} (1 file: filter.onnx)",
        f"not checked: {CPU}: can't load it: not implemented: Could not find an implementation for Gemm(13) (1 file: gnn.onnx)",
    ]
    assert "['" not in result.stdout.split("Validation")[1]
    assert max(len(line) for line in result.stdout.splitlines() if line not in said) <= max(width, len(str(target)) + 20)
    whole = CliRunner().invoke(cli.app, ["inspect", str(target), "--json"])
    assert json.loads(whole.stdout)["validation"]["not_checked"] == lines
