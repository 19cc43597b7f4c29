"""The chains that are compared: trkx with ACTS's Kalman fit, and ACTS's own seeding and combinatorial Kalman filter."""

from __future__ import annotations

from typing import Any

from trkx.runtime.acts.geometry import SEEDING_LAYERS, Setup, geometry_ids
from trkx.runtime.acts.settings import SequenceSpec, TrackCuts
from trkx.runtime.acts.simulation import MEASUREMENTS
from trkx.runtime.acts.steps import Steps

ALL_POINTS = "spacepoints"
PIXEL_POINTS = "spacepoints_seeding"
PROTO_TRACKS = "trkx_prototracks"


def add_points(steps: Steps, setup: Setup) -> None:
    """Add space points of all layers, one a measurement: ALL_POINTS."""
    import acts
    import acts.examples as examples

    steps.algorithm(
        "trkx",
        examples.SpacePointMaker(
            level=acts.logging.ERROR,
            inputMeasurements="measurement_subset",
            outputSpacePoints=ALL_POINTS,
            trackingGeometry=setup.geometry,
            geometrySelection=geometry_ids(),
        ),
    )


def add_trkx(steps: Steps, setup: Setup, spec: SequenceSpec, finder: Any) -> tuple[str, str]:
    """Add space points, trkx's track finding, and what fits its tracks: parameters of three points each, Kalman fit, cuts.

    `finder` is a TrkxTrackFinding that reads ALL_POINTS and writes PROTO_TRACKS.

    Returns:
        Keys of all fitted tracks, and of those that pass the cuts.
    """
    import acts
    import acts.examples as examples

    level, silent = acts.logging.ERROR, acts.logging.FATAL
    add_points(steps, setup)
    steps.algorithm("trkx", finder)
    # Seeds from the proto tracks. Its parameters are not used: their starting errors can't be set from Python.
    steps.algorithm(
        "trkx",
        examples.ProtoTracksToParameters(
            level=level,
            inputProtoTracks=PROTO_TRACKS,
            inputSpacePoints=ALL_POINTS,
            outputProtoTracks="trkx_seeded",
            outputSeeds="trkx_seeds",
            outputParameters="trkx_parameters_unused",
            geometry=setup.geometry,
            magneticField=setup.field,
        ),
    )
    steps.algorithm(
        "trkx",
        examples.TrackParamsEstimationAlgorithm(
            level=level,
            inputSeeds="trkx_seeds",
            inputProtoTracks="trkx_seeded",
            outputProtoTracks="trkx_estimated",
            outputSeeds="trkx_seeds_estimated",
            outputTrackParameters="trkx_parameters",
            spacePointSelection=examples.SeedSpacePointSelection.SpreadTriplet,
            **_estimation(setup),
        ),
    )
    fit = examples.makeKalmanFitterFunction(  # as acts.examples.reconstruction.addKalmanTracks has it
        setup.geometry,
        setup.field,
        multipleScattering=True,
        energyLoss=True,
        reverseFilteringMomThreshold=0.0,
        reverseFilteringCovarianceScaling=100.0,
        freeToBoundCorrection=examples.FreeToBoundCorrection(False),
        chi2Cut=float("inf"),
        useJosephFormulation=False,
        level=silent,
    )
    steps.algorithm(
        "trkx",
        examples.TrackFittingAlgorithm(
            level=silent,
            inputMeasurements=MEASUREMENTS,
            inputProtoTracks="trkx_estimated",
            inputInitialTrackParameters="trkx_parameters",
            inputClusters="",
            outputTracks="trkx_fitted",
            pickTrack=-1,
            fit=fit,
            calibrator=examples.makePassThroughCalibrator(),
            linkForward=False,
            referenceSurface=acts.Surface.createPerigee(acts.Vector3(0, 0, 0)),
        ),
    )
    steps.algorithm(
        "trkx",
        examples.TrackSelectorAlgorithm(
            level=level, inputTracks="trkx_fitted", outputTracks="trkx_tracks", selectorConfig=_track_selector(spec.tracks)
        ),
    )
    return "trkx_fitted", "trkx_tracks"


def add_ckf(steps: Steps, setup: Setup, spec: SequenceSpec) -> tuple[str, str]:
    """Add ACTS's own chain: triplet seeds of pixels, combinatorial Kalman filter both ways, greedy ambiguity resolution.

    Returns:
        Keys of the tracks before and after ambiguity resolution; both pass the cuts, which the filter itself applies.
    """
    import acts
    import acts.examples as examples

    level, silent, cuts, settings = acts.logging.ERROR, acts.logging.FATAL, spec.tracks, spec.ckf
    steps.algorithm(
        "ckf",
        examples.SpacePointMaker(
            level=level,
            inputMeasurements="measurement_subset",
            outputSpacePoints=PIXEL_POINTS,
            trackingGeometry=setup.geometry,
            geometrySelection=geometry_ids(SEEDING_LAYERS),
        ),
    )
    steps.algorithm(
        "ckf",
        examples.GridTripletSeedingAlgorithm(
            level=level,
            inputSpacePoints=PIXEL_POINTS,
            outputSeeds="ckf_seeds",
            minPt=settings.seed_pt_min * acts.UnitConstants.GeV,
            collisionRegionMin=-settings.seed_z_max * acts.UnitConstants.mm,
            collisionRegionMax=settings.seed_z_max * acts.UnitConstants.mm,
        ),
    )
    steps.algorithm(
        "ckf",
        examples.TrackParamsEstimationAlgorithm(
            level=level,
            inputSeeds="ckf_seeds",
            outputSeeds="ckf_seeds_estimated",
            outputTrackParameters="ckf_parameters",
            **_estimation(setup),
        ),
    )
    finder = examples.TrackFindingAlgorithm
    chosen: tuple[list[float], list[float], list[float], list[int]] = (
        [],
        [settings.chi2_measurement],
        [settings.chi2_outlier],
        [settings.max_candidates],
    )
    steps.algorithm(
        "ckf",
        finder(
            level=silent,
            measurementSelectorCfg=acts.MeasurementSelector.Config([(acts.GeometryIdentifier(), chosen)]),
            inputMeasurements="measurement_subset",
            inputInitialTrackParameters="ckf_parameters",
            inputSeeds="ckf_seeds_estimated",
            outputTracks="ckf_found",
            findTracks=finder.makeTrackFinderFunction(setup.geometry, setup.field, silent),
            findTracksBrem=finder.makeBremTrackFinderFunction(setup.geometry, setup.field, silent),
            trackingGeometry=setup.geometry,
            magneticField=setup.field,
            trackSelectorCfg=_track_selector(cuts),
            twoWay=True,
            reverseSearch=False,
            seedDeduplication=True,
            stayOnSeed=True,
        ),
    )
    steps.algorithm(
        "ckf",
        examples.GreedyAmbiguityResolutionAlgorithm(
            level=level,
            inputTracks="ckf_found",
            outputTracks="ckf_tracks",
            maximumSharedHits=settings.max_shared_hits,
            maximumIterations=settings.iterations,
            nMeasurementsMin=cuts.min_measurements,
        ),
    )
    return "ckf_found", "ckf_tracks"


def _estimation(setup: Setup) -> dict[str, Any]:
    """Return where parameters are estimated, and errors at the start of a fit, as in ACTS's full chain; for both chains."""
    import acts

    unit = acts.UnitConstants
    sigmas = [1 * unit.mm, 1 * unit.mm, 1 * unit.degree, 1 * unit.degree, 0 * unit.e / unit.GeV, 1 * unit.ns]
    return {
        "trackingGeometry": setup.geometry, "magneticField": setup.field, "initialSigmas": sigmas,
        "initialSigmaQoverPt": 0.1 * unit.e / unit.GeV, "initialSigmaPtRel": 0.1, "initialVarInflation": [1.0] * 6,
    }  # fmt: skip


def _track_selector(cuts: TrackCuts) -> Any:
    import acts

    unit = acts.UnitConstants
    return acts.TrackSelector.Config(
        ptMin=cuts.pt_min * unit.GeV,
        absEtaMax=cuts.eta_max,
        loc0Min=-cuts.d0_max * unit.mm,
        loc0Max=cuts.d0_max * unit.mm,
        minMeasurements=cuts.min_measurements,
        maxHoles=cuts.max_holes,
        maxOutliers=cuts.max_outliers,
    )
