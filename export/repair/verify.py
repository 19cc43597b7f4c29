"""Before and after: a repaired file must be what the original was meant to be, by float64 and by ONNX Runtime."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import onnx

from trkx.errors import ExportError
from trkx.export.onnx_graph import HALF
from trkx.export.repair.axes import frozen_sizes
from trkx.export.repair.change import Request
from trkx.export.repair.float64 import Array, Evaluate, evaluator
from trkx.export.repair.sides import ENGINE_ERRORS, Float64, Side, Sizes, expected, flat, side_of
from trkx.export.repair.trials import Maker, Trial, maker_of
from trkx.export.validation.report import Row, Status, overwrote

SAME = 1e-9
"""Largest difference of two float64 evaluations of the same formula, relative to the largest output (or 1)."""
NOISE_FACTOR, NOISE_FLOOR = 16.0, 16.0
"""Tolerance over the largest rounding that is measured on a graph, and its floor in epsilons of the largest output (or 1)."""
BLIND = {False: 0.02, True: 0.25}
"""A tolerance above this fraction of the largest output (or 1) could hide a fault, in float32 and in half precision."""
RUNS, THREADS = 20, (1, 2)
BOTH, ENGINE = "float64, both files", "ONNX Runtime CPU"


def verified(
    before: onnx.ModelProto, after: onnx.ModelProto, request: Request, meant: Sequence[tuple[str, str]] = (),
    scores: bool = False, only: Sequence[str] = (),
) -> list[Row]:
    """Return what came of every comparison; a file of which a row has failed must not be written.

    The original, evaluated in float64 with numpy's `add.at` where a scatter was meant as a sum, is compared with the repaired
    file in float64, and that with ONNX Runtime, on the graphs of the zoo, also with permuted edges. Where no index repeats, both
    files are compared on ONNX Runtime as they are. Then the repaired file is run again and again on 5 000 edges.

    Args:
        before: the file as it was, apart from order, functions and external data.
        after: the repaired file.
        request: with the target and the stage.
        meant: scatters of `before` that are evaluated as "sum" or "mean".
        scores: `before` gives the sigmoid of what `after` gives.
        only: names of graphs, to look at these and no others; all if empty.

    Raises:
        ExportError: the original can't be evaluated, so that nothing can be said of it.
    """
    rng = np.random.default_rng(0)
    old, new = side_of(before, request, meant), side_of(after, request)
    maker, sizes = maker_of(new.doors), frozen_sizes(before, request)
    pairs = [(trial, wanted) for trial, wanted in expected(old, maker, sizes, rng) if not only or trial.name in only]
    results = [_formula(new, trial, wanted, scores) for trial, wanted in pairs]
    rows = [row for row, _ in results]
    if new.met:
        rows.append(_row("graphs", "what overwrites", "not checked", overwrote(new.met)))
    if any(row.status == "failed" for row in rows):
        return rows
    half = any(item.data_type in HALF for item in after.graph.initializer)
    native = evaluator(after, new.output, double=False)
    cases = [_case(new, native, trial, exact, half) for (trial, _), (_, exact) in zip(pairs, results, strict=True)]
    try:
        rows += _numbers(new, cases, half, rng)
        rows += _repeatable(new, maker, rng)
    except ENGINE_ERRORS as error:
        rows.append(_row("graphs", "all", "failed", f"ONNX Runtime can't run the repaired file: {_line(error)}", ENGINE))
        return rows
    return rows + list(_before_and_after(old, new, cases, sizes, meant, scores))


@dataclass(frozen=True)
class Case:
    """A graph, the repaired file's output in float64, [rows, columns], and by how much the file's own types may move it."""

    trial: Trial
    exact: Float64
    tolerance: float


def _formula(new: Side, trial: Trial, wanted: Float64, scores: bool) -> tuple[Row, Float64]:
    """Compare both files in float64: the same formula gives the same numbers, but for the order of sums."""
    try:
        exact = new.wanted(trial)
    except ExportError as error:
        return _row("graphs", trial.name, "failed", f"the repaired file does not take this graph: {error}"), wanted
    found = _sigmoid(exact) if scores else exact
    if len(found) != new.rows(trial) or found.shape != wanted.shape or not np.isfinite(found).all():
        detail = f"outputs {list(found.shape)}, expected finite ones {[new.rows(trial), *wanted.shape[1:]]}"
        return _row("graphs", trial.name, "failed", detail), exact
    limit, worst = SAME * _size(wanted), float(np.abs(found - wanted).max(initial=0.0))
    status: Status = "passed" if worst <= limit else "failed"
    detail = "" if status == "passed" else "the repaired file is another formula than the original was meant to be"
    return Row("graphs", "", "", BOTH, trial.name, status, worst, limit, detail), exact


def _case(new: Side, native: Evaluate, trial: Trial, exact: Float64, half: bool) -> Case:
    """Measure what rounding does: the reference evaluator in the file's own types against itself in float64."""
    noise = float(np.abs(flat(native(trial.feeds(new.doors))) - exact).max(initial=0.0))
    eps = float(np.finfo(np.float16 if half else np.float32).eps)
    return Case(trial, exact, max(NOISE_FACTOR * noise, NOISE_FLOOR * eps * _size(exact)))


def _numbers(new: Side, cases: Sequence[Case], half: bool, rng: np.random.Generator) -> Iterator[Row]:
    """Compare ONNX Runtime with float64, in the given and in another order of edges, within the rounding that is measured."""
    run, proven = new.session(1), False
    for case in cases:
        trial = case.trial
        if not case.tolerance <= BLIND[half] * _size(case.exact):
            yield _row("graphs", trial.name, "not checked", "rounding alone moves the outputs too much here", ENGINE)
            continue
        proven = proven or case.exact.size > 0
        yield _compared("graphs", trial.name, run(trial.feeds(new.doors)), case.exact, case.tolerance)
        order = rng.permutation(trial.edges.shape[1])
        if new.doors.classifier and len(order) > 1:
            found = run(trial.permuted(order).feeds(new.doors))
            yield _compared("invariance", f"{trial.name}, permuted", found, case.exact[order], case.tolerance)
    if not proven:
        yield _row("graphs", "all", "failed", "rounding moves the outputs so much that no graph proves anything", ENGINE)


def _compared(group: str, case: str, found: Array, exact: Float64, tolerance: float, detail: str = "") -> Row:
    given = flat(found)
    if given.shape != exact.shape or not np.isfinite(given).all():
        return _row(group, case, "failed", f"outputs {list(given.shape)}, expected finite ones {list(exact.shape)}", ENGINE)
    worst = float(np.abs(given - exact).max(initial=0.0))
    if worst <= tolerance:
        return Row(group, "", "", ENGINE, case, "passed", worst, tolerance)
    detail = detail or "ONNX Runtime does not compute what the graph says"
    return Row(group, "", "", ENGINE, case, "failed", worst, tolerance, detail)


def _repeatable(new: Side, maker: Maker, rng: np.random.Generator) -> Iterator[Row]:
    """Run a graph of many repeated indices again and again: the same bits each time."""
    trial = maker.trial("5 000 edges of 50 hits", 50, rng.integers(0, 50, (2, 5_000)), rng)
    for threads in THREADS:
        engine = f"{ENGINE}, {threads} thread{'s' if threads > 1 else ''}"
        if new.races and threads > 1:
            why = "ScatterND that adds races on a CPU, not on this target"
            yield _row("repeatability", trial.name, "not checked", why, engine)
            continue
        run, feeds = new.session(threads), trial.feeds(new.doors)
        first = run(feeds).tobytes()
        same = 1 + sum(run(feeds).tobytes() == first for _ in range(RUNS - 1))
        status: Status = "passed" if same == RUNS else "failed"
        yield _row("repeatability", trial.name, status, f"{same} of {RUNS} runs gave the same bits", engine)


def _before_and_after(
    old: Side, new: Side, cases: Sequence[Case], sizes: Sizes, meant: Sequence[tuple[str, str]], scores: bool
) -> Iterator[Row]:
    """Compare both files on ONNX Runtime where no index repeats, so that it was right; tell how wrong it was elsewhere."""
    if sizes != (None, None):
        yield _row("graphs", "before and after", "not checked", "the original takes one size only; compared in float64", ENGINE)
        return
    literal = evaluator(old.model, old.output)
    moved, where = 0.0, ""
    try:
        first, second = old.session(1), new.session(1)
        for case in cases:
            trial = case.trial
            was, now = flat(first(trial.feeds(old.doors))), flat(second(trial.feeds(new.doors)))
            now = _sigmoid(now) if scores else now
            right = _distinct(trial) and np.array_equal(flat(literal(trial.feeds(old.doors))), old.wanted(trial))
            if right or not meant:
                name, detail = f"{trial.name}, before and after", "the file gives something else than before"
                yield _compared("graphs", name, now, was, case.tolerance, detail)
            elif was.size and float(np.abs(was - now).max()) > moved:
                moved, where = float(np.abs(was - now).max()), trial.name
    except ENGINE_ERRORS as error:
        yield _row("graphs", "before and after", "not checked", f"ONNX Runtime can't run the original: {_line(error)}", ENGINE)
    if where:
        detail = f"outputs move by {moved:.2g}; how wrong the original was"  # for the reader; nothing is compared that could fail
        yield Row("graphs", "", "", ENGINE, f"{where}, before and after", "not checked", moved, None, detail)


def _distinct(trial: Trial) -> bool:
    """Return whether no hit is twice at the same end of an edge: only then can an overwriting scatter have been right."""
    return all(len(np.unique(row)) == len(row) for row in trial.edges)


def _sigmoid(logits: Float64) -> Float64:
    with np.errstate(over="ignore"):
        return np.asarray(1.0 / (1.0 + np.exp(-logits)))


def _size(output: Float64) -> float:
    return max(1.0, float(np.abs(output).max(initial=0.0)))


def _row(group: str, case: str, status: Status, detail: str, engine: str = BOTH) -> Row:
    return Row(group, "", "", engine, case, status, detail=detail)


def _line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
