"""Run by test_cuda_chains.py, in a process of its own; on a GPU without TRITON_INTERPRET."""

import dataclasses
import os

import numpy as np
import pytest
import torch
from support.foreign import random_weights
from test_tiled_networks import EMBEDDINGS, FEATURES, FILTERS, chain, hits, networks

from trkx.chains import ChainSpec
from trkx.errors import InputError, SpecError
from trkx.models.chain import BlockChain
from trkx.models.geometry import Geometry
from trkx.runtime.cuda.networks import chain as chain_module
from trkx.runtime.cuda.networks import launches
from trkx.runtime.cuda.networks.chain import DeviceChain, Gather, PairInputs
from trkx.runtime.cuda.networks.chain_twins import ACTIVATIONS as ACTS
from trkx.runtime.cuda.networks.chain_twins import ChainTwin, pair_features, rounded
from trkx.runtime.cuda.networks.edge_filter import DeviceEdgeFilter
from trkx.runtime.cuda.networks.embedding import DeviceEmbedding
from trkx.runtime.cuda.networks.node_inputs import pair_inputs
from trkx.runtime.cuda.networks.packing import DTYPES
from trkx.runtime.engines.base import of_stage
from trkx.runtime.precision import PRECISIONS
from trkx.runtime.tiled.chains import Chain, Layer, chain_of_spec, judging, reading_features
from trkx.runtime.tiled.inputs import geometric
from trkx.runtime.tiled.rounding import rounded_array
from trkx.runtime.tiled.rows import Step
from trkx.spec import FilterSpec

DEVICE = torch.device("cpu" if os.environ.get("TRITON_INTERPRET") == "1" else "cuda")
ACTIVATIONS = ("silu", "relu", "tanh", "gelu", "leaky_relu", "elu", "mish", "softplus", "sigmoid", "none")
EDGES = {"edge": 20, "source": 7, "target": 7}


def made(spec, blocks):
    """Return (chain, module) with the same random weights."""
    torch.manual_seed(0)
    module = random_weights(BlockChain(blocks, spec))
    weights = {name: value.numpy() for name, value in module.state_dict().items()}
    return chain_of_spec(weights, "", blocks, spec), module


def numbers(rng, *shape):
    return torch.from_numpy(rng.normal(size=shape).astype(np.float32)).to(DEVICE)


def edges_of(rng, rows, count=30, width=7):
    """Return what an edge chain reads: (rows of edges, hits, source, target)."""
    source, target = (torch.from_numpy(rng.integers(0, count, rows)).to(DEVICE) for _ in range(2))
    return numbers(rng, rows, 20), numbers(rng, count, width), source, target


def both(which, found, given, precision="fp32", **settings):
    """Return what the kernel and what its twin make of the same edges, as `which` says: "states" or "logits"."""
    edge, node, source, target = given
    results = []
    for kind in (DeviceChain, ChainTwin):
        one = kind.of(found, precision, DEVICE)
        gathers = [Gather(one.product("source", node, True), source), Gather(one.product("target", node, False), target)]
        more = {name: value.clone() if isinstance(value, torch.Tensor) else value for name, value in settings.items()}
        results.append(getattr(one, which)(len(edge), {"edge": edge}, gathers, **more))
    return results


def close(found, wanted, most=2e-5):
    assert found.dtype == torch.float32
    assert found.shape == wanted.shape
    size = max(1.0, float(wanted.abs().max())) if wanted.numel() else 1.0
    torch.testing.assert_close(found.double(), wanted.double(), rtol=0, atol=most * size)


# twins


@pytest.mark.parametrize("precision", PRECISIONS)
def test_rounding_is_that_of_the_cpu(precision, rng):
    values = np.concatenate([rng.normal(size=500) * 10.0 ** rng.integers(-9, 6, 500), [np.inf, -np.inf, np.nan, 0.0, -0.0, 3e38]])
    values = values.astype(np.float32)
    wanted = values if precision == "fp32" else rounded_array(values, precision)
    np.testing.assert_array_equal(rounded(torch.from_numpy(values), precision).numpy(), wanted)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_twin_is_the_module(activation, rng):
    found, module = made(chain(33, 16, 5, activation=activation, output_activation=activation), EDGES)
    edge, node, source, target = (one.cpu() for one in edges_of(rng, 40))
    twin = ChainTwin(found, "fp32", torch.device("cpu"), torch.float64)
    gathers = [Gather(twin.product("source", node, True), source), Gather(twin.product("target", node, False), target)]
    blocks = {"edge": (edge.double(), None), "source": (node.double(), source), "target": (node.double(), target)}
    with torch.no_grad():
        wanted = module.double()(blocks)
    torch.testing.assert_close(twin.states(40, {"edge": edge}, gathers), wanted, rtol=1e-12, atol=1e-12)


def positions(rng, count=200):
    x = torch.from_numpy(hits(rng, count))
    x[:, 1] *= 3.14159 / FEATURES[1].scale
    x[:20] = x[20:40] + 1e-4 * torch.rand(20, 4)  # close to each other
    x[40:60] = x[60:80]
    return x


def test_pair_features_of_the_twin_are_those_of_the_models(rng):
    x = positions(rng)
    source, target = (torch.from_numpy(rng.integers(0, 80, 500)) for _ in range(2))
    given = pair_inputs(geometric(FEATURES, True), x.double())
    given = PairInputs(*(value.double() for value in given[:3]), given.scales)
    wanted = Geometry(FEATURES).pair(x.double(), source, target)
    torch.testing.assert_close(pair_features(given, source, target), wanted, rtol=1e-10, atol=1e-10)


# kernels


def test_pair_features_agree_with_float64(rng):
    """Each feature of each pair, with weights that pick it out; also of hits that are close to each other, or the same."""
    x = positions(rng)
    pairs = torch.stack([torch.arange(80), torch.arange(20, 100) % 80])
    source, target = torch.cat([pairs, pairs.flip(0), torch.arange(5).expand(2, 5)], dim=1).to(DEVICE)
    one = np.eye(11, dtype=np.float32)
    picks = reading_features(Chain({"pair": one}, (Layer(one, np.zeros(11, np.float32), (), ()),)))
    given = pair_inputs(geometric(FEATURES, True), x.to(DEVICE))
    found = DeviceChain.of(picks, "fp32", DEVICE).states(len(source), {}, pair=(given, source, target)).cpu()
    single = Geometry(FEATURES).pair(x, source.cpu(), target.cpu())
    exact = Geometry(FEATURES).pair(x.double(), source.cpu(), target.cpu())
    theirs = (single - exact).abs().amax(0)
    ours = (found - exact).abs().amax(0)
    assert (ours <= 2 * theirs + 1e-6).all(), (ours, theirs)
    assert exact.abs().amax(0).min() > 0.1


@pytest.mark.parametrize("rows", [0, 1, 33, 64, 131])
@pytest.mark.parametrize("precision", PRECISIONS)
def test_numbers_of_rows(rows, precision, rng):
    found, _ = made(chain(33, 16, 5), EDGES)
    close(*both("states", found, edges_of(rng, rows), precision), 2e-5 if precision == "fp32" else 2e-2)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("first", [False, True])
def test_activations_and_norms(activation, first, rng):
    for norm in ("none", "plain", "affine"):
        found, _ = made(chain(20, 16, 5, activation=activation, norm=norm, activation_first=first), EDGES)
        given = edges_of(rng, 45)
        given[0][:10] *= 100.0
        close(*both("states", found, given))


@pytest.mark.parametrize("activation", ACTIVATIONS[:-1])
def test_activations_of_small_and_large_numbers(activation):
    x = torch.cat([torch.tensor([0.0, -0.0]), *(sign * torch.logspace(-20, 2.5, 120) for sign in (1.0, -1.0))]).to(DEVICE)
    one = Layer(np.ones((1, 1), np.float32), np.zeros(1, np.float32), (Step("act", activation),), ())
    act = DeviceChain.of(reading_features(Chain({"x": one.weight}, (one,))), "fp32", DEVICE)
    found = act.states(len(x), {"x": x[:, None]})[:, 0].cpu().double()
    wanted = ACTS[activation](x.cpu().double())
    wrong = (found - wanted).abs()
    near_zero = 1e-30 if activation in ("tanh", "elu", "relu", "leaky_relu", "silu") else 1e-7
    assert (wrong <= 1e-6 * wanted.abs() + near_zero + (x.cpu().double().abs() > 10) * 1e-6).all(), wrong.max()


@pytest.mark.parametrize("widths", [(1,), (16, 1), (17, 64, 33), (150, 33, 1), (33, 200, 20), (130, 260, 1), (20, 130)])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_widths(widths, precision, rng):
    found, _ = made(chain(*widths), EDGES)
    for one, which in ((found, "states"), *(((judging(found), "logits"),) if widths[-1] == 1 else ())):
        close(*both(which, one, edges_of(rng, 35), precision), 2e-5 if precision == "fp32" else 3e-2)


@pytest.mark.parametrize("precision", PRECISIONS[1:])
def test_reduced_precisions_round_what_layers_read(precision, rng):
    """Far closer to the twin, which rounds alike, than the twin is to float32; sums in another order move some roundings."""
    for spec in (chain(64, 48, 32, 5), chain(140, 140, 5)):
        found, _ = made(spec, EDGES)
        given = edges_of(rng, 70)
        kernel, twin = both("states", found, given, precision)
        _, exact = both("states", found, given)
        effect, off = (twin - exact).abs(), (kernel - twin).abs()
        assert float(effect.mean()) > 1e-5
        assert float(off.mean()) < 0.1 * float(effect.mean())
        assert float(off.max()) < float(effect.max())


def test_features_are_not_rounded(rng):
    found, _ = made(ChainSpec((24,)), EDGES)
    given = edges_of(rng, 40)
    exact = both("states", found, given)[1]
    close(both("states", reading_features(found), given, "bf16")[0], exact)
    assert float((both("states", found, given, "bf16")[0] - exact).abs().max()) > 1e-3


@pytest.mark.parametrize("widths", [(33, 20), (150, 20)])
@pytest.mark.parametrize(("residual", "squash"), [(True, False), (False, True), (True, True)])
def test_writes_to_states(widths, residual, squash, rng):
    found, _ = made(chain(*widths), EDGES)
    given = edges_of(rng, 66)
    kernel, twin = both("states", found, given, out=numbers(rng, 66, 20), residual=residual, squash=squash)
    close(kernel, twin)
    one = DeviceChain.of(found, "fp32", DEVICE)
    edge, node, source, target = given
    wanted = both("states", found, given, out=edge, residual=True)[1]
    gathers = [Gather(one.product("source", node, True), source.int()), Gather(one.product("target", node, False), target)]
    out = one.states(66, {"edge": edge}, gathers, out=edge, residual=True)  # in place of what it reads
    assert out is edge
    close(edge, wanted)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_widest_layers(precision, rng):
    """Of which fewer inputs are multiplied at a time, so that their weights are filled up to other widths."""
    found = judging(made(chain(530, 1000, 1), EDGES)[0])
    given = edges_of(rng, 20)
    assert DeviceChain.of(found, precision, DEVICE)._groups[1].chunks[""] < DeviceChain.of(
        judging(made(chain(500, 500, 1), EDGES)[0]), precision, DEVICE)._groups[1].chunks[""]
    close(*both("logits", found, given, precision), 2e-5 if precision == "fp32" else 2e-2)


def test_forms_are_found_once_and_kept_apart(rng, monkeypatch):
    """Launches with and without a bias, with a residual, a sigmoid: the same chain, in any order, gives each its own."""
    found, _ = made(chain(33, 140, 20), EDGES)
    edge, node, source, target = edges_of(rng, 40)
    start, calls = numbers(rng, 40, 20), []
    inner = chain_module.constants_of
    monkeypatch.setattr(chain_module, "constants_of", lambda *some: calls.append(some[1:]) or inner(*some))
    one, twin = DeviceChain.of(found, "fp32", DEVICE), ChainTwin.of(found, "fp32", DEVICE)
    for turn in range(2):
        for residual, squash in ((False, False), (True, False), (False, True)):
            results = []
            for kind in (one, twin):
                products = kind.product("source", node, True), kind.product("target", node, False)
                gathers = [Gather(products[0], source), Gather(products[1], target)]
                results.append(kind.states(40, {"edge": edge}, gathers, out=start.clone(), residual=residual, squash=squash))
            close(*results)
        assert len(calls) == len(one._forms) == 2 + 2 + 3, turn  # products, first layers, last layers


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_chunks_have_no_say(precision, rng, monkeypatch):
    found = judging(made(chain(140, 140, 1), EDGES)[0])
    given = edges_of(rng, 300)
    whole = both("logits", found, given, precision)[0]
    monkeypatch.setattr(chain_module, "HELD", 1)
    monkeypatch.setattr(chain_module, "FEWEST", 128)
    assert torch.equal(both("logits", found, given, precision)[0], whole)
    again = both("logits", found, given, precision)[0]
    assert torch.equal(again, whole)


def test_rows_do_not_depend_on_their_place(rng):
    """What neighbours hold has no say: on a GPU the same row gives the same bits in another tile; numpy's products don't."""
    found, _ = made(chain(33, 16, 5), EDGES)
    edge, node, source, target = edges_of(rng, 100)
    whole = both("states", found, (edge, node, source, target))[0]
    order = torch.from_numpy(rng.permutation(100)).to(DEVICE)
    moved = both("states", found, (edge[order], node, source[order], target[order]))[0]
    assert torch.equal(moved, whole[order]) or DEVICE.type == "cpu"
    close(moved, whole[order])


@pytest.mark.parametrize("widths", [(33, 16, 1), (150, 40, 1)])
@pytest.mark.parametrize("precision", ["fp32", "bf16", "tf32"])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_nan_spreads_over_its_row_and_no_farther(widths, precision, activation, rng):
    found = judging(made(chain(*widths, activation=activation), EDGES)[0])
    given = edges_of(rng, 70)
    given[0][[3, 65], 5] = torch.nan
    kernel, _ = both("logits", found, given, precision)
    assert kernel.isnan().nonzero()[:, 0].tolist() == [3, 65]


def test_a_wide_mean_does_not_overflow_halves(rng):
    """Columns beyond the width are zero after a norm: less the mean they would be infinite in fp16, and NaN times 0."""
    found, _ = made(ChainSpec((20, 5), activation="relu", norm="plain"), EDGES)
    flat = Layer(found.layers[0].weight, np.full(20, 1e6, np.float32), found.layers[0].steps, found.layers[0].scales)
    changed = dataclasses.replace(found, layers=(flat, found.layers[1]))
    edge, node, source, target = edges_of(rng, 20)
    kernel, twin = both("states", changed, (edge * 0, node * 0, source, target), "fp16")
    assert kernel.isfinite().all()
    close(kernel, twin, 1e-2)


def swapped(found):
    return dataclasses.replace(found, blocks={**found.blocks, "source": found.blocks["target"], "target": found.blocks["source"]})


def mutated(found):
    weight = found.layers[1].weight.copy()
    weight[3, 4] += 0.01
    layers = (found.layers[0], dataclasses.replace(found.layers[1], weight=weight), *found.layers[2:])
    return dataclasses.replace(found, layers=layers)


@pytest.mark.parametrize("mutant", [swapped, mutated])
def test_comparison_sees_mutants(mutant, rng):
    found, _ = made(chain(33, 16, 5), EDGES)
    given = edges_of(rng, 60)
    with pytest.raises(AssertionError):
        close(both("states", mutant(found), given)[0], both("states", found, given)[1])


def test_more_rows_than_kernels_count_are_refused(rng, monkeypatch):
    found, _ = made(chain(33, 16, 5), EDGES)
    monkeypatch.setattr(chain_module, "MOST", 11)
    with pytest.raises(InputError, match="expected at most 11 rows at once, found 12"):
        both("states", found, edges_of(rng, 12))


def test_refuses_what_does_not_fit(rng):
    found, _ = made(chain(33, 16, 5), EDGES)
    edge, node, source, target = edges_of(rng, 12)
    one = DeviceChain.of(found, "fp32", DEVICE)
    gathers = [Gather(one.product("source", node, True), source), Gather(one.product("target", node, False), target)]
    for blocks, some, words in (
        ({}, gathers, "reads the blocks edge, source, target; found none and 2 gathered products"),
        ({"edge": edge, "other": edge}, gathers[:1], "reads the blocks"),
        ({"edge": edge[:, :19]}, gathers, "block 'edge': expected float32"),
        ({"edge": edge.double()}, gathers, "block 'edge': expected float32"),
        ({"edge": edge}, [gathers[0], Gather(node, target)], "a gathered product: expected float32"),
        ({"edge": edge}, [Gather(gathers[0].product[:, :33], source), gathers[1]], "expected float32 [N, 48 or more]"),
        ({"edge": edge}, [gathers[0], Gather(gathers[1].product, target[:5])], "an index: expected int64 or int32"),
    ):
        with pytest.raises(InputError, match=words.replace("[", "\\[")):
            one.states(12, blocks, some)
    with pytest.raises(InputError, match="block 'source'"):
        one.product("source", edge, True)
    with pytest.raises(InputError, match="give `out`"):
        one.states(12, {"edge": edge}, gathers, residual=True)
    with pytest.raises(InputError, match="out: expected float32"):
        one.states(12, {"edge": edge}, gathers, out=edge)
    with pytest.raises(InputError, match="has no logits"):
        one.logits(12, {"edge": edge}, gathers)
    with pytest.raises(SpecError, match="precision"):
        DeviceChain.of(found, "fp8", DEVICE)
    wrong = dataclasses.replace(found, layers=(found.layers[0], found.layers[2]))
    with pytest.raises(SpecError, match="expected weights"):
        DeviceChain.of(wrong, "fp32", DEVICE)
    with pytest.raises(SpecError, match="at most 1024 columns"):
        DeviceChain.of(made(ChainSpec((1025, 1)), {"x": 2})[0], "fp32", DEVICE)


# embedding and filter


@pytest.mark.parametrize("name", EMBEDDINGS)
def test_embeddings(name, rng):
    spec, weights, modules = networks(embedding=EMBEDDINGS[name])
    for count in (1, 23, 70):
        x = hits(rng, count)
        with torch.no_grad():
            wanted = modules["embedding"](torch.from_numpy(x).double())
        found = DeviceEmbedding(spec.embedding, spec.features, of_stage(weights, "embedding"), "fp32", DEVICE)
        close(found(torch.from_numpy(x).to(DEVICE)).cpu(), wanted, 4e-5)


@pytest.mark.parametrize("name", FILTERS)
def test_filters(name, rng):
    spec, weights, modules = networks(filter=FILTERS[name])
    made_filter = DeviceEdgeFilter(spec.filter, spec.features, of_stage(weights, "filter"), "fp32", DEVICE)
    x, edges = torch.from_numpy(hits(rng, 40)), torch.from_numpy(rng.integers(0, 40, (2, 67)))
    with torch.no_grad():
        wanted = modules["filter"](x.double(), edges)[:, 0]
    judge = made_filter.of(x.to(DEVICE))
    found = judge(edges.to(DEVICE))
    close(found.cpu(), wanted, 4e-5)
    close(torch.cat([judge(edges[:, :7].to(DEVICE)), judge(edges[:, 7:].to(DEVICE))]), found)
    assert len(judge(edges[:, :0].to(DEVICE))) == 0
    for wrong in (edges.max() + len(x), -1):
        strange = edges.clone()
        strange[1, 3] = wrong
        with pytest.raises(InputError, match="edges name hits"):
            judge(strange.to(DEVICE))


def test_a_filter_tells_source_from_target(rng):
    spec, weights, modules = networks(filter=FilterSpec(24, 3))
    made_filter = DeviceEdgeFilter(spec.filter, spec.features, of_stage(weights, "filter"), "bf16", DEVICE)
    x, edges = torch.from_numpy(hits(rng, 40)), torch.from_numpy(rng.integers(0, 40, (2, 67)))
    with torch.no_grad():
        wanted = modules["filter"](x.double(), edges)[:, 0]
    judge = made_filter.of(x.to(DEVICE))
    right = float((judge(edges.to(DEVICE)).cpu() - wanted).abs().mean())
    assert right < 0.1 * float((judge(edges.flip(0).to(DEVICE)).cpu() - wanted).abs().mean())


def test_launches_suit_the_widths():
    for precision in PRECISIONS:
        for widths in ((16,), (48, 48), (128, 128, 128), (512,), (1024,)):
            spec = ChainSpec(widths[:1] if max(widths) > 128 else widths)
            group = DeviceChain.of(made(spec, {"x": 300})[0], precision, DEVICE)._groups[0]
            for architecture in (80, 90):
                launch = launches.launch_of(group, architecture)
                assert launch.rows >= 16
                assert launch.rows & (launch.rows - 1) == 0
                assert launch.rows * max(group.pads) <= 32768
                stages = launch.stages * group.chunks["x"] * max(group.pads) * DTYPES[precision].itemsize
                assert stages <= (163 if architecture == 80 else 227) << 10
