"""Tests of Triton kernels in a process of their own: interpreted on CPU tensors, or compiled where there is a GPU.

Whether kernels are interpreted is decided when Triton is first imported, so one process can't do both.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MODES = ("interpreted", "on a GPU")
BUNDLE = "TRKX_TEST_BUNDLE"
"""Variable of the environment: folder of the tiny bundle that this process need not export, which takes long."""


def run_kernels(name: str, mode: str, bundle: Path | None = None) -> str:
    """Run tests/runtime/{name} with kernels interpreted or on a GPU, fail as it does, and return what pytest printed.

    bundle: what the fixture tiny_bundle is there.
    """
    if mode == "on a GPU":
        torch = pytest.importorskip("torch")
        if not torch.cuda.is_available():
            pytest.skip("not checked: no GPU here")
    command = [sys.executable, "-m", "pytest", str(ROOT / "tests" / "runtime" / name)]
    done = run(command, mode == "interpreted", {BUNDLE: str(bundle)} if bundle else {})
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    return done.stdout


def run(command: list[str], interpret: bool, more: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run a command from the root of the project, with or without Triton's interpreter. more: variables of its environment."""
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"} | dict(more or {})
    if interpret:
        environment["TRITON_INTERPRET"] = "1"
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600)
