"""Tolerances: above what float32 does, operator by operator, below what a fault does, and not taken from taste."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from support.small_files import Twin, onnx_file, some_cases, torchscript_file
from torch import Tensor, nn
from torch.nn import functional

from trkx.export.check import Expectation, compared, expectations
from trkx.export.torchscript_file import torchscript_is_meant
from trkx.export.validation.bounds import FACTOR, SAMPLES, exact_and_moves, tolerance_from
from trkx.export.validation.oracle import oracle_for
from trkx.export.zoo import Case, copied

U = 2.0**-24


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Torch on one thread: more of them wait for each other on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


INDEX = torch.arange(600) % 7
SPREAD = INDEX[:, None].expand(600, 5)

Operator = Callable[[Tensor], Tensor]
OPERATORS: dict[str, Operator] = {
    "add": lambda x: x + 0.1,
    "mul": lambda x: x * 0.1,
    "exp": lambda x: torch.exp(x),
    "sin": lambda x: torch.sin(3.0 * x),
    "tanh": torch.tanh,
    "sigmoid": lambda x: torch.sigmoid(4.0 * x),
    "silu": functional.silu,
    "gelu": functional.gelu,
    "asinh": torch.asinh,
    "mm": lambda x: x.T @ x,
    "linear": lambda x: functional.linear(x.T, x.T[:3], x[:3, 0]),
    "bmm": lambda x: torch.bmm(x.reshape(6, 100, 5).mT, x.reshape(6, 100, 5)),
    "sum": lambda x: x.sum(0),
    "sum of all": lambda x: x.sum(),
    "mean": lambda x: x.mean(1, keepdim=True),
    "cumsum": lambda x: torch.cumsum(x, 0),
    "norm": lambda x: functional.normalize(x, dim=0),
    "layer norm": lambda x: functional.layer_norm(x + 100.0, (5,)),
    "batch norm": lambda x: functional.batch_norm(x + 100.0, x[0].new_full((5,), 100.0), x[0].new_ones(5)),
    "softmax": lambda x: torch.softmax(x, 0),
    "log_softmax": lambda x: torch.log_softmax(x, 0),
    "index_add": lambda x: x.new_zeros(7, 5).index_add(0, INDEX, x),
    "index_add in place": lambda x: x.new_zeros(7, 5).index_add_(0, INDEX, x).mul_(0.1),
    "scatter_add": lambda x: x.new_ones(7, 5).scatter_add(0, SPREAD, x),
    "scatter_reduce sum": lambda x: x.new_ones(7, 5).scatter_reduce(0, SPREAD, x, "sum"),
    "scatter_reduce mean": lambda x: x.new_ones(7, 5).scatter_reduce(0, SPREAD, x, "mean", include_self=False),
    "index_put": lambda x: torch.index_put(x.new_zeros(7, 5), (INDEX,), x, accumulate=True),
    "cancellation": lambda x: (1e4 + x) - 1e4,
}
CHOICES: dict[str, Operator] = {
    "gather": lambda x: x[INDEX].T.contiguous(),
    "relu": torch.relu,
    "maximum": lambda x: torch.maximum(x, -x),
    "scatter_reduce amax": lambda x: x.new_zeros(7, 5).scatter_reduce(0, SPREAD, x, "amax"),
    "assignment": lambda x: torch.index_put(x.new_zeros(600, 5), (torch.arange(600),), x),
    "degrees": lambda x: x.new_zeros(7, 5).index_add(0, INDEX, torch.ones_like(x)),
    "cat": lambda x: torch.cat([x, -x]),
}


@pytest.mark.parametrize("name", OPERATORS)
def test_float32_stays_within_the_tolerance_and_not_far_below(name: str, rng: np.random.Generator) -> None:
    operator, x = OPERATORS[name], torch.tensor(rng.normal(size=(600, 5)), dtype=torch.float32)
    exact, moves = exact_and_moves(lambda copies: operator(x.double()))
    tolerance = tolerance_from(exact, moves)
    error = np.abs(operator(x).double().numpy() - exact)
    assert (error <= tolerance).all()
    changed = x.clone()
    changed[123] = 0.0  # one message of 600 lost
    assert (np.abs(operator(changed).double().numpy() - exact) > 3.0 * tolerance).any()


@pytest.mark.parametrize("name", CHOICES)
def test_what_only_chooses_numbers_does_not_round(name: str, rng: np.random.Generator) -> None:
    x = torch.tensor(rng.normal(size=(600, 5)), dtype=torch.float64)
    assert exact_and_moves(lambda copies: CHOICES[name](x))[1].max() == 0.0


@pytest.mark.parametrize("degree", [10, 100, 1000])
def test_a_sum_over_edges_gets_the_bound_of_adding_one_by_one(degree: int) -> None:
    messages = torch.full((degree, 1), 0.1, dtype=torch.float64)
    sums = lambda copies: torch.zeros(1, 1, dtype=torch.float64).index_add(0, torch.zeros(degree, dtype=torch.int64), messages)  # noqa: E731
    exact, moves = exact_and_moves(sums)
    bound = (degree - 1) * U * 0.1 * degree + U * exact[0, 0]
    assert moves[0, 0] == pytest.approx(bound, rel=1e-6)
    added = np.add.accumulate(np.full(degree, 0.1, np.float32))[-1]  # one by one
    assert abs(float(added) - 0.1 * degree) <= FACTOR * bound
    assert tolerance_from(exact, moves)[0, 0] < 0.1 / 3  # so a message that is lost shows


def test_a_sum_in_half_precision_is_no_rounding_of_float32() -> None:
    values = torch.full((3000, 1), 1.0) + torch.arange(3000)[:, None] / 3000.0
    hub, wide = torch.zeros(3000, dtype=torch.int64), values.double()
    exact, moves = exact_and_moves(lambda copies: wide.new_zeros(1, 1).index_add(0, hub, wide))
    one_by_one = np.float16(0.0)
    for value in values.half().numpy().ravel():
        one_by_one = np.float16(one_by_one + value)
    assert abs(float(one_by_one) - exact[0, 0]) > 100 * tolerance_from(exact, moves)[0, 0]


def test_a_trace_with_float32_baked_in_runs_in_float64() -> None:
    class Baked(nn.Module):
        def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
            return torch.zeros(x.shape[0], 3, dtype=torch.float32).index_add(0, edge_index[1], x[edge_index[0]]).to(torch.float32)

    case = some_cases("duplicate edges")[0]
    inputs = (torch.tensor(case.x), torch.tensor(case.edge_index))
    with torchscript_is_meant():
        traced = torch.jit.trace(Baked(), inputs, check_trace=False)
    exact, moves = exact_and_moves(lambda copies: traced(inputs[0].double(), inputs[1]))
    wanted = np.zeros((len(case.x), 3))
    np.add.at(wanted, case.edge_index[1], case.x[case.edge_index[0]].astype(np.float64))
    assert exact.dtype == np.float64
    np.testing.assert_allclose(exact, wanted, rtol=1e-14)
    assert 0.0 < moves.max() < 1e-4


def test_eager_torchscript_and_onnx_are_granted_the_same() -> None:
    cases = some_cases("complete bipartite", "star", "self loops")
    network = expectations("gnn", Twin().eval(), cases)
    script = oracle_for(torchscript_file(known=False)).expectations(cases)
    graph = oracle_for(onnx_file(known=False)).expectations(cases)
    for one, two, three in zip(network, script, graph, strict=True):
        np.testing.assert_allclose(two.output, one.output, rtol=1e-12, atol=1e-14)
        np.testing.assert_allclose(three.output, one.output, rtol=1e-12, atol=1e-14)
        for other in (two, three):
            assert 0.4 < np.median(other.tolerance) / np.median(one.tolerance) < 4.0


def test_half_precision_inside_a_file_is_granted_its_own_unit() -> None:
    case = some_cases("complete bipartite")
    halves = "half = Cast <to = 10> (y)  z = Add (half, half)  output = Cast <to = 1> (z)"
    graph = oracle_for(onnx_file(end=halves, known=False))
    plain = oracle_for(onnx_file(end="z = Add (y, y) output = Identity (z)", known=False))
    half, single = graph.expectations(case)[0], plain.expectations(case)[0]
    np.testing.assert_allclose(half.output, single.output, rtol=1e-12)
    assert np.median(half.tolerance) > 100 * np.median(single.tolerance)


def test_an_output_that_rounding_makes_nan_proves_nothing() -> None:
    exact, moves = np.array([[1.0], [2.0]]), np.array([[np.nan], [1e-7]])
    tolerance = tolerance_from(exact, moves)
    assert tolerance[0, 0] == np.inf
    case = Case("", np.zeros((2, 1), np.float32), np.zeros((2, 0), np.int64))
    assert "faults can hide" in Expectation(case, exact, tolerance).problem


def test_a_wrong_output_beside_one_that_proves_nothing_is_seen() -> None:
    case = Case("", np.zeros((20, 1), np.float32), np.zeros((2, 0), np.int64))
    exact, tolerance = np.ones((20, 1)), np.full((20, 1), 1e-6)
    tolerance[0] = np.inf
    found = np.ones((20, 1), np.float32)
    assert compared(Expectation(case, exact, tolerance), found)[2] == ""
    found[7] += 0.01
    assert "1 of 20 outputs differ from the float64 network, row 7" in compared(Expectation(case, exact, tolerance), found)[2]


def test_an_empty_graph_has_no_tolerance() -> None:
    assert tolerance_from(np.zeros((0, 1)), np.zeros((0, 1))).shape == (0, 1)


def test_fewer_samples_grant_more() -> None:
    exact, moves = np.ones((10_000, 1)), np.linspace(0.0, 1.0, 10_000)[:, None]
    assert tolerance_from(exact, moves, 1)[0, 0] > tolerance_from(exact, moves, SAMPLES)[0, 0] > 0.0


class WholeEvent(nn.Module):
    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        return x[edge_index[0]].sum(1, keepdim=True) + 0.1 * x.sum()


class OneSize(nn.Module):
    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        return 0.1 * x.reshape(200, 3)[edge_index[0]].sum(1, keepdim=True)


@pytest.mark.parametrize("network", [WholeEvent(), OneSize()], ids=["sees all hits", "takes one size"])
def test_a_network_whose_copies_are_not_independent_runs_once_a_sample(network: nn.Module) -> None:
    case = some_cases("star")[0]
    found = expectations("gnn", network, [case, Case("other", case.x + np.float32(3.0), case.edge_index)])
    for item in found:
        assert 0.0 < item.tolerance.max() < 1e-2
        assert item.problem == ""


def test_copies_of_a_graph_do_not_meet() -> None:
    case = some_cases("duplicate edges")[0]
    three = copied(case, 3)
    assert (len(three.x), three.edge_index.shape) == (36, (2, 360))
    assert three.edge_index.flags.c_contiguous
    for copy in range(3):
        np.testing.assert_array_equal(three.x[12 * copy : 12 * copy + 12], case.x)
        np.testing.assert_array_equal(three.edge_index[:, 120 * copy : 120 * copy + 120], case.edge_index + 12 * copy)


def test_an_oracle_computes_a_graph_once() -> None:
    oracle, case = oracle_for(onnx_file()), some_cases("star")[0]
    first = oracle.expect(case, 1)
    again = oracle.expect(Case("another name", case.x.copy(), case.edge_index.copy()), 1)
    assert again.output is first.output
    assert again.case.name == "another name"
    assert oracle.expect(case, 2).tolerance is not first.tolerance
    assert oracle.expect(Case("star", case.x + np.float32(1), case.edge_index), 1).output is not first.output
