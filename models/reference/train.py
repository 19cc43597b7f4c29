"""Makes the reference checkpoints: simulates events, trains embedding, filter and GNN in turn. Seeded and resumable.

    python -m trkx.models.reference.train --out training

Stop it at any time; the same command goes on from the last saved step.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from trkx.errors import TrkxError
from trkx.models.checkpoint import load_checkpoint, save_checkpoint
from trkx.models.networks import build_network
from trkx.models.reference.samples import Sample, classify, consecutive_pairs, oriented, pairs_within, read_sample
from trkx.spec import PipelineSpec, logit_of_cut

SAVE_EVERY = 100
MARGIN = 0.1
"""Distance at which the embedding's loss changes sides. The graph takes a larger radius: what is pulled is mostly inside."""

Draw = Callable[[torch.Generator], Tensor]
"""Draws what one step is trained on and returns its loss."""


WIDTH = {"embedding": {50: 1.57, 200: 0.5}, "filter": {50: 1.57, 200: 0.5}, "gnn": {50: 1.57, 200: 0.4}}
"""Width of the slice in azimuth that a step sees, by stage and pile-up, radians."""

CANDIDATE_CUT = 0.05
"""Filter score above which edges are trained on; the pipeline's own cut may be higher."""


@dataclass(frozen=True)
class Run:
    """Simulated events: pile-up, seed, number, width of the beam spot in mm."""

    pileup: int
    seed: int
    number: int
    sigma_z: float = 55.5


@dataclass(frozen=True)
class Phase:
    """Events, and steps and largest learning rate by stage. A phase starts from the weights of the one before."""

    events: tuple[Run, ...]
    recipes: dict[str, tuple[int, float]]


PHASES = (
    Phase(
        (Run(50, 11, 64), Run(200, 12, 8)),
        {"embedding": (3000, 2e-3), "filter": (1000, 3e-3), "gnn": (5000, 2e-3)},
    ),
    # After the first phase vertices in the tails of the beam spot lose their tracks: they are rare. A wide beam spot mends that.
    Phase(
        (Run(50, 11, 40), Run(50, 13, 40, 110.0), Run(200, 12, 6)),
        {"embedding": (1000, 1e-3), "filter": (800, 1.5e-3), "gnn": (1500, 1e-3)},
    ),
)


def embedding_loss(network: nn.Module, sample: Sample, generator: torch.Generator, radius: float) -> Tensor:
    """Return a logistic loss on squared distances: wanted pairs inside the radius, pairs of different particles outside.

    Negatives are all pairs within 1.5 radii of the queries: half of them wanted hits, half others.
    """
    place: Tensor = network(sample.x)
    positive = consecutive_pairs(sample)
    wanted = torch.nonzero(sample.wanted).squeeze(1)
    others = torch.randint(len(sample), (600,), generator=generator)
    queries = torch.cat([wanted[torch.randperm(len(wanted), generator=generator)[:900]], others])
    near = pairs_within(place.detach(), 1.5 * radius, queries)
    near = near[:, sample.particle[near[0]] != sample.particle[near[1]]]
    if near.shape[1] > 120_000:  # at the start everything is near everything
        share = near.shape[1] / 120_000
        near = near[:, torch.randint(near.shape[1], (120_000,), generator=generator)]
    else:
        share = 1.0

    def margin(pairs: Tensor) -> Tensor:
        square = (place[pairs[0]] - place[pairs[1]]).square().sum(dim=1)
        return 4.0 * (1.0 - square / (radius * radius))

    pull = functional.softplus(-margin(positive)).mean() if positive.shape[1] else place.sum() * 0.0
    push = functional.softplus(margin(near)).sum() * share / len(queries)
    total: Tensor = pull + push / 40.0
    return total


def filter_loss(network: nn.Module, sample: Sample, generator: torch.Generator, embed: nn.Module, radius: float) -> Tensor:
    """Return a weighted cross entropy over candidates: wanted pairs 1, false pairs 0, other true pairs left open."""
    with torch.no_grad():
        edges = oriented(sample, pairs_within(embed(sample.x), radius))
    truth = classify(sample, edges)
    false = torch.nonzero(~truth.same).squeeze(1)
    pick = false[torch.randint(len(false), (min(len(false), 60_000),), generator=generator)] if len(false) else false
    true = torch.nonzero(truth.wanted).squeeze(1)
    use = torch.cat([true, pick])
    logits = network(sample.x, edges[:, use]).squeeze(1)
    weight = torch.cat([torch.where(truth.next[true], 2.0, 1.0), torch.full((len(pick),), len(false) / max(len(pick), 1) * 0.25)])
    target = torch.cat([torch.ones(len(true)), torch.zeros(len(pick))])
    return functional.binary_cross_entropy_with_logits(logits, target, weight, reduction="sum") / weight.sum()


def candidate_edges(sample: Sample, embed: nn.Module, select: nn.Module, radius: float, cut: float) -> Tensor:
    """Return the edges that the GNN sees: within the radius, and above the filter's cut (a score)."""
    with torch.no_grad():
        edges = oriented(sample, pairs_within(embed(sample.x), radius))
        keep = [select(sample.x, part).squeeze(1) > logit_of_cut(cut) for part in edges.split(200_000, dim=1)]
    return edges[:, torch.cat(keep)] if keep else edges


@dataclass(frozen=True)
class Graph:
    """What the GNN is trained on: hits of one slice, their filtered edges (int64 [2, E]), target and weight of each edge."""

    x: Tensor
    edges: Tensor
    target: Tensor
    weight: Tensor


def graph_of(sample: Sample, edges: Tensor) -> Graph:
    """Return a training graph. Weights: 3 for consecutive wanted pairs, 1.5 other wanted, 0.3 other true, 1 false."""
    truth = classify(sample, edges)
    weight = torch.ones(edges.shape[1])
    weight[truth.same] = 0.3
    weight[truth.wanted] = 1.5
    weight[truth.next] = 3.0
    return Graph(sample.x, edges, truth.same.float(), weight)


def gnn_loss(network: nn.Module, graph: Graph) -> Tensor:
    """Return the weighted cross entropy over the edges of a graph."""
    logits = network(graph.x, graph.edges).squeeze(1)
    return functional.binary_cross_entropy_with_logits(logits, graph.target, graph.weight, reduction="sum") / graph.weight.sum()


def graphs(
    events: Sequence[tuple[int, Sample]], embed: nn.Module, select: nn.Module, spec: PipelineSpec, seed: int
) -> list[Graph]:
    """Return the graphs of all events, cut into slices that begin at a random azimuth."""
    from rich.progress import track

    generator = torch.Generator().manual_seed(seed)
    made = []
    for pileup, sample in track(events, "graphs"):
        width = WIDTH["gnn"][pileup]
        start = float(torch.rand(1, generator=generator)) * 2.0 * np.pi
        for number in range(int(2.0 * np.pi / width)):
            part = sample.slice(start + number * width, width)
            made.append(graph_of(part, candidate_edges(part, embed, select, spec.needed_graph().radius, CANDIDATE_CUT)))
    return made


def train(stage: str, network: nn.Module, draw: Draw, out: Path, seed: int, total: int, rate: float) -> None:
    """Train one network and save it; goes on from `STAGE-state.pt` if that is there. Every step has its own seed."""
    optimizer = torch.optim.AdamW(network.parameters(), lr=rate, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=total + 1, pct_start=0.08)
    state_file = out / f"{stage}-state.pt"
    done, average, spent = 0, 0.0, 0.0
    if state_file.is_file():
        state = torch.load(state_file, weights_only=True)
        if state["total"] == total:
            network.load_state_dict(state["network"])
            optimizer.load_state_dict(state["optimizer"])
            schedule.load_state_dict(state["schedule"])
            done, average, spent = state["done"], state["average"], state["spent"]
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    began = time.perf_counter() - spent
    last = TextColumn("loss {task.fields[loss]:.4f}")
    columns = (TextColumn(stage), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), last)
    with Progress(*columns) as bar:
        task = bar.add_task(stage, total=total, completed=done, loss=average)
        for step in range(done, total):
            generator = torch.Generator().manual_seed(int(np.random.SeedSequence([seed, step]).generate_state(1)[0]))
            value = draw(generator)
            optimizer.zero_grad()
            value.backward()
            nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            average = float(value.detach()) if step == 0 else 0.98 * average + 0.02 * float(value.detach())
            bar.update(task, advance=1, loss=average)
            if (step + 1) % SAVE_EVERY == 0 or step + 1 == total:
                state = {"network": network.state_dict(), "optimizer": optimizer.state_dict(), "schedule": schedule.state_dict(),
                         "done": step + 1, "total": total, "average": average, "spent": time.perf_counter() - began}
                torch.save(state, state_file.with_suffix(".tmp"))
                state_file.with_suffix(".tmp").replace(state_file)
                with (out / f"{stage}-log.jsonl").open("a") as log:
                    log.write(json.dumps({"step": step + 1, "loss": average, "seconds": time.perf_counter() - began}) + "\n")
    save_checkpoint(out / f"{stage}.safetensors", network, {"stage": stage, "steps": str(total), "seed": str(seed)})


def simulated(folder: Path, spec: PipelineSpec, runs: Sequence[Run]) -> list[tuple[int, Sample]]:
    """Return (pile-up, sample) of the training events, simulating those that are not there yet."""
    events = []
    for run in runs:
        place = folder / f"pileup{run.pileup}-seed{run.seed}"
        if len(list(place.glob("*-hits.parquet"))) < run.number:
            command = [sys.executable, "-m", "trkx", "simulate", "--overwrite", "--out", str(place)]
            for name in ("pileup", "seed"):
                command += [f"--{name}", str(getattr(run, name))]
            subprocess.run([*command, "--events", str(run.number), "--sigma-z", str(run.sigma_z)], check=True)
        files = sorted(place.glob("*-hits.parquet"))[: run.number]
        events += [(run.pileup, read_sample(path, spec.features)) for path in files]
    return events


def train_phase(number: int, spec: PipelineSpec, folder: Path, out: Path, seed: int, steps: int | None) -> None:
    """Train the three networks of one phase in turn; those that are finished are loaded. Everything lies in `out/phaseN`."""
    phase, place = PHASES[number], out / f"phase{number + 1}"
    place.mkdir(parents=True, exist_ok=True)
    if all((place / f"{stage}.safetensors").is_file() for stage in spec.stages):
        return
    events = simulated(folder, spec, phase.events)
    networks: dict[str, nn.Module] = {}

    def slice_of(stage: str, generator: torch.Generator) -> Sample:
        pileup, sample = events[int(torch.randint(len(events), (1,), generator=generator))]
        return sample.slice(float(torch.rand(1, generator=generator)) * 2.0 * np.pi, WIDTH[stage][pileup])

    def draw_of(stage: str, seed: int) -> Draw:
        network, radius = networks[stage], spec.needed_graph().radius
        if stage == "embedding":
            return lambda random: embedding_loss(network, slice_of(stage, random), random, MARGIN)
        if stage == "filter":
            return lambda random: filter_loss(network, slice_of(stage, random), random, networks["embedding"], radius)
        ready = graphs(events, networks["embedding"], networks["filter"], spec, seed)
        return lambda random: gnn_loss(network, ready[int(torch.randint(len(ready), (1,), generator=random))])

    for index, stage in enumerate(spec.stages):
        own = seed + 100 * number + index
        torch.manual_seed(own)
        networks[stage] = build_network(spec, stage)
        finished = place / f"{stage}.safetensors"
        if finished.is_file():
            load_checkpoint(finished, networks[stage])
        else:
            if number:
                load_checkpoint(out / f"phase{number}" / finished.name, networks[stage])
            total, rate = phase.recipes[stage]
            train(stage, networks[stage], draw_of(stage, own), place, own, steps or total, rate)
        networks[stage].eval().requires_grad_(False)


def main(arguments: Sequence[str] | None = None) -> int:
    """Train all phases; the reference checkpoints lie in the folder of the last one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--spec", type=Path, default=Path(__file__).with_name("pipeline.toml"))
    parser.add_argument("--events", type=Path, default=Path("training/events"), help="simulated here if it is not there")
    parser.add_argument("--out", type=Path, default=Path("training"))
    parser.add_argument("--seed", type=int, default=10)
    parser.add_argument("--steps", type=int, default=None, help="instead of the recipe's, for a trial")
    options = parser.parse_args(arguments)
    values = tomllib.loads(options.spec.read_text())
    values.pop("checkpoints", None)
    spec = PipelineSpec.from_dict(values, str(options.spec))
    for number in range(len(PHASES)):
        train_phase(number, spec, options.events, options.out, options.seed, options.steps)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except TrkxError as error:
        sys.exit(f"error: {error}")
