"""benchmarks/gpu.py as it runs on a GPU, here on a few hits with the kernels interpreted: every part but those that compile."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from support.small_events import small_events

from trkx.bundle import Bundle
from trkx.runtime.events import write_event_parquet

pytest.importorskip("torch", reason="not checked: needs torch")
pytest.importorskip("triton", reason="not checked: Triton is not installed")

FOLDER = Path(__file__).parents[2] / "benchmarks"
PARTS = ("kernels", "twins", "events", "repeat", "replay", "stages", "alone", "networks", "growth")
WITHOUT = ("torch-compile", "onnxruntime-cuda", "tensorrt")


def script(bundle, folder, *more):
    write_event_parquet(folder / "event", small_events(1)[0])
    command = [sys.executable, str(FOLDER / "gpu.py"), "--device", "cpu", "--reference", str(bundle),
               "--event", str(folder / "event"),
               "--out", str(folder / "gpu.json"), "--sizes", "24", "--peer-size", "24", "--check-sizes", "0", "1", "19",
               "--rounds", "1", "--events", "9", "--precisions", "fp32", "bf16", "--without", *WITHOUT, *more]
    return subprocess.run(command, env=os.environ | {"TRITON_INTERPRET": "1"}, capture_output=True, text=True)


def test_script_checks_and_measures_everything(tiny_bundle, tmp_path):
    done = script(tiny_bundle, tmp_path, "--parts", *PARTS)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads((tmp_path / "gpu.json").read_text())
    assert set(found["checks"]) == {"kernels", "twins", "events", "repeat", "replay", "growth"}
    checks = [row for rows in found["checks"].values() for row in rows]
    assert len(checks) > 30 and all(row["holds"] for row in checks)
    assert {(row["precision"], row["hits"]) for row in found["stages"]} == {("fp32", 24), ("bf16", 24)}
    assert all(set(row["seconds"]) >= {"embedding", "graph", "filter", "gnn", "labelling"} for row in found["stages"])
    assert {row["way"] for row in found["networks"]} == {
        "trkx fp32", "trkx bf16", "trkx bf16, replayed", "PyTorch eager fp32", "PyTorch eager AMP bf16"}
    assert all(row["relative_to_ours_in_fp32"] < 0.05 for row in found["networks"])
    assert all(row["met"] is None for row in found["targets"]), "nothing was measured at the size of the targets"
    assert "no time here means anything" in done.stdout


@pytest.fixture
def gpu_modules(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    import gpu_checks
    import gpu_targets

    return gpu_checks, gpu_targets


def test_targets_are_judged_on_what_was_measured(gpu_modules):
    _, targets = gpu_modules

    def stage(precision, wide, total, gnn, hits=100_000, share=0.4):
        return {"precision": precision, "wide": wide, "hits": hits, "total_seconds": total, "peak_bytes": 1e9,
                "seconds": {"gnn": gnn, "labelling": 2e-3}, "filter": {"of_matrix_rate": share}, "ns_per_candidate": 2.0}

    found = {
        "stages": [stage("mixed", False, 0.02, 0.011), stage("mixed", True, 0.2, 0.05), stage("bf16", False, 0.02, 0.01),
                   stage("bf16", True, 0.2, 0.05, share=0.6), stage("mixed", False, 0.05, 0.03, hits=300_000)],
        "networks": [{"stage": "gnn", "hits": 100_000, "folder": "a", "way": way, "seconds": taken}
                     for way, taken in (("trkx bf16", 1.0), ("PyTorch eager AMP bf16", 2.9), ("torch.compile bf16", 2.1))],
    }
    rows = {row["target"]: row for row in targets.judged(found)}
    met = {name: row["met"] for name, row in rows.items()}
    assert met["event, reference, mixed"] and not met["event, sizes of 2021, mixed"]
    assert not met["GNN, reference, mixed"] and not met["labelling of the pipeline (contraction)"]
    assert not met["filter, reference, of the bf16 matrix rate"] and met["filter, sizes of 2021, of the bf16 matrix rate"]
    assert not met["GNN against eager AMP"] and met["GNN against torch.compile"]
    assert met["time per candidate, 10^5 hits and more, slowest to fastest"] and met["memory, reference"]
    assert met["neighbours"] is None and "not measured  neighbours" in targets.table(list(rows.values()))
    assert rows["GNN against eager AMP"]["measured"] == pytest.approx(2.9)


def test_a_wrong_kernel_is_seen(gpu_modules, monkeypatch):
    import torch

    checks, _ = gpu_modules
    points = np.random.default_rng(3).normal(size=(40, 3)).astype(np.float32)
    device = type("Here", (), {"torch": torch.device("cpu")})()

    def twin(drop):
        from trkx.runtime.neighbours import radius_graph

        def found(here, radius, k_max):
            right = radius_graph(here.numpy(), radius, k_max)
            return type("Pairs", (), {"pairs": torch.from_numpy(right.pairs[:, drop:]), "truncated": right.truncated})()

        return found

    for drop, holds in ((0, True), (1, False)):
        monkeypatch.setattr(checks, "radius_graph_cuda", twin(drop))
        assert checks._same_pairs("pairs", device, points, 0.8).holds is holds


def test_wrong_directions_and_one_wrong_row_are_seen(gpu_modules, tiny_bundle, monkeypatch):
    import torch

    checks, _ = gpu_modules
    device, event = type("Here", (), {"torch": torch.device("cpu")})(), small_events(1)[0]
    pairs = np.random.default_rng(1).integers(0, len(event), (2, 300))
    pairs = np.unique(pairs[:, pairs[0] != pairs[1]], axis=1)
    assert all(check.holds for check in checks._same_edges(device, Bundle.open(tiny_bundle), event, pairs))
    right = checks.orientation_on_device
    monkeypatch.setattr(checks, "orientation_on_device", lambda *given: lambda edges: right(*given)(edges).flip(0))
    assert not any(check.holds for check in checks._same_edges(device, Bundle.open(tiny_bundle), event, pairs))
    wanted = torch.randn(200_000, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    for precision in ("fp32", "tf32", "bf16", "fp16"):
        for off, holds in ((0.0, True), (1.0, False), (float("nan"), False)):
            found = wanted.float()
            found[77] += off
            assert checks.judged_close("logits", found, wanted, precision).holds is holds, (precision, off)
