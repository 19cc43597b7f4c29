"""`trkx evaluate`: tracks against the truth."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from trkx.errors import MissingExtraError, SpecError, TrkxWarning

if TYPE_CHECKING:
    from collections.abc import Callable

    from trkx.runtime.events.event import Event
    from trkx.runtime.metrics.report import FoundTracks, Report


def command(
    source: Annotated[Path, typer.Argument(help="A bundle, or tracks that trkx run wrote (a folder or a file).")],
    events: Annotated[list[Path], typer.Argument(help="Events with truth: folders or files.")],
    out: Annotated[Path | None, typer.Option(help="Folder for evaluation.json and pictures of the efficiency.")] = None,
    plot: Annotated[bool, typer.Option(help="Make pictures (with --out).")] = True,
    limit: Annotated[int | None, typer.Option(min=1, help="Stop after so many events.")] = None,
    pt_min: Annotated[float, typer.Option(help="Particles: transverse momentum above, GeV.")] = 0.9,
    pt_max: Annotated[float | None, typer.Option(help="Particles: transverse momentum below, GeV.")] = None,
    eta_max: Annotated[float, typer.Option(help="Particles: |eta| below.")] = 3.0,
    vertex_r_max: Annotated[float | None, typer.Option(help="Particles: produced nearer to the beam line, mm.")] = None,
    vertex_z_max: Annotated[float | None, typer.Option(help="Particles: produced at |z| below, mm.")] = None,
    charged_only: Annotated[bool, typer.Option(help="Particles: charged ones only.")] = True,
    exclude_pdg: Annotated[
        list[int] | None, typer.Option(help="Particles: leave out this |PDG code| (11 for electrons); repeatable.")
    ] = None,
    min_hits_particle: Annotated[int, typer.Option(min=1, help="Particles: hits, at least.")] = 4,
    min_hits_track: Annotated[int, typer.Option(min=1, help="Tracks: hits, at least.")] = 4,
    engine: Annotated[str, typer.Option(help="For a bundle: what runs its networks, as of trkx run.")] = "tiled",
    precision: Annotated[
        str, typer.Option(help="For a bundle: fp32, tf32, bf16, fp16, mixed, or of each network: filter=bf16,gnn=bf16.")
    ] = "fp32",
    device: Annotated[
        str | None, typer.Option(help="For a bundle, of an engine on a GPU: cuda, or cuda:1 of several.")
    ] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="For a bundle: threads; all cores if not given.")] = None,
) -> None:
    """Compare tracks with the truth: efficiencies, fake and duplicate rate, TrackML score.

    Given a bundle, runs it, and counts the edges after each stage as well.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from trkx.runtime.events import open_events
    from trkx.runtime.metrics.report import Report, evaluate_event
    from trkx.runtime.metrics.selection import Selection
    from trkx.runtime.metrics.tables import edge_table, track_table
    from trkx.tables import output_console

    selection = Selection(
        pt_min=pt_min,
        pt_max=pt_max,
        eta_max=eta_max,
        vertex_r_max=vertex_r_max,
        vertex_z_max=vertex_z_max,
        charged_only=charged_only,
        exclude_pdg=tuple(exclude_pdg or ()),
        min_hits_particle=min_hits_particle,
        min_hits_track=min_hits_track,
    )
    sources = open_events(events)[:limit]
    tracks_of = _finder(source, engine, threads, precision, device)
    report = Report(selection)
    columns = (TextColumn("evaluate"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    screen = Console(stderr=True)
    with Progress(*columns, console=screen, transient=True, disable=not screen.is_terminal) as progress:
        for one in progress.track(sources):
            event = one.read()
            report = report.merge(evaluate_event(event, tracks_of(event), selection))
    report.require_particles()

    console = output_console()
    total = report.total()
    number = len(report.events)
    console.print(
        f"{source}: {number} event{'' if number == 1 else 's'}, {total.hits} hits ({total.noise_hits} of no particle), "
        f"{total.tracks} tracks, {total.particles} particles",
        soft_wrap=True,
    )
    console.print(f"cuts: {selection.describe()}", soft_wrap=True)
    console.print()
    console.print(track_table(report))
    console.print(
        f"Efficiencies count the particles that pass the cuts; the rates count every track of at least {min_hits_track} hits, "
        "whatever made it, and the score every particle: tracks of slow particles match no one well.",
        style="dim",
    )
    if (edges := edge_table(report)) is not None:
        console.print()
        console.print(edges)
    if out is not None:
        for path in _write(report, out, plot):
            console.print(f"wrote {path}", soft_wrap=True)


def _finder(
    source: Path, engine: str, threads: int | None, precision: str, device: str | None
) -> Callable[[Event], FoundTracks]:
    """Return what gives the tracks of an event: a bundle's pipeline, or files of tracks."""
    from trkx.manifest import MANIFEST_NAME

    if (source / MANIFEST_NAME).is_file():
        from trkx.runtime.devices import one_device
        from trkx.runtime.pipeline import Pipeline

        on = one_device([engine], device)
        pipeline = Pipeline.open(source, engine=engine, threads=threads, precision=precision, device=on)
        return lambda event: pipeline.run(event, keep_graphs=True)
    for option, given in (("--precision", precision != "fp32"), ("--device", device is not None)):
        if given:
            raise SpecError(f"{option} is for a bundle; {source} has tracks that are made already (its run.json says how).")
    from trkx.runtime.metrics.track_files import open_tracks

    files = open_tracks(source)
    return lambda event: files.read(event.event_id, len(event))


def _write(report: Report, out: Path, plot: bool) -> list[Path]:
    from trkx.runtime.events.output import write_files
    from trkx.runtime.metrics.binning import AXES
    from trkx.runtime.metrics.plots import plot_efficiency

    written = [out / "evaluation.json"]
    write_files({written[0]: (json.dumps(report.to_dict(), indent=1, allow_nan=False) + "\n").encode()})
    try:
        written += [plot_efficiency(report, axis, out / f"efficiency_{axis}.png") for axis in AXES if plot]
    except MissingExtraError as error:
        warnings.warn(f"no pictures of the efficiency: {error}", TrkxWarning, stacklevel=2)
    return written
