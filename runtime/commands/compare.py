"""`trkx compare`: what a precision changes, stage by stage and in the tracks."""

from __future__ import annotations

import json
import shlex
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from trkx.errors import MissingExtraError, TrkxWarning

if TYPE_CHECKING:
    from rich.console import Console

    from trkx.runtime.compare.report import Comparison


def command(
    bundle: Annotated[Path, typer.Argument(help="Bundle folder that trkx export wrote.")],
    events: Annotated[list[Path], typer.Argument(help="Events: folders or files; with truth, efficiencies are compared too.")],
    precision: Annotated[
        str, typer.Option(help="A first and others to compare with it: fp32, tf32, bf16, fp16, mixed, filter=bf16+gnn=tf32.")
    ] = "fp32,bf16,mixed",
    engine: Annotated[str, typer.Option(
        help="What runs the networks, or several to compare: tiled,onnxruntime (which runs the bundle's half-precision files)."
    )] = "tiled",
    device: Annotated[str | None, typer.Option(help="Of engines on a GPU: cuda, or cuda:1 of several.")] = None,
    neighbours: Annotated[str, typer.Option(help="grid, kdtree or brute: same pairs, other speed.")] = "grid",
    labelling: Annotated[str, typer.Option(help="union_find or scipy: same labels.")] = "union_find",
    threads: Annotated[int | None, typer.Option(min=1, help="Threads; all cores if not given.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Stop after so many events.")] = None,
    rounds: Annotated[int, typer.Option(min=0, help="Times that every event is timed in each precision, in turns; 0: not.")] = 2,
    band: Annotated[float, typer.Option(min=0.0, help="Decisions nearer to the cut, in logit, may go either way.")] = 0.05,
    radius_band: Annotated[float, typer.Option(min=0.0, help="Pairs nearer to the radius, as a part of it, may too.")] = 0.01,
    allowed: Annotated[float, typer.Option(min=0.0, max=1.0, help="Part of decisions that may flip outside the band.")] = 1e-4,
    out: Annotated[Path | None, typer.Option(help="Folder for compare.json, compare.html and pictures.")] = None,
    pt_min: Annotated[float, typer.Option(help="Particles: transverse momentum above, GeV.")] = 0.9,
    eta_max: Annotated[float, typer.Option(help="Particles: |eta| below.")] = 3.0,
    min_hits_particle: Annotated[int, typer.Option(min=1, help="Particles: hits, at least.")] = 4,
    min_hits_track: Annotated[int, typer.Option(min=1, help="Tracks: hits, at least, for efficiency and fake rate.")] = 4,
) -> None:
    """Compare precisions and engines with the first: time, memory, scores, decisions, edges, tracks, efficiency.

    Every network is compared on the inputs of the first (its own rounding) and in the whole pipeline (what follows). Ends with a
    recommendation for each network.
    """
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn

    from trkx.bundle import Bundle
    from trkx.runtime.bench.machine import machine_facts
    from trkx.runtime.compare.alone import Bands
    from trkx.runtime.compare.events import compare_events
    from trkx.runtime.compare.recommend import Rule
    from trkx.runtime.compare.report import Comparison
    from trkx.runtime.compare.runs import Setting, named_runs, open_runs
    from trkx.runtime.compare.times import Times, measure
    from trkx.runtime.crew import available_cores
    from trkx.runtime.devices import one_device
    from trkx.runtime.events import open_events
    from trkx.runtime.metrics.selection import Selection
    from trkx.tables import output_console

    opened = Bundle.open(bundle)
    runs = named_runs(precision, engine, opened.spec.stages)
    bands, rule = Bands(band, radius_band), Rule(outside=allowed)
    selection = Selection(pt_min=pt_min, eta_max=eta_max, min_hits_particle=min_hits_particle, min_hits_track=min_hits_track)
    sources = open_events(events)[:limit]
    on = one_device([run.engine for run in runs.values()], device)
    setting = Setting(str(bundle), neighbours, labelling, threads or available_cores(), on)
    pipelines, refused = open_runs(setting, runs)  # what can't be run is refused before any event is
    timed = {name: runs[name] for name in pipelines}
    reference = pipelines.pop(next(iter(runs)))
    screen = Console(stderr=True)
    with Progress(SpinnerColumn(), TextColumn("{task.description}"), console=screen, transient=True,
                  disable=not screen.is_terminal) as bar:
        task = bar.add_task("", total=None)

        def tell(text: str) -> None:
            bar.update(task, description=text)

        times = measure(setting, timed, events, limit, rounds, tell) if rounds else Times()
        tell(f"comparing event 1 of {len(sources)}")
        found = compare_events(
            reference, pipelines, (source.read() for source in sources), bands, selection,
            lambda done: tell(f"comparing event {min(done + 1, len(sources))} of {len(sources)}"),
        )
    comparison = Comparison(
        opened.spec.name, runs, found, times, bands, selection, rule, refused, machine_facts(setting.threads),
        shlex.join(map(str, (bundle, *events))), device or "",
    )
    console = output_console()
    _print(console, comparison)
    if out is not None:
        for path in _write(comparison, out):
            console.print(f"wrote {path}", soft_wrap=True)


def _print(console: Console, comparison: Comparison) -> None:
    from trkx.runtime.compare.advised import recommendation
    from trkx.runtime.compare.html import NO_TRUTH
    from trkx.runtime.compare.sheets import sheets
    from trkx.tables import wrapped

    found = comparison.found
    several = "" if found.events == 1 else "s"
    console.print(
        f"{comparison.title}, {', '.join(comparison.engines)}: {found.events} event{several}, {found.hits:,} hits; compared with "
        f"{comparison.first}"
    )
    for sheet in sheets(comparison):
        console.print()
        console.print(sheet.table())
    console.print()
    if not found.with_truth:
        console.print(NO_TRUTH)
    for name, why in comparison.failed.items():
        console.print(wrapped(f"{name} was given up: {why}", console.width), soft_wrap=True)
    console.print("Recommendation", style="bold")
    console.print(comparison.rule_in_words, style="dim")
    for line in recommendation(comparison):
        if line.kind == "command":  # whole, to be copied
            console.print(line.text, soft_wrap=True)
            continue
        if line.kind in ("engine", "label"):
            console.print()
        shown = f"    {line.text}" if line.kind == "why" else line.text
        bold = line.kind in ("engine", "network", "label")
        console.print(wrapped(shown, console.width), soft_wrap=True, style="bold" if bold else None)


def _write(comparison: Comparison, out: Path) -> list[Path]:
    from trkx.runtime.compare.html import html_page
    from trkx.runtime.compare.plots import pictures
    from trkx.runtime.events.output import write_files

    shown: dict[str, tuple[bytes, str]] = {}
    without = ""
    try:
        shown = pictures(comparison)
    except MissingExtraError as error:
        without = str(error)
        warnings.warn(f"no pictures of the comparison: {error}", TrkxWarning, stacklevel=2)
    files = {
        out / "compare.json": (json.dumps(comparison.to_dict(), indent=1, allow_nan=False) + "\n").encode(),
        out / "compare.html": html_page(comparison, shown, without).encode(),
    } | {out / f"{name}.png": data for name, (data, _) in shown.items()}
    write_files(files)
    return list(files)
