"""What a sequence starts with: particles, Fatras, digitisation, and the particles that count."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from trkx.runtime.acts.geometry import Setup, write_digitisation
from trkx.runtime.acts.settings import ParticleCuts, SequenceSpec
from trkx.runtime.acts.steps import Steps
from trkx.runtime.simulate.collisions import event_seed
from trkx.runtime.simulate.propagate import P_MIN_GEV

PARTICLES = "particles_simulated"
COUNTED = "particles_counted"
COUNTED_ANYWHERE = "particles_counted_anywhere"
MEASUREMENTS = "measurements"
PARTICLES_OF_MEASUREMENTS = "measurement_particles_map"
MEASUREMENTS_OF_PARTICLES = "particle_measurements_map"


def add_simulation(steps: Steps, setup: Setup, spec: SequenceSpec, folder: Path) -> None:
    """Add particles from `folder` (ACTS's CSV), Fatras, digitisation, the particles that count."""
    import acts
    import acts.examples as examples
    from acts.examples.json import readDigiConfigFromJson

    unit, level, silent = acts.UnitConstants, acts.logging.ERROR, acts.logging.FATAL
    random = examples.RandomNumbers(seed=event_seed(spec.seed, 0, 4))
    steps.reader(
        "simulation",
        examples.CsvParticleReader(
            level=level, inputDir=str(folder), inputStem="particles", outputParticles="particles_generated"
        ),
    )
    steps.algorithm(
        "simulation",
        examples.FatrasSimulation(  # says of particles born outside the world that they are errors
            level=silent,
            inputParticles="particles_generated",
            outputParticles=PARTICLES,
            outputSimHits="simhits",
            randomNumbers=random,
            trackingGeometry=setup.geometry,
            magneticField=setup.field,
            generateHitsOnSensitive=True,
            emScattering=True,
            emEnergyLossIonisation=True,
            emEnergyLossRadiation=True,
            emPhotonConversion=True,
            pMin=P_MIN_GEV * unit.GeV,
        ),
    )
    steps.algorithm(
        "simulation",
        examples.DigitizationAlgorithm(
            level=level,
            digitizationConfigs=readDigiConfigFromJson(str(write_digitisation(folder / "digitisation.json"))),
            surfaceByIdentifier=setup.geometry.geoIdSurfaceMap(),
            randomNumbers=random,
            inputSimHits="simhits",
            doMerge=spec.merge,
            outputMeasurements=MEASUREMENTS,
            outputMeasurementParticlesMap=PARTICLES_OF_MEASUREMENTS,
            outputMeasurementSimHitsMap="measurement_simhits_map",
            outputParticleMeasurementsMap=MEASUREMENTS_OF_PARTICLES,
            outputSimHitMeasurementsMap="simhit_measurements_map",
        ),
    )
    for output, anywhere in ((COUNTED, False), (COUNTED_ANYWHERE, True)):
        steps.algorithm("referee", _particle_selector(spec.particles, output, anywhere))


def _particle_selector(cuts: ParticleCuts, output: str, anywhere: bool) -> Any:
    import acts
    import acts.examples as examples

    unit = acts.UnitConstants
    return examples.ParticleSelector(
        level=acts.logging.ERROR,
        inputParticles=PARTICLES,
        inputParticleMeasurementsMap=MEASUREMENTS_OF_PARTICLES,
        inputMeasurements=MEASUREMENTS,
        outputParticles=output,
        ptMin=cuts.pt_min * unit.GeV,
        absEtaMax=cuts.eta_max,
        rhoMax=float("inf") if anywhere else cuts.vertex_r_max * unit.mm,
        measurementsMin=cuts.min_measurements,
        removeNeutral=True,
    )
