"""A folder appears whole or not at all: written under a temporary name beside its place, then renamed."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from trkx.errors import BundleError

_NO_SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@contextmanager
def staged_folder(target: Path | str, may_replace: Callable[[Path], None]) -> Iterator[Path]:
    """Yield a temporary sibling folder of `target`, which takes the place of `target` if the block succeeds.

    On an exception (KeyboardInterrupt included) the temporary folder is removed and `target` is what it was before.
    Killed outright between two renames, the old folder survives as `.NAME.*.old` beside `target`.

    Args:
        target: the folder to make; missing parents are made.
        may_replace: called with `target` if it is a folder that is not empty, now and again right before it is replaced;
            raises to keep it.

    Raises:
        BundleError: `target` is a file or changes meanwhile, there is no space, or the folder can't be written.
    """
    target = Path(os.path.realpath(target))
    _check(target, may_replace)
    token = uuid.uuid4().hex[:8]
    temporary = target.parent / f".{target.name}.{token}.tmp"
    try:
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            temporary.mkdir()
        except OSError as error:
            raise BundleError(f"{target}: can't write there ({error.strerror}); choose another place.") from error
        try:
            yield temporary
            _sync_tree(temporary)
        except OSError as error:
            if error.errno in _NO_SPACE:
                raise BundleError(f"{target}: no space to write it ({error.strerror}); nothing was changed.") from error
            raise
        _put_in_place(temporary, target, target.parent / f".{target.name}.{token}.old", may_replace)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _check(target: Path, may_replace: Callable[[Path], None]) -> None:
    if target.is_symlink() or (target.exists() and not target.is_dir()):
        raise BundleError(f"{target}: expected a folder or nothing there, found a file; choose another place.")
    if target.is_dir() and any(target.iterdir()):
        may_replace(target)


def _put_in_place(temporary: Path, target: Path, aside: Path, may_replace: Callable[[Path], None]) -> None:
    """Rename `temporary` to `target`, keeping what was there until the new folder stands.

    Only what `may_replace` has agreed to is removed: a change after it was asked is seen under the name `aside`, which
    nobody else knows, and undoes the replacement.
    """
    try:
        before = _held(target)
        _check(target, may_replace)
        if target.exists():
            os.rename(target, aside)  # noqa: PTH104 - fails rather than replaces
            if _held(aside) != before:
                raise BundleError(f"{target}: was changed while it was being replaced, so it is left as it is; try again.")
        os.rename(temporary, target)  # noqa: PTH104
        _sync(target.parent)
    except OSError as error:
        left = f"What was there is now at {aside}" if aside.exists() and target.exists() else "Nothing was changed"
        raise BundleError(f"{target}: can't put the finished folder in place ({error.strerror}). {left}.") from error
    finally:
        if aside.exists():
            if not temporary.exists():  # the new folder stands
                shutil.rmtree(aside, ignore_errors=True)
            elif not target.exists():
                os.rename(aside, target)  # noqa: PTH104


def _held(folder: Path) -> dict[str, tuple[int, int, int]]:
    """Return what a folder holds: relative path to inode, size and time of change, zeros for a folder."""
    held = {}
    for path in folder.rglob("*"):
        state = path.lstat()
        kept = (0, 0, 0) if stat.S_ISDIR(state.st_mode) else (state.st_ino, state.st_size, state.st_mtime_ns)
        held[path.relative_to(folder).as_posix()] = kept
    return held


def _sync_tree(folder: Path) -> None:
    for path in sorted(folder.rglob("*")):
        _sync(path)
    _sync(folder)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
