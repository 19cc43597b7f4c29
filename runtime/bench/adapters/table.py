"""The peers as rows: name to what finds, and what must be installed for it."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

from trkx.backends import require
from trkx.runtime.neighbours.exact import Points

_HERE = "trkx.runtime.bench.adapters"


@dataclass(frozen=True)
class Peer:
    """One row.

    name: as on the command line. backend: row of trkx.backends, kind "peer"; "" where trkx itself needs it.
    place: "module:function". tune: "module:function" that returns a further argument, not timed; "" for none.
    """

    name: str
    backend: str
    place: str
    tune: str = ""

    def required(self) -> None:
        """Raise MissingExtraError, with the command that installs it, if the library is not there; imports nothing."""
        if self.backend:
            require("peer", self.backend)

    def opened(self) -> Callable[..., Any]:
        """Return the function; MissingExtraError as for `required`."""
        self.required()
        return _loaded(self.place)


NEIGHBOURS: Mapping[str, Peer] = {
    row.name: row
    for row in (
        Peer("cKDTree", "", f"{_HERE}.tree_search:find_ckdtree"),
        Peer("sklearn KDTree", "scikit-learn", f"{_HERE}.tree_search:find_sklearn_kdtree"),
        Peer("sklearn BallTree", "scikit-learn", f"{_HERE}.tree_search:find_sklearn_balltree"),
        Peer("pynanoflann", "pynanoflann", f"{_HERE}.tree_search:find_pynanoflann"),
        Peer("torch_cluster", "torch_cluster", f"{_HERE}.tree_search:find_torch_cluster"),
        Peer("faiss flat", "faiss", f"{_HERE}.faiss_search:find_flat"),
        Peer("faiss IVF", "faiss", f"{_HERE}.faiss_search:find_ivf", f"{_HERE}.faiss_search:tuned_cells"),
    )
}
"""(points, radius, threads) to pairs within a slightly larger radius: `exact.decided` makes of them what `radius_graph` finds."""

LABELLING: Mapping[str, Peer] = {
    row.name: row
    for row in (
        Peer("scipy", "", f"{_HERE}.labels:scipy_components"),
        Peer("scikit-network", "scikit-network", f"{_HERE}.labels:scikit_network_components"),
    )
}
"""(edge_index, num_hits) to a component for each hit: `labels.renumbered` makes of them what `connected_components` returns."""

DBSCAN = Peer("DBSCAN", "scikit-learn", f"{_HERE}.labels:dbscan")


def tuned(name: str, points: Points, radius: float, threads: int) -> int | None:
    """Return the further argument of a peer's neighbour search; None if there is nothing to tune.

    Raises:
        MissingExtraError: its library is not installed.
    """
    peer = NEIGHBOURS[name]
    if not peer.tune:
        return None
    peer.opened()
    return int(_loaded(peer.tune)(points, radius, threads))


def _loaded(place: str) -> Callable[..., Any]:
    module, name = place.split(":")
    return cast(Callable[..., Any], getattr(importlib.import_module(module), name))
