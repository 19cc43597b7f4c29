"""`trkx run`: hits to tracks."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from trkx.errors import SpecError, TrkxError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Sequence

    from rich.table import Table

    from trkx.bundle import Bundle
    from trkx.runtime.events import EventSource
    from trkx.runtime.many.found import Found
    from trkx.runtime.many.output import Row

Format = Literal["parquet", "trackml", "acts"]


def command(
    bundle: Annotated[Path, typer.Argument(help="Bundle folder that trkx export wrote.")],
    events: Annotated[list[Path], typer.Argument(help="Events: folders or files (TrackML, ACTS, Parquet).")],
    out: Annotated[Path, typer.Option("--out", help="Folder for the tracks; made if it is not there.")],
    engine: Annotated[
        str,
        typer.Option("--engine", help="tiled, onnxruntime, torchscript, eager; on an NVIDIA GPU triton, torch-cuda, "
                     "torch-compile, onnxruntime-cuda, onnxruntime-tensorrt, tensorrt. trkx doctor says which are here."),
    ] = "tiled",
    precision: Annotated[
        str, typer.Option("--precision", help="fp32, tf32, bf16, fp16, mixed, or of each network: filter=bf16,gnn=bf16.")
    ] = "fp32",
    neighbours: Annotated[
        str | None,
        typer.Option("--neighbours", help="grid, kdtree, brute: same pairs, other speed; triton, with an engine on a GPU. If not "
                     "given: grid, or triton on a GPU."),
    ] = None,
    labelling: Annotated[
        str | None,
        typer.Option("--labelling", help="What finds connected components: union_find, scipy; triton, with an engine on a GPU; "
                     "same labels. If not given: union_find, or triton on a GPU."),
    ] = None,
    threads: Annotated[
        int | None,
        typer.Option("--threads", min=1, help="Threads of each event; if not given, the cores by the workers, or 1 with --dask."),
    ] = None,
    workers: Annotated[
        int | None, typer.Option("--workers", min=1, help="Events at a time on this machine; 1 if not given.")
    ] = None,
    dask: Annotated[
        str | None, typer.Option("--dask", help="Run on a Dask cluster: the scheduler's address, or its scheduler file.")
    ] = None,
    format: Annotated[
        Format, typer.Option("--format", help="parquet (one row a track), trackml (one submission.csv) or acts (prototracks).")
    ] = "parquet",
    plot: Annotated[bool, typer.Option("--plot", help="Draw an event display of the first event.")] = False,
    skip: Annotated[int, typer.Option("--skip", min=0, help="Leave out so many events at the beginning.")] = 0,
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="Stop after so many events.")] = None,
) -> None:
    """Turn the hits of events into tracks: writes tracks and stages.json, prints what each stage cost.

    Ctrl-C stops at once: tracks of finished events are kept, and the last line says how to go on.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from trkx import __version__
    from trkx.backends import require
    from trkx.bundle import Bundle
    from trkx.runtime.display import event_display
    from trkx.runtime.events import open_events
    from trkx.runtime.many.output import Output, require_same_run
    from trkx.runtime.many.stopping import abandoned_when_told

    if dask is not None and workers is not None:
        raise SpecError("--workers is for this machine and --dask for a cluster, whose workers Dask counts; give one of them.")
    if plot:
        require("plot", "matplotlib")  # before any event is run
    every = open_events(events)
    if skip >= len(every):
        raise SpecError(f"--skip {skip} leaves none of the {len(every)} event(s); give a smaller number.")
    sources = every[skip:][:limit]
    opened = Bundle.open(bundle)
    weights = opened.entry("all", "safetensors").sha256
    made = {"bundle": opened.spec.name, "weights": weights, "engine": engine, "precision": precision, "trkx": __version__}
    require_same_run(out, made)
    output, picture, at = Output(out, format, made), None, 0
    found_text = TextColumn("{task.fields[tracks]} tracks")
    columns = (TextColumn("tracking"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), found_text)
    with _told_to_stop(lambda: _go_on(len(output.rows), len(sources), skip, limit, out)), ExitStack() as stack:
        if dask is None:
            where, stream = _here(bundle, sources, engine, neighbours, labelling, threads, workers or 1, precision)
        else:
            where, stream = _on_cluster(
                stack, dask, opened, sources, engine, neighbours, labelling, threads or 1, precision
            )
        try:
            with abandoned_when_told(stream), Progress(*columns, console=Console(stderr=True)) as bar:
                task = bar.add_task("", total=len(sources), tracks=0)
                for found in stream:
                    output.add(found)
                    if plot and picture is None:
                        picture = event_display(found.event, found.tracks, out / f"event{found.event.event_id:09d}.png")
                    at += 1
                    bar.update(task, advance=1, tracks=sum(row.num_tracks for row in output.rows))
        except TrkxError as error:
            raise type(error)(f"{error}\nStopped at event {sources[at].event_id}. {_kept(output.rows, out)}") from error
        finally:
            output.finish()
    rows = output.rows
    console = Console(markup=False)
    console.print(stage_table(rows, f"{opened.spec.name}, {_means(engine, precision)}, {where}"))
    events_here = f"{len(rows)} event{'' if len(rows) == 1 else 's'}"
    console.print(f"{sum(row.num_tracks for row in rows)} tracks of {events_here} in {out}", soft_wrap=True, highlight=False)
    truncated = sum(row.truncated for row in rows)
    if truncated:
        k_max = opened.spec.needed_graph().k_max
        console.print(f"{truncated} hits had more than k_max = {k_max} neighbours and lost the farthest.")
    if picture:
        console.print(f"event display: {picture}", soft_wrap=True, highlight=False)


def _means(engine: str, precision: str) -> str:
    from trkx.runtime.precision import EXACT

    return engine if precision == EXACT else f"{engine} in {precision}"


def stage_table(runs: Sequence[Row], title: str) -> Table:
    """Return the table of stages: mean and standard deviation over events of time, memory and counts."""
    import numpy as np
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(title))
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


def _here(
    bundle: Path,
    sources: Sequence[EventSource],
    engine: str,
    neighbours: str | None,
    labelling: str | None,
    threads: int | None,
    workers: int,
    precision: str,
) -> tuple[str, Generator[Found, None, None]]:
    """Return where events run, in words, and their tracks as they come."""
    from trkx.runtime.many.threads import threads_of_worker, track_in_threads
    from trkx.runtime.pipeline import Pipeline

    threads = threads_of_worker(workers, threads)
    pipeline = Pipeline.open(bundle, engine, neighbours, labelling, threads, precision)
    pipeline.warm_up()  # kernels are compiled once a machine: not the first event's time
    each = f"{threads} thread{'' if threads == 1 else 's'}"
    return f"{workers} workers with {each} each" if workers > 1 else each, track_in_threads(pipeline, sources, workers)


def _on_cluster(
    stack: ExitStack,
    address: str,
    bundle: Bundle,
    sources: Sequence[EventSource],
    engine: str,
    neighbours: str | None,
    labelling: str | None,
    threads: int,
    precision: str,
) -> tuple[str, Generator[Found, None, None]]:
    from trkx.runtime.many.cluster import track_on_cluster
    from trkx.runtime.many.connect import connected
    from trkx.runtime.many.remote import Job

    client = stack.enter_context(connected(address))
    job = Job(str(bundle.path), engine, neighbours, labelling, threads, precision)
    return f"Dask cluster {address}", track_on_cluster(client, bundle, job, sources)


def _kept(done: Sequence[Row], out: Path) -> str:
    if not done:
        return "No tracks were written."
    names = ", ".join(str(run.event_id) for run in done[:5])
    return f"The tracks of {len(done)} event(s) before it ({names}{', …' if len(done) > 5 else ''}) are in {out}."


def _go_on(done: int, count: int, skip: int, limit: int | None, out: Path) -> str:
    """Return what is there of a run that was stopped, and how to have the rest."""
    if done == 0:
        return f"none of {count} events is done; run it again."
    if done == count:
        return f"all of {count} events are done, their tracks are in {out}."
    rest = "" if limit is None else f" --limit {limit - done}"
    again = f"For the others run it again with --skip {skip + done}{rest} and another --out."
    return f"{done} of {count} events are done, their tracks are in {out}. {again}"


@contextmanager
def _told_to_stop(say: Callable[[], str]) -> Iterator[None]:
    """End the process without waiting for events when it is interrupted (code 130) or terminated; `say` gives its last line."""
    from trkx.cli import report
    from trkx.runtime.many.stopping import STOPS, code_of, leave

    try:
        yield
    except STOPS as stop:
        code = code_of(stop)
        try:
            report("interrupted" if isinstance(stop, KeyboardInterrupt) else "terminated", say(), "yellow")
        finally:
            leave(code)
