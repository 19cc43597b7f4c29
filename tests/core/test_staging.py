"""A bundle appears whole or not at all, and what was there before is never lost."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from trkx import staging
from trkx.bundle import Bundle, staged
from trkx.errors import BundleError

MakeBundle = Callable[..., None]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def is_old(bundle: Path) -> bool:
    return Bundle.open(bundle).read("gnn", "torchscript") == b"contentgnn.pt"


def test_a_bundle_is_made_with_its_parents(tmp_path: Path, make_bundle: MakeBundle) -> None:
    make_bundle(tmp_path / "a" / "b" / "bundle")
    Bundle.open(tmp_path / "a" / "b" / "bundle").verify()
    assert names(tmp_path / "a" / "b") == ["bundle"]


def test_an_empty_folder_is_used(tmp_path: Path, make_bundle: MakeBundle) -> None:
    (tmp_path / "bundle").mkdir()
    make_bundle(tmp_path / "bundle")
    assert names(tmp_path) == ["bundle"]
    Bundle.open(tmp_path / "bundle").verify()


def test_it_has_the_permissions_of_any_folder(tmp_path: Path, bundle: Path) -> None:
    (tmp_path / "plain").mkdir()
    assert bundle.stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_a_bundle_is_replaced_only_when_asked(bundle: Path, make_bundle: MakeBundle) -> None:
    with pytest.raises(BundleError, match=r"holds a bundle already.*--overwrite"):
        make_bundle(bundle, b"new")
    assert is_old(bundle)
    make_bundle(bundle, b"new", overwrite=True)
    assert Bundle.open(bundle).read("gnn", "torchscript") == b"newgnn.pt"
    assert names(bundle.parent) == ["bundle"]


def test_a_link_to_a_bundle_stays_a_link(bundle: Path, make_bundle: MakeBundle) -> None:
    (bundle.parent / "link").symlink_to(bundle)
    make_bundle(bundle.parent / "link", b"new", overwrite=True)
    assert (bundle.parent / "link").is_symlink()
    assert Bundle.open(bundle).read("gnn", "torchscript") == b"newgnn.pt"


def test_nothing_but_a_bundle_is_replaced(tmp_path: Path, bundle: Path, make_bundle: MakeBundle) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter").write_text("years of work")
    (tmp_path / "file").write_text("x")
    (bundle / "notes.txt").write_text("mine")
    cases = {"thesis": "holds no bundle", "file": "found a file", "bundle": r"not the bundle's \(notes\.txt\)"}
    for name, message in cases.items():
        with pytest.raises(BundleError, match=message):
            make_bundle(tmp_path / name, b"new", overwrite=True)
    assert names(tmp_path) == ["bundle", "file", "thesis"]
    assert (tmp_path / "thesis" / "chapter").read_text() == "years of work"
    assert is_old(bundle)


@pytest.mark.parametrize("error", [KeyboardInterrupt(), RuntimeError("boom"), SystemExit(3)], ids=["ctrl-c", "bug", "exit"])
def test_an_interruption_leaves_the_old_bundle(bundle: Path, error: BaseException) -> None:
    with pytest.raises(type(error)), staged(bundle, overwrite=True) as temporary:
        (temporary / "bundle.json").write_text("{}")
        raise error
    assert is_old(bundle)
    assert names(bundle.parent) == ["bundle"]


def test_a_half_written_bundle_is_not_put_in_place(bundle: Path) -> None:
    with pytest.raises(BundleError, match=r"gnn\.pt is missing"), staged(bundle, overwrite=True) as temporary:
        shutil.copy(bundle / "bundle.json", temporary)
        shutil.copy(bundle / "embedding.onnx", temporary)
        shutil.copy(bundle / "weights.safetensors", temporary)
    with pytest.raises(BundleError, match="found an empty folder"), staged(bundle, overwrite=True):
        pass
    assert is_old(bundle)
    assert names(bundle.parent) == ["bundle"]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_no_space(bundle: Path, code: int) -> None:
    message = r"no space to write it.*nothing was changed"
    with pytest.raises(BundleError, match=message), staged(bundle, overwrite=True) as temporary:
        (temporary / "bundle.json").write_text("{}")
        raise OSError(code, os.strerror(code))
    assert is_old(bundle)
    assert names(bundle.parent) == ["bundle"]


def test_other_errors_of_the_block_pass_through(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), staged(tmp_path / "bundle"):
        (tmp_path / "checkpoint").read_bytes()
    assert names(tmp_path) == []


def test_no_space_while_syncing(bundle: Path, make_bundle: MakeBundle, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(staging.os, "fsync", full)
    with pytest.raises(BundleError, match="no space"):
        make_bundle(bundle, b"new", overwrite=True)
    assert is_old(bundle)
    assert names(bundle.parent) == ["bundle"]


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(errno.EIO, "Input/output error")], ids=["ctrl-c", "disk"])
@pytest.mark.parametrize("which", [1, 2])
def test_a_failing_rename_brings_the_old_bundle_back(
    bundle: Path, make_bundle: MakeBundle, monkeypatch: pytest.MonkeyPatch, error: BaseException, which: int
) -> None:
    rename, calls = os.rename, []

    def failing(source: Path, target: Path) -> None:
        calls.append(source)
        if len(calls) == which:
            raise error
        rename(source, target)

    monkeypatch.setattr(staging.os, "rename", failing)
    with pytest.raises(BundleError if isinstance(error, OSError) else KeyboardInterrupt):
        make_bundle(bundle, b"new", overwrite=True)
    assert len(calls) >= which
    assert is_old(bundle)
    assert names(bundle.parent) == ["bundle"]


def test_a_place_that_can_not_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(BundleError, match="can't write there"), staged(tmp_path / "file" / "bundle"):
        pass
    assert names(tmp_path) == ["file"]


def test_killed_between_two_renames_the_old_bundle_is_named(bundle: Path) -> None:
    bundle.rename(bundle.parent / ".bundle.0a1b2c3d.old")
    with pytest.raises(BundleError, match=r"left the old bundle at .*\.bundle\.0a1b2c3d\.old: rename it back"):
        Bundle.open(bundle)


def test_an_edited_bundle_can_be_replaced(bundle: Path, make_bundle: MakeBundle) -> None:
    source = bundle / "bundle.json"
    source.write_text(source.read_text().replace("0.5", "0.6"))
    with pytest.raises(BundleError, match="edited"):
        Bundle.open(bundle)
    make_bundle(bundle, b"new", overwrite=True)
    assert Bundle.open(bundle).read("gnn", "torchscript") == b"newgnn.pt"


def fill(temporary: Path, bundle: Path) -> None:
    shutil.copytree(bundle, temporary, dirs_exist_ok=True)


def test_a_file_that_appears_meanwhile_survives(bundle: Path) -> None:
    with pytest.raises(BundleError, match=r"not the bundle's \(notes\.txt\)"), staged(bundle, overwrite=True) as temporary:
        fill(temporary, bundle)
        (bundle / "notes.txt").write_text("mine")
    assert (bundle / "notes.txt").read_text() == "mine"
    assert is_old(bundle)
    assert names(bundle.parent) == ["bundle"]


@pytest.mark.parametrize("empty", [False, True], ids=["nothing there", "empty folder there"])
def test_a_folder_that_fills_meanwhile_survives(tmp_path: Path, bundle: Path, empty: bool) -> None:
    target = tmp_path / "new"
    if empty:
        target.mkdir()
    with pytest.raises(BundleError, match="holds no bundle"), staged(target, overwrite=True) as temporary:
        fill(temporary, bundle)
        target.mkdir(exist_ok=True)
        (target / "chapter").write_text("years of work")
    assert (target / "chapter").read_text() == "years of work"
    assert names(tmp_path) == ["bundle", "new"]


def test_a_bundle_that_appears_meanwhile_is_replaced_only_when_asked(tmp_path: Path, make_bundle: MakeBundle) -> None:
    with pytest.raises(BundleError, match="--overwrite"), staged(tmp_path / "bundle") as temporary:
        make_bundle(tmp_path / "bundle")
        fill(temporary, tmp_path / "bundle")
    assert is_old(tmp_path / "bundle")
    assert names(tmp_path) == ["bundle"]


@pytest.mark.parametrize("link", [False, True], ids=["file", "link"])
def test_a_file_or_link_that_takes_the_place_survives(tmp_path: Path, bundle: Path, link: bool) -> None:
    target = tmp_path / "new"
    with pytest.raises(BundleError, match="found a file"), staged(target, overwrite=True) as temporary:
        fill(temporary, bundle)
        target.symlink_to(bundle) if link else target.write_text("mine")
    assert target.is_symlink() == link
    assert is_old(bundle)
    assert names(tmp_path) == ["bundle", "new"]


def late(monkeypatch: pytest.MonkeyPatch, which: int, change: Callable[[], object]) -> None:
    """Let something happen right before a rename: after the last question whether the folder may be replaced."""
    rename, calls = os.rename, []

    def changing(source: Path, target: Path) -> None:
        calls.append(source)
        if len(calls) == which:
            change()
        rename(source, target)

    monkeypatch.setattr(staging.os, "rename", changing)


LATE: dict[str, Callable[[Path], object]] = {
    "new file": lambda bundle: (bundle / "notes.txt").write_text("mine"),
    "new folder": lambda bundle: (bundle / "notes").mkdir(),
    "other content": lambda bundle: (bundle / "gnn.pt").write_text("mine"),
}


@pytest.mark.parametrize("name", LATE)
def test_a_change_after_the_last_question_survives(
    bundle: Path, make_bundle: MakeBundle, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    before = staging._held(bundle)
    late(monkeypatch, 1, lambda: LATE[name](bundle))
    with pytest.raises(BundleError, match="was changed while it was being replaced"):
        make_bundle(bundle, b"new", overwrite=True)
    assert names(bundle.parent) == ["bundle"]
    changed = staging._held(bundle)
    assert changed != before
    assert changed.keys() >= before.keys()


def test_both_survive_if_another_folder_takes_the_place(
    bundle: Path, make_bundle: MakeBundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    def take() -> None:
        bundle.mkdir()
        (bundle / "chapter").write_text("years of work")

    late(monkeypatch, 2, take)
    with pytest.raises(BundleError, match=r"What was there is now at .*\.old\."):
        make_bundle(bundle, b"new", overwrite=True)
    assert (bundle / "chapter").read_text() == "years of work"
    old, now = sorted(bundle.parent.iterdir())
    assert now == bundle
    assert is_old(old)
