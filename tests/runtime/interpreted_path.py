"""Run by test_cuda_path.py, in a process of its own; on a GPU without TRITON_INTERPRET."""

import os
from dataclasses import replace

import numpy as np
import pytest
import torch
from support.small_events import small_events
from support.tiny import tiny_spec

from trkx.errors import InputError, SpecError
from trkx.models.networks import build_network
from trkx.runtime.cuda.engines.fused import FusedEngine
from trkx.runtime.cuda.engines.torch_modules import TorchEngine
from trkx.runtime.cuda.labelling import edge_contraction_cuda
from trkx.runtime.cuda.path import DevicePipeline
from trkx.runtime.engines.tiled import TiledEngine
from trkx.runtime.events.event import Event
from trkx.runtime.features import node_features
from trkx.runtime.labelling import edge_contraction
from trkx.runtime.labelling.contraction import LIMIT, UNIT
from trkx.runtime.pipeline import Pipeline
from trkx.spec import CutSpec, GraphSpec, LabellingSpec

DEVICE = torch.device("cpu" if os.environ.get("TRITON_INTERPRET") == "1" else "cuda:0")


def signed(rng, hits, edges, mean, groups=1):
    """Edges within groups of hits, weights around a mean."""
    group = rng.integers(0, groups, edges)
    ends = rng.integers(0, hits // groups, (2, edges)) * groups + group
    return hits, ends, rng.normal(mean, 1.0, edges)


def tracks(rng, number, length):
    """Chains with edges for, and a few edges against and for between neighbours."""
    chain = np.arange(number * length).reshape(number, length)
    inside = np.stack([chain[:, :-1].ravel(), chain[:, 1:].ravel()])
    across = np.stack([chain[:-1].ravel(), chain[1:].ravel()])
    across = across[:, rng.random(across.shape[1]) < 0.3]
    weight = np.concatenate([rng.normal(3.0, 1.0, inside.shape[1]), rng.normal(-0.5, 1.0, across.shape[1])])
    order = rng.permutation(len(weight))
    name = rng.permutation(number * length)  # tracks are not in order of hits
    return number * length, name[np.concatenate([inside, across], 1)[:, order]], weight[order]


GRAPHS = {
    "nothing": lambda rng: (0, np.empty((2, 0), np.int64), np.empty(0)),
    "one hit": lambda rng: (1, np.empty((2, 0), np.int64), np.empty(0)),
    "no edges": lambda rng: (7, np.empty((2, 0), np.int64), np.empty(0)),
    "all against": lambda rng: signed(rng, 50, 100, -6.0),
    "all for": lambda rng: signed(rng, 400, 300, 6.0),
    "sparse": lambda rng: signed(rng, 500, 400, 0.0),
    "dense": lambda rng: signed(rng, 60, 900, 0.0),
    "dense, mostly for": lambda rng: signed(rng, 60, 900, 0.7),
    "many parts": lambda rng: signed(rng, 600, 900, 0.2, groups=60),
    "tracks": lambda rng: tracks(rng, 50, 10),
    "one mixed part of many": lambda rng: (
        40, np.array([[0, 2, 4, 5, 4, 20], [1, 3, 5, 6, 6, 30]]), np.array([1.0, 1.0, 2.0, 2.0, -3.0, -1.0])),
    "repeated and turned": lambda rng: (
        5, np.array([[0, 1, 1, 0, 2, 3], [1, 0, 2, 2, 1, 3]]), np.array([1.0, -0.5, 0.5, -0.25, 0.25, -9.0])),
    "beyond the limit": lambda rng: (4, np.array([[0, 1, 0], [1, 2, 2]]), np.array([1e300, np.inf, -np.inf])),
    "at the limit": lambda rng: (2, np.array([[0, 1], [1, 0]]), np.array([2.0, -1.5]) * LIMIT),
    "less than a unit": lambda rng: (
        6, np.array([[0, 1, 2, 3, 4], [1, 2, 3, 4, 5]]), np.array([0.49, 0.5, 0.51, 1.5, -0.6]) / UNIT),
    "ties": lambda rng: (30, rng.integers(0, 30, (2, 200)), rng.integers(-1, 2, 200).astype(float)),
}


@pytest.mark.parametrize("name", GRAPHS)
def test_contraction_equals_the_cpu(name, rng):
    hits, edges, weight = GRAPHS[name](rng)
    expected = edge_contraction(edges.astype(np.int64), weight, hits)
    found = edge_contraction_cuda(torch.from_numpy(edges.astype(np.int64)).to(DEVICE), torch.from_numpy(weight).to(DEVICE), hits)
    assert found.dtype == torch.int64
    np.testing.assert_array_equal(found.cpu().numpy(), expected)


def test_contraction_refuses_what_makes_no_sense():
    edges = torch.tensor([[0, 1], [1, 2]], device=DEVICE)
    with pytest.raises(InputError, match="expected 2 weights, found"):
        edge_contraction_cuda(edges, torch.zeros(3, device=DEVICE), 3)
    with pytest.raises(InputError, match="a weight is NaN"):
        edge_contraction_cuda(edges, torch.tensor([1.0, torch.nan], device=DEVICE), 3)
    with pytest.raises(InputError, match="name hits 0 to 2, but there are 2 hits"):
        edge_contraction_cuda(edges, torch.tensor([1.0, -1.0], device=DEVICE), 2)
    assert LIMIT == 1e4


def networks(spec, seed=3):
    torch.manual_seed(seed)
    made = {stage: build_network(spec, stage).eval().requires_grad_(False) for stage in spec.stages}
    for module in made.values():
        for parameter in module.parameters():
            if parameter.ndim == 1:
                parameter.add_(0.3 * torch.randn_like(parameter))
    weights = {f"{stage}.{name}": value.numpy() for stage, module in made.items() for name, value in module.state_dict().items()}
    return made, weights


def assert_same(found, expected):
    np.testing.assert_array_equal(found.label, expected.label)
    for name, edges in expected.graphs.items():
        np.testing.assert_array_equal(found.graphs[name], edges, err_msg=name)
    told = [(stage.name, stage.count_in, stage.count_out, stage.unit) for stage in found.stages]
    assert told == [(stage.name, stage.count_in, stage.count_out, stage.unit) for stage in expected.stages]
    assert found.truncated == expected.truncated


def slice_of_hits(hits=90):
    """A narrow slice of a real event: kernels are slow in the interpreter."""
    event = small_events(2)[0]
    rows = np.sort(np.argsort(np.arctan2(event.position[:, 1], event.position[:, 0]))[:hits])
    return Event(1, event.hit_id[rows], event.position[rows], source="slice")


def halving(spec, modules, event):
    """Return the spec with cuts that keep about half of all pairs of hits each."""
    x = torch.from_numpy(node_features(event, spec.features))
    pairs = torch.combinations(torch.arange(len(x))).t()
    middle = {stage: float(torch.sigmoid(modules[stage](x, pairs)).median()) for stage in ("filter", "gnn")}
    return replace(spec, cuts=CutSpec(**middle))


SPECS = {
    "contraction": tiny_spec(graph=GraphSpec(0.1), labelling=LabellingSpec("edge_contraction", 2)),
    "components, k_max": tiny_spec(graph=GraphSpec(0.1, 6, "by_index"), labelling=LabellingSpec("connected_components", 2)),
}


@pytest.mark.parametrize("engine", ["torch-cuda", "triton"])
@pytest.mark.parametrize("name", SPECS)
def test_whole_events(engine, name):
    """Neighbours, networks and labels on the device: the tracks of the tiled engine on the host."""
    spec, event = SPECS[name], slice_of_hits()
    modules, weights = networks(spec)
    spec = halving(spec, modules, event)
    expected = Pipeline(spec, TiledEngine(spec, weights, 1), threads=1).run(event, keep_graphs=True)
    if engine == "triton":
        given = FusedEngine(spec, weights, DEVICE)
    else:
        given = TorchEngine(spec, {stage: module.to(DEVICE) for stage, module in modules.items()}, DEVICE,
                            dict.fromkeys(spec.stages, "fp32"))
    pipeline = DevicePipeline(spec, given)
    assert_same(pipeline.run(event, keep_graphs=True), expected)
    counts = [expected.graphs[stage].shape[1] for stage in ("graph", "filter", "gnn")]
    assert counts[0] > counts[1] > counts[2] > 20, counts
    assert len(np.unique(expected.label)) < 0.98 * len(event)
    assert (expected.truncated > 0) == (spec.graph.k_max is not None)
    again = DevicePipeline(spec, given, chunk=counts[0] // 2).run(event, keep_graphs=True)
    assert_same(again, expected)


def test_few_hits():
    spec = SPECS["contraction"]
    _, weights = networks(spec)
    host, device = Pipeline(spec, TiledEngine(spec, weights, 1)), DevicePipeline(spec, FusedEngine(spec, weights, DEVICE))
    for rows in ([], [[1, 2, 3]], [[100, 0, 0], [-900, 500, 0]], [[100, 0, 0]] * 4):
        position = np.asarray(rows, np.float32).reshape(-1, 3)
        event = Event(1, np.arange(len(position)), position, source="few")
        assert_same(device.run(event, keep_graphs=True), host.run(event, keep_graphs=True))


def test_labels_on_the_host_are_the_same():
    modules, weights = networks(SPECS["contraction"])
    event = slice_of_hits()
    spec = halving(SPECS["contraction"], modules, event)
    engine = FusedEngine(spec, weights, DEVICE)
    expected = DevicePipeline(spec, engine).run(event, keep_graphs=True)
    assert_same(DevicePipeline(spec, engine, "grid", "scipy", threads=1).run(event, keep_graphs=True), expected)


def test_warm_up_and_precisions():
    spec = SPECS["contraction"]
    _, weights = networks(spec)
    for precision in ("fp32", "mixed"):
        DevicePipeline(spec, FusedEngine(spec, weights, DEVICE, precision)).warm_up()
    with pytest.raises(SpecError, match="unknown precision"):
        FusedEngine(spec, weights, DEVICE, "fp8")
