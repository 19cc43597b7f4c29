"""`trkx bench ladder`: the table of the 2021 talk (stage by rung, mean and standard deviation over events) for this machine.

Every stage of a rung is given the same inputs and runs in a fresh process, which may be stopped; a stage that a rung takes over
from the rung before it is not measured again. The last rung is our pipeline as it runs, in one process.

Source: A. Lazar et al. (Exa.TrkX), "Accelerating the Inference of the Exa.TrkX Pipeline", ACAT 2021, arXiv:2202.06929.
"""

from __future__ import annotations

import math
import statistics
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trkx.backends import backend, probe
from trkx.bundle import Bundle
from trkx.errors import MissingExtraError, SpecError, TrkxError
from trkx.runtime.bench.child import TimeLimitError, run_fresh
from trkx.runtime.bench.ladder_table import tables
from trkx.runtime.bench.measure import Timing
from trkx.runtime.bench.options import Options
from trkx.runtime.bench.report import Row
from trkx.runtime.bench.rungs import BFLOAT16, EAGER, GRID, OUR_ENGINE, PARQUET, STAGES, prepare, required
from trkx.runtime.bench.sizes import resized
from trkx.runtime.events import Event, open_events, write_event_parquet

__all__ = ["Course", "Rung", "climbed", "known_cases", "ladder", "rows", "tables"]

LAST = "ours in all"
TOTAL = "total"
WHOLE = "pipeline"
START_UP = 30.0
"""Seconds that a process may take to load libraries, beside the limit of the stage."""


@dataclass(frozen=True)
class Rung:
    """A column of the table.

    name: its head. means: stage to means. instead: stage to the library of the talk that its means stands in for, since that is
    not installed.
    """

    name: str
    means: Mapping[str, str]
    instead: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Course:
    """What is measured, and where.

    rungs: the columns. module: of `stage_here` and `whole_here`. required: (stage, means), raises MissingExtraError for what is
    not installed. prepare: (bundle, event, file) writes what stages are given. engine: of the last rung. more: further arguments
    of both functions. start_up: seconds that a process may take to load libraries, beside the limit of the stage.
    """

    rungs: tuple[Rung, ...]
    module: str
    required: Callable[[str, str], None]
    prepare: Callable[[Bundle, Event, Path], None]
    engine: str
    more: Mapping[str, Any] = field(default_factory=dict)
    start_up: float = START_UP


@dataclass
class Measured:
    """What one stage by one means took, event by event.

    why: why there is no more of it; over: whether that is the time limit; absent: whether it is that a library is not installed.
    used: most bytes in use on a GPU, by whomever, where the stage ran on one.
    """

    seconds: list[float] = field(default_factory=list)
    warm_up: list[float] = field(default_factory=list)
    peaks: list[int] = field(default_factory=list)
    outs: list[int] = field(default_factory=list)
    why: str = ""
    over: bool = False
    absent: bool = False
    used: list[int] = field(default_factory=list)

    def add(self, found: Mapping[str, Any]) -> None:
        """Take in what `rungs.stage_here` returned for one event."""
        self.seconds.append(statistics.median(found["seconds"]))
        self.warm_up.append(found["warm_up"])
        self.peaks.append(found["peak_bytes"] or 0)
        self.outs.append(found["out"])
        if found.get("used_bytes"):
            self.used.append(found["used_bytes"])


def ladder() -> tuple[Rung, ...]:
    """Return the rungs, in the order of the talk; each changes one thing."""
    components = "scikit-network" if probe(backend("peer", "scikit-network")).available else "scipy"
    networks = ("embedding", "filtering", "GNN")
    base = {"data loading": PARQUET, **dict.fromkeys(networks, EAGER), "build edges": "torch_cluster", "labelling": "DBSCAN"}
    changes: tuple[tuple[str, dict[str, str]], ...] = (
        ("baseline", {}),
        ("+ faiss", {"build edges": "faiss flat"}),
        ("+ components", {"labelling": components}),
        ("+ bf16 autocast", dict.fromkeys(networks, BFLOAT16)),
        ("+ fixed radius", {"build edges": GRID}),
    )
    rungs = []
    for name, change in changes:
        base = base | change
        rungs.append(Rung(name, base))
    return (*rungs, Rung(LAST, dict.fromkeys(STAGES, WHOLE)))


def known_cases() -> tuple[str, ...]:
    """Return the names of the rungs."""
    return tuple(rung.name for rung in ladder())


def rows(options: Options) -> list[Row]:
    """Measure every rung of the ladder on every event.

    Raises:
        BundleError, InputError, SpecError: of the bundle, the events, the options.
    """
    here = Course(
        ladder(), "trkx.runtime.bench.rungs", lambda stage, means: required(stage, means),
        lambda bundle, event, file: prepare(bundle, event, file, options.threads), OUR_ENGINE,
    )
    return climbed(here, options)


def climbed(course: Course, options: Options) -> list[Row]:
    """Measure the rungs of a course that the options want, on every event; errors as of `rows`."""
    bundle = Bundle.open(options.needed_bundle())
    if bundle.spec.filter is None:
        raise SpecError(f"the ladder has a filter among its stages, {bundle.spec.name} has none; use trkx bench pipeline.")
    if len(options.sizes) > 1:
        raise SpecError("the ladder has means over events of one size: give one number in --sizes, or none.")
    wanted = options.wanted(tuple(rung.name for rung in course.rungs))
    rungs = [rung for rung in course.rungs if rung.name in wanted]
    found: dict[tuple[str, str], Measured] = {}
    hits: list[int] = []
    for source in open_events(list(options.needed_events())):
        event = source.read()
        for size in options.sizes or (len(event),):
            sized = event if size == len(event) else resized(event, size)
            hits.append(len(sized))
            with tempfile.TemporaryDirectory() as folder:
                place, inputs = Path(folder) / "event", Path(folder) / "inputs.npz"
                options.tell(f"ladder: event {event.event_id}, {len(sized):,} hits, what the stages are given")
                write_event_parquet(place, sized)
                course.prepare(bundle, sized, inputs)
                _one_event(course, bundle, rungs, place, inputs, found, options)
    return [row for rung in rungs for row in _rows(course, rung, found, hits, options)]


def _one_event(
    course: Course, bundle: Bundle, rungs: list[Rung], event: Path, inputs: Path, found: dict[tuple[str, str], Measured],
    options: Options,
) -> None:
    common = {"bundle": str(bundle.path), "event": str(event), "threads": options.threads, "rounds": options.rounds}
    common |= course.more
    for stage, means in dict.fromkeys((stage, means) for rung in rungs for stage, means in rung.means.items()):
        if means == WHOLE:
            continue
        given = common | {"stage": stage, "means": means, "inputs": str(inputs)}
        so_far = found.setdefault((stage, means), Measured())
        result = _measured(course, so_far, f"{stage} by {means}", "stage_here", given, options)
        if result is not None:
            found[stage, means].add(result)
    if any(WHOLE in rung.means.values() for rung in rungs):
        first = found.setdefault((STAGES[0], WHOLE), Measured())
        given = common | {"engine": course.engine}
        result = _measured(course, first, f"our pipeline, {course.engine}", "whole_here", given, options)
        for stage in STAGES:
            one = found.setdefault((stage, WHOLE), Measured())
            one.why, one.over, one.absent = first.why, first.over, first.absent
            if result is not None and stage in result:
                one.add(result[stage])


def _measured(
    course: Course, so_far: Measured, what: str, function: str, given: dict[str, Any], options: Options
) -> dict[str, Any] | None:
    """Return what a fresh process measured; None, with the reason in `so_far`, if it does not run here or takes too long."""
    if so_far.why:
        return None  # it will not be better on the next event
    options.tell(f"ladder: {what}")
    try:
        course.required(given.get("stage", ""), given.get("means", ""))
        result: dict[str, Any] = run_fresh(f"{course.module}:{function}", given, options.limit + course.start_up, options.threads)
    except TimeLimitError:
        so_far.why, so_far.over = f"> {options.limit:g} s", True
        return None
    except TrkxError as error:
        so_far.why, so_far.absent = str(error), isinstance(error, MissingExtraError)
        return None
    return result


def _rows(
    course: Course, rung: Rung, found: dict[tuple[str, str], Measured], hits: list[int], options: Options
) -> list[Row]:
    """Return the rows of a rung: its stages, then the total, whose memory is that of the largest stage."""
    ours = rung.name == LAST
    mean_hits = round(statistics.fmean(hits))
    stages = {stage: found[stage, rung.means[stage]] for stage in STAGES}
    made = []
    for stage, one in stages.items():
        by = f"trkx, {course.engine}" if rung.means[stage] == WHOLE else rung.means[stage]
        instead = {"in place of": rung.instead[stage]} if stage in rung.instead else {}
        facts = {"by": by, "out": one.outs} | instead | _spread(one, options)
        made.append(Row(stage, {"hits": mean_hits}, _timing(rung.name, one), ours, facts=facts))
    missing = [one for one in stages.values() if one.why]
    whole = Measured(why="; ".join(f"{stage}: {one.why}" for stage, one in stages.items() if one.why),
                     over=all(one.over for one in missing), absent=all(one.absent for one in missing))
    ran = [one for one in stages.values() if not one.why and one.seconds]
    whole.seconds = [sum(values) for values in zip(*(one.seconds for one in ran), strict=True)]
    whole.peaks = [max(values) for values in zip(*(one.peaks for one in ran), strict=True)]
    whole.used = [max(one.used) for one in ran if one.used]
    late = sum(options.limit for one in stages.values() if one.over)
    made.append(Row(TOTAL, {"hits": mean_hits}, _timing(rung.name, whole), ours, facts=_spread(whole, options, late)))
    return made


def _timing(rung: str, one: Measured) -> Timing:
    seconds = () if one.why else tuple(one.seconds)
    return Timing(rung, seconds, max(one.warm_up, default=math.nan), max(one.peaks, default=0) or None, one.why)


def _spread(one: Measured, options: Options, late: float | None = None) -> dict[str, Any]:
    """Return mean and standard deviation over events; of a stage that was stopped, what it took at least."""
    if one.why:
        least = options.limit if late is None else late + statistics.fmean(one.seconds or [0.0])
        return {"at least": least} if one.over else {"not installed": True} if one.absent else {}
    deviation = statistics.stdev(one.seconds) if len(one.seconds) > 1 else 0.0
    used = {"used_bytes": max(one.used)} if one.used else {}
    return {"mean": statistics.fmean(one.seconds), "std": deviation} | used
