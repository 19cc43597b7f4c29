"""Time of each stage in each run, in turns in one fresh process; peak memory, each in a process of its own."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trkx.errors import TrkxError
from trkx.runtime.bench.child import run_fresh
from trkx.runtime.compare.runs import Run, Setting
from trkx.runtime.events import open_events

TOTAL = "all"


@dataclass(frozen=True)
class StageTime:
    """seconds: of each event, the shortest of its rounds. peak_bytes: largest size of a process that runs the largest event."""

    seconds: tuple[float, ...]
    peak_bytes: int

    @property
    def mean(self) -> float:
        """Mean over events, s."""
        return statistics.fmean(self.seconds)

    @property
    def deviation(self) -> float:
        """Standard deviation over events, s; 0 for one event."""
        return statistics.stdev(self.seconds) if len(self.seconds) > 1 else 0.0

    def to_dict(self) -> dict[str, Any]:
        """Return the numbers by name."""
        return {"mean": self.mean, "std": self.deviation, "seconds": list(self.seconds), "peak_bytes": self.peak_bytes}


@dataclass(frozen=True)
class Times:
    """stages: name of the run to stage ("all": the whole) to its time. failed: name to why there is none."""

    stages: Mapping[str, Mapping[str, StageTime]] = field(default_factory=dict)
    failed: Mapping[str, str] = field(default_factory=dict)


def measure(
    setting: Setting, runs: Mapping[str, Run], events: Sequence[Path], limit: int | None, rounds: int,
    tell: Callable[[str], None] = lambda text: None,
) -> Times:
    """Measure every run on every event.

    Args:
        setting: how the pipelines run.
        runs: name to engine and precision.
        events: folders and files.
        limit: events at most; None for all.
        rounds: turns of each on every event; with one, a machine that is busy elsewhere decides who is fast.
        tell: called with what is measured next.

    Raises:
        TrkxError: the process that measures fails.
    """
    tell(f"times of {', '.join(runs)}")
    given = {"setting": vars(setting), "events": [str(path) for path in events], "limit": limit}
    more = {"runs": {name: vars(run) for name, run in runs.items()}, "rounds": rounds}
    found = run_fresh(f"{__name__}:times_here", given | more, threads=setting.threads)
    failed: dict[str, str] = found["failed"]
    stages: dict[str, dict[str, StageTime]] = {}
    for name, seconds in found["seconds"].items():
        if name in failed:
            continue
        tell(f"memory of {name}")
        own = given | {"run": vars(runs[name]), "number": found["largest"]}
        try:
            peaks = run_fresh(f"{__name__}:peaks_here", own, threads=setting.threads)
        except TrkxError as error:  # out of memory: the kernel kills it
            failed[name] = str(error)
            continue
        stages[name] = {stage: StageTime(tuple(one[stage] for one in seconds), peaks[stage]) for stage in seconds[0]}
    return Times(stages, failed)


def times_here(
    setting: dict[str, Any], runs: dict[str, dict[str, str]], events: list[str], limit: int | None, rounds: int
) -> dict[str, Any]:
    """Run events in this process, after a made-up one; the runs take turns, so that all meet the same load.

    Returns "seconds": name to, of each event, the shortest time of each stage and of "all"; "failed": name to why it was given
    up; "largest": number of the event with most hits.
    """
    pipelines = {name: Setting(**setting).open(Run(**run)) for name, run in runs.items()}
    for pipeline in pipelines.values():
        pipeline.warm_up()
    failed: dict[str, str] = {}
    seconds: dict[str, list[dict[str, float]]] = {name: [] for name in runs}
    sizes = []
    for source in open_events(events)[:limit]:
        event = source.read()
        sizes.append(len(event))
        turns: dict[str, list[dict[str, float]]] = {name: [] for name in pipelines}
        for turn in range(rounds):
            for name in list(turns) if turn % 2 == 0 else list(turns)[::-1]:  # nobody always follows the same neighbour
                try:
                    found = {stage.name: stage.seconds for stage in pipelines[name].run(event).stages}
                except TrkxError as error:
                    failed[name] = f"event {event.event_id}: {error}"
                    del pipelines[name], turns[name]
                    continue
                turns[name].append(found | {TOTAL: sum(found.values())})
        for name, each in turns.items():
            seconds[name].append({stage: min(one[stage] for one in each) for stage in each[0]})
    return {"seconds": seconds, "failed": failed, "largest": sizes.index(max(sizes))}


def peaks_here(
    setting: dict[str, Any], run: dict[str, str], events: list[str], limit: int | None, number: int
) -> dict[str, int]:
    """Run one event in this process, after a made-up one; return the largest size of the process in each stage and in "all".

    On a device: of what is held there.
    """
    pipeline = Setting(**setting).open(Run(**run))
    pipeline.warm_up()
    found = {stage.name: stage.peak_bytes for stage in pipeline.run(open_events(events)[:limit][number].read()).stages}
    return found | {TOTAL: max(found.values())}
