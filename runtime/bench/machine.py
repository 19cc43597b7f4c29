"""What a measurement must be read with: processor, cores, versions, the command."""

from __future__ import annotations

import importlib.metadata
import platform
import shlex
import sys
from pathlib import Path
from typing import Any

from trkx import __version__
from trkx.runtime.crew import available_cores

PACKAGES = ("numpy", "scipy", "numba", "onnxruntime", "onnxruntime-gpu", "torch", "onnx", "faiss-cpu", "scikit-network",
            "scikit-learn", "pynanoflann", "pyg-lib", "torch-cluster", "triton", "faiss-gpu", "faiss-gpu-cu12",
            "frnn", "frnn-cuda", "cugraph-cu12", "cugraph-cu13", "pylibcugraph-cu12", "pylibcugraph-cu13")


def machine_facts(threads: int) -> dict[str, Any]:
    """Return processor, cores, memory, system, versions of what is installed, and the command without folders of this machine."""
    return {
        "processor": _processor(), "cores": available_cores(), "threads": threads, "memory_bytes": _memory(),
        "system": f"{platform.system()} {platform.machine()}", "python": platform.python_version(), "trkx": __version__,
        "versions": versions(), "command": command_line(sys.argv),
    }


def versions() -> dict[str, str]:
    """Return name and version of the packages that are installed, without importing them."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def command_line(argv: list[str]) -> str:
    """Return a command with each absolute path cut to its last part: results are shown to others."""

    def short(word: str) -> str:
        option, equals, value = word.partition("=") if word.startswith("-") else ("", "", word)
        return option + equals + (Path(value).name if Path(value).is_absolute() else value)

    script = Path(argv[0]).name
    program = ["python", f"benchmarks/{script}"] if script.endswith(".py") and script != "__main__.py" else ["trkx"]
    return shlex.join([*program, *map(short, argv[1:])])


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _memory() -> int | None:
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemTotal:")), None)
