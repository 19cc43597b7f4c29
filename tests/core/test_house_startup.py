"""`import trkx` and every `--help` work in an environment without the heavy packages, in less than half a second of one core."""

from __future__ import annotations

import resource
import subprocess
import sys

import pytest

from trkx.cli import COMMANDS

LIMIT = 0.5
TORCH_AND_ONNX = ("torch", "onnx", "onnxscript", "onnxsim")
BLOCKED = (*TORCH_AND_ONNX, "onnxruntime", "numba", "pyarrow", "scipy", "matplotlib", "mplhep", "acts", "pythia8mc")
BLOCK = f"""
import sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {BLOCKED!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}} (blocked)", name=name)
sys.meta_path.insert(0, Blocker())
"""
CASES = {
    "import trkx": "import trkx",
    "trkx --help": "from trkx.cli import main; sys.argv = ['trkx', '--help']; main()",
    "export-models --help": "from trkx.cli import export_models; sys.argv = ['export-models', '--help']; export_models()",
    **{f"trkx {name} --help": f"from trkx.cli import main; sys.argv = ['trkx', '{name}', '--help']; main()" for name in COMMANDS},
}


def seconds() -> float:
    """Return the processor time of all children so far: unlike wall time it hardly depends on what else the machine does."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def run(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", BLOCK + code], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("name", CASES)
def test_help_without_heavy_packages_and_fast(name: str) -> None:
    best = float("inf")
    for _ in range(5):  # the first run may still have to compile bytecode
        start = seconds()
        done = run(CASES[name])
        best = min(best, seconds() - start)
        assert done.returncode == 0, done.stderr
        assert done.stderr == ""
        assert ("Usage: " in done.stdout) == ("help" in name)
        if best < LIMIT:
            break
    assert best < LIMIT, f"{name} takes {best:.2f} s"


@pytest.mark.parametrize("name", ["torch", "onnxruntime.capi"])
def test_the_blocker_blocks(name: str) -> None:
    done = run(f"import {name}")
    assert done.returncode == 1
    assert "(blocked)" in done.stderr


def test_the_runtime_needs_no_torch() -> None:
    blocked = BLOCK.replace(repr(BLOCKED), repr(TORCH_AND_ONNX))
    assert blocked != BLOCK
    code = blocked + "import trkx.runtime.pipeline, trkx.runtime.events, trkx.runtime.metrics"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
