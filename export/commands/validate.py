"""`trkx validate`: runs every file of a bundle, or one file, on every engine here, and says whether it is right."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from trkx.backends import require
from trkx.errors import InputError

if TYPE_CHECKING:
    from rich.console import Console

    from trkx.export.validation.report import Report


def command(
    source: Annotated[Path, typer.Argument(help="A bundle, or one .onnx or .pt file.")],
    events: Annotated[
        list[Path] | None, typer.Option(help="Events (folders or files, repeatable); the simulated one that ships otherwise.")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Use so many of the events.")] = None,
    reference: Annotated[
        Path | None, typer.Option(help="For one file: its TorchScript twin, which in float64 is the truth.")
    ] = None,
    target: Annotated[str | None, typer.Option(help="For one file: what it is meant for, e.g. ort-cpu.")] = None,
    stage: Annotated[str | None, typer.Option(help="For one file that does not say it: embedding, filter or gnn.")] = None,
    quick: Annotated[
        bool,
        typer.Option("--quick", help="What an export checks: no tracks, memory or optimisers. Files in half precision that no "
                     "engine here runs still take minutes a large event; --limit helps."),
    ] = False,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Folder for validation.json and validation.html.")] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the report as JSON to this file.")] = None,
    html_file: Annotated[Path | None, typer.Option("--html", help="Write the report as one HTML page to this file.")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but failures.")] = False,
) -> None:
    """Run every file on every engine here, against the float64 network, and say whether it is right.

    Prints a table; with --out (or --json, --html) writes the whole report. What can't be run here is listed as not checked,
    never as passed. Exit code 1 if a check failed, or if none could be made.
    """
    from trkx.manifest import MANIFEST_NAME

    bundle = (source / MANIFEST_NAME).is_file() or source.name == MANIFEST_NAME
    if not source.exists():
        raise InputError(f"{source}: there is nothing there; expected a bundle, or an .onnx or .pt file.")
    if bundle and (reference or target or stage):
        raise InputError(f"{source}: a bundle says what its files are; --reference, --target and --stage are for one file.")
    if not bundle and source.is_dir():
        raise InputError(f"{source}: expected a bundle (a folder with {MANIFEST_NAME}) or one file; name the file.")
    if not bundle and events:
        raise InputError(f"{source}: one file makes no tracks of events; --events is for a bundle.")
    require("export", "onnx")
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    from trkx.tables import output_console

    screen = Console(stderr=True, quiet=quiet)
    with Progress(TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), console=screen, transient=True) as bar:
        task = bar.add_task("loading torch", total=None)
        from trkx.export.validation.lone import validate_file
        from trkx.export.validation.validate import validate_bundle

        def tell(what: str) -> None:
            bar.update(task, description=what)
            if not screen.is_terminal:  # no bar there: a line for each step
                screen.print(what, highlight=False)

        level = "export" if quick else "full"
        if bundle:
            report = validate_bundle(source.parent if source.is_file() else source, events, level, tell, limit)
        else:
            report = validate_file(source, target, reference, stage, level, tell)
    _write(report, out, json_file, html_file, screen)
    _print(report, output_console(), quiet)
    if not report.passed:
        raise typer.Exit(1)


def _write(report: Report, out: Path | None, json_file: Path | None, html_file: Path | None, screen: Console) -> None:
    """Write what was asked for, each file whole or not at all."""
    from trkx.runtime.events.output import write_files

    files: dict[Path, bytes] = {}
    wanted_json = [path for path in (json_file, out and out / "validation.json") if path]
    wanted_html = [path for path in (html_file, out and out / "validation.html") if path]
    if wanted_json:
        text = json.dumps(report.to_dict(), indent=1, allow_nan=False) + "\n"
        files |= dict.fromkeys(wanted_json, text.encode())
    if wanted_html:
        from trkx.export.validation.html import html_report

        page = html_report(report).encode()
        files |= dict.fromkeys(wanted_html, page)
    if files:
        write_files(files)
    for path in files:
        screen.print(f"wrote {path}", highlight=False, soft_wrap=True)


def _print(report: Report, console: Console, quiet: bool) -> None:
    """Print every failure in full, then one line for each group, what was not checked and why, and the verdict."""
    from trkx.export.lint.apply import printable
    from trkx.export.validation.reasons import reasons
    from trkx.export.validation.report import GROUPS
    from trkx.export.validation.summary import SHORT, share, worst
    from trkx.tables import Column, FittedTable, Line, say

    for row in report.rows:
        if row.status == "failed":
            where = ", ".join(part for part in (row.file or row.stage, row.engine, row.case) if part)
            say(console, printable(f"{where}: {row.detail}"), "bold red", "failed: ")
    if not quiet:
        lines = []
        for group in GROUPS:
            rows = [row for row in report.rows if row.group == group]
            counts = [str(sum(row.status == status for row in rows)) for status in ("passed", "failed", "not checked")]
            nearest = worst(rows)
            where = ", ".join(part for part in (nearest.file, nearest.engine, nearest.case) if part) if nearest else ""
            if rows:
                cells = (SHORT[group], *counts, printable(where), share(nearest))
                lines.append(Line(cells, style="" if counts[1] == "0" else "red"))
        columns = [Column(name) for name in ("checks", "passed", "failed", "not checked")]
        columns += [Column("nearest to its tolerance", words=True, starts=True), Column("of it")]
        console.print(FittedTable(columns, lines, printable(report.title)))
        console.print()
        for reason in reasons(report.rows):
            say(console, printable(str(reason)), "yellow", "not checked: ")
    counted, subject = printable(report.verdict()), printable(report.subject)
    if report.passed:
        if not quiet:
            say(console, f"{subject}: {counted}", "bold green", "passed: ")
    elif report.counts()["failed"]:
        say(console, f"{subject}: {counted}", "bold red", "not right: ")
    else:
        say(console, f"{subject}: nothing could be checked ({counted})", "bold red", "not passed: ")
