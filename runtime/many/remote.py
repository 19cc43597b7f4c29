"""What happens on a Dask worker: the bundle is opened once a process, then event after event runs through it."""

from __future__ import annotations

import pickle
import tempfile
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from trkx import __version__
from trkx.errors import TrkxError
from trkx.runtime.events import Event
from trkx.runtime.features import node_features, range_problems
from trkx.runtime.many.place import Place
from trkx.runtime.pipeline import Pipeline
from trkx.runtime.precision import EXACT
from trkx.runtime.tracks import Tracks


@dataclass(frozen=True)
class Job:
    """How a bundle is opened; the arguments of `Pipeline.open`. bundle: its path at the client, for messages.

    devices: of an engine on a GPU, as each worker's machine counts them; with several, worker processes on one machine take them
    in turn. None: the current one of each process, for those that see one each (CUDA_VISIBLE_DEVICES).
    """

    bundle: str
    engine: str
    neighbours: str | None
    labelling: str | None
    threads: int
    precision: str = EXACT
    devices: tuple[str, ...] = ()

    def open(self, folder: Path | str, device: str | None) -> Pipeline:
        """Return the pipeline of the bundle in a folder, on one of the devices; errors as of `Pipeline.open`."""
        return Pipeline.open(folder, self.engine, self.neighbours, self.labelling, self.threads, self.precision, device)


@dataclass(frozen=True)
class Answer:
    """What a worker says of one event: its tracks, or an error that a second try would only repeat.

    out_of_range: the features contradict the bundle's ranges; the client warns, as a worker's warning would be lost.
    """

    tracks: Tracks | None = None
    error: TrkxError | None = None
    out_of_range: bool = False


class Held(Protocol):
    """The worker plugin that holds the bundle and, once it is open, its pipeline; name: of the run.

    place: of this process among those of the run on its machine, if there are several devices.
    """

    name: str
    parcel: bytes
    lock: threading.Lock
    pipeline: Any
    place: Any
    opened: int


def packed(job: Job, files: Mapping[str, bytes]) -> bytes:
    """Return a bundle's files (relative path to content) and how to open it, as bytes that `answer` understands."""
    return pickle.dumps((job, dict(files)))


def answer(held: Held, where: str, version: str, event: bytes) -> Answer:
    """Return what the pipeline says of a pickled event.

    Args:
        held: the bundle as it came with the plugin; opened by the first event of the process, used by all.
        where: the worker's address, for messages.
        version: the client's version of trkx.
        event: pickled Event.
    """
    if version != __version__:
        found = f"Dask worker {where} has trkx {__version__}, but trkx {version} sends the events"
        return Answer(error=TrkxError(f"{found}; install the same on both."))
    try:
        pipeline = _pipeline(held)
    except TrkxError as error:
        return Answer(error=type(error)(f"Dask worker {where}: {error}"))
    made: Event = pickle.loads(event)
    try:
        tracks = pipeline.run(made)
    except TrkxError as error:
        return Answer(error=error)
    features = pipeline.spec.features
    return Answer(tracks, out_of_range=bool(range_problems(node_features(made, features), features)))


def _pipeline(held: Held) -> Pipeline:
    with held.lock:
        if held.pipeline is None:
            job, files = pickle.loads(held.parcel)
            held.pipeline = _opened(job, files, _device(held, job))
            held.opened += 1
        pipeline: Pipeline = held.pipeline
        return pipeline


def _device(held: Held, job: Job) -> str | None:
    """Return the device of this process: with several, by its place."""
    if len(job.devices) < 2:
        return next(iter(job.devices), None)
    if held.place is None:
        held.place = Place(held.name)
    place: int = held.place.number
    return job.devices[place % len(job.devices)]


def _opened(job: Job, files: Mapping[str, bytes], device: str | None) -> Pipeline:
    """Return a bundle's pipeline, warm; the files are on this machine's disk only while it is opened."""
    with tempfile.TemporaryDirectory(prefix="trkx-bundle-") as folder:
        for name, data in files.items():
            path = Path(folder, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        try:
            pipeline: Pipeline = job.open(folder, device)
        except TrkxError as error:
            raise type(error)(str(error).replace(folder, job.bundle)) from error
    pipeline.warm_up()
    return pipeline
