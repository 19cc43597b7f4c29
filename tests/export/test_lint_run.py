"""Lint of files, bundles and folders; rules that crash; and the table of rules, its folder and its documentation."""

import importlib
import pkgutil
from dataclasses import replace
from pathlib import Path

import onnx
import pytest
from support.onnx_models import model_of, subject_of
from support.tiny import tiny_spec

from trkx.bundle import file_entry, write_manifest
from trkx.errors import ExportError
from trkx.export.lint import apply, rules
from trkx.export.lint.apply import MOST_REMARKS, findings_of
from trkx.export.lint.explain import catalogue, explanation
from trkx.export.lint.finding import Remark
from trkx.export.lint.run import lint, lint_file
from trkx.export.lint.table import RULES, ids_to_ignore, rule_of
from trkx.export.metadata import onnx_metadata
from trkx.export.torchscript_file import torchscript_bytes
from trkx.manifest import Manifest
from trkx.models.networks import build_network

ROOT = Path(__file__).resolve().parents[2]
SPEC = tiny_spec()
OVERWRITES = """n = Shape (x) z = ConstantOfShape (n) at = Unsqueeze (target, first1) s = ScatterND (z, at, b)
    t = Gather (s, target) r = MatMul (t, w) output = Add (r, y)"""


def onnx_file(path, tail="output = Identity (y)", stage="filter", **metadata):
    model = model_of(tail, weights="int64[1] first1 = {1}")
    onnx.helper.set_model_props(model, onnx_metadata(SPEC, stage) | metadata)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(model.SerializeToString())
    return path


def bundle_of(folder, targets=("",), tail="output = Identity (y)"):
    """Write a bundle with a filter as ONNX, for each target, and as TorchScript."""
    folder.mkdir(parents=True, exist_ok=True)
    entries = []
    for target in targets:
        name = f"filter.{target}.onnx" if target else "filter.onnx"
        metadata = {"pkg.trkx.target": target} if target else {}
        onnx_file(folder / name, tail, **metadata)
        entries.append(file_entry(folder, name, "filter", "onnx", opset=18, target=target))
    (folder / "filter.pt").write_bytes(torchscript_bytes("filter", build_network(SPEC, "filter").eval(), 3))
    (folder / "card.md").write_text("A card.")
    entries += [file_entry(folder, "filter.pt", "filter", "torchscript"), file_entry(folder, "card.md", "all", "card")]
    write_manifest(folder, Manifest(SPEC.name, SPEC, tuple(entries)))
    return folder


def found(files):
    """Return (file name, rule, severity) of everything that was found."""
    return [(Path(file.file).name, item.rule.id, item.severity) for file in files for item in file.findings]


def test_a_good_file_is_clean(tmp_path):
    path = onnx_file(tmp_path / "filter.onnx")
    (file,) = lint(path)
    assert (file.findings, file.kind, file.target, file.skipped, file.file) == ((), "onnx", "ort-cpu", "", str(path))
    assert lint_file(path) == lint_file(path, "acts-onnx") == []


def test_a_bad_file_is_not_and_rules_can_be_left_out(tmp_path):
    path = onnx_file(tmp_path / "filter.onnx", OVERWRITES)
    assert found(lint(path)) == [("filter.onnx", "TRKX001", "error")]
    assert lint(path, ignore=ids_to_ignore(["scatter-overwrites"]))[0].findings == ()
    assert {item.rule.id for item in lint_file(path, "tensorrt")} == {"TRKX001"}


@pytest.mark.parametrize("content", [b"", b"not a model", b"\x08\x0a\x3a\xff\xff", b"PK\x03\x04 and no more"])
def test_what_can_t_be_read_is_a_finding(content, tmp_path):
    path = tmp_path / "gnn.onnx"
    path.write_bytes(content)
    assert found(lint(path)) == [("gnn.onnx", "TRKX000", "error")]
    assert str(tmp_path) not in lint_file(path)[0].message


def test_a_missing_file_and_a_wrong_format_are_findings(tmp_path):
    assert found(lint(tmp_path / "gnn.onnx")) == [("gnn.onnx", "TRKX000", "error")]
    (file,) = lint(onnx_file(tmp_path / "filter.onnx"), "libtorch")
    assert "takes TorchScript" in file.findings[0].message


def test_a_bundle_is_linted_file_by_file(tmp_path):
    files = lint(bundle_of(tmp_path / "bundle"))
    assert [(Path(file.file).name, file.kind, file.target) for file in files] == [
        ("filter.onnx", "onnx", "ort-cpu"), ("filter.pt", "torchscript", "libtorch")]
    assert found(files) == []


def test_a_bundle_says_stage_and_specification_of_its_files(tmp_path):
    folder = bundle_of(tmp_path / "bundle")
    manifest = Manifest.from_json((folder / "bundle.json").read_bytes())
    write_manifest(folder, replace(manifest, spec=tiny_spec(name="another")))
    assert ("filter.onnx", "TRKX020", "error") in found(lint(folder))
    entries = tuple(replace(entry, stage="gnn") if entry.format == "onnx" else entry for entry in manifest.files)
    write_manifest(folder, replace(manifest, files=entries))
    assert ("filter.onnx", "TRKX020", "error") in found(lint(folder))


def test_edited_missing_and_unlisted_files_of_a_bundle_are_findings(tmp_path):
    folder = bundle_of(tmp_path / "bundle")
    onnx_file(folder / "filter.onnx", OVERWRITES)
    (folder / "card.md").unlink()
    onnx_file(folder / "old" / "filter.onnx", OVERWRITES)
    files = lint(folder)
    assert found(files) == [
        ("filter.onnx", "TRKX000", "error"), ("filter.onnx", "TRKX001", "error"), ("card.md", "TRKX000", "error"),
        ("filter.onnx", "TRKX001", "error"), ("filter.onnx", "TRKX000", "warning"),
    ]
    assert "bytes instead of" in files[0].findings[0].message and "does not list" in files[-1].findings[-1].message


def test_a_link_out_of_a_bundle_is_not_followed(tmp_path):
    folder = bundle_of(tmp_path / "bundle")
    outside = tmp_path / "outside.onnx"
    outside.write_bytes((folder / "filter.onnx").read_bytes())
    (folder / "filter.onnx").unlink()
    (folder / "filter.onnx").symlink_to(outside)
    (file, _) = lint(folder)
    assert [item.rule.id for item in file.findings] == ["TRKX000"] and not file.kind


@pytest.mark.parametrize("damage", [lambda text: text[:-40], lambda text: text.replace("tiny", "tony"), lambda text: "{}"])
def test_a_damaged_manifest_is_a_finding(damage, tmp_path):
    folder = bundle_of(tmp_path / "bundle")
    source = folder / "bundle.json"
    source.write_text(damage(source.read_text()))
    assert found(lint(folder)) == [("bundle.json", "TRKX000", "error")]


def test_each_target_gets_its_own_files_of_a_bundle(tmp_path):
    folder = bundle_of(tmp_path / "bundle", ("", "tensorrt"))
    linted = {Path(file.file).name: (file.target, file.skipped) for file in lint(folder)}
    assert linted == {"filter.onnx": ("ort-cpu", ""), "filter.tensorrt.onnx": ("tensorrt", ""), "filter.pt": ("libtorch", "")}
    skipped = {Path(file.file).name for file in lint(folder, "tensorrt") if file.skipped}
    assert skipped == {"filter.onnx", "filter.pt"}
    skipped = {Path(file.file).name for file in lint(folder, "acts-onnx") if file.skipped}
    assert skipped == {"filter.tensorrt.onnx", "filter.pt"}


def test_a_folder_is_searched_and_bundles_in_it_are_known(tmp_path):
    import torch

    bundle_of(tmp_path / "a" / "bundle")
    onnx_file(tmp_path / "b" / "Wrong.ONNX", OVERWRITES)
    torch.save({"weight": torch.zeros(3)}, tmp_path / "b" / "checkpoint.pt")
    (tmp_path / "b" / "notes.txt").write_text("no model")
    (tmp_path / "b" / "checkpoint a.onnx").write_bytes(b"\x08\x0a")
    files = lint(tmp_path)
    names = [Path(file.file).name for file in files]
    assert names == ["filter.onnx", "filter.pt", "Wrong.ONNX", "checkpoint a.onnx", "checkpoint.pt"]
    assert found(files) == [("Wrong.ONNX", "TRKX001", "error"), ("checkpoint a.onnx", "TRKX000", "error")]
    assert "checkpoint" in files[-1].skipped
    assert {Path(file.file).name for file in lint(tmp_path, "libtorch") if file.skipped} == {
        "filter.onnx", "Wrong.ONNX", "checkpoint a.onnx", "checkpoint.pt"}
    assert found(lint(tmp_path / "b" / "checkpoint.pt")) == [("checkpoint.pt", "TRKX000", "error")]


def test_a_folder_without_models_and_an_unknown_target_are_refused(tmp_path):
    with pytest.raises(ExportError, match="without models"):
        lint(tmp_path)
    with pytest.raises(ExportError, match="Did you mean 'tensorrt'"):
        lint(tmp_path, "tensort")


def crashing(error):
    def check(subject):
        yield Remark("before")
        raise error

    return check


@pytest.mark.parametrize("error", [KeyError("axis"), RecursionError("deep"), MemoryError(), ZeroDivisionError("\x1b[31m")])
def test_a_rule_that_fails_is_a_finding(error):
    rule = replace(RULES[1], check=crashing(error), severity="note")
    first, second = findings_of(subject_of(model_of()), (rule,))
    assert (first.severity, second.message) == ("error", "before")
    assert f"failed on this file ({type(error).__name__}" in first.message and "\x1b" not in first.message
    assert findings_of(subject_of(model_of()), (rule,), ignore={"TRKX001"}) == []


def test_a_flood_of_remarks_is_cut_and_text_of_a_file_is_escaped():
    rule = replace(RULES[1], check=lambda subject: (Remark(f"{n} \x1b]0;owned\x07[x]", "no\u202ede") for n in range(10**9)))
    found = findings_of(subject_of(model_of()), (rule,))
    assert len(found) == MOST_REMARKS + 1 and "and more" in found[-1].message
    assert (found[0].message, found[0].where) == ("0 \\x1b]0;owned\\x07[x]", "no\\u202ede")


def test_rules_run_on_their_kinds_only_and_errors_come_first():
    yields = {severity: replace(RULES[number], severity=severity, check=lambda subject: [Remark("found")])
              for number, severity in enumerate(("note", "warning", "error"), 1)}
    other = replace(RULES[1], kinds=("aoti",), check=lambda subject: [Remark("no")])
    found = findings_of(subject_of(model_of()), (*yields.values(), other))
    assert [item.severity for item in found] == ["error", "warning", "note"] == list(apply.ORDER)


def test_table_folder_and_documentation_agree():
    modules = [importlib.import_module(f"{rules.__name__}.{item.name}") for item in pkgutil.iter_modules(rules.__path__)]
    assert {module.RULE.id for module in modules} == {rule.id for rule in RULES}
    assert len(modules) == len(RULES) == len({rule.id for rule in RULES}) == len({rule.name for rule in RULES})
    assert [rule.id for rule in RULES] == sorted(rule.id for rule in RULES)
    text = (ROOT / "docs" / "lint.md").read_text(encoding="utf-8")
    assert text.endswith(catalogue()), "docs/lint.md: end it with the output of `trkx lint --explain all`"


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.id)
def test_every_rule_is_complete(rule):
    texts = (rule.id, rule.name, rule.title, rule.reason, rule.affected, rule.fix, rule.link)
    assert all(text.strip() == text and text for text in texts)
    assert rule.id.startswith("TRKX") and len(rule.id) == 7 and rule.id[4:].isdigit()
    assert rule.name == rule.name.lower() and " " not in rule.name and not rule.title.endswith(".")
    assert rule.link.startswith("https://") and rule.kinds and rule.reason.endswith(".") and rule.fix[-1] in ".?"
    assert all(text in explanation(rule) for text in (rule.id, rule.name, rule.reason, rule.fix, rule.link))


def test_rules_are_found_by_id_and_name():
    assert rule_of("trkx001") is rule_of("scatter-overwrites") is RULES[1]
    assert ids_to_ignore(["TRKX001, mean-as-none", "TRKX005"]) == {"TRKX001", "TRKX004", "TRKX005"}
    with pytest.raises(ExportError, match="Did you mean 'mean-as-none'"):
        rule_of("mean-as-non")
    with pytest.raises(ExportError, match="can't be ignored"):
        ids_to_ignore(["unreadable"])


def test_the_bundle_that_we_export_is_clean(tiny_export):
    assert found(lint(tiny_export.folder)) == []


def test_the_published_files(golden):
    wrong, right = lint(golden / "lrt")
    assert [item.rule.id for item in wrong.findings if item.severity == "error"] == ["TRKX001"] * 16 + ["TRKX002"]
    assert (right.kind, right.count("error")) == ("torchscript", 0)
