"""Other libraries on a GPU bring what ours brings: by doubles and by CPU builds here, by themselves where there is a GPU."""

import subprocess
import sys

import pytest
from support.kernels import MODES, run_kernels

pytest.importorskip("torch")
pytest.importorskip("triton", reason="not checked: Triton is not installed")


@pytest.mark.parametrize("mode", MODES)
def test_adapters(mode):
    assert " passed" in run_kernels("interpreted_adapters.py", mode)


def test_no_library_is_imported_before_it_is_asked_for():
    code = (
        "import sys, trkx.runtime.cuda.adapters.table, trkx.runtime.cuda.adapters.frnn_search\n"
        "import trkx.runtime.cuda.adapters.faiss_search, trkx.runtime.cuda.adapters.cluster_search\n"
        "names = 'frnn', 'frnn_cuda', 'faiss', 'torch_cluster', 'cugraph', 'cudf', 'cupy', 'pylibcugraph'\n"
        "found = [name for name in names if name in sys.modules]\n"
        "sys.exit(str(found) if found else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
