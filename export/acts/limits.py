"""What ACTS can run: its node features, the sizes that its stages take. A pipeline beyond that is refused, with what to do."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from trkx.errors import ExportError
from trkx.runtime.edge_features import edge_problem
from trkx.spec import PipelineSpec

ACTS_TARGETS = ("acts-torch", "acts-onnx", "acts-tensorrt")
"""Targets whose files lie in the folder acts/ of a bundle and have the form of `trkx.export.acts.form`."""

LEAST_DIM, MOST_DIM = 3, 12
"""Dimensions of an embedding: FRNN on CUDA takes no fewer, the KD-tree on the CPU aborts above."""

CLUSTER = ("R", "Phi", "Z", "Eta")
FEATURES: Mapping[str, str] = {
    "r": "R", "phi": "Phi", "x": "X", "y": "Y", "z": "Z", "eta": "Eta", "cell_count": "CellCount", "cell_val": "ChargeSum",
    **{f"cluster_{name.lower()}_{place}": f"Cluster{place}{name}" for place in (1, 2) for name in CLUSTER},
}
"""Our node features to ACTS's `NodeFeature`: of the space point (mm, radians), of its first cluster, of its two clusters.

ACTS's eta is asinh(z / r) as ours (which takes r as at least 1 micrometre). Source: `createFeatures.cpp` of its examples.
"""
NEED_CLUSTERS = tuple(name for name in FEATURES.values() if name.startswith(("Cluster", "Cell", "Charge")))
"""Features that ACTS makes only with `inputClusters`."""
DISTANCES = (("r", "z"), ("x", "y", "z"))
"""Features that give the distance of a hit from the origin."""


def require_acts(targets: Sequence[str], spec: PipelineSpec) -> None:
    """Raise ExportError if ACTS can't run a pipeline's files; nothing is checked if no target is ACTS's.

    The message says what is wrong, for which targets, and what to do.
    """
    asked = [name for name in dict.fromkeys(targets) if name in ACTS_TARGETS]
    if not asked:
        return
    for problem in (_features(spec), _embedding(spec), _direction(spec), _edge_features(spec)):
        if problem:
            raise ExportError(f"target {', '.join(asked)}: {problem}")


def turns_edges(spec: PipelineSpec, stage: str) -> bool:
    """Return whether a stage's file has to turn edges: it was trained by radius, and tells the two ends apart."""
    if stage == "embedding" or spec.graph is None or spec.graph.direction != "by_radius":
        return False
    return not getattr(spec.networks[stage], "undirected", False)


def axes_of(spec: PipelineSpec) -> tuple[str, ...]:
    """Return the features whose squares (unscaled) sum to a hit's squared distance from the origin, () if there are none."""
    names = {feature.name for feature in spec.features}
    return next((axes for axes in DISTANCES if names.issuperset(axes)), ())


def _features(spec: PipelineSpec) -> str:
    unknown = [feature.name for feature in spec.features if feature.name not in FEATURES]
    if not unknown:
        return ""
    return (
        f"ACTS makes no node feature {', '.join(unknown)}; it has {', '.join(FEATURES)}. Train on those, or run the bundle "
        "outside of ACTS (trkx run, or the C++ library under runtime/cpp)."
    )


def _embedding(spec: PipelineSpec) -> str:
    if spec.embedding is None or spec.embedding.dim <= MOST_DIM:
        return ""
    return (
        f"the embedding has {spec.embedding.dim} dimensions, but ACTS's neighbour search takes at most {MOST_DIM} (its CPU "
        f"stage aborts); train one of {LEAST_DIM} to {MOST_DIM}, or run the bundle outside of ACTS."
    )


def _direction(spec: PipelineSpec) -> str:
    turned = [stage for stage in spec.stages if turns_edges(spec, stage)]
    if not turned or axes_of(spec):
        return ""
    names = {feature.name for feature in spec.features}
    missing = " or ".join(", ".join(name for name in axes if name not in names) for axes in DISTANCES)
    return (
        f"the {' and the '.join(turned)} were trained with direction by_radius, while ACTS gives edges by index; turning them "
        f"inside the file needs the feature(s) {missing}, which this pipeline has not. Add them, or train with direction "
        "by_index."
    )


def _edge_features(spec: PipelineSpec) -> str:
    if not spec.edge_features:
        return ""
    if spec.embedding is not None:
        return (
            f"the gnn reads edge features ({', '.join(spec.edge_features)}), which ACTS makes for edges of a module map only, "
            "not for those of an embedding; export the gnn alone (--gnn), or run the bundle outside of ACTS."
        )
    problem = edge_problem(spec)
    if problem:
        return f"{problem}; ACTS makes dr, dphi, dz, deta, phislope and rphislope."
    names = [feature.name for feature in spec.features]
    if names[:4] != ["r", "phi", "z", "eta"]:
        return (
            "ACTS makes edge features of node features 0 to 3, which it takes for r, phi, z, eta; those of this pipeline are "
            f"{', '.join(names[:4])}. List them in that order (--features), or run the bundle outside of ACTS."
        )
    own = {feature.name: feature.scale for feature in getattr(spec.gnn, "features", None) or spec.features}
    for feature in spec.features[:4]:
        if not math.isclose(own.get(feature.name, feature.scale), feature.scale, rel_tol=1e-6):
            return (
                f"ACTS makes edge features of {feature.name} / {feature.scale:g}, the gnn was trained on {feature.name} / "
                f"{own[feature.name]:g}; give the pipeline the gnn's own scales."
            )
    if not math.isclose(abs(spec.features[1].scale), math.pi, rel_tol=1e-5):
        return (
            f"ACTS wraps differences of phi / pi, but phi is divided by {spec.features[1].scale:g} here; "
            "train with the scale pi, or run the bundle outside of ACTS."
        )
    return ""
