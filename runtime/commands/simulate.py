"""`trkx simulate`: TrackML-like events with truth."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Literal

import typer

from trkx.errors import InputError

Format = Literal["parquet", "trackml"]


def command(
    out: Annotated[Path, typer.Option("--out", help="Folder for the events; made if it is not there.")],
    events: Annotated[int, typer.Option("--events", min=1, help="Number of events.")] = 10,
    pileup: Annotated[int, typer.Option("--pileup", min=0, help="Inelastic collisions beside the top pair.")] = 200,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of the run; event and seed fix every number.")] = 1,
    first: Annotated[int, typer.Option("--first", min=0, help="Number of the first event.")] = 0,
    noise: Annotated[float, typer.Option("--noise", help="Noise hits as a fraction of all hits.")] = 0.02,
    true_positions: Annotated[bool, typer.Option("--true-positions", help="True positions instead of measured ones.")] = False,
    sigma_z: Annotated[float, typer.Option("--sigma-z", help="Width of the beam spot along the beam, mm.")] = 55.5,
    hard: Annotated[bool, typer.Option("--hard/--no-hard", help="With a top pair, or pile-up alone.")] = True,
    processes: Annotated[int, typer.Option("--processes", min=0, help="Processes, 0 for one per core.")] = 0,
    format: Annotated[
        Format, typer.Option("--format", help="parquet, or trackml: CSV of hits, truth and particles, which holds no times.")
    ] = "parquet",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace events that are there already.")] = False,
) -> None:
    """Simulate TrackML-like events: Pythia 8, ACTS Fatras on the generic detector, measured positions, truth kept.

    Each hit is measured with a Gaussian of sensor pitch / sqrt(12) in the plane of its module: pixels 50 x 56.25 um, short
    strips 80 um x 1.2 mm, long strips 120 um x 10.8 mm. Secondaries, curlers and noise stay in.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from trkx.runtime.simulate.make import SimulationSpec, simulate, simulate_to_parquet, simulate_to_trackml

    spec = SimulationSpec(pileup=pileup, seed=seed, hard=hard, noise_fraction=noise, smear=not true_positions, sigma_z=sigma_z)
    numbers = range(first, first + events)
    _refuse_what_is_there(out, numbers, format, overwrite)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{out}: the folder can't be made: {error}.") from error
    total = 0
    with Progress(TextColumn("simulating"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(),
                  TextColumn("{task.fields[hits]} hits"), console=Console(stderr=True)) as bar:
        task = bar.add_task("", total=events, hits=0)
        write = simulate_to_trackml if format == "trackml" else simulate_to_parquet
        for _, hits in simulate(spec, numbers, out, processes or os.cpu_count() or 1, write):
            total += hits
            bar.update(task, advance=1, hits=total)
    Console().print(f"{events} event{'s' if events > 1 else ''}, {total} hits in {out}")


def _refuse_what_is_there(out: Path, numbers: range, format: Format, overwrite: bool) -> None:
    from trkx.runtime.events.tables import hits_file

    ends: dict[Format, tuple[str, ...]] = {"parquet": (".parquet",), "trackml": (".csv", ".csv.gz")}
    for kind, suffixes in ends.items():
        there = [number for number in numbers for end in suffixes if (out / hits_file(number)).with_suffix(end).exists()]
        if not there or (overwrite and kind == format):
            continue
        more = f" and {len(there) - 1} more of these" if len(there) > 1 else ""
        if kind != format:
            raise InputError(
                f"{out} already holds event {there[0]}{more} as {kind}, and no reader takes an event in two formats; give "
                "another --out or another --first."
            )
        raise InputError(f"{out} already holds event {there[0]}{more}; give another --out, another --first, or --overwrite.")
