"""The generic (TrackML) detector as a sequence needs it: geometry, field, digitisation, the layers that seeding looks at."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from trkx.runtime.simulate.detector import PITCH
from trkx.runtime.simulate.propagate import FIELD_TESLA

SEEDING_LAYERS: tuple[tuple[int, int], ...] = (
    *((8, layer) for layer in (2, 4, 6, 8)),
    *((9, layer) for layer in (2, 4, 6, 8)),
    *((7, layer) for layer in (14, 12, 10, 8)),
)
"""Pixel layers (volume, layer) of which ACTS's seeds are made in this detector: those of its own generic-seeding-config.json."""


@dataclass(frozen=True)
class Setup:
    """The detector, held as long as a sequence runs: detector, geometry, field are ACTS's objects; the field is 2 T along z."""

    detector: Any
    geometry: Any
    field: Any


def generic_detector() -> Setup:
    """Return the generic detector in a 2 T solenoid, as `trkx simulate` has it."""
    import acts
    import acts.examples

    detector = acts.examples.GenericDetector()
    field = acts.ConstantBField(acts.Vector3(0, 0, FIELD_TESLA * acts.UnitConstants.T))
    return Setup(detector, detector.trackingGeometry(), field)


def resolution() -> dict[int, tuple[float, float]]:
    """Return the resolution of local x and y by volume, mm: pitch / sqrt(12), as `trkx simulate` smears."""
    return {volume: (x / np.sqrt(12.0), y / np.sqrt(12.0)) for volume, (x, y) in PITCH.items()}


def write_digitisation(path: Path) -> Path:
    """Write ACTS's digitisation configuration: local x and y of every hit smeared by a Gaussian of `resolution`."""
    entries = [
        {"volume": volume, "value": {"smearing": [
            {"index": index, "mean": 0.0, "stddev": float(width), "type": "Gauss"} for index, width in enumerate(widths)
        ]}} for volume, widths in resolution().items()
    ]  # fmt: skip
    head = {"format-version": 0, "value-identifier": "digitization-configuration"}
    path.write_text(json.dumps({"acts-geometry-hierarchy-map": head, "entries": entries}), encoding="utf-8")
    return path


def geometry_ids(places: tuple[tuple[int, int], ...] | None = None) -> list[Any]:
    """Return ACTS's identifiers of (volume, layer) pairs; None for all volumes that measure."""
    import acts

    if places is None:
        return [acts.GeometryIdentifier(volume=volume) for volume in PITCH]
    return [acts.GeometryIdentifier(volume=volume, layer=layer) for volume, layer in places]
