"""Connected components of the surviving edges: one label a hit, the same on every backend."""

from trkx.runtime.labelling.table import BACKENDS, connected_components

__all__ = ["BACKENDS", "connected_components"]
