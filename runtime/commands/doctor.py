"""`trkx doctor`: every backend, there or not, and how to get it."""

from __future__ import annotations

import json
import platform
from typing import TYPE_CHECKING, Annotated

import typer

from trkx import __version__
from trkx.backends import BACKENDS, NEEDS_GPU, Availability, Lack, probe
from trkx.runtime.crew import available_cores

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trkx.tables import FittedTable


def command(
    as_json: Annotated[bool, typer.Option("--json", help="Print the table as JSON.")] = False,
    load: Annotated[bool, typer.Option("--load", help="Import every package too: slower, finds broken installations.")] = False,
) -> None:
    """List every backend: available or not, version, why not, and how to get it."""
    rows = [probe(row, load) for row in BACKENDS]
    machine = {
        "trkx": __version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cores": available_cores(),
    }
    if as_json:
        typer.echo(json.dumps({"machine": machine, "backends": [_plain(row) for row in rows]}, indent=2))
        return
    from trkx.tables import output_console

    console = output_console()
    console.print(", ".join(f"{name} {value}" for name, value in machine.items()), "", sep="\n")
    common = _common(rows)
    console.print(_table(rows, common))
    for lack in common:
        head = "" if {*lack.common.split()} <= {*lack.why.split()} else f"{lack.common}: "
        console.print(f"\n{head}{_said(lack)}")


def _said(lack: Lack) -> str:
    """Return why, and what to do where something can be done here."""
    return lack.why if lack.how == NEEDS_GPU else f"{lack.why}: {lack.how}"


def _common(rows: Sequence[Availability]) -> list[Lack]:
    """Return what several rows lack alike: said once, below."""
    lacks = [lack for row in rows for lack in row.lacks if lack.common]
    return [lack for lack in dict.fromkeys(lacks) if lacks.count(lack) > 1]


def _table(rows: Sequence[Availability], common: Sequence[Lack]) -> FittedTable:
    """Return name, there or not, and below one another: version, or what is lacking and how to get it; what it does."""
    from rich.text import Text

    from trkx.tables import Column, FittedTable, Line

    lines = []
    for row in rows:
        backend = row.backend
        state = Text("yes", "green") if row.available else Text("no", "yellow")
        about = backend.does + (f" ({backend.note})" if backend.note else "")
        lacks = [lack.common if lack in common else _said(lack) for lack in row.lacks]
        found = row.version if row.available else "; ".join(lacks)
        lines.append(Line((backend.name, state, Text.assemble(found, "\n", (about, "dim"))), backend.kind))
    last = Column("version, or what it lacks; what it does", words=True)
    return FittedTable((Column("name"), Column("there", words=True), last), lines)


def _plain(row: Availability) -> dict[str, object]:
    backend = row.backend
    return {
        "kind": backend.kind,
        "name": backend.name,
        "available": row.available,
        "version": row.version,
        "does": backend.does,
        "note": backend.note,
        "why_not": row.why_not,
        "how": row.how,
    }
