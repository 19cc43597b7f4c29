"""What the hyperbolic tangent of NVIDIA's hardware can do to decisions of bf16 networks, without a GPU.

    python benchmarks/gpu_tanh.py BUNDLE EVENTS --limit 2 --out FILE.json

The fused kernels compute SiLU and tanh in bf16 with `tanh.approx.f32`, which is off by at most 2^-11 of its value (PTX ISA,
"tanh"). How it is off inside that bound is not published, so the worst is taken: each value by the whole bound, all in one
direction or each at random. Networks are PyTorch modules in which hidden layers read activations and weights rounded to bf16, and
sums are float32; on the same candidates and edges, as float32 has them.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from trkx.bundle import Bundle
from trkx.runtime.bench.machine import machine_facts
from trkx.runtime.engines.eager import load_networks
from trkx.runtime.events import open_events
from trkx.runtime.features import node_features
from trkx.runtime.pipeline import Pipeline
from trkx.spec import logit_of_cut

BOUND = 2.0**-11
ROWS = 1 << 18
Off = Callable[[torch.Tensor], torch.Tensor]


class Rounded(nn.Module):
    """An activation whose tangent is off, rounded to bf16. of: nn.SiLU or nn.Tanh."""

    def __init__(self, of: nn.Module, off: Off) -> None:
        super().__init__()
        self.halved, self.off = isinstance(of, nn.SiLU), off

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return what the next layer reads."""
        half = 0.5 * x if self.halved else x
        tangent = torch.tanh(half)
        tangent = tangent + self.off(tangent)
        found = half * tangent + half if self.halved else tangent
        return found.to(torch.bfloat16).to(torch.float32)


def altered(network: nn.Module, off: Off) -> nn.Module:
    """Return a network in bf16: layers that read activations have rounded weights, those that read features are as they are."""
    network = deepcopy(network)
    for module in network.modules():
        if isinstance(module, nn.Sequential):
            kinds = [isinstance(layer, (nn.SiLU, nn.Tanh)) for layer in module]
            for place, layer in enumerate(module):
                if kinds[place]:
                    module[place] = Rounded(layer, off)
                elif isinstance(layer, nn.Linear) and place and kinds[place - 1]:
                    layer.weight.data = layer.weight.data.to(torch.bfloat16).to(torch.float32)
    if not any(isinstance(module, Rounded) for module in network.modules()):
        raise SystemExit("this network has neither SiLU nor tanh in its sequences: nothing of it is off on a GPU.")
    return network


def at_random(tangent: torch.Tensor) -> torch.Tensor:
    return tangent * (BOUND * torch.where(torch.rand_like(tangent) < 0.5, -1.0, 1.0))


WAYS: dict[str, Off] = {
    "bf16": torch.zeros_like,
    "bf16, tangents too large": lambda tangent: BOUND * tangent,
    "bf16, tangents too small": lambda tangent: -BOUND * tangent,
    "bf16, either at random": at_random,
}


def study(bundle: Bundle, events: Path, limit: int) -> list[dict[str, Any]]:
    """Return a row for each network and way: logits beside those of float32, and decisions that differ."""
    pipeline, networks = Pipeline.open(bundle.path), load_networks(bundle)
    found: dict[tuple[str, str], list[np.ndarray]] = {}
    for source in open_events([events])[:limit]:
        event = source.read()
        graphs = pipeline.run(event, keep_graphs=True).graphs
        x = torch.from_numpy(node_features(event, bundle.spec.features))
        for stage, edges in (("filter", graphs["graph"]), ("gnn", graphs["filter"])):
            index = torch.from_numpy(np.ascontiguousarray(edges))
            step = ROWS if stage == "filter" else index.shape[1]
            whole = networks[stage]
            for way, network in {"float32": whole, **{way: altered(whole, off) for way, off in WAYS.items()}}.items():
                with torch.no_grad():
                    parts = [network(x, index[:, at : at + step]).reshape(-1) for at in range(0, index.shape[1], step)]
                found.setdefault((stage, way), []).append(torch.cat(parts).numpy())
    rows = []
    for (stage, way), logits in found.items():
        exact, here = np.concatenate(found[stage, "float32"]), np.concatenate(logits)
        cut = logit_of_cut(bundle.spec.needed_cut(stage))
        half, off = np.concatenate(found[stage, "bf16"]), np.abs(here - exact)
        rows.append({
            "network": stage, "way": way, "edges": len(here), "largest": float(off.max()),
            "quantiles": {str(q): float(np.quantile(off, q)) for q in (0.5, 0.99, 0.999)},
            "flips from float32": int(((here > cut) != (exact > cut)).sum()),
            "flips from bf16": int(((here > cut) != (half > cut)).sum()),
        })  # fmt: skip
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("events", type=Path)
    parser.add_argument("--limit", type=int, default=2)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.manual_seed(11)
    rows = study(Bundle.open(options.bundle), options.events, options.limit)
    for row in rows:
        print(f"{row['network']:7} {row['way']:26} {row['edges']:>10,} edges, off float32 by at most {row['largest']:.3f}, "
              f"99 % {row['quantiles']['0.99']:.4f}; flips: {row['flips from float32']:,} from float32, "
              f"{row['flips from bf16']:,} from bf16")
    if options.out:
        machine = machine_facts(torch.get_num_threads())
        options.out.write_text(json.dumps({"machine": machine, "events": options.limit, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
