"""The same bits on every run: right files pass; a race, an engine that wavers, and a wrong file do not."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator, Sequence

import numpy as np
import pytest
import torch
from support.small_files import RACY, onnx_file, torchscript_file

from trkx.export.check import Expectation
from trkx.export.onnx_file import example_inputs
from trkx.export.validation.engines import Engine, engines_for
from trkx.export.validation.model_file import ModelFile
from trkx.export.validation.oracle import oracle_for
from trkx.export.validation.repeatability import large_case, repeatability_rows, same_bits
from trkx.export.validation.report import Row
from trkx.export.zoo import Case

HITS = np.random.default_rng(0).uniform(-1.0, 1.0, (500, 3)).astype(np.float32)
SMALL = large_case(HITS, 4000, 100)
BATCHES = 8
"""Batches of 20 runs in which a race may show; in one batch it shows nearly always, on a machine with two idle cores."""


def on_cpu(format: str, threads: Sequence[int]) -> list[Engine]:
    return [engine for engine in engines_for(format, threads) if engine.decisive and not engine.why_not]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Torch on one thread: more of them wait for each other on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("file", [onnx_file(), torchscript_file()], ids=["onnx", "torchscript"])
def test_a_right_file_gives_the_same_bits(file: ModelFile) -> None:
    expected = oracle_for(file).expect(SMALL, 1)
    rows = repeatability_rows(file, expected, on_cpu(file.format, (1, 2)), runs=5)
    assert [(row.status, row.case.split(",")[0]) for row in rows] == [("passed", "5 runs"), ("passed", "5 runs"), ("passed", "1")]
    assert rows[0].detail == "the same bits every time."
    assert all(row.group == "repeatability" for row in rows)


def test_a_large_case_is_what_it_says() -> None:
    case = large_case(HITS)
    assert case.name == "200 000 edges on 2 000 hits"
    assert case.edge_index.shape == (2, 200_000)
    assert len(case.x) == 2_000
    assert (case.edge_index[0] != case.edge_index[1]).all()
    assert case.edge_index.max() < 2_000
    assert large_case(HITS, 10, 1).edge_index.max() == 0


def racing(file: ModelFile, hits: int = 2_000) -> Row:
    """Return the row of two threads, as soon as a batch of runs has failed."""
    expected = oracle_for(file).expect(large_case(HITS, count=hits), 1)
    engine = on_cpu("onnx", (2,))
    rows = (repeatability_rows(file, expected, engine)[0] for _ in range(BATCHES))
    return next((row for row in rows if row.status == "failed"), None) or pytest.fail("no run was wrong")


needs_two = pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="not checked: a race needs two processors")


@needs_two
def test_a_race_is_seen() -> None:
    file = onnx_file(RACY)
    row = racing(file)
    assert "of 20 runs are wrong" in row.detail or "of 19 runs differ from the first" in row.detail
    alone = repeatability_rows(file, oracle_for(file).expect(SMALL, 1), on_cpu("onnx", (1,)), runs=3)
    assert [item.status for item in alone] == ["passed"]  # the sums themselves are right


class Plain(torch.nn.Module):
    def forward(self, x: torch.Tensor, edge_index: torch.Tensor) -> torch.Tensor:
        total = torch.zeros_like(x).index_add(0, edge_index[1], torch.tanh(x[edge_index[0]]))
        return (total[edge_index[0]] * x[edge_index[1]]).sum(1, keepdim=True)


@needs_two
@pytest.mark.filterwarnings("ignore")
def test_what_torchs_own_exporter_makes_of_index_add_is_rejected() -> None:
    network = Plain().eval()
    axes = ({0: torch.export.Dim.DYNAMIC}, {1: torch.export.Dim.DYNAMIC})
    program = torch.onnx.export(
        network, example_inputs("gnn", 3), dynamo=True, dynamic_shapes=axes, input_names=["x", "edge_index"], verbose=False
    )
    assert program is not None
    assert "ScatterND" in {node.op_type for node in program.model_proto.graph.node}
    data = program.model_proto.SerializeToString()
    assert racing(ModelFile("plain.onnx", "gnn", "onnx", data, 3, 1, "ort-cpu", network)).status == "failed"


def engine_of(outputs: Sequence[np.ndarray], repeatable: bool = True, family: str = "made up", threads: int = 1) -> Engine:
    """Return an engine that gives these outputs in turn."""
    def start(file: ModelFile, count: int):
        turns = itertools.cycle(outputs)
        return lambda case: next(turns)

    return Engine(f"{family}, {threads}", ("onnx",), "", start, family, threads, repeatable)


CASE = Case("some edges", HITS[:4], np.zeros((2, 3), np.int64))
RIGHT = np.array([[1.0], [2.0], [3.0]], np.float32)
NEAR, FAR = RIGHT + np.float32(1e-6), RIGHT + np.float32(0.5)
EXPECTED = Expectation(CASE, RIGHT.astype(np.float64), np.full((3, 1), 1e-5))


def one(*engines: Engine) -> list[Row]:
    return repeatability_rows(onnx_file(), EXPECTED, engines, runs=4)


def test_other_bits_fail_where_bits_must_repeat() -> None:
    row = one(engine_of([RIGHT, NEAR]))[0]
    assert row.status == "failed"
    assert "2 of 3 runs differ from the first, by up to 9.54e-07" in row.detail
    allowed = one(engine_of([RIGHT, NEAR], repeatable=False))[0]
    assert (allowed.status, allowed.detail[:15]) == ("passed", "2 of 3 runs dif")


def test_wrong_runs_fail_even_where_bits_need_not_repeat() -> None:
    row = one(engine_of([RIGHT, FAR], repeatable=False))[0]
    assert row.status == "failed"
    assert row.detail.startswith("2 of 4 runs are wrong: 3 of 3 outputs differ")
    assert (row.difference, row.tolerance) == (0.5, 1e-5)
    always = one(engine_of([FAR]))[0]
    assert (always.status, "differ from the first" in always.detail) == ("failed", False)


def test_thread_counts_may_round_differently_and_no_more() -> None:
    last = one(engine_of([RIGHT]), engine_of([NEAR], threads=2))[-1]
    assert (last.status, last.case[:11]) == ("passed", "1, 2 thread")
    assert "the bits are the same only for the same number" in last.detail
    far = one(engine_of([RIGHT]), engine_of([FAR], threads=2))
    assert [row.status for row in far] == ["passed", "failed", "failed"]
    assert "more than rounding does" in far[-1].detail
    shape = one(engine_of([RIGHT]), engine_of([RIGHT[:2]], threads=2))
    assert [row.status for row in shape] == ["passed", "failed", "failed"]
    assert len(one(engine_of([RIGHT]), engine_of([RIGHT], family="another"))) == 2


def test_nan_and_engines_that_fall_over_fail() -> None:
    nan = np.full_like(RIGHT, np.nan)
    assert "NaN or infinite" in one(engine_of([RIGHT, nan]))[0].detail
    broken = Engine("broken", ("onnx",), "", lambda file, threads: lambda case: 1 / 0, "broken")  # type: ignore[arg-type, return-value]
    assert [(row.status, row.detail) for row in one(broken)] == [("failed", "broken can't run it: division by zero")]
    absent = Engine("absent", ("onnx",), "no such thing here", lambda file, threads: lambda case: RIGHT)
    assert [(row.status, row.detail) for row in one(absent)] == [("not checked", "no such thing here.")]


def test_bits_are_compared_as_bits() -> None:
    assert same_bits(np.array([np.nan]), np.array([np.nan]))
    assert not same_bits(np.array([0.0]), np.array([-0.0]))
    assert not same_bits(RIGHT, RIGHT.astype(np.float64))
    assert not same_bits(RIGHT, RIGHT.ravel())
