"""Checks of files in half precision: structure, the graph without its roundings, numbers on graphs, decisions on an event."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import onnx
from numpy.typing import NDArray

from trkx.errors import ExportError
from trkx.export.check import Expectation, compared
from trkx.export.precision.oracle import emulated, half_oracle
from trkx.export.precision.planned import strays
from trkx.export.precision.rounding import RoundedGraph
from trkx.export.precision.structure import problems, unrounded
from trkx.export.precision.table import FLOAT32, TYPES, HalfType
from trkx.export.validation.decisions import edge_decisions, pair_decisions
from trkx.export.validation.engines import Run, engines_for
from trkx.export.validation.graphs import brief, output_of, row_of
from trkx.export.validation.model_file import ModelFile
from trkx.export.validation.oracle import Oracle
from trkx.export.validation.report import EdgeScores, Row, Status
from trkx.export.validation.whole_event import Exact
from trkx.export.zoo import Case, feeds_of
from trkx.spec import PipelineSpec

SMALL = 500
"""Edges up to which onnx's evaluator, which multiplies half numbers one by one, is tried."""
STRUCTURE, UNROUNDED, ALL = "float32 where it must be", "casts alone were added", "all graphs"
Tell = Callable[[str], None]


@dataclass(frozen=True)
class HalfFile:
    """A file in half precision with what it is compared with.

    float32: its twin, b"" if it is not there. oracle: of the float64 network, with the type's tolerances.
    """

    file: ModelFile
    half: HalfType
    float32: bytes
    oracle: Oracle


def half_files(files: Sequence[ModelFile], oracles: Mapping[str, Oracle]) -> tuple[list[HalfFile], list[Row]]:
    """Return the files in half precision among a bundle's, each with the float32 file of its stage and target, and lost rows.

    files: of all precisions. oracles: stage to what is right in float64.
    """
    found: list[HalfFile] = []
    rows: list[Row] = []
    made: dict[tuple[str, str], Oracle] = {}  # of one network; its graphs for other targets only sum over edges in other ways
    for file in files:
        if file.precision == FLOAT32:
            continue
        half = TYPES.get(file.precision)
        twin = next((item for item in files if (item.stage, item.format, item.target, item.precision)
                     == (file.stage, "onnx", file.target, FLOAT32)), None)
        if half is None or twin is None or file.format != "onnx":
            why = "the bundle has no float32 ONNX file to compare it with"
            why = f"precision {file.precision!r} is not known" if half is None else why
            rows.append(_row(file, "", ALL, "failed", f"{why}; export the bundle again."))
            continue
        try:
            key = file.stage, half.name
            if key not in made:
                made[key] = half_oracle(twin.data, half, file.stage, oracles[file.stage], file.together)
        except Exception as error:  # onnx's evaluator and protobuf raise many kinds
            rows.append(_row(file, "", ALL, "failed", f"its float32 file: {brief(error)}"))
            continue
        found.append(HalfFile(file, half, twin.data, made[key]))
    return found, rows


def _row(file: ModelFile, engine: str, case: str, status: Status, detail: str = "", group: str = "graphs") -> Row:
    return Row(group, file.stage, file.path, engine, case, status, detail=detail)


def half_rows(item: HalfFile, zoo: Sequence[Expectation]) -> list[Row]:
    """Return the rows of one file on artificial graphs. zoo: of the float64 network, with float32's tolerances."""
    file, row = item.file, _row(item.file, "", STRUCTURE, "passed")
    try:
        model = onnx.load_model_from_string(file.data)
        exact = unrounded(model, onnx.load_model_from_string(item.float32), item.half)
        wrong = problems(model, item.half) or strays(model, item.half, exact)
        plain = RoundedGraph(exact)
    except Exception as error:  # as above
        return [replace(row, status="failed", detail=brief(error))]
    if wrong:
        more = f" ({len(wrong) - 1} more)" if len(wrong) > 1 else ""
        row = replace(row, status="failed", detail=f"{wrong[0]}{more}; export the bundle again.")
    return [row, _unrounded_row(file, plain, zoo), *engine_rows(item, zoo)]


def _unrounded_row(file: ModelFile, plain: RoundedGraph, zoo: Sequence[Expectation]) -> Row:
    """Return one row for all graphs: the file without its roundings against the float64 network, by float32's tolerances."""
    worst = (0.0, 0.0)
    for expectation in zoo:
        found, failure = output_of(lambda case: plain.run(feeds_of(case, plain.inputs)).astype(np.float32), expectation.case)
        difference, tolerance, problem = (0.0, 0.0, f"can't be run: {failure}") if found is None else compared(expectation, found)
        if problem:
            where = f"graph '{expectation.case.name}': {problem}"
            return row_of("graphs", file, "float64, weights unrounded", UNROUNDED, difference, tolerance, where)
        if difference >= worst[0]:
            worst = difference, tolerance
    counted = f"differs by {worst[0]:.2g} at most, where {worst[1]:.2g} is float32's rounding, on {len(zoo)} graphs"
    return _row(file, "float64, weights unrounded", UNROUNDED, "passed", counted)  # no difference of the file as it is


def engines_here(item: HalfFile) -> tuple[list[tuple[str, Run, int]], list[Row]]:
    """Return (name, run, most edges) of what runs a file here, and "not checked" rows of engines that can't load it.

    ONNX Runtime's providers first; where none loads the file, onnx's evaluator on small graphs, and our own emulation.
    """
    found: list[tuple[str, Run, int]] = []
    rows: list[Row] = []
    for engine in engines_for("onnx", (1,)):
        if not engine.decisive:
            continue
        try:
            found.append((engine.name, engine.start(item.file), 2**62))
        except Exception as error:  # the engines have error classes of their own
            why = f"{engine.why_not}." if engine.why_not else f"{item.file.path}: {engine.name} can't load it: {brief(error)}"
            rows.append(_row(item.file, engine.name, ALL, "not checked", why))
    if found:
        return found, rows
    second = [engine for engine in engines_for("onnx", (1,)) if not engine.decisive and not engine.why_not]
    run = partial(_emulated, item)
    return [(f"emulated {item.half.name}", run, 2**62), *((one.name, one.start(item.file), SMALL) for one in second)], rows


def _emulated(item: HalfFile, case: Case) -> NDArray[np.generic]:
    return emulated(item.file.data, item.half, item.file.stage, case, item.file.together)


def engine_rows(item: HalfFile, zoo: Sequence[Expectation]) -> list[Row]:
    """Return the rows of one file on every engine here; where its type moves the outputs too much to see faults: not checked."""
    file, rows = item.file, list[Row]()
    runs, missing = engines_here(item)
    for expectation in zoo:
        case = expectation.case
        wide = item.oracle.expect(case)
        for name, run, most in runs:
            if case.edge_index.shape[1] > most:
                continue
            found, failure = output_of(run, case)
            if found is None:
                rows.append(_row(file, name, case.name, "failed", f"{name} can't run it: {failure}"))
                continue
            difference, tolerance, problem = compared(replace(wide, output=expectation.output), found)
            if problem and problem == wide.problem:  # nothing is wrong, but nothing could be seen either
                sees = f"'{UNROUNDED}' sees them" if item.float32 else "its float32 twin would show them"
                why = f"{item.half.name} may move the outputs too much to see faults by them; {sees}"
                detail = f"{file.path}: {why}"
                rows.append(replace(_row(file, name, case.name, "not checked", detail), difference=difference))
                continue
            rows.append(row_of("graphs", file, name, case.name, difference, tolerance, problem))
    return [*rows, *missing]


def half_decisions(item: HalfFile, exact: Exact, spec: PipelineSpec) -> tuple[list[Row], list[EdgeScores]]:
    """Return the rows of one file on one event: flips inside and outside the band that its precision explains."""
    file = item.file
    if file.stage not in exact.cases:
        return [], []
    case = exact.cases[file.stage]
    try:
        expectation = item.oracle.expect(case, 2)
    except ExportError as error:
        return [_row(file, "", exact.name, "failed", str(error), "decisions")], []
    runs = [(name, run) for name, run, most in engines_here(item)[0] if case.edge_index.shape[1] <= most]
    name, run = runs[0]
    output, failure = output_of(run, case)
    if output is None:
        return [_row(file, name, exact.name, "failed", f"{name} can't run it: {failure}", "decisions")], []
    if file.stage == "embedding":
        row = pair_decisions(file, name, exact.name, expectation, output, spec.needed_graph().radius)
        return [replace(row, detail=f"{file.path}: {row.detail}")], []
    row, score = edge_decisions(file, name, exact.name, expectation, output)
    if score is None:
        return [row], []
    counted = f"{score.flips - score.flips_outside} flips inside the band, {score.flips_outside} outside, of {score.edges} edges"
    more = row.detail.removeprefix(f"{score.flips} of {score.edges} edges flip; ")  # the same count
    return [replace(row, detail=f"{file.path}: {counted}; {more}")], [score]
