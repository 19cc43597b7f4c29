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
from trkx.runtime.pipeline import Pipeline
from trkx.runtime.precision import EXACT
from trkx.runtime.tracks import Tracks


@dataclass(frozen=True)
class Job:
    """How a bundle is opened; the arguments of `Pipeline.open`. bundle: its path at the client, for messages.

    An engine on a GPU runs on the first that the worker's process sees: give each worker one by CUDA_VISIBLE_DEVICES.
    """

    bundle: str
    engine: str
    neighbours: str | None
    labelling: str | None
    threads: int
    precision: str = EXACT


@dataclass(frozen=True)
class Answer:
    """What a worker says of one event: its tracks, or an error that a second try would only repeat.

    out_of_range: the features contradict the bundle's ranges; the client warns, as a worker's warning would be lost.
    """

    tracks: Tracks | None = None
    error: TrkxError | None = None
    out_of_range: bool = False


class Held(Protocol):
    """The worker plugin that holds the bundle and, once it is open, its pipeline."""

    parcel: bytes
    lock: threading.Lock
    pipeline: Any
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
            held.pipeline = _opened(job, files)
            held.opened += 1
        pipeline: Pipeline = held.pipeline
        return pipeline


def _opened(job: Job, files: Mapping[str, bytes]) -> Pipeline:
    """Return a bundle's pipeline, warm; the files are on this machine's disk only while it is opened."""
    with tempfile.TemporaryDirectory(prefix="trkx-bundle-") as folder:
        for name, data in files.items():
            path = Path(folder, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        try:
            pipeline = Pipeline.open(folder, job.engine, job.neighbours, job.labelling, job.threads, job.precision)
        except TrkxError as error:
            raise type(error)(str(error).replace(folder, job.bundle)) from error
    pipeline.warm_up()
    return pipeline
