"""Edge features: the formulas, the seam of phi, hits at the same radius."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from support.tiny import tiny_spec

from trkx.errors import SpecError
from trkx.runtime.edge_features import edge_features
from trkx.spec import ChainSpec, CutSpec, FeatureSpec, MessagePassingSpec

NAMES = ("dr", "dphi", "dz", "deta", "phislope", "rphislope")
FEATURES = tuple(FeatureSpec(name, scale) for name, scale in (("r", 1000.0), ("phi", math.pi), ("z", 1000.0), ("eta", 1.0)))


def spec_of(names: tuple[str, ...] = NAMES, features: tuple[FeatureSpec, ...] = FEATURES):
    hidden = ChainSpec((4,))
    gnn = MessagePassingSpec(hidden, hidden, hidden, hidden, ChainSpec((1,)), 1, edge_features=names)
    return tiny_spec(features=features, embedding=None, graph=None, filter=None, gnn=gnn, cuts=CutSpec(gnn=0.5))


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        ((0.1, 0.2, 0.3, 1.0), (0.3, 0.25, 0.1, 1.5), (0.2, 0.05, -0.2, 0.5, 0.25, 0.05)),
        ((0.1, 0.95, 0.0, 0.0), (0.2, -0.95, 0.0, 0.0), (0.1, 0.1, 0.0, 0.0, 1.0, 0.15)),  # over the seam, forwards
        ((0.1, -0.95, 0.0, 0.0), (0.2, 0.95, 0.0, 0.0), (0.1, -0.1, 0.0, 0.0, -1.0, -0.15)),
        ((0.5, 0.1, 0.0, 0.0), (0.5, 0.2, 0.0, 0.0), (0.0, 0.1, 0.0, 0.0, 100.0, 50.0)),  # same radius: the steepest slope
        ((0.5, 0.1, 0.0, 0.0), (0.5, 0.1, 0.2, 0.0), (0.0, 0.0, 0.2, 0.0, 0.0, 0.0)),  # the same place
        ((0.5, 0.0, 0.0, 0.0), (0.5001, 0.5, 0.0, 0.0), (0.0001, 0.5, 0.0, 0.0, 100.0, 50.005)),  # clamped
    ],
)
def test_formulas(start: tuple[float, ...], end: tuple[float, ...], expected: tuple[float, ...]) -> None:
    found = edge_features(spec_of(), np.array([start, end], np.float32), np.array([[0], [1]]))
    np.testing.assert_allclose(found[0], expected, atol=2e-5, rtol=1e-5)
    assert found.dtype == np.float32


def test_scales_are_those_of_the_network_that_reads_them(rng: np.random.Generator) -> None:
    """x has the scales of the first network that reads a column; the GNN was trained with others."""
    other = tuple(FeatureSpec(name, scale) for name, scale in (("eta", 2.0), ("r", 3000.0), ("phi", 1.0), ("z", 400.0)))
    spec = spec_of(features=other)
    spec = replace(spec, gnn=replace(spec.gnn, features=FEATURES))
    raw, edges = rng.uniform(-1.0, 1.0, (20, 4)) * [1000.0, 3.1, 3000.0, 3.0], rng.integers(0, 20, (2, 60))
    own = raw / [feature.scale for feature in FEATURES]
    held = raw[:, [3, 0, 1, 2]] / [feature.scale for feature in other]
    wanted = edge_features(spec_of(), own.astype(np.float32), edges)
    found = edge_features(spec, held.astype(np.float32), edges)
    np.testing.assert_allclose(found, wanted, atol=1e-4, rtol=1e-3)


def test_order_and_none(rng: np.random.Generator) -> None:
    x, edges = rng.normal(size=(5, 4)).astype(np.float32), rng.integers(0, 5, (2, 9))
    both, one = edge_features(spec_of(), x, edges), edge_features(spec_of(("dz", "dr")), x, edges)
    assert np.array_equal(one, both[:, [2, 0]])
    assert edge_features(spec_of(), x, np.empty((2, 0), np.int64)).shape == (0, 6)
    assert edge_features(tiny_spec(), x[:, :3], edges).shape == (9, 0)


@pytest.mark.parametrize(
    ("names", "features", "message"),
    [(("slope",), FEATURES, "unknown edge feature 'slope'"), (("deta",), FEATURES[:3], "features has no eta")],
)
def test_what_can_not_be_made_is_said(names, features, message) -> None:
    with pytest.raises(SpecError, match=message):
        edge_features(spec_of(names, features), np.zeros((2, len(features)), np.float32), np.array([[0], [1]]))
