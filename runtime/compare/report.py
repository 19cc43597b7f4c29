"""A whole comparison: what was compared, how, what came out, what to do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from trkx.runtime.compare.alone import Bands
from trkx.runtime.compare.events import Found
from trkx.runtime.compare.physics import LEVEL
from trkx.runtime.compare.recommend import Advice, Rule, advice
from trkx.runtime.compare.runs import Run, emulated_words
from trkx.runtime.compare.times import TOTAL, Times
from trkx.runtime.metrics.selection import Selection
from trkx.runtime.precision import EXACT, MIXED, precisions

SCHEMA = 1


@dataclass(frozen=True)
class EngineAdvice:
    """What to do with one engine.

    engine: its name. precision: as `--precision` of `trkx run` takes it. stages: what each network should run in, and why; none
    where nothing of this engine could be compared. run: name of the run that was compared in these precisions, "" if none was.
    seconds: mean time of an event in that run, None if it was not timed, or says nothing.
    """

    engine: str
    precision: str
    stages: tuple[Advice, ...]
    run: str
    seconds: float | None

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain containers."""
        return asdict(self) | {"stages": [one.to_dict() for one in self.stages]}


@dataclass(frozen=True)
class Comparison:
    """What `trkx compare` says.

    title: name of the bundle's pipeline. runs: by name; the first is what the others are compared with. refused: name of a run
    that could not be opened to why. facts: machine and versions. inputs: bundle and events, as words of a command that can be
    copied. device: as `--device` takes it, "" if it need not be given.
    """

    title: str
    runs: Mapping[str, Run]
    found: Found
    times: Times
    bands: Bands
    selection: Selection
    rule: Rule
    refused: Mapping[str, str] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)
    inputs: str = "BUNDLE EVENTS"
    device: str = ""

    @property
    def first(self) -> str:
        """Name of the run that the others are compared with."""
        return next(iter(self.runs))

    @property
    def engines(self) -> tuple[str, ...]:
        """Names of the engines, each once."""
        return tuple(dict.fromkeys(run.engine for run in self.runs.values()))

    @property
    def rule_in_words(self) -> str:
        """How networks are advised; what is faster is said within an engine."""
        return self.rule.words(self.first, self.first if len(self.engines) == 1 else "the first run of its engine")

    @property
    def what(self) -> str:
        """What tells the runs apart: "precision", or "run" where there are several engines."""
        return "precision" if len(self.engines) == 1 else "run"

    @property
    def emulated(self) -> tuple[str, ...]:
        """Precisions that are computed in float32 here; with several engines, with the engine's name before each."""
        used = [run for name, run in self.runs.items() if name not in self.refused]
        words = ((run.engine, word) for run in used for word in emulated_words(run.engine, run.precision))
        told = (word if len(self.engines) == 1 else f"{engine} {word}" for engine, word in words)
        return tuple(sorted(set(told)))

    def faster(self, name: str, stage: str) -> float | None:
        """Return how many times as fast as the first a run is in a stage (or in all, `TOTAL`); None where that says nothing.

        It says nothing of a network that is computed in float32 here, nor of the whole of a run with one.
        """
        own, first = (self.times.stages.get(one, {}).get(stage) for one in (name, self.first))
        if own is None or first is None or own.mean <= 0.0 or any(self.computed(one, stage) for one in (name, self.first)):
            return None
        return first.mean / own.mean

    def computed(self, name: str, stage: str) -> bool:
        """Return whether a stage of a run (or one of all, `TOTAL`) is a network that is computed in float32 here."""
        run = self.runs[name]
        words, of = emulated_words(run.engine, run.precision), precisions(run.precision)
        return bool(words) if stage == TOTAL else of.get(stage) in words

    @property
    def advice(self) -> list[EngineAdvice]:
        """What each network should run in, engine by engine."""
        return [self._of_engine(engine) for engine in self.engines]

    @property
    def fastest(self) -> EngineAdvice | None:
        """Of the advice for several engines the one whose run, as it was timed, is the fastest; None if no two were timed."""
        timed = [one for one in self.advice if one.seconds is not None]
        return min(timed, key=lambda one: one.seconds or 0.0) if len(timed) > 1 else None

    @property
    def failed(self) -> dict[str, str]:
        """Name of a run that was given up to why."""
        return {**self.refused, **self.times.failed, **self.found.failed}

    def _of_engine(self, engine: str) -> EngineAdvice:
        texts = {name: run.precision for name, run in self.runs.items() if run.engine == engine and name not in self.failed}
        if not texts:
            return EngineAdvice(engine, EXACT, (), "", None)
        changes = {name: change for name, change in self.found.changes.items() if name in texts}
        emulated = {word for text in texts.values() for word in emulated_words(engine, text)}
        stages = advice(texts, changes, self.times.stages, self.rule, tuple(emulated))
        own = precisions(next(iter(texts.values()))) | {one.stage: one.precision for one in stages}
        told = ",".join(f"{stage}={precision}" for stage, precision in own.items() if precision != EXACT) or EXACT
        told = next((text for text in (*texts.values(), MIXED) if precisions(text) == own), told)
        run = next((name for name, text in texts.items() if precisions(text) == own), "")
        timed = self.times.stages.get(run, {}) if not emulated_words(engine, told) else {}
        return EngineAdvice(engine, told, tuple(stages), run, timed[TOTAL].mean if timed else None)

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain containers, ready for JSON."""
        runs = {
            name: {
                "engine": run.engine,
                "stages": precisions(run.precision),
                "failed": self.failed.get(name),
                "times": {stage: time.to_dict() for stage, time in self.times.stages.get(name, {}).items()},
                "changes": self.found.changes[name].to_dict() if name in self.found.changes else None,
            }
            for name, run in self.runs.items()
        }
        first, fastest = self.advice[0], self.fastest
        more = {} if len(self.engines) == 1 else {
            "engines": [one.to_dict() for one in self.advice], "fastest": None if fastest is None else fastest.engine,
        }
        return {
            "schema": SCHEMA, "pipeline": self.title, "engine": ",".join(self.engines), "reference": self.first,
            "events": self.found.events, "hits": self.found.hits, "events_with_truth": self.found.with_truth,
            "bands": asdict(self.bands), "selection": {**self.selection.to_dict(), "words": self.selection.describe()},
            "interval_level": LEVEL, "emulated": list(self.emulated), "machine": dict(self.facts), "runs": runs,
            "recommendation": {"rule": self.rule_in_words, **asdict(self.rule), "precision": first.precision,
                               "stages": [one.to_dict() for one in first.stages], **more},
        }
