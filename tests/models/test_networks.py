"""The networks: block-split first layer, sums over edges, geometry, double precision."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from trkx.errors import CheckpointError, SpecError
from trkx.models.blocks import BlockLinear, BlockMLP
from trkx.models.checkpoint import load_checkpoint, save_checkpoint
from trkx.models.geometry import PAIR_FEATURES, Geometry
from trkx.models.networks import InteractionNetwork, build_network
from trkx.models.segment import segment_sum
from trkx.spec import STAGES, CutSpec, EmbeddingSpec, FeatureSpec, FilterSpec, GNNSpec, GraphSpec, PipelineSpec

FEATURES = (FeatureSpec("r", 1000.0), FeatureSpec("phi", math.pi), FeatureSpec("z", 1000.0))


def pipeline(geometry: bool = True, features: tuple[FeatureSpec, ...] = FEATURES) -> PipelineSpec:
    return PipelineSpec(
        "test", features, EmbeddingSpec(16, 2, 4, geometry=geometry), GraphSpec(0.1), FilterSpec(8, 2, geometry=geometry),
        GNNSpec(8, 2, geometry=geometry), CutSpec(0.1, 0.5),
    )


def hits(count: int, seed: int = 0) -> torch.Tensor:
    rng = np.random.default_rng(seed)
    r, phi, z = rng.uniform(30, 1000, count), rng.uniform(-math.pi, math.pi, count), rng.uniform(-3000, 3000, count)
    return torch.from_numpy(np.stack([r / 1000, phi / math.pi, z / 1000], 1).astype(np.float32))


def edges(nodes: int, count: int, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).integers(0, nodes, (2, count)))


def test_block_split_layer_equals_linear_on_concatenated_input() -> None:
    torch.manual_seed(1)
    layer = BlockLinear({"edge": 3, "source": 4, "target": 4}, 5).double()
    node, edge, index = torch.randn(7, 4).double(), torch.randn(20, 3).double(), edges(7, 20)
    split = layer({"edge": (edge, None), "source": (node, index[0]), "target": (node, index[1])})
    whole = torch.nn.functional.linear(torch.cat([edge, node[index[0]], node[index[1]]], 1), layer.weight, layer.bias)
    assert torch.allclose(split, whole, rtol=0, atol=1e-14)
    swapped = layer({"edge": (edge, None), "source": (node, index[1]), "target": (node, index[0])})
    assert (swapped - whole).abs().max() > 1e-3


def test_interaction_network_equals_an_independent_concatenating_twin() -> None:
    torch.manual_seed(2)
    net = build_network(pipeline(), "gnn").double()
    x, index = hits(12).double(), edges(12, 40)

    def mlp(module: BlockMLP, *inputs: torch.Tensor) -> torch.Tensor:
        return module.rest(torch.nn.functional.linear(torch.cat(inputs, 1), module.first.weight, module.first.bias))

    assert net.geometry is not None
    values, (s, t) = net.geometry.node(x), index
    node = mlp(net.node_encoder, values)
    edge = mlp(net.edge_encoder, values[s], values[t], net.geometry.pair(x, s, t))
    for edge_net, node_net in zip(net.edge_networks, net.node_networks, strict=True):
        edge = edge + mlp(edge_net, edge, node[s], node[t])
        incoming, outgoing = np.zeros(node.shape), np.zeros(node.shape)
        np.add.at(incoming, t.numpy(), edge.detach().numpy())
        np.add.at(outgoing, s.numpy(), edge.detach().numpy())
        node = node + mlp(node_net, node, torch.from_numpy(incoming), torch.from_numpy(outgoing))
    assert torch.allclose(net(x, index), mlp(net.classifier, edge, node[s], node[t]), rtol=0, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
def test_segment_sum_counts_every_repeated_index(dtype: torch.dtype) -> None:
    values = torch.ones(5000, 2, dtype=dtype)
    index = torch.zeros(5000, dtype=torch.int64)
    index[:3] = 2
    total = segment_sum(values, index, 4)
    assert total.dtype == dtype
    assert total[:, 0].float().tolist() == [torch.tensor(4997.0, dtype=dtype).item(), 0.0, 3.0, 0.0]


@pytest.mark.parametrize(("nodes", "count"), [(0, 0), (1, 0), (1, 1), (5, 0), (5, 1), (3, 50), (50, 3)])
@pytest.mark.parametrize("geometry", [True, False])
@pytest.mark.parametrize("stage", STAGES)
def test_every_network_runs_in_both_precisions_and_agrees(stage: str, geometry: bool, nodes: int, count: int) -> None:
    torch.manual_seed(3)
    net = build_network(pipeline(geometry), stage).eval()
    x, index = hits(nodes), edges(max(nodes, 1), count)
    arguments = (x,) if stage == "embedding" else (x, index)
    with torch.no_grad():
        single = net(*arguments)
        double = net.double()(x.double(), *arguments[1:])
    assert list(single.shape) == [nodes, 4] if stage == "embedding" else [count, 1]
    assert double.dtype == torch.float64
    assert torch.allclose(single.double(), double, rtol=1e-5, atol=1e-5)


def test_pair_features_agree_with_a_circle_and_a_line() -> None:
    """Hits on a helix through the beam line at z0 = 40 mm: curvature and z0 come out."""
    radius, z0, slope = 1500.0, 40.0, 0.8
    arc = np.array([100.0, 600.0])
    x = radius * np.sin(arc / radius)
    y = radius * (1 - np.cos(arc / radius))
    z = z0 + slope * arc
    scaled = np.stack([np.hypot(x, y) / 1000, np.arctan2(y, x) / math.pi, z / 1000], 1)
    pair = Geometry(FEATURES).pair(torch.from_numpy(scaled), torch.tensor([0]), torch.tensor([1]))[0].tolist()
    assert len(pair) == PAIR_FEATURES
    assert pair[3] == pytest.approx(math.tanh(1.5 * 1000 / (2 * radius)), rel=1e-4)
    assert pair[5] / pair[6] == pytest.approx(slope, rel=1e-3)
    ratio = pair[7]
    assert 0.1 * ratio / math.sqrt(1 - ratio**2) == pytest.approx(z0 / 1000, rel=0.02)


def test_geometry_has_no_seam_at_pi() -> None:
    near = torch.tensor([[0.3, 1 - 1e-5, 0.5], [0.4, -1 + 1e-5, 0.6]], dtype=torch.float64)
    turned = near.clone()
    turned[:, 1] = torch.remainder(near[:, 1] + 2.0, 2.0) - 1.0
    geometry = Geometry(FEATURES)
    seam, plain = (geometry.pair(x, torch.tensor([0]), torch.tensor([1])) for x in (near, turned))
    assert torch.allclose(seam, plain, atol=1e-12)
    nodes = geometry.node(near)
    assert torch.allclose(nodes[0, 1:3], nodes[1, 1:3], atol=1e-4)


def test_geometry_is_well_conditioned_for_close_hits() -> None:
    x = hits(2000)
    x[1000:] = x[:1000] + torch.from_numpy(np.random.default_rng(1).normal(0, 1e-6, (1000, 3)).astype(np.float32))
    source, target = torch.arange(1000), torch.arange(1000, 2000)
    geometry = Geometry(FEATURES)
    difference = (geometry.pair(x, source, target).double() - geometry.pair(x.double(), source, target)).abs().max()
    assert difference < 1e-3


def test_scales_are_read_from_the_features() -> None:
    other = (FeatureSpec("r", 500.0), FeatureSpec("phi", 1.0), FeatureSpec("z", 200.0))
    x = hits(10).double()
    raw = x * torch.tensor([1000.0, math.pi, 1000.0]).double()
    again = raw / torch.tensor([500.0, 1.0, 200.0]).double()
    assert torch.allclose(Geometry(FEATURES).node(x), Geometry(other).node(again), atol=1e-12)
    assert not torch.allclose(Geometry(FEATURES).node(x), Geometry(other).node(x), atol=1e-2)


def test_other_features_reach_the_network() -> None:
    net = build_network(pipeline(features=(*FEATURES, FeatureSpec("cell_count", 1.0))), "gnn")
    x = torch.cat([hits(6), torch.zeros(6, 1)], 1)
    moved = x.clone()
    moved[:, 3] = 3.0
    assert (net(x, edges(6, 9)) - net(moved, edges(6, 9))).abs().max() > 1e-4


def test_geometry_without_positions_is_refused() -> None:
    with pytest.raises(SpecError, match="z"):
        Geometry(FEATURES[:2])


def test_checkpoint_round_trip_is_bitwise(tmp_path) -> None:
    net, other = build_network(pipeline(), "gnn"), build_network(pipeline(), "gnn")
    save_checkpoint(tmp_path / "gnn.safetensors", net)
    load_checkpoint(tmp_path / "gnn.safetensors", other)
    assert all(torch.equal(a, b) for a, b in zip(net.state_dict().values(), other.state_dict().values(), strict=True))
    assert [p.name for p in tmp_path.iterdir()] == ["gnn.safetensors"]


def test_a_state_dict_of_torch_is_a_checkpoint_as_well(tmp_path) -> None:
    net, other = build_network(pipeline(), "gnn"), build_network(pipeline(), "gnn")
    torch.save({f"module.{name}": value for name, value in net.state_dict().items()}, tmp_path / "gnn.pt")  # of DataParallel
    load_checkpoint(tmp_path / "gnn.pt", other)
    assert all(torch.equal(a, b) for a, b in zip(net.state_dict().values(), other.state_dict().values(), strict=True))


def test_checkpoint_that_does_not_fit_names_the_keys(tmp_path) -> None:
    save_checkpoint(tmp_path / "gnn.safetensors", build_network(pipeline(), "gnn"))
    wide = InteractionNetwork(GNNSpec(16, 3), FEATURES)
    with pytest.raises(CheckpointError, match=r"missing edge_networks\.2.*other shapes:.*file \[8"):
        load_checkpoint(tmp_path / "gnn.safetensors", wide)


@pytest.mark.parametrize("damage", ["missing", "truncated", "nan"])
def test_unreadable_checkpoints_are_refused(tmp_path, damage: str) -> None:
    path, net = tmp_path / "gnn.safetensors", build_network(pipeline(), "gnn")
    if damage == "nan":
        net.classifier.first.weight.data[0, 0] = math.nan
    save_checkpoint(path, net)
    if damage == "missing":
        path.unlink()
    if damage == "truncated":
        path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match={"missing": "no such", "truncated": "truncated", "nan": "NaN"}[damage]):
        load_checkpoint(path, net)
