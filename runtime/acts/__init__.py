"""trkx inside ACTS's sequencer: an algorithm written in Python, and a sequence with ACTS's own track finding beside it."""
