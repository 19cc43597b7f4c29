"""Where modules lie: local coordinates of plane modules to global ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trkx.errors import InputError

Real = NDArray[np.float64]


@dataclass(frozen=True)
class Frames:
    """Plane modules, ordered by geometry id.

    geometry_id: uint64 [M]. center, axis_x, axis_y: float64 [M, 3], mm and unit vectors of the module's plane.
    """

    geometry_id: NDArray[np.uint64]
    center: Real
    axis_x: Real
    axis_y: Real

    def to_global(self, geometry_id: NDArray[np.uint64], local: Real, where: str) -> Real:
        """Return global positions, float64 [N, 3], of local ones, float64 [N, 2], mm; `where` opens the error's message.

        Raises:
            InputError: a geometry id that is no plane module.
        """
        if not len(geometry_id):
            return np.empty((0, 3), np.float64)
        row = np.minimum(np.searchsorted(self.geometry_id, geometry_id), max(len(self.geometry_id) - 1, 0))
        strange = np.ones(len(geometry_id), bool) if not len(self.geometry_id) else self.geometry_id[row] != geometry_id
        if strange.any():
            first = int(geometry_id[int(strange.argmax())])
            raise InputError(
                f"{where}: {int(strange.sum())} measurement(s) on surfaces that are no plane modules of this geometry, the first "
                f"has geometry id {first}; give the geometry that the measurements were made with, or space points."
            )
        moved: Real = self.center[row] + local[:, :1] * self.axis_x[row] + local[:, 1:] * self.axis_y[row]
        return moved


def frames_of(geometry: Any) -> Frames:
    """Return the plane modules of an `acts.TrackingGeometry`; others (discs, straws) have other local coordinates: left out."""
    import acts

    context = acts.GeometryContext.dangerouslyDefaultConstruct()
    toward = acts.Vector3(0, 0, 1)
    corners = [acts.Vector2(0, 0), acts.Vector2(1, 0), acts.Vector2(0, 1)]
    surfaces: list[Any] = []
    geometry.visitSurfaces(surfaces.append)
    planes = sorted((s for s in surfaces if s.isSensitive and isinstance(s, acts.PlaneSurface)), key=lambda s: s.geometryId.value)
    points = np.array([[tuple(s.localToGlobal(context, at, toward)) for at in corners] for s in planes], np.float64).reshape(
        -1, 3, 3
    )
    ids = np.array([s.geometryId.value for s in planes], np.uint64)
    return Frames(ids, points[:, 0], points[:, 1] - points[:, 0], points[:, 2] - points[:, 0])
