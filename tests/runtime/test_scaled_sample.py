"""Samples of scaled features: read, unscaled, and their scales told from their ranges."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from trkx.errors import InputError
from trkx.runtime.features import node_features
from trkx.runtime.scaled_sample import event_of, read_sample, scale_problem, with_ranges
from trkx.spec import FeatureSpec

LRT = (FeatureSpec("r", 3000.0), FeatureSpec("phi", math.pi), FeatureSpec("z", 400.0))
TRACKML = (FeatureSpec("r", 1000.0), FeatureSpec("phi", math.pi), FeatureSpec("z", 1000.0))


def sample(features: tuple[FeatureSpec, ...], rng: np.random.Generator, hits: int = 400) -> np.ndarray:
    """Hits of a tracker of 1020 mm and 2950 mm, scaled."""
    raw = np.stack([rng.uniform(30, 1020, hits), rng.uniform(-math.pi, math.pi, hits), rng.uniform(-2950, 2950, hits)], axis=1)
    return (raw / [feature.scale for feature in features]).astype(np.float32)


def test_other_scales_are_noticed_and_both_are_named(rng: np.random.Generator) -> None:
    for own, other in ((LRT, TRACKML), (TRACKML, LRT)):
        assert scale_problem(sample(own, rng), own) == ""
        problem = scale_problem(sample(other, rng), own)
        assert f"r / {other[0].scale:g}" in problem and f"r / {own[0].scale:g}" in problem
        assert f"z / {other[2].scale:g}" in problem and f"z / {own[2].scale:g}" in problem


def test_trained_ranges_tell_other_scales_of_any_feature(rng: np.random.Generator) -> None:
    trained = with_ranges(LRT, sample(LRT, rng))
    assert scale_problem(sample(LRT, rng), trained) == ""
    problem = scale_problem(sample(TRACKML, rng), trained)
    assert "r / 1000 instead of r / 3000" in problem and "z / 1000 instead of z / 400" in problem
    width = (FeatureSpec("width", 5.0, 0.0, 2.0),)
    assert "width / 10 instead of width / 5" in scale_problem(rng.uniform(0, 1, (300, 1)).astype(np.float32), width)


@pytest.mark.parametrize(("order", "word"), [([0, 2, 1], "phi"), ([1, 0, 2], "r /"), ([2, 1, 0], "r /")])
def test_exchanged_columns_are_noticed(order: list[int], word: str, rng: np.random.Generator) -> None:
    problem = scale_problem(sample(TRACKML, rng)[:, order], TRACKML)
    assert word in problem and "exchanged" in problem


@pytest.mark.parametrize("factor", [(1000.0, 1.0, 1000.0), (1.0, math.pi, 1.0)])
def test_features_that_are_not_scaled_are_noticed(factor: tuple[float, ...], rng: np.random.Generator) -> None:
    assert "scaled otherwise" in scale_problem((sample(TRACKML, rng) * factor).astype(np.float32), TRACKML)


def test_too_little_to_tell_is_no_alarm(rng: np.random.Generator) -> None:
    assert scale_problem(np.zeros((5, 3), np.float32), LRT) == ""
    assert scale_problem(sample(LRT, rng)[:1], LRT) == ""
    small = sample(TRACKML, rng) * np.float32(0.1)  # another detector, its proportions are those of a tracker
    assert scale_problem(small, TRACKML) == ""


def test_a_sample_becomes_the_hits_that_give_it(tmp_path: Path, rng: np.random.Generator) -> None:
    features = (*LRT, FeatureSpec("cell_count", 2.0))
    x = np.concatenate([sample(LRT, rng, 20), rng.uniform(0, 3, (20, 1)).astype(np.float32)], axis=1)
    path = tmp_path / "sample.csv"
    np.savetxt(path, x, delimiter=",", fmt="%.9g", header="r,phi,z,cell_count", comments="")
    read = read_sample(path, features)
    assert np.array_equal(read, x)
    np.testing.assert_allclose(node_features(event_of(read, features, "sample"), features), x, atol=3e-6)
    with pytest.raises(InputError, match="without phi"):
        event_of(x[:, [0, 2]], (LRT[0], LRT[2]), "sample")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "found none"),
        ("r,phi,z\n", "found none"),
        ("1,2\n", "as row 1"),
        ("1,2,3\n1,2,x\n", "as row 2"),
        ("1,2,nan\n", "NaN or infinity"),
        ("<html>\n", "found none"),
    ],
)
def test_what_is_no_sample_is_refused(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "sample.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        read_sample(path, LRT)
    with pytest.raises(InputError, match="can't be read"):
        read_sample(tmp_path / "none.csv", LRT)


def test_published_samples(golden: Path) -> None:
    own = read_sample(golden / "lrt" / "in_e1000.csv", LRT)
    assert scale_problem(own, LRT) == ""
    others = [read_sample(path, LRT) for path in sorted((golden / "lrt" / "lrt_inputs_100").glob("*.csv"))]
    assert len(others) == 100
    for features in (LRT, with_ranges(LRT, own)):
        assert all("r / 3000" in scale_problem(x, features) and "r / 1000" in scale_problem(x, features) for x in others)
    assert not any(scale_problem(x, TRACKML) for x in others)
    assert "phi / pi" in scale_problem(own, tuple(replace(feature) for feature in TRACKML))
