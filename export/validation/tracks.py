"""Tracks of whole events: the same groups of hits as with the float64 networks, or a difference that rounding explains."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import nn

from trkx.bundle import Bundle
from trkx.errors import MissingExtraError, TrkxError
from trkx.export.check import Expectation, expectations
from trkx.export.validation.efficiency import can_be_measured, difference_rows, efficiency_series, measured
from trkx.export.validation.flips import Flips, edge_flips, pair_flips
from trkx.export.validation.report import Efficiency, Row, Status
from trkx.export.validation.whole_event import Exact, Recorder
from trkx.export.zoo import Case
from trkx.runtime.crew import available_cores
from trkx.runtime.engines import ENGINES, Engine, open_engine
from trkx.runtime.metrics.selection import Selection
from trkx.runtime.pipeline import Pipeline
from trkx.runtime.tracks import Tracks
from trkx.spec import PipelineSpec, logit_of_cut

Int = NDArray[np.int64]
Expect = Callable[[str, Case], Expectation]
"""Takes a stage and a graph, returns what its float64 network says, with tolerances."""

EXACT = "float64 networks"
MOVED = 0.01
"""Largest share of the hits that may be in another group, however well explained: beyond it these are other tracks."""
MOVED_ALWAYS = 50
"""Hits that may always be: one flip can join two tracks, and a small event has few hits."""


@dataclass(frozen=True)
class Difference:
    """How two groupings of the same hits differ.

    moved: hits whose group, as a set of hits, does not exist in the other grouping. groups: such groups of the first and of
    the second grouping.
    """

    moved: int
    groups: tuple[int, int]


def difference(first: Int, second: Int) -> Difference:
    """Compare two groupings of N hits, labels int64 [N] each; only which hits share a label counts, not the label."""
    pairs, row, count = np.unique(np.stack([first, second]), axis=1, return_inverse=True, return_counts=True)
    sizes = [np.unique(label, return_inverse=True, return_counts=True) for label in (first, second)]
    same = np.ones(pairs.shape[1], bool)
    for side, (values, _, total) in enumerate(sizes):
        same &= count == total[np.searchsorted(values, pairs[side])]
    changed = ~same[row.reshape(-1)]
    return Difference(int(changed.sum()), (len(np.unique(first[changed])), len(np.unique(second[changed]))))


def expecting(networks: Mapping[str, nn.Module]) -> Expect:
    """Return what asks the float64 network of a stage (stage to float32 module)."""
    return lambda stage, case: expectations(stage, networks[stage], [case])[0]


def compared_tracks(spec: PipelineSpec, exact: Exact, engine: Engine, name: str, expect: Expect) -> tuple[Row, Tracks | None]:
    """Run the pipeline with an engine and compare its groups of hits with the float64 ones.

    Where they differ, every output that the engine gave on the way is compared with the float64 network on the very graph that
    the engine saw: if all are within rounding and all flips inside their bands, the difference is explained and passes.

    Args:
        spec: of the pipeline.
        exact: the float64 pipeline's result.
        engine: the networks to check.
        name: of the engine, for the row.
        expect: from `expecting`; asked only where tracks differ.

    Returns:
        The row, and the engine's tracks (None if it could not be run).
    """

    def row(status: Status, detail: str, moved: float | None = None) -> Row:
        return Row("tracks", "pipeline", "", name, exact.name, status, moved, None, detail)

    recorder = Recorder(engine)
    try:
        tracks = Pipeline(spec, recorder).run(exact.event)
    except TrkxError as error:
        return row("failed", f"the pipeline can't be run: {error}"), None
    except Exception as error:  # engines have error classes of their own
        return row("failed", f"the engine stopped: {error}"), None
    assert exact.tracks is not None  # track_rows asks only pipelines that make some
    found = difference(exact.tracks.label, tracks.label)
    if not found.moved:
        return row("passed", f"the same {tracks.num_tracks} tracks of {len(exact.event)} hits", 0.0), tracks
    what = (f"{found.moved} of {len(exact.event)} hits are in other groups ({found.groups[1]} instead of {found.groups[0]} "
            f"groups; {tracks.num_tracks} tracks, float64 networks {exact.tracks.num_tracks})")
    explained, why = explanation(spec, recorder, exact.name, expect)
    limit = max(MOVED_ALWAYS, int(MOVED * len(exact.event)))
    if not explained:
        return row("failed", f"{what}, and rounding does not explain it: {why}", float(found.moved)), tracks
    if found.moved > limit:
        return row("failed", f"{what}, more than {limit}; each step is within rounding ({why}), so the cuts of this pipeline "
                   "decide by rounding: choose others", float(found.moved)), tracks
    return row("passed", f"{what}; rounding explains it: {why}", float(found.moved)), tracks


def explanation(spec: PipelineSpec, recorder: Recorder, name: str, expect: Expect) -> tuple[bool, str]:
    """Say whether rounding explains every output of an event and every edge that changed sides, and count those edges."""
    counted, flipped = [], 0
    for stage in ("embedding", "filter", "gnn"):
        seen = recorder.seen(stage, name)
        if seen is None:
            continue
        case, output = seen
        expectation = expect(stage, case)
        beyond = _beyond(expectation, output)
        if beyond:
            return False, f"{beyond} of {output.size} outputs of the {stage} differ from the float64 network beyond rounding"
        result = _flips(spec, stage, expectation, output)
        if result.problem:
            return False, f"{stage}: {result.problem}"
        flipped += len(result.flipped)
        counted.append(f"{len(result.flipped)} {'pairs at the radius' if stage == 'embedding' else f'edges at the {stage} cut'}")
    why = f"{', '.join(counted)} flip, all of them inside the band"
    if flipped:
        return True, why
    if spec.labelling.method == "edge_contraction":
        return True, "no edge flips; sums of edge weights tie within rounding where clusters are joined"
    return False, "no edge flips at any cut, so the labelling itself differs"


def _beyond(expectation: Expectation, output: NDArray[np.generic]) -> int:
    exact, found = expectation.output.reshape(-1), np.asarray(output, np.float64).reshape(-1)
    if found.size != exact.size:
        return max(found.size, exact.size)
    return int(np.count_nonzero(~(np.abs(found - exact) <= expectation.tolerance.reshape(-1))))


def _flips(spec: PipelineSpec, stage: str, expectation: Expectation, output: NDArray[np.generic]) -> Flips:
    if stage == "embedding":
        return pair_flips(expectation, output, spec.needed_graph().radius).flips
    return edge_flips(expectation, output, logit_of_cut(spec.needed_cut(stage))).flips


def track_rows(
    bundle: Bundle, networks: Mapping[str, nn.Module], exacts: Sequence[Exact], tell: Callable[[str], None] = lambda what: None
) -> tuple[list[Row], list[Efficiency]]:
    """Run the pipeline of a bundle with every engine of the runtime, and compare tracks and, with truth, efficiencies.

    Args:
        bundle: whose files the engines run.
        networks: stage to float32 module.
        exacts: the float64 pipeline's result for each event.
        tell: told what is done.

    Returns:
        Rows of the group "tracks", and efficiencies in bins for the events that have truth.
    """
    rows: list[Row] = []
    if not bundle.spec.makes_tracks:
        why = f"this pipeline has only {', '.join(bundle.spec.stages)}: it makes no tracks from hits"
        return [Row("tracks", "pipeline", "", "", "all events", "not checked", detail=why)], []
    selection, expect = Selection(), expecting(networks)
    judged = [exact for exact in exacts if can_be_measured(exact.event)]
    found = {EXACT: [measured(exact.event, exact.tracks, selection) for exact in judged if exact.tracks is not None]}
    for name in ENGINES:
        try:
            engine = open_engine(name, bundle, available_cores())
        except MissingExtraError as error:
            rows.append(Row("tracks", "pipeline", "", name, "all events", "not checked", detail=str(error)))
            continue
        except TrkxError as error:
            rows.append(Row("tracks", "pipeline", "", name, "all events", "failed", detail=str(error)))
            continue
        own = []
        for exact in exacts:
            tell(f"tracks of {exact.name} with {name}")
            row, tracks = compared_tracks(bundle.spec, exact, engine, name, expect)
            rows.append(row)
            if tracks is not None and exact in judged:
                own.append(measured(exact.event, tracks, selection))
        if len(own) == len(judged) > 0:
            found[name] = own
            rows += difference_rows(name, found[EXACT], own)
    if not judged:
        why = "the events have no truth, or no table of particles"
        rows.append(Row("tracks", "pipeline", "", "", "efficiency, fake rate, purity", "not checked", detail=why))
    return rows, efficiency_series(found) if judged else []
