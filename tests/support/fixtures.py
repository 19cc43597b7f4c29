"""Fixtures that are expensive and shared: made once a session."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from support.kernels import BUNDLE
from support.tiny import TinyExport, half_bundle_into, tiny_export_into


@pytest.fixture(scope="session")
def tiny_export(tmp_path_factory: pytest.TempPathFactory) -> TinyExport:
    """A tiny pipeline and its exported bundle. Read only: copy the folder to change it."""
    return tiny_export_into(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session")
def tiny_bundle(request: pytest.FixtureRequest) -> Path:
    """Folder of an exported bundle of a tiny pipeline (see `tiny_spec`); in a process of kernels its parent's. Read only."""
    given = os.environ.get(BUNDLE)
    return Path(given) if given else request.getfixturevalue("tiny_export").folder


@pytest.fixture(scope="session")
def half_bundle(tiny_export: TinyExport, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the tiny bundle with ONNX in half precision: all networks in float16, filter and GNN in bfloat16. Read only."""
    return half_bundle_into(tmp_path_factory.mktemp("half"), tiny_export.folder)
