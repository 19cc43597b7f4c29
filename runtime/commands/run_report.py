"""What `trkx run` says: the table of stages at the end, and what is there when it is stopped."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from rich.table import Table

    from trkx.runtime.many.output import Output, Row
    from trkx.runtime.many.remote import Job
    from trkx.spec import PipelineSpec


def print_report(output: Output, spec: PipelineSpec, job: Job, where: str, picture: Path | None) -> None:
    """Print what stages cost and what was found. where: it ran, in words. picture: of an event, if one was drawn."""
    from rich.console import Console

    rows, console = output.rows, Console(markup=False)
    console.print(stage_table(rows, f"{spec.name}, {_means(job.engine, job.precision)}, {where}"))
    events = f"{len(rows)} event{'' if len(rows) == 1 else 's'}"
    tracks = sum(row.num_tracks for row in rows)
    console.print(f"{tracks} tracks of {events} in {output.folder}", soft_wrap=True, highlight=False)
    truncated = sum(row.truncated for row in rows)
    if truncated:
        k_max = spec.needed_graph().k_max
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


def kept(done: Sequence[Row], out: Path) -> str:
    """Return what is there of a run that an event stopped."""
    if not done:
        return "No tracks were written."
    names = ", ".join(str(run.event_id) for run in done[:5])
    return f"The tracks of {len(done)} event(s) before it ({names}{', …' if len(done) > 5 else ''}) are in {out}."


def go_on(done: int, count: int, skip: int, limit: int | None, out: Path) -> str:
    """Return what is there of a run that was stopped, and how to have the rest."""
    if done == 0:
        return f"none of {count} events is done; run it again."
    if done == count:
        return f"all of {count} events are done, their tracks are in {out}."
    rest = "" if limit is None else f" --limit {limit - done}"
    again = f"For the others run it again with --skip {skip + done}{rest} and another --out."
    return f"{done} of {count} events are done, their tracks are in {out}. {again}"


@contextmanager
def told_to_stop(say: Callable[[], str]) -> Iterator[None]:
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
