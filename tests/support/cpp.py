"""Builds of runtime/cpp for tests, each made once for all test processes, and what is fed to its programs."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from trkx.runtime.events import Event
from trkx.runtime.events.output import csv_bytes

SOURCE = Path(__file__).parents[2] / "runtime" / "cpp"
LIMIT = 600.0  # s, of one build


def require_compiler() -> None:
    """Skip the test where C++ can't be compiled."""
    lacking = [tool for tool in ("cmake", "g++") if shutil.which(tool) is None]
    if lacking:
        pytest.skip(f"not checked: no {' and no '.join(lacking)} here")


def said(command: Sequence[str | Path], more: Mapping[str, str] | None = None, limit: float = LIMIT) -> str:
    """Run a command and return all that it said; fail the test with it unless it ends well."""
    words, environment = [str(part) for part in command], {**os.environ, **(more or {})}
    done = subprocess.run(words, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=limit, env=environment)
    assert done.returncode == 0, f"{command} returned {done.returncode}:\n{done.stdout[-6000:]}"
    return done.stdout


def made(base: Path, name: str, first: Sequence[str | Path], always: Sequence[str | Path] = ()) -> Path:
    """Return base/name: the command `first` makes it once, `always` brings it up to date; one test process at a time."""
    base.mkdir(parents=True, exist_ok=True)
    folder, done = base / name, base / f"{name}.done"
    with (base / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            said(first)
            done.touch()
        if always:
            said(always)
    return folder


def built(base: Path, name: str, options: Sequence[str], targets: Sequence[str] = ("all",)) -> Path:
    """Configure and build runtime/cpp with options into base/name, warnings being errors; return the folder."""
    generator = ["-G", "Ninja"] if shutil.which("ninja") else []
    folder = base / name
    configure = ["cmake", "-S", SOURCE, "-B", folder, *generator, "-DTRKX_TESTS=ON", "-DCMAKE_COMPILE_WARNING_AS_ERROR=ON",
                 *options]
    cores = os.environ.get("CMAKE_BUILD_PARALLEL_LEVEL", str(os.cpu_count() or 1))
    build = ["cmake", "--build", folder, "--parallel", cores, "--target", *targets]
    return made(base, name, configure, build)


def onnxruntime_root(base: Path) -> Path:
    """Return a folder with ONNX Runtime for C++: ONNXRUNTIME_ROOT, or Debian's headers and the library of the installed wheel."""
    given = os.environ.get("ONNXRUNTIME_ROOT")
    if given:
        return Path(given)
    pytest.importorskip("onnxruntime", reason="not checked: onnxruntime is not installed")
    if shutil.which("apt-get") is None:
        pytest.skip("not checked: no apt-get for the headers of ONNX Runtime; ONNXRUNTIME_ROOT names a folder that has them")
    command = [str(SOURCE / "get-onnxruntime.sh"), str(base / "onnxruntime"), "--wheel-of", sys.executable]
    if not (base / "onnxruntime.done").exists() and not _debian_answers():
        pytest.skip("not checked: Debian's archive is out of reach, and with it the headers of ONNX Runtime")
    return made(base, "onnxruntime", command)


def _debian_answers() -> bool:
    """Whether the archive that apt is set up for can be asked at all; what get-onnxruntime.sh makes of the answer is its test."""
    show = ["apt-get", "indextargets", "--format", "$(SITE)", "Created-By: Packages"]
    done = subprocess.run(show, capture_output=True, text=True)
    site = next(iter(done.stdout.split()), "http://deb.debian.org")
    try:
        urllib.request.urlopen(urllib.request.Request(site, method="HEAD"), timeout=20).close()
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False
    return True


def write_csv_event(folder: Path, event: Event) -> Path:
    """Write an event's hits as TrackML CSV; positions read back the same."""
    folder.mkdir(parents=True, exist_ok=True)
    axes = {name: event.position[:, axis].copy() for axis, name in enumerate("xyz")}
    path = folder / f"event{event.event_id:09d}-hits.csv"
    path.write_bytes(csv_bytes({"hit_id": event.hit_id, **axes}))
    return path
