"""What `export-models` prints of a bundle that it wrote: a table of its files, and what stayed unchecked, what comes next."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trkx.export.build import ExportReport, FileReport


def print_report(report: ExportReport, contradictions: Sequence[str] = ()) -> None:
    """Print the table: file, size, opset, largest difference and what was allowed there (`bundle.json` names the graphs).

    Args:
        report: of the export.
        contradictions: notes of the source that a user has to see.
    """
    from trkx.export.validation.reasons import reasons_of_lines
    from trkx.export.validation.summary import once
    from trkx.tables import Column, FittedTable, Line, output_console, say

    columns = [Column(name) for name in ("file", "size", "opset", "largest difference", "tolerance")]
    lines = [
        Line((file.entry.path, _size(file.entry.bytes), str(file.entry.opset or ""), *_numbers(file))) for file in report.files
    ]
    console = output_console()
    console.print(FittedTable(columns, lines, f"{report.target}: compared with the float64 networks, all passed"))
    console.print()
    graphs = len({row.graph for row in report.rows if row.engine and ":" not in row.graph})
    say(console, f"{len(report.rows)} checks passed, on {graphs} graphs and more; bundle.json holds them all.")
    for file in report.files:
        if file.entry.format == "safetensors" and file.worst is not None and file.worst.tolerance > 0.0:
            say(console, f"{file.entry.path}: bitwise those of the checkpoints; the difference is that of the tiled engine.")
    names = [file.entry.path for file in report.files]
    half = {file.entry.path for file in report.files if file.entry.precision != "float32"}
    for line in once((row.detail for row in report.rows if row.file in half and row.detail), names):
        say(console, line)
    for warning in contradictions:
        say(console, warning, "yellow")
    for missing in reasons_of_lines(report.not_checked, names, ((row.file, row.engine) for row in report.rows)):
        say(console, str(missing), "yellow", "not checked: ")
    notes = [f"{file.entry.path}: {file.entry.note}" for file in report.files
             if file.entry.note.startswith("not ") or file.entry.path in half]
    for note in once(notes, names):
        say(console, note)
    if report.profiles:
        say(console, report.profiles)
    if report.commands:
        console.print()
        console.print("next:" if len(report.commands) == 1 else "next, one of:", style="bold")
    for line in report.commands:  # to be copied: whole lines
        console.print(line, highlight=False, soft_wrap=True)


def _numbers(file: FileReport) -> tuple[str, str]:
    """Return the last cells: largest difference and what was allowed there, or how else the file was judged."""
    worst = file.worst
    if worst is None:
        half = file.entry.format == "onnx" and file.entry.precision != "float32"
        return "", "not by numbers" if half else ""
    return ("0", "bitwise") if worst.tolerance == 0.0 else (f"{worst.difference:.1e}", f"{worst.tolerance:.1e}")


def _size(count: int) -> str:
    return f"{count / 1e6:.2f} MB" if count >= 1e5 else f"{count / 1e3:.1f} kB"
