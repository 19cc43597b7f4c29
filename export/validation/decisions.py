"""Decisions: which edges of an event change sides of a cut, for every file and engine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from trkx.errors import InputError
from trkx.export.check import Expectation
from trkx.export.validation.bounds import SAMPLES
from trkx.export.validation.engines import engines_for
from trkx.export.validation.flips import Compared, edge_flips, pair_flips
from trkx.export.validation.graphs import output_of, started
from trkx.export.validation.model_file import ModelFile
from trkx.export.validation.oracle import Oracle
from trkx.export.validation.report import EdgeScores, Row, Status
from trkx.export.validation.whole_event import Exact
from trkx.spec import PipelineSpec, logit_of_cut

SAMPLE, NEAREST = 5_000, 1_000
"""Edges that a plot gets: drawn at random, and those nearest to the cut."""


def decision_rows(
    files: Sequence[ModelFile], exact: Exact, oracles: Mapping[str, Oracle], spec: PipelineSpec, threads: Sequence[int],
    samples: int = SAMPLES,
) -> tuple[list[Row], list[EdgeScores]]:
    """Return a row for each file and engine on one event, and scores for the plots from the first engine of each file.

    Args:
        files: model files of a pipeline.
        exact: what the float64 networks make of the event.
        oracles: stage to what is right.
        spec: of the pipeline.
        threads: of CPU engines.
        samples: of rounding, see `trkx.export.validation.bounds`.
    """
    rows: list[Row] = []
    scores: list[EdgeScores] = []
    expected = {stage: oracle.expect(exact.cases[stage], samples) for stage, oracle in oracles.items() if stage in exact.cases}
    for file in files:
        if file.stage not in expected:
            why = f"the event has no edge for the {file.stage}, so there is nothing to decide"
            rows.append(_row(file, "", exact.name, "not checked", why))
            continue
        drawn = False
        for engine in engines_for(file.format, threads):
            run, missing = started("decisions", file, engine, exact.name)
            rows += missing
            if run is None or not engine.decisive:
                continue
            output, failure = output_of(run, exact.cases[file.stage])
            if output is None:
                rows.append(_row(file, engine.name, exact.name, "failed", f"{engine.name} can't run it: {failure}"))
            elif file.stage == "embedding":
                radius = spec.needed_graph().radius
                rows.append(pair_decisions(file, engine.name, exact.name, expected[file.stage], output, radius))
            else:
                row, score = edge_decisions(file, engine.name, exact.name, expected[file.stage], output)
                rows.append(row)
                scores += [score] if score is not None and not drawn else []
                drawn = True
    return rows, scores


def edge_decisions(
    file: ModelFile, engine: str, event: str, expectation: Expectation, output: NDArray[np.generic]
) -> tuple[Row, EdgeScores | None]:
    """Return the row of one classifier file on one event, and the scores for the plots (None if there is nothing to plot).

    Args:
        file: a filter or a graph network whose cut is known.
        engine: name of what ran it.
        event: name of the event.
        expectation: what the float64 network says of the event's graph, with tolerances.
        output: of the file, [E, 1] or [E].
    """
    if file.cut is None:
        return _row(file, engine, event, "not checked", "the cut is not known: a file on its own does not say it"), None
    if problem := _unusable(output, expectation):
        return _row(file, engine, event, "failed", problem), None
    if not expectation.output.size:
        return _row(file, engine, event, "not checked", "the event has no edge at this stage"), None
    result = edge_flips(expectation, output, logit_of_cut(file.cut))
    row = _verdict(file, engine, event, result, logit_of_cut(file.cut), "logit")
    return row, _scores(file, engine, event, result, file.cut)


def pair_decisions(
    file: ModelFile, engine: str, event: str, expectation: Expectation, output: NDArray[np.generic], radius: float
) -> Row:
    """Return the row of an embedding on one event: which pairs of hits are on different sides of the radius.

    Args:
        file: an embedding.
        engine: name of what ran it.
        event: name of the event.
        expectation: what the float64 network says, places float64 [N, D] with tolerances.
        output: of the file, [N, D].
        radius: within which a pair becomes an edge.
    """
    if problem := _unusable(output, expectation):
        return _row(file, engine, event, "failed", problem)
    try:
        result = pair_flips(expectation, output, radius)
    except InputError as error:
        return _row(file, engine, event, "failed", f"the places give no usable graph: {error}")
    if not result.flips.edges:
        return _row(file, engine, event, "not checked", f"no two hits of the event are within the radius {radius:g}")
    return _verdict(file, engine, event, result, radius, "distance")


def _unusable(output: NDArray[np.generic], expectation: Expectation) -> str:
    if output.size != expectation.output.size:
        return f"expected output of shape {list(expectation.output.shape)}, found {list(output.shape)}"
    bad = int(np.count_nonzero(~np.isfinite(output.astype(np.float64))))
    return f"{bad} of {output.size} outputs are NaN or infinite" if bad else ""


def _verdict(file: ModelFile, engine: str, event: str, compared: Compared, boundary: float, what: str) -> Row:
    """Turn flips into a row. Its numbers are those of the flip farthest from the cut, in units of its tolerance."""
    result, difference, allowed, worst = compared.flips, None, None, ""
    if len(result.flipped):
        rows = result.wild if len(result.wild) else result.flipped
        exact, found, tolerance = compared.exact[rows], compared.found[rows], compared.tolerance[rows]
        reach = np.maximum(np.abs(exact - boundary), np.abs(found - exact))
        at = int((reach / np.maximum(tolerance, np.finfo(np.float64).tiny)).argmax())
        difference, allowed = float(reach[at]), float(tolerance[at])
        worst = (f"; the worst is edge {rows[at]}: {what} {found[at]:.9g} instead of {exact[at]:.9g} at the cut {boundary:.9g}, "
                 f"where rounding moves it by {allowed:.2g}")
    if result.problem:
        advice = ". The file is not this network, or the engine computes it wrongly: run trkx lint on it, or export it again"
        return _row(file, engine, event, "failed", result.problem + worst + advice, difference, allowed)
    counted = f"{len(result.flipped)} of {result.edges} edges flip; {result.band} are within rounding of the cut"
    if result.blind:
        return _row(file, engine, event, "not checked", f"{counted}, too many to prove anything", difference, allowed)
    return _row(file, engine, event, "passed", f"{counted}, of which {result.cap} may{worst}", difference, allowed)


def _row(
    file: ModelFile, engine: str, event: str, status: Status, detail: str,
    difference: float | None = None, tolerance: float | None = None,
) -> Row:
    return Row("decisions", file.stage, file.path, engine, event, status, difference, tolerance, detail)


def _scores(file: ModelFile, engine: str, event: str, compared: Compared, cut: float) -> EdgeScores:
    result, rng = compared.flips, np.random.default_rng(0)
    distance = np.abs(compared.exact - logit_of_cut(cut))
    few = rng.choice(result.edges, min(SAMPLE, result.edges), replace=False)
    nearest = np.argsort(distance, kind="stable")[:NEAREST]  # a random sample has next to none of them
    chosen = np.unique(np.concatenate([few, nearest, result.flipped[:SAMPLE]]))
    near = compared.tolerance[distance <= max(1.0, float(distance.min()))]
    return EdgeScores(
        file.stage, file.path, engine, event, cut, result.edges, len(result.flipped), len(result.wild),
        compared.exact[chosen].tolist(), compared.found[chosen].tolist(), float(np.median(near)),
    )
