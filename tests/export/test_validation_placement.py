"""Placement and memory: a node that ran elsewhere is seen, a provider that is not here is not checked, a crash fails."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.tiny import TinyExport

from trkx.bundle import Bundle
from trkx.errors import ExportError
from trkx.export.validation import memory, placement
from trkx.export.validation.memory import memory_rows, peak_of
from trkx.export.validation.model_file import ModelFile
from trkx.export.validation.placement import PROVIDERS, placement_of, placement_rows, profiled, verdict
from trkx.export.zoo import Case

CPU, CUDA = PROVIDERS["cpu"], PROVIDERS["cuda"]


def node(name: str, operator: str, provider: str, index: int) -> dict[str, Any]:
    arguments = {"op_name": operator, "provider": provider, "node_index": str(index)}
    return {"cat": "Node", "name": f"{name}_kernel_time", "args": arguments}


SESSION = {"cat": "Session", "name": "model_run", "args": {}}


def test_a_profile_counts_each_node_once() -> None:
    profile = [SESSION, node("a", "MatMul", CUDA, 0), node("b", "Add", CUDA, 1), node("a", "MatMul", CUDA, 0)]
    found = placement_of(profile)
    assert (found.total, found.memcpy, found.elsewhere(CUDA)) == (2, 0, {})
    assert verdict(found, CUDA)[0] == "passed"


def test_a_silent_fall_back_of_everything_fails() -> None:
    status, detail = verdict(placement_of([node("a", "MatMul", CPU, 0), node("b", "Add", CPU, 1)]), CUDA)
    assert status == "failed"
    assert "not one node ran there" in detail


def test_one_node_on_another_provider_fails_and_is_named() -> None:
    profile = [node("a", "MatMul", CUDA, 0), node("b", "ScatterElements", CPU, 1), node("c", "MemcpyToHost", CUDA, 2)]
    found = placement_of(profile)
    status, detail = verdict(found, CUDA)
    assert status == "failed"
    assert "1 ScatterElements on CPUExecutionProvider" in detail
    assert found.memcpy == 1


def test_shapes_are_kept_on_the_host_by_design() -> None:
    profile = [node("a", "MatMul", CUDA, 0), node("b", "Shape", CPU, 1)]
    assert verdict(placement_of(profile), CUDA)[0] == "passed"
    assert verdict(placement_of([node("a", "MatMul", CPU, 0), node("b", "Shape", CUDA, 1)]), CPU)[0] == "failed"


def test_a_profile_without_nodes_proves_nothing() -> None:
    with pytest.raises(ExportError, match="names no operator"):
        placement_of([SESSION])


@pytest.fixture(scope="module")
def gnn(tiny_export: TinyExport) -> ModelFile:
    data = Bundle.open(tiny_export.folder).read("gnn", "onnx")
    return ModelFile("gnn.onnx", "gnn", "onnx", data, 3, 1, "ort-cpu", cut=0.5)


@pytest.fixture
def case(rng: np.random.Generator) -> Case:
    return Case("random", rng.uniform(0.1, 1.0, (50, 3)).astype(np.float32), rng.integers(0, 50, (2, 300)))


def test_every_node_of_a_file_runs_on_the_cpu(gnn: ModelFile, case: Case) -> None:
    (row,) = placement_rows(gnn, case)
    assert row.status == "passed"
    assert row.detail.endswith(f"all on {CPU}")
    assert profiled(gnn, case, CPU).total > 20


def test_a_provider_that_is_not_here_is_not_checked(gnn: ModelFile, case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(placement.onnxruntime, "get_available_providers", lambda: [CPU])
    rows = placement_rows(replace(gnn, target="acts-onnx"), case)
    assert [(row.engine, row.status) for row in rows] == [
        (f"ONNX Runtime, {CPU}", "passed"), (f"ONNX Runtime, {CUDA}", "not checked"),
    ]


def test_a_provider_that_can_not_be_loaded_falls_back_and_fails(
    gnn: ModelFile, case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    # what a GPU build does on a machine without its libraries: the session is made, and runs on the CPU
    monkeypatch.setattr(placement.onnxruntime, "get_available_providers", lambda: [CUDA, CPU])
    plain = placement.onnxruntime.InferenceSession
    monkeypatch.setattr(placement.onnxruntime, "InferenceSession", lambda data, options, providers: plain(data, options, [CPU]))
    row = placement_rows(replace(gnn, target="ort-cuda"), case)[0]
    assert row.status == "failed"
    assert "fell back silently" in row.detail


def test_a_file_that_can_not_be_loaded_fails(gnn: ModelFile, case: Case) -> None:
    broken = replace(gnn, data=gnn.data[: len(gnn.data) // 2])
    assert [row.status for row in placement_rows(broken, case)] == ["failed"]
    assert [row.status for row in memory_rows(broken, case)] == ["failed"]


def test_memory_grows_with_edges(gnn: ModelFile, rng: np.random.Generator) -> None:
    x = rng.uniform(0.1, 1.0, (50, 3)).astype(np.float32)
    (row,) = memory_rows(gnn, Case("many", x, rng.integers(0, 50, (2, 200_000))))
    assert row.status == "passed"
    assert "for 200,000 edges" in row.detail
    before, peak = peak_of(gnn, Case("many", x, rng.integers(0, 50, (2, 200_000))))
    assert peak - before > 200_000 * 8 * 4  # at least one tensor of eight columns


def test_memory_of_torchscript(tiny_export: TinyExport, case: Case) -> None:
    data = Bundle.open(tiny_export.folder).read("embedding", "torchscript")
    file = ModelFile("embedding.pt", "embedding", "torchscript", data, 3, 4, "libtorch")
    (row,) = memory_rows(file, case)
    assert row.status == "passed"
    assert "bytes per hit" in row.detail


def test_memory_is_not_checked_where_it_can_not_be(gnn: ModelFile, case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "STATUS", Path("nowhere/status"))
    assert [row.status for row in memory_rows(gnn, case)] == ["not checked"]
    assert [row.status for row in memory_rows(replace(gnn, format="aoti"), case)] == ["not checked"]
