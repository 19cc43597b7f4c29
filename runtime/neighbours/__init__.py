"""Fixed-radius neighbour search: exact, the same pairs on every backend."""

from trkx.runtime.neighbours.table import BACKENDS, MAX_PAIRS, Pairs, radius_graph

__all__ = ["BACKENDS", "MAX_PAIRS", "Pairs", "radius_graph"]
