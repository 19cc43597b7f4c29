"""The algorithm: `acts.examples.Sequencer` hands it hits, and it writes proto tracks."""

from __future__ import annotations

import threading
import time
from typing import Any

from trkx.errors import MissingExtraError, SpecError, TrkxError
from trkx.runtime.acts.frames import frames_of
from trkx.runtime.acts.hits import Hits, Needs, hits_from_measurements, hits_from_space_points
from trkx.runtime.pipeline import Pipeline

try:
    import acts
    import acts.examples as examples
except ImportError as error:
    raise MissingExtraError(f'track finding in ACTS needs pyacts ({error}); install it: pip install "trkx[simulate]"') from error


class TrkxTrackFinding(examples.IAlgorithm):  # type: ignore[misc]
    """Hits to proto tracks by a trkx pipeline, as one element of a sequence; any number of events at once.

    A proto track is a list of indices of measurements, as every track finding of ACTS writes it. Which method builds tracks
    (components, edge contraction), cuts and features are the bundle's.

    Attributes:
        failure: the first error of trkx that ended an event with ProcessCode.ABORT, or None. ACTS's sequencer raises
            RuntimeError then, without its message.
        seconds: of reading, pipeline and writing, summed over events (wall time).
    """

    def __init__(
        self,
        pipeline: Pipeline,
        inputSpacePoints: str = "spacepoints",
        outputProtoTracks: str = "prototracks",
        inputMeasurements: str = "",
        trackingGeometry: Any = None,
        inputClusters: str = "",
        stripSpacePoints: bool = True,
        name: str = "TrkxTrackFinding",
        level: Any = acts.logging.INFO,
    ) -> None:
        """Declare what is read and written; the keyword arguments are named as those of ACTS's algorithms.

        Args:
            pipeline: `Pipeline.open(bundle, engine, threads=1)`: the sequencer brings its own threads.
            inputSpacePoints: key of an acts.SpacePointContainer, as acts.examples.SpacePointMaker writes it. It must hold all
                hits that tracks shall be made of, not those alone that seeding looks at.
            outputProtoTracks: key of the acts.examples.ProtoTrackContainer.
            inputMeasurements: key of an acts.examples.MeasurementContainer, to be read instead of space points: then leave
                inputSpacePoints empty, and give the geometry.
            trackingGeometry: acts.TrackingGeometry, for measurements.
            inputClusters: key of an acts.examples.ClusterContainer, for a bundle that reads features of clusters.
            stripSpacePoints: a space point may be made of two strip measurements. False where SpacePointMaker has no
                stripGeometrySelection: then reading is several times faster.
            name: of the sequence element.
            level: of its logger.

        Raises:
            SpecError: not exactly one of space points and measurements, no geometry, or a pipeline that makes no tracks.
            InputError: a feature that ACTS can't give, or clusters are needed and their key is not given.
        """
        examples.IAlgorithm.__init__(self, name, level)
        if bool(inputSpacePoints) == bool(inputMeasurements):
            raise SpecError(
                f"{name} reads space points or measurements, found inputSpacePoints='{inputSpacePoints}' and "
                f"inputMeasurements='{inputMeasurements}'; give one of them, and set the other to ''."
            )
        if inputMeasurements and trackingGeometry is None:
            raise SpecError(f"{name} reads measurements, whose positions are local; give the trackingGeometry.")
        if not pipeline.spec.makes_tracks:
            raise SpecError(
                f"{name}: {pipeline.spec.name} has only {', '.join(pipeline.spec.stages)}; tracks need an embedding and a GNN."
            )
        self._pipeline, self._strips = pipeline, stripSpacePoints
        self._needs = Needs.of(pipeline.spec)
        if self._needs.clusters and not inputClusters:
            raise SpecError(
                f"{name}: {pipeline.spec.name} needs {', '.join(self._needs.clusters)}, which are made from clusters; give "
                "inputClusters, the key of a digitisation that makes cells, or use a bundle that needs positions only."
            )
        self._frames = frames_of(trackingGeometry) if inputMeasurements else None
        kind = examples.MeasurementContainer if inputMeasurements else acts.SpacePointContainer
        self._hits = examples.ReadDataHandle(self, kind, "InputHits")
        self._hits.initialize(inputMeasurements or inputSpacePoints)
        self._clusters = (
            examples.ReadDataHandle(self, examples.ClusterContainer, "InputClusters") if self._needs.clusters else None
        )
        if self._clusters is not None:
            self._clusters.initialize(inputClusters)
        self._tracks = examples.WriteDataHandle(self, examples.ProtoTrackContainer, "OutputProtoTracks")
        self._tracks.initialize(outputProtoTracks)
        self._lock = threading.Lock()
        self.failure: TrkxError | None = None
        self.seconds = {"read": 0.0, "pipeline": 0.0, "write": 0.0}

    def execute(self, context: Any) -> Any:
        """Find the tracks of one event; ABORT, with a message in ACTS's log, where trkx can't."""
        try:
            begin = time.perf_counter()
            hits = self._read(context)
            read = time.perf_counter()
            tracks = self._pipeline.run(hits.event)
            ran = time.perf_counter()
            found = [examples.ProtoTrack(hits.measurements_of(rows)) for rows in tracks.hits_of_tracks()]
            self._tracks(context, examples.ProtoTrackContainer(found))
            wrote = time.perf_counter()
        except TrkxError as error:
            with self._lock:
                self.failure = self.failure or error
            self.logger.error("{}", str(error))  # the logger formats its first argument: braces in a message must not be read
            return examples.ProcessCode.ABORT
        with self._lock:
            for step, spent in (("read", read - begin), ("pipeline", ran - read), ("write", wrote - ran)):
                self.seconds[step] += spent
        self.logger.debug("{} hits, {} proto tracks", len(hits.event), len(found))
        return examples.ProcessCode.SUCCESS

    def _read(self, context: Any) -> Hits:
        source, number = self._hits(context.eventStore), int(context.eventNumber)
        clusters = None if self._clusters is None else self._clusters(context.eventStore)
        if self._frames is not None:
            return hits_from_measurements(source, self._frames, number, self._needs, clusters)
        return hits_from_space_points(source, number, self._needs, clusters, self._strips)
