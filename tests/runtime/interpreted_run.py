"""Run by test_cuda_run.py, in a process of its own; on a GPU without TRITON_INTERPRET."""

import json
import os
from dataclasses import replace

import numpy as np
import pytest
from support.small_events import small_events
from typer.testing import CliRunner

from trkx.cli import app
from trkx.runtime.events import write_event_parquet

DEVICE = "cpu" if os.environ.get("TRITON_INTERPRET") == "1" else "cuda:0"
HITS = 48  # the interpreter is slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("events")
    for event in small_events(2):
        rows = np.sort(np.argsort(np.arctan2(event.position[:, 1], event.position[:, 0]))[:HITS])
        write_event_parquet(folder, replace(event, hit_id=event.hit_id[rows], position=event.position[rows]))
    return folder


def run(*arguments):
    return CliRunner().invoke(app, ["run", *map(str, arguments)])


def tracks(out):
    return {path.name: path.read_bytes() for path in out.glob("*-tracks.parquet")}


@pytest.mark.parametrize("engine, workers", [("torch-cuda", 1), ("triton", 2)])
def test_the_command_finds_the_tracks_of_the_cpu(engine, workers, folder, tiny_bundle, tmp_path):
    """Several workers take turns on the device."""
    assert run(tiny_bundle, folder, "--out", tmp_path / "cpu").exit_code == 0
    out = tmp_path / "gpu"
    result = run(tiny_bundle, folder, "--out", out, "--engine", engine, "--device", DEVICE, "--workers", workers, "--threads", 1)
    assert result.exit_code == 0, result.output
    assert tracks(out) == tracks(tmp_path / "cpu") and len(tracks(out)) == 2
    said = json.loads((out / "run.json").read_text())
    assert (said["engine"], said["device"]) == (engine, DEVICE)
    assert f"{engine}, {DEVICE}, " in " ".join(result.stdout.split())
    for stages in json.loads((out / "stages.json").read_text()).values():
        assert [stage["name"] for stage in stages] == ["features", "embedding", "graph", "filter", "gnn", "labelling"]
        assert stages[2]["count_out"] > 10


def test_a_lack_of_memory_keeps_the_tracks_of_earlier_events(folder, tiny_bundle, tmp_path, monkeypatch):
    import torch

    from trkx.runtime.cuda.engines.torch_modules import TorchEngine

    plain, seen = TorchEngine.gnn, []

    def full(self, x, edge_index, edge_attr=None):
        seen.append(len(x))
        if len(seen) == 3:  # the first is the one to warm up
            raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 4.00 GiB.")
        return plain(self, x, edge_index, edge_attr)

    monkeypatch.setattr(TorchEngine, "gnn", full)
    result = run(tiny_bundle, folder, "--out", tmp_path, "--engine", "torch-cuda", "--device", DEVICE)
    assert result.exit_code == 1
    said = " ".join(result.stderr.split())
    assert f" of {HITS} hits, stage gnn: out of memory" in said and "error: event 2 (" in said and "nvidia-smi" in said
    assert "Stopped at event 2. The tracks of 1 event(s) before it (1) are in" in said
    assert len(tracks(tmp_path)) == 1 and (tmp_path / "stages.json").is_file()
