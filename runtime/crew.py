"""Threads that share a number of pieces of work, which let go of the GIL."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Self, TypeVar

T = TypeVar("T")


def available_cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def in_threads(task: Callable[[int], T], count: int, threads: int) -> list[T]:
    """Return the results of task(0) to task(count - 1), in order."""
    results: dict[int, T] = {}

    def piece(number: int, _: None) -> None:
        results[number] = task(number)

    with Crew(min(threads, max(count, 1))) as crew:
        crew.work(count, piece, lambda: None)
    return [results[number] for number in range(count)]


class Crew:
    """The calling thread and `threads` - 1 others, for as long as the context is open."""

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self._pool = ThreadPoolExecutor(threads - 1) if threads > 1 else None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        if self._pool is not None:
            self._pool.shutdown()

    def work(self, count: int, piece: Callable[[int, T], None], tools: Callable[[], T]) -> None:
        """Run piece(number, tools()) once for each number below `count`; a thread makes its tools once.

        The next number goes to whoever is free. The first error ends the work and is raised.
        """
        numbers = iter(range(count))
        lock = threading.Lock()

        def take() -> None:
            own = tools()
            while True:
                with lock:
                    number = next(numbers, None)
                if number is None:
                    return
                try:
                    piece(number, own)
                except BaseException:
                    with lock:
                        for _ in numbers:
                            pass
                    raise

        helpers = min(self.threads, count) - 1
        futures = [self._pool.submit(take) for _ in range(helpers)] if self._pool is not None else []
        try:
            take()
        finally:
            errors = [error for future in futures if (error := future.exception())]
        if errors:
            raise errors[0]
