"""What must not matter: the order of edges and hits, edges listed twice, hits without edges. Needs no reference.

What holds for every message-passing network that gathers with a sum, mean or maximum, whatever its weights:
- edges in another order give the same logits in that order; a scatter without reduction fails here, on any graph in which
  hits have several edges, since it keeps the message that comes last;
- hits with other numbers give the same logits, edge by edge (ACTS's files, which turn edges outwards and take the lower number
  first where two hits are equally far, may count on the order of such hits);
- a hit without edges changes no logit;
- if every edge is listed twice, the two copies have the same logit (the copies are shuffled among each other).
How the logits change when edges are listed twice depends on the network: sums double, means stay. So there the doubled graph
is compared with the oracle, which has doubled sums. A filter looks at one edge at a time: there the copies must have the
logit of the edge alone, and edges in several portions that of all edges at once. An embedding looks at one hit at a time.

Two runs of the same thing may each be off by the tolerance of the output, so they may differ by twice as much.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from trkx.export.acts.form import Outwards
from trkx.export.check import Expectation
from trkx.export.validation.engines import Engine, Run, engines_for
from trkx.export.validation.graphs import compared_row, lost, output_of, row_of, started
from trkx.export.validation.model_file import ModelFile
from trkx.export.validation.oracle import Oracle
from trkx.export.validation.report import Row
from trkx.export.zoo import Case

Array = NDArray[Any]
Float64 = NDArray[np.float64]
Int = NDArray[np.int64]
PROBES = (
    "event", "star", "star outwards", "duplicate edges", "complete bipartite", "Pareto degrees", "self loops",
    "more edges than hits, wide features",
)
"""Graphs that are changed; on others (a path, one edge) no fault of summation shows."""
DOUBLED = ("star", "duplicate edges", "complete bipartite", "Pareto degrees")
"""Those whose edges are listed twice for a graph network: each needs a float64 result of its own."""


Make = Callable[[Case, np.random.Generator], tuple[list[Case], Int]]
"""(graph, generator) to the changed graphs, and for each row of their outputs, one after the other, its row before."""


def _permuted_edges(case: Case, rng: np.random.Generator) -> tuple[list[Case], Int]:
    order = rng.permutation(case.edge_index.shape[1])
    return [case.with_edges(order)], order


def _relabelled_hits(case: Case, rng: np.random.Generator) -> tuple[list[Case], Int]:
    number = rng.permutation(len(case.x))  # the new number of each hit
    x = np.empty_like(case.x)
    x[number] = case.x
    return [replace(case, x=x, edge_index=number[case.edge_index])], np.arange(case.edge_index.shape[1])


def _relabelled_but_ties(outwards: Outwards, case: Case, rng: np.random.Generator) -> tuple[list[Case], Int]:
    """Give hits other numbers, but leave the order of those that are equally far: there the file's source is the lower one."""
    distance = outwards.squared_distance(torch.from_numpy(case.x)).numpy()
    number = rng.permutation(len(case.x))
    order = np.lexsort((np.arange(len(number)), distance))
    number[order] = number[np.lexsort((number, distance))]
    x = np.empty_like(case.x)
    x[number] = case.x
    return [replace(case, x=x, edge_index=number[case.edge_index])], np.arange(case.edge_index.shape[1])


def _one_more_hit(case: Case, rng: np.random.Generator) -> tuple[list[Case], Int]:
    x = np.concatenate([case.x, rng.permutation(case.x[:1], axis=1)])
    return [replace(case, x=x)], np.arange(case.edge_index.shape[1])


def _portions_of_edges(case: Case, rng: np.random.Generator) -> tuple[list[Case], Int]:
    size = case.edge_index.shape[1]
    parts = np.split(np.arange(size), [1, size // 3])
    return [case.with_edges(part) for part in parts], np.arange(size)


def _edges_twice(case: Case, rng: np.random.Generator) -> tuple[list[Case], Int]:
    order = rng.permutation(2 * case.edge_index.shape[1]) % case.edge_index.shape[1]
    return [case.with_edges(order)], order


def _permuted_hits(case: Case, rng: np.random.Generator) -> tuple[list[Case], Int]:
    order = rng.permutation(len(case.x))
    return [Case(case.name, np.ascontiguousarray(case.x[order]), case.edge_index)], order


def _portions_of_hits(case: Case, rng: np.random.Generator) -> tuple[list[Case], Int]:
    parts = np.split(np.arange(len(case.x)), [1, len(case.x) // 3])
    return [Case(case.name, np.ascontiguousarray(case.x[part]), case.edge_index) for part in parts], np.arange(len(case.x))


_EDGES: Mapping[str, Make] = {
    "edges permuted": _permuted_edges,
    "hits relabelled": _relabelled_hits,
    "one more hit": _one_more_hit,
}
CHANGES: Mapping[str, Mapping[str, Make]] = {
    "embedding": {"hits permuted": _permuted_hits, "hits in portions": _portions_of_hits},
    "filter": {**_EDGES, "edges in portions": _portions_of_edges, "edges listed twice": _edges_twice},
    "gnn": _EDGES,
}
"""By stage: what must not matter."""
ALONE = ("one more hit", "edges in portions", "hits in portions")
"""Changes that do matter to a network that looks at all hits or edges of an event together."""


def invariance_rows(
    file: ModelFile, expectations: Sequence[Expectation], oracle: Oracle, engines: Sequence[Engine] | None = None
) -> list[Row]:
    """Return one row for each engine, graph of PROBES and change.

    Args:
        file: the file.
        expectations: of the zoo; their outputs are not used, their tolerances are.
        oracle: for the graphs with doubled edges: their tolerances, and what their sums must give if it is independent.
        engines: all that run the format if None.
    """
    probes = [item for item in expectations if item.case.name in PROBES]
    twice = [_Doubled.of(item.case, oracle) for item in probes if item.case.name in DOUBLED and file.stage == "gnn"]
    rows = []
    for engine in engines_for(file.format) if engines is None else engines:
        run, missing = started("invariance", file, engine)
        if run is None:
            rows += missing
            continue
        check = _Check(file, engine, run)
        for probe in probes:
            before, failure = output_of(run, probe.case)
            makes = {title: make for title, make in changes_of(file).items() if not (file.together and title in ALONE)}
            rows += [check.changed(probe, before, failure, title, make) for title, make in makes.items()]
        for item in twice:
            rows.append(check.copies(item))
            if oracle.independent:
                name = f"{item.expectation.case.name}: sums of edges listed twice"
                rows.append(compared_row("invariance", file, engine, item.expectation, run, name))
    return rows


def changes_of(file: ModelFile) -> Mapping[str, Make]:
    """Return what must not matter to a file. Where it turns edges inside, which of two equally far hits is first does matter."""
    outwards = getattr(file.network, "outwards", None)
    if not isinstance(outwards, Outwards):
        return CHANGES[file.stage]
    return {**CHANGES[file.stage], "hits relabelled": partial(_relabelled_but_ties, outwards)}


@dataclass(frozen=True)
class _Doubled:
    """A graph in which every edge is listed twice. first, second: the two places of each edge."""

    expectation: Expectation
    first: Int
    second: Int

    @staticmethod
    def of(case: Case, oracle: Oracle) -> _Doubled:
        (graph,), places = _edges_twice(case, _generator(case))
        order = np.argsort(places, kind="stable")
        return _Doubled(oracle.expect(graph, 1), order[0::2], order[1::2])


@dataclass(frozen=True)
class _Check:
    file: ModelFile
    engine: Engine
    run: Run

    def changed(self, probe: Expectation, before: Array | None, failure: str, title: str, make: Make) -> Row:
        name = f"{probe.case.name}: {title}"
        if before is None:
            return lost("invariance", self.file, self.engine, name, failure)
        cases, places = make(probe.case, _generator(probe.case))
        parts = []
        for case in cases:
            part, failure = output_of(self.run, case)
            if part is None:
                return lost("invariance", self.file, self.engine, name, failure)
            parts.append(_rows(part))
        first, after = _rows(before), np.concatenate(parts)
        if len(first) != len(probe.tolerance) or len(after) != len(places):
            found = f"{len(first)} rows before and {len(after)} after, expected {len(probe.tolerance)} and {len(places)}"
            return self._row(name, float("nan"), 0.0, f"the output has {found}")
        return self._agree(probe.case.name, title, first[places], after, _rows(probe.tolerance)[places])

    def copies(self, item: _Doubled) -> Row:
        name, title = item.expectation.case.name, "copies of edges listed twice"
        found, failure = output_of(self.run, item.expectation.case)
        if found is None:
            return lost("invariance", self.file, self.engine, f"{name}: {title}", failure)
        if len(found) != 2 * len(item.first):
            problem = f"the output has {len(found)} rows, expected {2 * len(item.first)}"
            return self._row(f"{name}: {title}", float("nan"), 0.0, problem)
        logits = _rows(found)
        return self._agree(name, title, logits[item.first], logits[item.second], _rows(item.expectation.tolerance)[item.first])

    def _agree(self, name: str, title: str, one: Float64, two: Float64, tolerance: Float64) -> Row:
        allowed: Float64 = np.broadcast_to(2.0 * tolerance, one.shape)
        with np.errstate(invalid="ignore"):  # NaN fails, whatever is allowed
            distance = np.abs(one - two)
            used = np.where(np.isfinite(distance), distance / allowed, np.inf)
        worst = np.unravel_index(used.argmax(), used.shape)
        problem = ""
        if used[worst] > 1.0:
            problem = (
                f"{int((used > 1.0).sum())} of {used.size} outputs change, that of row {worst[0]} by "
                f"{distance[worst]:.3g}, where at most {allowed[worst]:.2g} is rounding; what must not matter does"
            )
        return self._row(f"{name}: {title}", float(distance[worst]), float(allowed[worst]), problem)

    def _row(self, case: str, difference: float, tolerance: float, problem: str) -> Row:
        return row_of("invariance", self.file, self.engine.name, case, difference, tolerance, problem)


def _generator(case: Case) -> np.random.Generator:
    return np.random.default_rng([len(case.x), case.edge_index.shape[1]])


def _rows(values: Array) -> Float64:
    return np.asarray(values, np.float64).reshape(len(values), -1)
