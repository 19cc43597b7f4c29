"""What every benchmark is told: one plain set of options, whatever it measures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path

from trkx.errors import SpecError


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

    def needed_events(self, more: str = "") -> tuple[Path, ...]:
        """Return the events; SpecError if none were given. more: what else would do, as the end of the message."""
        if not self.events:
            how = f"give --events with files or a folder (trkx simulate makes some){more}"
            raise SpecError(f"this benchmark needs events: {how}.")
        return self.events

    def wanted(self, known: tuple[str, ...]) -> tuple[str, ...]:
        """Return the names of `known` that were asked for, in their order; SpecError for a name that is not among them."""
        for name in self.peers:
            if name not in known:
                near = get_close_matches(name, known, n=1)
                hint = f' Did you mean "{near[0]}"?' if near else ""
                listed = ", ".join(f'"{one}"' for one in known)  # names have commas and blanks in them
                raise SpecError(f"--case: unknown case '{name}'.{hint} Known: {listed}.")
        return tuple(name for name in known if not self.peers or name in self.peers)
