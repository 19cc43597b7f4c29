"""Decisions near a cut: flips that rounding explains are counted, all others fail; a shifted file is caught."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch
from onnx import helper, numpy_helper
from support.tiny import TinyExport, tiny_spec

from trkx.bundle import STAGES, Bundle
from trkx.export.check import Expectation, oracle_of
from trkx.export.validation.decisions import decision_rows, edge_decisions, pair_decisions
from trkx.export.validation.flips import ALWAYS, flips
from trkx.export.validation.model_file import ModelFile
from trkx.export.validation.oracle import oracle_for
from trkx.export.validation.report import EdgeScores, Row
from trkx.export.validation.validate import files_of
from trkx.export.validation.whole_event import Exact, exact_event
from trkx.export.zoo import Case
from trkx.runtime.engines.eager import load_networks
from trkx.spec import logit_of_cut

CUT = 0.6
BOUNDARY = logit_of_cut(CUT)
FILE = ModelFile("gnn.onnx", "gnn", "onnx", b"", 3, 1, "ort-cpu", cut=CUT)
EDGES = 1000


def expectation(distance: np.ndarray, tolerance: float = 1e-3) -> Expectation:
    exact = (BOUNDARY + np.asarray(distance, np.float64)).reshape(-1, 1)
    case = Case("event 1", np.zeros((2, 3), np.float32), np.zeros((2, len(exact)), np.int64))
    return Expectation(case, exact, np.full_like(exact, tolerance))


def far_from_the_cut(rng: np.random.Generator) -> np.ndarray:
    return rng.choice([-1.0, 1.0], EDGES) * rng.uniform(0.1, 5.0, EDGES)


def decided(expected: Expectation, found: np.ndarray) -> tuple[Row, EdgeScores | None]:
    return edge_decisions(FILE, "engine", "event 1", expected, found.astype(np.float32))


def test_no_flip_passes(rng: np.random.Generator) -> None:
    expected = expectation(far_from_the_cut(rng))
    row, scores = decided(expected, expected.output + rng.normal(0.0, 1e-4, expected.output.shape))
    assert row.status == "passed"
    assert scores is not None
    assert (scores.flips, scores.flips_outside, scores.edges) == (0, 0, EDGES)


def test_flips_inside_the_band_are_counted_and_pass(rng: np.random.Generator) -> None:
    distance = far_from_the_cut(rng)
    distance[:2] = 2e-4, -3e-4
    expected = expectation(distance)
    found = expected.output.copy()
    found[0] -= 4e-4
    found[1] += 5e-4
    row, scores = decided(expected, found)
    assert row.status == "passed"
    assert row.detail.startswith("2 of 1000 edges flip; 2 are within rounding of the cut")
    assert scores is not None
    assert (scores.flips, scores.flips_outside) == (2, 0)


def test_a_flip_outside_the_band_fails(rng: np.random.Generator) -> None:
    distance = far_from_the_cut(rng)
    distance[7] = 2e-3
    expected = expectation(distance)
    found = expected.output.copy()
    found[7] -= 3e-3
    row, scores = decided(expected, found)
    assert row.status == "failed"
    assert "1 of 1000 edges change sides" in row.detail
    assert "edge 7" in row.detail
    assert row.difference == pytest.approx(3e-3, rel=1e-3)
    assert row.tolerance == 1e-3
    assert scores is not None
    assert scores.flips_outside == 1


def test_a_flip_from_inside_the_band_to_far_away_is_no_rounding(rng: np.random.Generator) -> None:
    distance = far_from_the_cut(rng)
    distance[7] = 2e-4
    expected = expectation(distance)
    found = expected.output.copy()
    found[7] = -40.0
    assert decided(expected, found)[0].status == "failed"


def test_too_many_flips_inside_the_band_are_a_shift() -> None:
    tolerance, inside = np.full(EDGES, 1e-3), 20
    exact = np.concatenate([np.linspace(-9e-4, 9e-4, inside), np.full(EDGES - inside, 3.0)])
    shifted = flips(exact, tolerance, exact + 9e-4, 0.0)
    assert len(shifted.wild) == 0
    assert len(shifted.flipped) > shifted.cap
    assert "shifted as a whole" in shifted.problem
    rounded = flips(exact, tolerance, exact + np.where(np.arange(EDGES) % 2, 6e-5, -6e-5), 0.0)
    assert 0 < len(rounded.flipped) <= ALWAYS
    assert rounded.problem == ""


def test_a_band_that_holds_everything_is_not_checked_and_never_passed(rng: np.random.Generator) -> None:
    expected = expectation(rng.uniform(-1e-4, 1e-4, EDGES))
    row, _ = decided(expected, expected.output)
    assert row.status == "not checked"
    assert "too many to prove anything" in row.detail


def test_a_flip_outside_fails_even_where_the_band_is_blind(rng: np.random.Generator) -> None:
    distance = rng.uniform(-1e-4, 1e-4, EDGES)
    distance[0] = 1.0
    expected = expectation(distance)
    found = expected.output.copy()
    found[0] = -3.0
    assert decided(expected, found)[0].status == "failed"


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_outputs_that_are_no_numbers_fail(value: float, rng: np.random.Generator) -> None:
    expected = expectation(far_from_the_cut(rng))
    found = expected.output.copy()
    found[3] = value
    row, scores = decided(expected, found)
    assert row.status == "failed"
    assert "1 of 1000 outputs are NaN or infinite" in row.detail
    assert scores is None


def test_a_wrong_shape_fails_and_an_unknown_cut_is_not_checked(rng: np.random.Generator) -> None:
    expected = expectation(far_from_the_cut(rng))
    assert decided(expected, expected.output[:-1])[0].status == "failed"
    row, scores = edge_decisions(replace(FILE, cut=None), "engine", "event 1", expected, expected.output)
    assert (row.status, scores) == ("not checked", None)
    assert decided(expectation(np.empty(0)), np.empty((0, 1)))[0].status == "not checked"


def test_the_plotted_sample_holds_every_flip_and_the_nearest_edges(rng: np.random.Generator) -> None:
    distance = rng.choice([-1.0, 1.0], 40_000) * rng.uniform(0.1, 5.0, 40_000)
    distance[[5, 30_000]] = 1e-4, -2e-4
    expected = expectation(distance)
    found = expected.output.copy()
    found[5] -= 3e-4
    _, scores = decided(expected, found)
    assert scores is not None
    exact = np.asarray(scores.exact) - BOUNDARY
    assert len(exact) < 10_000
    assert ((exact > 0.0) != (np.asarray(scores.found) > BOUNDARY)).sum() == 1
    assert np.isclose(exact, -2e-4).any()


PLACES = np.array([[0.0, 0.0], [0.1, 0.0], [0.1, 0.3], [5.0, 5.0]])


def places(tolerance: float) -> Expectation:
    case = Case("event 1", np.zeros((4, 3), np.float32), np.empty((2, 0), np.int64))
    return Expectation(case, PLACES, np.full_like(PLACES, tolerance))


def test_pairs_at_the_radius_may_flip_within_rounding_only() -> None:
    file = replace(FILE, stage="embedding", cut=None)
    moved = PLACES.copy()
    moved[1, 0] += 1e-4
    radius = 0.1 + 2e-5  # hits 0 and 1 are a pair, and no longer after the move
    narrow = pair_decisions(file, "engine", "event 1", places(1e-6), moved.astype(np.float32), radius)
    wide = pair_decisions(file, "engine", "event 1", places(1e-4), moved.astype(np.float32), radius)
    assert (narrow.status, wide.status) == ("failed", "passed")
    assert "1 of 1 edges flip" in wide.detail
    right = pair_decisions(file, "engine", "event 1", places(1e-6), PLACES.astype(np.float32), radius)
    assert right.status == "passed"
    alone = pair_decisions(file, "engine", "event 1", places(1e-6), PLACES.astype(np.float32), 1e-3)
    assert alone.status == "not checked"


@pytest.fixture(scope="module")
def tiny_event(tiny_export: TinyExport) -> tuple[list[ModelFile], Exact]:
    """Return the files of the tiny bundle and its event; cuts in the largest gap of the logits near their middle."""
    torch.set_num_threads(1)
    bundle = Bundle.open(tiny_export.folder)
    networks = load_networks(bundle)
    oracles = {stage: oracle_of(network) for stage, network in networks.items()}
    exact = exact_event(bundle.spec, oracles, tiny_export.event)
    files, lost = files_of(bundle, networks)
    assert not lost
    cuts = {}
    for stage in STAGES[1:]:
        case = exact.cases[stage]
        with torch.no_grad():
            logits = oracles[stage](torch.tensor(case.x, dtype=torch.float64), torch.tensor(case.edge_index)).numpy()
        middle = np.sort(logits.reshape(-1))[len(logits) // 3 : 2 * len(logits) // 3]
        gap = int(np.diff(middle).argmax())
        cuts[stage] = float(1.0 / (1.0 + np.exp(-middle[gap : gap + 2].mean())))
    return [replace(file, cut=cuts.get(file.stage)) for file in files], exact


def shifted(data: bytes, shift: float) -> bytes:
    """Return a file whose outputs are all larger by `shift`."""
    model = onnx.load_model_from_string(data)
    producer = next(node for node in model.graph.node if "output" in node.output)
    producer.output[list(producer.output).index("output")] = "right"
    model.graph.initializer.append(numpy_helper.from_array(np.float32([shift]), "shift"))
    model.graph.node.append(helper.make_node("Add", ["right", "shift"], ["output"]))
    return model.SerializeToString()


def test_the_right_files_decide_as_their_networks(tiny_event: tuple[list[ModelFile], Exact]) -> None:
    files, exact = tiny_event
    rows, scores = decision_rows(files, exact, {file.stage: oracle_for(file) for file in files}, tiny_spec(), (1,))
    assert [row for row in rows if row.status == "failed"] == []
    assert {row.stage for row in rows if row.status == "passed"} == set(STAGES)
    assert all(row.status == "not checked" for row in rows if "CUDA" in row.engine or "TensorRT" in row.engine)
    assert {score.file for score in scores} == {file.path for file in files if file.stage != "embedding"}


@pytest.mark.parametrize("stage", STAGES[1:])
def test_a_shift_of_the_logits_is_caught(stage: str, tiny_event: tuple[list[ModelFile], Exact]) -> None:
    files, exact = tiny_event
    file = next(file for file in files if file.stage == stage and file.format == "onnx")
    wrong = replace(file, data=shifted(file.data, 0.01))
    rows, _ = decision_rows([wrong], exact, {stage: oracle_for(file)}, tiny_spec(), (1,))
    assert [row.status for row in rows if row.engine.startswith("ONNX Runtime CPU")] == ["failed"]


def test_a_moved_embedding_makes_other_pairs(tiny_event: tuple[list[ModelFile], Exact]) -> None:
    files, exact = tiny_event
    file = next(file for file in files if file.stage == "embedding" and file.format == "onnx")
    model = onnx.load_model_from_string(file.data)
    producer = next(node for node in model.graph.node if "output" in node.output)
    producer.output[list(producer.output).index("output")] = "right"
    model.graph.initializer.append(numpy_helper.from_array(np.float32([1.02]), "factor"))
    model.graph.node.append(helper.make_node("Mul", ["right", "factor"], ["output"]))
    wrong = replace(file, data=model.SerializeToString())
    rows, _ = decision_rows([wrong], exact, {"embedding": oracle_for(file)}, tiny_spec(), (1,))
    assert [row.status for row in rows if row.engine.startswith("ONNX Runtime CPU")] == ["failed"]
