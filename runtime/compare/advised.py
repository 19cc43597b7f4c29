"""A recommendation in words: of each network what to run it in and why, then commands to copy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from trkx.runtime.compare.recommend import EMULATED
from trkx.runtime.compare.report import Comparison, EngineAdvice
from trkx.runtime.compare.runs import emulated_words
from trkx.runtime.engines import ENGINES

DEFAULT = "tiled"
"""The engine of `trkx run` that nobody has to name."""
NATIVE = "triton"
"""The engine that runs all precisions as what they are, on a GPU."""
Kind = Literal["engine", "network", "why", "text", "label", "command"]


@dataclass(frozen=True)
class Told:
    """A line. kind: an engine as heading, a network and its precision, a reason for it, words, what a command does, a command."""

    kind: Kind
    text: str


def recommendation(comparison: Comparison) -> list[Told]:
    """Return what to do: one network after another, with why; then what to type."""
    several = len(comparison.engines) > 1
    lines = [line for one in comparison.advice for line in _advised(comparison, one, several)]
    if not several or (best := comparison.fastest) is None:
        return lines
    others = ", ".join(f"{_faster(one.seconds, best.seconds)} times as fast as {one.run}" for one in comparison.advice
                       if one is not best and one.run != best.run and one.seconds)
    return [*lines, Told("text", f"Fastest of these as timed here: {best.run}, {others}.")]


def _advised(comparison: Comparison, advised: EngineAdvice, several: bool) -> list[Told]:
    lines = [Told("engine", f"Engine {advised.engine}")] if several else []
    for one in advised.stages:
        lines += [Told("network", f"{one.stage}: {one.precision}"), *(Told("why", why) for why in one.why)]
    if not advised.stages:
        none = "No precision could be compared." if not several else "No other precision of it could be compared."
        return [*lines, Told("text", none)]
    lines += _native(comparison, advised.engine)
    if not comparison.times.stages:
        return [*lines, Told("text", "No times were measured, so nothing is recommended: --rounds 2 measures them.")]
    told = advised.precision
    engine = f" --engine {advised.engine}" if several or advised.engine != DEFAULT else ""
    engine += f" --device {comparison.device}" if comparison.device and advised.engine not in ENGINES else ""
    lines += [
        Told("label", f"To run events as recommended{f' with {advised.engine}' if several else ''}:"),
        Told("command", f"trkx run {comparison.inputs} --out tracks{engine} --precision {told}"),
    ]
    if not advised.run:
        first = next(run.precision for run in comparison.runs.values() if run.engine == advised.engine)
        lines += [
            Told("label", "These precisions were not compared together. To do so first:"),
            Told("command", f"trkx compare {comparison.inputs}{engine} --precision {_word(first)},{_word(told)}"),
        ]
    return lines


def _native(comparison: Comparison, engine: str) -> list[Told]:
    """Return how to time what is computed in float32 here and was not found wrong."""
    runs = [run for name, run in comparison.runs.items() if run.engine == engine and name not in comparison.failed]
    emulated = [run.precision for run in runs if emulated_words(engine, run.precision)]
    words = sorted({word for text in emulated for word in emulated_words(engine, text)})
    if not words or NATIVE in comparison.engines:
        return []
    exact = next((run.precision for run in runs if run.precision not in emulated), "fp32")
    listed = ",".join(map(_word, (exact, *emulated)))
    return [
        Told("label", f"{' and '.join(words)}: {EMULATED}. To time {'it' if len(words) == 1 else 'them'} on a GPU:"),
        Told("command", f"trkx compare {comparison.inputs} --engine {NATIVE} --precision {listed}"),
    ]


def _word(precision: str) -> str:
    """Return precisions as one word of a list of runs."""
    return precision.replace(",", "+")


def _faster(slow: float | None, fast: float | None) -> str:
    return f"{slow / fast:.2f}" if slow and fast else "-"
