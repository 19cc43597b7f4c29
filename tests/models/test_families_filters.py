"""Filters of other code bases against twins written as those code bases write them, and files that are refused."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
import torch
from support.foreign import assert_agrees, assert_exports_agree, built, checkpoint_of, graphs, random_weights
from torch import nn

from trkx.errors import CheckpointError
from trkx.models.checkpoints.checkpoint import Checkpoint
from trkx.models.families.filters import FILTER_FAMILIES
from trkx.models.families.reading import Mismatch

F, HIDDEN, LAYERS = 3, 12, 3
ONE_ROW = "one edge"
"""The graph on which torch's batch norm with statistics of its rows raises."""


class Vanilla(nn.Module):
    """VanillaFilter of exatrkx-iml2020 and Tracking-ML."""

    def __init__(self, layernorm: bool, batchnorm: bool, order: tuple[str, ...] = ("act", "layernorm", "batchnorm")) -> None:
        super().__init__()
        self.input_layer = nn.Linear(2 * F, HIDDEN)
        self.layers = nn.ModuleList([nn.Linear(HIDDEN, HIDDEN) for _ in range(LAYERS - 1)])
        self.output_layer = nn.Linear(HIDDEN, 1)
        self.layernorm = nn.LayerNorm(HIDDEN)
        self.batchnorm = nn.BatchNorm1d(num_features=HIDDEN, track_running_stats=False)
        self.act = nn.Tanh()
        off = {name for name, on in (("layernorm", layernorm), ("batchnorm", batchnorm)) if not on}
        self.order = [name for name in order if name not in off]

    def forward(self, x: torch.Tensor, e: torch.Tensor) -> torch.Tensor:
        v = self.input_layer(torch.cat([x[e[0]], x[e[1]]], dim=1))
        for layer in self.layers:
            v = layer(v)
            for name in self.order:
                v = getattr(self, name)(v)
        return self.output_layer(v)


class VanillaActivatedAtOnce(Vanilla):
    def forward(self, x: torch.Tensor, e: torch.Tensor) -> torch.Tensor:
        v = self.act(self.input_layer(torch.cat([x[e[0]], x[e[1]]], dim=1)))
        for layer in self.layers:
            v = self.layernorm(self.act(layer(v)))
        return self.output_layer(v)


class Pyramid(nn.Module):
    """PyramidFilter of TrackML_Example."""

    def __init__(self, layernorm: bool) -> None:
        super().__init__()
        self.input_layer = nn.Linear(2 * F, HIDDEN)
        self.layers = nn.ModuleList([nn.Linear(HIDDEN // 2**i, HIDDEN // 2 ** (i + 1)) for i in range(LAYERS - 1)])
        self.output_layer = nn.Linear(HIDDEN // 2 ** (LAYERS - 1), 1)
        self.norms = layernorm

    def forward(self, x: torch.Tensor, e: torch.Tensor) -> torch.Tensor:
        v = self.input_layer(torch.cat([x[e[0]], x[e[1]]], dim=1))
        for layer in self.layers:
            v = torch.tanh(layer(v))
            v = nn.functional.layer_norm(v, (v.shape[1],)) if self.norms else v
        return self.output_layer(v)


class Net(nn.Module):
    """`net` of Common_Tracking_Example (own=None), gnn4itk_cf (the same) and acorn (own: how its BatchNorm1d is built)."""

    def __init__(self, layernorm: bool, batchnorm: bool, own: dict[str, Any] | None = None, activation: str = "SiLU",
                 swapped: bool = False) -> None:
        super().__init__()
        built_as = {"affine": False, "track_running_stats": False} if own is None else own
        modules: list[nn.Module] = []
        for before, after in pairwise([2 * F, *(HIDDEN // 2**i for i in range(LAYERS))]):
            modules.append(nn.Linear(before, after))
            norms: list[nn.Module] = [nn.LayerNorm(after, elementwise_affine=False)] if layernorm else []
            norms += [nn.BatchNorm1d(after, **built_as)] if batchnorm else []
            modules += [*(reversed(norms) if swapped else norms), getattr(nn, activation)()]
        self.net = nn.Sequential(*modules, nn.Linear(HIDDEN // 2 ** (LAYERS - 1), 1))

    def forward(self, x: torch.Tensor, edge_index: torch.Tensor) -> torch.Tensor:
        return self.net(torch.cat([x[edge_index[0]], x[edge_index[1]]], dim=-1)).squeeze(-1)


def hyper(layernorm: bool, batchnorm: bool, **more: Any) -> dict[str, Any]:
    return {"hidden": HIDDEN, "nb_layer": LAYERS, "layernorm": layernorm, "batchnorm": batchnorm, **more}


def trackml(name: str, layernorm: bool, batchnorm: bool, **more: Any) -> dict[str, Any]:
    return hyper(layernorm, batchnorm, name=name, emb_channels=0, filter_cut=0.15, spatial_channels=F, cell_channels=0, **more)


def acorn(layernorm: bool, batchnorm: bool, **more: Any) -> dict[str, Any]:
    columns = {"node_features": ["hit_r", "hit_phi", "hit_z"], "node_scales": [1000, 3.14, 1000]}
    return hyper(layernorm, batchnorm, model="Filter", hidden_activation="SiLU", edge_cut=0.2, **columns, **more)


EVENT: dict[str, Any] = {"eps": 6e-5, "affine": True, "track_running_stats": False}
STORED: dict[str, Any] = {"eps": 6e-5, "affine": True, "track_running_stats": True}
CASES: dict[str, tuple[Callable[[], nn.Module], dict[str, Any], str]] = {
    "vanilla": (lambda: Vanilla(False, False), trackml("VanillaFilter", False, False), "vanilla-filter"),
    "vanilla, LN": (lambda: Vanilla(True, False), trackml("VanillaFilter", True, False), "vanilla-filter"),
    "vanilla, BN": (lambda: Vanilla(False, True), trackml("VanillaFilter", False, True), "vanilla-filter"),
    "vanilla, LN, BN": (lambda: Vanilla(True, True), trackml("VanillaFilter", True, True), "vanilla-filter"),
    "pyramid": (lambda: Pyramid(False), trackml("PyramidFilter", False, False), "pyramid-filter"),
    "pyramid, LN": (lambda: Pyramid(True), trackml("PyramidFilter", True, False), "pyramid-filter"),
    "net": (
        lambda: Net(False, False, activation="Tanh"), trackml("PyramidFilter", False, False, hidden_activation="Tanh"),
        "pyramid-filter-net",
    ),
    "net, LN": (
        lambda: Net(True, False, activation="GELU"), trackml("PyramidFilter", True, False, hidden_activation="GELU"),
        "pyramid-filter-net",
    ),
    "net, BN": (
        lambda: Net(False, True), trackml("PyramidFilter", False, True, hidden_activation="SiLU"), "pyramid-filter-net",
    ),
    "net, LN, BN": (
        lambda: Net(True, True), trackml("PyramidFilter", True, True, hidden_activation="SiLU"), "pyramid-filter-net",
    ),
    "acorn": (lambda: Net(False, False), acorn(False, False), "acorn-filter"),
    "acorn, LN": (lambda: Net(True, False), acorn(True, False), "acorn-filter"),
    "acorn, BN": (lambda: Net(False, True, EVENT), acorn(False, True), "acorn-filter"),
    "acorn, LN, BN": (lambda: Net(True, True, EVENT), acorn(True, True, track_running_stats=False), "acorn-filter"),
    "acorn, LN, stored BN": (lambda: Net(True, True, STORED), acorn(True, True, track_running_stats=True), "acorn-filter"),
    "acorn, stored BN by its keys": (lambda: Net(False, True, STORED), acorn(False, True), "acorn-filter"),
    "acorn before batchnorm": (
        lambda: Net(True, False), {key: value for key, value in acorn(True, False).items() if key != "batchnorm"}, "acorn-filter",
    ),
    "gnn4itk, BN": (lambda: Net(False, True), acorn(False, True), "gnn4itk-filter"),
    "gnn4itk, LN, BN": (lambda: Net(True, True), acorn(True, True), "gnn4itk-filter"),
}


def made(case: str, **changes: Any) -> tuple[nn.Module, Checkpoint, str]:
    build, hyper_parameters, family = CASES[case]
    torch.manual_seed(0)
    twin = random_weights(build())
    said = {key: value for key, value in {**hyper_parameters, **changes}.items() if value is not None}
    return twin, checkpoint_of(twin.state_dict(), said), family


def cases_of(twin: nn.Module) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """Return graphs that the twin can evaluate: torch's batch norm raises for one row."""
    of_rows = any(isinstance(module, nn.BatchNorm1d) and not module.track_running_stats for module in twin.modules())
    skipped = of_rows and (not isinstance(twin, Vanilla) or "batchnorm" in twin.order)
    return {name: inputs for name, inputs in graphs(F).items() if not (skipped and name == ONE_ROW)}


@pytest.mark.parametrize("name", CASES)
def test_agrees_with_the_twin(name: str) -> None:
    twin, checkpoint, family = made(name)
    reading, network = built(checkpoint, "filter")
    assert (reading.family, reading.inputs, reading.stage, reading.certain) == (family, F, "filter", True)
    assert_agrees(twin.double(), network, cases_of(twin))


@pytest.mark.parametrize("name", ["vanilla, LN, BN", "pyramid, LN", "acorn, LN, BN", "acorn, LN, stored BN", "gnn4itk, BN"])
def test_exports_agree_with_the_twin(name: str) -> None:
    twin, checkpoint, _ = made(name)
    assert_exports_agree("filter", twin.double(), built(checkpoint, "filter")[1], cases_of(twin))


@pytest.mark.parametrize("name", ["vanilla, LN, BN", "acorn, BN", "gnn4itk, LN, BN"])
def test_one_edge_of_an_event_has_a_logit_where_torch_raises(name: str) -> None:
    twin, checkpoint, _ = made(name)
    network = built(checkpoint, "filter")[1]
    inputs = graphs(F)[ONE_ROW]
    with pytest.raises(ValueError, match="Expected more than 1 value per channel"):
        twin(*inputs)
    assert torch.isfinite(network(*inputs)).all()


WRONG: dict[str, tuple[str, Callable[[], nn.Module]]] = {
    "tanh after the input layer": ("vanilla, LN", lambda: VanillaActivatedAtOnce(True, False)),
    "norm before tanh": ("vanilla, LN", lambda: Vanilla(True, False, ("layernorm", "act", "batchnorm"))),
    "batch norm before layer norm": ("vanilla, LN, BN", lambda: Vanilla(True, True, ("act", "batchnorm", "layernorm"))),
    "no layer norm": ("vanilla, LN", lambda: Vanilla(False, False)),
    "no norm in a pyramid": ("pyramid, LN", lambda: Pyramid(False)),
    "norms swapped": ("gnn4itk, LN, BN", lambda: Net(True, True, swapped=True)),
    "layer norm for batch norm": ("gnn4itk, BN", lambda: Net(True, False)),
    "another epsilon": ("acorn, BN", lambda: Net(False, True, {**EVENT, "eps": 1e-5})),
    "another epsilon of stored statistics": ("acorn, stored BN by its keys", lambda: Net(False, True, {**STORED, "eps": 1e-5})),
    "another activation": ("acorn, LN", lambda: Net(True, False, activation="ReLU")),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_forward_does_not_agree(name: str) -> None:
    right, build = WRONG[name]
    twin, checkpoint, _ = made(right)
    wrong = build()
    wrong.load_state_dict(twin.state_dict())
    with pytest.raises(AssertionError):
        assert_agrees(wrong.double().eval(), built(checkpoint, "filter")[1], cases_of(twin))


def test_source_and_target_swapped_do_not_agree() -> None:
    twin, checkpoint, _ = made("acorn, LN")
    wide = twin.double()
    with pytest.raises(AssertionError):
        assert_agrees(lambda x, edges: wide(x, edges.flip(0)), built(checkpoint, "filter")[1], graphs(F))


READS = ".*also reads the embedding of each hit"
REFUSED: dict[str, tuple[str, dict[str, Any], dict[str, tuple[int, ...]], str]] = {
    "keys do not show the layer norm": ("vanilla", {"layernorm": None}, {}, "vanilla-filter .*'layernorm' is needed, keys"),
    "keys do not show the batch norm": ("vanilla", {"batchnorm": None}, {}, "vanilla-filter .*'batchnorm' is needed"),
    "keys do not show a pyramid's norm": ("pyramid", {"layernorm": None}, {}, "pyramid-filter .*'layernorm' is needed"),
    "no activation": ("acorn", {"hidden_activation": None}, {}, "acorn-filter .*'hidden_activation' is needed"),
    "norms that may be either": ("acorn, LN", {"layernorm": None, "batchnorm": None}, {}, "acorn-filter .*needed to know which"),
    "flags of another network": ("acorn, LN", {"layernorm": False, "batchnorm": False}, {}, "acorn-filter .*no make_mlp of"),
    "stored statistics that are absent": (
        "acorn, LN, BN", {"track_running_stats": True}, {}, r"acorn-filter .*lacks net\.\d+\.num_batches_tracked",
    ),
    "an embedding beside the hits": ("vanilla, LN", {"emb_channels": 8}, {}, f"vanilla-filter {READS}"),
    "an embedding, pyramid": ("pyramid, LN", {"emb_channels": 8}, {}, f"pyramid-filter {READS}"),
    "an embedding, net": ("net, LN", {"emb_channels": 2}, {}, f"pyramid-filter-net {READS}"),
    "an embedding, net, is not acorn's": ("net, LN", {"emb_channels": 2}, {}, f"acorn-filter {READS}"),
    "whether it reads an embedding": ("vanilla", {"emb_channels": None}, {}, "vanilla-filter .*'emb_channels' is needed"),
    "an unknown tensor": ("vanilla", {}, {"gate.weight": (3,)}, r"vanilla-filter .*also has gate\.weight"),
    "stored statistics of a shared norm": (
        "vanilla", {}, {"batchnorm.running_mean": (HIDDEN,)}, r"vanilla-filter .*also has batchnorm\.running_mean",
    ),
    "an unknown tensor beside a net": ("acorn", {}, {"scale": ()}, "acorn-filter .*also has scale"),
    "a norm in a pyramid": ("pyramid", {}, {"layernorm.weight": (HIDDEN,)}, r"pyramid-filter .*also has layernorm\.weight"),
    "a graph network before it": (
        "acorn, LN", {}, {"gnn.layers.0.lin_l.weight": (4, 4)}, "gnn-filter .*graph convolutions over all hits",
    ),
    "another width": ("acorn", {"hidden": 1024}, {}, "'hidden' is 1024, but the tensors have 12"),
    "another number of layers": ("vanilla", {"nb_layer": 8}, {}, "'nb_layer' is 8, but the tensors have 3"),
    "another number of columns": ("vanilla", {"spatial_channels": 12}, {}, "reads 3 columns of a hit, .* say 12"),
    "features of another network": ("acorn", {"node_features": ["r", "z"]}, {}, "'node_features' has 2"),
    "a flag that is no flag": ("vanilla", {"layernorm": "yes"}, {}, "'layernorm' is 'yes', expected true or false"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str) -> None:
    base, changes, tensors, message = REFUSED[name]
    twin, checkpoint, _ = made(base, **changes)
    state = {**twin.state_dict(), **{key: torch.ones(shape) for key, shape in tensors.items()}}
    with pytest.raises(CheckpointError, match=message):
        built(checkpoint_of(state, checkpoint.hyper_parameters), "filter")


SHAPES = {
    "layers that can't share a norm": (
        "vanilla", {"layers.0.weight": (9, HIDDEN), "layers.0.bias": (9,), "layers.1.weight": (HIDDEN, 9)},
        "vanilla-filter .*can't share one layernorm",
    ),
    "layers that do not halve": (
        "pyramid", {"layers.0.weight": (7, HIDDEN), "layers.0.bias": (7,), "layers.1.weight": (3, 7)},
        "pyramid-filter .*expected each half",
    ),
    "a layer that does not take what the last gives": ("pyramid", {"layers.1.weight": (3, 5)}, r"'layers\.1' has shapes"),
    "an odd number of columns": ("vanilla", {"input_layer.weight": (HIDDEN, 7)}, "an odd number"),
    "several logits": ("acorn", {"net.6.weight": (2, 3), "net.6.bias": (2,)}, "a filter gives one logit"),
}


@pytest.mark.parametrize("name", SHAPES)
def test_refused_by_its_shapes(name: str) -> None:
    base, tensors, message = SHAPES[name]
    twin, checkpoint, _ = made(base)
    state = {**twin.state_dict(), **{key: torch.ones(shape) for key, shape in tensors.items()}}
    with pytest.raises(CheckpointError, match=message):
        built(checkpoint_of(state, checkpoint.hyper_parameters), "filter")


def test_torchscript_with_another_activation_is_no_vanilla_filter() -> None:
    twin, checkpoint, _ = made("vanilla")
    with pytest.raises(CheckpointError, match="no other activation than Tanh, but the file has ReLU"):
        built(checkpoint_of(twin.state_dict(), checkpoint.hyper_parameters, modules={"act": "ReLU"}), "filter")


@pytest.mark.parametrize("name", ["acorn, LN", "acorn, BN", "gnn4itk, BN", "gnn4itk, LN, BN", "acorn, LN, stored BN"])
def test_torchscript_shows_norms_and_activation(name: str) -> None:
    twin, _, _ = made(name)
    modules = {path: type(module).__name__ for path, module in twin.named_modules()}
    state, said = twin.state_dict(), {"hidden_activation": "SiLU"}
    shown = checkpoint_of(state, said, kind="torchscript", modules=modules, class_name="Filter")
    assert_agrees(twin.double(), built(shown, "filter")[1], cases_of(twin))
    contradicted = checkpoint_of(state, {**said, "layernorm": "LN" not in name}, kind="torchscript", modules=modules)
    with pytest.raises(CheckpointError, match=r"'layernorm' is .* but the file has"):
        built(contradicted, "filter")


def test_norms_without_weights_are_the_same_network_in_three_code_bases() -> None:
    _, checkpoint, _ = made("net, LN", name=None)
    readings = []
    for row in FILTER_FAMILIES:
        try:
            readings += row.read(checkpoint)
        except Mismatch:
            continue
    assert [reading.family for reading in readings] == ["pyramid-filter-net", "acorn-filter", "gnn4itk-filter"]
    assert len({(reading.spec, tuple(sorted(reading.weights.items()))) for reading in readings}) == 1


def test_one_layer_needs_no_norm() -> None:
    twin = Vanilla(True, True)
    twin.layers = nn.ModuleList()
    random_weights(twin)
    reading, network = built(checkpoint_of(twin.state_dict(), trackml("VanillaFilter", True, True, nb_layer=1)), "filter")
    assert not reading.spec.looks_at_all_rows
    assert_agrees(twin.double(), network, graphs(F))


@pytest.mark.parametrize(("name", "at_once"), [("vanilla, LN", False), ("vanilla, BN", True), ("acorn, BN", True),
                                               ("acorn, LN, stored BN", False), ("net, LN, BN", True)])
def test_says_when_edges_depend_on_each_other(name: str, at_once: bool) -> None:
    reading, _ = built(made(name)[1], "filter")
    assert reading.spec.looks_at_all_rows is at_once
    assert any("all edges of an event at once" in text for text in reading.assumed) is at_once


FACTS = {
    "Tracking-ML": ("vanilla", {}, (None, None, 0.15)),
    "a cut of logits": ("vanilla", {"filter_cut": -2.0}, (None, None, None)),
    "acorn": ("acorn", {}, (("r", "phi", "z"), (1000.0, 3.14, 1000.0), 0.2)),
    "acorn, score_cut": ("acorn", {"score_cut": 0.4}, (("r", "phi", "z"), (1000.0, 3.14, 1000.0), 0.4)),
    "acorn without columns": ("acorn", {"node_features": None, "node_scales": None, "edge_cut": None}, (None, None, None)),
}


@pytest.mark.parametrize("name", FACTS)
def test_facts(name: str) -> None:
    base, changes, expected = FACTS[name]
    facts = built(made(base, **changes)[1], "filter")[0].facts
    assert (facts.features, facts.scales, facts.cut) == expected


def test_acorn_without_a_class_name_is_no_pyramid() -> None:
    twin, checkpoint, _ = made("acorn, LN", model=None, batchnorm=None)
    reading, network = built(checkpoint, "filter")
    assert reading.family == "acorn-filter"
    assert_agrees(twin.double(), network, graphs(F))
    with pytest.raises(CheckpointError, match="'node_features' is acorn's"):
        built(checkpoint, "filter", "pyramid-filter-net")


@pytest.mark.parametrize("name", ["vanilla, LN", "pyramid, LN", "net, LN", "acorn, LN"])
@pytest.mark.parametrize("other", [{"name": "ResAGNN", "model": None}, {"name": None, "model": "MetricLearning"}])
def test_hyper_parameters_of_another_stage_are_not_taken(name: str, other: dict[str, Any]) -> None:
    _, checkpoint, family = made(name, **other)
    with pytest.raises(CheckpointError, match=r"name (ResAGNN|MetricLearning), which is of stage (gnn|embedding)"):
        built(checkpoint, "filter", family)
    assert built(made(name, name="MyFilter", model=None)[1], "filter", family)[0].family == family


@pytest.mark.parametrize(("name", "changes", "path", "kind"), [
    ("acorn, LN", {"hidden_activation": "ReLU"}, "net.2", "SiLU"), ("net, LN", {"hidden_activation": "ReLU"}, "net.2", "GELU"),
    ("gnn4itk, BN", {"hidden_activation": "Tanh"}, "net.2", "SiLU"), ("acorn, LN", {}, f"net.{3 * LAYERS + 1}", "Sigmoid"),
])
def test_torchscript_that_contradicts_its_hyper_parameters_is_refused(
    name: str, changes: dict[str, Any], path: str, kind: str
) -> None:
    twin, checkpoint, family = made(name, **changes)
    modules = {place: type(module).__name__ for place, module in twin.named_modules() if place} | {path: kind}
    shown = checkpoint_of(twin.state_dict(), checkpoint.hyper_parameters, kind="torchscript", modules=modules)
    with pytest.raises(CheckpointError, match=f"'net' is Linear, .*{kind}.* in the file, expected"):
        built(shown, "filter", family)
