"""`trkx doctor`: every backend, there or not, and how to get it."""

from __future__ import annotations

import json
import platform
import sys
from typing import Annotated

import typer

from trkx import __version__
from trkx.backends import BACKENDS, Availability, probe
from trkx.runtime.crew import available_cores


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
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False) if sys.stdout.isatty() else Console(highlight=False, width=140)
    console.print(Text(", ".join(f"{name} {value}" for name, value in machine.items())))
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for column in ("kind", "name", "", "what it does", "version, or why not and how to get it"):
        table.add_column(column, overflow="fold")
    for row in rows:
        state = Text("yes", "green") if row.available else Text("no", "yellow")
        about = row.backend.does + (f" ({row.backend.note})" if row.backend.note else "")
        last = row.version if row.available else f"{row.why_not}: {row.how}"
        table.add_row(row.backend.kind, row.backend.name, state, Text(about), Text(last))
    console.print(table)


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
