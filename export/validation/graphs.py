"""Every engine on every graph, against what is right: the first thing that a file must pass."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from trkx.export.check import Expectation, compared
from trkx.export.validation.engines import Engine, Run, engines_for
from trkx.export.validation.model_file import ModelFile
from trkx.export.validation.report import Row, Status
from trkx.export.zoo import Case


def graph_rows(file: ModelFile, expectations: Sequence[Expectation], engines: Sequence[Engine] | None = None) -> list[Row]:
    """Return one row for each engine and graph; an engine that is not here gives one row, "not checked".

    Wrong numbers, shapes and types, NaN, and files that an engine can't load or run are failed rows. So is a graph on which
    rounding alone moves the outputs so much that nothing could be seen.

    Args:
        file: the file.
        expectations: from `trkx.export.validation.oracle`.
        engines: all that run the format if None.
    """
    rows = []
    for engine in engines_for(file.format) if engines is None else engines:
        run, missing = started("graphs", file, engine)
        if run is None:
            rows += missing
            continue
        rows += [compared_row("graphs", file, engine, expectation, run) for expectation in expectations]
    return rows


def started(group: str, file: ModelFile, engine: Engine, case: str = "all graphs") -> tuple[Run | None, list[Row]]:
    """Return what runs a file on an engine, or None and the row that says why there is nothing to run."""
    if engine.why_not:
        return None, [Row(group, file.stage, file.path, engine.name, case, "not checked", detail=_sentence(engine.why_not))]
    try:
        return engine.start(file), []
    except Exception as error:  # the engines have error classes of their own
        status: Status = "failed" if engine.decisive else "not checked"
        detail = f"{engine.name} can't load the file: {brief(error)}"
        return None, [Row(group, file.stage, file.path, engine.name, case, status, detail=detail)]


def compared_row(
    group: str, file: ModelFile, engine: Engine, expectation: Expectation, run: Run, name: str | None = None
) -> Row:
    """Run one graph and return its row. `name`: of the case, the graph's own if None."""
    name = expectation.case.name if name is None else name
    found, failure = output_of(run, expectation.case)
    if found is None:
        return lost(group, file, engine, name, failure)
    difference, tolerance, problem = compared(expectation, found)
    return row_of(group, file, engine.name, name, difference, tolerance, problem)


def lost(group: str, file: ModelFile, engine: Engine, case: str, failure: str) -> Row:
    """Return the row of a graph that an engine could not run: not held against the file if the engine is not decisive."""
    status: Status = "failed" if engine.decisive else "not checked"
    return Row(group, file.stage, file.path, engine.name, case, status, detail=f"{engine.name} can't run it: {failure}")


def row_of(group: str, file: ModelFile, engine: str, case: str, difference: float, tolerance: float, problem: str,
           detail: str = "") -> Row:
    """Return a row that failed if there is a problem, and passed otherwise; NaN and infinity are left out."""
    known = math.isfinite(difference)
    status: Status = "failed" if problem else "passed"
    return Row(
        group, file.stage, file.path, engine, case, status, difference if known else None, tolerance if known else None,
        _sentence(problem) or detail,
    )


def output_of(run: Callable[[Case], NDArray[np.generic]], case: Case) -> tuple[NDArray[np.generic] | None, str]:
    """Return the output of a graph, or None and what went wrong."""
    try:
        return run(case), ""
    except Exception as error:  # the engines have error classes of their own
        return None, brief(error)


def brief(error: Exception, most: int = 300) -> str:
    """Return the message of an engine's error on one line, its end left out if it is long; the class if there is none."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= most else f"{text[:most]} …"


def _sentence(text: str) -> str:
    return text if not text or text.endswith((".", "…")) else f"{text}."
