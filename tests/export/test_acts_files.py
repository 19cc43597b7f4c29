"""The folder acts/ of a bundle: what is in it, the form of its models, its configuration, and the code that is made from that."""

from __future__ import annotations

import copy
import importlib.util
import itertools
import re
import shutil
import subprocess
import sys
import types
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from support.acts_bundles import acts_bundle_into
from support.tiny import tiny_spec
from typer.testing import CliRunner

from trkx import cli
from trkx.bundle import STAGES, Bundle
from trkx.errors import ExportError
from trkx.export.acts.config import LEAST_KNN, Sizes, configuration, read_config
from trkx.export.acts.files import ACTS_TARGETS, CONFIG, TEXTS, model_path
from trkx.export.acts.form import ActsForm, acts_edge_columns, acts_network, acts_width
from trkx.export.acts.limits import FEATURES, require_acts, turns_edges
from trkx.export.acts.readme import readme
from trkx.export.acts.snippet_cpp import cpp_snippet
from trkx.export.acts.snippet_python import python_snippet
from trkx.export.assembling import Given
from trkx.export.commands.export import _targets
from trkx.export.lint.run import lint, lint_file
from trkx.export.onnx_file import onnx_bytes, onnx_model
from trkx.export.pipeline_folder import load_network, open_source
from trkx.export.torchscript_file import load_torchscript, torchscript_bytes
from trkx.export.zoo import helix_event
from trkx.models.networks import build_network
from trkx.runtime.edge_features import edge_features
from trkx.runtime.edges import oriented
from trkx.runtime.engines.eager import load_networks
from trkx.runtime.events.event import Event
from trkx.runtime.features import node_features
from trkx.spec import (
    ChainSpec,
    CutSpec,
    EmbeddingSpec,
    FeatureSpec,
    GraphSpec,
    LabellingSpec,
    MessagePassingSpec,
    PipelineSpec,
)

PI = 3.141592653589793
MODULE_MAP = tuple(FeatureSpec(name, scale) for name, scale in (("r", 1000.0), ("phi", PI), ("z", 1000.0), ("eta", 1.0)))
SIZES = Sizes(700, "event 7")


def message_passing(edge_features: tuple[str, ...] = (), undirected: bool = False) -> MessagePassingSpec:
    chain, last = ChainSpec((6, 6), activation="tanh"), ChainSpec((6, 1))
    return MessagePassingSpec(chain, chain, chain, chain, last, 1, edge_features=edge_features, undirected=undirected)


def module_map_spec(*names: str, features: tuple[FeatureSpec, ...] = MODULE_MAP) -> PipelineSpec:
    """Return a GNN alone that reads these edge features."""
    return PipelineSpec("maps", features, gnn=message_passing(names), cuts=CutSpec(gnn=0.5))


@dataclass(frozen=True)
class Made:
    """A bundle with files for acts-torch and acts-onnx, its networks, and the event that neighbours were counted in."""

    folder: Path
    spec: PipelineSpec
    event: Event
    networks: Mapping[str, torch.nn.Module]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    event = helix_event(tiny_spec(), tracks=40)
    folder = acts_bundle_into(tmp_path_factory.mktemp("acts"), tiny_spec(), event, ACTS_TARGETS[:2])
    bundle = Bundle.open(folder)
    return Made(folder, bundle.spec, event, load_networks(bundle))


def edges_of(rng: np.random.Generator, nodes: int, count: int) -> np.ndarray:
    """Return pairs as ACTS gives them: smaller number first, each once."""
    pairs = np.stack(np.triu_indices(nodes, 1))
    return np.ascontiguousarray(pairs[:, np.sort(rng.permutation(pairs.shape[1])[:count])])


# What lies in the bundle


def test_what_the_folder_holds(made: Made) -> None:
    bundle = Bundle.open(made.folder)
    bundle.verify()
    assert bundle.strangers() == []
    own = [entry for entry in bundle.manifest.files if entry.path.startswith("acts/")]
    held = {entry.path: (entry.stage, entry.format, entry.target) for entry in own}
    wanted = {f"acts/{stage}.pt": (stage, "torchscript", "acts-torch") for stage in STAGES}
    wanted |= {f"acts/{stage}.onnx": (stage, "onnx", "acts-onnx") for stage in STAGES}
    assert held == wanted | {path: ("all", format, "") for format, path in TEXTS.items()}
    assert bundle.read("all", "acts-config") == (made.folder / CONFIG).read_bytes()
    for path in wanted:
        assert str(Path(__file__).resolve().parents[2]).encode() not in (made.folder / path).read_bytes()


def test_the_files_pass_lint_for_their_targets(made: Made) -> None:
    for path in (path for path in (made.folder / "acts").iterdir() if path.suffix in (".pt", ".onnx")):
        assert lint_file(path, "acts-torch" if path.suffix == ".pt" else "acts-onnx", stage=path.stem) == []
    linted = {Path(file.file).relative_to(made.folder).as_posix(): file for file in lint(made.folder)}
    for stage, (target, suffix) in itertools.product(STAGES, (("acts-torch", "pt"), ("acts-onnx", "onnx"))):
        found = linted[f"acts/{stage}.{suffix}"]
        assert (found.target, found.findings, found.skipped) == (target, (), "")


@pytest.mark.parametrize("command", [["lint"], ["inspect"], ["lint", "--target", "acts-torch"]])
def test_commands_read_such_a_bundle(command: list[str], made: Made) -> None:
    result = CliRunner().invoke(cli.app, [command[0], str(made.folder), *command[1:]])
    assert result.exit_code == 0, result.output


def test_a_file_of_acts_can_be_repaired_for_its_target(made: Made, tmp_path: Path) -> None:
    file, out = made.folder / "acts" / "filter.onnx", tmp_path / "filter.onnx"
    result = CliRunner().invoke(cli.app, ["repair", str(file), "--target", "acts-onnx", "--out", str(out)])
    assert result.exit_code == 0, result.output  # nothing to do


def test_targets_come_with_commas_or_one_by_one() -> None:
    wanted = ("acts-torch", "acts-onnx", "tensorrt")
    for words in (["acts-torch,acts-onnx,tensorrt"], ["acts-torch", "acts-onnx , tensorrt", "acts-torch"], list(wanted)):
        assert _targets(words) == wanted
    assert _targets([]) == _targets([","]) == ()


def test_each_target_alone_is_described_alone() -> None:
    spec = tiny_spec()
    torch_alone, onnx_alone = (configuration(spec, [target], SIZES) for target in ("acts-torch", "acts-onnx"))
    assert {stage["backend"] for stage in torch_alone["classifiers"]} == {"torch"}
    assert (torch_alone["graph"]["model"], torch_alone["embedding_onnx"]) == ("embedding.pt", None)
    assert {stage["backend"] for stage in onnx_alone["classifiers"]} == {"onnx"}
    assert (onnx_alone["graph"], onnx_alone["embedding_onnx"]) == (None, "embedding.onnx")
    assert any("export for acts-torch too" in text for text in onnx_alone["differences"])
    assert model_path("embedding", "acts-tensorrt") is None
    assert {model_path("gnn", target) for target in ACTS_TARGETS} == {"acts/gnn.pt", "acts/gnn.onnx", "acts/tensorrt/gnn.onnx"}


# The form of the models


def test_edges_by_index_give_what_the_network_gives_for_its_own_direction(
    made: Made, rng: np.random.Generator
) -> None:
    """The oracle is independent: the runtime's own orientation, by positions in float64."""
    spec, event = made.spec, made.event
    x = node_features(event, spec.features)
    edges = edges_of(rng, len(event), 4000)
    trained = oriented(edges, event.position, "by_radius")
    assert 0.3 < float((trained[0] > trained[1]).mean()) < 0.7  # about half are turned
    for stage in ("filter", "gnn"):
        form = acts_network(made.networks[stage], spec, stage)
        with torch.no_grad():
            wanted = made.networks[stage](torch.from_numpy(x), torch.from_numpy(trained))
            assert torch.equal(form(torch.from_numpy(x), torch.from_numpy(edges)), wanted)
            other = made.networks[stage](torch.from_numpy(x), torch.from_numpy(edges))
        assert float((other - wanted).abs().max()) > 0.1  # the mutant: edges as they come


def test_ties_keep_the_lower_index_first_and_near_ties_are_told_apart() -> None:
    spec = tiny_spec()
    form = ActsForm(build_network(spec, "filter"), spec, "filter")
    assert form.outwards is not None
    nearer = float(np.nextafter(np.float32(0.5), np.float32(0.0)))  # by 3e-8 m: float32 could not tell the squares apart
    x = torch.tensor([[0.5, 0.1, -2.5], [0.5, -0.9, 2.5], [nearer, 0.1, 2.5]])
    edges = torch.tensor([[0, 1, 0, 1, 2], [1, 0, 2, 2, 0]])
    assert form.outwards(x, edges).tolist() == [[0, 0, 2, 2, 2], [1, 1, 0, 1, 0]]
    assert form.outwards(x.double(), edges).tolist() == [[0, 0, 2, 2, 2], [1, 1, 0, 1, 0]]


def test_distances_come_from_x_y_z_as_well(rng: np.random.Generator) -> None:
    features = tuple(FeatureSpec(name, scale) for name, scale in (("z", 1000.0), ("y", 500.0), ("x", -250.0)))
    plain = {stage: replace(network, geometry=False) for stage, network in tiny_spec().networks.items()}
    spec = tiny_spec(features=features, **plain)
    require_acts(["acts-torch"], spec)
    position = rng.normal(0.0, 400.0, (50, 3)).astype(np.float32)
    x = (position[:, [2, 1, 0]] / [1000.0, 500.0, -250.0]).astype(np.float32)
    edges = edges_of(rng, 50, 400)
    form = ActsForm(build_network(spec, "filter"), spec, "filter")
    assert form.outwards is not None
    found = form.outwards(torch.from_numpy(x), torch.from_numpy(edges)).numpy()
    np.testing.assert_array_equal(found, oriented(edges, position, "by_radius"))


def test_networks_by_index_and_undirected_ones_get_edges_as_they_come(rng: np.random.Generator) -> None:
    by_index = tiny_spec(graph=GraphSpec(radius=0.05, direction="by_index"))
    assert not any(turns_edges(by_index, stage) for stage in STAGES)
    both = tiny_spec(gnn=message_passing(undirected=True))
    assert (turns_edges(both, "filter"), turns_edges(both, "gnn")) == (True, False)
    network = build_network(both, "gnn").eval()
    x, edges = torch.from_numpy(rng.uniform(0.1, 1.0, (20, 3)).astype(np.float32)), torch.from_numpy(edges_of(rng, 20, 60))
    with torch.no_grad():
        first, turned = (acts_network(network, both, "gnn")(x, e) for e in (edges, edges.flip(0)))
    torch.testing.assert_close(first, turned, atol=1e-6, rtol=0)  # the mean of both is inside
    assert any("Undirected" in text for text in configuration(both, ["acts-torch"], SIZES)["differences"])


@pytest.mark.parametrize("nodes_and_edges", [(1, 0), (5, 0), (2, 1), (40, 2), (300, 3), (100, 4000)])
def test_files_take_any_size(
    nodes_and_edges: tuple[int, int], made: Made, rng: np.random.Generator
) -> None:
    import onnxruntime

    nodes, count = nodes_and_edges
    spec = made.spec
    x, edges = rng.uniform(0.05, 1.0, (nodes, 3)).astype(np.float32), edges_of(rng, nodes, count)
    for stage in STAGES:
        feeds = {"x": x} if stage == "embedding" else {"x": x, "edge_index": edges}
        given = [torch.from_numpy(value) for value in feeds.values()]
        kept = [value.clone() for value in given]
        with torch.no_grad():
            wanted = acts_network(made.networks[stage], spec, stage).double()(
                *(value.double() if value.is_floating_point() else value for value in given))
            module = load_torchscript((made.folder / f"acts/{stage}.pt").read_bytes())
            found = module(*given)
            again = module(*given)
        assert found.dtype == torch.float32 and found.is_contiguous()
        assert list(found.shape) == ([nodes, 4] if stage == "embedding" else [count, 1])
        assert all(torch.equal(value, other) for value, other in zip(given, kept, strict=True))
        memory = {value.untyped_storage().data_ptr() for value in (*given, *module.parameters(), again) if value.numel()}
        assert not found.numel() or found.untyped_storage().data_ptr() not in memory
        session = onnxruntime.InferenceSession(made.folder / f"acts/{stage}.onnx", providers=["CPUExecutionProvider"])
        for output in (found.numpy(), session.run(["output"], feeds)[0]):
            np.testing.assert_allclose(output, wanted.numpy(), atol=2e-5, rtol=0)


def test_torchscript_keeps_parameters_that_move(made: Made) -> None:
    for stage in STAGES:
        module = load_torchscript((made.folder / f"acts/{stage}.pt").read_bytes())
        own = sum(parameter.numel() for parameter in made.networks[stage].parameters())
        assert sum(parameter.numel() for parameter in module.parameters()) == own > 0
        assert list(module.buffers()) == []


@pytest.mark.parametrize(("dim", "wide"), [(1, 3), (2, 3), (3, 3), (8, 8), (12, 12)])
def test_narrow_embeddings_get_columns_of_zeros(dim: int, wide: int, rng: np.random.Generator) -> None:
    spec = tiny_spec(embedding=EmbeddingSpec(hidden=8, layers=2, dim=dim))
    require_acts(ACTS_TARGETS[:2], spec)
    network = build_network(spec, "embedding").eval()
    form = acts_network(network, spec, "embedding")
    module = load_torchscript(torchscript_bytes("embedding", form, 3))
    x = torch.from_numpy(rng.uniform(0.1, 1.0, (9, 3)).astype(np.float32))
    with torch.no_grad():
        found, own = module(x), network(x)
    assert list(found.shape) == [9, wide] == [9, acts_width(spec, "embedding")]
    assert found.is_contiguous()
    torch.testing.assert_close(found[:, :dim], own)
    assert not found[:, dim:].any()
    if dim == 1:
        assert onnx_bytes(onnx_model("embedding", form, 3, "acts-onnx"), {})
    assert configuration(spec, ["acts-torch"], SIZES)["graph"]["embeddingDim"] == wide


# Edge features


def test_columns_are_picked_and_slopes_are_those_of_the_training(rng: np.random.Generator) -> None:
    spec = module_map_spec("rphislope", "dphi", "phislope")
    require_acts(ACTS_TARGETS, spec)
    assert acts_edge_columns(spec) == 6
    network = build_network(spec, "gnn").eval()
    x = rng.uniform(0.1, 1.0, (30, 4)).astype(np.float32)
    x[::3, 0] = 0.5  # hits at the same r
    x[6, 1] = x[3, 1]  # and at the same phi
    edges = edges_of(rng, 30, 200)
    edges = np.concatenate([edges, [[3], [6]]], axis=1)
    six = edge_features(module_map_spec("dr", "dphi", "dz", "deta", "phislope", "rphislope"), x, edges)
    level = six[:, 0] == 0.0
    assert 10 < level.sum() < 150
    six[level, 4:] = 0.0  # as ACTS makes them
    trained = edge_features(spec, x, edges)
    given = [torch.from_numpy(value) for value in (x, edges, six)]
    form = acts_network(network, spec, "gnn")
    assert isinstance(form, ActsForm) and form.attributes is not None
    np.testing.assert_allclose(form.attributes(*given).numpy(), trained, atol=1e-5, rtol=1e-5)
    module = load_torchscript(torchscript_bytes("gnn", form, 4, 6))
    with torch.no_grad():
        wanted = network(given[0], given[1], torch.from_numpy(trained))
        torch.testing.assert_close(module(*given), wanted, atol=1e-5, rtol=0)
        assert float((network(given[0], given[1], torch.from_numpy(six[:, [5, 1, 4]])) - wanted).abs().max()) > 1e-3


def test_a_gnn_of_module_maps_is_configured_with_them() -> None:
    config = configuration(module_map_spec("dr", "dphi"), ACTS_TARGETS, None)
    assert config["features"] == ["R", "Phi", "Z", "Eta"]
    graph = config["graph"]
    assert (graph["stage"], graph["rScale"], graph["phiScale"], graph["zScale"], graph["etaScale"]) == (
        "ModuleMapCuda", 1000.0, PI, 1000.0, 1.0)
    assert [stage.get("useEdgeFeatures") for stage in config["classifiers"]] == [True, None, None]
    assert config["classifiers"][2]["model"] == "tensorrt/gnn.onnx"
    text = readme(config)
    assert "trtexec --onnx=tensorrt/gnn.onnx --saveEngine=tensorrt/gnn.engine" in text
    assert "edge_index:2x3000000,edge_attr:3000000x6" in text


# What is refused

REFUSED: list[tuple[str, PipelineSpec, str]] = [
    ("a feature that ACTS does not make", tiny_spec(features=(*tiny_spec().features, FeatureSpec("leta", 1.0))),
     "ACTS makes no node feature leta; it has r, phi, x, y, z, eta"),
    ("an embedding that is too wide", tiny_spec(embedding=EmbeddingSpec(hidden=8, layers=2, dim=13)),
     "the embedding has 13 dimensions, but ACTS's neighbour search takes at most 12"),
    ("a direction without distances", tiny_spec(
        features=(FeatureSpec("phi", 1.0), FeatureSpec("r", 1.0), FeatureSpec("eta", 1.0)),
        embedding=EmbeddingSpec(hidden=8, layers=2, dim=4, geometry=False), filter=replace(tiny_spec().filter, geometry=False),
        gnn=replace(tiny_spec().gnn, geometry=False),
    ), r"the filter and the gnn were trained with direction by_radius.* needs the feature\(s\) z or x, y, z"),
    ("edge features of an embedding's edges", tiny_spec(features=MODULE_MAP, gnn=message_passing(("dr",))),
     "for edges of a module map only"),
    ("an edge feature of our own", module_map_spec("dr", "dx"), "unknown edge feature 'dx'.*ACTS makes dr, dphi"),
    ("edge features of other columns", module_map_spec("dr", features=(MODULE_MAP[1], MODULE_MAP[0], *MODULE_MAP[2:])),
     "takes for r, phi, z, eta; those of this pipeline are phi, r, z, eta"),
    ("phi in other units", module_map_spec("dr", features=(MODULE_MAP[0], FeatureSpec("phi", 1.0), *MODULE_MAP[2:])),
     "ACTS wraps differences of phi / pi, but phi is divided by 1 here"),
]


@pytest.mark.parametrize(("spec", "message"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED])
def test_what_acts_cannot_run_is_refused(spec: PipelineSpec, message: str) -> None:
    for target in ACTS_TARGETS:
        with pytest.raises(ExportError, match=f"target {target}: .*{message}"):
            require_acts(["tensorrt", target], spec)
    require_acts(["tensorrt", "libtorch"], spec)


def test_scales_of_the_gnn_must_be_those_of_the_features() -> None:
    own = (MODULE_MAP[0], MODULE_MAP[1], FeatureSpec("z", 3000.0), MODULE_MAP[3])
    spec = module_map_spec("dz")
    assert spec.gnn is not None
    with pytest.raises(ExportError, match="z / 1000, the gnn was trained on z / 3000"):
        require_acts(["acts-onnx"], replace(spec, gnn=replace(spec.gnn, features=own)))


def test_tensorrt_of_acts_says_what_to_do_without_edge_features(made: Made, tmp_path: Path) -> None:
    words = ["export", str(made.folder.parent / "pipeline"), "--out", str(tmp_path / "b"), "--target", "acts-onnx,acts-tensorrt"]
    result = CliRunner().invoke(cli.app, words, env={"COLUMNS": "400"})
    assert result.exit_code == 1
    assert "choose acts-onnx or acts-torch, or tensorrt" in result.output
    assert not (tmp_path / "b").exists()


# The configuration


def test_acts_json_says_what_the_specification_says(made: Made) -> None:
    spec, config = made.spec, read_config((made.folder / CONFIG).read_bytes())
    assert config["features"] == ["R", "Phi", "Z"]
    assert config["feature_scales"] == [1000.0, PI, 1000.0]
    graph = config["graph"]
    assert (graph["rVal"], graph["embeddingDim"], graph["shuffleDirections"]) == (spec.graph.radius, 4, False)
    assert graph["knnVal"] >= max(LEAST_KNN, graph["measured_neighbours"])
    assert [(s["network"], s["backend"], s["cut"]) for s in config["classifiers"]] == [
        (stage, backend, spec.cut(stage)) for stage in ("filter", "gnn") for backend in ("torch", "onnx")]
    assert all(stage["selectedFeatures"] == [0, 1, 2] for stage in [graph, *config["classifiers"]])
    assert all(stage["undirected"] is False for stage in config["classifiers"] if stage["backend"] == "torch")
    for stage in [graph, *config["classifiers"]]:
        assert (made.folder / "acts" / stage["model"]).is_file()


def test_neighbours_and_sentences_follow_what_was_measured() -> None:
    spec = tiny_spec(labelling=LabellingSpec("edge_contraction", 5), graph=GraphSpec(radius=0.05, k_max=10))
    config = configuration(spec, ACTS_TARGETS[:2], SIZES)
    assert [stage["nChunks"] for stage in config["classifiers"] if stage["backend"] == "torch"] == [1, 1]
    assert config["graph"]["knnVal"] == 1052  # 1.5 x 701
    assert config["track_building"] == {"stage": "BoostTrackBuilding", "minCandidateSize": 5}
    assert config["algorithm"]["minMeasurementsPerTrack"] == 5
    told = " ".join(config["differences"])
    for words in ("no such track builder", "The cut 0.4", "None was measured", "nearest 10", "smaller to the larger index",
                  "event 7, the event that the export was checked with, has 700"):
        assert words in told
    plain = " ".join(configuration(tiny_spec(), ACTS_TARGETS[:2], SIZES)["differences"])
    assert "track builder" not in plain and "nearest" not in plain
    alone = tiny_spec(embedding=None, graph=None, filter=None, cuts=CutSpec(gnn=0.5))
    assert "no embedding here" in " ".join(configuration(alone, ["acts-onnx"], None)["differences"])


def test_names_of_features_are_those_of_acts() -> None:
    """Names that `NodeFeature` has in ACTS's Python bindings (main, August 2026)."""
    numbered = {f"Cluster{n}{name}" for n in (1, 2) for name in ("X", "Y", "Z", "R", "Phi", "Eta")}
    assert set(FEATURES.values()) <= {"R", "Phi", "X", "Y", "Z", "Eta", "CellCount", "ChargeSum"} | numbered


# The Python snippet, run against stand-ins that record what they are given

OPTIONS = {
    "TorchMetricLearning": ["modelPath", "selectedFeatures", "embeddingDim", "rVal", "knnVal", "device"],
    "TorchEdgeClassifier": ["modelPath", "selectedFeatures", "cut", "nChunks", "undirected", "device", "useEdgeFeatures"],
    "OnnxEdgeClassifier": ["modelPath", "cut", "device"],
    "TensorRTEdgeClassifier": ["modelPath", "selectedFeatures", "cut", "numExecutionContexts"],
    "ModuleMapCuda": ["moduleMapPath", "rScale", "phiScale", "zScale", "etaScale", "gpuDevice", "gpuBlocks", "epsilon"],
    "BoostTrackBuilding": [],
    "TrackFindingAlgorithmGnn": [
        "inputSpacePoints", "inputClusters", "inputTruthGraph", "outputProtoTracks", "outputGraph", "graphConstructor",
        "edgeClassifiers", "trackBuilder", "nodeFeatures", "featureScales", "minMeasurementsPerTrack", "geometryIdMap", "device",
        "shrinkNodes",
    ],
}
"""Class to the options that ACTS 48 shows to Python; a Config there takes no others."""


def stand_in(name: str, options: list[str]) -> type:
    """Return a class as ACTS's bindings make them: a Config with fixed slots, and a constructor with config and level."""
    defaults = dict.fromkeys(options)

    class Config:
        __slots__ = tuple(options)

        def __init__(self) -> None:
            for key, value in defaults.items():
                setattr(self, key, value)

    def start(self: Any, config: Any, level: Any) -> None:
        assert isinstance(config, Config)
        self.options, self.level = {key: getattr(config, key) for key in options}, level

    return type(name, (), {"Config": Config, "__init__": start})


@pytest.fixture
def acts_modules(monkeypatch: pytest.MonkeyPatch) -> Iterator[types.ModuleType]:
    names = ("acts", "acts.gnn", "acts.examples", "acts.examples.gnn")
    acts, gnn, examples, algorithms = map(types.ModuleType, names)
    for name, options in OPTIONS.items():
        setattr(algorithms if name.startswith("TrackFinding") else gnn, name, stand_in(name, options))
    device = type("Device", (), {"Cpu": staticmethod(lambda: "cpu"), "Cuda": staticmethod(lambda index=0: f"cuda:{index}")})
    vars(gnn)["Device"] = device
    vars(algorithms)["NodeFeature"] = types.SimpleNamespace(**{name: f"NodeFeature.{name}" for name in FEATURES.values()})
    vars(acts).update(logging=types.SimpleNamespace(INFO="info"), gnn=gnn, examples=examples)
    vars(examples)["gnn"] = algorithms
    for module in (acts, gnn, examples, algorithms):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    yield gnn


def loaded(folder: Path) -> types.ModuleType:
    spec = importlib.util.spec_from_file_location("acts_pipeline", folder / "acts_pipeline.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("backend", ["torch", "onnx"])
def test_the_python_snippet_sets_what_acts_json_says(backend: str, made: Made, acts_modules: object) -> None:
    folder = made.folder / "acts"
    config = read_config((folder / "acts.json").read_bytes())
    algorithm = loaded(folder).gnn_algorithm(backend, device="cuda:1")
    assert type(algorithm).__name__ == config["algorithm"]["stage"]
    given = algorithm.options
    assert given["nodeFeatures"] == [f"NodeFeature.{name}" for name in config["features"]]
    assert given["featureScales"] == config["feature_scales"]
    assert given["minMeasurementsPerTrack"] == config["algorithm"]["minMeasurementsPerTrack"]
    assert (given["shrinkNodes"], given["device"], given["inputSpacePoints"]) == (False, "cuda:1", "spacepoints")
    described = [config["graph"], *(stage for stage in config["classifiers"] if stage["backend"] == backend)]
    made = [given["graphConstructor"], *given["edgeClassifiers"]]
    assert [type(stage).__name__ for stage in made] == [stage["stage"] for stage in described]
    assert type(given["trackBuilder"]).__name__ == config["track_building"]["stage"]
    for stage, options in zip(made, described, strict=True):
        shown = OPTIONS[options["stage"]]
        wanted = {key: value for key, value in options.items() if key in shown}
        wanted |= {"modelPath": str(folder.resolve() / options["model"]), "device": "cuda:1"}
        assert stage.options == wanted
        assert None not in stage.options.values()  # every option that there is, is set
        assert Path(stage.options["modelPath"]).is_file()


def test_the_python_snippet_with_a_module_map(tmp_path: Path, acts_modules: object) -> None:
    config = configuration(module_map_spec("dr", "phislope"), ACTS_TARGETS, None)
    (tmp_path / "acts_pipeline.py").write_text(python_snippet(config))
    (tmp_path / "tensorrt").mkdir()
    snippet = loaded(tmp_path)
    with pytest.raises(ValueError, match="give its path as module_map"):
        snippet.stages("torch")
    for file in ("gnn.pt", "gnn.onnx", "tensorrt/gnn.onnx"):
        (tmp_path / file).touch()
    with pytest.raises(FileNotFoundError, match=r"gnn\.engine: not there"):
        snippet.stages("tensorrt", module_map="map")
    (tmp_path / "tensorrt" / "gnn.engine").touch()
    for backend in ("torch", "onnx", "tensorrt"):
        maker, classifiers, _ = snippet.stages(backend, module_map="map", device="cuda")
        assert maker.options == {"moduleMapPath": "map", "rScale": 1000.0, "phiScale": PI, "zScale": 1000.0, "etaScale": 1.0,
                                 "gpuDevice": 0, "gpuBlocks": 512, "epsilon": 1e-8}
        assert len(classifiers) == 1 and classifiers[0].options["cut"] == 0.5
    assert snippet.stages("torch", module_map="map")[1][0].options["useEdgeFeatures"] is True


def test_the_python_snippet_refuses_what_it_cannot_set(made: Made, acts_modules: Any, tmp_path: Path) -> None:
    folder = made.folder / "acts"
    snippet = loaded(folder)
    with pytest.raises(ValueError, match="no files for 'tensorrt' here; there are some for torch, onnx"):
        snippet.stages("tensorrt")
    with pytest.raises(ValueError, match="device must be cpu, cuda or cuda:INDEX"):
        snippet.stages("torch", "gpu")
    acts_modules.TorchEdgeClassifier = stand_in("TorchEdgeClassifier", ["modelPath", "selectedFeatures", "nChunks"])
    with pytest.raises(RuntimeError, match=r"TorchEdgeClassifier .* has no option cut = 0\."):
        snippet.stages("torch")
    config = read_config((folder / "acts.json").read_bytes())
    config["graph"]["shuffleDirections"] = True  # no default of ACTS: a version that hides it must not be used
    shutil.copytree(folder, tmp_path / "acts")
    (tmp_path / "acts" / "acts_pipeline.py").write_text(python_snippet(config))
    with pytest.raises(RuntimeError, match="has no option shuffleDirections = True"):
        loaded(tmp_path / "acts").stages("onnx")
    config["graph"], config["needs_clusters"] = None, True
    (tmp_path / "acts" / "acts_pipeline.py").write_text(python_snippet(config))
    with pytest.raises(ValueError, match="give one as graph_constructor"):
        loaded(tmp_path / "acts").stages("onnx")
    with pytest.raises(ValueError, match="name of the cluster collection"):
        loaded(tmp_path / "acts").gnn_algorithm("onnx", graph_constructor=object())
    assert loaded(tmp_path / "acts").stages("onnx", graph_constructor="mine")[0] == "mine"


# The C++ snippet, compiled against stand-ins with the members that ACTS's headers have

STAGES_HPP = """
#pragma once
#include <memory>
#include <string>
#include <vector>
namespace Acts { namespace Logging { enum class Level { INFO }; } struct Logger {};
inline std::unique_ptr<const Logger> getDefaultLogger(const std::string&, Logging::Level) { return nullptr; } }
namespace ActsPlugins { struct Device { static Device Cpu() { return {}; } };
struct GraphConstructionBase { virtual ~GraphConstructionBase() = default; };
struct EdgeClassificationBase { virtual ~EdgeClassificationBase() = default; };
struct TrackBuildingBase { virtual ~TrackBuildingBase() = default; }; }
"""
PIPELINE_HPP = """
#pragma once
#include <cstdint>
#include "Stages.hpp"
namespace ActsPlugins { struct GnnHook {}; struct GnnTiming;
class GnnPipeline { public:
GnnPipeline(std::shared_ptr<GraphConstructionBase>, std::vector<std::shared_ptr<EdgeClassificationBase>>,
  std::shared_ptr<TrackBuildingBase>, std::unique_ptr<const Acts::Logger>, bool = false) {}
std::vector<std::vector<int>> run(std::vector<float>&, const std::vector<std::uint64_t>&, std::vector<int>&, Device,
  const GnnHook& = {}, GnnTiming* = nullptr) const { return {}; } }; }
"""
USE = """
#include <utility>
void use(const std::filesystem::path& folder, const std::filesystem::path& moduleMap, const ActsPlugins::Device& device,
         Acts::Logging::Level level, std::unique_ptr<const Acts::Logger> logger,
         std::shared_ptr<ActsPlugins::GraphConstructionBase> mine) {
%s
static_cast<void>(folder), static_cast<void>(moduleMap), static_cast<void>(device), static_cast<void>(mine);
static_cast<void>(candidates);
}
"""
MEMBERS = {
    ("TorchMetricLearning", "GraphConstructionBase"): "std::string modelPath; std::vector<int> selectedFeatures; "
    "int embeddingDim; float rVal; int knnVal; bool shuffleDirections; Device device;",
    ("ModuleMapCuda", "GraphConstructionBase"): "std::string moduleMapPath; float rScale, phiScale, zScale, etaScale; "
    "int gpuDevice; int gpuBlocks; float epsilon;",
    ("TorchEdgeClassifier", "EdgeClassificationBase"): "std::string modelPath; std::vector<int> selectedFeatures; float cut; "
    "int nChunks; bool undirected; Device device; bool useEdgeFeatures;",
    ("OnnxEdgeClassifier", "EdgeClassificationBase"): "std::string modelPath; std::vector<int> selectedFeatures; "
    "std::vector<float> featureScales; float cut; Device device;",
    ("TensorRTEdgeClassifier", "EdgeClassificationBase"): "std::string modelPath; std::vector<int> selectedFeatures; float cut; "
    "std::size_t numExecutionContexts;",
    ("BoostTrackBuilding", "TrackBuildingBase"): "std::size_t minCandidateSize;",
}


def compiled(text: str, folder: Path, use: str = "") -> str:
    """Return what g++ says of a snippet that is included, twice, and of code that uses it; "" if nothing."""
    if shutil.which("g++") is None:
        pytest.skip("not checked: no g++ here")
    plugin = folder / "ActsPlugins" / "Gnn"
    plugin.mkdir(parents=True, exist_ok=True)
    (folder / "Acts" / "Utilities").mkdir(parents=True, exist_ok=True)
    (folder / "Acts" / "Utilities" / "Logger.hpp").write_text('#pragma once\n#include "ActsPlugins/Gnn/Stages.hpp"\n')
    (plugin / "Stages.hpp").write_text(STAGES_HPP)
    (plugin / "GnnPipeline.hpp").write_text(PIPELINE_HPP)
    for (name, base), members in MEMBERS.items():
        (plugin / f"{name}.hpp").write_text(
            f'#pragma once\n#include "Stages.hpp"\nnamespace ActsPlugins {{ struct {name} : {base} {{\n'
            f"struct Config {{ {members} }};\n{name}(const Config&, std::unique_ptr<const Acts::Logger>) {{}} }}; }}\n"
        )
    (folder / "acts_pipeline.hpp").write_text(text)
    (folder / "use.cpp").write_text(2 * '#include "acts_pipeline.hpp"\n' + use)
    options = ["-std=c++20", "-fsyntax-only", "-Wall", "-Wextra", "-Wpedantic", "-Wshadow", "-Wconversion"]
    result = subprocess.run(["g++", *options, "-I", ".", "use.cpp"], cwd=folder, capture_output=True, text=True, check=False)
    return result.stderr


CONFIGURATIONS: Mapping[str, Callable[[], dict[str, Any]]] = {
    "torch and onnx": lambda: configuration(tiny_spec(), ACTS_TARGETS[:2], SIZES),
    "onnx": lambda: configuration(tiny_spec(), ["acts-onnx"], SIZES),
    "module map": lambda: configuration(module_map_spec("dr"), ACTS_TARGETS, None),
    "no gnn": lambda: configuration(tiny_spec(gnn=None, cuts=CutSpec(filter=0.3)), ["acts-torch"], SIZES),
}


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_the_cpp_snippet_compiles(name: str, tmp_path: Path) -> None:
    """And so does what the README has: `GnnPipeline` as in ACTS's header (main, August 2026)."""
    config = CONFIGURATIONS[name]()
    block = re.search(r"```cpp\n(.*?)```", readme(config), re.DOTALL)
    assert block is not None
    assert compiled(cpp_snippet(config), tmp_path, USE % block[1].replace('#include "acts_pipeline.hpp"', "")) == ""


def test_a_cpp_snippet_with_an_unknown_option_does_not_compile(tmp_path: Path) -> None:
    config = CONFIGURATIONS["onnx"]()
    config["classifiers"][0]["invented"] = 3
    assert "invented" in compiled(cpp_snippet(config), tmp_path)


def numbers(value: Any) -> list[float]:
    """Return the numbers in a part of acts.json that are options, in order; keys are as they stand in the code."""
    return [float(item) for item in (value if isinstance(value, list) else [value]) if not isinstance(item, str | bool)]


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_every_option_in_the_cpp_snippet_is_that_of_acts_json(name: str) -> None:
    config = CONFIGURATIONS[name]()
    text = cpp_snippet(config)
    cuts = iter(re.findall(r"float gnnCut = (\S+?)\)", text))  # the default of an argument, one for each back end
    text = re.sub(r"config\.cut = gnnCut;", lambda _: f"config.cut = {next(cuts)};", text)
    scales = re.search(r"featureScales = \{(.*)\};", text)
    assert scales is not None
    assert [float(word.strip().rstrip("f")) for word in scales[1].split(",")] == config["feature_scales"]
    assert f"minMeasurementsPerTrack = {config['algorithm']['minMeasurementsPerTrack']};" in text
    found = re.findall(r"ActsPlugins::(\w+)::Config config;|config\.(\w+) = (.*);", text)
    order = [*([config["graph"]] if config["graph"] else [])]
    for backend in dict.fromkeys(stage["backend"] for stage in config["classifiers"]):
        order += [stage for stage in config["classifiers"] if stage["backend"] == backend]
    order.append(config["track_building"])
    blocks: list[tuple[str, dict[str, str]]] = []
    for stage, key, value in found:
        if stage:
            blocks.append((stage, {}))
        else:
            blocks[-1][1][key] = value
    assert [stage for stage, _ in blocks] == [stage["stage"] for stage in order]
    for (_, written), stage in zip(blocks, order, strict=True):
        path = stage.get("engine", stage.get("model"))
        assert path is None or f'(folder / "{path}").string()' == written.pop("modelPath")
        written.pop("device", None), written.pop("moduleMapPath", None)
        skipped = {"stage", "backend", "network", "model", "engine", "profile", "measured_neighbours", "measured_on"}
        options = {key: value for key, value in stage.items() if key not in skipped}
        assert written.keys() == options.keys()
        for key, value in options.items():
            if isinstance(value, bool):
                assert written[key] == str(value).lower()
            else:
                words = [word.rstrip("f") for word in re.split(r"[{},\s]+", written[key]) if word]
                assert [float(word) for word in words] == numbers(value)


def test_the_readme_tells_every_option_and_the_traps() -> None:
    config = CONFIGURATIONS["torch and onnx"]()
    text = readme(config)
    for stage in [config["graph"], *config["classifiers"]]:
        assert f"| {stage['model']} | {stage['stage']} |" in text
    for words in ("rVal `0.05`", "knnVal `1052`", "cut `0.3`", "cut `0.4`", "nChunks `1`", "undirected false", "R / 1000.0",
                  "TF32", "Debug builds", "shuffleDirections", *config["differences"]):
        assert words in text
    other = copy.deepcopy(config)
    other["graph"]["rVal"] = 0.25
    assert "rVal `0.25`" in readme(other) and "rVal = 0.25f" in cpp_snippet(other) and "'rVal': 0.25" in python_snippet(other)


def test_texts_are_made_of_acts_json_alone(made: Made) -> None:
    config = read_config((made.folder / CONFIG).read_bytes())
    for format, make in (("acts-python", python_snippet), ("acts-cpp", cpp_snippet), ("acts-readme", readme)):
        assert (made.folder / TEXTS[format]).read_text() == make(config)


def test_files_of_acts_say_what_they_are(made: Made) -> None:
    for stage in STAGES:
        model = onnx.load_model(made.folder / f"acts/{stage}.onnx")
        held = {item.key: item.value for item in model.metadata_props}
        assert (held["pkg.trkx.stage"], held["pkg.trkx.target"]) == (stage, "acts-onnx")
        assert [value.name for value in model.graph.input] == (["x"] if stage == "embedding" else ["x", "edge_index"])
        assert [value.name for value in model.graph.output] == ["output"]
        assert len(model.graph.output[0].type.tensor_type.shape.dim) == 2
        assert not any(node.op_type == "Sigmoid" and "output" in node.output for node in model.graph.node)


def test_files_of_the_published_checkpoint_give_the_golden_logits(golden: Path) -> None:
    """A GNN alone: edges go in as they are, and the configuration asks for a graph constructor."""
    features = [FeatureSpec("r", 3000.0), FeatureSpec("phi", PI), FeatureSpec("z", 400.0)]
    given = Given(features={"": features}, values={"cuts": {"gnn": 0.75}})
    source = open_source(None, files={"gnn": golden / "lrt" / "ckpt" / "last.ckpt"}, given=given)
    require_acts(ACTS_TARGETS[:2], source.spec)
    form = acts_network(load_network(source, "gnn"), source.spec, "gnn")
    stages = golden / "lrt" / "stage_outputs"
    x = np.loadtxt(golden / "lrt" / "in_e1000.csv", delimiter=",", dtype=np.float32)
    edges = np.loadtxt(next(stages.glob("applyfilter*.csv")), delimiter=",").astype(np.int64).reshape(2, -1)
    wanted = np.loadtxt(next(stages.glob("gnn_output*.csv")), delimiter=",").reshape(-1, 1)
    with torch.no_grad():
        module = load_torchscript(torchscript_bytes("gnn", form, 3))
        found = module(torch.from_numpy(x), torch.from_numpy(edges)).numpy()
    np.testing.assert_allclose(found, wanted, atol=5e-4, rtol=0)
    config = configuration(source.spec, ACTS_TARGETS[:2], None)
    assert (config["graph"], [stage["cut"] for stage in config["classifiers"]]) == (None, [0.75, 0.75])
