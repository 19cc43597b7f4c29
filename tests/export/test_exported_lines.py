"""What an export prints: lines that differ in a file's name stand there once, and nothing passes by numbers that has none."""

from __future__ import annotations

from pathlib import Path

import pytest

from trkx.bundle import FileEntry
from trkx.export.build import ExportReport, _file_report
from trkx.export.check import CheckRow
from trkx.export.commands.exported import print_report
from trkx.export.validation.summary import once

FILES = ["gnn.fp16.onnx", "tensorrt/gnn.fp16.onnx", "filter.onnx", "gnn.onnx"]


def test_lines_that_differ_in_the_file_alone_stand_there_once() -> None:
    lines = [
        "CUDA: no GPU", "CPU: gnn.fp16.onnx: too wide", "CPU: tensorrt/gnn.fp16.onnx: too wide", "CPU: filter.onnx: too wide",
        "Emulated: gnn.fp16.onnx: too wide", "CPU: gnn.fp16.onnx: another", "CUDA: no GPU", "CPU: gnn.fp16.onnx: too wide",
    ]
    assert once(lines, FILES) == [
        "CUDA: no GPU", "CPU: gnn.fp16.onnx, tensorrt/gnn.fp16.onnx, filter.onnx: too wide",
        "Emulated: gnn.fp16.onnx: too wide", "CPU: gnn.fp16.onnx: another",
    ]


def _entry(path: str, precision: str) -> FileEntry:
    return FileEntry(path, "gnn", "onnx", "0" * 64, 10, precision, 21)


@pytest.mark.parametrize(
    ("precision", "differences", "shown"),
    [
        ("bfloat16", [(0.0, 0.0)], "not by numbers"),  # a graph without edges: nothing is no proof
        ("bfloat16", [(0.0, 0.0), (0.01, 0.2)], "1.0e-02"),
        ("bfloat16", [], "not by numbers"),
        ("float32", [(0.0, 0.0)], "bitwise"),
    ],
)
def test_a_file_of_which_no_numbers_were_compared(
    precision: str, differences: list[tuple[float, float]], shown: str, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    rows = [CheckRow("gnn.bf16.onnx", "gnn", "structure", float("nan"), 0.0, True)]
    rows += [CheckRow("gnn.bf16.onnx", "gnn", "event", found, allowed, True) for found, allowed in differences]
    file = _file_report(_entry("gnn.bf16.onnx", precision), rows)
    print_report(ExportReport(Path("bundle"), (file,), tuple(rows), ("CPU: gnn.bf16.onnx: " + "long " * 60,)))
    text = capsys.readouterr().out
    assert shown in text
    assert ("bitwise" in text) == (shown == "bitwise")
    missing = next(line for line in text.splitlines() if line.startswith("not checked: CPU: gnn.bf16.onnx: long "))
    assert missing.count("long") == 60  # whole lines, for whoever searches them
