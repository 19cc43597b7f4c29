"""Runs the rules: on a file, on every model of a bundle, on the models in a folder."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from trkx.bundle import Bundle
from trkx.errors import BundleError, ExportError
from trkx.export.lint.apply import finding, findings_of
from trkx.export.lint.finding import Finding, Severity
from trkx.export.lint.opening import MAX_EDGES, opened
from trkx.export.lint.rules.unreadable import RULE as UNREADABLE
from trkx.export.metadata import onnx_metadata
from trkx.export.targets import Target, target_of
from trkx.identity import SPEC_KEY, STAGE_KEY, TARGET_KEY
from trkx.manifest import MANIFEST_NAME, FileEntry
from trkx.shown import shown

MODELS = ("onnx", "torchscript", "aoti")
SUFFIXES = (".onnx", ".pt", ".pt2", ".pth", ".ts", ".torchscript", ".jit")
"""Names of files that are looked at in a folder. A file that is named is looked at whatever its name is."""
_STRAY = f"{MANIFEST_NAME} does not list it, so nothing vouches for it"
_WEIGHTS_ONLY = ("a checkpoint", "a pickled checkpoint")


@dataclass(frozen=True)
class Linted:
    """A file, and what was found in it.

    Attributes:
        file: path as it was given, or below the folder that was given.
        target: what it was linted for, "" if it could not be opened.
        kind: "onnx", "torchscript" or "aoti", "" if it could not be opened.
        findings: errors first, in order of rules.
        skipped: why it was not looked at, "" if it was.
    """

    file: str
    target: str
    kind: str
    findings: tuple[Finding, ...] = ()
    skipped: str = ""

    def count(self, severity: Severity) -> int:
        """Return how many findings have a severity."""
        return sum(item.severity == severity for item in self.findings)


@dataclass(frozen=True)
class Asked:
    """What a run is asked for: target (None: each file's own), largest number of edges, ids of rules to leave out."""

    target: Target | None = None
    max_edges: int = MAX_EDGES
    ignore: Collection[str] = ()


def lint(path: Path | str, target: str | None = None, max_edges: int = MAX_EDGES, ignore: Collection[str] = ()) -> list[Linted]:
    """Return what is wrong with a file, with each model of a bundle, or with each model in a folder and below it.

    Args:
        path: a file, a bundle or a folder. Bundles in a folder are recognised.
        target: a key of `trkx.export.targets.TARGETS`; None for what each file is for: what its bundle says, else ort-cpu,
            libtorch or aoti. In a bundle or folder, files of another format, or for another target, are skipped.
        max_edges: largest number of edges that is expected of an event.
        ignore: ids of rules to leave out.

    Raises:
        ExportError: an unknown target, or a folder without any model.
    """
    path, asked = Path(path), Asked(target_of(target) if target is not None else None, max_edges, ignore)
    if not path.is_dir():
        return [_one(path, asked)]
    found = list(_folder(path, asked))
    if not found:
        raise ExportError(f"{path}: a folder without models; expected {MANIFEST_NAME} or files named {', '.join(SUFFIXES)}.")
    return found


def lint_file(
    path: Path | str, target: Target | str | None = None, *, max_edges: int = MAX_EDGES, stage: str = "",
    expected: dict[str, str] | None = None, ignore: Collection[str] = (),
) -> list[Finding]:
    """Return what is wrong with one file: nothing is raised for a bad file, it gives a finding of rule TRKX000.

    Args:
        path: the file.
        target: row or name; None for the default of what the file is.
        max_edges: largest number of edges that is expected of an event.
        stage: "embedding", "filter" or "gnn"; read from the file's metadata if empty.
        expected: metadata that its bundle expects, None for a file on its own.
        ignore: ids of rules to leave out.
    """
    row = target_of(target) if isinstance(target, str) else target
    return list(_one(Path(path), Asked(row, max_edges, ignore), stage, expected).findings)


def _one(path: Path, asked: Asked, stage: str = "", expected: dict[str, str] | None = None, folder: bool = False) -> Linted:
    try:
        subject = opened(path, asked.target, asked.max_edges, stage, expected)
    except ExportError as error:
        message = str(error).removeprefix(f"{shown(str(path), 400)}: ")
        if folder and message.startswith(_WEIGHTS_ONLY):
            return Linted(str(path), "", "", skipped="a checkpoint, no model")
        name = asked.target.name if asked.target is not None else ""
        return Linted(str(path), name, "", (finding(UNREADABLE, path, message),))
    return Linted(str(path), subject.target.name, subject.kind, tuple(findings_of(subject, ignore=asked.ignore)))


def _folder(folder: Path, asked: Asked) -> Iterator[Linted]:
    for where, inside, names in os.walk(folder):
        inside.sort()
        if MANIFEST_NAME in names:
            inside.clear()
            yield from _bundle(Path(where), asked)
            continue
        for path in sorted(Path(where) / name for name in names if name.lower().endswith(SUFFIXES)):
            other = _other_format(path, asked.target)
            yield Linted(str(path), "", "", skipped=other) if other else _one(path, asked, folder=True)


def _other_format(path: Path, target: Target | None) -> str:
    """Return why a file in a folder is not for a target, by its first bytes; "" if it may be, or can't be read."""
    if target is None or not path.is_file():
        return ""
    with path.open("rb") as file:
        archive = file.read(4) == b"PK\x03\x04"
    if archive == (target.format != "onnx"):
        return ""
    return f"{'an archive of torch' if archive else 'ONNX'}, {target.name} takes {target.format}"


def _bundle(folder: Path, asked: Asked) -> Iterator[Linted]:
    source = folder / MANIFEST_NAME
    try:
        bundle = Bundle.open(folder, check=False)
        problems = bundle.problems()
    except (BundleError, OSError) as error:
        yield Linted(str(source), "", "", (finding(UNREADABLE, source, str(error).removeprefix(f"{source}: ")),))
        return
    own = {(entry.stage, entry.format) for entry in bundle.manifest.files if asked.target and entry.target == asked.target.name}
    for entry in bundle.manifest.files:
        path, problem = folder / entry.path, problems.get(entry.path, "")
        found = (finding(UNREADABLE, path, f"{problem}, so it is not the file that was verified"),) if problem else ()
        readable = path.is_file() and path.resolve().is_relative_to(folder.resolve())
        if entry.format not in MODELS or not readable:
            if found:
                yield Linted(str(path), "", "", found)
            continue
        skipped = _not_for(entry, asked.target, (entry.stage, entry.format) in own)
        if skipped:
            yield Linted(str(path), "", entry.format, found, skipped)
            continue
        row = asked.target or (target_of(entry.target) if entry.target else None)
        one = _one(path, Asked(row, asked.max_edges, asked.ignore), entry.stage, _expected(bundle, entry))
        yield Linted(one.file, one.target, one.kind, found + one.findings)
    for name in bundle.strangers():
        if name.lower().endswith(SUFFIXES):
            one = _one(folder / name, asked, folder=True)
            stray = finding(UNREADABLE, folder / name, _STRAY, severity="warning")
            yield Linted(one.file, one.target, one.kind, (*one.findings, stray), one.skipped)


def _not_for(entry: FileEntry, target: Target | None, better: bool) -> str:
    """Return why a file of a bundle is not for a target. better: the bundle has a file of the same stage made for it."""
    if target is None or entry.target == target.name:
        return ""
    if entry.format != target.format:
        return f"{entry.format}, {target.name} takes {target.format}"
    if entry.target or better:
        return f"for {entry.target or 'every bundle'}, not for {target.name}"
    return ""


def _expected(bundle: Bundle, entry: FileEntry) -> dict[str, str] | None:
    """Return the metadata that an ONNX file of a bundle must carry. Files that every bundle has named no target before."""
    if entry.format != "onnx":
        return None
    metadata = onnx_metadata(bundle.spec, entry.stage, entry.target)
    return {key: metadata[key] for key in (SPEC_KEY, STAGE_KEY, *([TARGET_KEY] if entry.target else []))}
