"""The same input again: the same bits on every run, on a graph large enough for threads to get in each other's way.

A race in a sum over edges (ONNX Runtime's ScatterND with a reduction) shows as runs that differ from each other and from what
is right. Whether the bits are also the same with other numbers of threads is told, and may differ by rounding.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trkx.export.check import Expectation, compared
from trkx.export.validation.engines import Engine, engines_for
from trkx.export.validation.graphs import lost, output_of, row_of, started
from trkx.export.validation.model_file import ModelFile
from trkx.export.validation.report import Row
from trkx.export.zoo import Case, Float, with_attributes

Array = NDArray[Any]
RUNS = 20
HITS, EDGES = 2_000, 200_000
"""Many edges a hit, so that threads meet at the same hits."""


def large_case(hits: Float, edges: int = EDGES, count: int = HITS, seed: int = 0, edge_features: int = 0) -> Case:
    """Return a graph with many random edges on few hits.

    Args:
        hits: features to draw from, float32 [M, F].
        edges: number of edges.
        count: number of hits.
        seed: of the draw.
        edge_features: columns of edge_attr.
    """
    rng = np.random.default_rng(seed)
    source = rng.integers(0, count, edges)
    target = (source + rng.integers(1, max(count, 2), edges)) % count
    name = f"{edges:,} edges on {count:,} hits".replace(",", " ")
    return with_attributes(Case(name, hits[rng.integers(0, len(hits), count)], np.stack([source, target])), edge_features)


def repeatability_rows(
    file: ModelFile, expectation: Expectation, engines: Sequence[Engine] | None = None, runs: int = RUNS
) -> list[Row]:
    """Return one row for each engine and thread count, and one across the thread counts of each engine.

    Args:
        file: the file.
        expectation: of a large graph; a tolerance from one sample is enough.
        engines: all that run the format if None.
        runs: of each engine, at least 2.
    """
    rows: list[Row] = []
    firsts: dict[str, list[tuple[Engine, Array]]] = {}
    for engine in engines_for(file.format) if engines is None else engines:
        row, first = _again(file, engine, expectation, runs)
        rows.append(row)
        if first is not None:
            firsts.setdefault(engine.family, []).append((engine, first))
    rows += [_across(file, family, expectation, found) for family, found in firsts.items() if len(found) > 1]
    return rows


def _again(file: ModelFile, engine: Engine, expectation: Expectation, runs: int) -> tuple[Row, Array | None]:
    name = f"{runs} runs, {expectation.case.name}"
    run, missing = started("repeatability", file, engine, name)
    if run is None:
        return missing[0], None
    first: Array | None = None
    moved, wrong, farthest = 0, "", 0.0
    beyond, difference, tolerance = 0, 0.0, 0.0
    for _ in range(runs):
        output, failure = output_of(run, expectation.case)
        if output is None:
            return lost("repeatability", file, engine, name, failure), None
        here, allowed, problem = compared(expectation, output)
        problem = "" if problem == expectation.problem else problem  # that a graph is blind says nothing of repeatability
        if problem:
            beyond, wrong = beyond + 1, wrong or problem
        if first is None or (problem and beyond == 1):
            difference, tolerance = here, allowed
        first = output if first is None else first
        if not same_bits(first, output):
            moved, farthest = moved + 1, max(farthest, _farthest(first, output))
    told = f"{moved} of {runs - 1} runs differ from the first, by up to {farthest:.3g}"
    problem = f"{beyond} of {runs} runs are wrong: {wrong}" if beyond else ""
    if moved and (problem or engine.repeatable):
        problem = "; ".join(filter(None, (problem, f"{told}: what comes out depends on the timing of threads")))
    detail = f"{told}, as far as rounding goes" if moved else "the same bits every time"
    return row_of("repeatability", file, engine.name, name, difference, tolerance, problem, f"{detail}."), first


def _across(file: ModelFile, family: str, expectation: Expectation, found: Sequence[tuple[Engine, Array]]) -> Row:
    """Return the row of an engine with several numbers of threads: fails if they disagree by more than both may be off."""
    threads = ", ".join(str(engine.threads) for engine, _ in found)
    name = f"{threads} threads, {expectation.case.name}"
    first = found[0][1]
    others = [output for _, output in found[1:]]
    if all(same_bits(first, output) for output in others):
        return row_of("repeatability", file, family, name, 0.0, 0.0, "", "The same bits with every number of threads.")
    distance = np.max([_distance(first, output) for output in others], axis=0)
    allowed = np.broadcast_to(2.0 * expectation.tolerance, distance.shape)
    worst = np.unravel_index((distance / allowed).argmax(), distance.shape)
    told = f"the number of threads changes outputs by up to {distance.max():.3g}"
    problem = "" if distance[worst] <= allowed[worst] else f"{told}, more than rounding does ({allowed[worst]:.2g})"
    detail = f"{told[0].upper()}{told[1:]}, as rounding does; the bits are the same only for the same number."
    return row_of("repeatability", file, family, name, float(distance[worst]), float(allowed[worst]), problem, detail)


def same_bits(one: Array, two: Array) -> bool:
    """Return whether two outputs are the same to the last bit (NaN included)."""
    return one.dtype == two.dtype and one.shape == two.shape and one.tobytes() == two.tobytes()


def _distance(one: Array, two: Array) -> NDArray[np.float64]:
    if one.shape != two.shape:
        return np.full(one.shape, np.inf)
    distance = np.abs(one.astype(np.float64) - two.astype(np.float64))
    return np.where(np.isnan(distance), np.inf, distance)


def _farthest(one: Array, two: Array) -> float:
    return float(_distance(one, two).max(initial=0.0))
