"""How a classifier is called in ACTS: by many threads, with large events, with edges both ways, with other sizes in between."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from threading import Barrier

import numpy as np

from trkx.export.acts.contract import Check, Found, against, logits_of
from trkx.export.acts.emulator import Float
from trkx.export.acts.feeds import graph_of
from trkx.export.acts.subject import Subject
from trkx.export.check import Expectation
from trkx.export.zoo import copied

THREADS, CALLS = 8, 24
MANY = 30_000
"""Edges of a large event, at least."""


def _threads(subject: Subject) -> Found:
    """Call one object from many threads at once: the same bits as alone."""
    classifier = subject.classifier(nChunks=1)
    other_hits = subject.zoo[-1].case
    cases = [subject.event.case, replace(other_hits, x=np.ascontiguousarray(other_hits.x[::-1]))]  # memory of x is seen too
    alone = [logits_of(classifier, graph_of(case)) for case in cases]
    found = at_once(lambda number: logits_of(classifier, graph_of(cases[number % 2])))
    other = sum(one.tobytes() != alone[number % 2].tobytes() for number, one in enumerate(found))
    return Found(problem=f"{other} of {CALLS} calls from {THREADS} threads differ from a call alone" if other else "",
                 detail=f"{CALLS} calls from {THREADS} threads, the same bits")


def at_once(call: Callable[[int], Float]) -> list[Float]:
    """Return what CALLS calls give, in order, of THREADS threads that begin at one moment."""
    barrier = Barrier(THREADS)

    def some(first: int) -> list[Float]:
        barrier.wait(60.0)
        return [call(number) for number in range(first, first + CALLS // THREADS)]

    with ThreadPoolExecutor(THREADS) as pool:
        return [found for part in pool.map(some, range(0, CALLS, CALLS // THREADS)) for found in part]


def _doubled(subject: Subject) -> Found:
    """Set ACTS's undirected: every edge both ways, the first half of the scores kept. A filter must not notice."""
    if subject.stage != "TorchEdgeClassifier":
        return Found(detail="this stage does not double edges")
    if subject.event.case.edge_attr is not None:
        return Found(detail="edge features are not doubled: this stage would fail, so undirected stays false")
    item, graph = subject.event, graph_of(subject.event.case)
    if subject.file.stage == "filter" and not subject.file.together:
        return replace(against([item], subject.classifier(undirected=True, nChunks=1)), detail="the logits of edges given once")
    once, twice = (logits_of(subject.classifier(undirected=way, nChunks=1), graph) for way in (False, True))
    if len(once) != len(twice) or not np.isfinite(twice).all():
        return Found(problem=f"{len(once)} edges given both ways leave {len(twice)} logits, not all of them finite")
    moved = float(np.abs(once - twice).max(initial=0.0))
    return Found(detail=f"{len(twice)} logits, up to {moved:.2g} from those of edges given once: undirected stays false")


def _many_edges(subject: Subject) -> Found:
    """Run many copies of the event beside each other, at least MANY edges: each must give the logits of the event alone."""
    item = subject.event
    edges = item.case.edge_index.shape[1]
    if subject.file.together or not edges:
        return Found(detail="the network looks at all hits of an event: copies are another event")
    copies = -(-MANY // edges)
    case = copied(item.case, copies)
    large = Expectation(case, np.tile(item.output, (copies, 1)), np.tile(item.tolerance, (copies, 1)), item.source)
    found = against([large], subject.classifier(nChunks=1))
    return replace(found, detail=f"{copies * edges} edges, {copies} copies of the event")


def _again(subject: Subject) -> Found:
    """Call one object with other sizes in between: the first graph must give its first bits again."""
    classifier, first = subject.classifier(nChunks=1), subject.event.case
    before = logits_of(classifier, graph_of(first))
    held = before.copy()
    sizes = [item.case for item in subject.zoo[1:]]
    for case in sizes:
        logits_of(classifier, graph_of(case))
    after = logits_of(classifier, graph_of(first))
    problem = "" if after.tobytes() == held.tobytes() else "the same graph gives other bits after graphs of other sizes"
    return Found(problem=problem, detail=f"{len(sizes)} graphs of other sizes between two calls")


CHECKS: Mapping[str, Check] = {
    "doubled edges": _doubled,
    "many edges": _many_edges,
    "threads at once": _threads,
    "other sizes in between": _again,
}
"""Name of a check to what does it, for every classifier."""
