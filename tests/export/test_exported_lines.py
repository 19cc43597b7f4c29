"""What an export prints: lines that differ in a file's name stand there once, and nothing passes by numbers that has none."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.tiny import tiny_spec

from trkx.bundle import FileEntry
from trkx.export.build import ExportReport, _file_report
from trkx.export.check import CheckRow
from trkx.export.commands.exported import print_report
from trkx.export.next_steps import commands, profiles_in_words
from trkx.export.validation.summary import once
from trkx.runtime.cuda.tensorrt.profiles import Extent, Measured, Profiles, StageProfile
from trkx.spec import CutSpec

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
    missing = next(line for line in text.splitlines() if line.startswith("not checked: CPU: long "))
    assert missing.count("long") == 60  # whole lines, for whoever searches them


def test_what_comes_next_ends_the_text_as_commands_in_one_piece(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    extent = Extent(16, 1024, 4096)
    profiles = Profiles((StageProfile("embedding", extent), StageProfile("gnn", extent, Extent(16, 100, 9216))), 1.5,
                        (Measured("event 7", 2730, 9000, 6000),))
    ready = commands(Path("a bundle"), tiny_spec(), ("tensorrt",), ("mixed", "fp16"))
    print_report(ExportReport(Path("a bundle"), (), (), (), profiles_in_words(profiles), ready))
    lines = capsys.readouterr().out.splitlines()
    assert lines[-len(ready):] == list(ready)
    told = next(line for line in lines if line.startswith("TensorRT's profiles"))
    assert "from event 7 (2,730 hits) times 1.5" in told
    assert "embedding up to 4,096 hits; gnn up to 4,096 hits and 9,216 edges." in told


@pytest.mark.parametrize(
    ("targets", "words", "options"),
    [
        ((), (), [""]),
        (("acts-onnx", "triton"), (), [""]),
        (("tensorrt",), (), ["", " --engine tensorrt"]),
        ((), ("mixed",), ["", " --engine tiled --precision mixed"]),
        ((), ("fp16", "fp16"), ["", " --engine onnxruntime --precision fp16"]),
        (("ort-cuda", "tensorrt"), ("filter=bf16, gnn=fp16",),
         ["", *(f" --engine {name} --precision 'filter=bf16, gnn=fp16'" for name in ("tiled", "onnxruntime-cuda", "tensorrt"))]),
    ],
)
def test_the_commands_run_what_was_written(targets: tuple[str, ...], words: tuple[str, ...], options: list[str]) -> None:
    found = commands(Path("a/bundle"), tiny_spec(), targets, words)
    assert list(found) == [f"trkx run a/bundle EVENTS --out tracks{option}" for option in options]
    lone = tiny_spec(embedding=None, graph=None, filter=None, labelling=None, cuts=CutSpec(gnn=0.4))
    assert commands(Path("a/bundle"), lone, targets, words) == ("trkx inspect a/bundle",)
