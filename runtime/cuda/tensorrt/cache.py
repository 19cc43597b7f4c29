"""Built engines on disk. One that is not certainly what is asked for is never used: it is built again and replaced."""

from __future__ import annotations

import hashlib
import os
import uuid
from collections.abc import Callable
from pathlib import Path

from trkx.errors import BundleError
from trkx.runtime.cuda.tensorrt.sidecar import Identity, Sidecar


def default_cache() -> Path:
    """Return the user's cache folder: `$XDG_CACHE_HOME/trkx/tensorrt`, else `~/.cache/trkx/tensorrt`."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if base else Path.home() / ".cache") / "trkx" / "tensorrt"


def cached_engine(folder: Path, identity: Identity, build: Callable[[], tuple[bytes, Sidecar]]) -> bytes:
    """Return the engine of an identity: from the folder if it is there and whole, else built and put there.

    Two processes may do this at once: each writes files of its own and renames them; the last one stays.

    Args:
        folder: made if it is missing.
        identity: of the engine.
        build: makes engine and sidecar.

    Raises:
        BundleError: the folder can't be written.
    """
    found = load(folder, identity)
    if found is not None:
        return found
    engine, sidecar = build()
    store(folder, engine, sidecar)
    return engine


def load(folder: Path, identity: Identity) -> bytes | None:
    """Return an engine whose sidecar says this identity and whose bytes have the hash that stands there; None for all else."""
    path = folder / f"{identity.key}.engine"
    try:
        sidecar = Sidecar.from_json(path.with_suffix(".json").read_bytes(), path.name)
        data = path.read_bytes()
    except (OSError, BundleError):
        return None
    whole = len(data) == sidecar.size and hashlib.sha256(data).hexdigest() == sidecar.engine
    return data if whole and sidecar.identity == identity else None


def store(folder: Path, engine: bytes, sidecar: Sidecar) -> Path:
    """Write an engine and its sidecar, the engine first: without a sidecar that fits it is not used. Return its path.

    Raises:
        BundleError: the folder can't be written.
    """
    path = folder / f"{sidecar.identity.key}.engine"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _write(path, engine)
        _write(path.with_suffix(".json"), sidecar.to_json())
    except OSError as error:
        raise BundleError(f"{folder}: engines can't be kept there ({error.strerror}); choose another cache folder.") from error
    return path


def _write(path: Path, data: bytes) -> None:
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        temporary.write_bytes(data)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
