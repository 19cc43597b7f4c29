"""acts_pipeline.py: the files in ACTS's Python examples, every option set, made from acts.json alone."""

from __future__ import annotations

import json
import pprint
from collections.abc import Mapping
from typing import Any

NEVER = {"stage", "backend", "network", "model", "engine", "profile", "measured_neighbours", "measured_on"}
"""Keys of acts.json that are no options of ACTS."""

_TEXT = '''"""The track finding of {title} in ACTS: `gnn_algorithm(...)` gives an algorithm for an acts.examples.Sequencer.

Made by trkx from acts.json, which lies beside this file together with the models. Needs ACTS built with its GNN plugin
(ACTS_BUILD_PLUGIN_GNN and ACTS_BUILD_EXAMPLES_GNN); pip's wheel has none. README.md tells the versions and the traps.
"""

from pathlib import Path

HERE = Path(__file__).resolve().parent

FEATURES = {features}
FEATURE_SCALES = {scales}
NEEDS_CLUSTERS = {clusters}
DEVICE = {device}
GRAPH = {graph}
CLASSIFIERS = {classifiers}
TRACK_BUILDING = {building}
ALGORITHM = {algorithm}
CUT_FOR_COMPONENTS = {components}  # of the GNN, for ACTS's track builder; None: not measured. README.md tells how

# Options that not every version of ACTS shows to Python. Where one is hidden, its default there must be what is wanted here.
HIDDEN_DEFAULTS = {{
    "shuffleDirections": False,  # TorchMetricLearning
    "selectedFeatures": list(range(len(FEATURES))),  # OnnxEdgeClassifier: none selected means all, in their order
    "featureScales": [],  # OnnxEdgeClassifier
    "minCandidateSize": None,  # BoostTrackBuilding: the algorithm's minMeasurementsPerTrack drops short tracks all the same
    "shrinkNodes": False,  # TrackFindingAlgorithmGnn
    "undirected": False,
    "useEdgeFeatures": False,
}}


def make(kind, level, options):
    """Return a stage or algorithm of ACTS with these options; RuntimeError for one that this version can't set."""
    config = kind.Config()
    for name, value in options.items():
        if hasattr(config, name):
            setattr(config, name, value)
        elif name == "device":
            continue  # older versions have none here: all stages run where the pipeline runs
        elif name not in HIDDEN_DEFAULTS or HIDDEN_DEFAULTS[name] not in (None, value):
            raise RuntimeError(f"{{kind.__name__}} of this version of ACTS has no option {{name}} = {{value!r}}")
    return kind(config=config, level=level)


def chain(backend):
    """Return the classifiers of a back end in order: {words}."""
    found = [stage for stage in CLASSIFIERS if stage["backend"] == backend]
    if not found:
        known = ", ".join(dict.fromkeys(stage["backend"] for stage in CLASSIFIERS))
        raise ValueError(f"no files for {{backend!r}} here; there are some for {{known}}")
    return found


def stages(backend={first!r}, device=DEVICE, level=None, graph_constructor=None, module_map=None, gnn_cut=None):
    """Return (graph constructor, edge classifiers, track builder).

    backend: of the edge classifiers, {words}. device: "cpu", "cuda" or "cuda:INDEX". graph_constructor: used
    instead of the one that acts.json describes; needed where it describes none. module_map: path of a module map, for edges that
    are made by one. gnn_cut: edges of the GNN with a score above it stay; None for the one of acts.json.
    """
    acts, gnn = _plugin()
    level = acts.logging.INFO if level is None else level
    place = _device(gnn, device)

    def options(stage):
        never = {never}
        given = {{name: value for name, value in stage.items() if name not in never}}
        path = stage.get("engine", stage.get("model"))
        if path is not None:
            file = HERE / path
            if not file.is_file():
                raise FileNotFoundError(f"{{file}}: not there; README.md beside it says how it is made")
            given["modelPath"] = str(file)
        return given

    if graph_constructor is None:
        if GRAPH is None:
            raise ValueError("acts.json describes no graph constructor; give one as graph_constructor")
        if GRAPH["stage"] == "ModuleMapCuda":
            if module_map is None:
                raise ValueError("edges come from a module map; give its path as module_map")
            graph_constructor = make(gnn.ModuleMapCuda, level, {{**options(GRAPH), "moduleMapPath": str(module_map)}})
        else:
            graph_constructor = make(getattr(gnn, GRAPH["stage"]), level, {{**options(GRAPH), "device": place}})
    classifiers = []
    judges = chain(backend)
    if gnn_cut is not None and (not 0.0 < gnn_cut < 1.0 or all(stage["network"] != "gnn" for stage in judges)):
        raise ValueError(f"gnn_cut must lie between 0 and 1, and there must be a GNN, found {{gnn_cut!r}}")
    for stage in judges:
        more = {{}} if backend == "tensorrt" else {{"device": place}}
        if gnn_cut is not None and stage["network"] == "gnn":
            more["cut"] = float(gnn_cut)
        classifiers.append(make(getattr(gnn, stage["stage"]), level, {{**options(stage), **more}}))
    builder = make(getattr(gnn, TRACK_BUILDING["stage"]), level, options(TRACK_BUILDING))
    return graph_constructor, classifiers, builder


def gnn_algorithm(
    backend={first!r}, device=DEVICE, level=None, graph_constructor=None, module_map=None,
    input_space_points="spacepoints", input_clusters="", input_truth_graph="",
    output_proto_tracks="gnn-protoTracks", output_graph="", gnn_cut=None,
):
    """Return the track finding algorithm; add it with `sequencer.addAlgorithm(...)`. What `stages` takes is the same."""
    acts, gnn = _plugin()
    examples = _examples()
    if NEEDS_CLUSTERS and not input_clusters:
        raise ValueError("features of clusters are read; give the name of the cluster collection as input_clusters")
    level = acts.logging.INFO if level is None else level
    constructor, classifiers, builder = stages(backend, device, level, graph_constructor, module_map, gnn_cut)
    return make(examples.TrackFindingAlgorithmGnn, level, {{
        "inputSpacePoints": input_space_points,
        "inputClusters": input_clusters,
        "inputTruthGraph": input_truth_graph,
        "outputProtoTracks": output_proto_tracks,
        "outputGraph": output_graph,
        "graphConstructor": constructor,
        "edgeClassifiers": classifiers,
        "trackBuilder": builder,
        "nodeFeatures": [getattr(examples.NodeFeature, name) for name in FEATURES],
        "featureScales": FEATURE_SCALES,
        "minMeasurementsPerTrack": ALGORITHM["minMeasurementsPerTrack"],
        "shrinkNodes": ALGORITHM["shrinkNodes"],
        "device": _device(gnn, device),
    }})


MISSING = (
    "the Python of this ACTS has no GNN plugin: {{}}. pip's wheel of ACTS is built without it. Build ACTS with "
    "-DACTS_BUILD_PLUGIN_GNN=ON, -DACTS_BUILD_EXAMPLES_GNN=ON and the back ends (README.md beside this file); or run the bundle "
    "in the wheel's sequencer without the plugin: trkx acts BUNDLE."
)


def _plugin():
    """Return acts and the module with the stages: acts.gnn, or acts.examples.gnn, which holds them in older versions."""
    try:
        import acts
    except ImportError as error:
        raise ImportError(MISSING.format(error)) from error
    try:
        import acts.gnn as gnn
    except ImportError:
        gnn = _examples()
    return acts, gnn


def _examples():
    try:
        import acts.examples.gnn as examples
    except ImportError as error:
        raise ImportError(MISSING.format(error)) from error
    return examples


def _device(gnn, word):
    """Return ACTS's device for "cpu", "cuda" or "cuda:INDEX"."""
    kind, _, index = word.partition(":")
    if kind not in ("cpu", "cuda") or (kind == "cpu" and index):
        raise ValueError(f"device must be cpu, cuda or cuda:INDEX, found {{word!r}}")
    return gnn.Device.Cpu() if kind == "cpu" else gnn.Device.Cuda(int(index or 0))
'''


def python_snippet(config: Mapping[str, Any]) -> str:
    """Return the text of acts_pipeline.py; its values are those of acts.json, to the last digit."""
    backends = list(dict.fromkeys(stage["backend"] for stage in config["classifiers"]))
    return _TEXT.format(
        title=json.dumps(config["pipeline"]).replace("\\", "").replace('"', "'"),
        features=_literal(config["features"]),
        scales=_literal(config["feature_scales"]),
        clusters=config["needs_clusters"],
        device=json.dumps(config["device"]),
        graph=_literal(config["graph"]),
        classifiers=_literal(config["classifiers"]),
        building=_literal(config["track_building"]),
        algorithm=_literal(config["algorithm"]),
        components=_literal((config["components"] or {}).get("cut_for_components")),
        words=" or ".join(f'"{word}"' for word in backends) or "none is here",
        first=backends[0] if backends else "torch",
        never=_literal(sorted(NEVER)),
    )


def _literal(value: Any) -> str:
    return pprint.pformat(value, width=100, sort_dicts=False)
