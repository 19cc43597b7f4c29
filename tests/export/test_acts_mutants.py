"""What the emulated plugin must catch: each mutant is a right ACTS file or configuration with one fault, in a whole bundle."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from support.acts_bundles import acts_bundle_into, changed, few_cases
from support.tiny import tiny_spec
from torch import Tensor, nn

from trkx.bundle import Bundle, write_manifest
from trkx.export.acts import rows as acts_rows_module
from trkx.export.acts.form import ActsForm, acts_network
from trkx.export.precision.files import write_half
from trkx.export.torchscript_file import torchscript_is_meant
from trkx.export.validation import validate
from trkx.export.validation.report import Row
from trkx.export.zoo import helix_event
from trkx.runtime.engines.eager import load_networks
from trkx.runtime.events import write_event_parquet
from trkx.spec import GraphSpec

HITS = 210
Change = Callable[..., Any] | None
Edit = Callable[[onnx.GraphProto], None]


@dataclass(frozen=True)
class Made:
    """A bundle for ACTS, an event, and its networks in the form of ACTS."""

    bundle: Path
    events: Path
    folder: Path
    forms: Mapping[str, nn.Module]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = tmp_path_factory.mktemp("acts")
    spec = tiny_spec(graph=GraphSpec(radius=0.03))
    event = helix_event(spec, tracks=20)
    assert len(event) == HITS
    bundle = acts_bundle_into(folder, spec, event, ("acts-torch", "acts-onnx"))
    write_event_parquet(folder / "events", replace(event, cells={}))
    opened = Bundle.open(bundle)
    networks = load_networks(opened)
    forms = {stage: acts_network(network, opened.spec, stage) for stage, network in networks.items()}
    return Made(bundle, folder / "events", folder, forms)


@pytest.fixture(scope="module", autouse=True)
def _quick() -> Iterator[None]:
    """Leave out what every file goes through, which is tested elsewhere; ask the networks only once: they are never changed."""
    torch.set_num_threads(1)
    kept: dict[tuple[str, bool], Any] = {}
    make = validate.oracle_for

    def oracle(file: Any, reference: bytes | None = None) -> Any:
        key = (file.stage, acts_rows_module.is_acts(file))
        return kept.setdefault(key, make(file))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(validate, "cases", few_cases)
        patch.setattr(validate, "file_rows", lambda *arguments: [])
        patch.setattr(validate, "lint_rows", lambda *arguments: [])
        patch.setattr(validate, "decision_rows", lambda *arguments: ([], []))
        patch.setattr(acts_rows_module, "decision_rows", lambda *arguments: ([], []))
        patch.setattr(validate, "oracle_for", oracle)
        patch.setattr(acts_rows_module, "oracle_for", oracle)
        yield


def failures(made: Made, bundle: Path) -> list[Row]:
    rows = [row for row in validate.validate_bundle(bundle, [made.events], "export").rows if row.group == "acts"]
    assert len(rows) > 60
    return [row for row in rows if row.status == "failed"]


def test_the_right_bundle_passes(made: Made) -> None:
    assert failures(made, made.bundle) == []


class Wrapped(nn.Module):
    """A network with one thing done to what it is given or gives."""

    def __init__(self, network: nn.Module, before: Change = None, after: Change = None) -> None:
        super().__init__()
        self.network, self.before, self.after = network, before, after

    def forward(self, x: Tensor, edge_index: Tensor | None = None) -> Tensor:
        given = x if self.before is None else self.before(x)
        output: Tensor = self.network(given) if edge_index is None else self.network(given, edge_index)
        return output if self.after is None else self.after(output, x)


class Keeps(nn.Module):
    """Writes what a network gives into memory of its own, and returns a piece of that."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("kept", torch.zeros(20_000, 1))

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        logits = self.network(x, edge_index)
        piece = self.kept[: logits.shape[0]]
        piece.copy_(logits)
        return piece


class Scratch(nn.Module):
    """Copies x into memory of its own and reads it there: two threads mix their hits."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("kept", torch.zeros(5000, 3))

    def forward(self, x: Tensor) -> Tensor:
        piece = self.kept[: x.shape[0]]
        piece.copy_(x)
        output: Tensor = self.network(piece)
        return output


class Attribute(nn.Module):
    """Adds a tensor that is neither parameter nor buffer: `to` leaves it where it is."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.zero = torch.zeros(1)

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        logits: Tensor = self.network(x, edge_index)
        return logits + self.zero


class OnDefaultDevice(nn.Module):
    """Numbers edges on the default device, for an index that CUDA would take or not."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        logits: Tensor = self.network(x, edge_index)
        return logits[torch.arange(logits.shape[0])]


class Large(nn.Module):
    """Turns the sign of every logit beyond 25 000."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        logits: Tensor = self.network(x, edge_index)
        return torch.cat([logits[:25_000], -logits[25_000:]])


class PutsBack(nn.Module):
    """Writes into x and puts it back."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        x.neg_()
        x.neg_()
        logits: Tensor = self.network(x, edge_index)
        return logits


def inputs(stage: str, kind: torch.dtype = torch.float32) -> tuple[Tensor, ...]:
    x = torch.rand(HITS, 3, generator=torch.Generator().manual_seed(0)).to(kind)
    return (x,) if stage == "embedding" else (x, torch.tensor([[0, 1, 2, 4], [3, 2, 9, 7]]))


def saved(module: Any) -> bytes:
    buffer = io.BytesIO()
    with torchscript_is_meant():
        torch.jit.save(module, buffer)
    return buffer.getvalue()


def traced(stage: str, network: nn.Module, kind: torch.dtype = torch.float32) -> Any:
    with torchscript_is_meant(), torch.no_grad():
        return torch.jit.trace(network.eval(), inputs(stage, kind), check_trace=False)


def script(stage: str, before: Change = None, after: Change = None) -> Callable[[Made], bytes]:
    return lambda made: saved(traced(stage, Wrapped(made.forms[stage], before, after)))


def keeps(made: Made) -> bytes:
    return scripted("filter", Keeps)(made)


def scripted(stage: str, wrapper: Callable[[nn.Module], nn.Module]) -> Callable[[Made], bytes]:
    def mutant(made: Made) -> bytes:
        with torchscript_is_meant():
            return saved(torch.jit.script(wrapper(traced(stage, made.forms[stage])).eval()))

    return mutant


def not_turned(made: Made) -> bytes:
    form = made.forms["gnn"]
    assert isinstance(form, ActsForm) and form.outwards is not None
    return saved(traced("gnn", form.network))


def half_doors(made: Made) -> bytes:
    import copy

    return saved(traced("filter", copy.deepcopy(made.forms["filter"]).half(), torch.half))


def writes(output: Tensor, x: Tensor) -> Tensor:
    x.neg_()
    return output


def graph(path: str, change: Edit) -> Callable[[Made], bytes]:
    def mutant(made: Made) -> bytes:
        model = onnx.load(made.bundle / path)
        change(model.graph)
        return model.SerializeToString()

    return mutant


def last(kind: str, door: int = TensorProto.FLOAT, shape: tuple[str | int, ...] | None = None, **attributes: Any) -> Edit:
    def change(graph: onnx.GraphProto) -> None:
        node = next(node for node in graph.node if "output" in node.output)
        node.output[list(node.output).index("output")] = "before"
        graph.node.append(helper.make_node(kind, ["before", *(["sizes"] if kind == "Reshape" else [])], ["output"], **attributes))
        if kind == "Reshape":
            graph.initializer.append(numpy_helper.from_array(np.array([-1]), "sizes"))
        if door != TensorProto.FLOAT or shape:
            graph.output[0].CopyFrom(helper.make_tensor_value_info("output", door, shape or ("num_edges", 1)))

    return change


def turn_inwards(graph: onnx.GraphProto) -> None:
    nodes = [node for node in graph.node if node.op_type in ("Less", "Greater")]
    assert nodes
    for node in nodes:
        node.op_type = {"Less": "Greater", "Greater": "Less"}[node.op_type]


def half_input(graph: onnx.GraphProto) -> None:
    for node in graph.node:
        node.input[:] = ["wide" if name == "x" else name for name in node.input]
    graph.node.insert(0, helper.make_node("Cast", ["x"], ["wide"], to=TensorProto.FLOAT))
    graph.input[0].CopyFrom(helper.make_tensor_value_info("x", TensorProto.FLOAT16, ("num_hits", 3)))


def fixed_hits(graph: onnx.GraphProto) -> None:
    graph.input[0].type.tensor_type.shape.dim[0].dim_value = HITS


def other_name(graph: onnx.GraphProto) -> None:
    for node in graph.node:
        node.input[:] = ["nodes" if name == "x" else name for name in node.input]
    graph.input[0].name = "nodes"


FILES: Mapping[str, Mapping[str, tuple[str, Callable[[Made], bytes], str]]] = {
    "one": {
        "embedding that is not contiguous": (
            "embedding.pt", script("embedding", after=lambda y, x: y.t().contiguous().t()), "hits as ACTS feeds them"),
        "x written to": ("filter.pt", script("filter", after=writes), "inputs unchanged"),
        "sigmoid in TorchScript": ("gnn.pt", script("gnn", after=lambda y, x: torch.sigmoid(y)), "graphs as ACTS feeds them"),
        "rank 1": ("filter.onnx", graph("acts/filter.onnx", last("Reshape", shape=("num_edges",))), "no edge"),
        "sigmoid in ONNX": ("gnn.onnx", graph("acts/gnn.onnx", last("Sigmoid")), "graphs as ACTS feeds them"),
    },
    "two": {
        "double embedding": ("embedding.pt", script("embedding", after=lambda y, x: y.double()), "hits as ACTS feeds them"),
        "a buffer that is kept": ("filter.pt", keeps, "output of its own"),
        "edges not turned": ("gnn.pt", not_turned, "edges as they were trained"),
        "half doors in ONNX": ("filter.onnx", graph("acts/filter.onnx", half_input), "types, rank, names"),
        "edges turned inwards": ("gnn.onnx", graph("acts/gnn.onnx", turn_inwards), "edges as they were trained"),
    },
    "three": {
        "embedding of one size": (
            "embedding.pt", script("embedding", before=lambda x: x.narrow(0, 0, HITS)), "hits as ACTS feeds them"),
        "half doors": ("filter.pt", half_doors, "graphs as ACTS feeds them"),
        "a device": ("gnn.pt", script("gnn", after=lambda y, x: y + torch.zeros(1, device="cpu")), "any device"),
        "double output in ONNX": (
            "filter.onnx", graph("acts/filter.onnx", last("Cast", TensorProto.DOUBLE, to=TensorProto.DOUBLE)),
            "graphs as ACTS feeds them"),
        "hits of one number in ONNX": ("gnn.onnx", graph("acts/gnn.onnx", fixed_hits), "graphs as ACTS feeds them"),
    },
    "four": {
        "an input returned": ("embedding.pt", script("embedding", after=lambda y, x: x), "output of its own"),
        "squeezed": ("filter.pt", script("filter", after=lambda y, x: y.squeeze()), "types, shape, memory"),
        "hits of one number": ("gnn.pt", script("gnn", before=lambda x: x.narrow(0, 0, HITS)), "graphs as ACTS feeds them"),
        "another name": ("filter.onnx", graph("acts/filter.onnx", other_name), "types, rank, names"),
        "a sign": ("gnn.onnx", graph("acts/gnn.onnx", last("Neg")), "sigmoid after, strict cut"),
    },
}
"""Bundle to the mutants in it: what is wrong, the file, how it is made, and the check that must notice."""
NAMES = [(group, name) for group, mutants in FILES.items() for name in mutants]


@pytest.fixture(scope="module")
def caught(made: Made) -> Callable[[str], list[Row]]:
    found: dict[str, list[Row]] = {}

    def failed(group: str) -> list[Row]:
        if group not in found:
            files = {f"acts/{file}": make(made) for file, make, _ in FILES[group].values()}
            found[group] = failures(made, changed(made.bundle, made.folder / group, files))
        return found[group]

    return failed


@pytest.mark.parametrize(("group", "name"), NAMES, ids=[name for _, name in NAMES])
def test_a_wrong_file_is_caught(group: str, name: str, caught: Callable[[str], list[Row]]) -> None:
    file, _, case = FILES[group][name]
    failed = [row.case for row in caught(group) if row.file == f"acts/{file}"]
    assert case in failed
    assert any(row.file == "" for row in caught(group))  # and so does the whole chain


QUIET: Mapping[str, Mapping[str, tuple[str, Callable[[Made], bytes], str]]] = {
    "five": {
        "hits in memory of its own": ("embedding.pt", scripted("embedding", Scratch), "inputs unchanged"),
        "many edges": ("filter.pt", scripted("filter", Large), "many edges"),
        "a tensor that is no buffer": ("gnn.pt", scripted("gnn", Attribute), "any device"),
    },
    "six": {
        "x written to and put back": ("filter.pt", scripted("filter", PutsBack), "inputs unchanged"),
        "a tensor on the default device": ("gnn.pt", scripted("gnn", OnDefaultDevice), "any device"),
    },
}
"""Mutants that give right tracks here: one event on a CPU, one thread, few edges."""


@pytest.mark.parametrize("group", QUIET)
def test_a_file_that_is_wrong_elsewhere_is_caught(group: str, made: Made) -> None:
    bundle = changed(made.bundle, made.folder / group, {f"acts/{file}": make(made) for file, make, _ in QUIET[group].values()})
    failed = {(row.file, row.case) for row in failures(made, bundle) if row.case != "threads at once"}  # by chance
    assert failed == {(f"acts/{file}", case) for file, _, case in QUIET[group].values()}


Config = dict[str, Any]


def of(config: Config, model: str) -> Config:
    return next(entry for entry in config["classifiers"] if entry["model"] == model)


def options(config: Config) -> None:
    of(config, "filter.pt")["selectedFeatures"] = [2, 0, 1]
    of(config, "gnn.pt")["undirected"] = True
    of(config, "filter.onnx")["selectedFeatures"] = [0, 1]
    of(config, "gnn.onnx")["cut"] += 0.01


def chunks(config: Config) -> None:
    of(config, "gnn.pt")["nChunks"] = 2
    of(config, "filter.onnx")["model"] = "filter.ort"


def scales(config: Config) -> None:
    r, phi, z = config["feature_scales"]
    config["feature_scales"] = [phi, r, z]


def features(config: Config) -> None:
    config["features"] = ["R", "Z", "Phi"]


def radius(config: Config) -> None:
    config["graph"]["rVal"] *= 1.05


def algorithm(config: Config) -> None:
    config["algorithm"]["shrinkNodes"] = True
    config["graph"]["knnVal"] = 1
    of(config, "filter.onnx")["featureScales"] = [1000.0, 3.0, 1000.0]
    of(config, "filter.pt")["nChunks"] = 0


def shuffled(config: Config) -> None:
    config["graph"]["shuffleDirections"] = True
    config["track_building"]["minCandidateSize"] = 5


CONFIGS: Mapping[Callable[[Config], None], tuple[tuple[str, str], ...]] = {
    options: (
        ("filter.pt", "graphs as ACTS feeds them"), ("filter.pt", "selected features"), ("gnn.pt", "graphs as ACTS feeds them"),
        ("filter.onnx", "graphs as ACTS feeds them"), ("gnn.onnx", "sigmoid after, strict cut"),
        ("acts.json", "TorchEdgeClassifier filter.pt"), ("acts.json", "TorchEdgeClassifier gnn.pt"),
        ("acts.json", "OnnxEdgeClassifier filter.onnx"), ("acts.json", "OnnxEdgeClassifier gnn.onnx"),
        ("", "hits to candidates, torch"), ("", "hits to candidates, onnx"),
    ),
    chunks: (
        ("gnn.pt", "chunks of edges"), ("gnn.pt", "graphs as ACTS feeds them"),
        ("acts.json", "TorchEdgeClassifier gnn.pt"), ("filter.onnx", "configured"), ("", "hits to candidates, torch"),
        ("", "hits to candidates, onnx"),
    ),
    scales: (("acts.json", "features and scales"), ("", "hits to candidates, torch"), ("", "hits to candidates, onnx")),
    features: (("acts.json", "features and scales"), ("", "hits to candidates, torch"), ("", "hits to candidates, onnx")),
    radius: (("acts.json", "edge building"), ("", "hits to candidates, torch, shrinkNodes")),
    algorithm: (
        ("acts.json", "every option"), ("filter.onnx", "graphs as ACTS feeds them"), ("", "hits to candidates, onnx"),
    ),
    shuffled: (
        ("acts.json", "every option"), ("acts.json", "edge building"), ("acts.json", "track building"),
        ("", "hits to candidates, torch"),
    ),
}
"""What is done to acts.json, and the checks that must notice, (file, case) each."""


@pytest.mark.parametrize("change", CONFIGS, ids=lambda change: change.__name__)
def test_a_wrong_configuration_is_caught(change: Callable[[Config], None], made: Made) -> None:
    bundle = changed(made.bundle, made.folder / f"config-{change.__name__}", {}, change)
    failed = {(row.file.removeprefix("acts/"), row.case) for row in failures(made, bundle)}
    assert set(CONFIGS[change]) <= failed


def test_code_that_says_something_else_is_caught(made: Made) -> None:
    text = (made.bundle / "acts" / "acts_pipeline.hpp").read_bytes()
    other = text.replace(b"0.03", b"0.3")
    assert other != text
    bundle = changed(made.bundle, made.folder / "no-config", {"acts/acts.json": b"{}"})
    assert [(row.file, row.case) for row in failures(made, bundle)] == [("acts/acts.json", "read")]
    bundle = changed(made.bundle, made.folder / "code", {"acts/acts_pipeline.hpp": other})
    told = acts_rows_module.texts_of(Bundle.open(bundle)).rows
    assert [row.file for row in told if row.status == "failed"] == ["acts/acts_pipeline.hpp"]


def test_files_that_are_half_inside_keep_the_doors(made: Made) -> None:
    target = changed(made.bundle, made.folder / "half", {})
    manifest = Bundle.open(target).manifest
    halves = write_half(target, manifest.spec, [entry for entry in manifest.files if entry.format == "onnx"], ("fp16",))
    write_manifest(target, replace(manifest, files=(*manifest.files, *halves)))
    report = validate.validate_bundle(target, [made.events], "export")
    assert [row for row in report.rows if row.status == "failed"] == []
    named = {(row.file, row.case) for row in report.rows if row.group == "acts" and row.status == "passed"}
    assert {("acts/gnn.fp16.onnx", "types, rank, names"), ("acts/gnn.fp16.onnx", "threads at once")} <= named
    assert any(row.group == "decisions" and row.file == "acts/filter.fp16.onnx" for row in report.rows)
