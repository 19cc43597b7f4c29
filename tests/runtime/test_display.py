"""The event display and the plots: what is drawn, and that it is drawn."""

import sys

import numpy as np
import pytest
from truth_events import event_of, tracks_of

from trkx.errors import InputError, MissingExtraError, TrkxError
from trkx.runtime.display import event_display, lines_of_tracks, track_colour
from trkx.runtime.metrics.plots import plot_efficiency
from trkx.runtime.metrics.report import evaluate_event
from trkx.runtime.metrics.selection import Selection


def pixels(path):
    from matplotlib.image import imread

    return imread(path)


def is_colour(image):
    """Pixels that are neither white, black nor grey."""
    return np.ptp(image[:, :, :3], axis=2) > 0.2


def test_lines_are_the_longest_tracks_from_the_inside_out():
    position = np.array([[3.0, 0, 0], [1, 0, 0], [2, 0, 0], [9, 0, 0], [8, 0, 0], [7, 0, 0], [5, 0, 0]])
    track_id = np.array([5, 5, 5, 2, 2, -1, 7])
    lines = [(track, hits.tolist()) for track, hits in lines_of_tracks(position, track_id, 10)]
    assert lines == [(5, [1, 2, 0]), (2, [4, 3])]  # a single hit is no line
    assert [track for track, _ in lines_of_tracks(position, track_id, 1)] == [5]


def test_neighbouring_tracks_differ_in_colour():
    colours = np.array([track_colour(track) for track in range(200)])
    assert ((colours >= 0.0) & (colours <= 1.0)).all()
    assert (np.abs(np.diff(colours, axis=0)).max(axis=1) > 0.2).all()
    assert (np.ptp(colours, axis=1) > 0.2).all()  # none of them is grey


def test_tracks_are_coloured_and_missed_hits_are_grey(tmp_path):
    event = event_of([100] * 6)
    images = {}
    for name, label in (("found", [0] * 6), ("missed", list(range(6)))):
        tracks = tracks_of(event, label, min_hits=2)
        images[name] = pixels(event_display(event, tracks, tmp_path / "new" / f"{name}.png"))[200:]  # below title and legend
    assert is_colour(images["found"]).sum() > 300
    assert not is_colour(images["missed"]).any()
    # Where the missed hits are, the picture is neither white nor black; with these hits found it is white or coloured.
    drawn = images["missed"][:, :, 0] != images["found"][:, :, 0]
    assert ((images["missed"][drawn] > 0.6).all(axis=1) & (images["missed"][drawn, 0] < 0.9)).sum() > 100


def test_an_empty_event_is_a_picture(tmp_path):
    event = event_of([])
    assert event_display(event, tracks_of(event, []), tmp_path / "event.png").stat().st_size > 1000


def test_tracks_of_another_event_are_refused(tmp_path):
    event, other = event_of([100] * 6), event_of([100] * 9)
    with pytest.raises(InputError, match="lacks"):
        event_display(event, tracks_of(other, [0] * 9), tmp_path / "event.png")
    assert not (tmp_path / "event.png").exists()


def test_a_folder_that_can_not_be_written(tmp_path):
    event = event_of([100] * 6)
    (tmp_path / "file").write_text("")
    with pytest.raises(TrkxError, match="could not be written"):
        event_display(event, tracks_of(event, [0] * 6), tmp_path / "file" / "event.png")


@pytest.mark.parametrize("package", ["matplotlib", "mplhep"])
def test_a_missing_package_names_its_extra(tmp_path, monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)
    event = event_of([100] * 6)
    with pytest.raises(MissingExtraError, match=r'pip install "trkx\[plot\]"'):
        event_display(event, tracks_of(event, [0] * 6), tmp_path / "event.png")


@pytest.mark.parametrize("axis", ["pt", "eta", "vertex_r"])
def test_efficiency_plot(tmp_path, axis):
    event = event_of([100] * 5 + [200] * 5, pt={100: 1.0, 200: 80.0}, eta={100: -2.9, 200: 0.1}, vertex={200: 5.0})
    report = evaluate_event(event, tracks_of(event, [0] * 5 + [1, 2, 3, 4, 5]), Selection())
    assert is_colour(pixels(plot_efficiency(report, axis, tmp_path / "plot.png"))).sum() > 100


def test_efficiency_plot_of_nothing_is_refused(tmp_path):
    event = event_of([100] * 5)
    with pytest.raises(InputError, match="no particle passes"):
        plot_efficiency(evaluate_event(event, tracks_of(event, [0] * 5), Selection(pt_min=9.0)), "pt", tmp_path / "plot.png")
