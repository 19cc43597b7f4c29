"""The last element of a sequence: says how many events are done."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import acts
import acts.examples as examples


class EventCounter(examples.IAlgorithm):  # type: ignore[misc]
    """Calls a function with the number of events that came this far."""

    def __init__(self, done: Callable[[int], None] | None) -> None:
        """done: called from the sequencer's threads; None for nothing."""
        examples.IAlgorithm.__init__(self, "TrkxEventCounter", acts.logging.ERROR)
        self._done = done
        self._count = 0
        self._lock = threading.Lock()

    def execute(self, context: Any) -> Any:
        """Count one event."""
        with self._lock:
            self._count += 1
            count = self._count
        if self._done is not None:
            self._done(count)
        return examples.ProcessCode.SUCCESS
