"""Processor time of parts of a sequence: unlike wall time it hardly depends on what else the machine does."""

from __future__ import annotations

import threading
import time
from typing import Any

import acts
import acts.examples as examples


class ChainClock:
    """Adds up the processor time of an event's thread between two marks, by chain, over events.

    ACTS's sequencer runs all elements of an event in one thread; what other threads do for it is not counted.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._started: dict[tuple[str, int], float] = {}
        self._lock = threading.Lock()

    def mark(self, chain: str, event: int) -> None:
        """Start the chain's time in this event, or end it."""
        now = time.thread_time()
        with self._lock:
            begun = self._started.pop((chain, event), None)
            if begun is None:
                self._started[chain, event] = now
            else:
                self.seconds[chain] = self.seconds.get(chain, 0.0) + now - begun


class Mark(examples.IAlgorithm):  # type: ignore[misc]
    """The element that marks: one before a chain, and one after it."""

    def __init__(self, clock: ChainClock, chain: str) -> None:
        """clock: to be told. chain: that begins or ends here."""
        examples.IAlgorithm.__init__(self, f"TrkxMark-{chain}", acts.logging.ERROR)
        self._clock, self._chain = clock, chain

    def execute(self, context: Any) -> Any:
        """Tell the clock."""
        self._clock.mark(self._chain, int(context.eventNumber))
        return examples.ProcessCode.SUCCESS
