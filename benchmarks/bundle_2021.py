"""Writes a bundle with the sizes of the 2021 talk and random weights, through the normal export, for benchmarks.

    python benchmarks/bundle_2021.py --event EVENT.parquet --out bundle-2021
    python benchmarks/bundle_2021.py --event EVENT.parquet --gnn-hidden 64 --gnn-layers 3 --out bundle-h64

Embedding 512 x 6, filter 512 x 5, GNN of width 128 with 8 iterations. Nothing is trained, so nothing is found; but the sizes of
all graphs are those of a real pipeline: the radius is chosen by bisection so that the event has `--pairs` candidates, the cut of
the filter so that 12 % of them pass, that of the GNN so that about as many edges as hits pass. The last layer of each classifier
is scaled so that logits spread as those of trained networks do.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from trkx.export.build import export_models
from trkx.export.pipeline_folder import open_source
from trkx.models.checkpoint import save_checkpoint
from trkx.models.networks import build_network
from trkx.runtime.bench.sizes import resized
from trkx.runtime.crew import available_cores
from trkx.runtime.edges import canonical, oriented
from trkx.runtime.events import Event, open_events
from trkx.runtime.features import node_features
from trkx.runtime.neighbours import radius_graph
from trkx.spec import CutSpec, EmbeddingSpec, FeatureSpec, FilterSpec, GNNSpec, GraphSpec, LabellingSpec, PipelineSpec

FEATURES = (
    FeatureSpec("r", 1000.0, 0.03, 1.03), FeatureSpec("phi", float(np.pi), -1.0, 1.0), FeatureSpec("z", 1000.0, -2.96, 2.96),
)
PAIRS = 11_000_000
FILTERED = 0.12
SPREAD = 3.0
SAMPLED = 20_000
Float = NDArray[np.float32]
Int = NDArray[np.int64]


def spec_of(options: argparse.Namespace) -> PipelineSpec:
    """Return the pipeline before radius and cuts are chosen."""
    return PipelineSpec(
        f"random weights, {options.embedding_hidden} x {options.embedding_layers}, {options.filter_hidden} x "
        f"{options.filter_layers}, GNN {options.gnn_hidden}",
        FEATURES,
        EmbeddingSpec(options.embedding_hidden, options.embedding_layers, 8),
        GraphSpec(0.1),
        FilterSpec(options.filter_hidden, options.filter_layers),
        GNNSpec(options.gnn_hidden, options.iterations, options.gnn_layers),
        CutSpec(0.5, 0.5),
        LabellingSpec(),
    )


def run(network: torch.nn.Module, *arrays: Any) -> Float:
    """Return what a network says."""
    with torch.no_grad():
        return np.asarray(network(*(torch.from_numpy(np.ascontiguousarray(a)) for a in arrays)).numpy())


def radius_for(points: Float, pairs: int) -> float:
    """Return the radius at which points [N, D] have so many pairs, within 1 % or so, from the neighbours of 20 000 of them."""
    tree, some = cKDTree(points), points[np.random.default_rng(0).permutation(len(points))[:20_000]]
    wanted = 2.0 * pairs / len(points)
    low, high = 1e-4, 2.0
    for _ in range(18):
        middle = float(np.sqrt(low * high))
        found = tree.query_ball_point(some, middle, return_length=True, workers=-1).mean() - 1.0
        low, high = (middle, high) if found < wanted else (low, middle)
    return float(f"{np.sqrt(low * high):.4g}")


def spread(network: Any, logits: Float) -> None:
    """Scale and shift the last layer so that these logits have mean 0 and standard deviation SPREAD."""
    last = network.rest[-1]
    factor = SPREAD / float(logits.std())
    with torch.no_grad():
        last.weight.mul_(factor)
        last.bias.mul_(factor).sub_(factor * float(logits.mean()))


def sample(points: Float, radius: float, event: Event) -> tuple[Int, int]:
    """Return SAMPLED candidates, int64 [2, SAMPLED], and how many there are in all."""
    pairs = radius_graph(points, radius, threads=available_cores()).pairs
    some = np.random.default_rng(0).choice(pairs.shape[1], min(SAMPLED, pairs.shape[1]), replace=False)
    return oriented(pairs[:, some], event.position, "by_radius"), pairs.shape[1]


def cut_for(logits: Float, fraction: float) -> float:
    """Return the score that this fraction of the logits exceeds."""
    return float(1.0 / (1.0 + np.exp(-float(np.quantile(logits.astype(np.float64), 1.0 - fraction)))))


def toml(spec: PipelineSpec, files: dict[str, str]) -> str:
    """Return the pipeline file."""
    values = spec.to_dict()
    lines = [f"name = {json.dumps(values.pop('name'))}"]
    for feature in values.pop("features"):
        lines += ["", "[[features]]", *(f"{key} = {json.dumps(value)}" for key, value in feature.items())]
    for key, table in {**values, "checkpoints": files}.items():
        lines += ["", f"[{key}]", *(f"{name} = {json.dumps(value)}" for name, value in table.items() if value is not None)]
    return "\n".join(lines) + "\n"


def told(what: str, done: int, steps: int) -> None:
    """Print what the export does next."""
    print(f"  {done + 1} of {steps}: {what}", flush=True)


def main() -> None:
    """Choose weights, radius and cuts; export."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--event", type=Path, required=True, help="a mu = 200 event; radius and cuts are chosen on it")
    parser.add_argument("--out", type=Path, default=Path("bundle-2021"))
    parser.add_argument("--pairs", type=int, default=PAIRS)
    parser.add_argument("--seed", type=int, default=2021)
    for name, size in (("embedding-hidden", 512), ("embedding-layers", 6), ("filter-hidden", 512), ("filter-layers", 5),
                       ("gnn-hidden", 128), ("gnn-layers", 2), ("iterations", 8)):
        parser.add_argument(f"--{name}", type=int, default=size)
    options = parser.parse_args()
    torch.manual_seed(options.seed)
    spec = spec_of(options)
    event = open_events([options.event])[0].read()
    x = node_features(event, spec.features)
    networks: dict[str, Any] = {stage: build_network(spec, stage).eval().requires_grad_(False) for stage in spec.stages}
    points = run(networks["embedding"], x)
    radius = radius_for(points, options.pairs)
    candidates, total = sample(points, radius, event)
    spread(networks["filter"].network, run(networks["filter"], x, candidates))
    logits = run(networks["filter"], x, candidates).reshape(-1)
    filter_cut = cut_for(logits, FILTERED)
    # the GNN on a graph of as many edges per hit as a filtered event has, but of few hits
    few = min(len(x), 5000)
    degree = FILTERED * total / len(x)
    rng = np.random.default_rng(1)
    ends = rng.integers(0, few, (2, int(few * degree)))
    graph = canonical(ends[:, ends[0] != ends[1]])
    spread(networks["gnn"].classifier, run(networks["gnn"], x[:few], graph))
    gnn_cut = cut_for(run(networks["gnn"], x[:few], graph).reshape(-1), min(0.5, 1.0 / degree))
    assert spec.graph is not None
    spec = replace(spec, graph=replace(spec.graph, radius=radius), cuts=CutSpec(filter_cut, gnn_cut))
    print(f"radius {radius:g}: {total:,} candidates of {len(x):,} hits; cuts {filter_cut:.4f} and {gnn_cut:.4f}", flush=True)
    with tempfile.TemporaryDirectory() as name:
        folder, files = Path(name), {}
        for stage, network in networks.items():
            files[stage] = f"{stage}.safetensors"
            save_checkpoint(folder / files[stage], network)
        (folder / "pipeline.toml").write_text(toml(spec, files), encoding="utf-8")
        report = export_models(open_source(folder), options.out, resized(event, 400), overwrite=True, progress=told)
    print(f"{options.out}: {len(report.rows)} checks passed")


if __name__ == "__main__":
    main()
