"""Graphs as ACTS feeds them: smaller hit number first, six edge features, and which of them the pipeline was trained to see."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from trkx.export.acts.emulator import Float, Graph, Int
from trkx.export.zoo import Case
from trkx.spec import PipelineSpec

EDGE_FEATURES = ("dr", "dphi", "dz", "deta", "phislope", "rphislope")
"""What ACTS's module map makes of each edge, in its order."""
STEEPEST = np.float32(100.0)
NEARLY = 4e-7
"""Two hits whose squared distances to the origin differ by less than this share are at one radius as far as float32 knows."""


def edge_features_of_acts(spec: PipelineSpec, x: Float, edge_index: Int) -> Float:
    """Return ACTS's six edge features, float32 [E, 6], of the scaled r, phi, z and eta in x [N, F]; slopes are 0 where dr is 0.

    Without these four features: numbers drawn from N(0, 1), which show what a network reads all the same.
    """
    place = {feature.name: column for column, feature in enumerate(spec.features)}
    count = edge_index.shape[1]
    if not {"r", "phi", "z", "eta"} <= place.keys():
        return np.random.default_rng([count, len(x)]).normal(size=(count, len(EDGE_FEATURES))).astype(np.float32)
    r, phi, z, eta = (x[:, place[name]] for name in ("r", "phi", "z", "eta"))
    source, target = edge_index
    dr, pi = r[target] - r[source], np.float32(np.pi)
    angle = pi * (phi[target] - phi[source])
    angle = np.where(angle > pi, angle - 2 * pi, np.where(angle < -pi, angle + 2 * pi, angle))
    dphi = angle / pi
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        slope = np.where(dr != 0.0, np.clip(dphi / dr, -STEEPEST, STEEPEST), np.float32(0.0))
    mean = np.float32(0.5) * (r[source] + r[target])
    columns = (dr, dphi, z[target] - z[source], eta[target] - eta[source], slope, mean * slope)
    return np.ascontiguousarray(np.stack(columns, axis=1), np.float32)


def acts_case(spec: PipelineSpec, case: Case) -> Case:
    """Return a graph as ACTS would hold it, edges in the order given.

    Where pairs come from the embedding the smaller number is first. Pipelines without one get edges from elsewhere (a module
    map): those stay as they are.
    """
    edges = case.edge_index
    if spec.graph is not None:
        edges = np.ascontiguousarray(np.sort(edges, axis=0))
    attributes = edge_features_of_acts(spec, case.x, edges) if spec.edge_features else None
    return replace(case, edge_index=edges, edge_attr=attributes)


def acts_cases(spec: PipelineSpec, cases: Sequence[Case]) -> list[Case]:
    """Return each graph as `acts_case` does, and the first with two edges and with one: sizes at which ACTS drops axes."""
    first = cases[0]
    named = ((2, "event, two edges"), (1, "event, one edge"))
    sizes = [(count, name) for count, name in named if first.edge_index.shape[1] >= count]
    few = [replace(first.with_edges(np.arange(count)), name=name) for count, name in sizes]
    return [acts_case(spec, case) for case in (*cases, *few)]


def graph_of(case: Case) -> Graph:
    """Return copies of a graph's arrays as ACTS's stages hand them on."""
    attributes = None if case.edge_attr is None else case.edge_attr.copy()
    return Graph(case.x.copy(), case.edge_index.copy(), attributes, np.arange(len(case.x)))


def at_one_radius(spec: PipelineSpec, case: Case) -> NDArray[np.bool_]:
    """Return the edges, bool [E], whose direction by radius is a matter of rounding: features of the two ends are that near.

    Ends that are exactly at one radius are not among them: there the smaller number decides.
    """
    place = {feature.name: (column, feature.scale) for column, feature in enumerate(spec.features)}
    none = np.zeros(case.edge_index.shape[1], bool)
    if spec.graph is None or spec.graph.direction != "by_radius":
        return none
    names = next((names for names in (("x", "y", "z"), ("r", "z")) if set(names) <= place.keys()), None)
    if names is None:
        return none
    square = np.zeros(len(case.x), np.float64)
    for column, scale in (place[name] for name in names):
        square += (case.x[:, column].astype(np.float64) * scale) ** 2
    one, two = square[case.edge_index]
    same: NDArray[np.bool_] = (np.abs(one - two) <= NEARLY * np.maximum(one, two)) & (one != two)
    return same
