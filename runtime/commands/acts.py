"""`trkx acts`: trkx inside ACTS's sequencer, with ACTS's own track finding beside it, and ACTS as the referee."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from trkx.errors import InputError


def command(
    bundle: Annotated[Path, typer.Argument(help="Bundle folder that trkx export wrote.")],
    out: Annotated[Path, typer.Option("--out", help="Folder for the numbers; made if it is not there.")],
    events: Annotated[int, typer.Option("--events", min=1, help="Number of events.")] = 10,
    pileup: Annotated[int, typer.Option("--pileup", min=0, help="Inelastic collisions beside the top pair.")] = 50,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of the run; it fixes every event.")] = 1,
    engine: Annotated[
        str, typer.Option("--engine", help="What runs the networks, as of trkx run; trkx doctor says which are here.")
    ] = "tiled",
    threads: Annotated[int, typer.Option("--threads", min=1, help="Events at a time; every algorithm runs in one thread.")] = 1,
    seed_pt_min: Annotated[float, typer.Option("--seed-pt-min", help="ACTS's chain: lowest pT of seeds, GeV.")] = 0.4,
    track_pt_min: Annotated[
        float, typer.Option("--track-pt-min", help="Both chains: fitted tracks count above this pT, GeV.")
    ] = 0.5,
    plot: Annotated[bool, typer.Option("--plot", help="Draw efficiencies, rates and resolutions of both chains.")] = False,
) -> None:
    """Run trkx in ACTS: simulate, digitise, find tracks with trkx and with ACTS's CKF, fit them, and let ACTS judge both.

    One acts.examples.Sequencer with the generic detector: Pythia 8 and Fatras as trkx simulate, Gaussian measurements of pitch /
    sqrt(12); trkx's proto tracks go through ACTS's Kalman fit; ACTS's seeding, CKF and ambiguity resolution see the same
    measurements. ACTS's writers give efficiency, fakes, duplicates and resolutions of both. Writes acts-sequence.json.
    """
    import os

    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from trkx.backends import require
    from trkx.bundle import Bundle
    from trkx.runtime.acts.settings import CkfSettings, SequenceSpec, TrackCuts

    spec = SequenceSpec(
        events=events,
        pileup=pileup,
        seed=seed,
        threads=threads,
        tracks=TrackCuts(pt_min=track_pt_min),
        ckf=CkfSettings(seed_pt_min=seed_pt_min),
    )
    require("simulation", "fatras")  # before anything is run
    if plot:
        require("plot", "matplotlib")
    opened = Bundle.open(bundle)
    from trkx.runtime.acts.report import own_words, record, sequence_table, steps_table
    from trkx.runtime.acts.sequence import run_sequence
    from trkx.runtime.events.output import write_files
    from trkx.runtime.pipeline import Pipeline

    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{out}: the folder can't be made: {error}.") from error
    pipeline = Pipeline.open(bundle, engine, threads=1)
    pipeline.warm_up()  # kernels are compiled once a machine: not the first event's time
    with os.fdopen(os.dup(2), "w", encoding="utf-8") as terminal:  # what ACTS prints goes to a file, on the same descriptor
        columns = (TextColumn("ACTS"), BarColumn(), MofNCompleteColumn(), TextColumn("events"), TimeRemainingColumn())
        with Progress(*columns, console=Console(file=terminal)) as bar:
            task = bar.add_task("", total=events)
            results = run_sequence(pipeline, spec, out, lambda count: bar.update(task, completed=count))
    weights = opened.entry("all", "safetensors").sha256
    written = record(results, spec, {"name": opened.spec.name, "weights": weights}, engine)
    path = out / "acts-sequence.json"
    write_files({path: (json.dumps(written, indent=1, allow_nan=False) + "\n").encode()})
    console = Console(markup=False, highlight=False)
    title = f"{opened.spec.name}, {engine}: {events} event{'' if events == 1 else 's'}, top pair and {pileup} pile-up collisions"
    console.print(sequence_table(written, title))
    console.print(steps_table(written))
    for line in (f"of {written['particles']}", written["tracks"], own_words(written), f"numbers: {path}"):
        console.print(line, soft_wrap=True)
    if plot:
        from trkx.runtime.acts.plot import plot_sequence

        console.print(f"picture: {plot_sequence(written, out / 'acts-sequence.png')}", soft_wrap=True)
