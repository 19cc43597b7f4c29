"""`describe` says what a file is, with whichever package is there, and executes nothing of it."""

from __future__ import annotations

import importlib.util
import io
import json
import pickle
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save

from trkx.bundle import file_entry, write_manifest
from trkx.errors import CheckpointError, InputError, MissingExtraError, SpecError
from trkx.export.describing import SUFFIXES
from trkx.manifest import Manifest
from trkx.runtime import describe as module
from trkx.runtime.describe import describe, spec_of
from trkx.spec import PipelineSpec

TOML = """
name = "tiny"
features = [{ name = "r", scale = 1000.0 }, { name = "phi", scale = 3.14 }, { name = "z", scale = 1000.0 }]
embedding = { hidden = 8, layers = 2, dim = 4 }
graph = { radius = 0.1 }
filter = { hidden = 8, layers = 2 }
gnn = { hidden = 8, iterations = 2 }
cuts = { filter = 0.1, gnn = 0.5 }
[checkpoints]
embedding = "e.safetensors"
gnn = "nowhere.safetensors"
"""
WEIGHTS = save({"layer.weight": np.zeros((3, 2), np.float32)}, {"epoch": "7"})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "pipeline.toml").write_text(TOML)
    (tmp_path / "e.safetensors").write_bytes(WEIGHTS)
    return tmp_path


def without(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda name: None if name in names else find(name))


def onnx_file(path: Path, spec: dict[str, Any], opset: int = 18) -> Path:
    from onnx import TensorProto, helper

    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["num_hits", 3])
    output = helper.make_tensor_value_info("output", TensorProto.FLOAT, ["num_hits", 3])
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["output"])], "graph", [x], [output])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)
    helper.set_model_props(model, {"pkg.trkx.stage": "embedding", "pkg.trkx.spec": json.dumps(spec)})
    path.write_bytes(model.SerializeToString())
    return path


def test_a_pipeline_folder(folder: Path) -> None:
    found = describe(folder)
    assert found == describe(folder / "pipeline.toml")
    assert (found["kind"], found["name"], found["ok"]) == ("pipeline folder", "tiny", False)
    assert [(file["stage"], file["state"]) for file in found["files"]] == [("embedding", "ok"), ("gnn", "is missing")]
    assert found["files"][0]["content"]["tensors"] == [{"name": "layer.weight", "dtype": "F32", "shape": [3, 2]}]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("radius", "raduis", "unknown key 'raduis'. Did you mean 'radius'"),
        ("name =", "name ", "not valid TOML"),
        ("[checkpoints]", "checkpoints = 3\n[gnn2]", "checkpoints: expected a table"),
    ],
)
def test_a_broken_pipeline_toml_names_file_and_key(folder: Path, old: str, new: str, message: str) -> None:
    (folder / "pipeline.toml").write_text(TOML.replace(old, new, 1))
    with pytest.raises(SpecError, match=message) as raised:
        describe(folder)
    assert "pipeline.toml" in str(raised.value)


def test_safetensors(folder: Path) -> None:
    assert describe(folder / "e.safetensors")["metadata"] == {"epoch": "7"}


def _headed(header: bytes) -> bytes:
    return len(header).to_bytes(8, "little") + header


BROKEN = {
    "deep lists": _headed(b"[" * 5_000_000),
    "deep objects": _headed(b'{"a":' * 1_000_000),
    "many keys": _headed(b"{" + b",".join(b'"%d":1' % number for number in range(300_000)) + b"}"),
    "huge number": _headed(b'{"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, Infinity]}}'),
    "metadata that are no text": _headed(b'{"__metadata__": {"pkg.trkx.spec": [1]}}'),
    "metadata that are a list": _headed(b'{"__metadata__": [1]}'),
    "empty": b"",
    "huge header": b"\xff" * 20,
    "no JSON": b"\2" + b"\0" * 7 + b"no",
    "truncated": WEIGHTS[:-1],
    "longer": WEIGHTS + b"x",
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_safetensors(tmp_path: Path, name: str) -> None:
    (tmp_path / "w.safetensors").write_bytes(BROKEN[name])
    with pytest.raises(CheckpointError, match=r"w\.safetensors: "):
        describe(tmp_path / "w.safetensors")


def test_long_safetensors_headers_are_not_parsed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "w.safetensors"
    path.write_bytes(_headed(b" " * (module.MOST_HEADER_BYTES + 1)))
    monkeypatch.setattr(module.json, "loads", lambda text: pytest.fail("parsed"))
    with pytest.raises(CheckpointError, match=r"header of 8,388,609 bytes, at most 8,388,608"):
        describe(path)


def test_more_tensors_than_any_network_has_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    path.write_bytes(BROKEN["many keys"])
    with pytest.raises(CheckpointError, match="300,000 tensors, at most 100,000"):
        describe(path)


def test_each_file_of_a_bundle_shows_its_own_content(folder: Path) -> None:
    """Files of one stage for several targets differ; each is shown as it is."""
    spec = PipelineSpec.from_dict(describe(folder)["spec"])
    bundle, entries = folder / "bundle", []
    (bundle / "other").mkdir(parents=True)
    for target, opset in (("ort-cpu", 18), ("", 17), ("exatrkx-2021", 16)):
        name = "other/embedding.onnx" if target == "exatrkx-2021" else f"embedding{target}.onnx"
        onnx_file(bundle / name, spec.to_dict(), opset)
        entries.append(file_entry(bundle, name, "embedding", "onnx", opset=opset, target=target))
    write_manifest(bundle, Manifest(spec.name, spec, tuple(entries)))
    found = describe(bundle)
    assert found["ok"]
    assert [file["content"]["opset"]["ai.onnx"] for file in found["files"]] == [file["opset"] for file in found["files"]]
    assert [file["opset"] for file in found["files"]] == [18, 17, 16]


def test_torchscript_is_described_under_any_name(tmp_path: Path) -> None:
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.save(torch.jit.trace(torch.nn.Linear(3, 2), torch.zeros(1, 3)), tmp_path / "gnn.ckpt")
    assert describe(tmp_path / "gnn.ckpt")["kind"] == "torchscript"


def test_messages_name_the_checkpoints_that_inspect_takes(tmp_path: Path) -> None:
    assert {*module.CHECKPOINT_SUFFIXES, ".safetensors"} == set(SUFFIXES)
    with pytest.raises(InputError, match=r"a checkpoint \(\.ckpt, \.pt, "):
        describe(tmp_path / "nowhere.ckpt")


def test_onnx_with_either_package(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = describe(folder)["spec"]
    path = onnx_file(folder / "embedding.onnx", spec)
    full = describe(path)
    assert (full["opset"], full["ir_version"], full["operators"]) == ({"ai.onnx": 18}, 10, {"Relu": 1})
    without(monkeypatch, "onnx")
    lean = describe(path)
    assert "opset" not in lean
    for found in (full, lean):
        assert found["inputs"] == [{"name": "x", "dtype": "float", "shape": ["num_hits", 3]}]
        read = spec_of(found)
        assert read is not None
        assert read.to_dict() == spec
    without(monkeypatch, "onnx", "onnxruntime")
    with pytest.raises(MissingExtraError, match=r'pip install "trkx\[cpu\]"'):
        describe(path)


@pytest.mark.parametrize("absent", [(), ("onnx",)], ids=["onnx", "onnxruntime"])
def test_a_broken_onnx_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, absent: tuple[str, ...]) -> None:
    (tmp_path / "gnn.onnx").write_bytes(b"\x0a\xff not a protobuf")
    without(monkeypatch, *absent)
    with pytest.raises(InputError, match=r"gnn\.onnx: "):
        describe(tmp_path / "gnn.onnx")


def test_torchscript(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.save(torch.jit.trace(torch.nn.Linear(3, 2), torch.zeros(1, 3)), tmp_path / "gnn.pt")
    found = describe(tmp_path / "gnn.pt")
    assert "forward" in found["signature"]
    assert [(t["name"], t["shape"]) for t in found["tensors"]] == [("bias", [2]), ("weight", [2, 3])]
    without(monkeypatch, "torch")
    with pytest.raises(MissingExtraError, match=r"trkx\[export\]"):
        describe(tmp_path / "gnn.pt")


class Trap:
    def __reduce__(self) -> tuple[Any, ...]:
        return (pytest.fail, ("the pickle was executed",))


def test_a_pickled_checkpoint_stays_closed(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(Trap()))
    for data, message in ((buffer.getvalue(), "pickled checkpoint"), (pickle.dumps(Trap()), "not a TorchScript file")):
        (tmp_path / "model.pt").write_bytes(data)
        with pytest.raises(InputError, match=message):
            describe(tmp_path / "model.pt")


@pytest.mark.parametrize("name", ["nowhere", "text.txt", "."])
def test_what_trkx_does_not_know(tmp_path: Path, name: str) -> None:
    (tmp_path / "text.txt").write_text("x")
    with pytest.raises(InputError, match=r"expected a bundle \(folder with bundle\.json\)"):
        describe(tmp_path / name)
