"""Lint of TorchScript: every rule on nets that have the fault, and on nets that nearly have it; nothing is loaded by lint."""

from __future__ import annotations

import io
import json
import platform
import subprocess
import sys
import time
import warnings
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from support.tiny import TinyExport
from torch import Tensor, nn

from trkx.errors import ExportError
from trkx.export.lint.finding import Remark, Rule, Subject
from trkx.export.lint.opening import opened
from trkx.export.lint.rules import (
    package_platform,
    script_debug_paths,
    script_devices,
    script_frozen_sizes,
    script_operators,
    script_overwrites,
    script_pickles,
    script_precision,
    script_random,
    script_returns_input,
    script_side_effects,
    script_sigmoid,
    script_signature,
    script_unread,
    script_writes,
)
from trkx.export.torchscript_file import torchscript_is_meant

MODULES = (script_operators, script_devices, script_writes, script_sigmoid, script_returns_input, script_frozen_sizes,
           script_pickles, script_precision, script_side_effects, script_signature, script_random, script_overwrites,
           script_debug_paths, script_unread)
RULES: dict[str, Rule] = {module.RULE.id: module.RULE for module in MODULES}
HITS, EDGES = 7, 11


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def found(subject: Subject) -> list[tuple[str, str, str]]:
    """Return (rule, severity, message) of every remark."""
    def one(rule: Rule, remark: Remark) -> tuple[str, str, str]:
        return rule.id, remark.severity or rule.severity, f"{remark.message} @ {remark.where}"

    return [one(rule, remark) for rule in RULES.values() for remark in rule.check(subject)]


def alarms(subject: Subject) -> list[tuple[str, str, str]]:
    """Return errors and warnings."""
    return [item for item in found(subject) if item[1] != "note"]


def saved(module: nn.Module, path: Path, how: str = "trace") -> Path:
    """Save a network as TorchScript, made by "trace", "script", "frozen trace" or "frozen script"."""
    x, edges = torch.randn(HITS, 3), torch.randint(0, HITS, (2, EDGES))
    inputs = (x, edges) if len(getattr(module, "doors", "xe")) == 2 else (x,)
    with torchscript_is_meant(), torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore", torch.jit.TracerWarning)
        made = torch.jit.script(module) if "script" in how else torch.jit.trace(module, inputs, check_trace=False)
        if "frozen" in how:
            made = torch.jit.freeze(made)
        torch.jit.save(made, path)
    return path


def edited(path: Path, change: Callable[[str, bytes], bytes | None], more: Mapping[str, bytes] | None = None) -> Path:
    """Rewrite an archive; `change` gets the member's name without the folder and its bytes, None drops it."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(buffer, "w") as new:
        for name in old.namelist():
            data = change(name.partition("/")[2], old.read(name))
            if data is not None:
                new.writestr(name, data)
        root = old.namelist()[0].partition("/")[0]
        for name, data in (more or {}).items():
            new.writestr(f"{root}/{name}", data)
    path.write_bytes(buffer.getvalue())
    return path


def with_code(path: Path, body: str, arguments: str = "x: Tensor,\n    edge_index: Tensor", returns: str = "Tensor") -> Path:
    """Replace the code of `forward` of a saved net by lines as TorchScript writes them."""
    lines = "\n".join(f"    {line}" for line in body.strip().splitlines())

    changed = []

    def change(name: str, data: bytes) -> bytes:
        if not name.endswith(".py") or b"class Net(Module)" not in data:
            return data
        changed.append(name)
        head, _, rest = data.decode().partition("  def forward(")
        owner = rest.partition("self: ")[2].partition(",")[0]
        return f"{head}  def forward(self: {owner},\n    {arguments}) -> {returns}:\n{lines}\n".encode()

    edited(path, change)
    assert len(changed) == 1
    return path


class Net(nn.Module):
    """A message-passing network without a fault; subclasses change one step each."""

    doors = "xe"

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.ReLU(), nn.Dropout(0.1))
        self.head = nn.Linear(8, 1)
        self.register_buffer("scale", torch.ones(3))

    def sums(self, h: Tensor, x: Tensor, source: Tensor, target: Tensor) -> Tensor:
        return h.new_zeros((x.shape[0], 4)).index_add(0, target, h[source])

    def ends(self, h: Tensor, source: Tensor, target: Tensor) -> Tensor:
        return self.head(torch.cat([h[source], h[target]], dim=1))

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        source, target = edge_index[0], edge_index[1]
        h = self.encoder(x * self.scale)
        h = h + self.sums(h, x, source, target)
        return self.ends(h, source, target)


def test_golden_passes(golden: Path) -> None:
    path = golden / "lrt" / "gnn.torchscript.pt"
    for target in ("acts-torch", "libtorch"):
        subject = opened(path, target, stage="gnn")
        assert subject.archive is not None and not subject.archive.flow.incomplete
        assert len([op for op in subject.archive.flow.operations if op.short == "scatter_add_"]) >= 2
        assert alarms(subject) == []


@pytest.mark.parametrize("stage", ["embedding", "filter", "gnn"])
@pytest.mark.parametrize("target", ["acts-torch", "libtorch"])
def test_our_own_files_pass(tiny_export: TinyExport, stage: str, target: str) -> None:
    assert found(opened(tiny_export.folder / f"{stage}.pt", target, stage=stage)) == []


@pytest.mark.parametrize("how", ["trace", "script", "frozen trace", "frozen script"])
def test_right_nets_pass(tmp_path: Path, how: str) -> None:
    subject = opened(saved(Net().eval(), tmp_path / "m.pt", how))
    assert subject.archive is not None
    assert not subject.archive.flow.incomplete
    assert "index_add" in {op.short for op in subject.archive.flow.operations}
    assert alarms(subject) == []


# Nets with one step changed, as torch writes them.

class ZerosOnCpu(Net):
    def sums(self, h: Tensor, x: Tensor, source: Tensor, target: Tensor) -> Tensor:
        return torch.zeros((x.shape[0], 4)).index_add(0, target, h[source])  # a trace keeps the device


class InPlaceOnInput(Net):
    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        x.mul_(2.0)
        h = self.encoder(x * self.scale)
        return self.ends(h, edge_index[0], edge_index[1])


class InPlaceOnView(Net):
    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        first = x[:, 0]
        first.clamp_(0.0, 1.0)
        h = self.encoder(x * self.scale)
        return self.ends(h, edge_index[0], edge_index[1])


class InPlaceReluOnInput(Net):
    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.ReLU(inplace=True), nn.Linear(3, 4))

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        return self.ends(self.encoder(x), edge_index[0], edge_index[1])


class InPlaceOnBuffer(Net):
    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        self.scale.add_(1.0)
        h = self.encoder(x * self.scale)
        return self.ends(h, edge_index[0], edge_index[1])


class AssignsAnIndex(Net):
    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        x[0] = 0.0
        h = self.encoder(x * self.scale)
        return self.ends(h, edge_index[0], edge_index[1])


class InPlaceOnFresh(Net):
    """A near miss: every write goes into memory of the net's own."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(3, 4), nn.ReLU(inplace=True))

    def sums(self, h: Tensor, x: Tensor, source: Tensor, target: Tensor) -> Tensor:
        total = torch.zeros_like(h)
        total.index_add_(0, target, h[source])
        total[0] = 0.0
        copied = x.clone()
        copied.mul_(0.5)
        return total.add_(copied.sum())


class Scores(Net):
    def ends(self, h: Tensor, source: Tensor, target: Tensor) -> Tensor:
        return torch.sigmoid(self.head(torch.cat([h[source], h[target]], dim=1))).squeeze(1)


class InPlaceScores(Net):
    def ends(self, h: Tensor, source: Tensor, target: Tensor) -> Tensor:
        return self.head(torch.cat([h[source], h[target]], dim=1)).sigmoid_().float()


class ClampedScores(Net):
    def ends(self, h: Tensor, source: Tensor, target: Tensor) -> Tensor:
        return torch.sigmoid(self.head(torch.cat([h[source], h[target]], dim=1))).clamp(1e-6, 1.0 - 1e-6).squeeze(1)


class ScoresByTanh(Net):
    def ends(self, h: Tensor, source: Tensor, target: Tensor) -> Tensor:
        return torch.tanh(self.head(torch.cat([h[source], h[target]], dim=1)) / 2.0) * 0.5 + 0.5


class OppositeScores(Net):
    def ends(self, h: Tensor, source: Tensor, target: Tensor) -> Tensor:
        return 1.0 - torch.sigmoid(self.head(torch.cat([h[source], h[target]], dim=1)))


class ExpScores(Net):
    def ends(self, h: Tensor, source: Tensor, target: Tensor) -> Tensor:
        return torch.exp(nn.functional.logsigmoid(self.head(torch.cat([h[source], h[target]], dim=1))))


class Decisions(Net):
    def ends(self, h: Tensor, source: Tensor, target: Tensor) -> Tensor:
        return (torch.sigmoid(self.head(torch.cat([h[source], h[target]], dim=1))) > 0.5).float()


class BoundedLogits(Net):
    """A near miss: logits that are kept within bounds."""

    def ends(self, h: Tensor, source: Tensor, target: Tensor) -> Tensor:
        return (torch.tanh(self.head(torch.cat([h[source], h[target]], dim=1)) / 10.0) * 10.0).clamp(-9.0, 9.0)


class StretchedScores(Net):
    """A near miss: on the scale of logits."""

    def ends(self, h: Tensor, source: Tensor, target: Tensor) -> Tensor:
        return 20.0 * (torch.sigmoid(self.head(torch.cat([h[source], h[target]], dim=1))) - 0.5)


class InnerSigmoid(Net):
    """A near miss: the sigmoid is a gate inside."""

    def ends(self, h: Tensor, source: Tensor, target: Tensor) -> Tensor:
        gate = torch.sigmoid(h)
        return self.head(torch.cat([gate[source], h[target]], dim=1))


class ReturnsInput(Net):
    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        return x[:, :1]


class ReturnsBuffer(Net):
    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        return self.scale.view(3, 1)


class ReturnsCopy(Net):
    """A near miss: the same numbers, in memory of their own."""

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        return x[:, :1].clone()


class FrozenNodes(Net):
    def sums(self, h: Tensor, x: Tensor, source: Tensor, target: Tensor) -> Tensor:
        size = int(target.max()) + 1  # a trace keeps the number
        return h.new_zeros((max(size, HITS), 4)).index_add(0, target, h[source])


class FrozenEdges(Net):
    def ends(self, h: Tensor, source: Tensor, target: Tensor) -> Tensor:
        values = self.head(torch.cat([h[source], h[target]], dim=1))
        return values.reshape(int(values.shape[0]))


class FrozenExpand(Net):
    def sums(self, h: Tensor, x: Tensor, source: Tensor, target: Tensor) -> Tensor:
        index = target.unsqueeze(1).expand(int(target.shape[0]), 4)
        return torch.zeros_like(h).scatter_add(0, index, h[source])


class FreeSizes(Net):
    """A near miss: literals where the network's own widths are, -1 and shapes where the event is."""

    def sums(self, h: Tensor, x: Tensor, source: Tensor, target: Tensor) -> Tensor:
        index = target.view(-1, 1).expand(-1, 4)
        total = h.new_zeros((x.shape[0], 4)).scatter_add(0, index, h[source].reshape(-1, 4))
        return total.view(x.shape[0], 2, 2).reshape(-1, 4)


class HalfSums(Net):
    def sums(self, h: Tensor, x: Tensor, source: Tensor, target: Tensor) -> Tensor:
        wide = h.half()
        return wide.new_zeros((x.shape[0], 4)).index_add(0, target, wide[source]).float()


class HalfOutside(Net):
    """A near miss: half precision, but the sum is taken in float32."""

    def sums(self, h: Tensor, x: Tensor, source: Tensor, target: Tensor) -> Tensor:
        narrow = h.half()[source]
        return h.new_zeros((x.shape[0], 4)).index_add(0, target, narrow.float())


class DoubleWeights(Net):
    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(8, 1).double()

    def ends(self, h: Tensor, source: Tensor, target: Tensor) -> Tensor:
        return self.head(torch.cat([h[source], h[target]], dim=1).double())


class Prints(Net):
    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        print("hits", x.shape[0])  # noqa: T201
        h = self.encoder(x * self.scale)
        return self.ends(h, edge_index[0], edge_index[1])


class Asserts(Net):
    """A near miss: an exception is no side effect."""

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        assert x.shape[0] > 0, "no hits"
        if edge_index.shape[0] != 2:
            raise ValueError("edge_index")
        h = self.encoder(x * self.scale)
        return self.ends(h, edge_index[0], edge_index[1])


class TwoOutputs(Net):
    def forward(self, x: Tensor, edge_index: Tensor) -> tuple[Tensor, Tensor]:
        h = self.encoder(x * self.scale)
        return self.ends(h, edge_index[0], edge_index[1]), h


class SwappedInputs(Net):
    def forward(self, edge_index: Tensor, x: Tensor) -> Tensor:
        h = self.encoder(x * self.scale)
        return self.ends(h, edge_index[0], edge_index[1])


class NumberInput(Net):
    def forward(self, x: Tensor, edge_index: Tensor, rounds: int) -> Tensor:
        h = self.encoder(x * self.scale)
        for _ in range(rounds):
            h = h + self.sums(h, x, edge_index[0], edge_index[1])
        return self.ends(h, edge_index[0], edge_index[1])


class OptionalFeatures(Net):
    """A near miss: edge features that may be left out."""

    def forward(self, x: Tensor, edge_index: Tensor, edge_attr: Tensor | None = None, rounds: int = 2) -> Tensor:
        h = self.encoder(x * self.scale)
        for _ in range(rounds):
            h = h + self.sums(h, x, edge_index[0], edge_index[1])
        logits = self.ends(h, edge_index[0], edge_index[1])
        if edge_attr is not None:
            logits = logits + edge_attr.sum(dim=1, keepdim=True)
        return logits


class Noise(Net):
    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        h = self.encoder(x * self.scale)
        return self.ends(h + torch.randn_like(h), edge_index[0], edge_index[1])


class Overwrites(Net):
    def sums(self, h: Tensor, x: Tensor, source: Tensor, target: Tensor) -> Tensor:
        total = h.new_zeros((x.shape[0], 4))
        total[target] = h[source]
        return total


class OverwritesByScatter(Net):
    def sums(self, h: Tensor, x: Tensor, source: Tensor, target: Tensor) -> Tensor:
        return torch.zeros_like(h).scatter(0, target.unsqueeze(1).expand(-1, 4), h[source])


class OverwritesByCopy(Net):
    def sums(self, h: Tensor, x: Tensor, source: Tensor, target: Tensor) -> Tensor:
        return torch.zeros_like(h).index_copy(0, target, h[source])


class CountsByHand(Net):
    """`+=` at places that repeat reads each place once, before any of the additions."""

    def sums(self, h: Tensor, x: Tensor, source: Tensor, target: Tensor) -> Tensor:
        count = torch.zeros(x.shape[0], 1)
        count[target] += 1.0
        count = torch.where(count == 0, torch.ones_like(count), count)
        return torch.zeros_like(h).index_add(0, target, h[source]) / count


class Accumulates(Net):
    """A near miss: every way to add up."""

    def sums(self, h: Tensor, x: Tensor, source: Tensor, target: Tensor) -> Tensor:
        index = target.unsqueeze(1).expand(-1, 4)
        first = torch.zeros_like(h).index_put((target,), h[source], accumulate=True)
        second = torch.zeros_like(h).scatter_reduce(0, index, h[source], reduce="mean", include_self=False)
        return first + second


class WritesTheSame(Net):
    """A near miss: marks and copies that are the same for all edges of a node, and a permutation, which does not repeat."""

    def sums(self, h: Tensor, x: Tensor, source: Tensor, target: Tensor) -> Tensor:
        marks = torch.zeros_like(h)
        marks[target] = 1.0
        seen = torch.zeros_like(h).index_put((target,), h[target])
        other = torch.zeros_like(h).index_put((target,), marks[target] + 1.0)
        order = torch.argsort(target)
        back = torch.empty_like(order)
        back[order] = torch.ones_like(order).cumsum(0) - 1
        return marks + seen + other + back.sum()


SCRIPTED = "script"
CASES: list[tuple[type[Net], str, str, str]] = [
    (ZerosOnCpu, "trace", "TRKX041", "error"),
    (ZerosOnCpu, "frozen trace", "TRKX041", "error"),
    (InPlaceOnInput, SCRIPTED, "TRKX042", "error"),
    (InPlaceOnInput, "trace", "TRKX042", "error"),
    (InPlaceOnView, SCRIPTED, "TRKX042", "error"),
    (InPlaceOnView, "trace", "TRKX042", "error"),
    (InPlaceReluOnInput, SCRIPTED, "TRKX042", "error"),
    (InPlaceReluOnInput, "frozen script", "TRKX042", "error"),
    (InPlaceOnBuffer, "trace", "TRKX042", "error"),
    (InPlaceOnBuffer, SCRIPTED, "TRKX042", "error"),
    (AssignsAnIndex, SCRIPTED, "TRKX042", "error"),
    (AssignsAnIndex, "trace", "TRKX042", "error"),
    (Scores, "trace", "TRKX043", "error"),
    (Scores, "frozen script", "TRKX043", "error"),
    (InPlaceScores, SCRIPTED, "TRKX043", "error"),
    (ClampedScores, SCRIPTED, "TRKX043", "error"),
    (ClampedScores, "trace", "TRKX043", "error"),
    (ScoresByTanh, SCRIPTED, "TRKX043", "error"),
    (OppositeScores, "frozen script", "TRKX043", "error"),
    (ExpScores, SCRIPTED, "TRKX043", "error"),
    (Decisions, SCRIPTED, "TRKX043", "error"),
    (ReturnsInput, "trace", "TRKX044", "error"),
    (ReturnsBuffer, SCRIPTED, "TRKX044", "error"),
    (ReturnsBuffer, "frozen script", "TRKX044", "error"),
    (FrozenNodes, "trace", "TRKX045", "error"),
    (FrozenNodes, "frozen trace", "TRKX045", "error"),
    (FrozenEdges, "trace", "TRKX045", "error"),
    (FrozenExpand, "trace", "TRKX045", "error"),
    (HalfSums, SCRIPTED, "TRKX047", "error"),
    (HalfSums, "frozen trace", "TRKX047", "error"),
    (DoubleWeights, "trace", "TRKX049", "error"),
    (Prints, SCRIPTED, "TRKX048", "warning"),
    (TwoOutputs, "trace", "TRKX049", "error"),
    (SwappedInputs, SCRIPTED, "TRKX049", "error"),
    (NumberInput, SCRIPTED, "TRKX049", "error"),
    (Noise, "trace", "TRKX050", "warning"),
    (Overwrites, SCRIPTED, "TRKX051", "error"),
    (Overwrites, "trace", "TRKX051", "error"),
    (OverwritesByScatter, "frozen script", "TRKX051", "error"),
    (OverwritesByCopy, "trace", "TRKX051", "error"),
    (CountsByHand, SCRIPTED, "TRKX051", "error"),
    (CountsByHand, "frozen script", "TRKX051", "error"),
]


@pytest.mark.parametrize(("net", "how", "rule", "severity"), CASES, ids=[f"{c[0].__name__}, {c[1]}" for c in CASES])
def test_a_fault_is_found_by_its_rule_alone(tmp_path: Path, net: type[Net], how: str, rule: str, severity: str) -> None:
    remarks = alarms(opened(saved(net().eval(), tmp_path / "m.pt", how), "libtorch"))
    assert {item[:2] for item in remarks} == {(rule, severity)}, remarks


NEAR = [(net, how) for net in (InPlaceOnFresh, InnerSigmoid, ReturnsCopy, FreeSizes, HalfOutside, Accumulates, WritesTheSame,
                               BoundedLogits, StretchedScores)
        for how in ("trace", "script", "frozen trace", "frozen script")]
NEAR += [(Asserts, "script"), (OptionalFeatures, "script"), (OptionalFeatures, "frozen script"), (ZerosOnCpu, "script")]


@pytest.mark.parametrize(("net", "how"), NEAR, ids=[f"{net.__name__}, {how}" for net, how in NEAR])
def test_a_near_miss_passes(tmp_path: Path, net: type[Net], how: str) -> None:
    subject = opened(saved(net().eval(), tmp_path / "m.pt", how), "libtorch")
    assert alarms(subject) == []


# Code as torch writes it, where no version here writes such a file any more, or only a hostile one holds it.

FRESH = "h = torch.new_zeros(x, [torch.size(x, 0), 4])\n"
ROW = "dst = torch.select(edge_index, 0, 1)\n"
EVERY_END = """
return torch.unsqueeze(torch.index_select(torch.select(x, 1, 0), 0, torch.select(edge_index, 0, 0)), 1)
"""
CODES: list[tuple[str, str, str]] = [
    ("torch_scatter",
     "y = ops.torch_scatter.scatter_max(x, torch.select(edge_index, 0, 0), 0, None, None)" + EVERY_END, "TRKX040"),
    ("torchvision", "y = ops.torchvision.nms(x, x, 0.5)" + EVERY_END, "TRKX040"),
    ("a class of C++", "y = __torch__.torch.classes.mylib.Table(x, )" + EVERY_END, "TRKX040"),
    ("unreached", "if torch.eq(1, 2):\n  y = ops.torch_cluster.knn(x, x, 3)\nelse:\n  pass" + EVERY_END, "TRKX040"),
    ("cuda device", 'y = torch.to(x, torch.device("cuda:0"), 6, False, False)' + EVERY_END, "TRKX041"),
    ("cuda()", "y = torch.cuda(x)" + EVERY_END, "TRKX041"),
    ("out=", "y = torch.add(x, 1, alpha=1, out=x)" + EVERY_END, "TRKX042"),
    ("copy_ in a branch",
     "if bool(torch.max(x)):\n  y = torch.copy_(x, torch.relu(x))\nelse:\n  y = x" + EVERY_END, "TRKX042"),
    ("copy_ in a loop",
     "v = torch.clone(x)\nfor i in range(3):\n  w = torch.relu_(v)\n  v = torch.select(x, 1, 0)" + EVERY_END, "TRKX042"),
    ("an attribute", "self.training = True" + EVERY_END, "TRKX042"),
    ("sigmoid, two ways", """
if bool(torch.max(x)):
  y = torch.sigmoid(torch.select(x, 1, 0))
else:
  y = torch.sigmoid(torch.select(x, 1, 1))
return torch.unsqueeze(y, 1)""", "TRKX043"),
    ("an alias of an input, one way", """
if bool(torch.max(x)):
  y = x
else:
  y = torch.relu(x)
return y""", "TRKX044"),
    ("literal nodes",
     ROW + "y = torch.index_add(torch.zeros([314, 3]), 0, dst, torch.index_select(x, 0, dst))" + EVERY_END, "TRKX045"),
    ("literal view", ROW + "y = torch.view(dst, [2334, 1])" + EVERY_END, "TRKX045"),
    ("first hits only", "y = torch.slice(x, 0, 0, 314)" + EVERY_END, "TRKX045"),
    ("half counts", ROW + """
y = torch.to(torch.new_zeros(x, [torch.size(x, 0)]), 5)
z = torch.scatter_add_(y, 0, dst, torch.to(torch.ones_like(dst), 5))""" + EVERY_END, "TRKX047"),
    ("saves a file", 'torch.save(x, "/tmp/stolen")' + EVERY_END, "TRKX048"),
    ("aten::save", 'ops.aten.save(x, "/tmp/stolen")' + EVERY_END, "TRKX048"),
    ("reads a file", 'y = torch.from_file("/etc/passwd", None, 10)' + EVERY_END, "TRKX048"),
    ("remote call", 'y = ops.prim.rpc_sync("worker", "f", [x])' + EVERY_END, "TRKX048"),
    ("dropout for ever", "y = torch.dropout(x, 0.5, True)" + EVERY_END, "TRKX050"),
    ("batch statistics", "y = torch.batch_norm(x, None, None, None, None, True, 0.1, 1e-05, True)" + EVERY_END, "TRKX050"),
    ("index_put", ROW + FRESH + """
src = torch.select(edge_index, 0, 0)
y = torch.index_put_(h, annotate(List[Optional[Tensor]], [dst]), torch.relu(torch.index_select(x, 0, src)), False)"""
     + EVERY_END,
     "TRKX051"),
    ("lost in a branch", "while True:\n  pass\nelse:\n  y = 1\nassert x" + EVERY_END, "TRKX054"),
]
FINE: list[tuple[str, str]] = [
    ("own code of torch_scatter", "y = __torch__.torch_scatter.scatter.scatter_add(x, x, 0, None, None)" + EVERY_END),
    ("a scalar on the CPU", 'y = torch.add(x, torch.zeros([], dtype=6, layout=None, device=torch.device("cpu")))' + EVERY_END),
    ("device of an input", "y = torch.zeros([3], dtype=6, layout=None, device=ops.prim.device(x))" + EVERY_END),
    ("cast to another type", "y = torch.relu_(torch.to(x, 7))" + EVERY_END),
    ("requires_grad_", "y = torch.requires_grad_(x, False)" + EVERY_END),
    ("list of sizes", """
size = torch.list(torch.size(x))
_0 = torch._set_item(size, 0, 1)
y = torch.zeros(size)""" + EVERY_END),
    ("a loop", "v = torch.clone(x)\nfor i in range(3):\n  v = torch.relu_(v)" + EVERY_END),
    ("scores in one way only", """
y = torch.select(x, 1, 0)
if bool(torch.max(y)):
  y = torch.sigmoid(y)
else:
  y = torch.mul(y, 2)
return torch.unsqueeze(y, 1)"""),
    ("literal table", "y = torch.index_select(torch.zeros([314, 3]), 0, torch.select(edge_index, 0, 0))" + EVERY_END),
    ("view of -1", "y = torch.view(torch.select(edge_index, 0, 0), [-1, 1])" + EVERY_END),
    ("dropout of nothing", "y = torch.dropout(x, 0., True)" + EVERY_END),
    ("dropout in eval", "y = torch.relu(torch.dropout(x, 0.5, False))" + EVERY_END),
    ("scatter with add", ROW + """
y = torch.scatter(torch.zeros_like(x), 0, torch.expand_as(torch.unsqueeze(dst, 1), x), x, reduce="add")""" + EVERY_END),
    ("accumulate", ROW + FRESH + """
y = torch.index_put(h, annotate(List[Optional[Tensor]], [dst]), torch.index_select(x, 0, dst), accumulate=True)""" + EVERY_END),
    ("a mask", FRESH + "y = torch.index_put(h, annotate(List[Optional[Tensor]], [torch.gt(x, 0)]), torch.relu(x))" + EVERY_END),
    ("no number at all", "ops.prim.RaiseException(torch.format(\"{}\", x), \"builtins.ValueError\")" + EVERY_END),
]


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A saved net, whose `forward` tests replace."""
    torch.set_num_threads(1)
    return saved(Net().eval(), tmp_path_factory.mktemp("plain") / "m.pt", "trace").read_bytes()


@pytest.mark.parametrize(("body", "rule"), [case[1:] for case in CODES], ids=[case[0] for case in CODES])
def test_code_with_a_fault_is_found(plain: bytes, tmp_path: Path, body: str, rule: str) -> None:
    (tmp_path / "m.pt").write_bytes(plain)
    remarks = alarms(opened(with_code(tmp_path / "m.pt", body), "libtorch"))
    assert {item[0] for item in remarks} == {rule}, remarks


@pytest.mark.parametrize("body", [case[1] for case in FINE], ids=[case[0] for case in FINE])
def test_code_without_a_fault_passes(plain: bytes, tmp_path: Path, body: str) -> None:
    (tmp_path / "m.pt").write_bytes(plain)
    subject = opened(with_code(tmp_path / "m.pt", body), "libtorch")
    assert subject.archive is not None and subject.archive.flow.forward is not None
    assert subject.archive.flow.operations and alarms(subject) == []


# What the pickles, the archive and a compiled package say.

CPU, CUDA = b"X\x03\x00\x00\x00cpu", b"X\x06\x00\x00\x00cuda:0"


def on_a_gpu(member: str) -> Callable[[str, bytes], bytes]:
    """Return a change that makes the tensors of one pickle ones that were saved on a GPU."""
    return lambda name, data: data.replace(CPU, CUDA) if name == member else data


def test_parameters_that_were_saved_on_a_gpu_pass(plain: bytes, tmp_path: Path) -> None:
    (tmp_path / "m.pt").write_bytes(plain)
    subject = opened(edited(tmp_path / "m.pt", on_a_gpu("data.pkl")), "acts-torch")
    assert subject.archive is not None
    assert {tensor.storage.location for tensor in subject.archive.parameters()} == {"cuda:0"}
    assert alarms(subject) == []


def test_constants_that_do_not_follow_the_model(tmp_path: Path) -> None:
    path = saved(Net().eval(), tmp_path / "m.pt", "frozen script")
    assert {item[:2] for item in found(opened(path, "acts-torch"))} >= {("TRKX041", "warning")}
    assert alarms(opened(path, "libtorch")) == []
    remarks = alarms(opened(edited(path, on_a_gpu("constants.pkl")), "libtorch"))
    assert [item[:2] for item in remarks] == [("TRKX041", "warning")] and "cuda:0" in remarks[0][2]


def test_a_device_among_the_attributes_counts_where_it_is_used(plain: bytes, tmp_path: Path) -> None:
    device = b"X\x07\x00\x00\x00_devicectorch\ndevice\n" + CUDA + b"\x85R"
    for used in (True, False):
        (tmp_path / "m.pt").write_bytes(plain)
        body = f"y = torch.to(x, {'self._device' if used else '6'})" + EVERY_END
        path = with_code(tmp_path / "m.pt", body)

        def add(name: str, data: bytes) -> bytes:
            return data.replace(b"}(", b"}(" + device, 1) if name == "data.pkl" else data

        subject = opened(edited(path, add), "libtorch")
        assert {item[0] for item in alarms(subject)} == ({"TRKX041"} if used else set())


def test_a_pickle_that_would_run_code_is_found_and_not_run(plain: bytes, tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    hostile = b"cposix\nsystem\n(X" + len(text := f"touch {marker}".encode()).to_bytes(4, "little") + text + b"tR0"
    (tmp_path / "m.pt").write_bytes(plain)

    def change(name: str, data: bytes) -> bytes:
        return data[:2] + hostile + data[2:] if name == "data.pkl" else data

    path = edited(tmp_path / "m.pt", change, {"extra.pkl": b"\x80\x04\x8c\x08builtins\x8c\x04eval\x93."})
    remarks = alarms(opened(path))
    assert not marker.exists()
    assert {item[0] for item in remarks} == {"TRKX046"}
    assert sorted(item[2].split(",")[0] for item in remarks) == ["names builtins.eval", "names posix.system"]


def test_lint_does_not_even_import_torch(tmp_path: Path) -> None:
    path = saved(Net().eval(), tmp_path / "m.pt", "script")
    code = ("import sys; from trkx.export.lint.opening import opened; s = opened(sys.argv[1]); assert s.archive.flow.operations; "
            "sys.exit('torch' in sys.modules)")
    assert subprocess.run([sys.executable, "-c", code, str(path)], check=False, timeout=60).returncode == 0


def test_a_net_that_was_saved_in_training_mode(tmp_path: Path) -> None:
    remarks = alarms(opened(saved(Net().train(), tmp_path / "a.pt", "script")))
    assert {item[:2] for item in remarks} == {("TRKX050", "warning")}
    remarks = alarms(opened(saved(Net().train(), tmp_path / "b.pt", "trace")))
    assert {item[:2] for item in remarks} == {("TRKX050", "error")}


def test_debug_records_are_a_note(tmp_path: Path) -> None:
    remarks = found(opened(saved(Net().eval(), tmp_path / "m.pt", "script")))
    assert [item[:2] for item in remarks] == [("TRKX052", "note")] and "test_lint_torchscript.py" in remarks[0][2]


@pytest.mark.parametrize(("stage", "inputs", "right"), [
    ("embedding", "x: Tensor", True), ("embedding", "x: Tensor,\n    edge_index: Tensor", False),
    ("gnn", "x: Tensor", False), ("filter", "nodes: Tensor,\n    edges: Tensor", True), ("", "points: Tensor", True),
    ("", "a: Tensor,\n    b: Tensor,\n    c: Tensor,\n    d: Tensor", False), ("", "x: List[Tensor]", False), ("", "", False),
])
def test_inputs_are_those_of_the_stage(plain: bytes, tmp_path: Path, stage: str, inputs: str, right: bool) -> None:
    (tmp_path / "m.pt").write_bytes(plain)
    subject = opened(with_code(tmp_path / "m.pt", "y = torch.ones([1, 1])\nreturn y", inputs), "libtorch", stage=stage)
    assert {item[0] for item in alarms(subject)} == (set() if right else {"TRKX049"})


def test_an_embedding_may_end_in_a_sigmoid(plain: bytes, tmp_path: Path) -> None:
    (tmp_path / "m.pt").write_bytes(plain)
    path = with_code(tmp_path / "m.pt", "return torch.sigmoid(x)", "x: Tensor")
    assert alarms(opened(path, "libtorch", stage="embedding")) == alarms(opened(path, "libtorch")) == []
    assert {item[0] for item in alarms(opened(path, "libtorch", stage="filter"))} == {"TRKX043", "TRKX049"}


def test_a_file_without_forward(plain: bytes, tmp_path: Path) -> None:
    (tmp_path / "m.pt").write_bytes(plain)
    path = edited(tmp_path / "m.pt", lambda name, data: data.replace(b"def forward(", b"def backward("))
    assert [item[0] for item in alarms(opened(path))] == ["TRKX049"]


@pytest.mark.parametrize("text", ["def f(:\n", "x = " + "(" * 5000, "x = " + "-" * 100_000 + "1", "x = a" + "+a" * 50_000, "\0",
                                  "if x:\n" + "".join(" " * n + "if x:\n" for n in range(1, 150))])
def test_code_that_is_no_code_is_said(plain: bytes, tmp_path: Path, text: str) -> None:
    (tmp_path / "m.pt").write_bytes(plain)
    path = edited(tmp_path / "m.pt", lambda name, data: data, {"code/__torch__/more.py": text.encode()})
    assert [item[:2] for item in alarms(opened(path))] == [("TRKX054", "error")]


@pytest.mark.parametrize("body", [
    "y = " + "torch.relu(" * 190 + "x" + ")" * 190 + EVERY_END,
    "self.forward(x, edge_index, )" + EVERY_END,
    "\n".join(f"a{n + 1} = [a{n}, a{n}]" if n else "a1 = [x, x]" for n in range(300))
    + "\nfor i in range(3):\n  a0 = a300\n  a300 = a299" + EVERY_END,
    "\n".join("for i in range(5):\n" + "".join("  " * n + "for j in range(5):\n" for n in range(1, 45)) + "  " * 45 + "y = x"
              for _ in range(3)) + EVERY_END,
])
def test_code_that_is_made_to_exhaust_is_bounded(plain: bytes, tmp_path: Path, body: str) -> None:
    (tmp_path / "m.pt").write_bytes(plain)
    start = time.monotonic()
    subject = opened(with_code(tmp_path / "m.pt", body), "libtorch")
    assert {item[0] for item in alarms(subject)} <= {"TRKX054"}
    assert time.monotonic() - start < 10


def test_damaged_code_and_pickles_never_stop_a_rule(plain: bytes, tmp_path: Path, rng: np.random.Generator) -> None:
    """Bytes changed inside of members whose checksums are right: each rule answers, or the file is refused."""
    (tmp_path / "good.pt").write_bytes(plain)
    good = (tmp_path / "good.pt").read_bytes()
    outcomes = {"read": 0, "refused": 0}

    def change(name: str, data: bytes) -> bytes:
        if not name.endswith((".py", ".pkl")) or rng.random() < 0.7:
            return data
        letters = np.frombuffer(data, np.uint8).copy()
        letters[rng.integers(0, len(letters), 3)] = rng.choice(np.frombuffer(b"abx01()[],. \n:=_", np.uint8), 3)
        return letters.tobytes()

    for _ in range(150):
        (tmp_path / "m.pt").write_bytes(good)
        try:
            found(opened(edited(tmp_path / "m.pt", change)))
            outcomes["read"] += 1
        except ExportError:
            outcomes["refused"] += 1
    assert min(outcomes.values()) > 10


METADATA = {"AOTI_DEVICE_KEY": "cpu", "AOTI_PLATFORM": platform.system().lower(), "AOTI_MACHINE": platform.machine(),
            "AOTI_CPU_ISA": "", "AOTI_COMPUTE_CAPABILITY": ""}
ELF = b"\x7fELF\x02\x01\x01" + bytes(11) + {"x86_64": 0x3E, "aarch64": 0xB7}.get(platform.machine(), 0).to_bytes(2, "little")


def package(path: Path, library: bytes | None = ELF, metadata: str | None = json.dumps(METADATA)) -> Path:
    """Write a .pt2 package as AOTInductor lays it out; the library is a head only."""
    with zipfile.ZipFile(path, "w") as new:
        new.writestr("m/archive_format", "pt2")
        new.writestr("m/data/aotinductor/model/a.wrapper.cpp", "// code")
        if library is not None:
            new.writestr("m/data/aotinductor/model/a.wrapper.so", library + bytes(100))
        if metadata is not None:
            new.writestr("m/data/aotinductor/model/a.wrapper_metadata.json", metadata)
    return path


def of_package(path: Path) -> list[tuple[str | None, str]]:
    subject = opened(path)
    assert (subject.kind, subject.target.name) == ("aoti", "aoti")
    return [(remark.severity, remark.message) for remark in package_platform.RULE.check(subject)]


@pytest.mark.skipif(platform.machine() not in ("x86_64", "aarch64"), reason="not checked: no ELF head for this machine")
def test_a_package_for_this_machine_passes(tmp_path: Path) -> None:
    assert of_package(package(tmp_path / "m.pt2")) == []


@pytest.mark.parametrize(("library", "changes", "severity", "word"), [
    (None, {}, "error", "no shared library"),
    (b"MZ", {}, None, "no ELF"),
    (ELF[:18] + b"\x16\x00", {}, None, "machine number 22"),
    (ELF, {"AOTI_DEVICE_KEY": "cuda"}, "error", "device 'cuda'"),
    (ELF, {"AOTI_PLATFORM": "windows"}, None, "windows"),
    (ELF, {"AOTI_DEVICE_KEY": 3}, None, "can't be read"),
    (ELF, {"AOTI_CPU_ISA": "AVX9000"}, None, "avx9000"),
])
def test_a_package_for_another_machine(tmp_path: Path, library: bytes | None, changes: dict[str, object], severity: str | None,
                                       word: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(package_platform, "_processor_flags", lambda: frozenset(("avx2", "avx512f")))
    remarks = of_package(package(tmp_path / "m.pt2", library, json.dumps({**METADATA, **changes})))
    assert [(item[0], word in item[1]) for item in remarks] == [(severity, True)], remarks


def test_a_package_without_a_record(tmp_path: Path) -> None:
    assert len(of_package(package(tmp_path / "m.pt2", metadata=None))) == 1
    assert len(of_package(package(tmp_path / "n.pt2", metadata="{"))) == 1


def test_rules_are_whole() -> None:
    for rule in (*RULES.values(), package_platform.RULE):
        assert rule.link.startswith("https://") and all((rule.title, rule.reason, rule.affected, rule.fix))
    assert list(RULES) == sorted(RULES)
