"""`trkx acts`: trkx inside ACTS's sequencer, with ACTS's own track finding beside it, and ACTS as the referee."""

from __future__ import annotations

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
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace numbers and picture that are there already.")] = False,
) -> None:
    """Run trkx in ACTS: simulate, digitise, find tracks with trkx and with ACTS's CKF, fit them, and let ACTS judge both.

    One acts.examples.Sequencer with the generic detector: Pythia 8 and Fatras as trkx simulate, Gaussian measurements of pitch /
    sqrt(12); trkx's proto tracks go through ACTS's Kalman fit; ACTS's seeding, CKF and ambiguity resolution see the same
    measurements. ACTS's writers give efficiency, fakes, duplicates and resolutions of both. Writes acts-sequence.json,
    with --plot acts-sequence.png, and acts.log: what ACTS's algorithms said.
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
    numbers, picture = out / "acts-sequence.json", out / "acts-sequence.png"
    there = [path.name for path in (numbers, picture) if path.exists()]
    if there and not overwrite:
        raise InputError(f"{out} already holds {' and '.join(there)} of another run; give another --out, or --overwrite.")
    opened = Bundle.open(bundle)
    from trkx.runtime.acts.compact import compact_json
    from trkx.runtime.acts.report import own_words, record, run_words, sequence_table, steps_table
    from trkx.runtime.acts.sequence import LOG, run_sequence
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
    write_files({numbers: (compact_json(written) + "\n").encode()}, stale=(picture,))  # a picture is of the numbers beside it
    console = Console(markup=False, highlight=False)
    console.print(sequence_table(written, f"{opened.spec.name}, {engine}: {run_words(written)}"))
    console.print(steps_table(written))
    for words in (f"efficiency of {written['particles']}", f"fakes and duplicates of {written['tracks']}", own_words(written)):
        console.print(words)
    for what, path in (("numbers", numbers), ("what ACTS said", out / LOG)):
        console.print(f"{what}: {path}", soft_wrap=True)
    if plot:
        from trkx.runtime.acts.plot import plot_sequence

        console.print(f"picture: {plot_sequence(written, picture)}", soft_wrap=True)
