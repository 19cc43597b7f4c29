"""ResAGNN and its kin: what other code bases' classes compute, against twins written as they write them."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
import torch
from support.foreign import assert_agrees, assert_exports_agree, built, checkpoint_of, columns, graphs, random_weights
from torch import Tensor, nn

from trkx.errors import CheckpointError
from trkx.models.checkpoints.checkpoint import Checkpoint
from trkx.models.families.attention import ATTENTION_FAMILIES, KNOWN
from trkx.models.families.building import network_of
from trkx.models.families.hyper import CLASSES
from trkx.models.families.table import recognise
from trkx.spec import AttentionSpec

Hyper = dict[str, Any]
INPUTS = 3
BOTH, NO_NORM = ("affine", "plain"), {"layernorm": False}


# --- twins: the constructors and forwards of the other code bases -------------------------------------------------------------

def make_mlp(
    size: int, sizes: list[int], hidden_activation: str = "ReLU", output_activation: str | None = "ReLU",
    layer_norm: bool = False, batch_norm: bool = False, kind: str = "affine",
) -> nn.Sequential:
    """kind "affine": TrackML_Example; "plain": Common_Tracking_Example; "early": its early version, which stores statistics."""

    def norms(width: int) -> list[nn.Module]:
        layer = nn.LayerNorm(width, elementwise_affine=kind != "plain")
        batch = nn.BatchNorm1d(width) if kind == "early" else nn.BatchNorm1d(width, affine=False, track_running_stats=False)
        return [layer] * layer_norm + [batch] * batch_norm

    layers: list[nn.Module] = []
    n_layers, sizes = len(sizes), [size, *sizes]
    for i in range(n_layers - 1):
        layers += [nn.Linear(sizes[i], sizes[i + 1]), *norms(sizes[i + 1]), getattr(nn, hidden_activation)()]
    layers.append(nn.Linear(sizes[-2], sizes[-1]))
    if output_activation is not None:
        layers += [*norms(sizes[-1]), getattr(nn, output_activation)()]
    return nn.Sequential(*layers)


def scatter_add(src: Tensor, index: Tensor, size: int) -> Tensor:
    return torch.zeros(size, src.shape[1], dtype=src.dtype).scatter_add(0, index[:, None].expand_as(src), src)


def scatter_max(src: Tensor, index: Tensor, size: int) -> Tensor:
    found = torch.zeros(size, src.shape[1], dtype=src.dtype)
    for node in set(index.tolist()):
        found[node] = src[index == node].max(dim=0).values
    return found


class _Network(nn.Module):
    """EdgeNetwork and NodeNetwork of agnn.py: a make_mlp under `network`."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__()
        self.network = make_mlp(*args, **kwargs)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.network(x)
        return found


class ResAGNN(nn.Module):
    """TrackML_Example and LRT; `in_out`: exatrkx-iml2020; `shortcut` False: ITk_Example."""

    def __init__(
        self, hp: Hyper, kind: str = "affine", in_out: bool = False, shortcut: bool = True, encoder_activation: str = "ReLU",
    ) -> None:
        super().__init__()
        self.hp, self.in_out, self.shortcut = hp, in_out, shortcut
        act, norm = hp["hidden_activation"], hp["layer_norm" if in_out else "layernorm"]
        nb_node, nb_edge = (hp["nb_layer"],) * 2 if in_out else (hp["nb_node_layer"], hp["nb_edge_layer"])
        hidden = hp["hidden"]
        d = hp["in_channels"] + hidden if shortcut else hidden
        self.input_network = make_mlp(hp["in_channels"], [hidden] * (1 if in_out else nb_node), encoder_activation, act, norm)
        self.edge_network = _Network(2 * d, [d] * nb_edge + [1], act, None, norm)
        self.node_network = _Network((3 if in_out else 2) * d, [hidden] * nb_node, act, None, norm)

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        start, end = edge_index
        input_x, n = x, len(x)
        x = self.input_network(x)
        if self.shortcut:
            x = torch.cat([x, input_x], dim=-1)
        for _ in range(self.hp["n_graph_iters"]):
            x_inital = x
            e = torch.sigmoid(self.edge_network(torch.cat([x[start], x[end]], dim=1)).squeeze(-1))
            mi, mo = scatter_add(e[:, None] * x[start], end, n), scatter_add(e[:, None] * x[end], start, n)
            x = self.node_network(torch.cat([mi, mo, x] if self.in_out else [mi + mo, x], dim=1))
            if self.shortcut:
                x = torch.cat([x, input_x], dim=-1)
            x = x_inital + x
        return self.edge_network(torch.cat([x[start], x[end]], dim=1)).squeeze(-1)


class CheckpointedTrackML(nn.Module):
    """CheckpointedResAGNN of TrackML_Example: [x, messages]."""

    def __init__(self, hp: Hyper, kind: str = "affine") -> None:
        super().__init__()
        self.hp = hp
        act, norm, hidden, d = hp["hidden_activation"], hp["layernorm"], hp["hidden"], hp["in_channels"] + hp["hidden"]
        self.node_encoder = make_mlp(hp["in_channels"], [hidden], output_activation=act, layer_norm=norm)
        self.edge_network = make_mlp(2 * d, [hidden] * hp["nb_edge_layer"] + [1], act, None, norm)
        self.node_network = make_mlp(2 * d, [hidden] * hp["nb_node_layer"], act, None, norm)

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        input_x, n = x, len(x)
        x = torch.cat([self.node_encoder(x), input_x], dim=-1)
        start, end = edge_index
        for _ in range(self.hp["n_graph_iters"]):
            x0 = x
            e = torch.sigmoid(self.edge_network(torch.cat([x[start], x[end]], dim=1)))
            weighted_messages = scatter_add(e * x[start], end, n) + scatter_add(e * x[end], start, n)
            x = self.node_network(torch.cat([x, weighted_messages], dim=1))
            x = torch.cat([x, input_x], dim=-1)
            x = x + x0
        found: Tensor = self.edge_network(torch.cat([x[start], x[end]], dim=1)).squeeze(-1)
        return found


class FlatResAGNN(nn.Module):
    """CheckpointedResAGNN of ITk_Example and Common_Tracking_Example; `vanilla`: VanillaResAGNN."""

    def __init__(self, hp: Hyper, kind: str = "affine", vanilla: bool = False) -> None:
        super().__init__()
        self.hp = hp
        act, norm, hidden, given = hp["hidden_activation"], hp["layernorm"], hp["hidden"], channels(hp)
        d = given + hidden
        self.edge_network = make_mlp(2 * d, [d] * hp["nb_edge_layer"] + [1], act, None, norm, kind=kind)
        self.node_network = make_mlp(2 * d, [hidden] * hp["nb_node_layer"], act, None if vanilla else act, norm, kind=kind)
        self.input_network = make_mlp(given, [hidden] * hp["nb_node_layer"], "ReLU" if vanilla else act, act, norm, kind=kind)

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        start, end = edge_index
        input_x, n = x, len(x)
        x = torch.cat([self.input_network(x), input_x], dim=-1)
        for _ in range(self.hp["n_graph_iters"]):
            x_inital = x
            e = torch.sigmoid(self.edge_network(torch.cat([x[start], x[end]], dim=1)))
            messages = scatter_add(e * x[start], end, n) + scatter_add(e * x[end], start, n)
            x = self.node_network(torch.cat([messages, x], dim=1))
            x = torch.cat([x, input_x], dim=-1)
            x = x_inital + x
        found: Tensor = self.edge_network(torch.cat([x[start], x[end]], dim=1))
        return found


def gathered(how: str, value: Tensor, index: Tensor, n: int) -> list[Tensor]:
    found = {"max": scatter_max, "sum": scatter_add}
    return [found[name](value, index, n) for name in (["max", "sum"] if how == "sum_max" else [how])]


class Directed(nn.Module):
    """DirectedCheckResAGNN of Common_Tracking_Example."""

    def __init__(self, hp: Hyper, kind: str = "affine") -> None:
        super().__init__()
        self.hp = hp
        act, norm, hidden = hp["hidden_activation"], hp["layernorm"], hp["hidden"]
        factor = 5 if hp["aggregation"] in ["sum_max", "mean_max"] else 3
        self.edge_network = make_mlp(2 * hidden, [hidden] * hp["nb_edge_layer"] + [1], act, None, norm, kind=kind)
        self.node_network = make_mlp(factor * hidden, [hidden] * hp["nb_node_layer"], act, None, norm, kind=kind)
        self.input_network = make_mlp(channels(hp), [hidden] * hp["nb_node_layer"], "ReLU", act, norm, kind=kind)

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        start, end = edge_index
        x = self.input_network(x)
        for _ in range(self.hp["n_graph_iters"]):
            e = torch.sigmoid(self.edge_network(torch.cat([x[start], x[end]], dim=1)))
            told = gathered(self.hp["aggregation"], e * x[start], end, len(x))
            told += gathered(self.hp["aggregation"], e * x[end], start, len(x))
            x = x + self.node_network(torch.cat([*told, x], dim=1))
        found: Tensor = self.edge_network(torch.cat([x[start], x[end]], dim=1))
        return found


class OneWay(nn.Module):
    """Messages to `end` only: archived VanillaCheckResAGNN ("check"), CheckpointedPyramid ("pyramid"), its archived version."""

    def __init__(self, hp: Hyper, kind: str = "affine", form: str = "check", residual: bool = True) -> None:
        super().__init__()
        self.hp, self.residual = hp, residual
        act, norm, hidden, batch = hp["hidden_activation"], hp["layernorm"], hp["hidden"], bool(hp.get("batchnorm"))
        end, inner = (act, "ReLU") if form == "pyramid" else (None, act)
        factor = 3 if hp["aggregation"] in ["sum_max", "mean_max"] else 2
        edges = [hidden if form == "check" else hidden // 2**i for i in range(hp["nb_edge_layer"])]
        self.edge_network = make_mlp(2 * hidden, [*edges, 1], act, None, norm, batch, kind)
        self.node_network = make_mlp(factor * hidden, [hidden] * hp["nb_node_layer"], act, end, norm, batch, kind)
        self.node_encoder = make_mlp(channels(hp), [hidden] * hp["nb_node_layer"], inner, end, norm, batch, kind)

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        start, end = edge_index
        x = self.node_encoder(x)
        for _ in range(self.hp["n_graph_iters"]):
            e = torch.sigmoid(self.edge_network(torch.cat([x[start], x[end]], dim=1)))
            messages = gathered(self.hp["aggregation"], e * x[start], end, len(x))
            x_out = self.node_network(torch.cat([*messages, x], dim=1))
            x = x_out + x if self.residual else x_out
        found: Tensor = self.edge_network(torch.cat([x[start], x[end]], dim=1))
        return found


class PyramidITk(nn.Module):
    """CheckpointedPyramid of ITk_Example."""

    def __init__(self, hp: Hyper, kind: str = "affine") -> None:
        super().__init__()
        self.hp = hp
        act, norm, hidden, half = hp["hidden_activation"], hp["layernorm"], hp["hidden"], int(hp["hidden"] / 2)
        self.node_encoder = make_mlp(hp["in_channels"], [hidden, half], output_activation=act, layer_norm=norm)
        self.edge_network = make_mlp(hidden, [hidden, half, 1], act, None, norm)
        self.node_network = make_mlp(hidden, [hidden, half], act, act, norm)

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        start, end = edge_index
        x = self.node_encoder(x)
        for _ in range(self.hp["n_graph_iters"]):
            e = torch.sigmoid(self.edge_network(torch.cat([x[start], x[end]], dim=1)))
            weighted_messages = scatter_add(e * x[start], end, len(x)) + scatter_add(e * x[end], start, len(x))
            x = self.node_network(torch.cat([x, weighted_messages], dim=1))
        found: Tensor = self.edge_network(torch.cat([x[start], x[end]], dim=1)).squeeze(-1)
        return found


def channels(hp: Mapping[str, Any]) -> int:
    return int(hp["spatial_channels"]) + int(hp["cell_channels"])


# --- cases --------------------------------------------------------------------------------------------------------------------

@dataclass(frozen=True)
class Case:
    """A twin and its hyper-parameters. kinds: versions of make_mlp that the class was built with."""

    family: str
    model: str
    twin: Callable[..., nn.Module]
    options: Mapping[str, Any] = field(default_factory=dict)
    kinds: tuple[str, ...] = ("affine",)
    changes: Mapping[str, Any] = field(default_factory=dict)
    iml: bool = False

    def hyper(self, **changes: Any) -> Hyper:
        one = {"in_channels": INPUTS} if self.kinds == ("affine",) else {"spatial_channels": 2, "cell_channels": INPUTS - 2}
        deep = {"layer_norm": True, "nb_layer": 2} if self.iml else {"layernorm": True, "nb_node_layer": 3, "nb_edge_layer": 2}
        common = {"name": self.model, "hidden": 8, "n_graph_iters": 2, "hidden_activation": "Tanh"}
        return {**common, **one, **deep, **self.changes, **changes}

    def made(self, hyper: Hyper, kind: str | None = None, **options: Any) -> nn.Module:
        return random_weights(self.twin(hyper, kind or self.kinds[0], **{**self.options, **options}))


SUM, MAX, SUM_MAX = ({"aggregation": name} for name in ("sum", "max", "sum_max"))
ARCHIVED = {"form": "archived"}
CASES = {
    "resagnn": Case("resagnn", "ResAGNN", ResAGNN),
    "in out": Case("resagnn-in-out", "ResAGNN", ResAGNN, {"in_out": True}, iml=True),
    "itk": Case("resagnn-itk", "ResAGNN", ResAGNN, {"shortcut": False}),
    "trackml": Case("checkpointed-resagnn-trackml", "CheckpointedResAGNN", CheckpointedTrackML),
    "checkpointed": Case("checkpointed-resagnn", "CheckpointedResAGNN", FlatResAGNN, kinds=BOTH),
    "vanilla": Case("vanilla-resagnn", "VanillaResAGNN", FlatResAGNN, {"vanilla": True}, BOTH),
    "check sum": Case("vanilla-check-resagnn", "VanillaCheckResAGNN", OneWay, {}, BOTH, SUM),
    "check max": Case("vanilla-check-resagnn", "VanillaCheckResAGNN", OneWay, {}, BOTH, MAX),
    "check sum_max": Case("vanilla-check-resagnn", "VanillaCheckResAGNN", OneWay, {}, BOTH, SUM_MAX),
    "directed sum": Case("directed-check-resagnn", "DirectedCheckResAGNN", Directed, {}, BOTH, SUM),
    "directed max": Case("directed-check-resagnn", "DirectedCheckResAGNN", Directed, {}, BOTH, MAX),
    "directed sum_max": Case("directed-check-resagnn", "DirectedCheckResAGNN", Directed, {}, BOTH, SUM_MAX),
    "pyramid itk": Case("checkpointed-pyramid-itk", "CheckpointedPyramid", PyramidITk),
    "pyramid": Case("checkpointed-pyramid", "CheckpointedPyramid", OneWay, {"form": "pyramid"}, ("affine",), {
        **SUM_MAX, "spatial_channels": 2, "cell_channels": 1}),
    "pyramid archived": Case("checkpointed-pyramid-archived", "CheckpointedPyramid", OneWay, ARCHIVED, ("early",), SUM),
    "pyramid batch norm": Case("checkpointed-pyramid-archived", "CheckpointedPyramid", OneWay, ARCHIVED, ("early", "plain"), {
        **SUM, "batchnorm": True}),
}


def opened(case: Case, hyper: Hyper, kind: str | None = None, **changes: Any) -> tuple[nn.Module, Checkpoint]:
    twin = case.made(hyper, kind)
    return twin.double(), checkpoint_of({key: value.float() for key, value in twin.state_dict().items()}, hyper, **changes)


def runnable(hyper: Hyper, kind: str) -> dict[str, tuple[Tensor, Tensor]]:
    """Return the graphs; torch refuses a batch norm of the event's own statistics on fewer than two rows."""
    single = kind == "plain" and hyper.get("batchnorm")
    return {name: value for name, value in graphs(INPUTS).items() if not (single and name in ("no edges", "one edge"))}


# --- agreement ----------------------------------------------------------------------------------------------------------------

def test_every_row_has_a_case() -> None:
    assert {case.family for case in CASES.values()} == {family.name for family in ATTENTION_FAMILIES}
    assert set(CLASSES["gnn"]) >= KNOWN


@pytest.mark.parametrize(("name", "kind"), [(name, kind) for name, case in CASES.items() for kind in case.kinds])
def test_networks_agree_with_the_classes(name: str, kind: str) -> None:
    case = CASES[name]
    hyper = case.hyper()
    twin, checkpoint = opened(case, hyper, kind)
    reading, network = built(checkpoint, "gnn", case.family)
    assert (reading.family, reading.inputs, reading.certain) == (case.family, INPUTS, True)
    assert set(reading.weights.values()) == {key for key in checkpoint.shapes if not key.endswith("num_batches_tracked")}
    assert_agrees(twin, network, runnable(hyper, kind))


@pytest.mark.parametrize("name", list(CASES))
@pytest.mark.parametrize("changes", [
    {**NO_NORM, "layer_norm": False, "hidden_activation": "ReLU", "n_graph_iters": 0, "batchnorm": False},
    {"hidden_activation": "SiLU", "nb_node_layer": 1, "nb_edge_layer": 1, "n_graph_iters": 3},
    {"hidden_activation": "GELU", "nb_node_layer": 2, "nb_edge_layer": 3, "hidden": 12},
])
def test_other_sizes_agree(name: str, changes: Hyper) -> None:
    case = CASES[name]
    own = {key: value for key, value in changes.items() if not (case.iml and key.startswith("nb_")) or key == "nb_layer"}
    hyper = case.hyper(**own)
    twin, checkpoint = opened(case, hyper)
    assert_agrees(twin, built(checkpoint, "gnn", case.family)[1], runnable(hyper, case.kinds[0]))


@pytest.mark.parametrize("name", ["resagnn", "directed sum_max", "pyramid itk"])
def test_exports_agree(name: str) -> None:
    case = CASES[name]
    twin, checkpoint = opened(case, case.hyper())
    assert_exports_agree("gnn", twin, built(checkpoint, "gnn")[1], graphs(INPUTS))


# --- what is recognised, what is left open, what is refused ---------------------------------------------------------------------

UNIQUE = ["resagnn", "in out", "itk", "trackml", "checkpointed", "vanilla", "check sum", "directed sum", "pyramid itk", "pyramid",
          "pyramid archived", "pyramid batch norm"]


@pytest.mark.parametrize("name", UNIQUE)
def test_keys_with_weights_in_their_norms_decide_without_a_name(name: str) -> None:
    case = CASES[name]
    hyper = case.hyper()
    del hyper["name"]
    reading = recognise(opened(case, hyper)[1], "gnn")
    assert (reading.family, reading.certain) == (case.family, False)
    assert recognise(opened(case, {**hyper, "name": case.model})[1], "gnn").family == case.family
    other = recognise(opened(case, {**hyper, "name": "MyNetwork"})[1], "gnn")
    assert (other.family, other.certain) == (case.family, False)
    assert "MyNetwork, which trkx does not know" in other.assumed[-1]


ALIKE = [
    ("checkpointed", "vanilla", NO_NORM), ("checkpointed", "vanilla", {}), ("pyramid", "pyramid archived", NO_NORM),
    ("pyramid", "pyramid archived", {"layernorm": True}), ("pyramid", "check sum_max", {"nb_edge_layer": 1, **NO_NORM}),
]


@pytest.mark.parametrize(("first", "second", "changes"), ALIKE)
def test_look_alikes_are_left_to_the_user(first: str, second: str, changes: Hyper) -> None:
    names = (CASES[first].family, CASES[second].family)
    hyper = CASES[first].hyper(**changes)
    del hyper["name"]
    twins = [CASES[name].made(hyper, "plain").double() for name in (first, second)]
    twins[1].load_state_dict(twins[0].state_dict())  # the same keys and shapes
    checkpoint = checkpoint_of({key: value.float() for key, value in twins[0].state_dict().items()}, hyper)
    with pytest.raises(CheckpointError, match=r"choose") as caught:
        recognise(checkpoint, "gnn")
    assert all(f"--gnn-family {name}:" in str(caught.value) for name in names)
    cases = runnable(hyper, "plain")
    for place in (0, 1):
        network = built(checkpoint, "gnn", names[place])[1]
        assert_agrees(twins[place], network, cases)
        with pytest.raises(AssertionError):
            assert_agrees(twins[1 - place], network, cases, 1e-3)


@pytest.mark.parametrize(("first", "second"), [("checkpointed", "vanilla"), ("vanilla", "checkpointed")])
@pytest.mark.parametrize("where", ["name", "model", "class"])
def test_a_class_name_decides_between_look_alikes(first: str, second: str, where: str) -> None:
    case = CASES[first]
    hyper = case.hyper()
    name = hyper.pop("name")
    hyper |= {} if where == "class" else {where: name}
    checkpoint = opened(case, hyper, "plain", class_name=name if where == "class" else "")[1]
    reading = recognise(checkpoint, "gnn")
    assert (reading.family, reading.certain) == (case.family, True)
    with pytest.raises(CheckpointError, match=f"says that its class is {name}"):
        recognise(checkpoint, "gnn", CASES[second].family)


def test_a_name_that_two_versions_share_decides_nothing() -> None:
    checkpoint = opened(CASES["pyramid"], CASES["pyramid"].hyper(**NO_NORM))[1]
    with pytest.raises(CheckpointError, match=r"(?s)checkpointed-pyramid:.*checkpointed-pyramid-archived:"):
        recognise(checkpoint, "gnn")


def test_first_version_of_vanilla_check_is_read_by_its_shapes() -> None:
    case = CASES["vanilla"]
    twin, checkpoint = opened(case, case.hyper(name="VanillaCheckResAGNN"))
    reading, network = built(checkpoint, "gnn")
    assert (reading.family, reading.certain) == ("vanilla-resagnn", True)
    assert_agrees(twin, network, graphs(INPUTS))


def test_activation_that_a_class_does_not_hand_on_is_said() -> None:
    case = CASES["resagnn"]
    reading = recognise(opened(case, case.hyper())[1], "gnn")
    words = "Hidden layers of input_network are ReLU, as in ResAGNN of TrackML_Example and the LRT chain of ctd2022, not Tanh."
    assert words in reading.assumed
    for same in ((case, case.hyper(hidden_activation="ReLU")), (CASES["checkpointed"], CASES["checkpointed"].hyper())):
        assert not any("are ReLU" in line for line in recognise(opened(*same)[1], "gnn").assumed)


def test_facts_of_the_pipeline() -> None:
    case = CASES["resagnn"]
    facts = recognise(opened(case, case.hyper(edge_cut=0.7, directed=True))[1], "gnn").facts
    assert (facts.cut, facts.undirected) == (0.7, False)
    facts = recognise(opened(case, case.hyper())[1], "gnn").facts
    assert (facts.cut, facts.undirected) == (None, None)
    for cut in (0, 1, 1.0, -2.0, 3.5, float("nan")):
        reading = recognise(opened(case, case.hyper(edge_cut=cut))[1], "gnn")
        assert reading.facts.cut is None
        assert f"edge_cut {cut:g} is no score between 0 and 1, and is left aside." in reading.assumed


@pytest.mark.parametrize("name", list(CASES))
@pytest.mark.parametrize("directed", [None, False, True])
def test_only_messages_of_one_direction_need_both_edges(name: str, directed: bool | None) -> None:
    case = CASES[name]
    reading = recognise(opened(case, case.hyper(**({} if directed is None else {"directed": directed})))[1], "gnn", case.family)
    one_way = case.twin is OneWay
    assert reading.facts.undirected is (False if directed else True if one_way else None)
    once = any("given once" in line for line in reading.assumed)
    assert once == (not directed and not one_way and case.family != "resagnn-in-out")
    assert any("in both directions, as" in line for line in reading.assumed) == (one_way and directed is None)


@pytest.mark.parametrize("name", ["check sum_max", "pyramid", "resagnn"])
def test_undirected_runs_edges_as_the_training_base_gave_them(name: str) -> None:
    case = CASES[name]
    twin, checkpoint = opened(case, case.hyper())
    reading = recognise(checkpoint, "gnn", case.family)
    assert isinstance(reading.spec, AttentionSpec) and not reading.spec.undirected
    network = network_of(replace(reading, spec=replace(reading.spec, undirected=True)), checkpoint, columns(INPUTS))

    def mean(x: Tensor, edges: Tensor) -> Tensor:
        logits: Tensor = twin(x, torch.cat([edges, edges.flip(0)], dim=1)).reshape(2, -1).mean(dim=0)
        return logits

    assert_agrees(mean, network, graphs(INPUTS))
    if name == "pyramid":
        assert_exports_agree("gnn", mean, network, graphs(INPUTS))
    with pytest.raises(AssertionError):
        assert_agrees(twin, network, graphs(INPUTS), 1e-3)


BAD = {
    "no iterations": ("resagnn", {"n_graph_iters": None}, "hyper-parameter 'n_graph_iters' is needed"),
    "negative iterations": ("resagnn", {"n_graph_iters": -1}, "'n_graph_iters' is -1"),
    "no activation": ("resagnn", {"hidden_activation": None}, "hyper-parameter 'hidden_activation' is needed"),
    "odd activation": ("resagnn", {"hidden_activation": "Softshrink"}, "activation 'Softshrink' is none of"),
    "no aggregation": ("check sum", {"aggregation": None}, "hyper-parameter 'aggregation' is needed"),
    "odd aggregation": ("check sum", {"aggregation": "mean_max"}, "aggregation 'mean_max' is none that VanillaCheckResAGNN"),
    "other aggregation": ("directed sum", {"aggregation": "sum_max"}, "node_network takes 24 columns, that of Directed.* 40"),
    "in_channels": ("resagnn", {"in_channels": 4}, "in_channels 4, but the weights take 3"),
    "channels": ("checkpointed", {"cell_channels": 9}, r"spatial_channels \+ cell_channels 11, but the weights take 3"),
    "hidden": ("resagnn", {"hidden": 16}, "'hidden' is 16, but the weights have 8"),
    "depth": ("resagnn", {"nb_edge_layer": 3}, "'nb_edge_layer' is 3, but the weights have 2"),
    "one depth": ("in out", {"nb_layer": 3}, "'nb_layer' is 3, but the weights have 2"),
    "norm": ("resagnn", {"layernorm": False}, "also has edge_network.network.1"),
    "odd norm": ("resagnn", {"layernorm": 1}, "'layernorm' is 1, expected true or false"),
    "batch norm": ("pyramid archived", {"batchnorm": True}, "lacks edge_network.2"),
}


@pytest.mark.parametrize("name", list(BAD))
def test_hyper_parameters_that_are_missing_or_wrong_are_named(name: str) -> None:
    which, changes, words = BAD[name]
    case = CASES[which]
    checkpoint = checkpoint_of(case.made(case.hyper()).state_dict(), case.hyper(**changes))
    for family in (None, case.family):
        with pytest.raises(CheckpointError, match=words):
            recognise(checkpoint, "gnn", family)


@pytest.mark.parametrize("name", list(CASES))
@pytest.mark.parametrize("key", ["output_network.0.weight", "edge_network.9.weight", "scale"])
def test_a_key_that_the_class_has_not_is_refused(name: str, key: str) -> None:
    case = CASES[name]
    twin = case.made(case.hyper())
    checkpoint = checkpoint_of({**twin.state_dict(), key: torch.ones(1)}, case.hyper())
    with pytest.raises(CheckpointError, match=f"also has {key}"):
        recognise(checkpoint, "gnn", case.family)


@pytest.mark.parametrize("name", list(CASES))
def test_a_missing_key_is_refused(name: str) -> None:
    case = CASES[name]
    state = case.made(case.hyper()).state_dict()
    for key in list(state):
        if not key.endswith("num_batches_tracked"):
            rest = {other: value for other, value in state.items() if other != key}
            with pytest.raises(CheckpointError):
                recognise(checkpoint_of(rest, case.hyper()), "gnn")


# --- proof that agreement is worth something ------------------------------------------------------------------------------------

class Segment(ResAGNN):
    """GNNSegmentClassifier of 2018: hidden layers of the edge network as wide as `hidden`."""

    def __init__(self, hp: Hyper, kind: str = "affine") -> None:
        super().__init__(hp, in_out=True)
        d = hp["hidden"] + hp["in_channels"]
        self.edge_network = _Network(2 * d, [hp["hidden"]] * 2 + [1], hp["hidden_activation"], None, True)


class OnlyMessages(Directed):
    """TestCheckResAGNN: a node does not read itself."""

    def __init__(self, hp: Hyper, kind: str = "affine") -> None:
        super().__init__(hp)
        self.node_network = make_mlp(hp["hidden"], [hp["hidden"]] * hp["nb_node_layer"], hp["hidden_activation"], None, True)


class Plain(Directed):
    """VanillaAGNN: one sum of messages, no residual."""

    def __init__(self, hp: Hyper, kind: str = "affine") -> None:
        super().__init__(hp)
        self.node_network = make_mlp(2 * hp["hidden"], [hp["hidden"]] * hp["nb_node_layer"], hp["hidden_activation"], None, True)


@pytest.mark.parametrize(("like", "twin", "words"), [
    ("in out", Segment, "edge_network.network has layers of 8, 8, 1 columns"),
    ("directed sum", OnlyMessages, "node_network takes 8 columns"),
    ("directed sum", Plain, "node_network takes 16 columns"),
])
def test_classes_that_are_none_of_ours_are_refused(like: str, twin: Callable[..., nn.Module], words: str) -> None:
    hyper = CASES[like].hyper(name="Other")
    with pytest.raises(CheckpointError, match=words):
        recognise(checkpoint_of(random_weights(twin(hyper)).state_dict(), hyper), "gnn")


def _other_order(twin: nn.Module) -> nn.Module:
    """Return a twin whose node network reads [messages, x] with weights for [x, messages]."""
    wrong = copy.deepcopy(twin)
    weight = wrong.node_network[0].weight
    weight.data = weight.data.roll(weight.shape[1] // 2, dims=1)
    return wrong


def _same_weights(twin: nn.Module, wrong: nn.Module) -> nn.Module:
    wrong = wrong.double().eval()
    wrong.load_state_dict(twin.state_dict())
    return wrong


WRONG: dict[str, tuple[str, Callable[[nn.Module, Hyper], nn.Module]]] = {
    "order of blocks": ("trackml", lambda twin, hyper: _other_order(twin)),
    "residual": ("check sum", lambda twin, hyper: _same_weights(twin, OneWay(hyper, residual=False))),
    "aggregation": ("check sum", lambda twin, hyper: _same_weights(twin, OneWay({**hyper, **MAX}))),
    "iterations": ("resagnn", lambda twin, hyper: _same_weights(twin, ResAGNN({**hyper, "n_graph_iters": 3}))),
    "activation of the encoder": ("resagnn", lambda twin, hyper: _same_weights(twin, ResAGNN(hyper, encoder_activation="Tanh"))),
    "activation": ("resagnn", lambda twin, hyper: _same_weights(twin, ResAGNN({**hyper, "hidden_activation": "SiLU"}))),
}


@pytest.mark.parametrize("name", list(WRONG))
def test_a_wrong_forward_would_be_seen(name: str) -> None:
    case = CASES[WRONG[name][0]]
    hyper = case.hyper()
    twin, checkpoint = opened(case, hyper)
    network = built(checkpoint, "gnn")[1]
    with pytest.raises(AssertionError):
        assert_agrees(WRONG[name][1](twin, hyper), network, graphs(INPUTS), 1e-3)


# --- files that name their layers (TorchScript) ---------------------------------------------------------------------------------

def layers_of(twin: nn.Module) -> dict[str, str]:
    return {name: type(module).__name__ for name, module in twin.named_modules() if name and not list(module.children())}


@pytest.mark.parametrize("name", ["checkpointed", "vanilla", "pyramid itk", "pyramid batch norm"])
def test_named_layers_decide_where_keys_do_not(name: str) -> None:
    case = CASES[name]
    twin = case.made(case.hyper(), case.kinds[-1])
    hyper = {"n_graph_iters": 2, **({"aggregation": "sum"} if "aggregation" in case.changes else {})}
    checkpoint = checkpoint_of(twin.state_dict(), hyper, kind="torchscript", modules=layers_of(twin))
    reading, network = built(checkpoint, "gnn")
    assert (reading.family, reading.certain) == (case.family, False)
    assert isinstance(reading.spec, AttentionSpec)
    assert reading.spec.edge_network.activation == "tanh"
    assert_agrees(twin.double(), network, runnable(case.hyper(), case.kinds[-1]), 1e-6)


def test_norms_that_nothing_tells_apart_are_left_open() -> None:
    case = CASES["pyramid batch norm"]
    hyper = case.hyper(layernorm=None, batchnorm=None)
    twin = OneWay({**hyper, "layernorm": True}, "plain", "archived")
    with pytest.raises(CheckpointError, match="fit several networks"):
        recognise(checkpoint_of(twin.state_dict(), hyper), "gnn")
