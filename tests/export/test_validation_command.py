"""`trkx validate`: right files pass, wrong ones exit with 1, and what could not be checked is never called passed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import onnx
import pytest
import torch
from onnx import helper
from support.tiny import TinyExport
from typer.testing import CliRunner, Result

from trkx import cli
from trkx.bundle import Bundle, file_entry, write_manifest
from trkx.errors import ExportError
from trkx.export.check import expectations, oracle_of
from trkx.export.validation import lone, validate
from trkx.export.validation.lone import validate_file
from trkx.export.validation.report import GROUPS, Report, Row
from trkx.export.validation.surroundings import lint_rows
from trkx.export.validation.validate import LEVELS, Depth, checks_of_export, depth_of, files_of, validate_bundle
from trkx.export.validation.whole_event import OracleEngine
from trkx.export.zoo import cases
from trkx.runtime.engines.eager import load_networks
from trkx.runtime.events import write_event_parquet

runner = CliRunner()


def run(*arguments: str | Path) -> Result:
    return runner.invoke(cli.app, ["validate", *map(str, arguments)])


@pytest.fixture(autouse=True)
def _few_edges(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.set_num_threads(1)
    for name, depth in LEVELS.items():
        monkeypatch.setitem(LEVELS, name, replace(depth, edges=1_000, threads=(1,)))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def events(tiny_export: TinyExport, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the small event: on the one that ships, networks without training make a million edges."""
    folder = tmp_path_factory.mktemp("events")
    write_event_parquet(folder, replace(tiny_export.event, cells={}))
    return folder


def made(*rows: Row) -> Callable[..., Report]:
    return lambda *arguments: Report("Validation of tiny", "tiny", rows)


PASSED = Row("graphs", "gnn", "gnn.onnx", "engine", "star", "passed", 1e-6, 1e-5)
FAILED = Row("graphs", "gnn", "gnn.onnx", "engine", "star", "failed", 1.0, 1e-5, "[red]differs[/red] \x1b[2J by 1")
OPEN = Row("tracks", "pipeline", "", "TensorRT", "all", "not checked", detail="not installed")


@pytest.mark.parametrize(
    ("rows", "code", "words"),
    [
        ((PASSED,), 0, "1 passed, 0 failed, 0 not checked"),
        ((PASSED, OPEN), 0, "1 passed, 0 failed, 1 not checked"),
        ((PASSED, FAILED), 1, "1 passed, 1 failed, 0 not checked"),
        ((OPEN,), 1, "nothing could be checked"),
        ((), 1, "nothing could be checked"),
    ],
)
def test_exit_code(
    rows: tuple[Row, ...], code: int, words: str, tiny_export: TinyExport, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(validate, "validate_bundle", made(*rows))
    result = run(tiny_export.folder)
    assert result.exit_code == code, result.output
    assert words in result.output
    assert ("\npassed: tiny" in result.output) == (code == 0)


def test_every_failure_is_printed_in_full_and_as_text(tiny_export: TinyExport, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(validate, "validate_bundle", made(PASSED, FAILED, OPEN))
    for arguments in ((), ("--quiet",)):
        output = run(tiny_export.folder, *arguments).output
        assert "failed: gnn.onnx, engine, star: [red]differs[/red]" in output
        assert "\x1b[2J" not in output
    assert "not checked: TensorRT: not installed (1 check: tracks)" in run(tiny_export.folder).output


def test_reports_are_written_where_asked(tiny_export: TinyExport, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(validate, "validate_bundle", made(PASSED, FAILED, OPEN))
    run(tiny_export.folder, "--out", tmp_path / "out", "--json", tmp_path / "a.json", "--html", tmp_path / "b.html")
    held = json.loads((tmp_path / "a.json").read_text())
    assert held["counts"] == {"passed": 1, "failed": 1, "not checked": 1}
    assert held["passed"] is False
    assert (tmp_path / "out" / "validation.json").read_bytes() == (tmp_path / "a.json").read_bytes()
    assert "Failed: 1 of 2 checks" in (tmp_path / "b.html").read_text()
    assert (tmp_path / "out" / "validation.html").read_bytes() == (tmp_path / "b.html").read_bytes()


def test_what_is_asked_wrongly(tiny_export: TinyExport, tmp_path: Path) -> None:
    for arguments, words in (
        ((tmp_path / "nothing",), "there is nothing there"),
        ((tmp_path,), "expected a bundle"),
        ((tiny_export.folder, "--reference", tiny_export.folder / "gnn.pt"), "a bundle says what its files are"),
        ((tiny_export.folder / "gnn.onnx", "--events", tmp_path), "--events is for a bundle"),
        ((tiny_export.folder / "gnn.onnx", "--target", "ort-cpux"), "Did you mean 'ort-cpu'"),
        ((tiny_export.folder / "gnn.onnx", "--stage", "gnm"), "Did you mean 'gnn'"),
        ((tiny_export.folder / "MODEL_CARD.md",), "MODEL_CARD.md"),
    ):
        result = run(*arguments)
        assert result.exit_code == 1
        assert words in result.stderr
    with pytest.raises(ExportError, match="unknown level 'ful'"):
        depth_of("ful")


@pytest.fixture(scope="module")
def right(tiny_export: TinyExport, events: Path) -> Report:
    """Return the quick validation of the bundle as it is."""
    patch = pytest.MonkeyPatch()
    patch.setitem(LEVELS, "export", Depth((1,), 1_000, 2, False))  # type: ignore[arg-type]
    report = validate_bundle(tiny_export.folder, [events], "export")
    patch.undo()
    return report


def test_the_right_bundle_raises_no_alarm(right: Report) -> None:
    assert [row for row in right.rows if row.status == "failed"] == []
    assert right.passed
    done = {row.group for row in right.rows if row.status == "passed"}
    assert {"lint", "graphs", "invariance", "repeatability", "weights"} <= done
    assert all(row.detail for row in right.rows if row.status == "not checked")
    assert all(row.status == "not checked" for row in right.rows if "CUDA" in row.engine)
    assert {"compared with", "machine", "versions", "events", "took"} <= right.facts.keys()


def test_the_full_level_adds_tracks_placement_memory_and_optimisers(
    tiny_export: TinyExport, events: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def named(group: str) -> Callable[..., list[Row]]:  # these start processes and tools, and have tests of their own
        return lambda file, *rest: [Row(group, file.stage, file.path, "", "", "passed")]

    monkeypatch.setattr(validate, "cases", lambda *arguments: cases(*arguments)[:3])
    monkeypatch.setattr(validate, "memory_rows", named("memory"))
    monkeypatch.setattr(validate, "optimiser_rows", named("optimisers"))
    told: list[str] = []
    report = validate_bundle(tiny_export.folder, [events], "full", told.append)
    assert report.passed, [row for row in report.rows if row.status == "failed"]
    assert {row.group for row in report.rows} == set(GROUPS) - {"acts"}  # which this bundle has no files for
    assert len(report.scores) >= 4
    assert "lint" in told
    assert any(what.startswith("tracks of event 0") for what in told)


def copied(folder: Path, target: Path, path: str, data: bytes) -> Path:
    """Return a copy of a bundle with another file in it, listed with its new checksum: wrong, but not edited."""
    shutil.copytree(folder, target)
    (target / path).write_bytes(data)
    manifest = Bundle.open(target, check=False).manifest
    entries = tuple(
        file_entry(target, entry.path, entry.stage, entry.format, entry.precision, entry.opset, entry.note, entry.target)
        if entry.path == path else entry for entry in manifest.files
    )
    write_manifest(target, replace(manifest, files=entries))
    return target


def with_the_sign_turned(data: bytes) -> bytes:
    model = onnx.load_model_from_string(data)
    producer = next(node for node in model.graph.node if "output" in node.output)
    producer.output[list(producer.output).index("output")] = "right"
    model.graph.node.append(helper.make_node("Neg", ["right"], ["output"]))
    return model.SerializeToString()


def test_a_wrong_file_of_a_bundle_is_named(tiny_export: TinyExport, tmp_path: Path, events: Path) -> None:
    data = (tiny_export.folder / "filter.onnx").read_bytes()
    folder = copied(tiny_export.folder, tmp_path / "wrong", "filter.onnx", with_the_sign_turned(data))
    result = run(folder, "--quick", "--events", events)
    assert result.exit_code == 1, result.output
    failed = [line for line in result.stdout.splitlines() if line.startswith("failed:")]
    assert failed
    assert all("filter.onnx" in line for line in failed)
    assert any("outputs differ from the float64 network" in line for line in failed)


def test_an_edited_bundle_fails(tiny_export: TinyExport, tmp_path: Path, right: Report) -> None:
    folder = shutil.copytree(tiny_export.folder, tmp_path / "edited")
    data = bytearray((folder / "weights.safetensors").read_bytes())
    data[-1] ^= 1
    (folder / "weights.safetensors").write_bytes(data)
    report = validate_bundle(folder, level="export")
    assert not report.passed
    failed = {row.case: row.detail for row in report.rows if row.status == "failed"}
    assert "SHA-256" in failed["as it was written"]
    assert "no float64 network to compare with" in failed["networks"]


def test_errors_of_lint_are_failures_once_for_each_rule(tiny_export: TinyExport, tmp_path: Path) -> None:
    model = onnx.load_model_from_string((tiny_export.folder / "ort-cuda" / "gnn.onnx").read_bytes())
    scatters = [node for node in model.graph.node if node.op_type == "ScatterElements"]
    assert len(scatters) == 4
    for node in scatters:
        kept = [item for item in node.attribute if item.name != "reduction"]
        del node.attribute[:]
        node.attribute.extend(kept)
    path = tmp_path / "gnn.onnx"
    path.write_bytes(model.SerializeToString())
    rows = lint_rows(path, "ort-cuda")
    assert all(row.status == "failed" for row in rows)
    assert any(row.detail.startswith("TRKX001") and "in 4 places, the first" in row.detail for row in rows)
    assert [row.status for row in lint_rows(tiny_export.folder / "ort-cuda" / "gnn.onnx", "ort-cuda")] == ["passed"]


def test_what_an_export_checks(tiny_export: TinyExport) -> None:
    bundle = Bundle.open(tiny_export.folder)
    networks = load_networks(bundle)
    oracles = {stage: oracle_of(network) for stage, network in networks.items()}
    zoo = cases(bundle.spec, tiny_export.event, OracleEngine(oracles).places)[:3]
    expected = {stage: expectations(stage, networks[stage], zoo) for stage in networks}
    files, _ = files_of(bundle, networks)
    report = checks_of_export(files, bundle.spec, tiny_export.event, expected)
    assert report.passed, [row for row in report.rows if row.status == "failed"]
    assert {"graphs", "invariance", "repeatability", "decisions"} == {row.group for row in report.rows}
    wrong = [
        replace(file, data=with_the_sign_turned(file.data)) if (file.stage, file.format) == ("filter", "onnx") else file
        for file in files
    ]
    report = checks_of_export(wrong, bundle.spec, tiny_export.event, expected)
    assert {row.stage for row in report.rows if row.status == "failed"} == {"filter"}


def test_a_file_on_its_own_is_compared_with_itself_and_says_so(tiny_export: TinyExport) -> None:
    report = validate_file(tiny_export.folder / "filter.onnx", level="export")
    assert report.passed, [row for row in report.rows if row.status == "failed"]
    assert report.facts["compared with"] == "the file's own graph in float64"
    assert report.facts["stage"] == "filter"
    assert any("give --reference" in row.detail for row in report.rows if row.status == "not checked")


def test_a_reference_finds_what_the_file_alone_does_not(tiny_export: TinyExport, tmp_path: Path) -> None:
    wrong = tmp_path / "filter.onnx"
    wrong.write_bytes(with_the_sign_turned((tiny_export.folder / "filter.onnx").read_bytes()))
    assert validate_file(wrong, level="export").passed  # a filter with the other sign is a filter as well
    report = validate_file(wrong, reference=tiny_export.folder / "filter.pt", level="export")
    assert not report.passed
    assert report.facts["compared with"].startswith("the reference")
    assert any(row.group == "graphs" and row.status == "failed" for row in report.rows)


def test_torchscript_on_its_own(tiny_export: TinyExport) -> None:
    report = validate_file(tiny_export.folder / "gnn.pt", level="export")
    assert report.passed, [row for row in report.rows if row.status == "failed"]
    assert (report.facts["stage"], report.facts["target"]) == ("gnn", "libtorch")


def test_a_foreign_file_has_doors_or_is_refused(tiny_export: TinyExport, tmp_path: Path) -> None:
    model = onnx.load_model_from_string((tiny_export.folder / "filter.onnx").read_bytes())
    del model.metadata_props[:]
    file, spec = lone.described(Path("foreign.onnx"), "onnx", model.SerializeToString(), "ort-cpu")
    assert (file.stage, file.num_features, file.width, file.cut) == ("filter", 3, 1, None)
    assert [feature.name for feature in spec.features] == ["column 0", "column 1", "column 2"]
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_param = "F"
    with pytest.raises(ExportError, match="expected x of shape"):
        lone.described(Path("foreign.onnx"), "onnx", model.SerializeToString(), "ort-cpu")
