"""What an embedding must withstand in ACTS: read through a raw pointer, cloned at every call, called from many threads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from trkx.export.acts.contract import Check, Found
from trkx.export.acts.contract_calls import CALLS, THREADS, at_once
from trkx.export.acts.emulator import Float
from trkx.export.acts.metric_learning import CPU_MOST, CUDA_LEAST, TorchMetricLearning
from trkx.export.acts.subject import Subject
from trkx.export.check import Expectation, compared
from trkx.export.validation.graphs import brief


def _compared(item: Expectation, stage: TorchMetricLearning, subject: Subject) -> Found:
    places = stage.places(item.case.x.copy())
    difference, tolerance, problem = compared(item, places)
    return Found(difference, tolerance, f"graph '{item.case.name}': {problem}" if problem else "")


def _places(subject: Subject) -> Found:
    """Compare what the raw pointer sees with the float64 network, on every graph's hits."""
    stage = subject.embedding()
    worst = Found()
    for item in subject.zoo:
        try:
            found = _compared(item, stage, subject)
        except Exception as error:  # torch has error classes of its own
            found = Found(problem=f"graph '{item.case.name}': {brief(error)}")
        if found.problem:
            return found
        if found.tolerance and found.difference is not None:
            used = (worst.difference or 0.0) / (worst.tolerance or 1.0)
            worst = found if found.difference / found.tolerance > used else worst
    return replace(worst, detail=f"{len(subject.zoo)} graphs' hits, read value after value")


def _same_space(subject: Subject) -> Found:
    """Columns beyond those of the pipeline's own network must be 0, the others its own: distances are then the same."""
    if subject.trained is None:
        return Found(detail="no event to compare with")
    item = subject.trained.expectation
    places = subject.embedding().places(item.case.x.copy())
    own = item.output.shape[1]
    if places.shape[1] < own or np.abs(places[:, own:]).max(initial=0.0) != 0.0:
        return Found(problem=f"{places.shape[1]} columns, of which those beyond {own} are not 0: distances change")
    meant = replace(item, source="the pipeline's own network")
    difference, tolerance, problem = compared(meant, np.ascontiguousarray(places[:, :own]))
    return Found(difference, tolerance, problem, f"{own} columns of the network, {places.shape[1] - own} of zeros")


def _columns(subject: Subject) -> Found:
    width = subject.embedding().places(subject.event.case.x[:2].copy()).shape[1]
    problem = "" if CUDA_LEAST <= width <= CPU_MOST else f"{width} columns; ACTS takes {CUDA_LEAST} (CUDA) to {CPU_MOST} (CPU)"
    return Found(problem=problem, detail=f"{width} of {CUDA_LEAST} to {CPU_MOST}")


def _one_hit(subject: Subject) -> Found:
    """Run one hit and two: no axis may get lost."""
    stage, x = subject.embedding(), subject.event.case.x
    for count in (1, 2):
        shape = stage.places(x[:count].copy()).shape
        if shape[0] != count:
            return Found(problem=f"{count} hits give places of shape {list(shape)}")
    graph = stage(x[:1].copy())
    return Found(problem="an edge for one hit" if graph.edge_index.size else "", detail="a place each, no edge for one hit")


def _selection(subject: Subject) -> Found:
    columns, selected = subject.event.case.x.shape[1], list(subject.options.get("selectedFeatures") or ())
    problem = ""
    if selected != list(range(columns)):
        problem = (f"selectedFeatures is {selected}, expected {list(range(columns))}: the file reads all columns, and ACTS hands "
                   "them over in the order listed")
    return Found(problem=problem, detail="all columns, ascending")


def _threads(subject: Subject) -> Found:
    """Call one object from many threads at once: the same bits as alone."""
    stage = subject.embedding()
    hits = [subject.event.case.x, np.ascontiguousarray(subject.zoo[-1].case.x[::-1])]
    alone = [stage.places(x.copy()) for x in hits]

    def call(number: int) -> Float:
        return stage.places(hits[number % 2].copy())

    found = at_once(call)
    other = sum(one.tobytes() != alone[number % 2].tobytes() for number, one in enumerate(found))
    again = stage.places(hits[0].copy()).tobytes() == alone[0].tobytes()
    problem = f"{other} of {CALLS} calls from {THREADS} threads differ from a call alone" if other else ""
    return Found(problem=problem or ("" if again else "the same hits give other bits later"),
                 detail=f"{CALLS} calls from {THREADS} threads, the same bits")


CHECKS: Mapping[str, Check] = {
    "hits as ACTS feeds them": _places,
    "distances as they were trained": _same_space,
    "number of columns": _columns,
    "one hit, two hits": _one_hit,
    "selected features": _selection,
    "threads at once": _threads,
}
"""Name of a check to what does it, for every embedding that ACTS reads."""
