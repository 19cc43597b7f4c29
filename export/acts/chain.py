"""The whole emulated chain, from hits to track candidates, against the float64 networks of the pipeline at every step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trkx.export.acts.configured import Config, features_of_acts
from trkx.export.acts.contract import UNIT, decided
from trkx.export.acts.emulator import Emulator, Graph, Int
from trkx.export.validation.oracle import Oracle
from trkx.export.validation.whole_event import Exact
from trkx.export.zoo import Case
from trkx.runtime.edges import oriented
from trkx.runtime.events.event import Event
from trkx.runtime.features import node_features
from trkx.runtime.labelling import connected_components
from trkx.runtime.neighbours import radius_graph
from trkx.spec import PipelineSpec


@dataclass(frozen=True)
class Step:
    """What one stage made of an event: its name, edges that it left, decisions other than in float64, and what is wrong."""

    stage: str
    edges: int
    flips: int
    problem: str = ""


def shuffled(event: Event, seed: int = 0) -> Event:
    """Return an event with its hits in a random order: ACTS numbers them by module, not by how far out they are."""
    order = np.random.default_rng(seed).permutation(len(event))
    cells = {name: values[order] for name, values in event.cells.items()}
    for name in ("volume", "layer", "module"):
        column = getattr(event, name)
        if column is not None:
            cells.setdefault(name, column[order].astype(np.float32))
    return Event(event.event_id, event.hit_id[order], event.position[order], cells=cells, source=event.source)


def chain_problem(
    emulator: Emulator, config: Config, spec: PipelineSpec, event: Event, oracles: Mapping[str, Oracle], exact: Exact,
    samples: int,
) -> tuple[str, str]:
    """Run an event and return (what is wrong or "", what was seen).

    At every stage the float64 network is asked about the very edges that the emulated stage was given, in the direction of the
    training; other decisions must lie within rounding. If there is none at all, the candidates must be those of the float64
    chain.

    Args:
        emulator: the files as acts.json configures them.
        config: acts.json.
        spec: of the pipeline.
        event: hits.
        oracles: stage to the pipeline's own networks in float64.
        exact: what they make of the event.
        samples: of rounding.
    """
    seen: list[Graph] = []
    found = emulator.run(features_of_acts(config, event), seen.append)
    edges = [_names(graph)[graph.edge_index] for graph in seen]
    edges += [np.empty((2, 0), np.int64)] * (1 + len(emulator.classifiers) - len(edges))
    steps = [_pairs(edges[0], spec, event, oracles["embedding"], samples)]
    for stage, before, after in zip((stage for stage in spec.stages if stage != "embedding"), edges, edges[1:], strict=False):
        steps.append(_classified(stage, before, after, spec, event, oracles[stage], samples))
    flips = sum(step.flips for step in steps)
    told = ", ".join(f"{step.edges} edges after the {step.stage}" for step in steps)
    told = f"{len(event)} hits, {told}, {len(found)} candidates; {flips} decisions differ from float64, as rounding does"
    if problems := [f"{step.stage}: {step.problem}" for step in steps if step.problem]:
        return problems[0], told
    least = spec.labelling.min_hits
    if _sets(found) != _sets(_components(edges[-1], len(event), least)):
        return f"{len(found)} candidates are not the components of at least {least} hits of the edges that are left", told
    if exact.tracks is None or spec.needed_graph().k_max is not None:
        return "", told
    wanted = _sets(_components(exact.tracks.graphs["gnn"], len(event), least))
    same = len(wanted & _sets(found))
    if not flips and wanted != _sets(found):
        return f"{same} of {len(wanted)} candidates are those of the float64 chain, though no edge was decided otherwise", told
    return "", f"{told}; {same} of {len(wanted)} candidates are those of the float64 chain"


def _names(graph: Graph) -> Int:
    return np.arange(len(graph.x)) if graph.spacepoint is None else graph.spacepoint


def _pairs(found: Int, spec: PipelineSpec, event: Event, oracle: Oracle, samples: int) -> Step:
    """Check pairs: those within the radius in float64, but for rounding of the places and of float32 distances."""
    radius = spec.needed_graph().radius
    item = oracle.expect(Case("hits", node_features(event, spec.features), np.empty((2, 0), np.int64)), samples)
    exact, allowed = item.output, item.tolerance
    near = radius_graph(exact.astype(np.float32), radius, backend="kdtree").pairs
    if (found[0] >= found[1]).any() or len(np.unique(found, axis=1).T) != found.shape[1]:
        return Step("graph", found.shape[1], 0, "an edge that is there twice, or whose smaller number is not first")
    low, high = np.unique(np.concatenate([near, found], axis=1), axis=1)
    length = np.linalg.norm(exact[low] - exact[high], axis=1)
    slack = np.linalg.norm(allowed[low] + allowed[high], axis=1) + (exact.shape[1] + 3) * UNIT * radius
    flipped = (length <= radius) != _among(np.stack([low, high]), found, len(event))
    wild = flipped & (np.abs(length - radius) > slack)
    problem = ""
    if wild.any():
        worst = length[wild][np.abs(length[wild] - radius).argmax()]
        counted = f"{int(wild.sum())} of {len(low)} pairs"
        problem = f"{counted} are on the wrong side of the radius {radius:g}, one with a distance of {worst:.6g}"
    return Step("graph", found.shape[1], int(flipped.sum()), problem)


def _classified(stage: str, before: Int, after: Int, spec: PipelineSpec, event: Event, oracle: Oracle, samples: int) -> Step:
    """Check which edges a classifier kept against its float64 network on the same edges, turned as in training."""
    if not before.shape[1]:
        return Step(stage, 0, 0)
    turned = oriented(before, event.position, spec.needed_graph().direction)
    item = oracle.expect(Case(stage, node_features(event, spec.features), turned), samples)
    decisions = decided(item, _among(before, after, len(event)), spec.needed_cut(stage))
    return Step(stage, after.shape[1], decisions.flips, decisions.problem)


def _among(edges: Int, others: Int, hits: int) -> NDArray[np.bool_]:
    """Return which of the edges [2, E] are among others, whichever end is first."""
    keys = [np.minimum(*pair) * hits + np.maximum(*pair) for pair in (edges, others)]
    return np.isin(keys[0], keys[1])


def _components(edges: Int, hits: int, least: int) -> list[Int]:
    label = connected_components(edges, hits)
    return [np.flatnonzero(label == value) for value in np.flatnonzero(np.bincount(label, minlength=1) >= least)] if hits else []


def _sets(tracks: Sequence[Int]) -> set[tuple[int, ...]]:
    return {tuple(np.sort(track).tolist()) for track in tracks}
