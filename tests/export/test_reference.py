"""The reference pipeline as it ships: it exports, finds tracks, and every engine finds the same ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from trkx.bundle import Bundle
from trkx.export.build import export_models
from trkx.export.pipeline_folder import open_source
from trkx.export.sample import check_event, reference_folder
from trkx.runtime.events import open_events
from trkx.runtime.metrics.report import Report, evaluate_event
from trkx.runtime.metrics.selection import Selection
from trkx.runtime.pipeline import Pipeline

EVENTS = Path(__file__).parents[1] / "data" / "pileup50"


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("reference") / "bundle"
    source = open_source(reference_folder(), None, {})
    report = export_models(source, target, check_event(source.spec))
    assert all(row.passed for row in report.rows)
    return target


def test_the_bundle_is_whole_and_says_what_it_is(bundle: Path) -> None:
    opened = Bundle.open(bundle)
    assert set(opened.problems().values()) == {""}
    assert opened.spec.name == "reference"
    assert [feature.name for feature in opened.spec.features] == ["r", "phi", "z"]


def test_it_finds_tracks_in_held_out_events(bundle: Path) -> None:
    """Three events of mu = 50 that no network was trained on. The card measures 20; this guards against something breaking."""
    pipeline, report = Pipeline.open(bundle), Report(Selection())
    for source in open_events([EVENTS]):
        event = source.read()
        report = report.merge(evaluate_event(event, pipeline.run(event, keep_graphs=True), Selection()))
    rates = report.total().rates
    assert rates["efficiency_double_majority"] > 0.965
    assert rates["fake_rate"] < 0.012


def test_every_engine_gives_the_same_labels(bundle: Path) -> None:
    event = open_events([EVENTS])[0].read()
    labels = [Pipeline.open(bundle, engine=engine).run(event).label for engine in ("onnxruntime", "torchscript", "eager")]
    assert len(np.unique(labels[0])) < len(event)
    assert np.array_equal(labels[0], labels[1])
    assert np.array_equal(labels[0], labels[2])


def test_what_ships_is_small_and_carries_its_card() -> None:
    folder = reference_folder()
    weights = sorted(folder.glob("*.safetensors"))
    assert [path.stem for path in weights] == ["embedding", "filter", "gnn"]
    assert sum(path.stat().st_size for path in weights) < 10e6
    card = (folder / "MODEL_CARD.md").read_text()
    assert "mu = 50: 20 events" in card
    assert "mu = 200" in card
