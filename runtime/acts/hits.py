"""ACTS's hits as a trkx event: space points, or measurements with the geometry; and which measurement is which hit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trkx.errors import InputError
from trkx.runtime.acts.frames import Frames
from trkx.runtime.events.acts import geometry_parts
from trkx.runtime.events.event import Event
from trkx.runtime.features import FROM_POSITION, IDENTIFIERS
from trkx.spec import PipelineSpec

Int = NDArray[np.int64]

CLUSTER_FEATURES: dict[str, Callable[[Any], float]] = {
    "cell_val": lambda cluster: float(cluster.sumActivations()),
    "leta": lambda cluster: float(cluster.localEta),
    "lphi": lambda cluster: float(cluster.localPhi),
    "geta": lambda cluster: float(cluster.globalEta),
    "gphi": lambda cluster: float(cluster.globalPhi),
}
"""Features that ACTS's Python bindings know of a cluster, by trkx's name (ActsExamples::Cluster)."""


@dataclass(frozen=True)
class Needs:
    """What a bundle's features need beside positions: identifiers (volume, layer, module), and features of clusters by name."""

    identifiers: bool
    clusters: tuple[str, ...]

    @classmethod
    def of(cls, spec: PipelineSpec) -> Needs:
        """Return the needs of a pipeline; InputError for a feature that nothing in ACTS's Python bindings can give."""
        names = [feature.name for feature in spec.features]
        clusters = tuple(name for name in names if name not in FROM_POSITION and name not in IDENTIFIERS)
        unknown = [name for name in clusters if name not in CLUSTER_FEATURES]
        if unknown:
            known = ", ".join([*FROM_POSITION, *IDENTIFIERS, *CLUSTER_FEATURES])
            raise InputError(
                f"{spec.name} needs the feature '{unknown[0]}', which ACTS's Python bindings do not give; they give: {known}. "
                "Use a bundle that needs these only, or run trkx run on files that hold the feature."
            )
        return cls(any(name in IDENTIFIERS for name in names), clusters)


@dataclass(frozen=True)
class Hits:
    """An event and the measurements behind its hits.

    event: hit_id is the row of the space point, or of the measurement. measurement: int64 [M], indices into ACTS's measurements,
    hit after hit. start: int64 [N + 1]; the measurements of hit i are measurement[start[i]:start[i + 1]].
    """

    event: Event
    measurement: Int
    start: Int

    @property
    def one_to_one(self) -> bool:
        """Whether every hit is one measurement."""
        return len(self.measurement) == len(self.event)

    def measurements_of(self, rows: Int) -> list[int]:
        """Return the measurements of some hits, each once, in the order of the hits."""
        if self.one_to_one:
            every = self.measurement[rows]
        else:
            every = np.concatenate([self.measurement[self.start[row] : self.start[row + 1]] for row in rows])
        return list(dict.fromkeys(every.tolist()))  # a strip's measurement may be part of several space points


def hits_from_space_points(points: Any, event_id: int, needs: Needs, clusters: Any = None, strips: bool = True) -> Hits:
    """Return the event of an `acts.SpacePointContainer`.

    x, y and z are read as numpy views of ACTS's columns (float32, mm). Source links have no such view: one short loop reads them.

    Args:
        points: space points, each with the source links (ActsExamples::IndexSourceLink) of its measurements.
        event_id: number of the event.
        needs: of the bundle.
        clusters: `acts.examples.ClusterContainer`, one a measurement; None where there are none.
        strips: a space point may be made of two measurements. False reads the first source link of each and no more: to find
            that there is no second one costs an exception in C++, five times the rest.

    Raises:
        InputError: a space point without a measurement, positions that are not finite, a feature that is needed and not there.
    """
    from acts.examples import IndexSourceLink

    count, link_of = len(points), IndexSourceLink.fromSourceLink
    # An empty container has no columns to view.
    position = np.stack([points.x, points.y, points.z], axis=1) if count else np.empty((0, 3), np.float32)
    if strips:
        pairs = np.fromiter(
            (value for row, point in enumerate(points) for link in point.sourceLinks for value in (row, link_of(link).index())),
            np.int64,
        ).reshape(-1, 2)
        sizes, measurement = np.bincount(pairs[:, 0], minlength=count), np.ascontiguousarray(pairs[:, 1])
    else:
        first = (next(point.sourceLinks, None) for point in points)
        measurement = np.fromiter((-1 if link is None else link_of(link).index() for link in first), np.int64, count)
        sizes = (measurement >= 0).astype(np.int64)
    if not sizes.all():
        raise InputError(
            f"event {event_id}: space point {int(np.argmin(sizes))} has no source link, so no measurement could be put on a "
            "track; give space points as acts.examples.SpacePointMaker writes them."
        )
    geometry = np.empty(0, np.uint64)
    if needs.identifiers:
        geometry = np.fromiter((link_of(next(point.sourceLinks)).geometryId().value for point in points), np.uint64, count)
    start = np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes)])
    return Hits(_event(event_id, position, geometry, needs, clusters, measurement[start[:-1]]), measurement, start)


def hits_from_measurements(measurements: Any, frames: Frames, event_id: int, needs: Needs, clusters: Any = None) -> Hits:
    """Return the event of an `acts.examples.MeasurementContainer`: local positions brought to the global frame.

    Args:
        measurements: each with a measured local x and y on a plane module.
        frames: of the modules (`frames_of`).
        event_id: number of the event.
        needs: of the bundle.
        clusters: one a measurement, or None.

    Raises:
        InputError: a measurement without local x and y, or on a surface that is no plane module; a missing feature.
    """
    rows = list(measurements)
    for row in rows:
        if not {0, 1} <= set(row.subspaceIndices):
            raise InputError(
                f"event {event_id}: measurement {row.index} has the local coordinates {list(row.subspaceIndices)}, expected 0 "
                "and 1: one coordinate alone is no point in space; give space points (SpacePointMaker) instead of measurements."
            )
    geometry = np.fromiter((row.geometryId.value for row in rows), np.uint64, len(rows))
    local = np.array([(full[0], full[1]) for full in (row.fullParameters for row in rows)], np.float64).reshape(len(rows), 2)
    position = frames.to_global(geometry, local, f"event {event_id}").astype(np.float32)
    index = np.fromiter((row.index for row in rows), np.int64, len(rows))
    start = np.arange(len(rows) + 1, dtype=np.int64)
    return Hits(_event(event_id, position, geometry, needs, clusters, index), index, start)


def _event(
    event_id: int, position: NDArray[np.float32], geometry: NDArray[np.uint64], needs: Needs, clusters: Any, measurement: Int
) -> Event:
    cells = _cluster_features(clusters, needs.clusters, measurement, event_id) if needs.clusters else {}
    volume, layer, module = geometry_parts(geometry) if needs.identifiers else (None, None, None)
    hit_id = np.arange(len(position), dtype=np.int64)
    return Event(event_id, hit_id, position, volume, layer, module, cells, source="ACTS sequence").checked()


def _cluster_features(clusters: Any, names: Sequence[str], measurement: Int, event_id: int) -> dict[str, NDArray[np.float32]]:
    if clusters is None:
        raise InputError(
            f"event {event_id}: the bundle needs {', '.join(names)}, which are made from clusters; give the key of the clusters "
            "(inputClusters) of a digitisation that makes cells, or use a bundle that needs positions only."
        )
    if len(measurement) and int(measurement.max()) >= len(clusters):
        raise InputError(
            f"event {event_id}: {len(clusters)} clusters, but measurement {int(measurement.max())} needs its own; clusters and "
            "measurements must come from the same digitisation."
        )
    used = [clusters[index] for index in measurement.tolist()]
    if used and not any(cluster.sumActivations() for cluster in used):
        raise InputError(
            f"event {event_id}: the bundle needs {', '.join(names)}, but no cluster holds a cell: this digitisation smears "
            "positions and makes no cells. Use a geometric digitisation, or a bundle that needs positions only."
        )
    return {name: np.fromiter(map(CLUSTER_FEATURES[name], used), np.float32, len(used)) for name in names}
