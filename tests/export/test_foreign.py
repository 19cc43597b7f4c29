"""Checkpoints of other code bases become bundles: mixed families, a GNN alone, what is missing is asked for."""

from __future__ import annotations

import json
import math
import warnings
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn
from typer.testing import CliRunner

from trkx import cli
from trkx.bundle import Bundle
from trkx.errors import CheckpointError, SpecError, TrkxWarning
from trkx.export.assembling import Given, assembled, features_from
from trkx.export.pipeline_folder import load_network, load_weights, open_source, with_sample
from trkx.export.sample import check_event
from trkx.runtime.features import node_features
from trkx.runtime.pipeline import Pipeline
from trkx.spec import FeatureSpec

runner = CliRunner()
H, DIM = 6, 4
RPZ = "r=1000 phi=pi z=1000"


def sequential(inputs: int, sizes: list[int], norm: bool, activation: type[nn.Module], output: bool = False) -> nn.Sequential:
    """Return a make_mlp with LayerNorms without weights."""
    layers: list[nn.Module] = []
    for place, size in enumerate(sizes):
        layers.append(nn.Linear(inputs, size))
        if place < len(sizes) - 1 or output:
            layers += [*([nn.LayerNorm(size, elementwise_affine=False)] if norm else []), activation()]
        inputs = size
    return nn.Sequential(*layers)


class MetricLearning(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.network = sequential(4, [H, H, DIM], True, nn.ReLU)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.normalize(self.network(x))


class Vanilla(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.input_layer, self.output_layer = nn.Linear(6, H), nn.Linear(H, 1)
        self.layers = nn.ModuleList([nn.Linear(H, H), nn.Linear(H, H)])
        self.layernorm, self.batchnorm = nn.LayerNorm(H), nn.BatchNorm1d(H, track_running_stats=False)

    def forward(self, x: torch.Tensor, e: torch.Tensor) -> torch.Tensor:
        value = self.input_layer(torch.cat([x[e[0]], x[e[1]]], dim=-1))
        for layer in self.layers:
            value = self.layernorm(torch.tanh(layer(value)))
        return self.output_layer(value)


class Interaction(nn.Module):
    """acorn's InteractionGNN with sums."""

    def __init__(self) -> None:
        super().__init__()
        self.node_encoder = sequential(3, [H, H], False, nn.SiLU)
        self.edge_encoder = sequential(2 * H, [H, H], False, nn.SiLU)
        self.edge_network = sequential(3 * H, [H, H], False, nn.SiLU)
        self.node_network = sequential(3 * H, [H, H], False, nn.SiLU)
        self.output_edge_classifier = sequential(3 * H, [H, H, 1], False, nn.SiLU)

    def forward(self, x: torch.Tensor, edges: torch.Tensor) -> torch.Tensor:
        s, t = edges
        x = self.node_encoder(x)
        e = self.edge_encoder(torch.cat([x[s], x[t]], dim=1))
        for _ in range(2):
            zero = torch.zeros_like(x)
            x = self.node_network(torch.cat([x, zero.index_add(0, t, e), zero.index_add(0, s, e)], dim=1))
            e = self.edge_network(torch.cat([x[s], x[t], e], dim=1))
        return self.output_edge_classifier(torch.cat([x[s], x[t], e], dim=1))


EMBEDDING_HP = {"stage": "graph_construction", "model": "MetricLearning",
                "node_features": ["hit_r", "hit_phi", "hit_z", "hit_eta"], "node_scales": [1000.0, 3.14, 1000.0, 1.0],
                "emb_hidden": H, "nb_layer": 2, "emb_dim": DIM, "activation": "ReLU",
                "r_infer": 0.003, "knn_infer": 100}
FILTER_HP = {"name": "VanillaFilter", "in_channels": 3, "hidden": H, "nb_layer": 3, "emb_channels": 0, "layernorm": True,
             "batchnorm": False, "filter_cut": 0.05}
GNN_HP = {"stage": "edge_classifier", "model": "InteractionGNN", "node_features": ["r", "phi", "z"],
          "node_scales": [1000, 3.14159265359, 1000],
          "hidden": H, "nb_node_layer": 2, "nb_edge_layer": 2, "n_graph_iters": 2, "layernorm": False, "batchnorm": False,
          "hidden_activation": "SiLU", "output_activation": None, "aggregation": ["sum"], "edge_cut": 0.5}


def lightning(path: Path, network: nn.Module, hyper_parameters: dict) -> Path:
    torch.save({"epoch": 3, "global_step": 7, "pytorch-lightning_version": "2.1.0", "state_dict": network.state_dict(),
                "optimizer_states": [], "lr_schedulers": [], "hparams_name": "hparams", "hyper_parameters": hyper_parameters},
               path)
    return path


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, nn.Module]]:
    folder = tmp_path_factory.mktemp("foreign")
    found = {}
    with torch.random.fork_rng():
        torch.manual_seed(5)
        rows = (("embedding", MetricLearning, EMBEDDING_HP), ("filter", Vanilla, FILTER_HP), ("gnn", Interaction, GNN_HP))
        for name, kind, hyper in rows:
            network = kind().eval()
            found[name] = (lightning(folder / f"{name}.ckpt", network, hyper), network)
    return found


def arguments(made: dict, *stages: str) -> list[str]:
    return [item for stage in stages for item in (f"--{stage}", str(made[stage][0]))]


@pytest.fixture(scope="module")
def mixed(made: dict, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("mixed") / "bundle"
    command = ["export", *arguments(made, "embedding", "filter", "gnn"), "--filter-features", RPZ, "--out", str(folder),
               "--name", "mixed", "--target", "exatrkx-2021"]
    result = runner.invoke(cli.app, command)
    assert result.exit_code == 0, result.output
    assert "embedding: read as" in result.stderr and "gnn: read as" in result.stderr
    return folder


def run(path: Path, *inputs: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return session.run(None, dict(zip([value.name for value in session.get_inputs()], inputs, strict=True)))[0]


def test_mixed_families_make_one_pipeline(mixed: Path, made: dict, rng: np.random.Generator) -> None:
    spec = Bundle.open(mixed).spec
    assert spec.name == "mixed"
    columns = [(feature.name, feature.scale) for feature in spec.features]
    assert columns == [("r", 1000.0), ("phi", 3.14), ("z", 1000.0), ("eta", 1.0)]
    assert (spec.graph.radius, spec.cuts.filter, spec.cuts.gnn) == (0.003, 0.05, 0.5)
    event = check_event(spec)
    x = node_features(event, spec.features)[:400]
    edges = rng.integers(0, 400, (2, 3000))
    raw = torch.from_numpy(x.astype(np.float64) * [1000.0, 3.14, 1000.0, 1.0])
    scales = {"embedding": [1000.0, 3.14, 1000.0, 1.0], "filter": [1000.0, math.pi, 1000.0]}
    scales["gnn"] = [1000.0, 3.14159265359, 1000.0]
    own = {stage: raw[:, : len(scale)] / torch.tensor(scale, dtype=torch.float64) for stage, scale in scales.items()}
    for stage, (_, network) in made.items():
        given = [x] if stage == "embedding" else [x, edges]
        with torch.no_grad():
            wanted = network.double()(own[stage].double(), *([] if stage == "embedding" else [torch.from_numpy(edges)])).numpy()
        for file in (mixed / f"{stage}.onnx", mixed / "exatrkx-2021" / f"{stage}.onnx"):
            np.testing.assert_allclose(run(file, *given), wanted, atol=1e-5, rtol=0)
        network.float()
    tracks = Pipeline.open(mixed).run(event)
    assert len(tracks.label) == len(event)


def test_names_of_2021(mixed: Path) -> None:
    wanted = {"embedding": (["sp_features"], "embedding_output"), "filter": (["f_nodes", "f_edges"], "f_edge_score"),
              "gnn": (["g_nodes", "g_edges"], "gnn_edge_score")}
    for stage, (inputs, output) in wanted.items():
        graph = onnx.load(mixed / "exatrkx-2021" / f"{stage}.onnx").graph
        assert ([value.name for value in graph.input], graph.output[0].name) == (inputs, output)


def test_the_bundle_says_where_it_comes_from(mixed: Path) -> None:
    bundle = Bundle.open(mixed)
    families = bundle.manifest.provenance["options"]["families"]
    assert set(families) == {"embedding", "filter", "gnn"}
    card = (mixed / "MODEL_CARD.md").read_text()
    assert all(name in card for name in families.values())


def test_a_gnn_alone(made: dict, tmp_path: Path) -> None:
    out = tmp_path / "bundle"
    result = runner.invoke(cli.app, ["export", *arguments(made, "gnn"), "--out", str(out), "--quiet"])
    assert result.exit_code == 0, result.output
    bundle = Bundle.open(out)
    assert bundle.spec.stages == ("gnn",)
    names = ["MODEL_CARD.md", "bundle.json", "gnn.onnx", "gnn.pt", "weights.safetensors"]
    assert sorted(path.name for path in out.iterdir()) == names
    for word in ("onnxruntime", "torchscript", "eager"):
        pipeline = Pipeline.open(out, word)
        assert pipeline.engine.gnn(np.zeros((3, 3), np.float32), np.array([[0, 1], [1, 2]])).shape == (2,)
    with pytest.raises(SpecError, match="has only gnn"):
        pipeline.run(check_event(bundle.spec))
    assert runner.invoke(cli.app, ["inspect", str(out)]).exit_code == 0
    assert runner.invoke(cli.app, ["validate", str(out), "--quick"]).exit_code == 0


def test_a_gnn_with_edge_features(tmp_path: Path, rng: np.random.Generator) -> None:
    """acorn's InteractionGNN2 as module maps feed it: a third input, in every file and engine."""
    from support.acorn_twins import InteractionGNN2

    hyper = {"stage": "edge_classifier", "model": "InteractionGNN2", "node_features": ["r", "phi", "z", "eta"], "hidden": H,
             "node_scales": [1000.0, 3.14159265359, 1000.0, 1.0], "edge_cut": 0.5, "n_graph_iters": 2, "n_node_net_layers": 2,
             "n_edge_net_layers": 2, "n_edge_decoder_layers": 2, "hidden_activation": "SiLU", "output_activation": "SiLU",
             "layernorm": True, "batchnorm": False, "concat": True, "in_out_diff_agg": True, "node_net_recurrent": False,
             "edge_net_recurrent": False, "edge_output_transform_final_activation": None, "track_running_stats": False,
             "edge_features": ["dr", "dphi", "dz", "deta", "phislope", "rphislope"]}
    twin = InteractionGNN2(hyper).eval()
    file, out = lightning(tmp_path / "gnn.ckpt", twin, hyper), tmp_path / "bundle"
    result = runner.invoke(cli.app, ["export", "--gnn", str(file), "--out", str(out), "--target", "acts-torch,acts-tensorrt"])
    assert result.exit_code == 0, result.output
    x, edges = rng.normal(size=(30, 4)).astype(np.float32), rng.integers(0, 30, (2, 200))
    attributes = rng.normal(size=(200, 6)).astype(np.float32)
    with torch.no_grad():
        wanted = twin.double()(*(torch.from_numpy(a).double() if a.dtype == np.float32 else torch.from_numpy(a)
                                 for a in (x, edges, attributes))).numpy().ravel()
    for engine in ("onnxruntime", "torchscript", "eager"):
        np.testing.assert_allclose(Pipeline.open(out, engine).engine.gnn(x, edges, attributes), wanted, atol=1e-5, rtol=0)
    assert sorted(path.name for path in (out / "acts").iterdir()) == [
        "README.md", "acts.json", "acts_pipeline.hpp", "acts_pipeline.py", "gnn.pt", "tensorrt"]
    graph = onnx.load(out / "acts" / "tensorrt" / "gnn.onnx").graph
    assert [value.name for value in graph.input] == ["x", "edge_index", "edge_attr"]
    found = run(out / "acts" / "tensorrt" / "gnn.onnx", x, edges, attributes)
    np.testing.assert_allclose(found.ravel(), wanted, atol=1e-5, rtol=0)


def test_what_is_missing_is_asked_for_all_at_once(made: dict, tmp_path: Path) -> None:
    _, network = made["embedding"]
    kept = ("activation", "model", "stage", "emb_hidden", "nb_layer", "emb_dim")
    bare = lightning(tmp_path / "bare.ckpt", network, {key: EMBEDDING_HP[key] for key in kept})
    files = {"embedding": bare, "filter": made["filter"][0]}
    with pytest.raises(SpecError) as caught:
        assembled(files, Given())
    for option in ("--embedding-features", "--filter-features", "--radius"):
        assert option in str(caught.value)
    given = Given(features={"embedding": features_from("r=1000 phi=3.14 z=1000 eta=1"), "": features_from(RPZ)},
                  values={"graph": {"radius": 0.2}, "cuts": {"filter": 0.5}})
    spec = assembled(files, given).spec
    assert (spec.graph.radius, spec.cuts.filter, spec.stages) == (0.2, 0.5, ("embedding", "filter"))
    with pytest.raises(SpecError, match="reads 4 columns, but 3 features are given"):
        assembled(files, Given(features={"": features_from(RPZ)}, values={"graph": {"radius": 0.2}}))


def test_a_pipeline_file_may_say_the_rest(made: dict, tmp_path: Path) -> None:
    text = 'name = "rest"\n[checkpoints]\nfilter = "filter.ckpt"\n[cuts]\nfilter = 0.25\n'
    rows = (("r", 3000.0), ("phi", 3.14), ("z", 400.0))
    text += "".join(f'[[features]]\nname = "{name}"\nscale = {scale}\n' for name, scale in rows)
    (tmp_path / "pipeline.toml").write_text(text)
    (tmp_path / "filter.ckpt").write_bytes(made["filter"][0].read_bytes())
    source = open_source(tmp_path)
    assert source.spec.features == (FeatureSpec("r", 3000.0), FeatureSpec("phi", 3.14), FeatureSpec("z", 400.0))
    assert (source.spec.name, source.spec.cuts.filter, source.spec.stages) == ("rest", 0.25, ("filter",))
    shown = runner.invoke(cli.app, ["inspect", str(tmp_path)])
    assert shown.exit_code == 0, shown.output
    assert "vanilla-filter" in shown.stdout and "3000" in shown.stdout
    (tmp_path / "pipeline.toml").write_text(text + "[grpah]\nradius = 1.0\n")
    with pytest.raises(SpecError, match="grpah"):
        open_source(tmp_path)


def test_a_file_of_the_wrong_stage_is_refused(made: dict) -> None:
    with pytest.raises(CheckpointError, match=r"no gnn network, but a filter \(vanilla-filter\): --filter"):
        assembled({"gnn": made["filter"][0]}, Given(features={"": features_from(RPZ)}))


@pytest.mark.parametrize("text", ["r", "r=", "=1", "r=x", "r=1000;z=1", "r=inf"])
def test_features_that_are_none(text: str) -> None:
    with pytest.raises(SpecError, match="expected \"NAME=SCALE"):
        features_from(text)


def test_inspect_says_what_a_checkpoint_is_and_lacks(made: dict) -> None:
    result = runner.invoke(cli.app, ["inspect", str(made["filter"][0])])
    assert result.exit_code == 0, result.output
    for word in ("VanillaFilter", "6 columns", "Missing for an export", "--filter-features"):
        assert word.replace("6 columns", "3 columns") in result.stdout
    found = json.loads(runner.invoke(cli.app, ["inspect", str(made["gnn"][0]), "--json"]).stdout)
    assert found["stage"] == "gnn" and found["missing"] == []
    assert found["facts"]["features"] == ["r", "phi", "z"]
    used = sum(value.numel() for value in made["gnn"][1].state_dict().values())
    assert found["parameters"] == used


LRT = Given(features={"": features_from("r=3000 phi=pi z=400")}, values={"cuts": {"gnn": 0.75}})


@pytest.fixture(scope="module")
def published(golden: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Bundle of the published checkpoint."""
    out = tmp_path_factory.mktemp("published") / "bundle"
    options = ["--features", "r=3000 phi=pi z=400", "--gnn-cut", "0.75", "--sample", str(golden / "lrt" / "in_e1000.csv")]
    result = runner.invoke(cli.app, ["export", "--gnn", str(golden / "lrt" / "ckpt" / "last.ckpt"), *options, "--out", str(out)])
    assert result.exit_code == 0, result.output
    assert "warning" not in result.stderr
    return out


def golden_event(golden: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return x, edges and the published logits."""
    stages = golden / "lrt" / "stage_outputs"
    x = np.loadtxt(golden / "lrt" / "in_e1000.csv", delimiter=",", dtype=np.float32)
    edges = np.loadtxt(next(stages.glob("applyfilter*.csv")), delimiter=",").astype(np.int64)
    return x, edges.reshape(2, -1), np.loadtxt(next(stages.glob("gnn_output*.csv")), delimiter=",").ravel()


def assert_golden(found: np.ndarray, edges: np.ndarray, wanted: np.ndarray) -> None:
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    assert np.abs(found - wanted).max() < 5e-4
    kept, meant = (1.0 / (1.0 + np.exp(-logits.astype(np.float64))) > 0.75 for logits in (found, wanted))
    assert np.array_equal(kept, meant)
    source, target = edges[:, kept]
    count, labels = connected_components(coo_array((np.ones(len(source)), (source, target)), (314, 314)), directed=False)
    sizes = np.bincount(labels)
    assert (count, int((sizes >= 2).sum()), int((sizes >= 3).sum())) == (37, 32, 29)


@pytest.mark.parametrize("engine", ["onnxruntime", "torchscript", "eager"])
def test_published_checkpoint_gives_the_golden_logits(engine: str, published: Path, golden: Path) -> None:
    x, edges, wanted = golden_event(golden)
    assert_golden(Pipeline.open(published, engine).engine.gnn(x, edges), edges, wanted)


def test_published_torchscript_is_the_same_network(golden: Path) -> None:
    files = (golden / "lrt" / name for name in ("ckpt/last.ckpt", "gnn.torchscript.pt"))
    sources = [open_source(None, files={"gnn": file}, given=LRT) for file in files]
    assert sources[0].spec.gnn == sources[1].spec.gnn
    weights = [load_weights(source, "gnn") for source in sources]
    assert weights[0].keys() == weights[1].keys()
    assert all(torch.equal(value, weights[1][key]) for key, value in weights[0].items())
    x, edges, wanted = golden_event(golden)
    with torch.no_grad():
        found = load_network(sources[1], "gnn")(torch.from_numpy(x), torch.from_numpy(edges))
    assert_golden(found.numpy().ravel(), edges, wanted)


def test_a_sample_of_other_scales_is_noticed(golden: Path, published: Path) -> None:
    sample = str(next((golden / "lrt" / "lrt_inputs_100").glob("*.csv")))
    command = ["inspect", str(published), "--sample", sample]
    with warnings.catch_warnings():
        warnings.simplefilter("always")  # as a user has it; here warnings are errors
        stderr = " ".join(runner.invoke(cli.app, command).stderr.split())
    assert "warning" in stderr and "r / 1000" in stderr and "r / 3000" in stderr
    source = open_source(None, files={"gnn": golden / "lrt" / "ckpt" / "last.ckpt"}, given=LRT)
    with pytest.warns(TrkxWarning, match=r"z / 1000.*z / 400"):
        ranged, event = with_sample(source, Path(sample))
    assert ranged.spec == source.spec and event is None  # nothing of it is taken over
    assert "contradicted by the sample" in ranged.notes[-1]  # and the card says so
