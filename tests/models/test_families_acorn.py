"""acorn's and gnn4itk_cf's graph networks against twins that concatenate, and what is refused."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
import torch
from support.acorn_twins import InteractionGNN, InteractionGNN2, InteractionGNN2WithPyG, InteractionGNNWithPyG, aggregate
from support.foreign import assert_agrees, assert_exports_agree, built, checkpoint_of, graphs, random_weights
from torch import nn

from trkx.errors import CheckpointError
from trkx.models.families.table import recognise
from trkx.models.gathering import segment_std
from trkx.spec import MessagePassingSpec

Hyper = dict[str, Any]
FIRST: Hyper = {
    "stage": "edge_classifier", "model": "InteractionGNN", "node_features": ["hit_r", "hit_phi", "hit_z"],
    "node_scales": [1000, 3.14, 1000], "hidden": 6, "nb_node_layer": 2, "nb_edge_layer": 3, "n_graph_iters": 2,
    "hidden_activation": "SiLU", "output_activation": None, "layernorm": True, "batchnorm": False, "track_running_stats": False,
    "edge_cut": 0.5,
}
"""InteractionGNN as acorn saves it."""
OLD: Hyper = {key: value for key, value in FIRST.items() if key not in ("track_running_stats", "node_features")}
OLD["node_features"] = ["x_r", "x_phi", "x_z"]
"""The same without what only acorn's make_mlp knows."""
SECOND: Hyper = {
    "stage": "edge_classifier", "model": "InteractionGNN2", "node_features": ["r", "phi", "z"], "hidden": 6,
    "n_node_net_layers": 2, "n_edge_net_layers": 3, "n_edge_decoder_layers": 2, "n_graph_iters": 2,
    "hidden_activation": "SiLU", "output_activation": "Tanh", "layernorm": True, "batchnorm": False,
    "concat": True, "in_out_diff_agg": True, "node_net_recurrent": True,
    "edge_net_recurrent": True, "edge_output_transform_final_activation": None, "checkpointing": True, "output_batch_norm": False,
    "edge_output_transform_final_batch_norm": False, "track_running_stats": False, "output_layer_norm": True,
}
OLD2: Hyper = {key: value for key, value in SECOND.items() if not key.startswith(("track_", "output_batch", "output_layer"))}
PYG: Hyper = {"model": "InteractionGNNWithPyG", "output_activation": "Tanh"}
PYG2: Hyper = {"model": "InteractionGNN2WithPyG"}
FOUR = ["sum", "mean", "max", "std"]
SEPARATE: Hyper = {"node_net_recurrent": False, "edge_net_recurrent": False}

Twin = Callable[[Hyper], nn.Module]
CASES: dict[str, tuple[Twin, Hyper, str]] = {
    "sum": (InteractionGNN, FIRST, "acorn-interaction"),
    "one word": (InteractionGNN, FIRST | {"aggregation": "mean"}, "acorn-interaction"),
    "four aggregations": (InteractionGNN, FIRST | {"aggregation": FOUR, "output_activation": "Tanh"}, "acorn-interaction"),
    "other order": (InteractionGNN, FIRST | {"aggregation": ["std", "max"]}, "acorn-interaction"),
    "separate": (InteractionGNN, FIRST | SEPARATE, "acorn-interaction"),
    "separate edges": (InteractionGNN, FIRST | {"edge_net_recurrent": False}, "acorn-interaction"),
    "undirected": (InteractionGNN, FIRST | {"undirected": True, "aggregation": ["max", "sum"]}, "acorn-interaction"),
    "batch norm": (InteractionGNN, FIRST | {"batchnorm": True, "output_activation": "ReLU"}, "acorn-interaction"),
    "stored norms": (
        InteractionGNN, FIRST | {"batchnorm": True, "layernorm": False, "track_running_stats": True}, "acorn-interaction",
    ),
    "no norms": (InteractionGNN, FIRST | {"layernorm": False, "nb_node_layer": 1}, "acorn-interaction"),
    "gnn4itk words": (
        lambda hp: InteractionGNN(hp, "gnn4itk"), OLD | {"aggregation": "sum_mean_max", "output_activation": "Tanh"},
        "gnn4itk-interaction",
    ),
    "gnn4itk batch norm": (
        lambda hp: InteractionGNN(hp, "gnn4itk"),
        OLD | {"aggregation": "sum_max", "batchnorm": True, "output_activation": "Tanh"}, "gnn4itk-interaction",
    ),
    "pyg": (InteractionGNNWithPyG, FIRST | PYG | {"aggregation": ["mean", "std"]}, "acorn-interaction-pyg"),
    "pyg shared": (InteractionGNNWithPyG, FIRST | PYG | {"recurrent": True}, "acorn-interaction-pyg"),
    "pyg stored norms": (
        InteractionGNNWithPyG, FIRST | PYG | {"batchnorm": True, "track_running_stats": True}, "acorn-interaction-pyg",
    ),
    "concat": (InteractionGNN2, SECOND, "acorn-interaction2"),
    "concat, separate": (InteractionGNN2, SECOND | SEPARATE, "acorn-interaction2"),
    "concat, both": (InteractionGNN2, SECOND | {"in_out_diff_agg": False, "edge_net_recurrent": False}, "acorn-interaction2"),
    "plain": (InteractionGNN2, SECOND | {"concat": False, "output_activation": None}, "acorn-interaction2"),
    "plain, both": (InteractionGNN2, SECOND | {"concat": False, "in_out_diff_agg": False}, "acorn-interaction2"),
    "CTD_2023": (
        InteractionGNN2,
        SECOND | SEPARATE | {"layernorm": False, "batchnorm": True, "output_batch_norm": True, "hidden_activation": "ReLU",
                             "output_activation": "ReLU"}, "acorn-interaction2",
    ),
    "final norm": (
        InteractionGNN2,
        SECOND | {"batchnorm": True, "track_running_stats": True, "edge_output_transform_final_activation": "Sigmoid",
                  "edge_output_transform_final_batch_norm": True}, "acorn-interaction2",
    ),
    "gnn4itk 2": (
        lambda hp: InteractionGNN2(hp, "gnn4itk"), OLD2 | {"batchnorm": True}, "gnn4itk-interaction2",
    ),
    "pyg 2": (InteractionGNN2WithPyG, SECOND | PYG2, "acorn-interaction2-pyg"),
    "pyg 2, separate": (InteractionGNN2WithPyG, SECOND | PYG2 | SEPARATE | {"in_out_diff_agg": False}, "acorn-interaction2-pyg"),
    "pyg 2, plain": (InteractionGNN2WithPyG, SECOND | PYG2 | {"concat": False, "aggr": "add"}, "acorn-interaction2-pyg"),
    "pyg 2, plain, both": (
        InteractionGNN2WithPyG, SECOND | PYG2 | {"concat": False, "in_out_diff_agg": False}, "acorn-interaction2-pyg",
    ),
    "gnn4itk pyg 2": (
        lambda hp: InteractionGNN2WithPyG(hp, "gnn4itk"), OLD2 | PYG2 | {"batchnorm": True}, "gnn4itk-interaction2-pyg",
    ),
}
"""Name to the twin, its hyper-parameters and the row that must read it without being told."""


def cases(hp: Mapping[str, Any]) -> dict[str, Sequence[torch.Tensor]]:
    """Return graphs; without those of less than two edges for batch norms with the event's statistics, on which torch raises."""
    return {name: graph for name, graph in graphs(3).items() if not hp.get("batchnorm") or name not in ("no edges", "one edge")}


def made(twin: Twin, hp: Hyper) -> tuple[nn.Module, Any]:
    """Return a twin with random weights in float64, and its checkpoint in float32."""
    torch.manual_seed(3)
    network = random_weights(twin(hp))
    with torch.no_grad():
        for value in network.parameters():
            value.mul_(2.0 if value.ndim == 2 else 0.5)  # what edges differ in shall not drown in the biases
    checkpoint = checkpoint_of(network.state_dict(), hp)
    if not hp.get("edge_features"):
        with torch.no_grad():
            spread = network(*graphs(len(hp["node_features"]))["random"]).std()
        assert spread > 1e-3, "the twin gives all edges the same, which would hide what is wrong"
    return network.double(), checkpoint


@pytest.mark.parametrize("name", CASES)
def test_class_agrees_with_its_twin(name: str) -> None:
    twin, hp, family = CASES[name]
    network, checkpoint = made(twin, hp)
    reading, ours = built(checkpoint, "gnn")
    assert reading.family == family
    assert_agrees(network, ours, cases(hp))


def test_std_is_that_of_pytorch_geometric() -> None:
    values = torch.tensor([[3.0], [1.0], [5.0], [2.0], [2.004], [4.0], [4.02], [1000.0], [1000.0], [1000.0]])
    index = torch.tensor([0, 2, 2, 3, 3, 4, 4, 5, 5, 5])
    found = segment_std(values, index, 7)
    # one edge, none, two, two nearer than the threshold, two just above, three equal, none
    expected = torch.tensor([[0.0], [0.0], [2.0], [0.0], [0.01], [0.0], [0.0]])
    assert torch.allclose(found, expected, rtol=0, atol=1e-6)
    assert torch.allclose(aggregate("std", values.double(), index, 7).float(), expected, rtol=0, atol=1e-6)


EXPORTED = ["four aggregations", "undirected", "CTD_2023", "concat, both", "pyg 2"]


@pytest.mark.parametrize("name", EXPORTED)
def test_exported_files_agree_with_the_twin(name: str) -> None:
    twin, hp, _ = CASES[name]
    network, checkpoint = made(twin, hp)
    tolerance = 3e-5 if "std" in hp.get("aggregation", ()) else 1e-5  # a root near 0 is steep
    assert_exports_agree("gnn", network, built(checkpoint, "gnn")[1], cases(hp), tolerance)


@pytest.mark.parametrize("twin", [InteractionGNN2, InteractionGNN2WithPyG])
def test_edge_features_are_the_third_input(twin: Twin) -> None:
    hp = SECOND | {"model": twin.__name__, "edge_features": ["edge_dr", "edge_dphi", "edge_dz", "edge_deta", "edge_phislope"]}
    network, checkpoint = made(twin, hp)
    reading, ours = built(checkpoint, "gnn")
    assert isinstance(reading.spec, MessagePassingSpec)
    assert reading.spec.edge_features == ("dr", "dphi", "dz", "deta", "phislope")
    generator = torch.Generator().manual_seed(1)
    with_attr = {name: (x, index, torch.randn(index.shape[1], 5, generator=generator)) for name, (x, index) in cases(hp).items()}
    assert_agrees(network, ours, with_attr)
    del checkpoint.hyper_parameters["edge_features"]
    with pytest.raises(CheckpointError, match="'edge_features' is absent, but the edge encoder reads 5 columns"):
        recognise(checkpoint, "gnn")


MUTANTS: list[tuple[Twin, Hyper]] = [
    *((lambda hp, wrong=wrong: InteractionGNN(hp, wrong=wrong), FIRST | {"aggregation": ["sum", "max"], "undirected": True})
      for wrong in ("aggregations", "start first", "old nodes", "residual", "one direction")),
    *((lambda hp, wrong=wrong: InteractionGNN2(hp, wrong=wrong), SECOND | {"concat": False})
      for wrong in ("edge last", "source first", "node first")),
    (lambda hp: InteractionGNN2WithPyG(hp, wrong="node last"), SECOND | PYG2 | {"concat": False}),
    (lambda hp: InteractionGNN(hp, "gnn4itk"), FIRST | {"output_activation": "Tanh"}),
]


@pytest.mark.parametrize("place", range(len(MUTANTS)))
def test_a_wrong_twin_does_not_agree(place: int) -> None:
    network, checkpoint = made(*MUTANTS[place])
    ours = built(checkpoint, "gnn")[1]
    with pytest.raises(AssertionError):
        assert_agrees(network, ours, {"random": graphs(3)["random"]})


OPEN: dict[str, tuple[Hyper, dict[str, Twin]]] = {
    "norms before the output activation": (
        OLD | {"aggregation": FOUR, "output_activation": "Tanh"},
        {"acorn-interaction": InteractionGNN, "gnn4itk-interaction": lambda hp: InteractionGNN(hp, "gnn4itk")},
    ),
    "InteractionGNN2, likewise": (
        OLD2, {"acorn-interaction2": InteractionGNN2, "gnn4itk-interaction2": lambda hp: InteractionGNN2(hp, "gnn4itk")},
    ),
    "aggr: add": (
        SECOND | {"aggr": "add"},
        {"acorn-interaction2": InteractionGNN2, "acorn-interaction2-sum": lambda hp: InteractionGNN2(hp, jit=True)},
    ),
    "aggr of PyG": (
        SECOND | PYG2 | {"aggr": "max"},
        {"acorn-interaction2-pyg": lambda hp: InteractionGNN2WithPyG(hp, kind="max"),
         "acorn-interaction2-pyg-sum": InteractionGNN2WithPyG},
    ),
    "output activation of PyG": (
        FIRST | PYG | {"output_activation": None},
        {"acorn-interaction-pyg": InteractionGNNWithPyG,
         "acorn-interaction-pyg-silu": lambda hp: InteractionGNNWithPyG(hp, conv_out="SiLU")},
    ),
    "output activation of early PyG": (
        OLD | PYG | {"output_activation": None},
        {"acorn-interaction-pyg-silu": lambda hp: InteractionGNNWithPyG(hp, conv_out="SiLU"),
         "gnn4itk-interaction-pyg-silu": lambda hp: InteractionGNNWithPyG(hp, "gnn4itk", conv_out="SiLU")},
    ),
}
"""What a file leaves open: hyper-parameters, and the rows that fit with what each computes."""


@pytest.mark.parametrize("name", OPEN)
def test_look_alikes_are_refused_and_each_can_be_chosen(name: str) -> None:
    hp, choices = OPEN[name]
    for family, twin in choices.items():
        network, checkpoint = made(twin, hp)
        with pytest.raises(CheckpointError, match="so choose") as refused:
            recognise(checkpoint, "gnn")
        assert all(f"--gnn-family {other}: " in str(refused.value) for other in choices)
        reading, ours = built(checkpoint, "gnn", family)
        assert reading.family == family
        assert_agrees(network, ours, cases(hp))
        for other in choices.keys() - {family}:
            with pytest.raises(AssertionError):
                assert_agrees(network, built(checkpoint, "gnn", other)[1], {"random": graphs(3)["random"]})


@pytest.mark.parametrize(("twin", "hp"), [(InteractionGNN, OLD | {"aggregation": ["max", "sum"]}), (InteractionGNN2, OLD2 | {
    "output_activation": None})])
def test_versions_that_compute_the_same_need_no_choice(twin: Twin, hp: Hyper) -> None:
    network, checkpoint = made(twin, hp)
    assert_agrees(network, built(checkpoint, "gnn")[1], cases(hp))


def test_facts_come_from_the_hyper_parameters() -> None:
    reading, _ = built(made(InteractionGNN, FIRST | {"undirected": True})[1], "gnn")
    assert reading.facts.features == ("r", "phi", "z")
    assert reading.facts.scales == (1000.0, 3.14, 1000.0)
    assert (reading.facts.cut, reading.facts.undirected, reading.inputs) == (0.5, True, 3)
    assert any("mean of the two logits" in sentence for sentence in reading.assumed)
    sigmoid = built(made(InteractionGNNWithPyG, FIRST | PYG)[1], "gnn")[0]
    assert sigmoid.facts.cut is None
    assert any("sigmoid" in sentence for sentence in sigmoid.assumed)


def test_region_mask_of_the_training_class_is_told() -> None:
    features = [f"f{place}" for place in range(12)]
    reading, _ = built(made(InteractionGNN2, SECOND | {"node_features": features})[1], "gnn")
    assert any("region 2 and 6" in sentence for sentence in reading.assumed)


REFUSED: dict[str, tuple[Twin, Hyper, Hyper, str]] = {
    "no iterations": (InteractionGNN, FIRST, {"n_graph_iters": None}, "'n_graph_iters' is needed"),
    "no activation": (InteractionGNN, FIRST, {"hidden_activation": None}, "'hidden_activation' is needed"),
    "no table": (InteractionGNN, FIRST, {"node_features": ..., "output_activation": ...}, "'output_activation' is needed"),
    "other width": (InteractionGNN, FIRST, {"hidden": 128}, "'hidden' is 128, but the tensors have 6"),
    "other layers": (InteractionGNN, FIRST, {"nb_edge_layer": 2}, "'nb_edge_layer' is 2, but the tensors have 3"),
    "other iterations": (InteractionGNN, FIRST | SEPARATE, {"n_graph_iters": 8}, "for 2 iterations, but n_graph_iters is 8"),
    "other recurrence": (InteractionGNN, FIRST, {"edge_net_recurrent": False}, "is False, but the tensors show the opposite"),
    "other norms": (InteractionGNN, FIRST, {"layernorm": False}, "is no make_mlp of acorn"),
    "other features": (InteractionGNN, FIRST, {"node_features": ["r", "z"]}, "'node_features' lists 2, but the network takes 3"),
    "other scales": (InteractionGNN, FIRST, {"node_scales": [1]}, "'node_scales' must be 3 numbers"),
    "other aggregations": (InteractionGNN, FIRST, {"aggregation": ["sum", "max"]}, "sum, max has 18 columns, expected 30"),
    "unknown aggregation": (InteractionGNN, FIRST, {"aggregation": ["min"]}, "'min', which is none of sum, add, mean, max, std"),
    "repeated aggregation": (InteractionGNN, FIRST, {"aggregation": ["sum", "add"]}, "each of sum, mean, max, std at most once"),
    "unknown activation": (InteractionGNN, FIRST, {"hidden_activation": "Hardswish"}, "'Hardswish' is none of"),
    "two logits": (InteractionGNN, FIRST, {"undirected": True, "dataset_class": "HeteroGraphDataset"}, "each edge two logits"),
    "other class": (InteractionGNN, FIRST, {"model": "HeteroInteractionGNN"}, "it is HeteroInteractionGNN, not InteractionGNN"),
    "Tracking-ML": (InteractionGNN, FIRST, {"node_features": ..., "spatial_channels": 3, "model": ...}, "they are not acorn's"),
    "undirected PyG": (InteractionGNNWithPyG, FIRST | PYG, {"undirected": True}, "mean of two probabilities"),
    "batch norm before sigmoid": (
        lambda hp: InteractionGNNWithPyG(hp, "gnn4itk"), OLD | PYG | {"batchnorm": True}, {},
        "before the final sigmoid have the same keys",
    ),
    "final activation": (
        InteractionGNN2, SECOND, {"edge_output_transform_final_activation": "Tanh"}, "what it gives is no logit",
    ),
    "other concat": (InteractionGNN2, SECOND, {"concat": False}, "'concat' is False, but the tensors show the opposite"),
    "other sides": (InteractionGNN2, SECOND, {"in_out_diff_agg": False}, "'in_out_diff_agg' is False, but the tensors show"),
    "other decoder": (InteractionGNN2, SECOND, {"n_edge_decoder_layers": 3}, "is 3, but the tensors have 2"),
    "unknown aggr": (InteractionGNN2WithPyG, SECOND | PYG2, {"aggr": "median"}, "'aggr' is 'median'"),
}
"""Name to the twin, its hyper-parameters, what is changed in them afterwards (... removes), and words of the message."""


@pytest.mark.parametrize("name", REFUSED)
def test_hyper_parameters_that_do_not_fit_are_refused(name: str) -> None:
    twin, hp, changes, words = REFUSED[name]
    _, checkpoint = made(twin, hp)
    changed = {key: value for key, value in (hp | changes).items() if value is not ...}
    checkpoint = checkpoint_of(dict(zip(checkpoint.shapes, checkpoint.tensors(checkpoint.shapes).values(), strict=True)), changed)
    with pytest.raises(CheckpointError) as refused:
        recognise(checkpoint, "gnn")
    assert words in str(refused.value)


@pytest.mark.parametrize(
    ("twin", "hp"), [(InteractionGNN, FIRST), (InteractionGNNWithPyG, FIRST | PYG), (InteractionGNN2, SECOND)],
)
@pytest.mark.parametrize("key", ["attention.0.weight", "node_encoder.99.weight", "temperature"])
def test_keys_that_no_class_has_are_refused_by_name(twin: Twin, hp: Hyper, key: str) -> None:
    state = dict(random_weights(twin(hp)).state_dict())
    with pytest.raises(CheckpointError, match=key.replace(".", r"\.")):
        recognise(checkpoint_of(state | {key: torch.ones(6, 6)}, hp), "gnn")


def scripted(network: nn.Module, class_name: str, hp: Hyper, **modules: str) -> Any:
    """Return a network as the reader gives a TorchScript file: classes of modules, few hyper-parameters."""
    held = {path: type(module).__name__ for path, module in network.named_modules() if path}
    return checkpoint_of(network.state_dict(), hp, kind="torchscript", class_name=class_name, modules=held | modules)


def test_torchscript_forms_sum_in_one_direction() -> None:
    network = random_weights(InteractionGNN(FIRST | {"output_activation": "Tanh"}))
    given = {"n_graph_iters": 2, "hidden_activation": "SiLU", "undirected": True, "aggregation": ["mean"]}
    reading, ours = built(scripted(network, "RecurrentInteractionGNN", given), "gnn")
    assert reading.family == "acorn-interaction"
    assert any("TorchScript forms ignore" in sentence for sentence in reading.assumed)
    assert_agrees(network.double(), ours, cases({}))


@pytest.mark.parametrize(("name", "changes"), [("RecurrentInteractionGNN2", {}), ("ChainedInteractionGNN2", SEPARATE)])
def test_torchscript_forms_ignore_aggr(name: str, changes: Hyper) -> None:
    hp = SECOND | changes | {"aggr": "add"}
    network = random_weights(InteractionGNN2(hp, jit=True))
    reading, ours = built(scripted(network, name, hp), "gnn")
    assert reading.family == "acorn-interaction2"
    assert_agrees(network.double(), ours, cases(hp))


def test_modules_of_a_torchscript_file_decide_between_norms() -> None:
    hp = OLD | {"output_activation": "Tanh"}
    for style, family in (("acorn", "acorn-interaction"), ("gnn4itk", "gnn4itk-interaction")):
        reading, _ = built(scripted(InteractionGNN(hp, style), "InteractionGNN", hp), "gnn")
        assert reading.family == family
    with pytest.raises(CheckpointError, match="'node_encoder' is Linear, LayerNorm, ReLU, Linear, Tanh in the file"):
        recognise(scripted(InteractionGNN(hp), "InteractionGNN", hp, **{"node_encoder.2": "ReLU"}), "gnn")


@pytest.mark.parametrize(("twin", "hp"), [(InteractionGNN2, SECOND), (InteractionGNN2WithPyG, SECOND | PYG2)])
def test_undirected_is_not_read_by_the_second_network(twin: Twin, hp: Hyper) -> None:
    reading, _ = built(made(twin, hp | {"undirected": True})[1], "gnn")
    assert isinstance(reading.spec, MessagePassingSpec)
    assert (reading.facts.undirected, reading.spec.undirected) == (None, False)


def test_undirected_is_not_read_by_torchscript_forms() -> None:
    given = {"n_graph_iters": 2, "hidden_activation": "SiLU", "undirected": True}
    network = InteractionGNN(FIRST | {"output_activation": "Tanh"})
    reading, _ = built(scripted(network, "RecurrentInteractionGNN", given), "gnn")
    assert reading.facts.undirected is None


@pytest.mark.parametrize(("twin", "hp"), [(InteractionGNN, FIRST), (InteractionGNN2, SECOND)])
@pytest.mark.parametrize("name", ["edge_cut", "score_cut"])
@pytest.mark.parametrize("cut", [0, 1, 1.5, -1.0])
def test_a_cut_that_is_no_score_is_left_aside(twin: Twin, hp: Hyper, name: str, cut: float) -> None:
    reading, _ = built(made(twin, hp | {"edge_cut": None, name: cut})[1], "gnn")
    assert reading.facts.cut is None
    assert f"{name} {cut:g} is no score between 0 and 1, and is left aside." in reading.assumed


def test_summary_lists_what_is_gathered() -> None:
    spec = built(made(InteractionGNN2, SECOND)[1], "gnn")[0].spec
    assert isinstance(spec, MessagePassingSpec) and "node_first" in spec.node_inputs
    assert spec.summary.endswith("sum over incoming, outgoing")
