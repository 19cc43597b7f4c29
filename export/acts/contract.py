"""What a classifier must withstand in ACTS: a table of checks, each of one combination of options, sizes or calls."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from trkx.errors import ExportError
from trkx.export.acts.emulated_onnx import masked
from trkx.export.acts.emulator import Classifier, Float, Graph, NoEdgesError, without_unused_hits
from trkx.export.acts.feeds import acts_case, at_one_radius, graph_of
from trkx.export.acts.subject import Subject
from trkx.export.check import Expectation, compared
from trkx.export.validation.graphs import brief
from trkx.export.validation.report import Row
from trkx.spec import logit_of_cut

CHUNKS = (2, 3, 7)
UNIT = 2.0**-23


@dataclass(frozen=True)
class Found:
    """What a check found: numbers of the worst output where something was compared, what is wrong, what was done."""

    difference: float | None = None
    tolerance: float | None = None
    problem: str = ""
    detail: str = ""


Check = Callable[[Subject], Found]


def logits_of(classifier: Classifier, case_graph: Graph) -> Float:
    """Return the logits of a graph as ACTS holds them, [E, 1]; of none if the plugin ends the event."""
    try:
        return classifier.judge(case_graph).logits.reshape(-1, 1)
    except NoEdgesError:
        return np.empty((0, 1), np.float32)


def against(expectations: Sequence[Expectation], classifier: Classifier) -> Found:
    """Compare graph after graph; the numbers are those of the output that is farthest beyond its tolerance, or nearest to it."""
    worst, used, problems = Found(), -1.0, []
    for item in expectations:
        try:
            difference, tolerance, problem = compared(item, logits_of(classifier, graph_of(item.case)))
        except Exception as error:  # the engines have error classes of their own
            difference, tolerance, problem = float("nan"), 0.0, brief(error)
        share = difference / tolerance if tolerance else 0.0
        if problem:
            problems.append(f"graph '{item.case.name}': {problem}")
        if share > used and np.isfinite(difference):
            worst, used = Found(difference, tolerance), share
    more = f" (and {len(problems) - 1} more graphs)" if len(problems) > 1 else ""
    counted = f"{len(expectations)} graph{'s' * (len(expectations) > 1)}"
    return replace(worst, problem=f"{problems[0]}{more}" if problems else "", detail=counted)


def _graphs(subject: Subject) -> Found:
    """Run every graph as configured; those that are too small for the chunks have checks of their own."""
    least = _largest_that_throws(subject)
    return against([item for item in subject.zoo if item.case.edge_index.shape[1] > least], subject.classifier())


def _largest_that_throws(subject: Subject) -> int:
    """Return up to how many edges a chunk of one edge may be left, on which ACTS throws; -1 with one chunk."""
    chunks = int(subject.options.get("nChunks", 1))
    return chunks * chunks if chunks > 1 else -1


def _few_edges(count: int, subject: Subject) -> Found:
    """Run graphs of so many edges: one edge loses its dimension in ACTS, none ends the event (after a run, with ONNX)."""
    few = [item for item in subject.zoo if item.case.edge_index.shape[1] == count]
    found = against(few, subject.classifier(nChunks=1)) if few else Found(detail=f"no graph of {count} edges")
    if count and (most := _largest_that_throws(subject)) > 0:
        told = f"in one chunk; as configured ACTS may throw on events of up to {most} edges: set nChunks to 1 if there are such"
        found = replace(found, detail=f"{found.detail}, {told}")
    return found


def _trained_direction(subject: Subject) -> Found:
    """Feed the event with the smaller number first: logits must be those of the own network in the direction of the training."""
    if subject.trained is None:
        return Found(detail="no graph to compare with")
    item = subject.trained.expectation
    unclear = at_one_radius(subject.spec, item.case)
    if unclear.any():
        item = subject.trained.oracle.expect(item.case.with_edges(np.flatnonzero(~unclear)))
    case = acts_case(subject.spec, item.case)
    pairs = subject.spec.graph is not None
    order = np.lexsort((case.edge_index[1], case.edge_index[0])) if pairs else np.arange(len(item.output))
    case = case.with_edges(order)
    expected = Expectation(case, item.output[order], item.tolerance[order], "the pipeline's own network")
    turned = int((item.case.edge_index[0] > item.case.edge_index[1]).sum())
    found = against([expected], subject.classifier())
    return replace(found, detail=f"{len(order)} edges of an event, {turned} of them trained from larger to smaller number")


def _cut(subject: Subject) -> Found:
    """Set the cut to one of the scores: that edge must go, and which others stay must be what the float64 network says."""
    cut = float(subject.options.get("cut", 0.5))
    item = subject.event
    judged = subject.classifier().judge(graph_of(item.case))
    if problem := decided(item, judged.mask, cut if subject.file.cut is None else subject.file.cut).problem:
        return Found(problem=problem)
    inside = np.flatnonzero((judged.score > 1e-6) & (judged.score < 1.0 - 1e-6))
    if not len(inside):
        return Found(problem="all scores are 0 or 1 in float32: are these logits?")
    one = int(inside[len(inside) // 2])
    again = subject.classifier(cut=float(judged.score[one])).judge(graph_of(item.case))
    if again.mask[one] or not np.array_equal(again.mask, judged.score > judged.score[one]):
        return Found(problem=f"edge {one} has the score of the cut and stays")
    return Found(detail=f"{int(judged.mask.sum())} of {len(judged.mask)} edges stay; one with the score of the cut goes")


def slack_of(cut: float) -> float:
    """Return by how much float32 moves the boundary in logit: rounding of the sigmoid and of the cut itself."""
    return 4.0 * UNIT / (1.0 - cut) + 4.0 * UNIT


@dataclass(frozen=True)
class Decisions:
    """Edges on the other side of the cut than for the float64 network: how many, and what rounding can't explain."""

    flips: int
    problem: str = ""


def decided(item: Expectation, mask: NDArray[np.bool_], cut: float) -> Decisions:
    """Compare which edges ACTS keeps, bool [E], with the logits of the float64 network at a cut."""
    exact, allowed, boundary = item.output.reshape(-1), item.tolerance.reshape(-1), logit_of_cut(cut)
    flipped = (exact > boundary) != mask
    wild = flipped & (np.abs(exact - boundary) > allowed + slack_of(cut))
    if not wild.any():
        return Decisions(int(flipped.sum()))
    worst = int(np.flatnonzero(wild)[np.abs(exact - boundary)[wild].argmax()])
    side = "keeps" if mask[worst] else "drops"
    counted = f"{int(wild.sum())} of {len(wild)} edges end on the wrong side of the cut {cut:g}"
    logit = f"whose logit by {item.source} is {exact[worst]:.6g} (the cut is {boundary:.6g})"
    return Decisions(int(flipped.sum()), f"{counted}: ACTS {side} edge {worst}, {logit}")


def _selection(subject: Subject) -> Found:
    """Select as torch gathers and as ONNX masks: both must hand over the same columns in the same order."""
    selected = [int(column) for column in subject.options.get("selectedFeatures") or ()]
    columns = subject.event.case.x.shape[1]
    if not selected:
        return Found(detail="all features, no selection")
    if selected != list(range(columns)):
        return Found(problem=f"selectedFeatures is {selected}: TorchEdgeClassifier takes that order, OnnxEdgeClassifier takes "
                             f"{sorted(set(selected))}; the file reads all {columns} columns ascending")
    x = subject.event.case.x
    same = np.array_equal(masked(x, selected), x[:, selected])
    return Found(problem="" if same else "mask and gather differ", detail="gather and mask are the same")


def _chunks(subject: Subject) -> Found:
    """Split the edges: a filter must not notice; a graph network must not be split."""
    configured = int(subject.options.get("nChunks", 1))
    if subject.file.stage == "gnn" or subject.file.together:
        why = "the network passes messages between edges, and edges in chunks miss each other"
        problem = f"nChunks is {configured}: {why}; set it to 1" if configured != 1 else ""
        return Found(problem=problem, detail="one chunk is configured")
    if subject.stage != "TorchEdgeClassifier":
        return Found(detail="this stage has no chunks")
    found = [against([subject.event], subject.classifier(nChunks=count)) for count in CHUNKS]
    bad = next((item for item in found if item.problem), found[0])
    return replace(bad, detail=f"{', '.join(map(str, CHUNKS))} chunks")


def _removed_hits(subject: Subject) -> Found:
    """Remove hits without edges, as shrinkNodes does: other numbers, fewer hits, the same logits."""
    item = next((one for one in subject.zoo if one.case.name == "isolated hits"), subject.event)
    graph, classifier = graph_of(item.case), subject.classifier(nChunks=1)
    less = without_unused_hits(graph)
    gone = len(graph.x) - len(less.x)
    if subject.file.together:
        return Found(detail="the network looks at all hits of an event, so removed hits matter")
    part = replace(item, case=replace(item.case, x=less.x, edge_index=less.edge_index, edge_attr=less.edge_attr))
    return replace(against([item, part], classifier), detail=f"{gone} of {len(graph.x)} hits have no edge")


CHECKS: Mapping[str, Check] = {
    "graphs as ACTS feeds them": _graphs,
    "edges as they were trained": _trained_direction,
    "no edge": partial(_few_edges, 0),
    "one edge": partial(_few_edges, 1),
    "two edges": partial(_few_edges, 2),
    "sigmoid after, strict cut": _cut,
    "selected features": _selection,
    "chunks of edges": _chunks,
    "hits without edges removed": _removed_hits,
}
"""Name of a check to what does it, for every classifier; those of `contract_calls` follow."""


def checked(subject: Subject, checks: Mapping[str, Check]) -> list[Row]:
    """Return a row for each check; what the plugin (or an engine) refuses is a failed row."""
    rows = []
    for name, check in checks.items():
        try:
            found = check(subject)
        except NoEdgesError:
            found = Found(problem="no edge passes, so nothing is compared")
        except Exception as error:  # the engines have error classes of their own
            found = Found(problem=str(error) if isinstance(error, ExportError) else brief(error))
        rows.append(subject.row(name, "failed" if found.problem else "passed", found.problem or found.detail,
                                found.difference, found.tolerance))
    return rows

