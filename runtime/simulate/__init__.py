"""TrackML-like events: Pythia 8 collisions, ACTS Fatras through the generic detector, measured positions, truth."""
