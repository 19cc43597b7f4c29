"""`trkx run --device`, kernels in the interpreter."""

import pytest
from support.kernels import MODES, run_kernels

pytest.importorskip("torch", reason="not checked: needs torch")
pytest.importorskip("triton", reason="not checked: Triton is not installed")


@pytest.mark.parametrize("mode", MODES)
def test_the_command_on_a_device(mode, tiny_bundle):
    assert " passed" in run_kernels("interpreted_run.py", mode, tiny_bundle)
