"""Fixtures of the runtime's tests."""

import pytest
from support.tiny import tiny_bundle


@pytest.fixture(scope="session")
def bundle(tmp_path_factory):
    """Folder of a tiny bundle with random weights."""
    pytest.importorskip("torch", reason="not checked: exporting the test bundle needs torch")
    return tiny_bundle(tmp_path_factory.mktemp("bundle"))
