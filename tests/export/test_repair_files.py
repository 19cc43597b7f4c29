"""Repair of files: order, functions, external weights, versions, bad input, and what the command writes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from support.scatter_models import ADDED, PLAIN, SUMMED, asked, network
from typer.testing import CliRunner

from trkx.cli import app
from trkx.errors import ExportError
from trkx.export.repair.files import repair_file
from trkx.export.repair.repair import REPAIRED_KEY, Repaired, repaired
from trkx.export.repair.table import REARRANGED, REWRITES
from trkx.export.repair.versions import PREFERRED
from trkx.export.targets import target_of

SOME = ("star", "path", "zero edges")


def _repaired(model: onnx.ModelProto, target: str = "ort-cpu", **fields: object) -> Repaired:
    return repaired(model, asked(target, **fields), only=SOME)


def _turn(model: onnx.ModelProto) -> onnx.ModelProto:
    nodes = [onnx.NodeProto.FromString(node.SerializeToString()) for node in reversed(model.graph.node)]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return model


def test_table_has_no_two_of_a_name_and_answers_rules_that_exist() -> None:
    from trkx.export.lint.table import RULES

    rows = (*REARRANGED, *REWRITES)
    assert len({row.name for row in rows}) == len(rows)
    assert {rule for row in rows for rule in row.rules} <= {rule.id for rule in RULES}
    assert all(row.title and row.proof and row.rules for row in rows)


def test_nodes_are_sorted() -> None:
    result = _repaired(_turn(network()))
    assert result.model is not None, result.problems
    assert [change.rule for change in result.changes] == ["TRKX019"]
    onnx.checker.check_model(result.model, full_check=True)


def test_circle_is_refused() -> None:
    model = network("b = Add (a, zeros)  a = Add (b, zeros)")
    result = _repaired(model)
    assert result.model is None
    assert any("circle" in problem for problem in result.problems)


def test_functions_are_inlined() -> None:
    text = """
        <ir_version: 8, opset_import: ["" : 18, "theirs" : 1]>
        n (float[num_hits, 3] x) => (float[num_hits, 3] output) { output = theirs.twice (x) }
        <domain: "theirs", opset_import: ["" : 18]> twice (a) => (b) { b = Add (a, a) }
    """
    result = _repaired(onnx.parser.parse_model(text))
    assert result.model is not None, result.problems
    assert not result.model.functions
    assert [item.domain for item in result.model.opset_import] == [""]
    assert [change.rule for change in result.changes] == ["TRKX013"]


def test_operators_of_others_are_refused() -> None:
    text = """
        <ir_version: 8, opset_import: ["" : 18, "torch_scatter" : 1]>
        n (float[num_hits, 3] x) => (float[num_hits, 3] output) { output = torch_scatter.scatter_sum (x) }
    """
    result = _repaired(onnx.parser.parse_model(text))
    assert result.model is None
    assert any("scatter_sum" in problem and "TRKX013" in problem for problem in result.problems)


@pytest.mark.parametrize("target", ["ort-cuda", "acts-onnx"])
def test_opset_that_is_too_new_is_lowered(target: str) -> None:
    model = network(SUMMED, opset=21)
    model.ir_version = 10
    result = _repaired(model, target)
    assert result.model is not None, result.problems
    assert target_of(target).opset < 21 <= target_of("ort-cpu").opset
    assert result.model.opset_import[0].version == target_of(target).opset
    assert not _repaired(model, "ort-cpu").changes


def test_opset_with_an_operator_that_the_older_one_lacks_is_refused() -> None:
    assert target_of("acts-onnx").opset < 20
    result = _repaired(network(SUMMED, "output = Gelu (y)", opset=20), "acts-onnx")
    assert result.model is None
    assert any("can't be converted" in problem and "TRKX021" in problem for problem in result.problems)


def test_ir_version_that_is_too_new_is_lowered() -> None:
    model = network()
    model.ir_version = 12
    result = _repaired(model)
    assert result.model is not None, result.problems
    assert result.model.ir_version == 10


def test_opset_is_raised_only_where_it_must_be() -> None:
    model = network("a = Tanh (m)", opset=12)
    del model.graph.node[[node.output[0] for node in model.graph.node].index("ai"):]
    last = onnx.parser.parse_graph("g (float[n, 4] m) => (float[n, 1] output) { output = MatMul (m, w3) }").node
    model.graph.node.extend(last)
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.ones((4, 1), np.float32), "w3"))
    assert not _repaired(model).changes  # no scatter in it
    mended = _repaired(network(ADDED, opset=12))
    assert mended.model is not None
    assert mended.model.opset_import[0].version == PREFERRED


def _with_weights_outside(folder: Path, location: str = "weights.bin") -> Path:
    path = folder / "model.onnx"
    onnx.save_model(network(), path, save_as_external_data=True, location=location, size_threshold=0)
    return path


def test_external_weights_come_in(tmp_path: Path) -> None:
    path = _with_weights_outside(tmp_path)
    result = repair_file(asked(path=path), tmp_path / "out.onnx")
    assert result.model is not None, result.problems
    (tmp_path / "weights.bin").unlink()
    alone = onnx.load(tmp_path / "out.onnx")
    assert not any(item.external_data for item in alone.graph.initializer)
    assert {change.rule for change in result.changes} == {"TRKX018"}


@pytest.mark.parametrize("fault", ["gone", "short", "link", "absolute", "above", "negative"])
def test_external_weights_that_can_not_be_trusted_are_refused(fault: str, tmp_path: Path) -> None:
    folder = tmp_path / "here"
    folder.mkdir()
    path, weights = _with_weights_outside(folder), folder / "weights.bin"
    model = onnx.load(path, load_external_data=False)
    entries = [entry for item in model.graph.initializer for entry in item.external_data]
    if fault == "gone":
        weights.unlink()
    elif fault == "short":
        weights.write_bytes(weights.read_bytes()[:16])
    elif fault == "link":
        weights.rename(tmp_path / "elsewhere.bin")
        weights.symlink_to(tmp_path / "elsewhere.bin")
    else:
        weights.rename(tmp_path / "elsewhere.bin")
        place = {"absolute": str(tmp_path / "elsewhere.bin"), "above": "../elsewhere.bin"}.get(fault)
        for entry in entries:
            if entry.key == "location" and place:
                entry.value = place
            if entry.key == "offset" and fault == "negative":
                entry.value = "-4"
        path.write_bytes(model.SerializeToString())
    result = repair_file(asked(path=path), tmp_path / "out.onnx")
    assert result.model is None
    assert any("TRKX018" in problem for problem in result.problems)
    assert not (tmp_path / "out.onnx").exists()


CONTENTS = {"empty": b"", "graphless": b"\x08\x08", "text": b"no model at all", "pickle": b"\x80\x02}q\x00."}


@pytest.mark.parametrize("content", CONTENTS.values(), ids=CONTENTS)
def test_what_is_no_model_is_an_error(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    with pytest.raises(ExportError, match="model"):
        repair_file(asked(path=path), tmp_path / "out.onnx")
    assert not (tmp_path / "out.onnx").exists()


def test_truncated_file_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(network().SerializeToString()[:-7])
    with pytest.raises(ExportError):
        repair_file(asked(path=path), tmp_path / "out.onnx")


@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")
def test_torchscript_can_not_be_repaired(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), path)
    for target in ("ort-cpu", "libtorch"):
        with pytest.raises(ExportError, match="ONNX"):
            repair_file(asked(target, path=path), tmp_path / "out.pt")


def _command(*words: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["repair", *map(str, words)])
    return result.exit_code, result.stdout, result.stderr


@pytest.fixture
def faulty(tmp_path: Path) -> Path:
    path = tmp_path / "faulty.onnx"
    path.write_bytes(network(ADDED, opset=12).SerializeToString())
    return path


def test_command_says_what_it_changed(faulty: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "out.onnx"
    code, said, _ = _command(faulty, "--target", "acts-onnx", "--out", out, "--json", tmp_path / "report.json")
    assert code == 0
    assert "TRKX001" in said
    (moved,) = [line for line in said.splitlines() if "how wrong the original was" in line]
    assert "before and after: outputs move by" in moved and "not checked" not in moved  # a result, not a gap
    report = json.loads((tmp_path / "report.json").read_text())
    assert {change["rule"] for change in report["changes"]} == {"TRKX001", "TRKX002"}
    assert report["refused"] == []
    assert REPAIRED_KEY in {item.key for item in onnx.load(out).metadata_props}
    assert [path.name for path in out.parent.iterdir()] == ["out.onnx"]

    again = tmp_path / "again.onnx"
    code, said, _ = _command(out, "--target", "acts-onnx", "--out", again)
    assert code == 0
    assert "nothing to repair" in said
    assert again.read_bytes() == out.read_bytes()


def test_command_writes_nothing_that_it_refuses(tmp_path: Path) -> None:
    path, out = tmp_path / "plain.onnx", tmp_path / "out.onnx"
    path.write_bytes(network(PLAIN).SerializeToString())
    out.write_bytes(b"precious")
    code, said, wrong = _command(path, "--out", out, "--overwrite", "--json", "-")
    assert code == 1
    assert "--sum a" in wrong
    assert "nothing was written" in wrong
    assert json.loads(said)["out"] is None
    assert out.read_bytes() == b"precious"
    code, _, _ = _command(path, "--out", out, "--overwrite", "--sum", "a")
    assert code == 0
    assert out.read_bytes() != b"precious"


def test_command_prints_no_escapes_of_a_hostile_file(tmp_path: Path) -> None:
    model = network(PLAIN)
    next(node for node in model.graph.node if "a" in node.output).name = "\x1b[31mred[/bold]"
    path = tmp_path / "plain.onnx"
    path.write_bytes(model.SerializeToString())
    code, said, wrong = _command(path, "--out", tmp_path / "out.onnx")
    assert code == 1
    assert "\x1b" not in said + wrong
    assert "red[/bold]" in wrong


def test_command_keeps_a_file_that_is_there(faulty: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.onnx"
    out.write_bytes(b"precious")
    code, _, wrong = _command(faulty, "--out", out)
    assert code == 1
    assert "--overwrite" in wrong
    assert out.read_bytes() == b"precious"
    code, _, _ = _command(faulty, "--out", tmp_path, "--overwrite")
    assert code == 1


def test_command_repairs_in_place_if_asked(faulty: Path) -> None:
    code, _, _ = _command(faulty, "--out", faulty, "--overwrite", "--quiet")
    assert code == 0
    assert REPAIRED_KEY in {item.key for item in onnx.load(faulty).metadata_props}


@pytest.mark.parametrize("target", ["libtorch", "nowhere"])
def test_command_knows_its_targets(target: str, faulty: Path, tmp_path: Path) -> None:
    code, _, wrong = _command(faulty, "--target", target, "--out", tmp_path / "out.onnx")
    assert code == 1
    assert target in wrong
