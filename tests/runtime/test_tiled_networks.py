"""Every declaration of a network, run by tiles, against the same weights as float64 PyTorch modules."""

import dataclasses

import numpy as np
import pytest

from trkx.chains import ChainSpec
from trkx.errors import SpecError
from trkx.graph_networks import AttentionSpec, GNNSpec, MessagePassingSpec
from trkx.runtime.engines.tiled import TiledEngine
from trkx.spec import (
    ChainEmbeddingSpec,
    ChainFilterSpec,
    CutSpec,
    EmbeddingSpec,
    FeatureSpec,
    FilterSpec,
    GraphSpec,
    PipelineSpec,
)

torch = pytest.importorskip("torch", reason="not checked: needs torch")

from trkx.models.blocks import BlockLinear  # noqa: E402

FEATURES = (
    FeatureSpec("r", 1000.0),
    FeatureSpec("phi", 3.141592653589793),
    FeatureSpec("z", 1000.0),
    FeatureSpec("cell_count", 10.0),
)
OWN = (FeatureSpec("z", 500.0), FeatureSpec("r", 1000.0))


def chain(*widths, **changes):
    return ChainSpec(widths, **{"activation": "silu", "norm": "affine", **changes})


EMBEDDINGS = {
    "mlp": EmbeddingSpec(20, 3, 8),
    "mlp, no norm, one dimension": EmbeddingSpec(20, 1, 1, layer_norm=False, normalize=False, geometry=False),
    "wide": EmbeddingSpec(200, 2, 32, activation="gelu"),
    "chain": ChainEmbeddingSpec(chain(30, 12, 3, activation="tanh"), True, OWN),
}
FILTERS = {
    "pairs": FilterSpec(24, 3),
    "no geometry, no norm": FilterSpec(40, 2, activation="relu", layer_norm=False, geometry=False),
    "512 wide": FilterSpec(512, 2),
    **{
        activation: ChainFilterSpec(chain(17, 9, 1, activation=activation))
        for activation in ("relu", "tanh", "gelu", "leaky_relu", "elu", "mish", "softplus", "sigmoid", "none")
    },
    "one layer": ChainFilterSpec(ChainSpec((1,))),
    **{
        f"{activation} before {norm} norm": ChainFilterSpec(
            chain(150, 33, 1, norm=norm, activation=activation, activation_first=True), OWN
        )
        for activation in ("silu", "sigmoid", "softplus", "tanh")
        for norm in ("plain", "affine")
    },
    "stored batch norm": ChainFilterSpec(chain(33, 9, 1, norm="none", batch_norm="running_affine", batch_norm_eps=1e-3)),
    "stored batch norm without weights": ChainFilterSpec(chain(33, 1, batch_norm="running", bare_first=True)),
    "squashed": ChainFilterSpec(chain(9, 1, output_activation="tanh")),
}
BASE = MessagePassingSpec(chain(12, 8), chain(12, 10), chain(16, 8), chain(16, 10), chain(12, 1), 2)
GNNS = {
    "ours": GNNSpec(16, 3),
    "ours, three layers, hidden 70": GNNSpec(70, 2, layers=3),
    "ours, no geometry, no norm": GNNSpec(9, 1, layers=1, activation="tanh", layer_norm=False, geometry=False),
    "nodes first": BASE,
    "edges first": dataclasses.replace(BASE, order="edges", residual=True),
    "together": dataclasses.replace(BASE, order="together", residual=True, shared_nodes=False, shared_edges=False),
    "both ends": dataclasses.replace(BASE, node_inputs=("both", "node")),
    "edges first, both ends": dataclasses.replace(BASE, order="edges", node_inputs=("both", "node")),
    "edges first, incoming and outgoing": dataclasses.replace(BASE, order="edges", node_inputs=("outgoing", "node", "incoming")),
    "every aggregation": dataclasses.replace(
        BASE, aggregations=("sum", "mean", "max", "std"), node_inputs=("node", "incoming", "outgoing")
    ),
    "every aggregation of both": dataclasses.replace(
        BASE, order="edges", aggregations=("max", "std", "mean"), node_inputs=("both", "node")
    ),
    "first states": dataclasses.replace(
        BASE,
        node_inputs=("node_first", "incoming", "node", "outgoing_first"),
        edge_inputs=("edge_first", "source", "target_first", "edge"),
        classifier_inputs=("source_first", "edge", "edge_first", "target"),
    ),
    "first states, edges first": dataclasses.replace(
        BASE,
        order="edges",
        residual=True,
        node_inputs=("node", "incoming", "incoming_first"),
        edge_inputs=("edge", "source_first", "target"),
    ),
    "both first": dataclasses.replace(BASE, node_inputs=("both_first", "node")),
    "decoder": dataclasses.replace(BASE, decoder=chain(7, 5), classifier_inputs=("edge",)),
    "decoder to one column": dataclasses.replace(BASE, decoder=chain(7, 1), classifier_inputs=("target", "edge")),
    "edges alone": dataclasses.replace(BASE, edge_inputs=("edge",)),
    "squashed": dataclasses.replace(BASE, edge_squash=True, residual=True),
    "undirected": dataclasses.replace(BASE, undirected=True),
    "attributes": dataclasses.replace(BASE, edge_features=("dr", "dphi"), order="edges"),
    "no iteration": dataclasses.replace(BASE, iterations=0),
    "own columns": dataclasses.replace(BASE, features=OWN),
    "classifier of one layer": dataclasses.replace(BASE, classifier=ChainSpec((1,), output_activation="relu")),
    "attention": AttentionSpec(chain(8), chain(12, 1), chain(16, 8), 3),
    "attention, one layer": AttentionSpec(chain(8), ChainSpec((1,)), chain(8), 2, shortcut=False, residual=False),
    "attention, every aggregation": AttentionSpec(
        chain(8),
        chain(12, 1),
        chain(16, 8),
        2,
        node_inputs=("incoming", "node", "outgoing"),
        aggregations=("sum", "max", "mean", "std"),
    ),
    "attention, undirected": AttentionSpec(chain(8), chain(12, 1), chain(16, 8), 2, undirected=True, features=OWN),
}


def networks(**parts):
    """Return (spec, weights by stage and name, modules in float64) of networks with random weights."""
    from tests.support.foreign import random_weights
    from trkx.models.networks import build_network

    torch.manual_seed(0)  # default weights, to which random_weights adds
    cuts = CutSpec(**{stage: 0.5 for stage in parts if stage != "embedding"})
    spec = PipelineSpec("made", FEATURES, cuts=cuts, graph=GraphSpec(0.1) if "embedding" in parts else None, **parts)
    modules = {stage: random_weights(build_network(spec, stage)) for stage in spec.stages}
    weights = {
        f"{stage}.{name}": value.numpy() for stage, module in modules.items() for name, value in module.state_dict().items()
    }
    return spec, weights, {stage: module.double() for stage, module in modules.items()}


def engine_of(spec, weights, threads=2):
    return TiledEngine(spec, weights, threads)


def hits(rng, count):
    x = rng.uniform(-1.0, 1.0, (count, 4)).astype(np.float32)
    x[:, 0] = np.abs(x[:, 0]) + 0.03
    return x


def graphs(rng):
    few = rng.integers(0, 12, (2, 40))
    return {
        "repeated edges": (12, np.concatenate([few, few, few[::-1]], axis=1)),
        "isolated nodes": (60, rng.integers(0, 15, (2, 50))),
        "one edge": (2, np.array([[0], [1]])),
        "star": (600, np.stack([np.arange(1, 600), np.zeros(599, np.int64)])),
        "star outwards": (600, np.stack([np.zeros(599, np.int64), np.arange(1, 600)])),
        "random": (700, rng.integers(0, 700, (2, 3000))),
    }


def close(found, wanted):
    wanted = np.asarray(wanted)
    assert found.dtype == np.float32
    assert found.shape == wanted.shape
    np.testing.assert_allclose(found, wanted, rtol=0, atol=4e-5 * max(1.0, float(np.abs(wanted).max())))


@pytest.mark.parametrize("name", EMBEDDINGS)
@pytest.mark.parametrize("count", [1, 23, 1000])
def test_embeddings(name, count, rng):
    spec, weights, modules = networks(embedding=EMBEDDINGS[name])
    x = hits(rng, count)
    with torch.no_grad():
        wanted = modules["embedding"](torch.from_numpy(x).double()).numpy()
    close(engine_of(spec, weights).embed(x), wanted)


@pytest.mark.parametrize("name", FILTERS)
def test_filters(name, rng):
    spec, weights, modules = networks(filter=FILTERS[name])
    engine = engine_of(spec, weights)
    for count, edges in graphs(rng).values():
        x = hits(rng, count)
        with torch.no_grad():
            wanted = modules["filter"](torch.from_numpy(x).double(), torch.from_numpy(edges)).numpy()[:, 0]
        close(engine.filter(x, edges), wanted)
        judge = engine.edge_filter(x)
        np.testing.assert_array_equal(np.concatenate([judge(edges[:, :7]), judge(edges[:, 7:])]), engine.filter(x, edges))


@pytest.mark.parametrize("name", GNNS)
def test_graph_networks(name, rng):
    spec, weights, modules = networks(gnn=GNNS[name])
    engine, others = engine_of(spec, weights), [engine_of(spec, weights, threads) for threads in (1, 5)]
    for which, (count, edges) in graphs(rng).items():
        x = hits(rng, count)
        attributes = rng.normal(size=(edges.shape[1], len(spec.edge_features))).astype(np.float32) if spec.edge_features else None
        given = [torch.from_numpy(x).double(), torch.from_numpy(edges)]
        with torch.no_grad():
            wanted = modules["gnn"](*given, *([] if attributes is None else [torch.from_numpy(attributes).double()])).numpy()[
                :, 0
            ]
        found = engine.gnn(x, edges, attributes)
        close(found, wanted)
        for other in others:
            np.testing.assert_array_equal(other.gnn(x, edges, attributes), found, err_msg=which)


@pytest.mark.parametrize(
    "place", ["classifier.first.weight", "edge_networks.1.rest.0.bias", "node_networks.0.rest.2.bias", "node_encoder.first.bias"]
)
def test_every_weight_counts(place, rng):
    spec, weights, _ = networks(gnn=GNNSpec(16, 3))
    count, edges = graphs(rng)["random"]
    x = hits(rng, count)
    before = engine_of(spec, weights).gnn(x, edges)
    changed = {**weights, f"gnn.{place}": weights[f"gnn.{place}"] * np.float32(1.5)}
    assert np.abs(engine_of(spec, changed).gnn(x, edges) - before).max() > 1e-3


def test_no_edges_no_logits(rng):
    for gnn in (GNNS["ours"], GNNS["attention"], GNNS["together"], GNNS["undirected"]):
        spec, weights, _ = networks(gnn=gnn, filter=FILTERS["pairs"])
        engine = engine_of(spec, weights)
        none = np.empty((2, 0), np.int64)
        assert engine.gnn(hits(rng, 9), none).shape == (0,)
        assert engine.filter(hits(rng, 9), none).shape == (0,)


def test_nan_comes_out_as_nan(rng):
    spec, weights, _ = networks(gnn=GNNSpec(16, 2), filter=FilterSpec(24, 2), embedding=EmbeddingSpec(20, 2, 8))
    engine = engine_of(spec, weights)
    x = hits(rng, 20)
    x[4] = np.nan
    edges = np.stack([np.arange(19), np.arange(1, 20)])
    assert np.isnan(engine.embed(x)[4]).all()
    assert np.isfinite(np.delete(engine.embed(x), 4, axis=0)).all()
    assert np.isnan(engine.filter(x, edges)[[3, 4]]).all()
    assert np.isfinite(engine.filter(x, edges)[5:]).all()
    assert np.isnan(engine.gnn(x, edges)[[3, 4]]).all()


@pytest.mark.parametrize("stage", ["embedding", "filter", "gnn"])
def test_batch_norms_over_an_event_go_to_another_engine(stage, rng):
    parts = {
        "embedding": {"embedding": ChainEmbeddingSpec(chain(9, 3, batch_norm="event"), True)},
        "filter": {"filter": ChainFilterSpec(chain(9, 1, batch_norm="event_affine"))},
        "gnn": {"gnn": dataclasses.replace(BASE, node_encoder=chain(12, 8, batch_norm="event"))},
    }[stage]
    spec, weights, _ = networks(**parts)
    asked = []

    class Other:
        def embed(self, x):
            asked.append("embedding")
            return x

        def filter(self, x, edge_index):
            asked.append("filter")
            return x

        def gnn(self, x, edge_index, edge_attr=None):
            asked.append("gnn")
            return x

    engine = TiledEngine(spec, weights, 1, Other())
    x, edges = hits(rng, 9), np.array([[0], [1]])
    {"embedding": lambda: engine.embed(x), "filter": lambda: engine.filter(x, edges), "gnn": lambda: engine.gnn(x, edges)}[
        stage
    ]()
    assert asked == [stage]
    with pytest.raises(SpecError, match="one after the other"):
        engine.edge_filter(x)


SHAPES = {
    "gnn.classifier.first.bias": None,
    "gnn.node_encoder.rest.2.weight": (8, 1000),
    "gnn.node_encoder.first.bias": (4096,),
    "gnn.edge_networks.1.rest.2.bias": (1,),
    "gnn.node_networks.1.first.weight": (16, 47),
    "filter.network.rest.0.bias": (2,),
    "filter.network.rest.2.weight": (8, 2),
    "embedding.network.rest.1.weight": (20, 21),
    "gnn.nothing": (3,),
}


@pytest.mark.parametrize("name", SHAPES)
def test_weights_that_do_not_fit_are_an_error(name):
    from trkx.errors import BundleError

    spec, weights, _ = networks(gnn=GNNSpec(16, 2), filter=FilterSpec(8, 2), embedding=EmbeddingSpec(20, 2, 8, layer_norm=False))
    engine_of(spec, weights)
    changed = {key: value for key, value in weights.items() if key != name}
    if SHAPES[name] is not None:
        changed[name] = np.zeros(SHAPES[name], np.float32)
    with pytest.raises(BundleError, match=name.split(".", 1)[1]):
        engine_of(spec, changed)


@pytest.mark.parametrize("edges", [[[0], [9]], [[-1], [0]], [[0.0], [1.0]], [[0, 1]]])
def test_edges_that_make_no_sense_are_refused(edges, rng):
    from trkx.errors import InputError

    spec, weights, _ = networks(gnn=GNNSpec(16, 2), filter=FILTERS["pairs"])
    engine = engine_of(spec, weights)
    x, edges = hits(rng, 9), np.array(edges)
    for run in (engine.filter, engine.gnn, lambda x, e: engine.edge_filter(x)(e)):
        with pytest.raises(InputError, match=r"networks: edges (must be|name hits)"):
            run(x, edges)


def test_inputs_of_other_widths_are_refused(rng):
    from trkx.errors import InputError

    spec, weights, _ = networks(gnn=GNNS["attributes"], embedding=EMBEDDINGS["mlp"])
    engine = engine_of(spec, weights)
    edges = np.array([[0], [1]])
    with pytest.raises(InputError, match=r"x must be float32 \[N, 4\], found \[9, 3\]"):
        engine.embed(hits(rng, 9)[:, :3])
    for attributes in (None, np.zeros((1, 3), np.float32), np.zeros((2, 2), np.float32)):
        with pytest.raises(InputError, match=r"reads edge_attr, float32 \[1, 2\]"):
            engine.gnn(hits(rng, 9), edges, attributes)


def test_other_dtypes_and_strides_give_the_same(rng):
    spec, weights, _ = networks(gnn=GNNS["ours"], filter=FILTERS["pairs"], embedding=EMBEDDINGS["mlp"])
    engine = engine_of(spec, weights)
    count, edges = graphs(rng)["random"]
    x = hits(rng, count)
    strided = np.asfortranarray(x)
    pairs = np.ascontiguousarray(edges.T).T
    np.testing.assert_array_equal(engine.embed(strided), engine.embed(x))
    np.testing.assert_array_equal(engine.filter(strided, pairs.astype(np.int32)), engine.filter(x, edges))
    np.testing.assert_array_equal(engine.gnn(strided, pairs.astype(np.int32)), engine.gnn(x, edges))


TYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


def rounding(module, exact, kind):
    """A float64 module whose linear layers read rounded numbers, but for those named in `exact`."""

    def near(values):
        return values.float().to(kind).double()

    for name, part in module.named_modules():
        if name in exact or not isinstance(part, (torch.nn.Linear, BlockLinear)):
            continue
        part.weight.data = near(part.weight.data)
        if isinstance(part, BlockLinear):
            part.register_forward_pre_hook(lambda _, given: ({k: (near(v), index) for k, (v, index) in given[0].items()},))
        else:
            part.register_forward_pre_hook(lambda _, given: (near(given[0]),))
    return module


HALVES = {
    "filter": ({"filter": FilterSpec(72, 3)}, ("network.first", "network.rest.8")),
    "chain": ({"filter": ChainFilterSpec(chain(150, 33, 1, activation="relu"))}, ("network.linears.0", "network.linears.2")),
    "embedding": ({"embedding": EmbeddingSpec(40, 3, 8)}, ("network.first",)),
}


@pytest.mark.parametrize("precision", TYPES)
@pytest.mark.parametrize("name", HALVES)
def test_half_precision_rounds_what_hidden_layers_read_and_nothing_else(name, precision, rng):
    """The last layer of a judge and what reads features stay float32."""
    parts, exact = HALVES[name]
    spec, weights, modules = networks(**parts)
    (stage,) = parts
    engine, half = TiledEngine(spec, weights, 2), TiledEngine(spec, weights, 2, precision=precision)
    x, edges = hits(rng, 700), rng.integers(0, 700, (2, 3000))
    given = (x,) if stage == "embedding" else (x, edges)
    run = "embed" if stage == "embedding" else "filter"
    with torch.no_grad():
        tensors = [torch.from_numpy(one) for one in (x.astype(np.float64), *given[1:])]
        wanted = rounding(modules[stage], exact, TYPES[precision])(*tensors).numpy()
    found, plain = getattr(half, run)(*given), getattr(engine, run)(*given)
    off = np.abs(found - wanted.reshape(found.shape))
    assert np.median(off) < 0.05 * np.median(np.abs(plain - wanted.reshape(found.shape)))  # ties may round to the other side
    assert 1e-5 < np.abs(found - plain).max() < 0.2 * max(1.0, float(np.abs(plain).max()))


def first_and_last(gnn, module):
    """Names of the layers of a GNN that no precision rounds: those that read features, and the last of a judge of several."""
    layers = [name for name, part in module.named_modules() if isinstance(part, (torch.nn.Linear, BlockLinear))]
    judge, ends = ("edge_network.", gnn.edge_network) if isinstance(gnn, AttentionSpec) else ("classifier.", None)
    if isinstance(gnn, AttentionSpec):
        features = ["node_encoder."] + ([judge, "node_network."] if gnn.shortcut else [])
    else:
        ends = None if isinstance(gnn, GNNSpec) else gnn.classifier
        features = ["node_encoder."] + (["edge_encoder."] if isinstance(gnn, GNNSpec) or gnn.edge_features else [])
    exact = {next(name for name in layers if name.startswith(prefix)) for prefix in features}
    last = [name for name in layers if name.startswith(judge)]
    if len(last) > 1 and (ends is None or ends.output_activation == "none"):
        exact.add(last[-1])
    return exact


@pytest.mark.parametrize("precision", TYPES)
@pytest.mark.parametrize("name", GNNS)
def test_graph_networks_in_reduced_precision(name, precision, rng):
    """A twin in float64 that rounds what hidden layers read says the same, but where a tie falls to the other side."""
    spec, weights, modules = networks(gnn=GNNS[name])
    count, edges = graphs(rng)["random"]
    x = hits(rng, count)
    attributes = rng.normal(size=(edges.shape[1], len(spec.edge_features))).astype(np.float32) if spec.edge_features else None
    exact = engine_of(spec, weights).gnn(x, edges, attributes)
    found = TiledEngine(spec, weights, 2, precision=f"gnn={precision}").gnn(x, edges, attributes)
    given = [torch.from_numpy(one) for one in (x.astype(np.float64), edges)]
    given += [] if attributes is None else [torch.from_numpy(attributes).double()]
    twin = rounding(modules["gnn"], first_and_last(GNNS[name], modules["gnn"]), TYPES[precision])
    with torch.no_grad():
        wanted = twin(*given).numpy()[:, 0]
    counted = (exact != 0.0) | (wanted != 0.0)  # one of them ends in a relu
    if counted.any():
        effect = np.median(np.abs(exact - wanted)[counted])
        assert effect > 0.0
        ties = 0.6 if "three layers" in name else 0.25  # deep ones hand them on
        assert np.median(np.abs(found - wanted)[counted]) <= ties * effect + 1e-6
    else:
        assert not found.any()
    if precision == "bf16":
        np.testing.assert_array_equal(TiledEngine(spec, weights, 5, precision=precision).gnn(x, edges, attributes), found)


def test_a_precision_is_for_the_stage_that_it_names(rng):
    spec, weights, _ = networks(gnn=GNNS["ours"], filter=FILTERS["pairs"])
    count, edges = graphs(rng)["random"]
    x = hits(rng, count)
    exact = engine_of(spec, weights).gnn(x, edges)
    np.testing.assert_array_equal(TiledEngine(spec, weights, 2, precision="filter=bf16").gnn(x, edges), exact)
    assert np.any(TiledEngine(spec, weights, 2, precision="gnn=bf16").gnn(x, edges) != exact)


def test_precisions_that_make_no_sense_are_refused(rng):
    spec, weights, _ = networks(filter=FILTERS["pairs"])
    for word in ("fp8", "filter=half", "fliter=bf16", "filter=bf16,filter=fp32", "", "filter=bf16,"):
        with pytest.raises(SpecError):
            TiledEngine(spec, weights, 1, precision=word)


def test_weights_beyond_a_format_are_refused():
    spec, weights, _ = networks(filter=FilterSpec(24, 3))
    weights["filter.network.rest.2.weight"][3, 4] = 7e4
    TiledEngine(spec, weights, 1, precision="bf16")
    with pytest.raises(SpecError, match="fp16"):
        TiledEngine(spec, weights, 1, precision="fp16")
