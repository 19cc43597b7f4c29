"""A small bundle, for tests of what a bundle is: real manifest, files of arbitrary bytes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from trkx.bundle import Manifest, file_entry, staged, write_manifest
from trkx.spec import CutSpec, EmbeddingSpec, FeatureSpec, FilterSpec, GNNSpec, GraphSpec, PipelineSpec

SPEC = PipelineSpec(
    name="tiny",
    features=(FeatureSpec("r", 1000.0, 0.0, 1.1), FeatureSpec("phi", 3.141592653589793), FeatureSpec("z", 1000.0)),
    embedding=EmbeddingSpec(hidden=8, layers=2, dim=4),
    graph=GraphSpec(radius=0.1, k_max=100),
    filter=FilterSpec(hidden=8, layers=2),
    gnn=GNNSpec(hidden=8, iterations=2),
    cuts=CutSpec(filter=0.1, gnn=0.5),
)
FILES = {"embedding.onnx": ("embedding", "onnx"), "gnn.pt": ("gnn", "torchscript"), "weights.safetensors": ("all", "safetensors")}


def write_bundle(folder: Path, content: bytes = b"content", overwrite: bool = False) -> None:
    with staged(folder, overwrite) as temporary:
        for name in FILES:
            (temporary / name).write_bytes(content + name.encode())
        opsets = {"onnx": 18}
        entries = tuple(file_entry(temporary, name, stage, kind, opset=opsets.get(kind)) for name, (stage, kind) in FILES.items())
        write_manifest(temporary, Manifest("tiny", SPEC, entries, {"versions": {"trkx": "0"}}, {"rows": [{"file": "gnn.pt"}]}))


@pytest.fixture
def make_bundle() -> Callable[..., None]:
    return write_bundle


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    write_bundle(tmp_path / "bundle")
    return tmp_path / "bundle"


@pytest.fixture
def spec() -> PipelineSpec:
    return SPEC
