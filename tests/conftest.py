"""Fixtures of all tests: the folder of public reference data, and random numbers that depend on nothing but the test."""

from __future__ import annotations

import os
import zlib
from pathlib import Path

import numpy as np
import pytest
from support.fixtures import half_bundle, tiny_bundle, tiny_export  # noqa: F401 - shared fixtures

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def golden() -> Path:
    """Folder of public reference data; the test is skipped where it is absent."""
    folder = Path(os.environ.get("TRKX_GOLDEN") or ROOT.parent / "shared" / "golden")
    if not folder.is_dir():
        pytest.skip(f"not checked: no reference data at {folder} (TRKX_GOLDEN names another place)")
    return folder


@pytest.fixture
def rng(request: pytest.FixtureRequest) -> np.random.Generator:
    """Generator seeded from the test's own id."""
    return np.random.default_rng(zlib.crc32(request.node.nodeid.encode()))
