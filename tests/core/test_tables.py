"""Tables that fit where they are shown: nothing is cut, nothing is lost, and a pipe is as wide everywhere."""

from __future__ import annotations

import fcntl
import io
import os
import pty
import random
import re
import struct
import subprocess
import sys
import termios

import pytest
from rich.console import Console
from rich.text import Text

from trkx.tables import Column, FittedTable, Line, head_width, output_console, say, told, wrapped

WIDTHS = (50, 64, 80, 100, 133, 200)


def printed(table: FittedTable, width: int = 80) -> list[str]:
    console = Console(file=io.StringIO(), width=width, highlight=False, markup=False)
    console.print(table)
    return [line.rstrip() for line in console.file.getvalue().splitlines()]  # type: ignore[attr-defined]


def made_up(seed: int) -> FittedTable:
    """A table whose every cell and word is unique: numbers end in n, words in w."""
    draw = random.Random(seed)
    count = iter(range(1000, 10**6))
    columns = [Column("case"), *(Column(f"head{next(count)} of it{next(count)}", draw.random() < 0.2, draw.random() < 0.5)
                                 for _ in range(draw.randint(1, 12)))]
    lines = []
    for number in range(draw.randint(1, 9)):
        first = " ".join(f"{next(count)}f" for _ in range(draw.randint(1, 7)))
        cells = [
            " ".join(f"{next(count)}w" for _ in range(draw.randint(1, 9))) if column.words else f"{next(count) ** 2:,}n"
            for column in columns[1:]
        ]
        lines.append(Line([first, *cells], section="" if seed % 2 else f"section {number // 3}"))
    return FittedTable(columns, lines, "title", "a note")


@pytest.mark.parametrize("width", WIDTHS)
def test_nothing_is_lost_cut_or_too_wide(width: int) -> None:
    for seed in range(25):
        table = made_up(seed)
        lines = printed(table, width)
        text = "\n".join(lines)
        assert max(map(len, lines)) <= width and "…" not in text
        parts = table.parts(width)
        assert sorted(place for part in parts for place in part if place) == list(range(1, len(table.columns)))
        for line in table.lines:
            for cell, column in zip(line.cells[1:], table.columns[1:], strict=True):
                wanted = str(cell).split() if column.words else [str(cell)]
                assert all(len(re.findall(rf"(?<![\w,]){word}(?!\w)", text)) == 1 for word in wanted), (seed, cell)
            assert all(text.count(word) == len(parts) for word in str(line.cells[0]).split())
        for column in table.columns[1:]:
            assert all(text.count(word) >= 1 for word in column.name.split())


def test_one_part_where_there_is_room() -> None:
    table = FittedTable([Column("case"), Column("a long head"), Column("b")], [Line(["x", "1", "2"]), Line(["y", "3", "4"])])
    assert printed(table) == ["case  a long head  b", "x               1  2", "y               3  4"]
    assert table.parts(20) == [{0: 4, 1: 11, 2: 1}]
    assert table.parts(19) == [{0: 4, 1: 6, 2: 1}]  # "a long / head": a head may have several lines
    assert table.parts(9) == [{0: 4, 1: 4}, {0: 4, 2: 1}]


def test_words_are_wrapped_only_where_room_is_short() -> None:
    first = "a case with a name that is rather long"
    table = FittedTable([Column("case"), Column("one"), Column("there", words=True, starts=True)], [Line([first, "", "no"])])
    assert [line.split() for line in printed(table, 60)] == [["case", "one", "there"], [*first.split(), "no"]]
    assert len(table.parts(40)) == 1  # a short word takes no more room than it needs
    assert printed(FittedTable([Column("case"), Column("one")], [Line(["x", ""])])) == ["case  one", "x"]


def test_what_belongs_together_stays_together_if_it_can() -> None:
    columns = [Column("c"), Column("first"), Column("other", starts=True), Column("third"), Column("fourth")]
    table = FittedTable(columns, [Line(["x", *"1234"])])
    assert [list(part) for part in table.parts(23)] == [[0, 1], [0, 2, 3, 4]]  # the first would have had room for another
    assert [list(part) for part in table.parts(16)] == [[0, 1, 2], [0, 3, 4]]  # all three don't fit


def test_sections_and_lines_without_anything_to_say() -> None:
    columns = [Column("case"), Column("number"), Column("note", words=True, starts=True)]
    words = "nothing to be seen here at all, really"
    lines = [Line(["x", "1", ""], "one"), Line(["y", "2", ""], "two"), Line(["z", "3", words], "two")]
    assert printed(FittedTable(columns, lines, note="why"), 30) == [
        "case  number", "one", "  x        1", "two", "  y        2", "  z        3", "",
        "case  note", "two", "  z   nothing to be seen here", "      at all, really", "why",
    ]
    assert printed(FittedTable(columns, lines[:2]))[-1] == "  y        2"


def test_text_is_not_markup_and_styles_stay() -> None:
    table = FittedTable([Column("[bold]a"), Column("b", words=True)], [Line(["[red]x", Text("pip [extra]", "green")])])
    assert printed(table) == ["[bold]a  b", "[red]x   pip [extra]"]


@pytest.mark.parametrize(("name", "width"), [("", 0), ("median", 6), ("inside the band", 6), ("99.9 %", 6), ("% GEMM", 6),
                                             ("max |difference| from float64", 12), ("a b c d e f", 3)])
def test_heads_are_wrapped_at_words(name: str, width: int) -> None:
    assert head_width(name) == (4 if name == "% GEMM" else width)


def test_lines_are_wrapped_at_words_and_hang() -> None:
    assert wrapped("one two three\n    four five six", 14) == "one two three\n    four five\n      six"
    assert wrapped("", 10) == ""


def test_a_pipe_is_as_wide_everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    monkeypatch.setattr(os, "get_terminal_size", lambda *place: os.terminal_size((203, 50)))  # of stderr
    assert output_console().width == 80
    monkeypatch.setenv("COLUMNS", "120")
    assert output_console().width == 120


def test_doctor_on_a_terminal_of_80_columns() -> None:
    parent, child = pty.openpty()
    fcntl.ioctl(child, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    environment = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
    process = subprocess.Popen(
        [sys.executable, "-m", "trkx", "doctor"], stdin=child, stdout=child,
        env=environment | {"TERM": "xterm", "NO_COLOR": "1", "CUDA_VISIBLE_DEVICES": "-1"},
    )
    os.close(child)
    shown = b""
    while True:
        try:
            shown += (more := os.read(parent, 1 << 16))
        except OSError:  # the other end is closed
            more = b""
        if not more:
            break
    os.close(parent)
    assert process.wait(60) == 0
    lines = [line.rstrip() for line in re.sub(r"\x1b\[[0-9;]*m", "", shown.decode()).replace("\r", "").split("\n")]
    assert max(map(len, lines)) <= 80 and "…" not in shown.decode()
    assert sum("which hides all" in line for line in lines) == 1  # of more than ten rows
    assert sum(line.split()[:2] == ["onnxruntime-tensorrt", "no"] for line in lines) == 1  # in one piece


COPIED = 'pip uninstall onnxruntime, then pip install "trkx[gpu]"'
SAID = (
    "error: /a/folder/bundle: precision 'mixed' needs ONNX files that the bundle lacks: filter in bfloat16. Export it again: "
    "export-models --reference --out /a/folder/bundle --target tensorrt,acts --precision filter=bf16,gnn=bf16 --overwrite. "
    "Or say `trkx run /a/folder/bundle EVENTS --out tracks --engine tiled`, which needs no files; " + COPIED + "."
)


def terminal(width: int) -> Console:
    return Console(file=io.StringIO(), width=width, force_terminal=True, color_system=None, highlight=False, markup=False)


@pytest.mark.parametrize("width", [40, 80, 100])
def test_sentences_on_a_terminal_break_between_words_and_never_in_a_command(width: int) -> None:
    console = terminal(width)
    lines = told(console, SAID).split("\n")
    assert " ".join(line.strip() for line in lines) == SAID
    assert all(line.startswith("  ") for line in lines[1:])
    commands = [
        "export-models --reference --out /a/folder/bundle --target tensorrt,acts --precision filter=bf16,gnn=bf16 --overwrite",
        "trkx run /a/folder/bundle EVENTS --out tracks --engine tiled", 'pip install "trkx[gpu]"',
    ]
    assert all(sum(command in line for line in lines) == 1 for command in commands)
    assert all(len(line) <= width for line in lines if not any(command in line for command in commands))
    alone = "trkx run /a/folder/bundle EVENTS --out tracks --engine onnxruntime --precision filter=bf16,gnn=bf16"
    assert told(console, f"Say\n  {alone}") == f"Say\n  {alone}"
    assert told(console, "see " + "/long" * 40).split("\n") == ["see", "  " + "/long" * 40]  # a path is copied too


def test_a_pipe_gets_lines_as_they_are() -> None:
    console = Console(file=io.StringIO(), width=40)
    say(console, SAID, "red", "error: ")
    assert console.file.getvalue() == f"error: {SAID}\n"  # type: ignore[attr-defined]
    shown = terminal(40)
    say(shown, "word " * 30, "red", "error: ")
    lines = shown.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert lines[0].startswith("error: word word") and max(map(len, lines)) <= 40 and len(lines) > 3


@pytest.mark.parametrize("width", [50, 64, 80])
def test_a_name_is_whole_where_there_is_room_for_it_beside_one_column(width: int) -> None:
    name = "tensorrt/embedding-of-all.bf16.onnx"
    table = FittedTable([Column("file"), Column("size"), Column("largest difference")], [Line([name, "10.25 MB", "1.2e-05"])])
    assert any(line.split()[:1] == [name] for line in printed(table, width))
