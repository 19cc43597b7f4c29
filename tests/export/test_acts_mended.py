"""What ACTS's files must allow (ties of distance, cuts for components), and what a user of the code beside them meets."""

from __future__ import annotations

import builtins
import re
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.tiny import tiny_spec
from test_acts_files import SIZES, acts_modules, loaded  # noqa: F401 (a fixture)
from typer.testing import CliRunner

from trkx import cli
from trkx.export.acts import components
from trkx.export.acts.components import LEAST, best_cut, components_of
from trkx.export.acts.config import configuration
from trkx.export.acts.configured import config_rows
from trkx.export.acts.form import acts_network
from trkx.export.acts.readme import readme
from trkx.export.acts.snippet_cpp import cpp_snippet
from trkx.export.acts.snippet_python import python_snippet
from trkx.export.commands.export import _targets
from trkx.export.torchscript_file import torchscript_bytes
from trkx.export.validation.invariance import changes_of, invariance_rows
from trkx.export.validation.model_file import ModelFile
from trkx.export.validation.oracle import oracle_for
from trkx.export.validation.report import Row
from trkx.export.zoo import Case, helix_event
from trkx.models.networks import build_network
from trkx.spec import LabellingSpec

TARGETS = ("acts-torch", "acts-onnx")


def two_at_one_place(rng: np.random.Generator) -> Case:
    """Return 40 hits in pairs of equal features, edges between all of them, smaller number first."""
    x = np.repeat(rng.uniform(0.1, 1.0, (20, 3)).astype(np.float32), 2, axis=0)[rng.permutation(40)]
    return Case("Pareto degrees", x, np.stack(np.triu_indices(40, 1)))


def test_hits_that_are_equally_far_may_not_be_exchanged_but_all_others(rng: np.random.Generator) -> None:
    spec = tiny_spec()
    network = acts_network(build_network(spec, "gnn").eval(), spec, "gnn")
    data = torchscript_bytes("gnn", network, 3)
    file = ModelFile("acts/gnn.pt", "gnn", "torchscript", data, 3, 1, "acts-torch", network)
    oracle, case = oracle_for(file), two_at_one_place(rng)
    expected = oracle.expectations([case])

    def failed(item: ModelFile) -> list[Row]:
        rows = [row for row in invariance_rows(item, expected, oracle) if "relabelled" in row.case]
        assert rows
        return [row for row in rows if row.status == "failed"]

    assert failed(file) == []
    assert failed(replace(file, network=None)) != []  # the mutant: numbers of all hits at random
    (turned,), _ = changes_of(file)["hits relabelled"](case, rng)
    assert (turned.edge_index != case.edge_index).any() and (turned.x != case.x).any()
    np.testing.assert_array_equal(turned.x[turned.edge_index], case.x[case.edge_index])
    equal = (case.x[case.edge_index[0]] == case.x[case.edge_index[1]]).all(axis=1)
    assert equal.sum() == 20 and (turned.edge_index[0] < turned.edge_index[1])[equal].all()
    assert not (turned.edge_index[0] < turned.edge_index[1]).all()


# Cuts for connected components

MEASURED = [
    {"cut": 0.4, "found": 80, "tracks": 200, "fakes": 4}, {"cut": 0.8, "found": 82, "tracks": 190, "fakes": 1},
    {"cut": 0.9, "found": 82, "tracks": 180, "fakes": 0}, {"cut": 0.95, "found": 82, "tracks": 170, "fakes": 0},
]


def told() -> dict[str, Any]:
    return {
        "cut_for_components": 0.9, "chosen_by": components.HOW, "event": "event 7", "selection": "pT above 0.9 GeV",
        "particles": 83,
        "edge_contraction": {"cut": 0.4, "found": 82, "tracks": 211, "fakes": 0}, "measured": [dict(row) for row in MEASURED],
    }


CONTRACTED = tiny_spec(labelling=LabellingSpec("edge_contraction", 3))


def test_the_best_cut_finds_most_then_has_the_fewest_fakes_then_is_the_lowest() -> None:
    assert best_cut(MEASURED) == 0.9
    assert best_cut(MEASURED[:2]) == 0.8 and best_cut(MEASURED[:1]) == 0.4


def test_sentences_and_code_name_only_a_cut_that_was_measured() -> None:
    config = configuration(CONTRACTED, TARGETS, SIZES, told())
    sentence = config["differences"][0]
    for words in ("edge contraction finds 82 with 0 fakes in 211 tracks of the 83 particles", "at 0.4 find 80 with 4 fakes",
                  "at 0.9, the best that was measured, 82", "event 7"):
        assert words in sentence
    assert {stage["cut"] for stage in config["classifiers"]} == {0.3, 0.4}  # those of the specification
    assert 'gnn_algorithm("torch", gnn_cut=0.9)' in readme(config) and "level, 0.9f)" in readme(config)
    assert "CUT_FOR_COMPONENTS = 0.9 " in python_snippet(config) and "cutForComponents = 0.9f;" in cpp_snippet(config)
    plain = configuration(CONTRACTED, TARGETS, SIZES)
    assert "None was measured" in plain["differences"][0] and not re.search(r"0\.9", plain["differences"][0])
    assert "CUT_FOR_COMPONENTS = None " in python_snippet(plain) and "cutForComponents" not in cpp_snippet(plain)
    assert configuration(tiny_spec(), TARGETS, SIZES)["components"] is None


@pytest.mark.parametrize(
    "change", [("cut_for_components", 0.8), ("measured", []), ("measured", [{"cut": 2.0, "found": 1, "fakes": 0}])]
)
def test_advice_that_was_not_measured_is_caught(change: tuple[str, object]) -> None:
    def rows(found: dict[str, Any]) -> Sequence[Row]:
        config = configuration(CONTRACTED, TARGETS, SIZES) | {"components": found}
        rows = config_rows(config, CONTRACTED, helix_event(CONTRACTED, tracks=5), lambda entry: entry["network"], TARGETS)
        return [row for row in rows if row.case == "cut for components"]

    assert [row.status for row in rows(told())] == ["passed"]
    assert [row.status for row in rows(told() | dict([change]))] == ["failed"]


def test_cuts_are_measured_where_there_is_truth(monkeypatch: pytest.MonkeyPatch) -> None:
    from trkx.export.pipeline_folder import load_network, open_source
    from trkx.export.sample import check_event, reference_folder

    source = open_source(reference_folder())
    event = check_event(source.spec)
    networks = {stage: load_network(source, stage) for stage in source.spec.stages}
    assert components_of(source.spec, networks, replace(event, truth=None)) is None
    assert components_of(replace(source.spec, labelling=LabellingSpec("connected_components")), networks, event) is None
    monkeypatch.setattr(components, "CUTS", (0.5, 0.9))
    found = components_of(source.spec, networks, event)
    assert found is not None and found["particles"] >= LEAST
    assert [row["cut"] for row in found["measured"]] == [0.6, 0.9]  # the own one, and those above it
    low, high = found["measured"]
    assert (found["cut_for_components"], found["edge_contraction"]["cut"]) == (0.9, 0.6)
    assert low["found"] < high["found"] <= found["particles"] and low["fakes"] > high["fakes"]
    monkeypatch.setattr(components, "LEAST", 10**6)
    assert components_of(source.spec, networks, event) is None


# Code for Python


@pytest.fixture
def snippet(tmp_path: Path) -> Path:
    for name in ("embedding.pt", "filter.pt", "gnn.pt", "filter.onnx", "gnn.onnx"):
        (tmp_path / name).touch()
    (tmp_path / "acts_pipeline.py").write_text(python_snippet(configuration(CONTRACTED, TARGETS, SIZES)))
    return tmp_path


def test_the_cut_of_the_gnn_is_an_argument(snippet: Path, acts_modules: object) -> None:  # noqa: F811
    module = loaded(snippet)
    for backend in ("torch", "onnx"):
        assert [stage.options["cut"] for stage in module.stages(backend)[1]] == [0.3, 0.4]
        algorithm = module.gnn_algorithm(backend, gnn_cut=0.9)
        assert [stage.options["cut"] for stage in algorithm.options["edgeClassifiers"]] == [0.3, 0.9]
    for wrong in (0.0, 1.0, 9):
        with pytest.raises(ValueError, match="gnn_cut must lie between 0 and 1"):
            module.stages("torch", gnn_cut=wrong)


@pytest.mark.parametrize("missing", ["acts", "acts.examples.gnn"])
def test_an_acts_without_the_plugin_says_what_to_do(missing: str, snippet: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """pip's wheel has acts, but neither acts.gnn nor acts.examples.gnn."""
    given = builtins.__import__

    def without(name: str, *arguments: Any, **more: Any) -> Any:
        if name.startswith("acts") and (missing == "acts" or name != "acts"):
            raise ModuleNotFoundError(f"No module named {name!r}")
        return given(name, *arguments, **more)

    monkeypatch.setitem(sys.modules, "acts", torch)  # anything
    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ImportError, match=r"no GNN plugin: .*ACTS_BUILD_PLUGIN_GNN=ON.*trkx acts BUNDLE"):
        loaded(snippet).gnn_algorithm("torch")


# Commands


def test_acts_is_a_word_for_both_targets() -> None:
    assert _targets(["acts,tensorrt"]) == ("acts-torch", "acts-onnx", "tensorrt")
    assert _targets(["acts-onnx", "acts"]) == ("acts-onnx", "acts-torch")


@pytest.mark.parametrize("width", [80, 200])
def test_names_of_files_stay_whole(width: int, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    text = CliRunner().invoke(cli.app, ["inspect", str(tiny_bundle)]).output
    assert re.search(r"^weights\.safetensors +all +safetensors .*ok", text, re.MULTILINE)
    assert ("sha256" in text.split("embedding.onnx: ")[0]) == (width == 200)


def test_a_build_of_acts_gets_the_back_ends_that_are_described() -> None:
    both, onnx = (readme(configuration(tiny_spec(), targets, SIZES)) for targets in (TARGETS, ["acts-onnx"]))
    assert "-DACTS_GNN_ENABLE_TORCH=ON -DACTS_GNN_ENABLE_ONNX=ON -DACTS_GNN_ENABLE_TENSORRT=OFF" in both
    assert "-DACTS_GNN_ENABLE_TORCH=OFF -DACTS_GNN_ENABLE_ONNX=ON" in onnx
    assert "ActsPluginGnn" in both and "pipeline.run(features, modules, ids, device)" in both
