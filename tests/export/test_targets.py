"""Bundles with files for further targets: where they lie, what they hold, what the manifest says, what is refused."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from support.tiny import TinyExport

from trkx.bundle import STAGES, Bundle
from trkx.errors import BundleError, ExportError
from trkx.export.aoti_file import aoti_bytes, without_sources
from trkx.export.build import export_models
from trkx.export.pipeline_folder import load_network
from trkx.export.stage_files import target_of_entry
from trkx.identity import STAGE_KEY, TARGET_KEY


@pytest.fixture(scope="module")
def with_targets(tiny_export: TinyExport, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("targets") / "bundle"
    targets = ("ort-cuda", "tensorrt", "libtorch", "ort-cpu", "ort-cuda", "triton", "acts-torch")
    export_models(tiny_export.source, folder, tiny_export.event, targets=targets)
    return folder


def test_each_onnx_target_has_its_files(with_targets: Path) -> None:
    bundle = Bundle.open(with_targets)
    bundle.verify()
    assert bundle.strangers() == []
    found = {entry.path: target_of_entry(entry) for entry in bundle.manifest.files if entry.stage in STAGES}
    wanted = {f"{stage}.onnx": "ort-cpu" for stage in STAGES} | {f"{stage}.pt": "libtorch" for stage in STAGES}
    for target in ("ort-cuda", "tensorrt"):
        wanted |= {f"{target}/{stage}.onnx": target for stage in STAGES}
    wanted |= {f"acts/{stage}.pt": "acts-torch" for stage in STAGES}
    wanted |= {f"triton/{stage}/1/model.onnx": "triton" for stage in STAGES} | {
        f"triton/{stage}/config.pbtxt": "triton" for stage in STAGES
    }
    assert found == wanted
    for path, target in found.items():
        if path.endswith(".onnx"):
            model = onnx.load_model(with_targets / path)
            held = {item.key: item.value for item in model.metadata_props}
            assert held[TARGET_KEY] == target
            assert held[STAGE_KEY] == (Path(path).parts[1] if target == "triton" else Path(path).stem)
            assert any(row["file"] == path for row in bundle.manifest.validation["checks"])


def test_the_runtime_reads_the_files_of_its_own_target(with_targets: Path) -> None:
    bundle = Bundle.open(with_targets)
    assert bundle.entry("gnn", "onnx").path == "gnn.onnx"
    assert bundle.entry("gnn", "onnx", target="tensorrt").path == "tensorrt/gnn.onnx"
    with pytest.raises(BundleError, match="no onnx file of stage gnn in float32 for acts-onnx"):
        bundle.read("gnn", "onnx", target="acts-onnx")


@pytest.mark.parametrize(
    ("targets", "lowerings", "message"),
    [
        (["ort-gpu"], [], "unknown target 'ort-gpu'.* Known: acts, acts-onnx, "),
        (["actz"], [], "Did you mean 'acts'"),
        (["acts-tensorrt"], [], "binds an input edge_attr"),
        (["tensorrt"], ["tensorrt=buckets"], "buckets is not right or not fast on tensorrt"),
        (["tensorrt"], ["scatter"], "can be meant for ort-cpu and tensorrt; say which: --lowering ort-cpu=scatter or "),
        ([], ["sorted"], "unknown lowering 'sorted'"),
    ],
)
def test_wrong_names_are_refused_before_anything_is_done(
    targets: list[str], lowerings: list[str], message: str, tiny_export: TinyExport, tmp_path: Path
) -> None:
    with pytest.raises(ExportError, match=message):
        export_models(tiny_export.source, tmp_path / "bundle", tiny_export.event, targets=targets, lowerings=lowerings)
    assert list(tmp_path.iterdir()) == []


def test_an_aoti_package_gives_the_same_on_graphs_of_any_size(tiny_export: TinyExport, tmp_path: Path, rng) -> None:
    network = load_network(tiny_export.source, "gnn")
    data = aoti_bytes("gnn", network, 3, {STAGE_KEY: "gnn"})
    file = tmp_path / "gnn.pt2"
    file.write_bytes(data)
    assert b".cpp" not in data[-4000:]  # the archive's list of files names no source
    model = torch._inductor.aoti_load_package(str(file))
    assert without_sources(data)
    for nodes, edges in ((7, 11), (1, 0), (5, 0), (2, 1), (300, 2000), (800, 60)):
        x = torch.tensor(rng.uniform(0.05, 1.0, (nodes, 3)), dtype=torch.float32)
        edge_index = torch.tensor(rng.integers(0, nodes, (2, edges)))
        with torch.no_grad():
            np.testing.assert_allclose(model(x, edge_index).numpy(), network(x, edge_index).numpy(), atol=2e-5)


def test_a_network_that_aoti_cannot_compile_is_refused() -> None:
    class Baked(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x * float(x.sum().item() > 0) if x.sum().item() > 0 else x

    with pytest.raises(ExportError, match="embedding: AOTInductor could not compile"):
        aoti_bytes("embedding", Baked().eval(), 3, {})


def test_help_names_every_target() -> None:
    from typer.testing import CliRunner

    from trkx import cli
    from trkx.export.targets import GROUPS, TARGETS

    text = CliRunner().invoke(cli.app, ["export", "--help"], terminal_width=200).output
    option = re.sub(r"\s+", " ", text.split("--target")[1].split("--lowering")[0]).replace("- ", "-")
    named = set(re.findall(r"[a-z0-9]+(?:-[a-z0-9]+)*", option))
    assert {*TARGETS, *GROUPS} <= named
    assert "\u2026" not in option
