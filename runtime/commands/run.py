"""`trkx run`: hits to tracks."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from trkx.errors import TrkxError

if TYPE_CHECKING:
    from rich.table import Table

    from trkx.runtime.events import Event
    from trkx.runtime.tracks import Tracks

Format = Literal["parquet", "trackml", "acts"]


def command(
    bundle: Annotated[Path, typer.Argument(help="Bundle folder that trkx export wrote.")],
    events: Annotated[list[Path], typer.Argument(help="Events: folders or files (TrackML, ACTS, Parquet).")],
    out: Annotated[Path, typer.Option("--out", help="Folder for the tracks; made if it is not there.")],
    engine: Annotated[str, typer.Option("--engine", help="onnxruntime, torchscript or eager.")] = "onnxruntime",
    neighbours: Annotated[str, typer.Option("--neighbours", help="grid, kdtree or brute: same pairs, other speed.")] = "grid",
    labelling: Annotated[
        str, typer.Option("--labelling", help="What finds connected components: union_find or scipy; same labels.")
    ] = "union_find",
    threads: Annotated[int | None, typer.Option("--threads", min=1, help="Threads; one per core if not given.")] = None,
    format: Annotated[
        Format, typer.Option("--format", help="parquet (one row a track), trackml (one submission.csv) or acts (prototracks).")
    ] = "parquet",
    plot: Annotated[bool, typer.Option("--plot", help="Draw an event display of the first event.")] = False,
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="Stop after so many events.")] = None,
) -> None:
    """Turn the hits of events into tracks: writes tracks and stages.json, prints what each stage cost."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from trkx.runtime.display import event_display
    from trkx.runtime.events import open_events
    from trkx.runtime.pipeline import Pipeline

    sources = open_events(events)[:limit]
    pipeline = Pipeline.open(bundle, engine=engine, neighbours=neighbours, labelling=labelling, threads=threads)
    pipeline.warm_up()  # kernels are compiled once a machine: not the first event's time
    done: list[Tracks] = []
    picture: Path | None = None
    found = TextColumn("{task.fields[tracks]} tracks")
    columns = (TextColumn("tracking"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), found)
    try:
        with Progress(*columns, console=Console(stderr=True)) as bar:
            task = bar.add_task("", total=len(sources), tracks=0)
            for source in sources:
                event = source.read()
                tracks = pipeline.run(event)
                _write(out, event, tracks, format)
                done.append(tracks)
                if plot and picture is None:
                    picture = event_display(event, tracks, out / f"event{event.event_id:09d}.png")
                bar.update(task, advance=1, tracks=sum(one.num_tracks for one in done))
    except TrkxError as error:
        raise type(error)(f"{error}\nStopped at event {source.event_id}. {_kept(done, out)}") from error
    finally:
        if done:
            _finish(out, done, format)
    console = Console()
    console.print(stage_table(done, f"{pipeline.spec.name}, {engine}, {pipeline.threads} threads"))
    console.print(f"{sum(one.num_tracks for one in done)} tracks of {len(done)} events in {out}", soft_wrap=True, highlight=False)
    truncated = sum(one.truncated for one in done)
    if truncated:
        k_max = pipeline.spec.needed_graph().k_max
        console.print(f"{truncated} hits had more than k_max = {k_max} neighbours and lost the farthest.")
    if picture:
        console.print(f"event display: {picture}", soft_wrap=True, highlight=False)


def stage_table(runs: list[Tracks], title: str) -> Table:
    """Return the table of stages: mean and standard deviation over events of time, memory and counts."""
    import numpy as np
    from rich.table import Table

    table = Table(title=title)
    for name in ("stage", "time (ms)", "peak memory (MB)", "out"):
        table.add_column(name, justify="left" if name == "stage" else "right")

    def cell(values: list[float], digits: int = 0) -> str:
        return f"{np.mean(values):,.{digits}f} ± {np.std(values):,.{digits}f}" if len(values) > 1 else f"{values[0]:,.{digits}f}"

    for stages in zip(*(run.stages for run in runs), strict=True):
        table.add_row(
            stages[0].name,
            cell([1e3 * stage.seconds for stage in stages], 1),
            cell([stage.peak_bytes / 1e6 for stage in stages]),
            f"{cell([stage.count_out for stage in stages])} {stages[0].unit}",
        )
    total = [1e3 * sum(stage.seconds for stage in run.stages) for run in runs]
    peak = [max(stage.peak_bytes for stage in run.stages) / 1e6 for run in runs]
    table.add_section()
    table.add_row("all", cell(total, 1), cell(peak), "")
    return table


def _write(out: Path, event: Event, tracks: Tracks, format: Format) -> None:
    from trkx.runtime.events import write_prototracks, write_tracks_parquet

    if format == "parquet":
        write_tracks_parquet(out, tracks)
    elif format == "acts":
        write_prototracks(out, event, tracks)


def _finish(out: Path, done: list[Tracks], format: Format) -> None:
    """Write what belongs to all events: the stages, and the submission."""
    import dataclasses
    import json

    from trkx.runtime.events import write_trackml_submission
    from trkx.runtime.events.output import write_files

    stages = {str(run.event_id): [dataclasses.asdict(stage) for stage in run.stages] for run in done}
    write_files({out / "stages.json": (json.dumps(stages, indent=1) + "\n").encode()})
    if format == "trackml":
        write_trackml_submission(out / "submission.csv", done)


def _kept(done: list[Tracks], out: Path) -> str:
    if not done:
        return "No tracks were written."
    names = ", ".join(str(run.event_id) for run in done[:5])
    return f"The tracks of {len(done)} event(s) before it ({names}{', …' if len(done) > 5 else ''}) are in {out}."
