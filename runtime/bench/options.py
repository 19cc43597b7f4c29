"""What every benchmark is told: one plain set of options, whatever it measures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from trkx.errors import SpecError, unknown_name


def silent(what: str) -> None:
    """Say nothing."""


@dataclass(frozen=True)
class Options:
    """Options of one benchmark.

    bundle: folder, None where the benchmark needs none. events: folders or files. sizes: numbers of hits to which events are cut
    or overlaid, () for the events as they are. rounds: timed calls of each case. threads: of every case. peers: names to measure
    beside ours, () for all. edges: at most so many edges are given to a network, None for all. synthetic: also a made-up graph.
    limit: seconds after which a case in a process of its own is stopped. memory: measure peak memory too. device: "cpu", or a GPU
    such as "cuda", for benchmarks that have a form for it. tell: is told what is done next.
    """

    bundle: Path | None = None
    events: tuple[Path, ...] = ()
    sizes: tuple[int, ...] = ()
    rounds: int = 5
    threads: int = 1
    peers: tuple[str, ...] = ()
    edges: int | None = None
    synthetic: bool = False
    limit: float = 120.0
    memory: bool = False
    device: str = "cpu"
    tell: Callable[[str], None] = field(default=silent)

    def needed_bundle(self) -> Path:
        """Return the bundle folder; SpecError if none was given."""
        if self.bundle is None:
            raise SpecError("this benchmark runs networks: give the folder of a bundle (trkx export --reference --out bundle).")
        return self.bundle

    def needed_events(self) -> tuple[Path, ...]:
        """Return the events; SpecError if none were given."""
        if not self.events:
            raise SpecError("this benchmark needs events: give --events with files or a folder (trkx simulate makes some).")
        return self.events

    def wanted(self, known: tuple[str, ...]) -> tuple[str, ...]:
        """Return the names of `known` that were asked for, in their order; SpecError for a name that is not among them."""
        for name in self.peers:
            if name not in known:
                raise SpecError(unknown_name("peer", name, known))
        return tuple(name for name in known if not self.peers or name in self.peers)
