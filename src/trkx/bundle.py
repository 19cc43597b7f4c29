"""A bundle: one folder with everything that turns hits into tracks, verified when read. Opening one executes nothing."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from trkx.errors import BundleError
from trkx.manifest import MANIFEST_NAME, SCHEMA, FileEntry, Manifest, Stage
from trkx.spec import STAGES, PipelineSpec
from trkx.staging import staged_folder

__all__ = [
    "MANIFEST_NAME",
    "SCHEMA",
    "STAGES",
    "Bundle",
    "FileEntry",
    "Manifest",
    "Stage",
    "file_entry",
    "staged",
    "write_manifest",
]

_LARGEST_MANIFEST = 64 * 2**20


@dataclass(frozen=True)
class Bundle:
    """An opened bundle.

    Attributes:
        path: the folder.
        manifest: what `bundle.json` says.
    """

    path: Path
    manifest: Manifest

    @classmethod
    def open(cls, folder: Path | str, check: bool = True) -> Self:
        """Read `bundle.json` of a folder.

        Args:
            folder: the bundle.
            check: require that every listed file is there, in the folder and of the listed size; `read` verifies content.

        Raises:
            BundleError: no bundle there, a `bundle.json` that is broken, edited or newer, a file that is missing, of another size
                or outside.
        """
        path = Path(folder)
        source = path / MANIFEST_NAME
        if not source.is_file():
            found = _what_is(path) + "." + _left_aside(path)
            raise BundleError(f"{path}: expected a bundle (a folder with {MANIFEST_NAME}), found {found}")
        data = _read_limited(source, _LARGEST_MANIFEST)
        bundle = cls(path, Manifest.from_json(data, str(source)))
        if check:
            bundle._raise_problems({entry.path: bundle._problem_of_place(entry) for entry in bundle.manifest.files})
        return bundle

    @property
    def spec(self) -> PipelineSpec:
        """The pipeline's specification."""
        return self.manifest.spec

    def entry(self, stage: str, format: str, precision: str = "float32", target: str = "") -> FileEntry:
        """Return the file of a stage in a format for a target; a file for stage "all" serves every stage.

        Raises:
            BundleError: the bundle has no such file; the message lists those it has.
        """
        for wanted in (stage, "all"):
            for entry in self.manifest.files:
                if (entry.stage, entry.format, entry.precision, entry.target) == (wanted, format, precision, target):
                    return entry
        known = ", ".join(f"{e.stage} {e.format} {e.precision} {e.target}".strip() for e in self.manifest.files) or "nothing"
        where = f" for {target}" if target else ""
        raise BundleError(f"{self.path}: no {format} file of stage {stage} in {precision}{where}; the bundle has {known}.")

    def read(self, stage: str, format: str, precision: str = "float32", target: str = "") -> bytes:
        """Return the content of a file, verified: exactly these bytes have the listed size and SHA-256.

        Raises:
            BundleError: no such file in the bundle, or it is missing, truncated or edited.
        """
        entry = self.entry(stage, format, precision, target)
        problem = self._problem_of_place(entry)
        data = b"" if problem else _read(self.path / entry.path)
        self._raise_problems({entry.path: problem or _problem_of_content(entry, data)})
        return data

    def problems(self) -> dict[str, str]:
        """Return what is wrong with each listed file: path to one sentence, "" for a file that is as it was written."""
        found = {}
        for entry in self.manifest.files:
            place = self._problem_of_place(entry)
            found[entry.path] = place or _problem_of_content(entry, _read(self.path / entry.path))
        return found

    def verify(self) -> None:
        """Read every file and raise BundleError that names all that are missing, truncated or edited."""
        self._raise_problems(self.problems())

    def strangers(self) -> list[str]:
        """Return the files in the folder that `bundle.json` does not list, as sorted relative paths."""
        listed = {MANIFEST_NAME, *(entry.path for entry in self.manifest.files)}
        present = (p.relative_to(self.path).as_posix() for p in self.path.rglob("*") if not p.is_dir() or p.is_symlink())
        return sorted(name for name in present if name not in listed)

    def _problem_of_place(self, entry: FileEntry) -> str:
        path = self.path / entry.path
        if not path.resolve().is_relative_to(self.path.resolve()):
            return "leads outside the bundle folder through a symbolic link"
        if not path.is_file():
            return "is missing"
        size = path.stat().st_size
        if size != entry.bytes:
            return f"has {size} bytes instead of {entry.bytes}: truncated or edited"
        return ""

    def _raise_problems(self, problems: dict[str, str]) -> None:
        bad = [f"{name} {problem}" for name, problem in problems.items() if problem]
        if bad:
            raise BundleError(f"{self.path}: {'; '.join(bad)}. Fetch the bundle again or export it again.")


@contextmanager
def staged(target: Path | str, overwrite: bool = False) -> Iterator[Path]:
    """Yield a temporary folder that becomes the bundle `target` if the block succeeds and wrote `bundle.json`.

    Args:
        target: the bundle folder to make.
        overwrite: replace a bundle that is there. Anything else that is there is never replaced.

    Raises:
        BundleError: something is in the way, no space, not writable, or what was written is no whole bundle.
    """

    def may_replace(folder: Path) -> None:
        if not (folder / MANIFEST_NAME).is_file():
            raise BundleError(f"{folder}: is not empty and holds no bundle, so it is left as it is; choose another folder.")
        if not overwrite:
            raise BundleError(f"{folder}: holds a bundle already; choose another folder, or --overwrite it.")
        source = folder / MANIFEST_NAME  # may be edited: replacing it is what its error message advises
        old = Manifest.from_json(_read_limited(source, _LARGEST_MANIFEST), str(source), verify=False)
        strangers = Bundle(folder, old).strangers()
        if strangers:
            names = ", ".join(strangers[:5])
            raise BundleError(f"{folder}: holds files that are not the bundle's ({names}); move them away first.")

    with staged_folder(target, may_replace) as temporary:
        yield temporary
        Bundle.open(temporary).verify()


def file_entry(
    folder: Path,
    path: str,
    stage: Stage,
    format: str,
    precision: str = "float32",
    opset: int | None = None,
    note: str = "",
    target: str = "",
) -> FileEntry:
    """Return the entry of a file that was written into a bundle folder, with its size and SHA-256 as they are on disk."""
    data = (folder / path).read_bytes()
    return FileEntry(path, stage, format, hashlib.sha256(data).hexdigest(), len(data), precision, opset, note, target)


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write `bundle.json`, after proving that it reads back as the same manifest."""
    data = manifest.to_json()
    if Manifest.from_json(data).to_json() != data:
        raise BundleError(f"{MANIFEST_NAME}: does not read back as what was written; this is a bug in trkx, please report it.")
    (folder / MANIFEST_NAME).write_bytes(data)


def _problem_of_content(entry: FileEntry, data: bytes) -> str:
    found = hashlib.sha256(data).hexdigest()
    if len(data) != entry.bytes:
        return f"has {len(data)} bytes instead of {entry.bytes}: truncated or edited"
    if found != entry.sha256:
        return f"has SHA-256 {found[:12]}… instead of {entry.sha256[:12]}…: edited or corrupted"
    return ""


def _read_limited(path: Path, limit: int) -> bytes:
    size = path.stat().st_size
    if size > limit:
        raise BundleError(f"{path}: {size} bytes is no plausible manifest (at most {limit}); this is not a trkx bundle.")
    return _read(path)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise BundleError(f"{path}: can't be read ({error.strerror}).") from error


def _what_is(path: Path) -> str:
    if path.is_dir():
        names = sorted(p.name for p in path.iterdir())
        return f"a folder with {', '.join(names[:5])}{' …' if len(names) > 5 else ''}" if names else "an empty folder"
    return "a file" if path.exists() else "nothing"


def _left_aside(path: Path) -> str:
    """Say where an old bundle is, if replacing it was killed between two renames."""
    old = sorted(path.resolve().parent.glob(f".{path.resolve().name}.*.old")) if not path.exists() else []
    return f" An interrupted replacement left the old bundle at {old[0]}: rename it back." if old else ""
