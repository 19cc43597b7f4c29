"""A whole pipeline whose GNN reads edge_attr: exported, run on every engine, with the features of its own scales."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from support.tiny import TinyExport, tiny_export_into, tiny_spec

from trkx.export.pipeline_folder import load_network
from trkx.export.validation.whole_event import Recorder
from trkx.runtime.engines import ENGINES
from trkx.runtime.features import node_features
from trkx.runtime.pipeline import Pipeline
from trkx.spec import ChainSpec, FeatureSpec, MessagePassingSpec

FEATURES = tuple(FeatureSpec(name, scale) for name, scale in (("r", 3000.0), ("phi", 1.0), ("z", 400.0), ("eta", 2.0)))
OWN = tuple(FeatureSpec(name, scale) for name, scale in (("r", 1000.0), ("phi", math.pi), ("z", 1000.0), ("eta", 1.0)))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> TinyExport:
    hidden = ChainSpec((6, 6), "silu", "plain")
    gnn = MessagePassingSpec(hidden, hidden, hidden, hidden, ChainSpec((6, 1), "silu", "plain"), 2, features=OWN,
                             edge_features=("dr", "dphi", "dz", "deta"))
    return tiny_export_into(tmp_path_factory.mktemp("edge-attr"), tiny_spec(features=FEATURES, gnn=gnn))


@pytest.mark.parametrize("name", ENGINES)
def test_every_engine_is_given_the_edge_features_of_the_training(name: str, made: TinyExport, tmp_path: Path) -> None:
    assert all(row.passed for row in made.report.rows)
    pipeline = Pipeline.open(made.folder, name)
    pipeline.engine = recorder = Recorder(pipeline.engine)
    pipeline.run(made.event)
    seen = recorder.seen("gnn", "event")
    assert seen is not None
    case, logits = seen
    assert case.edge_index.shape[1] > 20
    own = node_features(made.event, OWN).astype(np.float64)
    difference = own[case.edge_index[1]] - own[case.edge_index[0]]
    difference[:, 1] -= 2.0 * np.round(0.5 * difference[:, 1])  # phi / pi jumps by 2
    network = load_network(made.source, "gnn").double()
    with torch.no_grad():
        wanted = network(*(torch.from_numpy(value) for value in (case.x.astype(np.float64), case.edge_index, difference)))
    np.testing.assert_allclose(logits, wanted.numpy().ravel(), atol=2e-5, rtol=0)
