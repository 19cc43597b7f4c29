"""Chains of layers as their specification says, columns picked from x, what nodes gather."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from trkx.errors import SpecError
from trkx.models.chain import BlockChain, EventNorm
from trkx.models.gathering import gathered, messages, segment_std
from trkx.models.inputs import Inputs
from trkx.spec import ChainSpec, FeatureSpec

FEATURES = (FeatureSpec("r", 1000.0), FeatureSpec("phi", 3.0), FeatureSpec("z", 400.0))


def values(rows: int, columns: int, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(size=(rows, columns))).double()


@pytest.mark.parametrize("affine", [False, True])
@pytest.mark.parametrize("rows", [2, 7, 300])
def test_event_norm_is_batch_norm_with_statistics_of_the_batch(rows: int, affine: bool) -> None:
    ours = EventNorm(5, 6e-5, affine).double()
    theirs = nn.BatchNorm1d(5, eps=6e-5, affine=affine, track_running_stats=False).double().eval()
    if affine:
        with torch.no_grad():
            ours.weight.copy_(torch.linspace(0.5, 2.0, 5))
            ours.bias.copy_(torch.linspace(-1.0, 1.0, 5))
        theirs.load_state_dict(ours.state_dict())
    x = 3.0 + 10.0 * values(rows, 5)
    assert torch.allclose(ours(x), theirs(x), rtol=0, atol=1e-12)


def test_event_norm_of_one_row_and_of_none() -> None:
    norm = EventNorm(3, 1e-5, affine=True).double()
    with torch.no_grad():
        norm.bias.fill_(0.25)
    assert norm(values(1, 3)).tolist() == [[0.25] * 3]
    assert norm(values(0, 3)).shape == (0, 3)


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"activation_first": True}, "the activation comes first"),
        ({"bare_first": True}, "nothing after the first layer"),
        ({"norm": "none"}, "no norm"),
        ({"batch_norm": "event"}, "a batch norm more"),
        ({"output_activation": "sigmoid"}, "an output activation"),
        ({"output_norm": "plain"}, "an output norm"),
        ({"activation": "relu"}, "another activation"),
    ],
)
def test_every_option_of_a_chain_changes_it(changes: dict, where: str) -> None:
    plain = ChainSpec((6, 6, 4), "tanh", "plain")
    torch.manual_seed(1)
    one = BlockChain({"x": 3}, plain).double()
    other = BlockChain({"x": 3}, replace(plain, **changes)).double()
    other.load_state_dict(one.state_dict(), strict=False)
    x = values(9, 3)
    assert (one({"x": (x, None)}) - other({"x": (x, None)})).abs().max() > 1e-3, where


def test_a_chain_over_blocks_is_one_over_their_concatenation() -> None:
    torch.manual_seed(1)
    chain = BlockChain({"edge": 2, "source": 3}, ChainSpec((5, 1), "silu", "affine")).double()
    node, edge, index = values(6, 3), values(20, 2), torch.arange(20) % 6
    split = chain({"edge": (edge, None), "source": (node, index)})
    state = dict(chain.state_dict())
    hidden = torch.cat([edge, node[index]], 1) @ state["linears.0.weight"].T + state["linears.0.bias"]
    hidden = nn.functional.silu(nn.functional.layer_norm(hidden, (5,), state["norms.0.weight"], state["norms.0.bias"]))
    assert torch.allclose(split, hidden @ state["linears.1.weight"].T + state["linears.1.bias"], rtol=0, atol=1e-13)


def test_inputs_pick_order_and_scale() -> None:
    x = values(4, 3)
    assert Inputs(FEATURES)(x) is x
    assert Inputs(FEATURES, FEATURES)(x) is x
    picked = Inputs(FEATURES, (FeatureSpec("z", 1000.0), FeatureSpec("r", 1000.0)))(x)
    assert torch.allclose(picked, torch.stack([x[:, 2] * 0.4, x[:, 0]], 1), rtol=0, atol=1e-15)
    with pytest.raises(SpecError, match="reads the feature 'eta'; features are r, phi, z"):
        Inputs(FEATURES, (FeatureSpec("eta", 1.0),))


def test_std_is_that_of_the_rows_and_0_for_few() -> None:
    index = torch.tensor([0, 0, 0, 1, 3, 3])
    told = values(6, 4)
    found = segment_std(told, index, 5)
    assert torch.allclose(found[0], told[:3].std(dim=0, correction=0), rtol=0, atol=1e-12)
    assert torch.allclose(found[3], told[4:].std(dim=0, correction=0), rtol=0, atol=1e-12)
    assert found[[1, 2, 4]].tolist() == [[0.0] * 4] * 3  # one row, none, none


@pytest.mark.parametrize("kind", ["sum", "mean", "max", "std"])
def test_messages_go_to_the_ends_they_are_meant_for(kind: str) -> None:
    edges = torch.tensor([[0, 1, 1, 3], [2, 2, 0, 0]])
    to_target, to_source = values(4, 2), values(4, 2, seed=1)

    def asked(place: str) -> torch.Tensor:
        return messages(place, [kind], (to_target, to_source), edges, 5)[0]

    assert torch.equal(asked("incoming"), gathered(kind, to_target, edges[1], 5))
    assert torch.equal(asked("outgoing"), gathered(kind, to_source, edges[0], 5))
    assert torch.equal(asked("both"), asked("incoming") + asked("outgoing"))
    assert asked("incoming")[4].tolist() == [0.0, 0.0]
