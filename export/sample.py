"""The event that an export is checked with, where the user gives none."""

from __future__ import annotations

from importlib.resources import as_file, files
from pathlib import Path

from trkx.errors import InputError
from trkx.export.zoo import helix_event
from trkx.runtime.events.event import Event
from trkx.runtime.features import node_features
from trkx.spec import PipelineSpec

REFERENCE = "trkx.models.reference"
SAMPLE = "sample"


def check_event(spec: PipelineSpec, path: Path | None = None) -> Event:
    """Return the event at `path`, or the simulated one that ships with trkx; made-up helices if neither has the features.

    Raises:
        InputError: `path` can't be read, or has not the features that the spec lists.
    """
    if path is not None:
        event = _first_event(path)
        node_features(event, spec.features)
        return event
    shipped = files(REFERENCE) / SAMPLE
    if not shipped.is_dir():
        return helix_event(spec)
    with as_file(shipped) as folder:
        event = _first_event(folder)
    try:
        node_features(event, spec.features)
    except InputError:
        return helix_event(spec)
    return event


def _first_event(path: Path) -> Event:
    from trkx.runtime.events import open_events  # reads pyarrow

    return open_events([path])[0].read()


def reference_folder() -> Path:
    """Return the folder of the reference pipeline that ships with trkx.

    Raises:
        InputError: it is not part of this installation.
    """
    with as_file(files(REFERENCE) / "pipeline.toml") as file:
        if not file.is_file():
            raise InputError(f"{file}: the reference pipeline is not part of this installation; install trkx again.")
        return file.parent
