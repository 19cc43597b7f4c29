"""How many hits and edges the files for TensorRT can hold: what their sums are written for, and what an axis can be long."""

from __future__ import annotations

LARGEST_HITS = 2**24
"""Hits that the sort before a sum over edges tells apart: eight passes of three bits (`trkx.export.lowerings.counting`)."""
LARGEST_EDGES = 30 * 32**4
"""Edges that five levels of blocks of 32 certainly hold, 31 million; with more no sum comes out."""
LARGEST_AXIS = 2**31 - 1
"""TensorRT's lengths of an axis are int32."""
LARGEST_HEADROOM = 100.0
"""Events of one detector do not differ by more than this; a larger factor is a slip."""
