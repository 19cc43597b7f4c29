"""`trkx lint`: what it prints, JSON, SARIF, exit codes."""

import json
import re
from urllib.parse import unquote

import onnx
import pytest
from support.onnx_models import model_of
from typer.testing import CliRunner

from trkx import __version__, cli
from trkx.export.lint.table import RULES

WRONG = """n = Shape (x) z = ConstantOfShape (n) at = Unsqueeze (target, first1) s = ScatterND (z, at, b)
    u = ScatterND (s, at, b) t = Gather (u, target) r = MatMul (t, w) output = Add (r, y)"""
LEVELS = {"none", "note", "warning", "error"}


def lint(*arguments, columns=200):
    return CliRunner().invoke(cli.app, ["lint", *map(str, arguments)], env={"COLUMNS": str(columns), "NO_COLOR": "1"})


def write(path, tail="output = Identity (y)", **changes):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(model_of(tail, weights="int64[1] first1 = {1}", **changes).SerializeToString())
    return path


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "models" / "right.onnx")
    write(tmp_path / "models" / "wrong one.onnx", WRONG)
    return tmp_path


def test_exit_codes(here):
    right, wrong = here / "models" / "right.onnx", here / "models" / "wrong one.onnx"
    assert lint(right).exit_code == lint(right, "--strict").exit_code == 0  # a note: a file of others carries no specification
    ours = write(here / "ours.onnx")
    model = onnx.load(ours)
    onnx.helper.set_model_props(model, {"pkg.trkx.stage": "gnn"})
    onnx.save(model, ours)
    assert lint(ours).exit_code == 0  # a warning
    assert lint(ours, "--strict").exit_code == 1
    assert lint(ours, "--strict", "--ignore", "spec-metadata").exit_code == 0
    assert lint(wrong).exit_code == lint(right, wrong).exit_code == lint(here / "models").exit_code == 1
    assert lint(wrong, "--ignore", "TRKX001").exit_code == 0
    assert lint(here / "missing.onnx").exit_code == 1


@pytest.mark.parametrize("arguments, message", [
    ((), "give a model file"), (("--target", "tensort", "models"), "Did you mean 'tensorrt'"),
    (("--ignore", "scatter", "models"), "unknown rule"), (("--ignore", "TRKX000", "models"), "can't be ignored"),
    (("--json", "-", "--sarif", "-", "models"), "both write to stdout"), (("--explain", "TRKX999"), "unknown rule"),
])
def test_what_makes_no_sense_is_one_message(arguments, message, here):
    result = lint(*arguments)
    assert result.exit_code == 1
    assert message in result.output and "Traceback" not in result.output


def test_text_names_file_rule_places_and_fix(here):
    output = lint("models").output
    assert "models/right.onnx  ONNX for ort-cpu" in output and "models/wrong one.onnx" in output
    assert "TRKX001 scatter-overwrites, 2 places" in output
    assert "ScatterND that makes 's' has no reduction" in output and "also u" in output and "fix: `trkx repair`" in output
    assert "2 files: 2 errors, 2 notes" in output.splitlines()[-1]


def test_text_fits_eighty_columns(here):
    output = lint("models", columns=80).output
    assert max(len(line.rstrip()) for line in output.splitlines()) <= 80
    assert "TRKX001 scatter-overwrites" in output


def test_target_decides(here):
    path = write(here / "sorts.onnx", "e = Shape (target) s, i = TopK <axis = 0> (target, e) output = Gather (y, i)")
    assert lint(path).exit_code == 0
    result = lint(path, "--target", "tensorrt")
    assert result.exit_code == 1 and "TRKX007" in result.output


def test_names_from_a_file_do_not_reach_the_terminal(here):
    model = model_of(WRONG, weights="int64[1] first1 = {1}")
    for node in model.graph.node:
        node.name = f"\x1b[2J\x1b]0;owned\x07[red]{node.op_type}\u202e"
    path = here / "models" / "\x1b[31mwrong.onnx"
    path.write_bytes(model.SerializeToString())
    output = lint(path).output
    assert "\x1b" not in output and "\x07" not in output and "\u202e" not in output
    assert "[red]ScatterND" in output  # shown, not obeyed


def test_json_has_every_place(here):
    result = lint("models", "--json", "-")
    assert result.exit_code == 1
    content = json.loads(result.stdout)
    assert content["counts"] == {"error": 2, "warning": 0, "note": 2} and content["trkx"] == __version__
    wrong = next(file for file in content["files"] if "wrong" in file["file"])
    assert wrong["kind"] == "onnx" and wrong["target"] == "ort-cpu"
    found = [(item["rule"], item["where"], item["severity"]) for item in wrong["findings"]]
    assert found == [("TRKX001", "s", "error"), ("TRKX001", "u", "error"), ("TRKX020", "pkg.trkx.spec", "note")]
    assert lint("models", "--json", "found.json").stdout and json.loads((here / "found.json").read_text()) == content


def check_sarif(log):
    """Raise AssertionError if a log lacks what SARIF 2.1.0 and code hosts require of it."""
    assert log["version"] == "2.1.0" and log["$schema"].endswith("sarif-schema-2.1.0.json") and len(log["runs"]) == 1
    run = log["runs"][0]
    driver = run["tool"]["driver"]
    assert driver["name"] and driver["version"] == __version__
    names = [rule["id"] for rule in driver["rules"]]
    assert len(set(names)) == len(names) and run["columnKind"] in ("utf16CodeUnits", "unicodeCodePoints")
    for rule in driver["rules"]:
        assert rule["defaultConfiguration"]["level"] in LEVELS and rule["helpUri"].startswith("https://")
        assert all(rule[key]["text"] for key in ("shortDescription", "fullDescription", "help"))
    for result in run["results"]:
        assert names[result["ruleIndex"]] == result["ruleId"] and result["level"] in LEVELS and result["message"]["text"]
        (location,) = result["locations"]
        physical = location["physicalLocation"]
        uri = physical["artifactLocation"]["uri"]
        assert re.fullmatch(r"[A-Za-z0-9._~/%-]+", uri) and not uri.startswith("/") and ".." not in uri
        assert physical["region"]["startLine"] >= 1
        assert all(item["fullyQualifiedName"] for item in location.get("logicalLocations", ()))
        assert all(isinstance(value, str) and value for value in result["partialFingerprints"].values())
    return run


def test_sarif_is_what_code_hosts_take(here):
    assert lint("models", "--sarif", "lint.sarif").exit_code == 1
    run = check_sarif(json.loads((here / "lint.sarif").read_text()))
    assert len(run["tool"]["driver"]["rules"]) == len(RULES)
    errors = [item for item in run["results"] if item["level"] == "error"]
    assert [item["ruleId"] for item in errors] == ["TRKX001", "TRKX001"]
    uris = {unquote(item["locations"][0]["physicalLocation"]["artifactLocation"]["uri"]) for item in errors}
    assert uris == {"models/wrong one.onnx"}
    assert [item["locations"][0]["logicalLocations"][0]["fullyQualifiedName"] for item in errors] == ["s", "u"]
    prints = [item["partialFingerprints"]["trkxFinding/v1"] for item in run["results"]]
    assert len(set(prints)) == len(prints)


def test_sarif_of_no_finding_and_of_files_elsewhere(here, tmp_path_factory):
    clean = check_sarif(json.loads(lint("models/right.onnx", "--ignore", "TRKX020", "--sarif", "-").stdout))
    assert clean["results"] == []
    outside = write(tmp_path_factory.mktemp("elsewhere") / "gnn.onnx", WRONG)
    run = check_sarif(json.loads(lint(outside, "--sarif", "-").stdout))
    assert {item["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] for item in run["results"]} == {"gnn.onnx"}


@pytest.mark.parametrize("damage", [
    lambda log, result, physical: log.update(version="2.0"),
    lambda log, result, physical: physical["artifactLocation"].update(uri="/tmp/x"),
    lambda log, result, physical: result.update(ruleIndex=3),
    lambda log, result, physical: physical.pop("region"),
    lambda log, result, physical: result["message"].update(text=""),
])
def test_the_check_of_sarif_can_fail(damage, here):
    log = json.loads(lint("models", "--sarif", "-").stdout)
    result = log["runs"][0]["results"][0]
    damage(log, result, result["locations"][0]["physicalLocation"])
    with pytest.raises((AssertionError, KeyError)):
        check_sarif(log)


@pytest.mark.parametrize("word", ["TRKX001", "trkx001", "scatter-overwrites"])
def test_a_rule_is_explained(word):
    result = lint("--explain", word)
    assert result.exit_code == 0
    assert all(text in result.output for text in ("TRKX001", "Exa.TrkX", "trkx repair", "https://"))


def test_all_rules_are_explained():
    assert all(rule.id in lint("--explain", "all").output for rule in RULES)


def test_a_model_of_another_opset_and_no_graph_are_not_clean(here):
    empty = here / "empty.onnx"
    empty.write_bytes(onnx.ModelProto(ir_version=8).SerializeToString())
    result = lint(empty)
    assert result.exit_code == 1 and "TRKX000" in result.output
