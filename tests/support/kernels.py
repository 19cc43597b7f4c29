"""Tests of Triton kernels in a process of their own: interpreted on CPU tensors, or compiled where there is a GPU.

Whether kernels are interpreted is decided when Triton is first imported, so one process can't do both.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MODES = ("interpreted", "on a GPU")


def run_kernels(name: str, mode: str) -> str:
    """Run tests/runtime/{name} with kernels interpreted or on a GPU, fail as it does, and return what pytest printed."""
    if mode == "on a GPU":
        torch = pytest.importorskip("torch")
        if not torch.cuda.is_available():
            pytest.skip("not checked: no GPU here")
    done = run([sys.executable, "-m", "pytest", str(ROOT / "tests" / "runtime" / name)], interpret=mode == "interpreted")
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    return done.stdout


def run(command: list[str], interpret: bool) -> subprocess.CompletedProcess[str]:
    """Run a command from the root of the project, with or without Triton's interpreter."""
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    if interpret:
        environment["TRITON_INTERPRET"] = "1"
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600)
