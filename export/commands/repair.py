"""`trkx repair`: rewrites what is provably wrong in an ONNX file, and verifies the result."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from trkx.backends import require

if TYPE_CHECKING:
    from rich.console import Console

    from trkx.export.repair.repair import Repaired


def command(
    file: Annotated[Path, typer.Argument(help="The ONNX file, ours or not.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The file to write.")],
    target: Annotated[str, typer.Option(help="Where it shall run: ort-cpu, tensorrt, acts-onnx, …")] = "ort-cpu",
    sums: Annotated[
        list[str] | None, typer.Option("--sum", help="A scatter that is meant as a sum where that can't be proven; repeatable.")
    ] = None,
    stage: Annotated[str, typer.Option(help="For a file that does not say it: embedding, filter or gnn.")] = "",
    keep_names: Annotated[bool, typer.Option("--keep-names", help="Leave names at the doors as they are.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a file that is there.")] = False,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write changes and checks as JSON; - for stdout.")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but what is refused.")] = False,
) -> None:
    """Rewrite what is provably wrong in an ONNX file, and verify it.

    Says each change and its proof. The original, evaluated in float64 as it was meant, is compared with the repaired file on
    ONNX Runtime on graphs made to find faults, and lint must have no error left. If anything can't be proven or differs,
    nothing is written and the exit code is 1. A file that needs no change is copied.
    """
    require("export", "onnx")
    from rich.console import Console

    from trkx.export.lint.apply import printable
    from trkx.export.repair.change import Request
    from trkx.export.repair.files import repair_file
    from trkx.export.targets import target_of
    from trkx.runtime.events.output import write_files

    to_stdout = json_file is not None and str(json_file) == "-"
    console = Console(quiet=quiet or to_stdout, highlight=False, soft_wrap=True)
    request = Request(target_of(target), file, frozenset(sums or ()), keep_names, stage)
    result = repair_file(request, out, overwrite)
    if json_file is not None:
        text = json.dumps(_plain(result, file, target, out), indent=2, ensure_ascii=False) + "\n"
        if to_stdout:
            typer.echo(text, nl=False)
        else:
            write_files({json_file: text.encode()})
    if result.model is None:
        screen = Console(stderr=True, highlight=False, soft_wrap=True)
        for problem in result.problems:
            screen.print(printable(f"refused: {problem}"), markup=False)
        screen.print(f"error: {file}: nothing was written.", markup=False)
        raise typer.Exit(1)
    _print(console, result)
    passed = sum(row.status == "passed" for row in result.rows)
    done = f"{len(result.changes)} changes" if result.changes else "nothing to repair, copied as it is"
    console.print(f"{out}: {done}; {passed} comparisons passed.", markup=False)


def _print(console: Console, result: Repaired) -> None:
    """Print each change once, with the places where it was made, then what was not checked."""
    from trkx.export.lint.apply import printable

    places: dict[tuple[str, str, str], list[str]] = {}
    for change in result.changes:
        places.setdefault((change.rule, change.what, change.why), []).append(change.where)
    for (rule, what, why), where in places.items():
        listed = where[0] if len(where) == 1 else f"{len(where)} places, {where[0]} first"
        console.print(printable(f"{rule}  {listed}: {what}"), markup=False)
        console.print(f"         {why}", markup=False, style="dim")
    for row in result.rows:
        if row.difference is not None and row.tolerance is None:  # a result, though nothing was compared that could fail
            console.print(printable(f"{row.case}: {row.detail}"), markup=False)
        elif row.status == "not checked":
            console.print(printable(f"not checked: {row.engine}, {row.case}: {row.detail}"), markup=False)


def _plain(result: Repaired, file: Path, target: str, out: Path) -> dict[str, object]:
    return {
        "file": str(file),
        "target": target,
        "out": str(out) if result.model is not None else None,
        "changes": [change.to_dict() for change in result.changes],
        "refused": [asdict(refusal) for refusal in result.refused],
        "checks": [asdict(row) for row in result.rows],
    }
