"""ACTS as the referee: its truth matching and its performance writers, for each collection of tracks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from trkx.runtime.acts.settings import ParticleCuts
from trkx.runtime.acts.simulation import (
    COUNTED,
    COUNTED_ANYWHERE,
    MEASUREMENTS_OF_PARTICLES,
    PARTICLES,
    PARTICLES_OF_MEASUREMENTS,
)
from trkx.runtime.acts.steps import Steps
from trkx.runtime.acts.verdict import PARAMETERS, binned_rates, counts, resolution_of, wanted_fits

PT_EDGES = (0.5, 0.7, 0.9, 1.2, 1.6, 2.2, 3.0, 5.0, 8.0, 15.0, 50.0)
"""Bins of pT, GeV; overflow is not counted in bins."""
ETA_BINS = 12
WINDOWS = {"d0": 0.5, "z0": 1.5, "phi": 0.01, "theta": 0.005, "qop": 0.05}
"""Residuals are histogrammed in +- so much, in 200 bins."""
RESIDUAL_BINS = 200
MATCHING_RATIO = 0.5


@dataclass(frozen=True)
class Referee:
    """The writers that judge one collection of tracks; `verdict` reads them when the sequence has run."""

    finding: Any
    anywhere: Any
    fitting: Any

    def verdict(self) -> dict[str, Any]:
        """Return counts, rates in bins and resolutions, ready for JSON."""
        finding, fitting = self.finding.histograms(), self.fitting.histograms()
        return {
            **counts(self.finding.stats(), self.anywhere.stats()),
            "binned": binned_rates(finding),
            "resolution": {name: resolution_of(fitting, name) for name in PARAMETERS},
        }


def add_referee(steps: Steps, tracks: str, cuts: ParticleCuts) -> Referee:
    """Add truth matching and the writers for one collection of tracks.

    ACTS's matching: a track belongs to the particle of most of its measurements, if these are at least half of the track's and
    half of the particle's ("double matching"); further tracks of that particle are duplicates, tracks of none are fakes.

    Args:
        steps: the sequence.
        tracks: key of an acts.examples.ConstTrackContainer.
        cuts: of the particles that count; those produced anywhere are counted apart.
    """
    import acts
    import acts.examples as examples

    level = acts.logging.ERROR
    matched, matching = f"{tracks}_track_particle", f"{tracks}_particle_track"
    steps.algorithm(
        "referee",
        examples.TrackTruthMatcher(
            level=level,
            inputTracks=tracks,
            inputParticles=PARTICLES,
            inputMeasurementParticlesMap=PARTICLES_OF_MEASUREMENTS,
            outputTrackParticleMatching=matched,
            outputParticleTrackMatching=matching,
            matchingRatio=MATCHING_RATIO,
            doubleMatching=True,
        ),
    )
    binning = {
        "Eta": acts.Axis.regular(ETA_BINS, -cuts.eta_max, cuts.eta_max, "eta"),
        "Pt": acts.Axis.variable(list(PT_EDGES), "pT"),
    }  # fmt: skip
    finding, anywhere = (
        _finding(tracks, particles, matched, matching, binning, cuts) for particles in (COUNTED, COUNTED_ANYWHERE)
    )
    fitting = _fitting(tracks, matched, binning)
    for writer in (finding, anywhere, fitting):
        steps.writer("referee", writer)
    return Referee(finding, anywhere, fitting)


def _finding(tracks: str, particles: str, matched: str, matching: str, binning: dict[str, Any], cuts: ParticleCuts) -> Any:
    import acts
    import acts.examples as examples

    config = examples.PythonPatternRecognitionPerformanceWriter.Config()
    config.inputTracks, config.inputParticles = tracks, particles
    config.inputTrackParticleMatching, config.inputParticleTrackMatching = matched, matching
    config.inputParticleMeasurementsMap = MEASUREMENTS_OF_PARTICLES
    # Configurations are copied when they are read, so they are changed and put back.
    efficiency = config.effPlotToolConfig
    efficiency.minTruthPt = cuts.pt_min * acts.UnitConstants.GeV  # 1 GeV else, whatever the particles are
    efficiency.varBinning = {**efficiency.varBinning, **binning}
    config.effPlotToolConfig = efficiency
    for name in ("fakePlotToolConfig", "duplicationPlotToolConfig"):
        tool = getattr(config, name)
        tool.varBinning, tool.recoVarBinning = {**tool.varBinning, **binning}, {**tool.recoVarBinning, **binning}
        setattr(config, name, tool)
    return examples.PythonPatternRecognitionPerformanceWriter(config, acts.logging.ERROR)


def _fitting(tracks: str, matched: str, binning: dict[str, Any]) -> Any:
    import acts
    import acts.examples as examples

    config = examples.PythonTrackParameterPerformanceWriter.Config()
    config.inputTracks, config.inputParticles, config.inputTrackParticleMatching = tracks, COUNTED, matched
    config.fitFunction, config.warningThresholdFitFailureFraction = wanted_fits(), 1.0
    residuals = config.resPlotToolConfig
    windows = {f"Residual_{name}": acts.Axis.regular(RESIDUAL_BINS, -width, width, name) for name, width in WINDOWS.items()}
    residuals.varBinning = {**residuals.varBinning, **binning, **windows}
    config.resPlotToolConfig = residuals
    return examples.PythonTrackParameterPerformanceWriter(config, acts.logging.ERROR)
