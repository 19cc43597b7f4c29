"""A sequence that remembers which chain each of its elements belongs to, so that ACTS's own timing can be read by chain."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trkx.errors import TrkxError

TIMING = "timing.csv"


@dataclass(frozen=True)
class StepTime:
    """Time of one element of the sequence. chain: what it belongs to. name: ACTS's name. seconds: an event, on average."""

    chain: str
    name: str
    seconds: float


class Steps:
    """Adds elements to an `acts.examples.Sequencer`, each under the name of a chain."""

    def __init__(self, sequencer: Any, folder: Path) -> None:
        """sequencer: with outputDir `folder`, where it writes its times."""
        self.sequencer = sequencer
        self._folder = folder
        self._chains: list[str] = []

    def reader(self, chain: str, element: Any) -> None:
        """Add a reader."""
        self.sequencer.addReader(element)
        self._chains.append(chain)

    def algorithm(self, chain: str, element: Any) -> None:
        """Add an algorithm."""
        self.sequencer.addAlgorithm(element)
        self._chains.append(chain)

    def writer(self, chain: str, element: Any) -> None:
        """Add a writer."""
        self.sequencer.addWriter(element)
        self._chains.append(chain)

    def times(self) -> list[StepTime]:
        """Return what ACTS's sequencer measured of each element, in order; TrkxError where its file is not what was expected."""
        path = self._folder / TIMING
        try:
            with path.open(newline="", encoding="utf-8") as file:
                rows = [(row["identifier"], float(row["time_perevent_s"])) for row in csv.DictReader(file)]
        except (OSError, KeyError, ValueError) as error:
            raise TrkxError(
                f"{path}: expected the times that ACTS's sequencer writes, identifier and time_perevent_s: {error}."
            ) from error
        if len(rows) != len(self._chains):
            raise TrkxError(f"{path}: expected {len(self._chains)} rows, one an element of the sequence, found {len(rows)}.")
        return [StepTime(chain, name.split(":", 1)[-1], spent) for chain, (name, spent) in zip(self._chains, rows, strict=True)]
