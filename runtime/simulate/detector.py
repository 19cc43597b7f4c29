"""The generic (TrackML) detector of ACTS: its modules, and how well each measures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Pitch of the TrackML sensors in mm, local x and y, by volume: pixels, short strips, long strips.
PITCH = {
    **dict.fromkeys((7, 8, 9), (0.050, 0.05625)),
    **dict.fromkeys((12, 13, 14), (0.080, 1.2)),
    **dict.fromkeys((16, 17, 18), (0.120, 10.8)),
}


@dataclass(frozen=True)
class Modules:
    """Sensitive modules, one row each, ordered by geometry id.

    geometry_id: uint64 [M]. volume, layer, module: int32 [M]. center, axis_x, axis_y: float64 [M, 3], mm and unit
    vectors of the module plane. half: float64 [M, 3], half lengths in mm: x at lower y, x at upper y, y.
    pitch: float64 [M, 2], mm.
    """

    geometry_id: NDArray[np.uint64]
    volume: NDArray[np.int32]
    layer: NDArray[np.int32]
    module: NDArray[np.int32]
    center: NDArray[np.float64]
    axis_x: NDArray[np.float64]
    axis_y: NDArray[np.float64]
    half: NDArray[np.float64]
    pitch: NDArray[np.float64]

    def index(self, geometry_id: NDArray[np.uint64]) -> NDArray[np.int64]:
        """Return the row of each geometry id."""
        return np.searchsorted(self.geometry_id, geometry_id).astype(np.int64)


def modules_from_geometry(geometry: Any) -> Modules:
    """Return the modules of an `acts.TrackingGeometry`."""
    import acts

    context = acts.GeometryContext.dangerouslyDefaultConstruct()
    toward = acts.Vector3(0, 0, 1)
    corners = [acts.Vector2(0, 0), acts.Vector2(1, 0), acts.Vector2(0, 1)]
    surfaces: list[Any] = []
    geometry.visitSurfaces(surfaces.append)
    surfaces = sorted((s for s in surfaces if s.isSensitive), key=lambda s: s.geometryId.value)
    frames = np.array([[_xyz(s.localToGlobal(context, at, toward)) for at in corners] for s in surfaces])
    bounds = [s.bounds.values() for s in surfaces]
    half = np.array([(b[2], b[2], b[3]) if type(s.bounds).__name__ == "RectangleBounds" else (b[0], b[1], b[2])
                     for s, b in zip(surfaces, bounds, strict=True)])
    ids = [s.geometryId for s in surfaces]
    volume = np.array([i.volume for i in ids], np.int32)
    return Modules(
        geometry_id=np.array([i.value for i in ids], np.uint64), volume=volume,
        layer=np.array([i.layer for i in ids], np.int32), module=np.array([i.sensitive for i in ids], np.int32),
        center=frames[:, 0], axis_x=frames[:, 1] - frames[:, 0], axis_y=frames[:, 2] - frames[:, 0],
        half=half, pitch=np.array([PITCH[v] for v in volume.tolist()]),
    )


def _xyz(vector: Any) -> tuple[float, float, float]:
    return vector[0], vector[1], vector[2]


def smear(modules: Modules, row: NDArray[np.int64], truth: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    """Return measured positions: the true ones moved in the module plane by a Gaussian of pitch / sqrt(12).

    row: module of each hit, int64 [N]. truth: float64 [N, 3], mm. Returns float64 [N, 3], mm. The result may leave the
    module by less than a pitch, as a cluster's centre may.
    """
    shift = rng.normal(size=(len(row), 2)) * modules.pitch[row] / np.sqrt(12.0)
    moved: NDArray[np.float64] = truth + shift[:, :1] * modules.axis_x[row] + shift[:, 1:] * modules.axis_y[row]
    return moved


def noise(modules: Modules, count: int, rng: np.random.Generator) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return `count` noise hits, modules chosen by area and places uniform in them: rows int64, positions float64 [count, 3]."""
    area = (modules.half[:, 0] + modules.half[:, 1]) * modules.half[:, 2]
    row = rng.choice(len(area), size=count, p=area / area.sum()).astype(np.int64)
    v = rng.uniform(-1.0, 1.0, count)
    width = modules.half[row, 0] + (modules.half[row, 1] - modules.half[row, 0]) * (v + 1.0) / 2.0
    u = rng.uniform(-1.0, 1.0, count) * width
    v = v * modules.half[row, 2]
    return row, modules.center[row] + u[:, None] * modules.axis_x[row] + v[:, None] * modules.axis_y[row]
