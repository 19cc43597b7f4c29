"""Simulate, digitise, find tracks twice, fit, judge: one sequence of ACTS, from a bundle to numbers."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from trkx.errors import MissingExtraError, TrkxError
from trkx.runtime.acts.settings import SequenceSpec
from trkx.runtime.pipeline import Pipeline

LOG = "acts.log"
CHAINS = {
    "trkx": "trkx + Kalman fit",
    "trkx_before_cuts": "trkx + Kalman fit, before the cuts on tracks",
    "ckf": "ACTS: seeds + CKF + ambiguity resolution",
    "ckf_before_ambiguity": "ACTS: seeds + CKF, before ambiguity resolution",
}
"""What is judged: name in the results, and in words."""


def run_sequence(
    pipeline: Pipeline, spec: SequenceSpec, folder: Path, done: Callable[[int], None] | None = None
) -> dict[str, Any]:
    """Run the sequence and return what ACTS measured, ready for JSON.

    Particles are generated first (Pythia 8, `trkx.runtime.simulate`); everything else is one `acts.examples.Sequencer`.

    Args:
        pipeline: with threads=1: then each algorithm of the sequence runs in one thread, and times can be compared.
        spec: events, cuts, settings.
        folder: receives acts.log, what ACTS and its algorithms print.
        done: called with the number of events that are done, from any thread.

    Returns:
        "chains": by name of CHAINS, the verdict of ACTS's writers. "own": trkx's evaluation of the same proto tracks. "times":
        wall seconds an event of each element, by ACTS. "processor_seconds": of the event's thread, an event, by chain.
        "trkx_seconds": of reading, pipeline and writing within trkx's algorithm, an event.

    Raises:
        MissingExtraError: without the extra `simulate`.
        TrkxError: the sequence failed; the message is trkx's where it was its algorithm, and names the log else.
    """
    try:
        import acts
        import acts.examples as examples

        from trkx.runtime.simulate.collisions import Collider
    except ImportError as error:
        raise MissingExtraError(
            f'the sequence needs pyacts and pythia8mc ({error}); install them: pip install "trkx[simulate]"'
        ) from error
    from trkx.runtime.acts.algorithm import TrkxTrackFinding
    from trkx.runtime.acts.chains import ALL_POINTS, PROTO_TRACKS, add_ckf, add_trkx
    from trkx.runtime.acts.clock import ChainClock, Mark
    from trkx.runtime.acts.geometry import generic_detector
    from trkx.runtime.acts.own import OwnEvaluation
    from trkx.runtime.acts.progress import EventCounter
    from trkx.runtime.acts.referee import add_referee
    from trkx.runtime.acts.simulation import add_simulation
    from trkx.runtime.acts.steps import Steps
    from trkx.runtime.simulate.propagate import write_particles

    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="trkx-acts-") as name, printed_to(folder / LOG):
        work = Path(name)
        collider = Collider()
        setup = generic_detector()
        for event in range(spec.events):
            generated = collider.generate(spec.seed, event, spec.pileup, spec.hard)
            write_particles(work / f"event{event:09d}-particles.csv", generated)
        sequencer = examples.Sequencer(
            events=spec.events, numThreads=spec.threads, logLevel=acts.logging.ERROR, trackFpes=False, outputDir=str(work)
        )
        steps = Steps(sequencer, work)
        finder = TrkxTrackFinding(pipeline, ALL_POINTS, PROTO_TRACKS, stripSpacePoints=False, level=acts.logging.ERROR)
        add_simulation(steps, setup, spec, work)
        clock = ChainClock()
        steps.algorithm("referee", Mark(clock, "trkx"))
        fitted, selected = add_trkx(steps, setup, spec, finder)
        steps.algorithm("referee", Mark(clock, "trkx"))
        steps.algorithm("referee", Mark(clock, "ckf"))
        found, resolved = add_ckf(steps, setup, spec)
        steps.algorithm("referee", Mark(clock, "ckf"))
        tracks = dict(zip(CHAINS, (selected, fitted, resolved, found), strict=True))
        referees = {name: add_referee(steps, key, spec.particles) for name, key in tracks.items()}
        own = OwnEvaluation(spec.particles, spec.tracks.min_measurements)
        steps.algorithm("referee", own)
        steps.algorithm("referee", EventCounter(done))
        try:
            sequencer.run()
        except (RuntimeError, TrkxError) as error:
            if finder.failure is not None:
                raise finder.failure from error
            raise TrkxError(f"ACTS's sequence failed: {error}. What its algorithms said is in {folder / LOG}.") from error
        verdicts = {name: referee.verdict() for name, referee in referees.items()}
        times = steps.times()
    return {
        "chains": {name: {"words": CHAINS[name], **verdict} for name, verdict in verdicts.items()},
        "own": own.report.to_dict(),
        "times": [{"chain": step.chain, "step": step.name, "seconds": step.seconds} for step in times],
        "processor_seconds": {chain: spent / spec.events for chain, spent in clock.seconds.items()},
        "trkx_seconds": {step: spent / spec.events for step, spent in finder.seconds.items()},
    }


@contextmanager
def printed_to(path: Path) -> Iterator[None]:
    """Send what C++ libraries print to a file, for the length of the block; what Python printed before is flushed first."""
    sys.stdout.flush()
    sys.stderr.flush()
    keep = [os.dup(1), os.dup(2)]
    with path.open("wb") as file:
        try:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
            yield
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            for target, saved in enumerate(keep, start=1):
                os.dup2(saved, target)
                os.close(saved)
