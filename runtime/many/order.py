"""Answers in the order of the questions, with a bounded number of questions open."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Protocol, TypeVar

S = TypeVar("S")
R_co = TypeVar("R_co", covariant=True)


class Pending(Protocol[R_co]):
    """An answer that may still be on its way."""

    def result(self) -> R_co:
        """Wait for the answer and return it, or raise what went wrong."""
        ...

    def cancel(self) -> object:
        """Give up on it, if it has not begun."""
        ...


def in_order(items: Iterable[S], submit: Callable[[S], Pending[R_co]], limit: Callable[[], int]) -> Iterator[R_co]:
    """Yield the answer to each item, in the order of the items.

    An item is submitted while fewer than `limit()` are open (submitted and not yet yielded); `limit` may change
    meanwhile. The first item, in their order, that fails raises its error, after all before it were yielded: so what was
    yielded does not depend on which item was quicker. What is still open then, or when the generator is closed, is cancelled.
    """
    waiting: deque[Pending[R_co]] = deque()
    broken: Exception | None = None
    try:
        for item in items:
            while waiting and len(waiting) >= limit():
                yield waiting.popleft().result()
            try:
                waiting.append(submit(item))
            except Exception as error:  # raised when its turn comes
                broken = error
                break
        while waiting:
            yield waiting.popleft().result()
        if broken is not None:
            raise broken
    finally:
        for pending in waiting:
            pending.cancel()
