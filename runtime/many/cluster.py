"""Events to a Dask cluster and tracks back, in the order of the events. The client reads events and writes tracks.

Bundle and events travel as bytes, so workers need no file system in common with the client, and run exactly the files that it
verified. Tracks come back instead of being written by the workers: with one writer an event that ran twice, because a
worker died with its answer, is still written once.
"""

from __future__ import annotations

import pickle
import secrets
from collections.abc import Generator, Sequence
from concurrent.futures import CancelledError
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trkx import __version__
from trkx.bundle import MANIFEST_NAME, Bundle
from trkx.errors import TrkxError
from trkx.runtime.events import Event, EventSource
from trkx.runtime.features import node_features, warn_if_out_of_range
from trkx.runtime.many.found import Found, hits_of
from trkx.runtime.many.order import in_order
from trkx.runtime.many.remote import Answer, Job, packed
from trkx.runtime.many.travel import holder, runner
from trkx.spec import FeatureSpec

if TYPE_CHECKING:
    from distributed import Client, Future

TIMEOUT = 5  # s, for the cluster to forget a run
RETRIES = 2  # of a task that raises what is no TrkxError: no memory, no disk, no thread
GONE = "the Dask cluster went away (scheduler stopped, or network lost); start it and run again."
AHEAD = 2  # events in flight for each thread of the cluster: one runs, one is there when it ends


def track_on_cluster(client: Client, bundle: Bundle, job: Job, sources: Sequence[EventSource]) -> Generator[Found, None, None]:
    """Yield the tracks of events in their order; each event once, whatever dies meanwhile.

    Twice as many events are in flight as the cluster has threads, counted anew for each event, so that workers may come
    and go. An event whose worker dies runs again elsewhere.

    Args:
        client: from `trkx.runtime.many.connect.connected`.
        bundle: its files are verified, then sent once to each worker process, which opens them once.
        job: how the workers open it.
        sources: the events; read here.

    Raises:
        BundleError: a file of the bundle is missing or edited.
        TrkxError: what reading or running the first bad event raises, after all before it were yielded; a worker without
            this version of trkx; an event whose workers died again and again; a cluster that went away.
    """
    from distributed.comm.core import CommClosedError

    bundle.verify()
    names = [MANIFEST_NAME, *(entry.path for entry in bundle.manifest.files)]
    token = f"trkx-{secrets.token_hex(8)}"
    task = runner(token, __version__)
    warned: set[str] = set()

    def submit(source: EventSource) -> _Running:
        event = source.read()
        data = pickle.dumps(replace(event, truth=None, cells=dict(event.cells)))
        future = client.submit(task, data, key=f"{token}-event-{source.event_id}", retries=RETRIES, pure=False)
        return _Running(future, event, bundle.spec.features, warned)

    def limit() -> int:
        try:
            threads: dict[str, int] = client.nthreads()
            return AHEAD * max(1, sum(threads.values()))
        except OSError as error:
            raise TrkxError(GONE) from error

    try:
        client.register_plugin(holder(token, packed(job, {name: (bundle.path / name).read_bytes() for name in names})))
        yield from in_order(sources, submit, limit)
    except (CancelledError, CommClosedError) as error:
        raise TrkxError(GONE) from error
    finally:
        if client.status == "running":
            with suppress(OSError, TimeoutError):  # gone a moment ago, or a worker hangs: not a reason to lose what was found
                scheduler: Any = client.scheduler
                client.sync(scheduler.unregister_worker_plugin, name=token, callback_timeout=TIMEOUT)


@dataclass(frozen=True)
class _Running:
    """An event on the cluster."""

    future: Future[Any]
    event: Event
    features: tuple[FeatureSpec, ...]
    warned: set[str]

    def result(self) -> Found:
        from distributed import KilledWorker

        try:
            answer: Answer | str = self.future.result()
        except KilledWorker as error:
            raise TrkxError(
                f"event {self.event.event_id}: {error.allowed_failures + 1} Dask workers that had it died, the last was "
                f"{error.last_worker.address}. Most often that is a lack of memory: give workers more of it, or fewer threads."
            ) from error
        self.future.release()
        if isinstance(answer, str):
            raise TrkxError(answer)
        if answer.error is not None:
            raise answer.error
        if answer.tracks is None:
            raise AssertionError("an answer has tracks or an error")
        place = str(Path(self.event.source.split(",")[0]).parent)
        if answer.out_of_range and place not in self.warned:
            self.warned.add(place)
            warn_if_out_of_range(self.event, node_features(self.event, self.features), self.features)
        return Found(hits_of(self.event), answer.tracks)

    def cancel(self) -> None:
        if self.future.client.status == "running":
            self.future.cancel()
