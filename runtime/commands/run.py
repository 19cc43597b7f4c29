"""`trkx run`: hits to tracks."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from trkx.errors import SpecError, TrkxError

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from trkx.bundle import Bundle
    from trkx.runtime.events import EventSource
    from trkx.runtime.many.found import Found
    from trkx.runtime.many.output import Output
    from trkx.runtime.many.remote import Job

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
    device: Annotated[
        str | None,
        typer.Option("--device", help="Of an engine on a GPU: cuda, or cuda:1 of several; cuda:0,cuda:1 runs events on both. "
                     "If not given: the current one."),
    ] = None,
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
        int | None,
        typer.Option("--workers", min=1, help="Events at a time on this machine; if not given, 1, or one for each device."),
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
    from trkx import __version__
    from trkx.backends import require
    from trkx.bundle import Bundle
    from trkx.runtime.commands.run_report import go_on, print_report, told_to_stop
    from trkx.runtime.devices import chosen_devices
    from trkx.runtime.many.output import Output, require_same_run
    from trkx.runtime.many.remote import Job
    from trkx.runtime.many.threads import threads_of_worker

    if dask is not None and workers is not None:
        raise SpecError("--workers is for this machine and --dask for a cluster, whose workers Dask counts; give one of them.")
    devices = chosen_devices(engine, device)
    at_once = _at_once(workers, devices)
    if plot:
        require("plot", "matplotlib")  # before any event is run
    sources = _chosen_events(events, skip, limit)
    opened = Bundle.open(bundle)
    weights = opened.entry("all", "safetensors").sha256
    made = {"bundle": opened.spec.name, "weights": weights, "engine": engine, "precision": precision}
    made |= {"device": ",".join(devices) or "cpu", "trkx": __version__}
    require_same_run(out, made)
    each = threads_of_worker(at_once, threads) if dask is None else threads or 1
    job = Job(str(bundle), engine, neighbours, labelling, each, precision, devices)
    output = Output(out, format, made)
    with told_to_stop(lambda: go_on(len(output.rows), len(sources), skip, limit, out)), ExitStack() as stack:
        if dask is None:
            output.made["device"], where, stream = _here(job, sources, at_once)
        else:
            where, stream = _on_cluster(stack, dask, opened, job, sources)
        picture = _followed(stream, sources, output, plot)
    print_report(output, opened.spec, job, where, picture)


def _at_once(workers: int | None, devices: Sequence[str]) -> int:
    """Return how many events run at a time on this machine."""
    if workers is not None and workers < len(devices):
        raise SpecError(f"--workers {workers}: {len(devices)} devices need one each at least; give more, or leave --workers out.")
    return workers or max(1, len(devices))


def _chosen_events(events: Sequence[Path], skip: int, limit: int | None) -> Sequence[EventSource]:
    from trkx.runtime.events import open_events

    every = open_events(events)
    if skip >= len(every):
        raise SpecError(f"--skip {skip} leaves none of the {len(every)} event(s); give a smaller number.")
    return every[skip:][:limit]


def _here(job: Job, sources: Sequence[EventSource], workers: int) -> tuple[str, str, Generator[Found, None, None]]:
    """Return on which devices events run, and how, in words; and their tracks as they come."""
    from trkx.runtime.many.threads import track_in_threads

    pipelines = [job.open(job.bundle, device) for device in job.devices or (None,)]
    for pipeline in pipelines:
        pipeline.warm_up()  # kernels are compiled once a machine: not the first event's time
    device = ",".join(str(getattr(pipeline, "device", "cpu")) for pipeline in pipelines)
    each = f"{job.threads} thread{'' if job.threads == 1 else 's'}"
    where = f"{workers} workers with {each} each" if workers > 1 else each
    return device, f"{device}, {where}" if job.devices else where, track_in_threads(pipelines, sources, workers)


def _on_cluster(
    stack: ExitStack, address: str, bundle: Bundle, job: Job, sources: Sequence[EventSource]
) -> tuple[str, Generator[Found, None, None]]:
    """Return where events run, in words; and their tracks as they come, until the stack is closed."""
    from trkx.runtime.many.cluster import track_on_cluster
    from trkx.runtime.many.connect import connected

    client = stack.enter_context(connected(address))
    return f"Dask cluster {address}", track_on_cluster(client, bundle, job, sources)


def _followed(stream: Generator[Found, None, None], sources: Sequence[EventSource], output: Output, plot: bool) -> Path | None:
    """Write the tracks of events as they come, with a bar on stderr; return the picture of the first, if wanted.

    An error says at which event it stopped, and what is there; what is done is kept, whatever ends it.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from trkx.runtime.commands.run_report import kept
    from trkx.runtime.display import event_display
    from trkx.runtime.many.stopping import abandoned_when_told

    picture, at = None, 0
    found_text = TextColumn("{task.fields[tracks]} tracks")
    columns = (TextColumn("tracking"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), found_text)
    try:
        with abandoned_when_told(stream), Progress(*columns, console=Console(stderr=True)) as bar:
            task = bar.add_task("", total=len(sources), tracks=0)
            for found in stream:
                output.add(found)
                if plot and picture is None:
                    name = f"event{found.event.event_id:09d}.png"
                    picture = event_display(found.event, found.tracks, output.folder / name)
                at += 1
                bar.update(task, advance=1, tracks=sum(row.num_tracks for row in output.rows))
    except TrkxError as error:
        said = f"{error}\nStopped at event {sources[at].event_id}. {kept(output.rows, output.folder)}"
        raise type(error)(said) from error
    finally:
        output.finish()
    return picture
