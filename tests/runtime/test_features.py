import warnings

import numpy as np
import pytest

from trkx.errors import InputError, TrkxWarning
from trkx.runtime.events.event import Event
from trkx.runtime.features import node_features, range_problems, warn_if_out_of_range
from trkx.spec import FeatureSpec


def event(position, **fields):
    position = np.asarray(position, np.float32).reshape(-1, 3)
    return Event(3, np.arange(len(position)), position, source="made-up", **fields)


@pytest.mark.parametrize("name, scale, expected", [
    ("x", 1.0, [3.0, 0.0]),
    ("y", 2.0, [2.0, 0.0]),
    ("z", 1000.0, [0.012, -0.005]),
    ("r", 1000.0, [0.005, 0.0]),
    ("phi", np.pi, [np.arctan2(4, 3) / np.pi, 0.0]),
    ("cos_phi", 1.0, [0.6, 1.0]),
    ("sin_phi", 1.0, [0.8, 0.0]),
    ("theta", 1.0, [np.arctan2(5, 12), np.pi]),
    ("eta", 1.0, [np.arcsinh(12 / 5), np.arcsinh(-5 / 1e-3)]),
    ("distance", 1.0, [13.0, 5.0]),
    ("leta", 0.5, [2.0, 4.0]),
    ("layer", 2.0, [1.0, 2.0]),
])
def test_values(name, scale, expected):
    made = event([[3, 4, 12], [0, 0, -5]], cells={"leta": np.array([1, 2], np.float32)}, layer=np.array([2, 4], np.int32))
    x = node_features(made, [FeatureSpec(name, scale), FeatureSpec("r", 1.0)])
    assert x.dtype == np.float32
    np.testing.assert_array_equal(x[:, 0], np.asarray(expected).astype(np.float32))
    np.testing.assert_array_equal(x[:, 1], [5.0, 0.0])


def test_no_hits():
    assert node_features(event([]), [FeatureSpec("r", 1.0), FeatureSpec("z", 1.0)]).shape == (0, 2)


def test_missing_feature_names_those_there_are():
    with pytest.raises(InputError, match=r"event 3 \(made-up\).*needs the feature 'leta'.*Known: .*cell_val.*phi"):
        node_features(event([[1, 2, 3]], cells={"cell_val": np.ones(1, np.float32)}), [FeatureSpec("leta", 1.0)])


FEATURES = (FeatureSpec("r", 1000.0, 0.03, 1.03), FeatureSpec("z", 1000.0, -3.0, 3.0), FeatureSpec("phi", 3.14))


BOTH = {"r", "z"}


@pytest.mark.parametrize(
    "scale, contradict",
    [(1.0, set()), (0.97, set()), *((s, BOTH) for s in (0.1, 0.5, 2.0, 1 / 25.4, 10.0, 1e3, 1e-3))],
)
def test_ranges(scale, contradict, rng):
    radius, phi = rng.uniform(30, 1030, 500), rng.uniform(-3, 3, 500)
    position = np.stack([radius * np.cos(phi), radius * np.sin(phi), rng.uniform(-3000, 3000, 500)], axis=1) * scale
    x = node_features(event(position), FEATURES)
    assert set(range_problems(x, FEATURES)) == contradict


@pytest.mark.parametrize("far, contradicts", [(0.03, False), (0.3, True)])
def test_a_few_far_hits_are_legitimate(far, contradicts, rng):
    z = np.where(rng.permutation(100) < 100 * far, 9500.0, rng.uniform(-3000, 3000, 100))
    x = node_features(event(np.stack([rng.uniform(30, 1030, 100), np.zeros(100), z], axis=1)), FEATURES)
    assert ("z" in range_problems(x, FEATURES)) is contradicts


def test_warning_names_both_ranges():
    made = event(np.stack([np.linspace(3e4, 9e4, 50), np.zeros(50), np.zeros(50)], axis=1))
    x = node_features(made, FEATURES[:1])
    with pytest.warns(TrkxWarning, match=r"event 3 \(made-up\).*'r' \(value / 1000\) runs from 30 to 90.* on 0.03 to 1.03"):
        assert warn_if_out_of_range(made, x, FEATURES[:1])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert not warn_if_out_of_range(made, x / 90, FEATURES[:1])
