"""Several events in flight on threads, over one shared pipeline, or one for each of several GPUs.

Threads and not processes: where measured (docs/throughput.md) they are as fast, because networks and kernels run without the
interpreter's lock; there is one bundle in memory, no event is copied between processes, and no worker can die alone.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from queue import SimpleQueue

from trkx.errors import SpecError
from trkx.runtime.crew import available_cores
from trkx.runtime.events import EventSource
from trkx.runtime.many.found import Found, hits_of
from trkx.runtime.many.order import in_order
from trkx.runtime.pipeline import Pipeline

NAME = "trkx-event"
"""What the names of worker threads begin with."""


def threads_of_worker(workers: int, threads: int | None = None) -> int:
    """Return the threads of each of so many workers: `threads` if given, else an equal share of the cores, at least one."""
    return threads or max(1, available_cores() // workers)


def track_in_threads(
    pipelines: Pipeline | Sequence[Pipeline], sources: Sequence[EventSource], workers: int = 1
) -> Generator[Found, None, None]:
    """Yield the tracks of events in their order, `workers` events at a time.

    An event is read by the worker that runs it, so that at most `workers` events are in memory, and at most so many answers
    again wait for an earlier one. Closing the generator waits for the events in flight; those not begun are dropped. A
    KeyboardInterrupt or SystemExit, raised or thrown in, waits for none: threads end with their events, or with the process.

    Args:
        pipelines: one, shared by all workers, or several, of which each worker has one, in turn; open them with
            `threads_of_worker` threads.
        sources: the events.
        workers: events at a time; with 1 everything happens in the calling thread.

    Raises:
        SpecError: fewer than one worker, or than pipelines.
        TrkxError: what reading or running the first bad event (in their order) raises, after all before it were yielded.
    """
    if workers < 1:
        raise SpecError(f"workers must be at least 1, found {workers}.")
    every = pipelines if isinstance(pipelines, Sequence) else [pipelines]
    if workers < len(every):
        raise SpecError(f"{len(every)} devices need as many workers at least, found {workers}; give more, or fewer devices.")
    if workers == 1:
        yield from (_track(every[0], source) for source in sources)
        return
    free: SimpleQueue[Pipeline] = SimpleQueue()
    for worker in range(workers):
        free.put(every[worker % len(every)])
    pool = ThreadPoolExecutor(workers, thread_name_prefix=NAME)

    def submit(source: EventSource) -> Future[Found]:
        return pool.submit(_track_on_free, free, source)

    wait = True
    try:
        yield from in_order(sources, submit, lambda: 2 * workers)
    except (KeyboardInterrupt, SystemExit):
        wait = False
        raise
    finally:
        pool.shutdown(wait, cancel_futures=True)


def _track_on_free(free: SimpleQueue[Pipeline], source: EventSource) -> Found:
    """Run an event in the pipeline of a worker that is free; there is one for each thread, so nobody waits."""
    pipeline = free.get()
    try:
        return _track(pipeline, source)
    finally:
        free.put(pipeline)


def _track(pipeline: Pipeline, source: EventSource) -> Found:
    event = source.read()
    return Found(hits_of(event), pipeline.run(event))
