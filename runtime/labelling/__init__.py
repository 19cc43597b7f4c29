"""From edges to tracks: one label a hit, the same on every backend."""

from trkx.runtime.labelling.agreement import same_components
from trkx.runtime.labelling.contraction import edge_contraction
from trkx.runtime.labelling.table import BACKENDS, connected_components

__all__ = ["BACKENDS", "connected_components", "edge_contraction", "same_components"]
