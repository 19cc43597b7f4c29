"""Which precision each network should run in, by a rule that is said."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import fmean

from trkx.runtime.compare.changes import Changes
from trkx.runtime.compare.physics import Change
from trkx.runtime.compare.times import StageTime
from trkx.runtime.precision import precisions


@dataclass(frozen=True)
class Rule:
    """When a precision will do.

    outside: which part of a stage's decisions may change outside the band, on the reference's inputs. loss: the most efficiency
    that may be missing. gain: which part of the stage's time it has to save, so that it is more than noise. width: half the
    width that the interval of the efficiency may have; where it is wider, there are too few events to tell.
    """

    outside: float = 1e-4
    loss: float = 1e-3
    gain: float = 0.05
    width: float = 0.02

    def words(self, first: str, baseline: str) -> str:
        """Return the rule as a sentence. first: what decisions are compared with. baseline: what times are compared with."""
        return (
            f"Of each network the fastest precision, at least {100 * self.gain:g} % faster than {baseline}, whose flips outside "
            f"the band are at most {100 * self.outside:g} % of its decisions on the inputs of {first}, and for which a run was "
            f"compared whose change of the efficiency is compatible with 0 (95 % interval, at most "
            f"±{100 * self.width:g} %) and not below -{100 * self.loss:g} %; otherwise {baseline}. Without truth the efficiency "
            "is not asked for."
        )


@dataclass(frozen=True)
class Advice:
    """stage: a network. precision: what it should run in. why: a sentence for each precision that was compared."""

    stage: str
    precision: str
    why: tuple[str, ...]

    def to_dict(self) -> dict[str, object]:
        """Return it as plain containers."""
        return {"stage": self.stage, "precision": self.precision, "why": list(self.why)}


def advice(
    names: Mapping[str, str], changes: Mapping[str, Changes], times: Mapping[str, Mapping[str, StageTime]], rule: Rule,
    emulated: tuple[str, ...] = (),
) -> list[Advice]:
    """Return the advice for each network.

    Args:
        names: name of a run to its precisions, as `trkx.runtime.precision` reads them, all of one engine; the first is the one
            whose time counts.
        changes: by name, of the runs that were compared with the reference: the first, or one of another engine.
        times: by name, then stage.
        rule: when a precision will do.
        emulated: precisions that this machine computes in float32: their time says nothing, and they are not advised.
    """
    first = next(iter(names))
    by_stage = {name: precisions(text) for name, text in names.items()}
    stages = list(next(iter(changes.values())).alone) if changes else []
    found = []
    for stage in stages:
        own, before = by_stage[first][stage], times.get(first, {}).get(stage)
        best, shortest, why = own, before.mean * (1.0 - rule.gain) if before else 0.0, []
        for precision in dict.fromkeys(by_stage[name][stage] for name in changes):
            if precision == own:
                continue
            runs = {name: changes[name] for name in changes if by_stage[name][stage] == precision}
            problems, facts = _judged(stage, runs, rule)
            timed = [times[name][stage].mean for name in runs if stage in times.get(name, {})]
            seconds = fmean(timed) if timed else None
            if seconds is not None and before:
                facts.append(f"{_ratio(before.mean / seconds)} {own}")
            if precision in emulated:
                problems.append("computed in float32 on this machine, so that its time says nothing: time it where it is native")
            elif seconds is None:
                problems.append("no time was measured")
            elif before and seconds > before.mean * (1.0 - rule.gain):
                problems.append(f"not {100 * rule.gain:g} % faster than {own}")
            if not problems and seconds is not None and seconds <= shortest:
                best, shortest = precision, seconds
            why.append(f"{precision}: {'no' if problems else 'will do'}{''.join(f'; {one}' for one in problems)} "
                       f"({', '.join(facts)}).")
        found.append(Advice(stage, best, tuple(why)))
    return found


def _judged(stage: str, runs: Mapping[str, Changes], rule: Rule) -> tuple[list[str], list[str]]:
    """Return what speaks against a precision, and what was found."""
    problems, facts = [], []
    part = next(iter(runs.values())).alone[stage].decisions.outside_part
    facts.append(f"{100 * part:.2g} % flip outside the band")
    if part > rule.outside:
        problems.append(f"more than {100 * rule.outside:g} % of its decisions flip outside the band")
    measured = {name: run.truth.efficiency for name, run in runs.items() if run.truth is not None}
    known = {name: change for name, change in measured.items() if change is not None}
    if known:
        name, change = max(known.items(), key=lambda item: item[1].value)
        facts.append(f"efficiency {100 * change.value:+.2f} % ({100 * change.low:+.2f} to {100 * change.high:+.2f}) in the run "
                     f"{name}")
        harmless = [one for one in known.values() if _harmless(one, rule)]
        widths = [(one.high - one.low) / 2 for one in harmless]
        if widths and min(widths) > rule.width:
            problems.append(f"too few events to tell: the efficiency is known to ±{100 * min(widths):.1f} % only, at most "
                            f"±{100 * rule.width:g} % is asked for")
        if not harmless:
            problems.append(f"no run with it keeps the efficiency (compatible with 0, not below -{100 * rule.loss:g} %)")
    return problems, facts


def _harmless(change: Change, rule: Rule) -> bool:
    return change.high >= 0.0 and change.value >= -rule.loss


def _ratio(times_faster: float) -> str:
    return f"{times_faster:.2f} x as fast as"
