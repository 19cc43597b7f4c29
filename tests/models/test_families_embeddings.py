"""Embeddings of other code bases against twins written as those code bases write them, and files that are refused."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import pytest
import torch
from support.foreign import assert_agrees, assert_exports_agree, built, checkpoint_of, graphs, random_weights
from torch import nn

from trkx.errors import CheckpointError
from trkx.models.checkpoints.checkpoint import Checkpoint

F, HIDDEN, LAYERS, DIM = 3, 10, 3, 5


class OldTwin(nn.Module):
    """LayerlessEmbedding of exatrkx-iml2020."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(F, HIDDEN), *(nn.Linear(HIDDEN, HIDDEN) for _ in range(LAYERS - 1))])
        self.emb_layer = nn.Linear(HIDDEN, DIM)
        self.norm = nn.LayerNorm(HIDDEN)
        self.act = nn.Tanh()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.layers:
            x = self.act(layer(x))
        return self.emb_layer(x)


class OldTwinThatCallsItsNorm(OldTwin):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.layers:
            x = self.norm(self.act(layer(x)))
        return self.emb_layer(x)


class NewTwin(nn.Module):
    """LayerlessEmbedding of Tracking-ML (affine), MetricLearning of acorn (not affine)."""

    def __init__(self, affine: bool, unit_length: bool, activation: str = "Tanh", norm_last: bool = False) -> None:
        super().__init__()
        sizes = [F, *[HIDDEN] * LAYERS]
        modules: list[nn.Module] = []
        for before, after in pairwise(sizes):
            between = [nn.LayerNorm(after, elementwise_affine=affine), getattr(nn, activation)()]
            modules += [nn.Linear(before, after), *(reversed(between) if norm_last else between)]
        self.network = nn.Sequential(*modules, nn.Linear(HIDDEN, DIM))
        self.unit_length = unit_length

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x_out = self.network(x)
        return nn.functional.normalize(x_out, p=2.0, dim=1, eps=1e-12) if self.unit_length else x_out


SIZES = {"emb_hidden": HIDDEN, "nb_layer": LAYERS, "emb_dim": DIM}
TRACKML = {
    **SIZES, "name": "LayerlessEmbedding", "activation": "Tanh", "regime": ["rp", "hnm"], "spatial_channels": F,
    "cell_channels": 0,
}
OLD = {**SIZES, "name": "LayerlessEmbedding", "in_channels": F}
ACORN = {
    **SIZES, "model": "MetricLearning", "activation": "Tanh", "node_features": ["hit_r", "hit_phi", "hit_z"],
    "node_scales": [1000, 3.14, 1000.0], "r_infer": 0.1, "knn_infer": 300,
}
CASES = {
    "old": (OldTwin, {}, OLD, "layerless-embedding-old"),
    "new": (NewTwin, {"affine": True, "unit_length": False}, TRACKML, "layerless-embedding"),
    "new, GELU": (
        NewTwin, {"affine": True, "unit_length": False, "activation": "GELU"}, {**TRACKML, "activation": "GELU"},
        "layerless-embedding",
    ),
    "new, of unit length": (
        NewTwin, {"affine": True, "unit_length": True}, {**TRACKML, "regime": ["rp", "norm"]}, "layerless-embedding-normalised",
    ),
    "acorn": (NewTwin, {"affine": False, "unit_length": True}, ACORN, "metric-learning"),
    "acorn, ReLU": (
        NewTwin, {"affine": False, "unit_length": True, "activation": "ReLU"}, {**ACORN, "activation": "ReLU"}, "metric-learning",
    ),
}


def hits() -> dict[str, tuple[torch.Tensor]]:
    return {name: (x,) for name, (x, _) in graphs(F).items()} | {"no hits": (torch.empty(0, F),)}


def made(name: str, /, **changes: Any) -> tuple[nn.Module, Checkpoint, str]:
    kind, arguments, hyper_parameters, family = CASES[name]
    torch.manual_seed(0)
    twin = random_weights(kind(**arguments))
    said = {key: value for key, value in {**hyper_parameters, **changes}.items() if value is not None}
    return twin, checkpoint_of(twin.state_dict(), said), family


@pytest.mark.parametrize("name", CASES)
def test_agrees_with_the_twin(name: str) -> None:
    twin, checkpoint, family = made(name)
    reading, network = built(checkpoint, "embedding")
    assert (reading.family, reading.inputs, reading.stage) == (family, F, "embedding")
    assert_agrees(twin.double(), network, hits())


@pytest.mark.parametrize("name", ["old", "new, of unit length", "acorn"])
def test_exports_agree_with_the_twin(name: str) -> None:
    twin, checkpoint, _ = made(name)
    cases = {name: inputs for name, inputs in hits().items() if len(inputs[0]) > 0}
    assert_exports_agree("embedding", twin.double(), built(checkpoint, "embedding")[1], cases)


WRONG = {
    "norm is called": ("old", OldTwinThatCallsItsNorm, {}),
    "of unit length": ("new", NewTwin, {"affine": True, "unit_length": True}),
    "of any length": ("acorn", NewTwin, {"affine": False, "unit_length": False}),
    "another activation": ("new", NewTwin, {"affine": True, "unit_length": False, "activation": "ReLU"}),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_forward_does_not_agree(name: str) -> None:
    right, kind, arguments = WRONG[name]
    twin, checkpoint, _ = made(right)
    wrong = kind(**arguments)
    wrong.load_state_dict(twin.state_dict())
    with pytest.raises(AssertionError):
        assert_agrees(wrong.double().eval(), built(checkpoint, "embedding")[1], hits())


def test_norm_after_the_activation_does_not_agree() -> None:
    twin, checkpoint, _ = made("acorn")
    wrong = NewTwin(affine=False, unit_length=True, norm_last=True)
    wrong.load_state_dict(twin.state_dict())
    with pytest.raises(AssertionError):
        assert_agrees(wrong.double().eval(), built(checkpoint, "embedding")[1], hits())


def test_without_a_regime_the_user_chooses_whether_outputs_have_unit_length() -> None:
    twin, checkpoint, _ = made("new", regime=None)
    both = r"(?s)-family layerless-embedding:.*any length.*-family layerless-embedding-normalised:.*unit length"
    with pytest.raises(CheckpointError, match=both):
        built(checkpoint, "embedding")
    for family, unit_length in (("layerless-embedding", False), ("layerless-embedding-normalised", True)):
        reading, network = built(checkpoint, "embedding", family)
        assert not reading.certain
        twin.unit_length = unit_length
        assert_agrees(twin.double(), network, hits())
        twin.float()


REFUSED: Mapping[str, tuple[str, dict[str, Any], dict[str, tuple[int, ...]], str]] = {
    "no activation": ("new", {"activation": None}, {}, "layerless-embedding .*'activation' is needed"),
    "an activation that we do not have": ("acorn", {"activation": "Hardswish"}, {}, "metric-learning .*'Hardswish' is none of"),
    "regime is no list": ("new", {"regime": 3}, {}, "'regime' is 3, expected a list"),
    "an unknown tensor": ("new", {}, {"gate.weight": (3, 3)}, r"layerless-embedding .*also has gate\.weight"),
    "an unknown tensor beside acorn's": ("acorn", {}, {"scale": ()}, "metric-learning .*also has scale"),
    "a layer that the old class lacks": ("old", {}, {"layers.7.weight": (10, 10)}, r"old .*also has layers\.7\.weight"),
    "a norm inside the network": ("acorn", {}, {"network.1.weight": (HIDDEN,)}, r"metric-learning .*also has network\.1\.weight"),
    "two decoders": (
        "acorn", {}, {"src_decoder.0.weight": (5, 10), "tgt_decoder.0.weight": (5, 10)}, "double-metric-learning .*two places",
    ),
    "another width": ("old", {"emb_hidden": 512}, {}, "'emb_hidden' is 512, but the tensors have 10"),
    "another number of layers": ("new", {"nb_layer": 6}, {}, "'nb_layer' is 6, but the tensors have 3"),
    "another number of columns": ("old", {"in_channels": 12}, {}, "reads 3 columns of a hit, but in_channels.* say 12"),
    "features of another network": ("acorn", {"node_features": ["r"]}, {}, "'node_features' has 1"),
    "a scale of 0": ("acorn", {"node_scales": [1, 0, 1]}, {}, "'node_scales' is .* other than 0"),
    "no room for a neighbour": ("acorn", {"knn_infer": 1}, {}, "'knn_infer' is 1, expected at least 2"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str) -> None:
    base, changes, tensors, message = REFUSED[name]
    twin, checkpoint, _ = made(base, **changes)
    state = {**twin.state_dict(), **{key: torch.ones(shape) for key, shape in tensors.items()}}
    with pytest.raises(CheckpointError, match=message):
        built(checkpoint_of(state, checkpoint.hyper_parameters), "embedding")


def test_a_space_of_too_many_dimensions_is_refused() -> None:
    state = {"network.0.weight": torch.ones(40, F), "network.0.bias": torch.ones(40)}
    with pytest.raises(CheckpointError, match="40 dimensions"):
        built(checkpoint_of(state, {"activation": "ReLU"}), "embedding", "metric-learning")


def test_torchscript_shows_the_activation() -> None:
    twin, checkpoint, _ = made("acorn")
    modules = {name: type(module).__name__ for name, module in twin.named_modules()}
    shown = checkpoint_of(twin.state_dict(), {"hidden_activation": "Tanh"}, kind="torchscript", modules=modules)
    assert built(shown, "embedding")[0].spec == built(checkpoint, "embedding")[0].spec


def test_torchscript_with_another_activation_is_not_the_old_class() -> None:
    twin, checkpoint, _ = made("old")
    with pytest.raises(CheckpointError, match="no other activation than Tanh, but the file has SiLU"):
        built(checkpoint_of(twin.state_dict(), checkpoint.hyper_parameters, modules={"act": "SiLU"}), "embedding")


FACTS = {
    "acorn": ("acorn", {}, (("r", "phi", "z"), (1000.0, 3.14, 1000.0), 0.1, 299)),
    "acorn's own number of neighbours": ("acorn", {"knn_infer": None}, (("r", "phi", "z"), (1000.0, 3.14, 1000.0), 0.1, 499)),
    "acorn without columns": ("acorn", {"node_features": None, "node_scales": None, "r_infer": None}, (None, None, None, 299)),
    "r_train and knn are of the training": (
        "acorn", {"r_infer": None, "knn_infer": None, "r_train": 0.3, "knn": 50, "node_scales": None},
        (("r", "phi", "z"), None, None, None),
    ),
    "names that would become the same": (
        "acorn", {"node_features": ["hit_r", "x_r", "hit_z"]}, (("hit_r", "x_r", "z"), (1000.0, 3.14, 1000.0), 0.1, 299),
    ),
    "Tracking-ML, r_test": ("new", {"r_test": 0.1, "r_val": 0.2, "knn": 50}, (None, None, 0.1, None)),
    "Tracking-ML, r_val": ("old", {"r_val": 1.6, "knn_test": 100}, (None, None, 1.6, 99)),
}


@pytest.mark.parametrize("name", FACTS)
def test_facts(name: str) -> None:
    base, changes, expected = FACTS[name]
    facts = built(made(base, **changes)[1], "embedding")[0].facts
    assert (facts.features, facts.scales, facts.radius, facts.k_max) == expected


def test_says_what_was_taken_for_granted() -> None:
    assumed = " ".join(built(made("new", r_val=0.2, knn_test=50)[1], "embedding")[0].assumed)
    for part in ("3 columns", "r, phi, z", "The radius is r_val, 0.2", "knn_test 50 counts the hit itself"):
        assert part in assumed


@pytest.mark.parametrize("name", ["new", "new, of unit length", "acorn"])
@pytest.mark.parametrize(("path", "kind"), [("network.2", "ReLU"), ("network.1", "BatchNorm1d"), ("network.99", "Tanh")])
def test_torchscript_that_contradicts_its_hyper_parameters_is_refused(name: str, path: str, kind: str) -> None:
    twin, checkpoint, family = made(name)
    modules = {place: type(module).__name__ for place, module in twin.named_modules() if place}
    said = checkpoint.hyper_parameters
    assert built(checkpoint_of(twin.state_dict(), said, kind="torchscript", modules=modules), "embedding")[0].family == family
    with pytest.raises(CheckpointError, match=f"'network' is Linear, .*{kind}.* in the file, expected"):
        built(checkpoint_of(twin.state_dict(), said, kind="torchscript", modules=modules | {path: kind}), "embedding")


@pytest.mark.parametrize("name", ["old", "new", "acorn"])
@pytest.mark.parametrize("other", [{"name": "ResAGNN", "model": None}, {"name": None, "model": "Filter"}])
def test_hyper_parameters_of_another_stage_are_not_taken(name: str, other: dict[str, Any]) -> None:
    _, checkpoint, family = made(name, **other)
    with pytest.raises(CheckpointError, match=r"name (ResAGNN|Filter), which is of stage (gnn|filter)"):
        built(checkpoint, "embedding", family)
    assert built(made(name, name="MyEmbedding", model=None)[1], "embedding", family)[0].family == family
