"""Interaction networks of Tracking-ML-Exa.TrkX: each class against a twin written as that code base writes it."""

from __future__ import annotations

import copy
import itertools
import zlib
from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from support.foreign import assert_agrees, assert_exports_agree, built, checkpoint_of, graphs, random_weights
from torch import Tensor, nn

from trkx.errors import CheckpointError
from trkx.models.families.interaction import INTERACTION_FAMILIES
from trkx.models.families.reading import Mismatch

HYPER: dict[str, Any] = {
    "spatial_channels": 3, "cell_channels": 1, "hidden": 6, "n_graph_iters": 2, "nb_node_layer": 2, "nb_edge_layer": 3,
    "layernorm": True, "hidden_activation": "SiLU", "aggregation": "sum_max", "edge_cut": 0.5, "regime": [["pid"]],
}
FLAT: dict[str, Any] = {key: value for key, value in HYPER.items() if not key.endswith("_channels") and key != "aggregation"}
FLAT["in_channels"] = 4
FEATURES = 4


@pytest.fixture(autouse=True)
def _seeded(request: pytest.FixtureRequest) -> None:
    torch.manual_seed(zlib.crc32(request.node.nodeid.encode()))


def make_mlp(
    norm: str, input_size: int, sizes: list[int], hidden_activation: str = "ReLU", output_activation: str | None = "ReLU",
    layer_norm: bool = False, batch_norm: bool = False,
) -> nn.Sequential:
    """`norm`: which version. "affine" and "early" have weights in layer norms; "early" and "plain" can have batch norms."""

    def norms(width: int) -> list[nn.Module]:
        layers: list[nn.Module] = []
        if layer_norm:
            layers.append(nn.LayerNorm(width, elementwise_affine=norm != "plain"))
        if batch_norm:
            stored = norm == "early"
            layers.append(nn.BatchNorm1d(width, track_running_stats=stored, affine=stored))
        return layers

    layers: list[nn.Module] = []
    widths = [input_size, *sizes]
    for taken, width in itertools.pairwise(widths[:-1]):
        layers += [nn.Linear(taken, width), *norms(width), getattr(nn, hidden_activation)()]
    layers.append(nn.Linear(widths[-2], widths[-1]))
    if output_activation is not None:
        layers += [*norms(widths[-1]), getattr(nn, output_activation)()]
    return nn.Sequential(*layers)


def scatter(kind: str, values: Tensor, index: Tensor, size: int) -> Tensor:
    """torch_scatter's sum, mean and max: an empty place has 0."""
    where = index[:, None].expand(-1, values.shape[1])
    if kind == "max":
        return torch.zeros(size, values.shape[1], dtype=values.dtype).scatter_reduce(0, where, values, "amax", include_self=False)
    total = torch.zeros(size, values.shape[1], dtype=values.dtype).scatter_add(0, where, values)
    if kind == "mean":
        return total / torch.bincount(index, minlength=size).clamp(min=1).to(values.dtype)[:, None]
    return total


def norms_of(hp: Mapping[str, Any]) -> dict[str, Any]:
    return {"hidden_activation": hp["hidden_activation"], "layer_norm": hp["layernorm"]}


PARTS = {"sum": ["sum"], "max": ["max"], "mean": ["mean"], "sum_max": ["max", "sum"], "mean_max": ["max", "mean"],
         "mean_sum": ["mean", "sum"]}


class InteractionGNN(nn.Module):
    """TrackML_Example ("together") and Common_Tracking_Example ("nodes")."""

    def __init__(self, hp: Mapping[str, Any], norm: str, new_x: bool) -> None:
        super().__init__()
        self.hp, self.new_x = hp, new_x
        h, nodes, edges = hp["hidden"], hp["nb_node_layer"], hp["nb_edge_layer"]
        factor = 1 + len(PARTS[hp["aggregation"]])
        common = norms_of(hp) | {"batch_norm": hp.get("batchnorm", False)}
        inner = {**common, "output_activation": hp.get("output_activation")}
        self.node_encoder = make_mlp(norm, hp["spatial_channels"] + hp["cell_channels"], [h] * nodes, **inner)
        self.edge_encoder = make_mlp(norm, 2 * h, [h] * edges, **inner)
        self.edge_network = make_mlp(norm, 3 * h, [h] * edges, **inner)
        self.node_network = make_mlp(norm, factor * h, [h] * nodes, **inner)
        self.output_edge_classifier = make_mlp(norm, 3 * h, [h] * edges + [1], output_activation=None, **common)

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        start, end = edge_index
        x = self.node_encoder(x)
        e = self.edge_encoder(torch.cat([x[start], x[end]], dim=1))
        for _ in range(self.hp["n_graph_iters"]):
            messages = [scatter(kind, e, end, x.shape[0]) for kind in PARTS[self.hp["aggregation"]]]
            x_out = self.node_network(torch.cat([x, *messages], dim=-1)) + x
            y = x_out if self.new_x else x
            e = self.edge_network(torch.cat([y[start], y[end], e], dim=-1)) + e
            x = x_out
        return self.output_edge_classifier(torch.cat([x[start], x[end], e], dim=1)).squeeze(-1)


class MultiInteractionGNN(nn.Module):
    """Common_Tracking_Example, networks of their own for each iteration."""

    def __init__(self, hp: Mapping[str, Any], norm: str, new_x: bool = False) -> None:
        super().__init__()
        self.hp, self.new_x = hp, new_x
        h, nodes, edges, steps = hp["hidden"], hp["nb_node_layer"], hp["nb_edge_layer"], hp["n_graph_iters"]
        factor = 1 + len(PARTS[hp["aggregation"]])
        common = norms_of(hp)
        inner = {**common, "output_activation": None}
        inputs = hp["spatial_channels"] + hp["cell_channels"]
        self.node_encoder = make_mlp(norm, inputs, [h], output_activation=hp["hidden_activation"], **common)
        self.edge_encoder = make_mlp(norm, 2 * h, [h] * edges, **inner)
        self.edge_networks = nn.ModuleList([make_mlp(norm, 3 * h, [h] * edges, **inner) for _ in range(steps)])
        self.node_networks = nn.ModuleList([make_mlp(norm, factor * h, [h] * nodes, **inner) for _ in range(steps)])
        self.output_edge_classifier = make_mlp(norm, 3 * h, [h] * edges + [1], **inner)

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        start, end = edge_index
        x = self.node_encoder(x)
        e = self.edge_encoder(torch.cat([x[start], x[end]], dim=1))
        for node_network, edge_network in zip(self.node_networks, self.edge_networks, strict=True):
            messages = [scatter(kind, e, end, x.shape[0]) for kind in PARTS[self.hp["aggregation"]]]
            x_out = node_network(torch.cat([x, *messages], dim=-1)) + x
            y = x_out if self.new_x else x
            e = edge_network(torch.cat([y[start], y[end], e], dim=-1)) + e
            x = x_out
        return self.output_edge_classifier(torch.cat([x[start], x[end], e], dim=1)).squeeze(-1)


class OldInteractionGNN(nn.Module):
    """GNNRobustness and Architectures; `squash` and `swapped` are for wrong twins."""

    def __init__(self, hp: Mapping[str, Any], norm: str, squash: bool = True, swapped: bool = False) -> None:
        super().__init__()
        self.hp, self.squash, self.swapped = hp, squash, swapped
        h, nodes, edges = hp["hidden"], hp["nb_node_layer"], hp["nb_edge_layer"]
        common = norms_of(hp)
        ends = {"output_activation": hp["hidden_activation"], "layer_norm": hp["layernorm"]}
        self.node_encoder = make_mlp(norm, hp["in_channels"], [h], **ends)
        self.edge_encoder = make_mlp(norm, 2 * h, [h] * edges, output_activation=None, **common)
        self.edge_network = make_mlp(norm, 4 * h, [h] * edges, output_activation=None, **common)
        self.node_network = make_mlp(norm, 4 * h, [h] * nodes, output_activation=None, **common)
        self.output_edge_classifier = make_mlp(norm, 3 * h, [h, 1], output_activation=None, **common)

    def states(self, x: Tensor, edge_index: Tensor) -> list[Tensor]:
        start, end = edge_index
        x = self.node_encoder(x)
        e = self.edge_encoder(torch.cat([x[start], x[end]], dim=1))
        input_x, input_e = x, e
        outputs = []
        for _ in range(self.hp["n_graph_iters"]):
            x = torch.cat([x, input_x], dim=-1)
            e = torch.cat([input_e, e] if self.swapped else [e, input_e], dim=-1)
            messages = scatter("sum", e, end, x.shape[0]) + scatter("sum", e, start, x.shape[0])
            x = self.node_network(torch.cat([x, messages], dim=-1))
            e = self.edge_network(torch.cat([x[start], x[end], e], dim=-1))
            e = torch.sigmoid(e) if self.squash else e
            outputs.append(self.output_edge_classifier(torch.cat([x[start], x[end], e], dim=1)).squeeze(-1))
        return outputs

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        return self.states(x, edge_index)[-1]


class InteractionMultistepGNN(OldInteractionGNN):
    """ITk_Example and Common_Tracking_Example: half the width in states, activations at the ends."""

    def __init__(self, hp: Mapping[str, Any], norm: str) -> None:
        nn.Module.__init__(self)
        self.hp, self.squash, self.swapped = hp, True, False
        h, half = hp["hidden"], int(hp["hidden"] / 2)
        ends = {"output_activation": hp["hidden_activation"], "layer_norm": hp["layernorm"]}
        inner = {**ends, "hidden_activation": hp["hidden_activation"]}
        self.node_encoder = make_mlp(norm, hp["in_channels"], [h, half], **ends)
        self.edge_encoder = make_mlp(norm, h, [h, half], **inner)
        self.edge_network = make_mlp(norm, 2 * h, [h, half], **inner)
        self.node_network = make_mlp(norm, 2 * h, [h, half], **inner)
        self.output_edge_classifier = make_mlp(norm, int(1.5 * h), [h, half, 1], **{**inner, "output_activation": None})


def trackml(norm: str = "affine", **changes: Any) -> tuple[nn.Module, dict[str, Any]]:
    hp = {**HYPER, **changes}
    return random_weights(InteractionGNN(hp, norm, new_x=False)), hp


def common(norm: str = "plain", **changes: Any) -> tuple[nn.Module, dict[str, Any]]:
    hp = {**HYPER, **changes}
    return random_weights(InteractionGNN(hp, norm, new_x=True)), hp


def multi(norm: str = "plain", **changes: Any) -> tuple[nn.Module, dict[str, Any]]:
    hp = {**HYPER, **changes}
    return random_weights(MultiInteractionGNN(hp, norm)), hp


def old(**changes: Any) -> tuple[nn.Module, dict[str, Any]]:
    hp = {**FLAT, **changes}
    return random_weights(OldInteractionGNN(hp, "affine")), hp


def multistep(norm: str = "affine", **changes: Any) -> tuple[nn.Module, dict[str, Any]]:
    hp = {**FLAT, **changes}
    return random_weights(InteractionMultistepGNN(hp, norm)), hp


Made = Callable[[], tuple[nn.Module, dict[str, Any]]]

# name, twin and hyper-parameters, --family or None where the file must say it itself, the row that reads it
CASES: list[tuple[str, Made, str | None, str]] = [
    ("trackml sum_max", trackml, "interaction-trackml", "interaction-trackml"),
    ("trackml sum", lambda: trackml(aggregation="sum"), "interaction-trackml", "interaction-trackml"),
    ("trackml max, no norm, Tanh", lambda: trackml(aggregation="max", layernorm=False, hidden_activation="Tanh"),
     "interaction-trackml", "interaction-trackml"),
    ("trackml, one layer", lambda: trackml(nb_node_layer=1, nb_edge_layer=1), "interaction-trackml", "interaction-trackml"),
    *[(f"common {kind}", lambda kind=kind: common(aggregation=kind), None, "interaction-common") for kind in PARTS],
    ("common, early", lambda: common("early"), "interaction-common", "interaction-common"),
    ("common, early, says batchnorm", lambda: common("early", batchnorm=False), None, "interaction-common"),
    ("common, early, means", lambda: common("early", aggregation="mean_sum"), None, "interaction-common"),
    ("common, early, batch norm", lambda: common("early", batchnorm=True), None, "interaction-common"),
    ("common, event norm", lambda: common(batchnorm=True), None, "interaction-common"),
    ("common, event norm alone", lambda: common(batchnorm=True, layernorm=False), None, "interaction-common"),
    ("common, output", lambda: common(output_activation="Tanh", batchnorm=False), None, "interaction-common"),
    ("common, output, event norm", lambda: common(output_activation="Tanh", batchnorm=True, aggregation="mean_max"), None,
     "interaction-common"),
    ("common, output, early", lambda: common("early", output_activation="ReLU"), None, "interaction-common"),
    ("common, no norm, means", lambda: common(layernorm=False, aggregation="mean"), None, "interaction-common"),
    ("common, early, batch norm, one layer",
     lambda: common("early", batchnorm=True, nb_node_layer=1, nb_edge_layer=1, aggregation="sum"), None, "interaction-common"),
    ("common, one layer", lambda: common(nb_node_layer=1, nb_edge_layer=1), None, "interaction-common"),
    ("multi", multi, None, "interaction-multi"),
    ("multi, early", lambda: multi("early", aggregation="max"), None, "interaction-multi"),
    ("multi, no norm, sum", lambda: multi(layernorm=False, aggregation="sum"), None, "interaction-multi"),
    ("old", old, None, "interaction-old"),
    ("old, no norm", lambda: old(layernorm=False, hidden_activation="ReLU"), None, "interaction-old"),
    ("multistep", multistep, None, "interaction-multistep"),
    ("multistep, plain norm", lambda: multistep("plain"), None, "interaction-multistep"),
    ("multistep, no norm", lambda: multistep(layernorm=False), None, "interaction-multistep"),
]
EXPORTED = ("trackml sum_max", "common, output, event norm", "common, early, batch norm, one layer", "multi, no norm, sum", "old")


def cases_for(hp: Mapping[str, Any]) -> dict[str, tuple[Tensor, Tensor]]:
    """torch's batch norm refuses a single row when it takes statistics from the event."""
    found = graphs(FEATURES)
    if hp.get("batchnorm"):
        found.pop("one edge")
    return found


@pytest.mark.parametrize(("name", "made", "family", "row"), CASES, ids=[case[0] for case in CASES])
def test_agrees_with_a_twin(name: str, made: Made, family: str | None, row: str) -> None:
    twin, hp = made()
    reading, network = built(checkpoint_of(twin.state_dict(), hp), "gnn", family)
    assert (reading.family, reading.stage, reading.inputs) == (row, "gnn", FEATURES)
    assert set(reading.weights.values()) == {key for key in twin.state_dict() if not key.endswith("num_batches_tracked")}
    assert not reading.spec.undirected
    assert_agrees(copy.deepcopy(twin).double(), network, cases_for(hp))


@pytest.mark.parametrize(("name", "made", "family", "row"), [case for case in CASES if case[0] in EXPORTED], ids=EXPORTED)
def test_exports_agree(name: str, made: Made, family: str | None, row: str) -> None:
    twin, hp = made()
    _, network = built(checkpoint_of(twin.state_dict(), hp), "gnn", family)
    tolerance = 1e-4 if hp.get("batchnorm") else 1e-5  # small spreads of an event divide: in float32 the twin is 3e-5 off too
    assert_exports_agree("gnn", copy.deepcopy(twin).double(), network, cases_for(hp), tolerance)


WRONG: list[tuple[str, Made, str | None, Callable[[Any], object]]] = [
    ("trackml with new x", trackml, "interaction-trackml", lambda twin: setattr(twin, "new_x", True)),
    ("common with old x", common, None, lambda twin: setattr(twin, "new_x", False)),
    ("common, one aggregate for another", common, None, lambda twin: setattr(twin, "hp", {**twin.hp, "aggregation": "mean_max"})),
    ("common, one iteration less", common, None, lambda twin: setattr(twin, "hp", {**twin.hp, "n_graph_iters": 1})),
    ("multi with new x", multi, None, lambda twin: setattr(twin, "new_x", True)),
    ("multi, iterations swapped", multi, None, lambda twin: setattr(twin, "node_networks", twin.node_networks[::-1])),
    ("old without sigmoid", old, None, lambda twin: setattr(twin, "squash", False)),
    ("old, first state first", old, None, lambda twin: setattr(twin, "swapped", True)),
    ("multistep, first logits", multistep, None, lambda twin: setattr(twin, "hp", {**twin.hp, "n_graph_iters": 1})),
]


@pytest.mark.parametrize(("name", "made", "family", "change"), WRONG, ids=[case[0] for case in WRONG])
def test_a_wrong_forward_would_be_seen(name: str, made: Made, family: str | None, change: Callable[[Any], object]) -> None:
    twin, hp = made()
    _, network = built(checkpoint_of(twin.state_dict(), hp), "gnn", family)
    case = {"random": graphs(FEATURES)["random"]}
    assert_agrees(copy.deepcopy(twin).double(), network, case)
    change(twin)
    with pytest.raises(AssertionError):
        assert_agrees(twin.double(), network, case, 1e-4)


def without(hp: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {key: value for key, value in hp.items() if key not in names}


@pytest.mark.parametrize("made", [
    trackml, lambda: trackml(layernorm=False, aggregation="max"), lambda: common("early", truth_key="pid_signal"),
], ids=["trackml", "no norm", "common, early"])
def test_old_and_new_x_are_refused_together(made: Made) -> None:
    twin, hp = made()
    with pytest.raises(CheckpointError, match="do not tell") as refused:
        built(checkpoint_of(twin.state_dict(), hp), "gnn")
    for row in ("interaction-trackml", "interaction-common"):
        assert f"--gnn-family {row}" in str(refused.value)
    assert "before the iteration" in str(refused.value) and "just made" in str(refused.value)


Change = Callable[[dict[str, Tensor], dict[str, Any]], object]
ONE = torch.ones(1)


def drop(start: str) -> Change:
    """Return a change that takes all weights under a prefix away."""
    def change(state: dict[str, Tensor], _: dict[str, Any]) -> None:
        for key in [key for key in state if key.startswith(start)]:
            del state[key]
    return change


# name, twin and hyper-parameters, what is changed in them, --family, what the message says
REFUSED: list[tuple[str, Made, Change, str, str]] = [
    ("no iterations", trackml, lambda _, hp: hp.pop("n_graph_iters"), "interaction-trackml", "'n_graph_iters' is needed"),
    ("no activation", old, lambda _, hp: hp.pop("hidden_activation"), "interaction-old", "'hidden_activation' is needed"),
    ("no aggregation", lambda: trackml(aggregation="max"), lambda _, hp: hp.pop("aggregation"), "interaction-trackml",
     "'aggregation' is needed"),
    ("no aggregation, common", common, lambda _, hp: hp.pop("aggregation"), "interaction-common", "'aggregation' is needed"),
    ("zero iterations", trackml, lambda _, hp: hp.update(n_graph_iters=0), "interaction-trackml", "at least 1"),
    ("other iterations", multi, lambda _, hp: hp.update(n_graph_iters=3), "interaction-multi", "there are 2 node networks"),
    ("other width", trackml, lambda _, hp: hp.update(hidden=8), "interaction-trackml", "'hidden' is 8, but the weights have 6"),
    ("other layers", trackml, lambda _, hp: hp.update(nb_edge_layer=2), "interaction-trackml", "'nb_edge_layer' is 2"),
    ("other inputs", trackml, lambda _, hp: hp.update(cell_channels=9), "interaction-trackml", "say 12 input columns"),
    ("other in_channels", old, lambda _, hp: hp.update(in_channels=3), "interaction-old", "say 3 input columns"),
    ("other aggregate", trackml, lambda _, hp: hp.update(aggregation="sum"),
     "interaction-trackml", "gives a node 1 aggregates"),
    ("mean is not TrackML's", lambda: trackml(aggregation="sum"), lambda _, hp: hp.update(aggregation="mean"),
     "interaction-trackml", "computes sum, max, sum_max"),
    ("mean is not multi's", lambda: multi(aggregation="sum"), lambda _, hp: hp.update(aggregation="mean"),
     "interaction-multi", "computes sum, max, sum_max"),
    ("unknown aggregate", common, lambda _, hp: hp.update(aggregation="median"), "interaction-common", "is 'median'"),
    ("aggregate of acorn", common, lambda _, hp: hp.update(aggregation=["sum"]), "interaction-common", "is a list"),
    ("acorn's features", common, lambda _, hp: hp.update(node_features=["r"]), "interaction-common", "is acorn's"),
    ("batchnorm is not TrackML's", trackml, lambda _, hp: hp.update(batchnorm=False), "interaction-trackml", "not of this class"),
    ("output_activation is not TrackML's", trackml, lambda _, hp: hp.update(output_activation="Tanh"),
     "interaction-trackml", "not of this class"),
    ("plain norm is not TrackML's", common, lambda *_: None, "interaction-trackml", "no make_mlp of Tracking-ML"),
    ("norm that is not there", lambda: trackml(layernorm=False), lambda _, hp: hp.update(layernorm=True),
     "interaction-trackml", "no make_mlp"),
    ("unknown activation", trackml, lambda _, hp: hp.update(hidden_activation="Swish"),
     "interaction-trackml", "'Swish' is none of"),
    ("layer norm or batch norm", common, lambda _, hp: hp.pop("layernorm"), "interaction-common",
     "may have layer norms or batch norms"),
    ("unexpected weight", trackml, lambda state, _: state.update({"gate.weight": ONE}),
     "interaction-trackml", "gate.weight"),
    ("unexpected in a part", trackml, lambda state, _: state.update({"edge_network.99.bias": ONE}),
     "interaction-trackml", "edge_network.99.bias"),
    ("missing weight", trackml, lambda state, _: state.pop("node_network.0.bias"),
     "interaction-trackml", "lacks node_network.0.bias"),
    ("missing network", old, drop("edge_encoder."), "interaction-old",
     "no Linear under 'edge_encoder'"),
    ("a gap in the networks", multi, drop("node_networks.0."), "interaction-multi",
     "no networks node_networks.0"),
    ("an edge network less", multi, drop("edge_networks.1."), "interaction-multi", "2 node networks, but 1 edge networks"),
    ("no iterations of its networks", multi, lambda _, hp: hp.update(n_graph_iters=0), "interaction-multi",
     "there are 2 node networks"),
    ("new is not old", trackml, lambda *_: None, "interaction-old", "node_encoder"),
    ("old is not new", old, lambda *_: None, "interaction-trackml", "node_encoder"),
    ("multistep is not old", multistep, lambda *_: None, "interaction-old", "node_encoder"),
    ("shared is not multi", common, lambda *_: None, "interaction-multi", "for each iteration"),
]


@pytest.mark.parametrize(("name", "made", "change", "family", "words"), REFUSED, ids=[case[0] for case in REFUSED])
def test_refuses(name: str, made: Made, change: Change, family: str, words: str) -> None:
    twin, hp = made()
    state = dict(twin.state_dict())
    change(state, hp)
    with pytest.raises(CheckpointError) as refused:
        built(checkpoint_of(state, hp), "gnn", family)
    assert words in str(refused.value)


@pytest.mark.parametrize("made", [trackml, lambda: trackml(layernorm=False), common, multi],
                         ids=["trackml", "no norm", "common", "multi"])
def test_a_class_does_not_win_because_a_look_alike_lacks_the_aggregation(made: Made) -> None:
    twin, hp = made()
    with pytest.raises(CheckpointError, match="'aggregation' is needed"):
        built(checkpoint_of(twin.state_dict(), without(hp, "aggregation")), "gnn")


@pytest.mark.parametrize(("made", "silent", "rows"), [
    (common, (), ["interaction-common"]),
    (common, ("layernorm",), ["interaction-common"]),
    (lambda: common(layernorm=False), (), ["interaction-common", "interaction-trackml"]),
    (multi, (), ["interaction-multi"]),
], ids=["plain norm", "some norm", "no norm", "multi"])
def test_acorn_does_not_win_by_silence(made: Made, silent: tuple[str, ...], rows: list[str]) -> None:
    """acorn's with a sum has the same weights as one with two aggregates."""
    twin, hp = made()
    checkpoint = checkpoint_of(twin.state_dict(), without(hp, "aggregation", "spatial_channels", "cell_channels", *silent))
    found = [reading for family in INTERACTION_FAMILIES if family.name in rows for reading in family.read(checkpoint)]
    assert sorted({reading.family for reading in found}) == rows
    assert not any(reading.certain for reading in found)
    with pytest.raises(CheckpointError, match="do not tell") as refused:
        built(checkpoint, "gnn")
    assert "--gnn-family acorn-interaction" in str(refused.value)
    assert all(f"--gnn-family {row}" in str(refused.value) for row in rows)
    reading, _ = built(checkpoint_of(twin.state_dict(), hp), "gnn", rows[0])
    assert reading.certain


@pytest.mark.parametrize(("made", "family", "directed", "undirected"), [
    (trackml, "interaction-trackml", None, True), (trackml, "interaction-trackml", True, False), (common, None, False, True),
    (multi, None, True, False), (old, None, None, None), (multistep, None, None, None),
])
def test_facts(made: Made, family: str | None, directed: bool | None, undirected: bool | None) -> None:
    twin, hp = made()
    hp |= {} if directed is None else {"directed": directed}
    reading, _ = built(checkpoint_of(twin.state_dict(), hp), "gnn", family)
    assert (reading.facts.cut, reading.facts.undirected) == (0.5, undirected)
    assert any("both directions" in line for line in reading.assumed) == (undirected is True and directed is None)


def test_other_networks_are_no_interaction_network() -> None:
    for family in INTERACTION_FAMILIES:
        with pytest.raises(Mismatch, match=r"no Linear|no networks"):
            family.read(checkpoint_of({"network.0.weight": torch.ones(2, 3), "network.0.bias": torch.ones(2)}, HYPER))


@pytest.mark.parametrize("cut", [0, 1, 1.5, -3.0])
def test_a_cut_that_is_no_score_is_left_aside(cut: float) -> None:
    twin, hp = common()
    reading, _ = built(checkpoint_of(twin.state_dict(), hp | {"edge_cut": cut}), "gnn")
    assert reading.facts.cut is None
    assert f"edge_cut {cut:g} is no score between 0 and 1, and is left aside." in reading.assumed


def test_hyper_parameters_of_another_stage_are_not_taken() -> None:
    twin, hp = common()
    with pytest.raises(CheckpointError, match="name VanillaFilter, which is of stage filter"):
        built(checkpoint_of(twin.state_dict(), hp | {"name": "VanillaFilter"}), "gnn", "interaction-common")


@pytest.mark.parametrize(("built_as", "said"), [
    ({"output_activation": "Tanh"}, {"output_activation": None}), ({}, {"output_activation": "Tanh"}),
    ({"hidden_activation": "Tanh"}, {"hidden_activation": "ReLU"}),
    ({"layernorm": False, "batchnorm": True}, {"layernorm": True, "batchnorm": False}),
])
def test_torchscript_that_contradicts_its_hyper_parameters_is_refused(built_as: dict[str, Any], said: dict[str, Any]) -> None:
    twin, hp = common(**built_as)
    modules = {path: type(module).__name__ for path, module in twin.named_modules() if path}
    right = checkpoint_of(twin.state_dict(), hp, kind="torchscript", modules=modules)
    assert built(right, "gnn", "interaction-common")[0].family == "interaction-common"
    with pytest.raises(CheckpointError, match=r"is Linear, .* in the file, expected"):
        built(checkpoint_of(twin.state_dict(), hp | said, kind="torchscript", modules=modules), "gnn", "interaction-common")
