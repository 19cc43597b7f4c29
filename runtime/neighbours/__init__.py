"""Fixed-radius neighbour search: exact, the same pairs on every backend."""

from trkx.runtime.neighbours.stream import PairStream, pair_stream
from trkx.runtime.neighbours.table import BACKENDS, MAX_PAIRS, Pairs, radius_graph

__all__ = ["BACKENDS", "MAX_PAIRS", "PairStream", "Pairs", "pair_stream", "radius_graph"]
