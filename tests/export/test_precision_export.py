"""`export-models --precision`: the files, what the manifest says of them, that they are linted and validated, what is refused."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from support.tiny import TinyExport
from typer.testing import CliRunner

from trkx.bundle import STAGES, Bundle, write_manifest
from trkx.cli import app
from trkx.errors import ExportError, SpecError
from trkx.export import build
from trkx.export.build import ExportReport, export_models, steps_of
from trkx.export.lint.run import lint
from trkx.export.precision import files as half_files
from trkx.export.precision.convert import Converted, in_half
from trkx.export.precision.table import HalfType, file_precision
from trkx.export.validation import lone as alone
from trkx.export.validation import validate
from trkx.export.zoo import cases
from trkx.runtime.engines import open_engine

SOME = ("event", "star", "one edge", "zero edges")
WORDS = ("filter=fp16,gnn=fp16", "mixed")
Exported = tuple[Path, ExportReport, list[tuple[str, int, int]]]


@pytest.fixture(scope="module")
def exported(tiny_export: TinyExport, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    folder, steps = tmp_path_factory.mktemp("precision") / "bundle", list[tuple[str, int, int]]()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(build, "cases", lambda *args: [case for case in cases(*args) if case.name in SOME])
        report = export_models(tiny_export.source, folder, tiny_export.event, targets=("ort-cuda",), precisions=WORDS,
                               progress=lambda *step: steps.append(step))
    return folder, report, steps


def test_each_stage_has_its_files(exported: Exported) -> None:
    folder, _, steps = exported
    bundle = Bundle.open(folder)
    bundle.verify()
    assert bundle.strangers() == []
    half = {entry.path: entry.precision for entry in bundle.manifest.files if entry.precision != "float32"}
    types = {"fp16": "float16", "bf16": "bfloat16"}
    wanted = {f"{stage}.{short}.onnx": name for stage in ("filter", "gnn") for short, name in types.items()}
    assert half == wanted | {f"ort-cuda/{path}": name for path, name in wanted.items()}
    for stage in STAGES:
        for word in WORDS:
            data = bundle.read(stage, "onnx", file_precision(word, stage))
            held = {item.key: item.value for item in onnx.load_model_from_string(data).metadata_props}
            assert held.get("pkg.trkx.precision", "float32") == file_precision(word, stage)
    assert "products in half precision" in bundle.entry("gnn", "onnx", "float16", "ort-cuda").note
    assert bundle.entry("gnn", "onnx").path == "gnn.onnx"  # who asks for nothing gets float32
    assert bundle.manifest.provenance["options"]["precisions"] == ["filter=fp16,gnn=fp16", "filter=bf16,gnn=bf16"]
    assert [done for _, done, _ in steps] == list(range(steps_of(bundle.spec, ("ort-cuda",), WORDS)))


def test_they_are_linted_compared_and_counted(exported: Exported) -> None:
    folder, report, _ = exported
    linted = {Path(one.file).relative_to(folder).as_posix(): one for one in lint(folder)}
    for path in ("filter.fp16.onnx", "gnn.bf16.onnx", "ort-cuda/gnn.fp16.onnx"):
        assert linted[path].count("error") == 0
        rows = [row for row in report.rows if row.file == path]
        assert {"float32 where it must be", "casts alone were added", "one edge"} <= {row.graph for row in rows}
        decided = [row for row in rows if row.graph.startswith("decisions")]
        assert decided or any(path in line and "flips inside the band" in line for line in report.not_checked)
        assert all(f"{path}: " in row.detail and " 0 outside" in row.detail for row in decided)
        counts = [line for line in (*report.not_checked, *(row.detail for row in decided)) if "flips inside the band" in line]
        assert not any(re.search("edges flip;|edges: ", line) for line in counts)  # once is enough
    fp16 = {row.graph for row in report.rows if row.file == "gnn.fp16.onnx" and row.engine.startswith("ONNX Runtime CPU")}
    assert {"event", "star", "zero edges"} <= fp16
    bf16 = {row.engine for row in report.rows if row.file == "gnn.bf16.onnx"}
    assert "emulated bfloat16" in bf16
    assert any("gnn.bf16.onnx: ONNX Runtime CPU" in line for line in report.not_checked)


@pytest.fixture(scope="module")
def validated(exported: Exported) -> tuple[str, dict[str, Any]]:
    """What `trkx validate` prints, and its JSON."""
    where = exported[0].parent / "v.json"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(validate, "cases", lambda *args: [case for case in cases(*args) if case.name in SOME])
        result = CliRunner().invoke(app, ["validate", str(exported[0]), "--quick", "--json", str(where)])
    assert result.exit_code == 0, result.output
    return result.stdout, json.loads(where.read_text())


def test_validation_looks_at_them_too(validated: tuple[str, dict[str, Any]]) -> None:
    report = validated[1]
    assert [row for row in report["rows"] if row["status"] == "failed"] == []
    for path in ("filter.fp16.onnx", "ort-cuda/gnn.bf16.onnx"):
        groups = {(row["group"], row["case"]) for row in report["rows"] if row["file"] == path}
        assert {("graphs", "float32 where it must be"), ("graphs", "casts alone were added"), ("graphs", "star")} <= groups
        assert any(group == "decisions" for group, _ in groups)
    scored = {score["file"] for score in report["scores"]}
    assert {"gnn.onnx", "gnn.fp16.onnx", "gnn.bf16.onnx"} <= scored


def test_what_no_engine_here_runs_is_named_to_the_last_line(validated: tuple[str, dict[str, Any]]) -> None:
    last = " ".join(validated[0].split("\n")[-2:])
    assert "passed: " in last and " not checked; run by no engine here: " in last
    wanted = {"filter.bf16.onnx", "gnn.bf16.onnx", "ort-cuda/filter.bf16.onnx", "ort-cuda/gnn.bf16.onnx"}
    assert set(last.split("no engine here: ")[1].strip().split(", ")) == wanted
    assert set(validated[1]["not_run"]) == wanted


def test_why_they_were_not_run_is_said_once_and_the_raw_text_is_kept(validated: tuple[str, dict[str, Any]]) -> None:
    said = [line for line in validated[0].split("\n") if "no engine here runs bf16 files" in line]
    assert len(said) == 1 and "4 files: filter.bf16.onnx, " in said[0]
    assert "NOT_IMPLEMENTED" not in validated[0] and "Gemm" not in validated[0]
    missing = [row for row in validated[1]["rows"] if row["status"] == "not checked"]
    assert any("NOT_IMPLEMENTED" in row["detail"] for row in missing)
    counts = [int(count) for line in validated[0].split("\n") for count in re.findall(r"^not checked: .*\((\d+) checks?:", line)]
    assert sum(counts) == len(missing) == validated[1]["counts"]["not checked"]


@pytest.mark.parametrize("precision", ["float16", "bfloat16"])
def test_a_half_precision_file_on_its_own(precision: str, exported: Exported, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alone, "cases", lambda *args: [case for case in cases(*args) if case.name in SOME])
    path = exported[0] / Bundle.open(exported[0]).entry("gnn", "onnx", precision).path
    report = alone.validate_file(path, level="export")
    assert [row.detail for row in report.rows if row.status == "failed"] == []
    checked = {(row.group, row.case): row.status for row in report.rows}
    assert checked["graphs", "float32 where it must be"] == "passed"
    assert checked["graphs", "casts alone were added"] == "not checked"
    assert report.not_run == (() if precision == "float16" else (path.name,))
    groups = {row.group for row in report.rows if row.status == "passed"}
    assert ("repeatability" in groups and "invariance" in groups) == (precision == "float16")


def test_a_half_precision_file_beside_a_network_in_float32_is_refused(exported: Exported) -> None:
    """Its casts are no fault, and tolerances of float32 would call them one."""
    path = exported[0] / Bundle.open(exported[0]).entry("filter", "onnx", "float16").path
    with pytest.raises(ExportError, match="leave --reference out, or validate its bundle"):
        alone.validate_file(path, reference=exported[0] / "filter.pt", level="export")


def test_a_half_precision_file_on_its_own_that_sums_in_half_fails(exported: Exported, tmp_path: Path) -> None:
    model = onnx.load_model_from_string(Bundle.open(exported[0]).read("gnn", "onnx", "float16"))
    last = next(node for node in model.graph.node if "output" in node.output)
    last.output[0] = "logits"
    model.graph.node.extend([
        onnx.helper.make_node("Cast", ["logits"], ["logits_half"], to=onnx.TensorProto.FLOAT16),
        onnx.helper.make_node("Cast", ["logits_half"], ["output"], to=onnx.TensorProto.FLOAT),
    ])
    (tmp_path / "gnn.onnx").write_bytes(model.SerializeToString())
    report = alone.validate_file(tmp_path / "gnn.onnx", level="export")
    assert any(row.status == "failed" and "makes the output from float16" in row.detail for row in report.rows)


def test_a_float32_file_on_its_own_that_says_float16_fails(exported: Exported, tmp_path: Path) -> None:
    bundle = Bundle.open(exported[0])
    model = onnx.load_model_from_string(bundle.read("gnn", "onnx"))
    half = onnx.load_model_from_string(bundle.read("gnn", "onnx", "float16"))
    del model.metadata_props[:]
    model.metadata_props.extend(half.metadata_props)
    (tmp_path / "gnn.onnx").write_bytes(model.SerializeToString())
    report = alone.validate_file(tmp_path / "gnn.onnx", level="export")
    assert any(row.status == "failed" and "float32 under another name" in row.detail for row in report.rows)


def test_a_bundle_that_was_exported_with_the_old_words_still_runs(exported: Exported, tmp_path: Path) -> None:
    folder = tmp_path / "old"  # "mixed" once meant float16 for files; the files always said so themselves
    shutil.copytree(exported[0], folder)
    manifest = Bundle.open(folder).manifest
    files = tuple(entry for entry in manifest.files if entry.precision != "bfloat16")
    options = {**manifest.provenance["options"], "precisions": ["mixed"]}
    write_manifest(folder, replace(manifest, files=files, provenance={**manifest.provenance, "options": options}))
    bundle = Bundle.open(folder)
    open_engine("onnxruntime", bundle, 1, "filter=fp16,gnn=fp16")
    with pytest.raises(SpecError, match="does not run in bf16 on a CPU"):  # float16 is not taken for it
        open_engine("onnxruntime", bundle, 1, "mixed")


def test_the_half_file_is_half_and_near(exported: Exported) -> None:
    bundle = Bundle.open(exported[0])
    rng = np.random.default_rng(3)
    feeds = {"x": np.abs(rng.normal(0, 1, (50, 3))).astype(np.float32), "edge_index": rng.integers(0, 50, (2, 400))}
    files = [bundle.read("gnn", "onnx", precision) for precision in ("float32", "float16")]
    sessions = [onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"]) for data in files]
    outputs = [session.run(None, feeds)[0] for session in sessions]
    difference = np.abs(outputs[0] - outputs[1]).max()
    assert 0.0 < difference < 0.02 * np.abs(outputs[0]).max()
    assert outputs[1].dtype == np.float32


def test_a_wrong_conversion_leaves_nothing(tiny_export: TinyExport, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def logits_too(model: onnx.ModelProto, half: HalfType) -> Converted:
        result = in_half(model, half)
        last = next(node for node in result.model.graph.node if "output" in node.output)
        last.output[0] = "logits"
        result.model.graph.node.extend([
            onnx.helper.make_node("Cast", ["logits"], ["logits_half"], to=half.onnx),
            onnx.helper.make_node("Cast", ["logits_half"], ["output"], to=onnx.TensorProto.FLOAT),
        ])
        return result

    monkeypatch.setattr(half_files, "in_half", logits_too)
    monkeypatch.setattr(build, "cases", lambda *args: [case for case in cases(*args) if case.name in SOME])
    with pytest.raises(ExportError, match=r"\.fp16\.onnx.*makes the output from float16"):
        export_models(tiny_export.source, tmp_path / "bundle", tiny_export.event, precisions=("fp16",))
    assert not (tmp_path / "bundle").exists()


def test_an_unknown_precision_is_refused_before_anything_is_written(tiny_export: TinyExport, tmp_path: Path) -> None:
    for word, error, message in (
        ("half", SpecError, r"unknown precision 'half'.*fp16"), ("tf32", ExportError, "there is no tf32 file"),
        ("gmm=fp16", SpecError, "unknown stage 'gmm'"),
    ):
        with pytest.raises(error, match=message):
            export_models(tiny_export.source, tmp_path / "bundle", tiny_export.event, precisions=(word,))
    assert not (tmp_path / "bundle").exists()
