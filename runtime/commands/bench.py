"""`trkx bench`: stages and the whole pipeline against peers in the same run, and against what the machine can do."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from trkx.runtime.bench.roofline import Rates
    from trkx.tables import FittedTable

BUSY = 0.5
"""Load of the machine before a benchmark begins, above which its medians are not to be trusted."""


def command(
    what: Annotated[str, typer.Argument(help="neighbours, filter, gnn, components, pipeline or ladder.")],
    bundle: Annotated[Path | None, typer.Argument(help="Bundle folder; needed by all but components on made-up graphs.")] = None,
    events: Annotated[list[Path] | None, typer.Option("--events", help="Events: folders or files (repeatable).")] = None,
    sizes: Annotated[
        str, typer.Option("--sizes", help="Numbers of hits, such as 10000,100000: the event is cut or overlaid to each.")
    ] = "",
    rounds: Annotated[int, typer.Option("--rounds", min=1, help="Timed calls of each case, in turn, after a first one.")] = 5,
    threads: Annotated[
        int | None, typer.Option("--threads", min=1, help="Threads of every case; one per core if not given.")
    ] = None,
    case: Annotated[
        list[str] | None, typer.Option("--case", help="Measure this case, named as in the table (repeatable); all if not given.")
    ] = None,
    edges: Annotated[int | None, typer.Option("--edges", min=1, help="Give a network at most so many edges.")] = None,
    synthetic: Annotated[
        bool, typer.Option("--synthetic", help="gnn, filter: also a made-up graph of 20 000 hits and 120 000 edges.")
    ] = False,
    memory: Annotated[bool, typer.Option("--memory/--no-memory", help="Peak memory too, in a process of its own.")] = True,
    limit: Annotated[float, typer.Option("--limit", min=1.0, help="Seconds after which such a process is stopped.")] = 300.0,
    device: Annotated[
        str, typer.Option("--device", help="neighbours, components, ladder: on cuda, or cuda:0 … of several GPUs.")
    ] = "cpu",
    out: Annotated[Path, typer.Option("--out", help="Folder for the JSON and the picture.")] = Path("bench"),
) -> None:
    """Measure a stage or the whole: medians, spread, ratio to ours, share of the machine's rates, memory. Asserts no time.

    Writes WHAT.json (with machine and versions) and, if there is more than one size, WHAT.png.
    """
    from rich.console import Console

    from trkx.backends import require
    from trkx.errors import MissingExtraError
    from trkx.runtime.bench.machine import machine_facts
    from trkx.runtime.bench.options import Options
    from trkx.runtime.bench.report import plot, write_json
    from trkx.runtime.bench.roofline import measured_rates
    from trkx.runtime.bench.table import benchmark
    from trkx.runtime.crew import available_cores
    from trkx.tables import output_console

    chosen = benchmark(what)
    chosen.place(device)
    progress, console = Console(stderr=True, highlight=False, markup=False), output_console()
    options = Options(
        bundle=bundle, events=tuple(events or ()), sizes=parsed_sizes(sizes), rounds=rounds, threads=threads or available_cores(),
        peers=tuple(case or ()), edges=edges, synthetic=synthetic, limit=limit, memory=memory, device=device,
        tell=lambda step: progress.print(step, style="dim", soft_wrap=True),
    )
    facts, before = machine_facts(options.threads), _load()
    if device != "cpu":
        require("engine", "torch-cuda", gpu=False)
        from trkx.runtime.bench.device_measure import device_facts

        facts["gpu"] = device_facts(device)
    chosen.ready(options)
    rates: Rates | None = None
    if chosen.rooflined:
        options.tell("what the machine can do")
        rates = measured_rates(options.threads)
    rows = chosen.rows(options)
    path = write_json(out / f"{what}.json", what, rows, facts, rates, {"before": before, "after": _load()})
    on = facts["gpu"]["name"] if "gpu" in facts else facts["processor"]
    title = f"{what}, {on}, {options.threads} threads"
    _print(console, chosen.tables(rows, title, rates, device), rates)
    if before is not None and before > BUSY:
        torch = "; torch suffers most from that" if any("torch" in row.timing.name.lower() for row in rows) else ""
        busy = f"The machine was busy before this began (load {before:.1f}){torch}: compare the best rounds."
        console.print(busy, style="yellow")
    console.print(f"written: {path}", soft_wrap=True)
    try:
        picture = plot(out / f"{what}.png", rows, title)
    except MissingExtraError as error:
        console.print(f"no picture: {error}", style="yellow", soft_wrap=True)
    else:
        if picture is not None:
            console.print(f"written: {picture}", soft_wrap=True)


def parsed_sizes(text: str) -> tuple[int, ...]:
    """Return the numbers of "10000,100_000"; SpecError for anything else."""
    from trkx.errors import SpecError

    try:
        sizes = tuple(int(part) for part in text.replace(" ", "").split(",") if part)
    except ValueError:
        sizes = (0,)
    if any(size < 1 for size in sizes):
        raise SpecError(f"--sizes: expected numbers of hits with commas between them, such as 10000,100000; found '{text}'.")
    return sizes


def _print(console: Console, tables: Sequence[FittedTable], rates: Rates | None) -> None:
    for one in tables:
        console.print(one)
        console.print()
    if rates is not None:
        products = f"float32 matrix products: {rates.gemm / 1e9:.0f} GFLOP/s ({rates.gemm_by})"
        libraries = [rate for what, rate in rates.details.items() if not what.startswith("trkx")]
        if libraries:
            products += f", {max(libraries) / 1e9:.0f} GFLOP/s with numpy or torch"
        console.print(f"{products}; copy: {rates.copy / 1e9:.1f} GB/s")
        for library, why in rates.without.items():
            console.print(f"products of {library} were not measured: {why}")


def _load() -> float | None:
    """Return how many processes wanted to run in the last minute, where the system says."""
    import os

    try:
        return os.getloadavg()[0]
    except (OSError, AttributeError):
        return None
