"""Space points of two strips, space points without a measurement, features of clusters."""

from __future__ import annotations

import numpy as np
import pytest
from support.tiny import tiny_spec

pytest.importorskip("acts", reason="needs the extra 'simulate'")

import acts
import acts.examples as examples

from trkx.errors import InputError
from trkx.runtime.acts.hits import Needs, hits_from_measurements, hits_from_space_points
from trkx.spec import FeatureSpec

NOTHING = Needs(False, ())
X, Y, Z = np.float32([1.5, -2.5, 30.25]), np.float32([4.0, 5.5, -6.0]), np.float32([100.0, -200.0, 300.5])


def points(links, columns=None):
    """Space points at X, Y, Z, each with the given measurements."""
    kinds = acts.SpacePointColumns
    made = acts.SpacePointContainer(kinds.X | kinds.Y | kinds.Z | kinds.SourceLinks)
    for row, indices in enumerate(links):
        point = made.createSpacePoint()
        point.x, point.y, point.z = float(X[row]), float(Y[row]), float(Z[row])
        point.assignSourceLinks([
            examples.IndexSourceLink(acts.GeometryIdentifier(volume=200, layer=4, sensitive=row + 1), index).toSourceLink()
            for index in indices
        ])  # fmt: skip
    return made


def test_positions_are_taken_bit_by_bit():
    hits = hits_from_space_points(points([[5], [3], [9]]), 4, NOTHING)
    np.testing.assert_array_equal(hits.event.position, np.stack([X, Y, Z], axis=1))
    assert hits.event.position.dtype == np.float32
    np.testing.assert_array_equal(hits.measurement, [5, 3, 9])
    assert hits.one_to_one
    assert hits.event.event_id == 4
    assert hits.measurements_of(np.array([2, 0])) == [9, 5]


def test_a_point_of_two_strips_puts_both_on_the_track():
    hits = hits_from_space_points(points([[5, 6], [3], [6, 8]]), 0, NOTHING)
    assert not hits.one_to_one
    np.testing.assert_array_equal(hits.start, [0, 2, 3, 5])
    assert hits.measurements_of(np.array([0, 2])) == [5, 6, 8]  # 6 is part of both points, and once on the track
    assert hits.measurements_of(np.array([1])) == [3]


def test_one_link_is_read_where_no_strips_are_said_to_be():
    hits = hits_from_space_points(points([[5, 6], [3], [6, 8]]), 0, NOTHING, strips=False)
    np.testing.assert_array_equal(hits.measurement, [5, 3, 6])


@pytest.mark.parametrize("strips", [True, False])
def test_a_point_without_a_measurement_is_refused(strips):
    # As many links as points in all: the sum alone would not tell.
    with pytest.raises(InputError, match="event 7: space point 1 has no source link"):
        hits_from_space_points(points([[5, 6], [], [8]]), 7, NOTHING, strips=strips)


@pytest.mark.parametrize("strips", [True, False])
def test_no_points(strips):
    hits = hits_from_space_points(points([]), 0, NOTHING, strips=strips)
    assert len(hits.event) == 0
    assert hits.event.position.shape == (0, 3)


def test_identifiers_of_large_volumes():
    event = hits_from_space_points(points([[5], [3], [9]]), 0, Needs(True, ())).event
    np.testing.assert_array_equal(event.volume, [200] * 3)  # bit 63 of the identifier
    np.testing.assert_array_equal(event.layer, [4] * 3)
    np.testing.assert_array_equal(event.module, [1, 2, 3])


def test_positions_that_are_not_finite_are_refused():
    made = points([[5], [3], [9]])
    made[1].x = float("nan")
    with pytest.raises(InputError, match="NaN or infinite coordinates, the first is hit_id 1"):
        hits_from_space_points(made, 0, NOTHING)


class Cluster:
    """Stands for acts.examples.Cluster, whose cells can't be made in Python."""

    def __init__(self, charge):
        self.charge = charge
        self.localEta, self.localPhi, self.globalEta, self.globalPhi = charge + 1, charge + 2, charge + 3, charge + 4

    def sumActivations(self):  # noqa: N802
        return self.charge


def test_features_of_clusters_go_by_measurement():
    names = ("cell_val", "lphi", "geta")
    needs = Needs.of(tiny_spec(features=(*tiny_spec().features, *(FeatureSpec(name, 1.0) for name in names))))
    assert needs == Needs(False, names)
    clusters = [Cluster(10.0 * index) for index in range(10)]
    cells = hits_from_space_points(points([[5], [3], [9]]), 0, needs, clusters).event.cells
    np.testing.assert_array_equal(cells["cell_val"], [50, 30, 90])
    np.testing.assert_array_equal(cells["lphi"], [52, 32, 92])
    np.testing.assert_array_equal(cells["geta"], [53, 33, 93])
    with pytest.raises(InputError, match="9 clusters, but measurement 9 needs its own"):
        hits_from_space_points(points([[5], [3], [9]]), 0, needs, clusters[:9])
    with pytest.raises(InputError, match="no cluster holds a cell"):
        hits_from_space_points(points([[5], [3], [9]]), 0, needs, [Cluster(0.0)] * 10)
    with pytest.raises(InputError, match="give the key of the clusters"):
        hits_from_space_points(points([[5], [3], [9]]), 0, needs, None)


def test_strips_alone_are_no_points():
    rows = examples.MeasurementContainer()
    rows.emplaceMeasurement(acts.GeometryIdentifier(volume=16, layer=2, sensitive=1), [0], [1.0], [0.1])
    with pytest.raises(InputError, match=r"measurement 0 has the local coordinates \[0\], expected 0 and 1"):
        hits_from_measurements(rows, None, 0, NOTHING)
