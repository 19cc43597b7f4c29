"""The export as a whole: what a bundle holds, what stops an export, and what is there afterwards."""

from __future__ import annotations

import errno
import hashlib
import io
import json
import shutil
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
from support.tiny import TinyExport, tiny_pipeline, tiny_spec, write_spec
from typer.testing import CliRunner

from trkx import cli
from trkx.bundle import STAGES, Bundle, file_entry
from trkx.errors import BundleError, CheckpointError, ExportError
from trkx.export import build, door, sample
from trkx.export.build import export_models
from trkx.export.card import model_card
from trkx.export.pipeline_folder import open_source
from trkx.spec import EmbeddingSpec, GNNSpec, PipelineSpec

GRAPHS = ("event", "star", "duplicate edges", "isolated hits", "one edge", "zero edges")
FORMATS = {"onnx": ".onnx", "torchscript": ".pt"}


def listing(folder: Path) -> dict[str, str]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture
def writes(tiny_export: TinyExport, monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[str, bytes], bytes]], None]:
    """Make the writers write the tiny bundle's files, changed by a function of (name, content): no new translation."""

    def install(change: Callable[[str, bytes], bytes]) -> None:
        def write_stage(folder: Path, source: object, stage: str, *rest: object) -> list[object]:
            entries = []
            for format, suffix in FORMATS.items():
                name = stage + suffix
                (folder / name).write_bytes(change(name, (tiny_export.folder / name).read_bytes()))
                entries.append(file_entry(folder, name, stage, format, opset=18 if format == "onnx" else None))  # type: ignore[arg-type]
            return entries

        monkeypatch.setattr(build, "write_stage", write_stage)

    install(lambda name, data: data)
    return install


def test_what_a_bundle_holds(tiny_export: TinyExport) -> None:
    bundle = Bundle.open(tiny_export.folder)
    bundle.verify()
    assert bundle.strangers() == []
    assert bundle.spec == tiny_export.source.spec
    held = {(entry.stage, entry.format, entry.target) for entry in bundle.manifest.files}
    wanted = {(s, f, "") for s in STAGES for f in FORMATS} | {(s, "onnx", "ort-cuda") for s in STAGES}
    assert held == wanted | {("all", "safetensors", ""), ("all", "card", "")}
    assert bundle.manifest.validation["passed"] is True
    compared = {(check["file"], check["graph"]) for check in bundle.manifest.validation["checks"]}
    for stage in STAGES:
        for suffix in FORMATS.values():
            assert {(stage + suffix, graph) for graph in GRAPHS} <= compared
    provenance = bundle.manifest.provenance
    assert {"trkx", "torch", "onnx", "onnxscript", "onnxsim", "onnxruntime"} <= provenance["versions"].keys()
    for stage, entry in provenance["checkpoints"].items():
        assert entry["sha256"] == hashlib.sha256(tiny_export.source.checkpoints[stage].read_bytes()).hexdigest()


@pytest.mark.parametrize(("target", "opset", "sums"), [("", 21, "Gather"), ("ort-cuda", 20, "ScatterElements")])
def test_what_an_onnx_file_is(target: str, opset: int, sums: str, tiny_export: TinyExport) -> None:
    bundle = Bundle.open(tiny_export.folder)
    for stage in STAGES:
        data, entry = bundle.read(stage, "onnx", target=target), bundle.entry(stage, "onnx", target=target)
        model = onnx.load_model_from_string(data)
        assert {item.domain: item.version for item in model.opset_import} == {"": entry.opset} == {"": opset}
        assert model.ir_version <= 10
        held = {item.key: item.value for item in model.metadata_props}
        assert held["pkg.trkx.stage"] == stage
        assert PipelineSpec.from_dict(json.loads(held["pkg.trkx.spec"])) == bundle.spec
        scatters = [node.op_type for node in model.graph.node if "Scatter" in node.op_type]
        if sums == "ScatterElements" or stage != "gnn":
            assert scatters == ["ScatterElements"] * (2 * bundle.spec.gnn.iterations if stage == "gnn" else 0)
        else:  # degrees and their histogram, and large degrees in pieces
            assert scatters == ["ScatterElements"] * len(scatters)
            assert sum(node.op_type == "TopK" for node in model.graph.node) == 6  # both ends are ordered once, not every time
        assert not {"SequenceAt", "SplitToSequence", "Split"} & {node.op_type for node in model.graph.node}
        assert str(Path(__file__).resolve().parents[2]).encode() not in data  # no paths of the machine that made it
        assert "simplified by onnxsim" in entry.note


def test_a_torchscript_file_tells_no_paths(tiny_export: TinyExport) -> None:
    for stage in STAGES:
        data = (tiny_export.folder / f"{stage}.pt").read_bytes()
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            assert not [name for name in archive.namelist() if name.endswith(".debug_pkl")]
            for entry in archive.infolist():
                assert str(Path(__file__).resolve().parents[2]).encode() not in archive.read(entry)
                name_length, extra_length = struct.unpack("<HH", data[entry.header_offset + 26 : entry.header_offset + 30])
                assert (entry.header_offset + 30 + name_length + extra_length) % 64 == 0


def flip(name: str, data: bytes) -> bytes:
    if name != "filter.onnx":
        return data
    model = onnx.load_model_from_string(data)
    producer = next(node for node in model.graph.node if "output" in node.output)
    producer.output[0] = "positive"
    model.graph.node.append(onnx.helper.make_node("Neg", ["positive"], ["output"]))
    return model.SerializeToString()


def interrupt(name: str, data: bytes) -> bytes:
    if name == "gnn.onnx":
        raise KeyboardInterrupt
    return data


def fill_disk(name: str, data: bytes) -> bytes:
    if name == "gnn.pt":
        raise OSError(errno.ENOSPC, "No space left on device")
    return data


STOPS = [
    (flip, ExportError, "filter.onnx, ONNX Runtime CPU, 1 thread, graph 'event'"),
    (interrupt, KeyboardInterrupt, None),
    (fill_disk, BundleError, "no space"),
]


@pytest.mark.parametrize("old", [False, True], ids=["nothing there", "old bundle there"])
@pytest.mark.parametrize(("change", "error", "message"), STOPS, ids=[c.__name__ for c, _, _ in STOPS])
def test_a_stopped_export_leaves_what_was_there(
    change: Callable[[str, bytes], bytes], error: type[BaseException], message: str | None, old: bool,
    tiny_export: TinyExport, writes: Callable[[Callable[[str, bytes], bytes]], None], tmp_path: Path,
) -> None:
    target = tmp_path / "place" / "bundle"
    if old:
        shutil.copytree(tiny_export.folder, target)
    before = listing(tmp_path)
    writes(change)
    with pytest.raises(error, match=message):
        export_models(tiny_export.source, target, tiny_export.event, overwrite=True)
    assert listing(tmp_path) == before
    assert not old or Bundle.open(target).problems().keys() == Bundle.open(tiny_export.folder).problems().keys()


def test_a_bundle_is_replaced_only_when_asked(tiny_export: TinyExport, writes: object, tmp_path: Path) -> None:
    target = tmp_path / "bundle"
    export_models(tiny_export.source, target, tiny_export.event)
    with pytest.raises(BundleError, match="--overwrite"):
        export_models(tiny_export.source, target, tiny_export.event)
    steps: list[tuple[str, int, int]] = []
    follow = lambda *step: steps.append(step)  # noqa: E731
    report = export_models(tiny_export.source, target, tiny_export.event, overwrite=True, progress=follow)
    assert [done for _, done, _ in steps] == list(range(build.steps_of(tiny_export.source.spec)))
    assert {file.entry.path for file in report.files} == listing(target).keys() - {"bundle.json"}
    assert all(file.worst is None or file.worst.passed for file in report.files)


def test_a_runtime_without_scales_stops_the_export(
    tiny_export: TinyExport, writes: object, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    plain = door.node_features
    monkeypatch.setattr(door, "node_features", lambda event, features: plain(event, features) * 2)
    with pytest.raises(ExportError, match=r"feature r differs .* the scale is not applied"):
        export_models(tiny_export.source, tmp_path / "bundle", tiny_export.event)
    assert list(tmp_path.iterdir()) == []


MISFITS = {
    "hidden": (tiny_spec(embedding=EmbeddingSpec(hidden=9, layers=2, dim=4)), "embedding.safetensors .*other shapes"),
    "layers": (tiny_spec(embedding=EmbeddingSpec(hidden=8, layers=3, dim=4)), "embedding.safetensors .*missing"),
    "iterations": (tiny_spec(gnn=GNNSpec(hidden=8, iterations=1)), "gnn.safetensors .*unexpected"),
}


@pytest.mark.parametrize("misfit", MISFITS)
def test_a_checkpoint_that_does_not_fit_is_named(misfit: str, tiny_export: TinyExport, tmp_path: Path) -> None:
    spec, message = MISFITS[misfit]
    files = {stage: str(path) for stage, path in tiny_export.source.checkpoints.items()}
    source = open_source(write_spec(tmp_path / "pipeline.toml", spec, files))
    with pytest.raises(CheckpointError, match=message):
        export_models(source, tmp_path / "bundle", tiny_export.event)
    assert [p.name for p in tmp_path.iterdir()] == ["pipeline.toml"]


def test_the_card_keeps_its_text_and_has_one_export_section(tiny_export: TinyExport, tmp_path: Path) -> None:
    report = tiny_export.report
    entries = [file.entry for file in report.files]
    facts = {"created": "2020-01-01T00:00:00Z", "versions": {"trkx": "0"}}
    source = open_source(tiny_pipeline(tmp_path))
    assert source.card is None
    (tmp_path / "MODEL_CARD.md").write_text("# Mine\n\nTrained on things.\n", encoding="utf-8")
    for _ in range(2):
        text = model_card(open_source(tmp_path), entries, report.rows, facts)
        (tmp_path / "MODEL_CARD.md").write_text(text, encoding="utf-8")
    assert text.startswith("# Mine\n\nTrained on things.\n\n## Export\n\nExported 2020-01-01T00:00:00Z with trkx 0.")
    assert text.count("## Export") == 1
    assert text.count("| gnn.onnx") == 1
    assert "not known here" in (tiny_export.folder / "MODEL_CARD.md").read_text(encoding="utf-8")


def run(*arguments: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(cli.app, ["export", *arguments], env={"COLUMNS": "200"})
    return result.exit_code, result.stdout, result.stderr


def test_the_command_prints_a_table(
    tiny_export: TinyExport, writes: object, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder = tiny_export.source.checkpoints["gnn"].parent
    code, out, err = run(str(folder), "--out", str(tmp_path / "bundle"))
    assert code == 0, err
    for name in ("file", "size", "opset", "difference", "gnn.onnx", "gnn.pt", "weights.safetensors", "bitwise", "passed"):
        assert name in out
    Bundle.open(tmp_path / "bundle").verify()
    monkeypatch.setattr(sample, "check_event", lambda spec, path: tiny_export.event)  # smaller than the one that ships
    files = [argument for stage, path in tiny_export.source.checkpoints.items() for argument in (f"--{stage}", str(path))]
    code, out, err = run("--spec", str(folder / "pipeline.toml"), *files, "--out", str(tmp_path / "second"), "--quiet")
    assert (code, out) == (0, ""), err
    assert Bundle.open(tmp_path / "second").spec == tiny_export.source.spec


def test_the_command_fails_with_one_message(
    tiny_export: TinyExport, writes: Callable[..., None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(sample, "check_event", lambda spec, path: tiny_export.event)
    folder, target = tiny_export.source.checkpoints["gnn"].parent, tmp_path / "bundle"
    for arguments, message in (
        ((), "give a pipeline folder"),
        ((str(folder), "--reference"), "found SOURCE and --reference"),
        ((str(tmp_path / "none"),), "expected a pipeline file"),
    ):
        code, _, err = run(*arguments, "--out", str(target))
        assert code == 1
        assert message in err
    writes(flip)
    code, _, err = run(str(folder), "--out", str(target))
    assert code == 1
    assert "filter.onnx, ONNX Runtime CPU, 1 thread, graph 'event'" in err
    assert "Traceback" not in err
    assert list(tmp_path.iterdir()) == []
