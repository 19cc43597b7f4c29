import pytest
from support.kernels import MODES, run_kernels

pytest.importorskip("triton", reason="not checked: Triton is not installed")


@pytest.mark.parametrize("mode", MODES)
def test_components(mode):
    assert " passed" in run_kernels("interpreted_components.py", mode)
