"""Threads for tasks that release the GIL."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


def in_threads(task: Callable[[int], T], count: int, threads: int) -> list[T]:
    """Return the results of task(0) to task(count - 1), in order."""
    if threads == 1 or count <= 1:
        return [task(number) for number in range(count)]
    with ThreadPoolExecutor(min(threads, count)) as pool:
        return list(pool.map(task, range(count)))
