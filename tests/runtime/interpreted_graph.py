"""Run by test_cuda_graph_network.py, in a process of its own; on a GPU without TRITON_INTERPRET."""

import dataclasses
import os

import numpy as np
import pytest
import torch
from test_tiled_networks import BASE, FILTERS, GNNS, TYPES, chain, first_and_last, hits, networks, rounding

from trkx.bundle import Bundle
from trkx.errors import BundleError, InputError, SpecError
from trkx.graph_networks import AttentionSpec, GNNSpec
from trkx.models.gathering import gathered as model_gathered
from trkx.runtime.cuda.engines.fused import FusedEngine, open_engine
from trkx.runtime.cuda.engines.ordered import OrderedSums
from trkx.runtime.cuda.networks import graph_twins, graphs, sums
from trkx.runtime.cuda.networks.graph_layout import device_layout
from trkx.runtime.cuda.networks.graphs import Recordings, ReplayedGraphNetwork, bucket, padded, replaced, shape, tensors
from trkx.runtime.engines import tiled
from trkx.spec import ChainEmbeddingSpec, ChainFilterSpec

DEVICE = torch.device("cpu" if os.environ.get("TRITON_INTERPRET") == "1" else "cuda")
KINDS = ("sum", "mean", "max", "std")
KERNELS = {name: gnn for name, gnn in GNNS.items() if not isinstance(gnn, AttentionSpec)}


def graph(rng, name):
    """Return (hits, edges int64 [2, E])."""
    few = rng.integers(0, 9, (2, 30))
    return {
        "one hit and itself": lambda: (1, np.zeros((2, 1), np.int64)),
        "one edge": lambda: (2, np.array([[1], [0]])),
        "repeated, both ways and of one hit": lambda: (9, np.concatenate([few, few[:, :5], few[::-1], [[4, 4], [4, 4]]], axis=1)),
        "isolated hits": lambda: (50, 5 + rng.integers(0, 12, (2, 41))),
        "a long row": lambda: (40, np.stack([rng.integers(0, 40, 170), np.full(170, 7)])),
        "a long list": lambda: (40, np.stack([np.full(170, 31), rng.integers(0, 40, 170)])),
        "random": lambda: (67, rng.integers(0, 67, (2, 211))),
    }[name]()


GRAPHS = ("one hit and itself", "one edge", "repeated, both ways and of one hit", "isolated hits", "random")
LONG = ("a long row", "a long list")


def engine_of(spec, weights, precision="fp32", **settings):
    return FusedEngine(spec, weights, DEVICE, precision, **settings)


def on_device(*arrays):
    return [None if array is None else torch.from_numpy(np.ascontiguousarray(array)).to(DEVICE) for array in arrays]


def attributes_of(spec, edges, rng):
    return rng.normal(size=(edges.shape[1], len(spec.edge_features))).astype(np.float32) if spec.edge_features else None


def wanted_of(module, x, edges, attributes=None):
    given = [torch.from_numpy(x).double(), torch.from_numpy(np.ascontiguousarray(edges))]
    given += [] if attributes is None else [torch.from_numpy(attributes).double()]
    with torch.no_grad():
        return module(*given).numpy()[:, 0]


def off(found, wanted):
    """Return the largest difference in units of what float32 may be off."""
    assert found.dtype == torch.float32
    assert found.shape == wanted.shape
    return np.abs(found.cpu().numpy() - wanted).max() / (4e-5 * max(1.0, np.abs(wanted).max()))


# sums


@pytest.mark.parametrize("width", [1, 50])
@pytest.mark.parametrize("name", ["one hit and itself", "isolated hits", *LONG])
def test_aggregations_equal_their_twin_to_the_last_bit(name, width, rng):
    count, edges = graph(rng, name)
    (given,) = on_device(edges)
    layout = device_layout(given, count)
    told = torch.from_numpy(rng.normal(size=(edges.shape[1], width)).astype(np.float32)).to(DEVICE)
    told[edges.shape[1] // 2, width // 2] = torch.nan
    for end, segments in ((layout.target, layout.incoming), (layout.source, layout.outgoing)):
        assert (segments.pieces is not None) == (int(segments.counts.max()) > sums.PIECE)
        for kind in KINDS:
            found = sums.gathered(kind, told, segments)
            twin = graph_twins.gathered(kind, told, end.long(), count)
            assert torch.equal(found.nan_to_num(777.0), twin.nan_to_num(777.0)), kind
            exact = model_gathered(kind, told.double(), end.long(), count)
            assert found.dtype == torch.float32
            torch.testing.assert_close(found.double(), exact, rtol=2e-5, atol=2e-5, equal_nan=True)


def test_how_sums_are_launched_has_no_say(rng, monkeypatch):
    count, edges = graph(rng, "a long row")
    (given,) = on_device(edges)
    told = torch.from_numpy(rng.normal(size=(edges.shape[1], 6)).astype(np.float32)).to(DEVICE)
    found = {}
    for elements in (128, 512, 8192):
        monkeypatch.setattr(sums, "ELEMENTS", elements)
        for cut in (None, True):
            layout = device_layout(given, count, cut)
            found[elements, cut] = torch.stack([sums.gathered(kind, told, layout.incoming) for kind in KINDS])
    first = next(iter(found.values()))
    assert all(torch.equal(other, first) for other in found.values())


@pytest.mark.parametrize("piece", [1, 2, 5])
def test_pieces_cover_every_edge_once(piece, rng, monkeypatch):
    monkeypatch.setattr(sums, "PIECE", piece)
    counts = torch.from_numpy(rng.integers(0, 4 * piece, 30)).to(DEVICE)
    counts[[3, 29]] = 0
    edges = int(counts.sum())
    segments = sums.segments_from_counts(counts, None, edges, True)
    pieces = segments.pieces
    covered = [np.arange(b, e) for b, e in zip(pieces.begin.tolist(), pieces.end.tolist(), strict=True)]
    owners = np.repeat(np.arange(30), counts.cpu().numpy())
    long = (counts.cpu().numpy() > piece)[owners]
    np.testing.assert_array_equal(np.concatenate(covered), np.flatnonzero(long))
    for part, owner in zip(covered, pieces.owner.tolist(), strict=True):
        assert len(part) <= piece
        assert (owners[part] == owner).all()
    told = torch.ones((edges, 3), device=DEVICE)
    assert torch.equal(sums.gathered("sum", told, segments), counts.float().unsqueeze(1).expand(-1, 3))


def test_largest_of_minus_infinity_and_of_nothing(rng):
    (given,) = on_device(np.array([[0, 1, 2], [1, 1, 0]]))
    layout = device_layout(given, 3)
    told = torch.tensor([[-torch.inf], [-5.0], [-torch.inf]], device=DEVICE)  # in the order of the layout
    assert sums.gathered("max", told, layout.incoming).tolist() == [[0.0], [-5.0], [0.0]]


# layout


@pytest.mark.parametrize("name", GRAPHS)
def test_layout(name, rng):
    count, edges = graph(rng, name)
    (given,) = on_device(edges)
    layout = device_layout(given, count)
    order = np.lexsort((edges[0], edges[1]))
    is_sorted = (order == np.arange(len(order))).all()
    assert (layout.order is None) == is_sorted
    assert is_sorted or layout.order.tolist() == order.tolist()
    assert layout.source.tolist() == edges[0, order].tolist()
    assert layout.target.tolist() == edges[1, order].tolist()
    assert layout.incoming.counts.tolist() == np.bincount(edges[1], minlength=count).tolist()
    assert layout.outgoing.counts.tolist() == np.bincount(edges[0], minlength=count).tolist()
    assert layout.outgoing.listed.tolist() == np.argsort(edges[0, order], kind="stable").tolist()
    again = device_layout(given[:, order], count)
    assert again.order is None
    assert again.source.tolist() == layout.source.tolist()
    values = torch.arange(edges.shape[1], device=DEVICE)
    assert torch.equal(layout.unsorted(layout.sorted(values)), values)


# networks


@pytest.mark.parametrize("name", GNNS)
def test_every_declaration(name, rng):
    spec, weights, modules = networks(gnn=GNNS[name])
    engine = engine_of(spec, weights)
    for which in ("repeated, both ways and of one hit", "isolated hits"):
        count, edges = graph(rng, which)
        x, attributes = hits(rng, count), attributes_of(spec, edges, rng)
        wanted = wanted_of(modules["gnn"], x, edges, attributes)
        assert off(engine.gnn(*on_device(x, edges, attributes)), wanted) < 1.0, which


@pytest.mark.parametrize("which", ["one hit and itself", "one edge", "random"])
@pytest.mark.parametrize("name", ["ours", "edges first, both ends", "attention"])
def test_sizes_and_runs_repeat(name, which, rng):
    spec, weights, modules = networks(gnn=GNNS[name])
    engine = engine_of(spec, weights)
    count, edges = graph(rng, which)
    x = hits(rng, count)
    found = engine.gnn(*on_device(x, edges))
    assert off(found, wanted_of(modules["gnn"], x, edges)) < 1.0
    assert torch.equal(engine.gnn(*on_device(x, edges)), found)


@pytest.mark.parametrize("which", LONG)
@pytest.mark.parametrize("name", ["ours", "every aggregation of both", "attention"])
def test_hits_with_many_edges(name, which, rng):
    spec, weights, modules = networks(gnn=GNNS[name])
    count, edges = graph(rng, which)
    x = hits(rng, count)
    assert off(engine_of(spec, weights).gnn(*on_device(x, edges)), wanted_of(modules["gnn"], x, edges)) < 1.0


def test_a_lost_message_and_swapped_ends_are_seen(rng, monkeypatch):
    spec, weights, modules = networks(gnn=KERNELS["ours"])
    count, edges = graph(rng, "random")
    x = hits(rng, count)
    wanted = wanted_of(modules["gnn"], x, edges)
    engine = engine_of(spec, weights)
    assert off(engine.gnn(*on_device(x, edges)), wanted) < 1.0
    assert off(engine.gnn(*on_device(x, edges[::-1])), wanted) > 100.0
    launch = sums._launch

    def short(mode, values, listed, begin, end, *others, **settings):
        loses = torch.zeros_like(end)
        loses[int((end - begin).argmax())] = 1  # the last edge of one hit
        launch(mode, values, listed, begin, end - loses, *others, **settings)

    monkeypatch.setattr(sums, "_launch", short)
    assert off(engine.gnn(*on_device(x, edges)), wanted) > 100.0


@pytest.mark.parametrize(
    "place", ["classifier.first.weight", "edge_networks.1.rest.0.bias", "node_networks.0.rest.2.bias", "edge_encoder.first.bias"]
)
def test_every_weight_counts(place, rng):
    spec, weights, modules = networks(gnn=GNNSpec(16, 2))
    count, edges = graph(rng, "random")
    x = hits(rng, count)
    changed = {**weights, f"gnn.{place}": weights[f"gnn.{place}"] * np.float32(1.5)}
    assert off(engine_of(spec, changed).gnn(*on_device(x, edges)), wanted_of(modules["gnn"], x, edges)) > 25.0


@pytest.mark.parametrize("name", ["ours", "together", "every aggregation", "undirected"])
def test_order_of_edges_has_no_say(name, rng):
    spec, weights, _ = networks(gnn=GNNS[name])
    engine = engine_of(spec, weights)
    edges = np.unique(rng.integers(0, 40, (2, 150)), axis=1)
    edges = edges[:, edges[0] < edges[1]]
    x = hits(rng, 40)
    first = engine.gnn(*on_device(x, edges))
    order = rng.permutation(edges.shape[1])
    assert torch.equal(engine.gnn(*on_device(x, edges[:, order])), first[torch.from_numpy(order).to(DEVICE)])
    whole = torch.from_numpy(np.asfortranarray(edges)).to(torch.int32).to(DEVICE)
    assert torch.equal(engine.gnn(torch.from_numpy(np.asfortranarray(x)).to(DEVICE), whole), first)


@pytest.mark.parametrize("precision", TYPES)
@pytest.mark.parametrize("name", ["ours", "together", "first states", "decoder", "attributes", "undirected", "every aggregation"])
def test_reduced_precision_rounds_what_hidden_layers_read(name, precision, rng):
    """A twin in float64 that rounds what hidden layers read says the same, but where a tie falls to the other side."""
    spec, weights, modules = networks(gnn=GNNS[name])
    count, edges = graph(rng, "random")
    x, attributes = hits(rng, count), attributes_of(spec, edges, rng)
    given = on_device(x, edges, attributes)
    exact = engine_of(spec, weights).gnn(*given).cpu().numpy()
    found = engine_of(spec, weights, f"gnn={precision}").gnn(*given).cpu().numpy()
    twin = rounding(modules["gnn"], first_and_last(GNNS[name], modules["gnn"]), TYPES[precision])
    wanted = wanted_of(twin, x, edges, attributes)
    effect = np.median(np.abs(exact - wanted))
    assert effect > 0.0
    assert np.median(np.abs(found - wanted)) <= 0.25 * effect + 1e-6
    assert not np.array_equal(found, exact)


def test_nan_comes_out_as_nan(rng):
    spec, weights, _ = networks(gnn=GNNSpec(16, 2))
    x = hits(rng, 20)
    x[4] = np.nan
    found = engine_of(spec, weights).gnn(*on_device(x, np.stack([np.arange(19), np.arange(1, 20)])))
    assert found[[3, 4]].isnan().all()
    assert found[12:].isfinite().all()


def test_no_edges_no_logits(rng):
    for name in ("ours", "attention", "together", "undirected", "attributes"):
        spec, weights, _ = networks(gnn=GNNS[name])
        attributes = np.empty((0, 2), np.float32) if spec.edge_features else None
        for replay in (False, True):
            given = on_device(hits(rng, 9), np.empty((2, 0), np.int64), attributes)
            assert engine_of(spec, weights, replay=replay).gnn(*given).shape == (0,)


# replay


def test_buckets():
    sizes = [bucket(count) for count in range(1, 200_000, 37)]
    assert sizes == sorted(sizes)
    assert all(count <= size for count, size in zip(range(1, 200_000, 37), sizes, strict=True))
    assert len(set(sizes)) < 65
    assert bucket(100_000) < 1.14 * 100_000
    assert bucket(20, growth=1.0, smallest=16) == 32


@pytest.mark.parametrize("name", GRAPHS)
def test_padding_stays_among_itself(name, rng):
    count, edges = graph(rng, name)
    x, index = on_device(hits(rng, count), edges)
    more_x, more_index, attributes = padded(x, index, x.new_ones((edges.shape[1], 2)))
    assert torch.equal(more_x[:count], x)
    assert torch.equal(more_index[:, : edges.shape[1]], index)
    assert (len(more_x), more_index.shape[1]) == (256, 256)
    assert attributes.shape == (256, 2)
    padding = more_index[:, edges.shape[1] :]
    assert (padding[0] == padding[1]).all()
    assert int(padding.min()) >= count
    assert int(padding.max()) < 256
    assert int(torch.bincount(padding[0]).max()) <= graphs.EDGES_EACH
    assert int(padding[0].diff().min()) >= 0


@pytest.mark.parametrize("name", ["ours", "together", "undirected", "attributes", "every aggregation of both", "no iteration"])
def test_padded_events_give_the_same_to_the_last_bit(name, rng, monkeypatch):
    monkeypatch.setattr(graphs.bucket, "__defaults__", (graphs.GROWTH, 64))  # smaller than in earnest
    spec, weights, _ = networks(gnn=GNNS[name])
    engine, replayed = engine_of(spec, weights), engine_of(spec, weights, replay=True)
    for which in ("one hit and itself", "random"):
        count, edges = graph(rng, which)
        given = on_device(hits(rng, count), edges, attributes_of(spec, edges, rng))
        assert torch.equal(replayed.gnn(*given), engine.gnn(*given)), which


def test_replayed_networks_refuse_hits_of_padding(rng):
    spec, weights, _ = networks(gnn=GNNS["attributes"])
    engine = engine_of(spec, weights, replay=True)
    (x, edges), attributes = on_device(hits(rng, 5), np.array([[0], [5]])), torch.zeros((1, 2), device=DEVICE)
    with pytest.raises(InputError, match="edges name hits 0 to 5, but there are 5 hits"):
        engine.gnn(x, edges, attributes)
    with pytest.raises(InputError, match=r"float32 \[1, 2\]; found none"):
        engine.gnn(x, edges)


def test_trees_of_tensors(rng):
    spec, weights, _ = networks(gnn=GNNS["ours"])
    network = engine_of(spec, weights)._gnn
    given = network.inputs(*on_device(hits(rng, 9), rng.integers(0, 9, (2, 20))), None)
    copy = replaced(given, torch.clone)
    assert [t.data_ptr() for t in tensors(copy)] != [t.data_ptr() for t in tensors(given)]
    assert all(torch.equal(one, two) for one, two in zip(tensors(copy), tensors(given), strict=True))
    assert type(copy) is type(given)
    assert copy.pair.scales == given.pair.scales
    assert shape(copy) == shape(given)
    other = network.inputs(*on_device(hits(rng, 9), rng.integers(0, 9, (2, 21))), None)
    assert shape(other) != shape(given)


@pytest.mark.skipif(DEVICE.type != "cuda", reason="not checked: no GPU here")
def test_recordings_on_a_gpu(rng):
    spec, weights, _ = networks(gnn=GNNS["ours"])
    engine = engine_of(spec, weights)
    network = engine._gnn
    for memory, held in ((1 << 30, 2), (1, 1)):
        replayed = ReplayedGraphNetwork(network, memory=memory)
        for size in (100, 120, 2000, 2010, 110):
            given = on_device(hits(rng, size), rng.integers(0, size, (2, 3 * size)))
            assert torch.equal(replayed(*given), engine.gnn(*given))
        assert isinstance(replayed._recordings, Recordings)
        assert len(replayed._recordings._held) == held


# modules


def test_ordered_sums_are_those_of_the_kernel(rng):
    index = torch.from_numpy(rng.integers(0, 11, 300)).to(DEVICE)
    values = torch.from_numpy(rng.normal(size=(300, 5)).astype(np.float32)).to(DEVICE)
    start = torch.ones((11, 5), device=DEVICE)
    with OrderedSums():
        found, wide = start.index_add(0, index, values), start.double().index_add(0, index, values.double())
        turned = start.index_add(0, index.flip(0), values.flip(0))
    assert torch.equal(found, 1.0 + graph_twins.gathered("sum", values, index, 11))
    assert torch.equal(wide, start.double().index_add(0, index, values.double()))
    torch.testing.assert_close(turned, found)
    torch.testing.assert_close(found.double(), wide, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("precision", ["tf32", "bf16", "fp16", "mixed"])
def test_modules_run_in_float32_only(precision):
    for parts, reason in (
        ({"gnn": GNNS["attention"]}, "attention networks have no kernels"),
        ({"gnn": dataclasses.replace(BASE, node_encoder=chain(12, 8, batch_norm="event"))}, "looks at all rows"),
    ):
        spec, weights, _ = networks(**parts)
        with pytest.raises(SpecError, match=f"the gnn of this bundle runs in fp32 only with engine 'triton': .*{reason}"):
            engine_of(spec, weights, precision)
        engine_of(spec, weights, "gnn=fp32")


def test_networks_that_look_at_all_rows(rng):
    spec, weights, modules = networks(
        embedding=ChainEmbeddingSpec(chain(9, 3, batch_norm="event"), True),
        filter=ChainFilterSpec(chain(9, 1, batch_norm="event_affine")),
        gnn=dataclasses.replace(BASE, node_encoder=chain(12, 8, batch_norm="event")),
    )
    engine = engine_of(spec, weights)
    count, edges = graph(rng, "random")
    x = hits(rng, count)
    given = on_device(x, edges)
    with torch.no_grad():
        wanted = modules["embedding"](torch.from_numpy(x).double()).numpy()
    assert off(engine.embed(given[0]), wanted) < 1.0
    assert off(engine.edge_filter(given[0])(given[1]), wanted_of(modules["filter"], x, edges)) < 2.0
    assert off(engine.gnn(*given), wanted_of(modules["gnn"], x, edges)) < 2.0


# engines


def test_engine_of_a_bundle(tiny_bundle, rng):
    bundle = Bundle.open(tiny_bundle)
    x = rng.uniform(-1, 1, (60, 3)).astype(np.float32)
    x[:, 0] = np.abs(x[:, 0]) + 0.03
    edges = rng.integers(0, 60, (2, 200))
    one, other = open_engine(bundle, DEVICE, "fp32"), tiled.open_engine(bundle, 1, "fp32")
    there = on_device(x, edges)
    assert one.device == DEVICE
    assert off(one.embed(there[0]), other.embed(x)) < 1.0
    assert off(one.edge_filter(there[0])(there[1]), other.filter(x, edges)) < 1.0
    assert off(one.gnn(*there), other.gnn(x, edges)) < 1.0
    mixed = open_engine(bundle, DEVICE, "mixed", replay=True)
    assert torch.equal(mixed.embed(there[0]), one.embed(there[0]))
    exact, half = other.gnn(x, edges), tiled.open_engine(bundle, 1, "mixed").gnn(x, edges)
    found = mixed.gnn(*there).cpu().numpy()
    assert np.median(np.abs(found - half)) <= 0.25 * np.median(np.abs(exact - half)) + 1e-6
    assert not np.array_equal(found, exact)


@pytest.mark.parametrize(
    ("name", "shape"),
    [("gnn.classifier.first.bias", None), ("gnn.node_networks.1.first.weight", (16, 47)), ("gnn.nothing", (3,))],
)
def test_weights_that_do_not_fit_are_an_error(name, shape):
    spec, weights, _ = networks(gnn=GNNSpec(16, 2))
    changed = {key: value for key, value in weights.items() if key != name}
    if shape is not None:
        changed[name] = np.zeros(shape, np.float32)
    with pytest.raises(BundleError, match=name.split(".", 1)[1]):
        engine_of(spec, changed)


@pytest.mark.parametrize("edges", [[[0], [9]], [[-1], [0]], [[0.0], [1.0]], [[0, 1]]])
@pytest.mark.parametrize("name", ["ours", "attention"])
def test_edges_that_make_no_sense_are_refused(edges, name, rng):
    spec, weights, _ = networks(gnn=GNNS[name])
    with pytest.raises(InputError, match=r"networks: edges (must be|name hits)"):
        engine_of(spec, weights).gnn(*on_device(hits(rng, 9), np.array(edges)))


@pytest.mark.parametrize("name", ["attributes", "attention"])
def test_inputs_of_other_widths_are_refused(name, rng):
    spec, weights, _ = networks(gnn=GNNS[name])
    engine = engine_of(spec, weights)
    x, edges = on_device(hits(rng, 9), np.array([[0], [1]]))
    with pytest.raises(InputError, match=r"x must be float32 \[N, 4\], found \[9, 3\]"):
        engine.gnn(x[:, :3], edges, None if name == "attention" else torch.zeros((1, 2), device=DEVICE))
    if name == "attributes":
        for attributes in (None, torch.zeros((1, 3), device=DEVICE), torch.zeros((2, 2), device=DEVICE)):
            with pytest.raises(InputError, match=r"reads edge_attr, float32 \[1, 2\]"):
                engine.gnn(x, edges, attributes)


def test_a_stage_that_is_not_there_is_an_error(rng):
    spec, weights, _ = networks(gnn=GNNS["ours"], filter=FILTERS["pairs"])
    engine = engine_of(spec, weights, stages=("filter",))
    with pytest.raises(SpecError, match="this engine has no gnn"):
        engine.gnn(*on_device(hits(rng, 9), np.array([[0], [1]])))
