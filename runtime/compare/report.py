"""A whole comparison: what was compared, how, what came out, what to do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from trkx.errors import SpecError
from trkx.runtime.compare.alone import Bands
from trkx.runtime.compare.events import Found
from trkx.runtime.compare.physics import LEVEL
from trkx.runtime.compare.recommend import Advice, Rule, advice
from trkx.runtime.compare.times import Times
from trkx.runtime.metrics.selection import Selection
from trkx.runtime.precision import EXACT, MIXED, precisions

SCHEMA = 1


@dataclass(frozen=True)
class Comparison:
    """What `trkx compare` says.

    title: name of the bundle's pipeline. engine: what ran it. names: name of each run to its precisions; the first is what the
    others are compared with. emulated: precisions that are computed in float32 here. facts: machine and versions.
    """

    title: str
    engine: str
    names: Mapping[str, str]
    found: Found
    times: Times
    bands: Bands
    selection: Selection
    rule: Rule
    emulated: tuple[str, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def first(self) -> str:
        """Name of the run that the others are compared with."""
        return next(iter(self.names))

    @property
    def advice(self) -> list[Advice]:
        """What each network should run in."""
        return advice(self.names, self.found.changes, self.times.stages, self.rule, self.emulated)

    @property
    def advised(self) -> str:
        """The same as `--precision` of `trkx run` takes it; that of the first run where nothing was compared."""
        own = precisions(self.names[self.first]) | {one.stage: one.precision for one in self.advice}
        for text in (*self.names.values(), MIXED):
            if precisions(text) == own:
                return text
        told = [f"{stage}={precision}" for stage, precision in own.items() if precision != EXACT]
        return ",".join(told) or EXACT

    @property
    def failed(self) -> dict[str, str]:
        """Name of a run that was given up to why."""
        return {**self.times.failed, **self.found.failed}

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain containers, ready for JSON."""
        runs = {
            name: {
                "stages": precisions(text),
                "failed": self.failed.get(name),
                "times": {stage: time.to_dict() for stage, time in self.times.stages.get(name, {}).items()},
                "changes": self.found.changes[name].to_dict() if name in self.found.changes else None,
            }
            for name, text in self.names.items()
        }
        return {
            "schema": SCHEMA, "pipeline": self.title, "engine": self.engine, "reference": self.first,
            "events": self.found.events, "hits": self.found.hits, "events_with_truth": self.found.with_truth,
            "bands": asdict(self.bands), "selection": {**self.selection.to_dict(), "words": self.selection.describe()},
            "interval_level": LEVEL, "emulated": list(self.emulated), "machine": dict(self.facts), "runs": runs,
            "recommendation": {"rule": self.rule.words(self.first), **asdict(self.rule), "precision": self.advised,
                               "stages": [one.to_dict() for one in self.advice]},
        }


def named_precisions(text: str) -> dict[str, str]:
    """Return name to precisions of what a user lists: "fp32,mixed,filter=bf16+gnn=tf32"; + joins the stages of one run.

    Raises:
        SpecError: an unknown precision or stage, fewer than two runs, or one that is named twice.
    """
    names: dict[str, str] = {}
    for name in (word.strip() for word in text.split(",")):
        precision = name.replace("+", ",")
        precisions(precision)
        if name in names:
            raise SpecError(f"--precision '{text}': {name} stands there twice; a comparison with itself says nothing.")
        names[name] = precision
    if len(names) < 2:
        raise SpecError(f"--precision '{text}': a comparison needs two or more, such as fp32,bf16; the first is the reference.")
    return names


def emulated_here(engine: str, names: Mapping[str, str]) -> tuple[str, ...]:
    """Return which of the precisions an engine computes in float32 on this machine: rounded rightly, timed wrongly."""
    used = {precision for text in names.values() for precision in precisions(text).values()} - {EXACT}
    if engine != "tiled" or not used:
        return ()
    from trkx.runtime.tiled.host import host  # LLVM is loaded when it is needed

    return tuple(sorted(precision for precision in used if not host(precision).pairs))
