"""Training of the reference: samples and labels from the truth, and a run that is stopped and goes on."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from trkx.errors import InputError
from trkx.models.networks import build_network
from trkx.models.reference import train as training
from trkx.models.reference.samples import Sample, classify, consecutive_pairs, oriented, pairs_within, read_sample
from trkx.spec import CutSpec, EmbeddingSpec, FeatureSpec, FilterSpec, GNNSpec, GraphSpec, PipelineSpec

FEATURES = (FeatureSpec("r", 1000.0), FeatureSpec("phi", math.pi), FeatureSpec("z", 1000.0))
EVENT = Path(__file__).parents[2] / "models" / "reference" / "sample" / "event000000000-hits.parquet"
SPEC = PipelineSpec(
    "test", FEATURES, EmbeddingSpec(8, 1, 4), GraphSpec(0.1), FilterSpec(8, 1), GNNSpec(8, 1), CutSpec(0.1, 0.5)
)


@pytest.fixture(scope="module")
def sample() -> Sample:
    return read_sample(EVENT, FEATURES)


def test_wanted_pairs_follow_each_other_along_wanted_particles(sample) -> None:
    from trkx.runtime.events import read_event
    from trkx.runtime.metrics.edges import consecutive_pairs as consecutive_in_event

    pairs = consecutive_pairs(sample)
    assert pairs.shape[1] > 100
    truth = classify(sample, pairs)
    assert bool(truth.next.all())
    every = {tuple(sorted(pair)) for pair in consecutive_in_event(read_event(EVENT)).T.tolist()}
    assert {tuple(sorted(pair)) for pair in pairs.T.tolist()} <= every


def test_a_shuffled_pair_is_not_next(sample) -> None:
    hits = torch.nonzero(sample.wanted).squeeze(1)
    random = torch.stack([hits, hits[torch.randperm(len(hits), generator=torch.Generator().manual_seed(1))]])
    truth = classify(sample, random)
    assert float(truth.same.float().mean()) < 0.2
    assert not bool((truth.next & ~truth.wanted).any())


def test_pairs_within_equals_brute_force() -> None:
    points = torch.nn.functional.normalize(torch.randn(300, 4, generator=torch.Generator().manual_seed(2)), dim=1)
    distance = torch.cdist(points, points)
    expected = {(a, b) for a, b in torch.nonzero(distance < 0.4).tolist() if a < b}
    assert len(expected) > 50
    assert {tuple(pair) for pair in pairs_within(points, 0.4, chunk=64).T.tolist()} == expected
    of_two = pairs_within(points, 0.4, torch.tensor([3, 7]))
    around = {(a, b) for a in (3, 7) for b in range(300) if (min(a, b), max(a, b)) in expected}
    assert {tuple(pair) for pair in of_two.T.tolist()} == around


def test_a_slice_crosses_the_seam(sample) -> None:
    part = sample.slice(math.pi - 0.2, 0.4)
    assert len(part) > 50
    assert bool((part.phi.abs() > math.pi - 0.2001).all())
    assert bool((part.phi > 0).any())
    assert bool((part.phi < 0).any())


def test_pairs_point_outwards(sample) -> None:
    turned = oriented(sample, consecutive_pairs(sample).flip(0))
    assert bool((sample.distance[turned[0]] <= sample.distance[turned[1]]).all())


def test_events_without_truth_or_truncated_are_refused(tmp_path) -> None:
    broken = tmp_path / EVENT.name
    broken.write_bytes(EVENT.read_bytes()[:1000])
    with pytest.raises(InputError, match="not a readable Parquet"):
        read_sample(broken, FEATURES)
    with pytest.raises(InputError, match="cell_count"):
        read_sample(EVENT, (*FEATURES, FeatureSpec("cell_count", 1.0)))


def test_a_stopped_training_goes_on_as_if_it_had_not_been_stopped(tmp_path, sample, monkeypatch) -> None:
    monkeypatch.setattr(training, "SAVE_EVERY", 2)

    def run(folder: Path, stop_after: int | None) -> dict[str, torch.Tensor]:
        folder.mkdir(exist_ok=True)
        torch.manual_seed(5)
        network, steps = build_network(SPEC, "embedding"), 0

        def draw(generator: torch.Generator) -> torch.Tensor:
            nonlocal steps
            steps += 1
            if stop_after is not None and steps > stop_after:
                raise KeyboardInterrupt
            start = float(torch.rand(1, generator=generator)) * 2 * math.pi
            return training.embedding_loss(network, sample.slice(start, 1.0), generator, 0.1)

        training.train("embedding", network, draw, folder, 3, 6, 1e-3)
        return network.state_dict()

    whole = run(tmp_path / "whole", None)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "stopped", 3)
    resumed = run(tmp_path / "stopped", None)
    # torch adds gradients of repeated rows in no fixed order on several threads: equal to rounding, not bit by bit
    assert all(torch.allclose(whole[key], resumed[key], rtol=1e-4, atol=1e-5) for key in whole)
    other = build_network(SPEC, "embedding").state_dict()
    assert any(not torch.allclose(whole[key], other[key], rtol=1e-4, atol=1e-5) for key in whole)


def test_losses_fall_when_the_network_is_right(sample) -> None:
    """Each loss is lower for logits that know the truth than for their opposite."""
    edges = oriented(sample, consecutive_pairs(sample))
    mixed = torch.cat([edges, edges[:, torch.randperm(edges.shape[1])][:, :200].flip(0)], dim=1)
    graph = training.graph_of(sample, mixed)

    class Knows(torch.nn.Module):
        def __init__(self, sign: float) -> None:
            super().__init__()
            self.sign = sign

        def forward(self, x, edge_index):
            return (self.sign * (8.0 * graph.target - 4.0))[:, None]

    assert float(training.gnn_loss(Knows(1.0), graph)) < 0.1 < 1.0 < float(training.gnn_loss(Knows(-1.0), graph))
    assert np.isfinite(float(graph.weight.sum()))
