"""Which precision each network should run in, by a rule that is said."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from trkx.runtime.compare.changes import Changes
from trkx.runtime.compare.physics import Change
from trkx.runtime.compare.times import StageTime
from trkx.runtime.precision import precisions

EMULATED = "computed in float32 on this machine"
"""Of a precision whose time says nothing here."""


@dataclass(frozen=True)
class Rule:
    """When a precision will do.

    outside: which part of a stage's decisions may change outside the band, on the reference's inputs; its upper limit (95 %) too,
    which takes 30 000 decisions if none changed. loss: the most efficiency that may be missing. gain: which part of the
    stage's time it has to save, so that it is more than noise. width: half the width that the interval of the efficiency may
    have; where it is wider, there are too few events to tell.
    """

    outside: float = 1e-4
    loss: float = 1e-3
    gain: float = 0.05
    width: float = 0.02

    def words(self, first: str, baseline: str) -> str:
        """Return the rule as a sentence. first: what decisions are compared with. baseline: what times are compared with."""
        return (
            f"Of each network the fastest precision, at least {100 * self.gain:g} % faster than {baseline}, whose flips outside "
            f"the band are at most {100 * self.outside:g} % of its decisions on the inputs of {first} (by the upper limit, 95 %, "
            f"too: no flips tell so from {3.0 / self.outside:,.0f} decisions on), and for which a run was "
            f"compared whose change of the efficiency is compatible with 0 (95 % interval, at most ±{100 * self.width:g} "
            f"percentage points) and, by its central value, not below -{100 * self.loss:g} percentage points; otherwise "
            f"{baseline}. Without truth the efficiency is not asked for."
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
        emulated: precisions that this machine computes in float32: their time says nothing; they are judged by what they
            change, and not advised.
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
            if precision in emulated or own in emulated:
                of = "" if precision in emulated else f"{own} is "
                said = f"; {of}{EMULATED}" if problems else f", not timed: {of}{EMULATED}"
                verdict = f"no{_listed(problems)}" if problems else "accurate enough"
                why.append(f"{precision}: {verdict}{said} ({', '.join(facts)}).")
                continue
            if seconds is not None and before:
                facts.append(f"{_ratio(before.mean / seconds)} {own}")
            if seconds is None:
                problems.append("no time was measured")
            elif before and seconds > before.mean * (1.0 - rule.gain):
                problems.append(f"not {100 * rule.gain:g} % faster than {own}")
            if not problems and seconds is not None and seconds <= shortest:
                best, shortest = precision, seconds
            why.append(f"{precision}: {'no' if problems else 'will do'}{_listed(problems)} ({', '.join(facts)}).")
        found.append(Advice(stage, best, tuple(why)))
    return found


def _judged(stage: str, runs: Mapping[str, Changes], rule: Rule) -> tuple[list[str], list[str]]:
    """Return what speaks against a precision, and what was found."""
    problems, facts = [], []
    decisions = next(iter(runs.values())).alone[stage].decisions
    facts.append(f"{100 * decisions.outside_part:.2g} % of {decisions.decided:,} decisions flip outside the band")
    if decisions.outside_part > rule.outside:
        problems.append(f"more than {100 * rule.outside:g} % of its decisions flip outside the band")
    elif (limit := upper_limit(decisions.outside, decisions.decided)) > rule.outside:
        problems.append(f"too few decisions to tell: up to {100 * limit:.3g} % may flip outside the band")
    measured = {name: run.truth.efficiency for name, run in runs.items() if run.truth is not None}
    known = {name: change for name, change in measured.items() if change is not None}
    if measured and not known:
        problems.append("too few events to tell: no particle passes the cuts")
    if known:
        name, change = max(known.items(), key=lambda item: item[1].value)
        facts.append(f"efficiency {100 * change.value:+.2f} percentage points ({100 * change.low:+.2f} to "
                     f"{100 * change.high:+.2f}) in the run {name}")
        harmless = [one for one in known.values() if _harmless(one, rule)]
        widths = [(one.high - one.low) / 2 for one in harmless]
        if widths and min(widths) > rule.width:
            problems.append(f"too few events to tell: the efficiency is known to ±{100 * min(widths):.1f} percentage points "
                            f"only, at most ±{100 * rule.width:g} are asked for")
        if not harmless:
            problems.append(f"no run with it keeps the efficiency (compatible with 0, central value not below "
                            f"-{100 * rule.loss:g} percentage points)")
    return problems, facts


def upper_limit(count: int, total: int) -> float:
    """Return the part that a count out of a total stands for at most, at 95 % (Clopper and Pearson, one side); 1 for no total."""
    from scipy.special import betaincinv

    return float(betaincinv(count + 1, total - count, 0.95)) if count < total else 1.0


def _harmless(change: Change, rule: Rule) -> bool:
    return change.high >= 0.0 and change.value >= -rule.loss


def _listed(problems: Sequence[str]) -> str:
    return "".join(f"; {one}" for one in problems)


def _ratio(times_faster: float) -> str:
    return f"{times_faster:.2f} x as fast as"
