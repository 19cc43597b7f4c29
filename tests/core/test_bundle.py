"""A bundle is whole, as it was written, and inside its folder; or it is refused with one message."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from trkx.bundle import SCHEMA, Bundle, Manifest
from trkx.errors import BundleError
from trkx.spec import PipelineSpec


def edit(bundle: Path, change: Callable[[dict[str, Any]], None]) -> None:
    values = json.loads((bundle / "bundle.json").read_text())
    change(values)
    (bundle / "bundle.json").write_text(json.dumps(values))


def test_reads_what_was_written(bundle: Path, spec: PipelineSpec) -> None:
    opened = Bundle.open(bundle)
    assert opened.spec == spec
    assert opened.manifest.provenance == {"versions": {"trkx": "0"}}
    assert opened.read("embedding", "onnx") == b"contentembedding.onnx"
    assert opened.read("filter", "safetensors") == opened.read("all", "safetensors") == b"contentweights.safetensors"
    assert opened.entry("embedding", "onnx").opset == 18
    assert opened.strangers() == []
    assert set(opened.problems().values()) == {""}
    opened.verify()


def test_manifest_survives_json(bundle: Path) -> None:
    manifest = Bundle.open(bundle).manifest
    again = Manifest.from_json(manifest.to_json())
    assert again == manifest


def test_a_bundle_through_a_link_is_fine(bundle: Path) -> None:
    (bundle.parent / "link").symlink_to(bundle)
    Bundle.open(bundle.parent / "link").verify()


ABSENT = [("filter", "onnx", "float32"), ("gnn", "torchscript", "float16"), ("embedding", "tensorrt", "float32")]


@pytest.mark.parametrize("wanted", ABSENT)
def test_what_is_not_there_is_named(bundle: Path, wanted: tuple[str, str, str]) -> None:
    stage, kind, precision = wanted
    with pytest.raises(BundleError, match=f"no {kind} file of stage {stage} in {precision}; the bundle has embedding onnx"):
        Bundle.open(bundle).read(*wanted)


def test_an_edited_file_is_refused_when_read(bundle: Path) -> None:
    (bundle / "gnn.pt").write_bytes(b"contenTgnn.pt")  # same size
    opened = Bundle.open(bundle)
    assert opened.read("embedding", "onnx")  # the others are still good
    for act in (lambda: opened.read("gnn", "torchscript"), opened.verify):
        with pytest.raises(BundleError, match=r"gnn\.pt has SHA-256 \w+… instead of \w+…: edited or corrupted"):
            act()


def test_an_edit_after_opening_is_refused(bundle: Path) -> None:
    opened = Bundle.open(bundle)
    (bundle / "gnn.pt").write_bytes(b"longer than before")
    with pytest.raises(BundleError, match=r"gnn\.pt has 18 bytes instead of 13"):
        opened.read("gnn", "torchscript")


def test_truncated_and_missing_files_are_all_named(bundle: Path) -> None:
    (bundle / "gnn.pt").write_bytes(b"c")
    (bundle / "embedding.onnx").unlink()
    with pytest.raises(BundleError, match=r"embedding\.onnx is missing; gnn\.pt has 1 bytes instead of 13"):
        Bundle.open(bundle)
    assert Bundle.open(bundle, check=False).problems()["embedding.onnx"] == "is missing"


def test_a_folder_in_place_of_a_file(bundle: Path) -> None:
    (bundle / "gnn.pt").unlink()
    (bundle / "gnn.pt").mkdir()
    with pytest.raises(BundleError, match=r"gnn\.pt is missing"):
        Bundle.open(bundle)


def test_a_link_that_leads_outside_is_refused(bundle: Path) -> None:
    outside = bundle.parent / "outside"
    outside.write_bytes((bundle / "gnn.pt").read_bytes())
    (bundle / "gnn.pt").unlink()
    (bundle / "gnn.pt").symlink_to(outside)
    with pytest.raises(BundleError, match=r"gnn\.pt leads outside"):
        Bundle.open(bundle)


@pytest.mark.parametrize("size", [0, 1, 100, -2])
def test_a_truncated_manifest(bundle: Path, size: int) -> None:
    data = (bundle / "bundle.json").read_bytes()
    (bundle / "bundle.json").write_bytes(data[:size])
    with pytest.raises(BundleError, match=r"bundle\.json: not valid JSON"):
        Bundle.open(bundle)


BAD_PATHS = ["../gnn.pt", "/etc/hostname", "a/../../x", "", ".", "..", "C:\\x", "a\\b", "C:x", "bundle.json", "./bundle.json"]
CHANGES: list[tuple[str, Callable[[dict[str, Any]], None], str]] = [
    ("newer", lambda v: v.update(schema=SCHEMA + 1), f"schema {SCHEMA + 1} is newer than schema {SCHEMA}.*upgrade"),
    ("newer with keys of its own", lambda v: v.update(schema=99, magic=1), "schema 99 is newer"),
    ("no schema", lambda v: v.pop("schema"), "expected a schema version.*found None"),
    ("schema of another type", lambda v: v.update(schema="1"), "expected a schema version.*found '1'"),
    ("schema true", lambda v: v.update(schema=True), "expected a schema version"),
    ("unknown key", lambda v: v.update(spce={}), "unknown key 'spce'. Did you mean 'spec'"),
    ("unknown key in the spec", lambda v: v["spec"]["graph"].update(k=3), r"spec\.graph: unknown key 'k'"),
    ("unknown key in a file", lambda v: v["files"][0].update(sha=3), r"files\[0\]: unknown key 'sha'. Did you mean 'sha256'"),
    ("missing key", lambda v: v.pop("files"), "missing key files"),
    ("no number", lambda v: v["spec"]["cuts"].update(gnn="high"), r"spec\.cuts\.gnn: expected float, found 'high'"),
    ("provenance is a list", lambda v: v.update(provenance=[1]), r"provenance: expected a table, found \[1\]"),
    ("short hash", lambda v: v["files"][0].update(sha256="abc"), "sha256 must be 64"),
    ("negative size", lambda v: v["files"][0].update(bytes=-1), "bytes must be at least 0"),
    ("one file twice", lambda v: v["files"].append(v["files"][0]), "two entries with the same path"),
    ("one role twice", lambda v: v["files"].append({**v["files"][0], "path": "x"}), "two entries with the same stage"),
    ("unknown stage", lambda v: v["files"][0].update(stage="gnm"), "unknown value 'gnm'. Did you mean 'gnn'"),
    *((f"path {path!r}", lambda v, path=path: v["files"][0].update(path=path), "path '") for path in BAD_PATHS),
]


@pytest.mark.parametrize(("change", "message"), [c[1:] for c in CHANGES], ids=[c[0] for c in CHANGES])
def test_a_manifest_that_makes_no_sense(bundle: Path, change: Callable[[dict[str, Any]], None], message: str) -> None:
    edit(bundle, change)
    with pytest.raises(BundleError, match=message) as raised:
        Bundle.open(bundle)
    assert str(bundle / "bundle.json") in str(raised.value)


EDITS: list[tuple[str, Callable[[dict[str, Any]], None], str]] = [
    ("a cut", lambda v: v["spec"]["cuts"].update(gnn=0.6), "does not have the SHA-256 .*edited or corrupted"),
    ("a scale", lambda v: v["spec"]["features"][0].update(scale=1.0), "edited or corrupted"),
    ("a number of another type", lambda v: v["spec"]["features"][0].update(scale=1000), "edited or corrupted"),
    ("a part with a default", lambda v: v["spec"].pop("labelling"), "edited or corrupted"),
    ("the order of features", lambda v: v["spec"]["features"].reverse(), "edited or corrupted"),
    ("a file less", lambda v: v["files"].pop(), "edited or corrupted"),
    ("the validation", lambda v: v["validation"].update(passed=True), "edited or corrupted"),
    ("infinity", lambda v: v["provenance"].update(x=float("inf")), "not valid JSON"),
    ("the SHA-256", lambda v: v.update(sha256="0" * 64), "edited or corrupted"),
    ("a SHA-256 that is a list", lambda v: v.update(sha256=[]), "edited or corrupted"),
    ("no SHA-256", lambda v: v.pop("sha256"), "expected a SHA-256 of its own, found none"),
]


@pytest.mark.parametrize(("change", "message"), [c[1:] for c in EDITS], ids=[c[0] for c in EDITS])
def test_an_edited_manifest_is_refused(bundle: Path, change: Callable[[dict[str, Any]], None], message: str) -> None:
    edit(bundle, change)
    with pytest.raises(BundleError, match=rf"bundle\.json: {message if 'not valid' in message else f'.*{message}.*export'}"):
        Bundle.open(bundle)


def test_layout_of_the_manifest_does_not_matter(bundle: Path) -> None:
    opened = Bundle.open(bundle)
    edit(bundle, lambda values: [values.update({key: values.pop(key)}) for key in sorted(values, reverse=True)])
    assert Bundle.open(bundle) == opened


def test_a_number_beyond_float_is_no_manifest(bundle: Path) -> None:
    text = (bundle / "bundle.json").read_text()
    (bundle / "bundle.json").write_text(text.replace("0.5", "1e999"))
    with pytest.raises(BundleError, match="not valid JSON"):
        Bundle.open(bundle)


NO_MANIFESTS = [("[1]", "expected a JSON object, found list"), ('{"schema": NaN}', "NaN is not a JSON value")]


@pytest.mark.parametrize(("text", "message"), NO_MANIFESTS)
def test_json_that_is_no_manifest(bundle: Path, text: str, message: str) -> None:
    (bundle / "bundle.json").write_text(text)
    with pytest.raises(BundleError, match=message):
        Bundle.open(bundle)


def test_places_without_a_bundle(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "empty").mkdir()
    cases = {"nowhere": "nothing", "file": "a file", "empty": "an empty folder", ".": "a folder with empty, file"}
    for name, found in cases.items():
        with pytest.raises(BundleError, match=f"found {found}"):
            Bundle.open(tmp_path / name)


@pytest.mark.parametrize("value", [float("nan"), {1, 2}, b"x"], ids=["nan", "set", "bytes"])
def test_only_plain_values_are_written(bundle: Path, value: object) -> None:
    manifest = Bundle.open(bundle).manifest
    with pytest.raises(BundleError, match="plain, finite"):
        Manifest(manifest.name, manifest.spec, manifest.files, {"value": value}).to_json()


def test_keys_that_are_no_text_read_back(bundle: Path) -> None:
    manifest = Bundle.open(bundle).manifest
    data = Manifest(manifest.name, manifest.spec, manifest.files, {"seeds": {10: (1, 2), 9: "é"}}).to_json()
    assert Manifest.from_json(data).provenance == {"seeds": {"10": [1, 2], "9": "é"}}
