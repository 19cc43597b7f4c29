"""What travels to a Dask cluster as code, because it must work where trkx is not installed.

A scheduler unpacks every task and a joining worker every plugin. Things defined inside a function travel as code, not as
the name of a module: so the scheduler needs no trkx, and a worker that lacks it is not broken by the plugin but answers the
first event with a sentence. Only the standard library and Dask may be used in here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from distributed import WorkerPlugin


def holder(name: str, parcel: bytes) -> WorkerPlugin:
    """Return the worker plugin `name` that holds a bundle (`trkx.runtime.many.remote.packed`) on every worker.

    The scheduler hands it to workers that join later too, and it takes what was opened with it when it is unregistered.
    """
    from distributed import WorkerPlugin

    class HeldBundle(WorkerPlugin):
        def __init__(self) -> None:
            self.name = name
            self.parcel = parcel

        def setup(self, worker: Any) -> None:
            import threading

            self.lock = threading.Lock()
            self.pipeline: Any = None
            self.place: Any = None
            self.opened = 0

        def teardown(self, worker: Any) -> None:
            self.pipeline = None
            if self.place is not None:
                self.place.close()

    return HeldBundle()


def runner(name: str, version: str) -> Callable[[bytes], Any]:
    """Return the task: a pickled event to `trkx.runtime.many.remote.Answer`, or to a sentence where trkx can't be loaded."""

    def trkx_event(event: bytes) -> Any:
        from distributed import get_worker

        worker = get_worker()
        try:
            from trkx.runtime.many.remote import answer
        except ImportError as error:
            return f"Dask worker {worker.address} can't load trkx {version} ({error}); install it there."
        held: Any = worker.plugins[name]
        return answer(held, worker.address, version, event)

    return trkx_event
