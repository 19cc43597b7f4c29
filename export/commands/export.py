"""`trkx export`, `export-models`: checkpoints to one verified bundle."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from trkx.backends import require
from trkx.errors import SpecError

if TYPE_CHECKING:
    from trkx.export.build import ExportReport


def command(
    source: Annotated[Path | None, typer.Argument(help="Pipeline folder with pipeline.toml and its checkpoints.")] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="Bundle folder to write.")] = Path("bundle"),
    embedding: Annotated[Path | None, typer.Option(help="Checkpoint of the embedding (.safetensors).")] = None,
    filter_: Annotated[Path | None, typer.Option("--filter", help="Checkpoint of the edge filter.")] = None,
    gnn: Annotated[Path | None, typer.Option(help="Checkpoint of the graph network.")] = None,
    spec: Annotated[Path | None, typer.Option(help="Specification (TOML or JSON) for checkpoints given one by one.")] = None,
    event: Annotated[Path | None, typer.Option(help="Event to check the files with; a simulated one otherwise.")] = None,
    target: Annotated[
        list[str] | None,
        typer.Option("--target", "-t", help="Write files for this target too (repeatable): acts-onnx, tensorrt, aoti, …"),
    ] = None,
    lowering: Annotated[
        str | None, typer.Option(help="How ONNX sums over edges: buckets, scatter, prefix64 or doubling.")
    ] = None,
    reference: Annotated[bool, typer.Option("--reference", help="Export the reference pipeline that ships with trkx.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a bundle that is there.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")] = False,
) -> None:
    """Turn checkpoints into one verified bundle.

    Writes each network as ONNX and as TorchScript, with weights, bundle.json and model card. Every file is compared with
    the float64 network on an event and on graphs made to find faults; if one differs, nothing is written and the exit code is 1.
    """
    choices = {"SOURCE": source is not None, "--spec": spec is not None, "--reference": reference}
    given = [name for name, chosen in choices.items() if chosen]
    if not given or (reference and len(given) > 1):
        found = " and ".join(given) if given else "nothing"
        raise SpecError(
            f"give a pipeline folder, or --spec FILE with --embedding/--filter/--gnn FILE, or --reference alone; found {found}."
        )
    require("export", "onnx")
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    console = Console(stderr=True, quiet=quiet)
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed}/{task.total}"), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("loading torch", total=1)
        from trkx.export.build import export_models, steps_of
        from trkx.export.pipeline_folder import open_source
        from trkx.export.sample import check_event, reference_folder

        place = reference_folder() if reference else (source or spec or Path())
        pipeline = open_source(place, spec, {"embedding": embedding, "filter": filter_, "gnn": gnn})

        def tell(what: str, done: int, total: int) -> None:
            bar.update(task, description=what, completed=done, total=total)
            if not console.is_terminal:  # no bar there: a line for each step
                console.print(f"{done + 1}/{total} {what}", highlight=False)

        report = export_models(pipeline, out, check_event(pipeline.spec, event), overwrite, target or (), lowering, tell)
        bar.update(task, completed=steps_of(target or ()), total=steps_of(target or ()))
    if not quiet:
        _print(report)


def _print(report: ExportReport) -> None:
    """Print the table: file, size, opset, largest difference and what was allowed there (`bundle.json` names the graphs)."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"{report.target}: compared with the float64 networks")
    for name in ("file", "size", "opset", "largest difference", "tolerance", ""):
        table.add_column(name, justify="left" if name in ("file", "") else "right", no_wrap=name in ("file", "size", ""))
    for file in report.files:
        entry, worst = file.entry, file.worst
        numbers = ("", "") if worst is None else (f"{worst.difference:.1e}", f"{worst.tolerance:.1e}")
        if worst is not None and worst.tolerance == 0.0:
            numbers = ("0", "bitwise")
        table.add_row(entry.path, _size(entry.bytes), str(entry.opset or ""), *numbers, "" if worst is None else "passed")
    console = Console()
    console.print(table)
    graphs = len({row.graph for row in report.rows if row.engine and ":" not in row.graph})
    console.print(f"{len(report.rows)} checks passed, on {graphs} graphs and more; bundle.json holds them all.", highlight=False)
    for missing in report.not_checked:
        console.print(f"not checked: {missing}", style="yellow", highlight=False)
    for file in report.files:
        if file.entry.note.startswith("not "):
            console.print(f"{file.entry.path}: {file.entry.note}", highlight=False, soft_wrap=True)


def _size(count: int) -> str:
    return f"{count / 1e6:.2f} MB" if count >= 1e5 else f"{count / 1e3:.1f} kB"
