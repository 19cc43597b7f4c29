"""What the export check must catch: each mutant is a right file with one fault, and every one must be refused."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable

import numpy as np
import onnx
import pytest
import torch
from onnx import helper, numpy_helper
from safetensors.torch import load, save
from support.tiny import TinyExport, tiny_pipeline

from trkx.bundle import STAGES, Bundle
from trkx.export.build import embedder
from trkx.export.check import Expectation, check_file, expectations
from trkx.export.door import check_features, check_weights
from trkx.export.metadata import onnx_metadata
from trkx.export.onnx_file import problems_at_the_doors
from trkx.export.pipeline_folder import load_network, open_source
from trkx.export.torchscript_file import torchscript_bytes
from trkx.export.zoo import cases
from trkx.models.segment import segment_sum

Graph = onnx.GraphProto
Expected = dict[str, list[Expectation]]


@pytest.fixture(scope="module")
def expected(tiny_export: TinyExport) -> Expected:
    networks = {stage: load_network(tiny_export.source, stage) for stage in STAGES}
    zoo = cases(tiny_export.source.spec, tiny_export.event, embedder(networks["embedding"]))
    return {stage: expectations(stage, networks[stage], zoo) for stage in STAGES}


@pytest.fixture(scope="module")
def files(tiny_export: TinyExport) -> dict[str, bytes]:
    bundle = Bundle.open(tiny_export.folder)
    return {entry.path: bundle.read(entry.stage, entry.format, target=entry.target) for entry in bundle.manifest.files}


def failed(stage: str, data: bytes, format: str, expected: Expected) -> list[str]:
    return [row.graph for row in check_file(f"{stage}.{format}", stage, data, format, expected[stage]) if not row.passed]


def mutated(data: bytes, change: Callable[[Graph], None]) -> bytes:
    model = onnx.load_model_from_string(data)
    change(model.graph)
    return model.SerializeToString()


def test_the_right_files_pass(files: dict[str, bytes], expected: Expected) -> None:
    for stage in STAGES:
        assert failed(stage, files[f"{stage}.onnx"], "onnx", expected) == []
        assert failed(stage, files[f"ort-cuda/{stage}.onnx"], "onnx", expected) == []
        assert failed(stage, files[f"{stage}.pt"], "torchscript", expected) == []


def drop_reductions(graph: Graph) -> None:
    scatters = [node for node in graph.node if node.op_type == "ScatterElements"]
    assert len(scatters) == 4  # two iterations, both ends
    for node in scatters:
        kept = [item for item in node.attribute if item.name != "reduction"]
        del node.attribute[:]
        node.attribute.extend(kept)


def largest_instead_of_sum(graph: Graph) -> None:
    for node in graph.node:
        for item in node.attribute:
            if item.name == "reduction":
                item.s = b"max"


def swap_ends(graph: Graph) -> None:
    for node in graph.node:
        for place, name in enumerate(node.input):
            if name == "edge_index":
                node.input[place] = "swapped"
    graph.initializer.append(numpy_helper.from_array(np.array([1, 0]), "order"))
    graph.node.insert(0, helper.make_node("Gather", ["edge_index", "order"], ["swapped"], axis=0))


def flip_sign(graph: Graph) -> None:
    producer = next(node for node in graph.node if "output" in node.output)
    producer.output[list(producer.output).index("output")] = "positive"
    graph.node.append(helper.make_node("Neg", ["positive"], ["output"]))


def add_sigmoid(graph: Graph) -> None:
    flip_sign(graph)
    graph.node[-1].op_type = "Sigmoid"


def swap_weights(graph: Graph) -> None:
    weights = [item for item in graph.initializer if len(item.dims) == 2 and min(item.dims) > 1]
    pair = next(
        (a, b) for a, b in itertools.combinations(weights, 2)
        if a.dims == b.dims and not np.allclose(numpy_helper.to_array(a), numpy_helper.to_array(b))
    )
    pair[0].name, pair[1].name = pair[1].name, pair[0].name


def reverse_edges_of_output(graph: Graph) -> None:
    flip_sign(graph)
    del graph.node[-1]
    for name, value in (("from", [-1]), ("to", [-(2**62)]), ("axis", [0]), ("step", [-1])):
        graph.initializer.append(numpy_helper.from_array(np.array(value), f"slice_{name}"))
    inputs = ["positive", "slice_from", "slice_to", "slice_axis", "slice_step"]
    graph.node.append(helper.make_node("Slice", inputs, ["output"]))


def nudge_one_weight(graph: Graph) -> None:
    weight = next(item for item in graph.initializer if len(item.dims) == 2 and min(item.dims) > 1)
    values = numpy_helper.to_array(weight).copy()
    values[0, 0] += 0.01
    weight.CopyFrom(numpy_helper.from_array(values, weight.name))


def make_nan(graph: Graph) -> None:
    flip_sign(graph)
    graph.node[-1].op_type = "Sqrt"


MUTANTS = [
    ("gnn", swap_ends),
    ("filter", swap_ends),
    *itertools.product(STAGES, (flip_sign, add_sigmoid, nudge_one_weight, make_nan, reverse_edges_of_output)),
    *((stage, swap_weights) for stage in STAGES[1:]),
]


@pytest.mark.parametrize(("stage", "mutant"), MUTANTS, ids=[f"{s}-{m.__name__}" for s, m in MUTANTS])
def test_onnx_mutant_is_caught(stage: str, mutant: Callable[[Graph], None], files: dict[str, bytes], expected: Expected) -> None:
    graphs = failed(stage, mutated(files[f"{stage}.onnx"], mutant), "onnx", expected)
    assert "event" in graphs
    if stage == "gnn":
        assert {"star", "duplicate edges"} <= set(graphs)


def test_a_dropped_reduction_is_caught(files: dict[str, bytes], expected: Expected) -> None:
    graphs = failed("gnn", mutated(files["ort-cuda/gnn.onnx"], drop_reductions), "onnx", expected)
    assert {"event", "star", "duplicate edges"} <= set(graphs)


def mean_of_two(graph: Graph) -> None:
    """The sums of the nodes of degree 2 become means."""
    next(node for node in graph.node if node.op_type == "ReduceSum").op_type = "ReduceMean"


def degrees_without_reduction(graph: Graph) -> None:
    scatter = next(node for node in graph.node if node.op_type == "ScatterElements")
    del scatter.attribute[:]


def edges_not_ordered(graph: Graph) -> None:
    """The last TopK of each end, over the edges, orders them the other way round."""
    orders = [node for node in graph.node if node.op_type == "TopK"]
    for node in (orders[2], orders[5]):
        for item in node.attribute:
            item.i = 1 if item.name == "largest" else item.i


def nodes_not_ordered(graph: Graph) -> None:
    orders = [node for node in graph.node if node.op_type == "TopK"]
    for item in orders[1].attribute:
        item.i = 1 if item.name == "largest" else item.i


def hubs_without_reduction(graph: Graph) -> None:
    for node in [node for node in graph.node if node.op_type == "ScatterElements"][-2:]:
        del node.attribute[:]


BUCKETS = [
    (mean_of_two, "event"),
    (degrees_without_reduction, "event"),
    (edges_not_ordered, "event"),
    (nodes_not_ordered, "event"),
    (hubs_without_reduction, "star"),
]


@pytest.mark.parametrize(("mutant", "graph"), BUCKETS, ids=[m.__name__ for m, _ in BUCKETS])
def test_mutant_of_the_buckets_is_caught(
    mutant: Callable[[Graph], None], graph: str, files: dict[str, bytes], expected: Expected
) -> None:
    assert graph in failed("gnn", mutated(files["gnn.onnx"], mutant), "onnx", expected)


def test_a_dropped_reduction_hides_where_no_index_repeats(files: dict[str, bytes], expected: Expected) -> None:
    # the negative control: on a path nothing is summed at either end, which is why a path alone is no check
    graphs = failed("gnn", mutated(files["ort-cuda/gnn.onnx"], drop_reductions), "onnx", expected)
    assert not {"path", "one edge", "zero edges"} & set(graphs)


def test_every_addition_of_two_computed_values_matters(files: dict[str, bytes], expected: Expected) -> None:
    # among them the residuals of nodes and edges in every iteration
    model = onnx.load_model_from_string(files["ort-cuda/gnn.onnx"])
    constant = {item.name for item in model.graph.initializer}
    constant |= {node.output[0] for node in model.graph.node if node.op_type == "Constant"}
    sums = [k for k, node in enumerate(model.graph.node) if node.op_type == "Add" and not constant & set(node.input)]
    assert len(sums) >= 4
    survivors = []
    for place, kept in itertools.product(sums, (0, 1)):
        changed = onnx.load_model_from_string(files["ort-cuda/gnn.onnx"])
        node = changed.graph.node[place]
        name = node.name
        node.CopyFrom(helper.make_node("Identity", [node.input[kept]], list(node.output)))
        if not failed("gnn", changed.SerializeToString(), "onnx", expected):
            survivors.append((name, kept))
    assert survivors == []


class _Mutant(torch.nn.Module):
    def __init__(self, network: torch.nn.Module, fault: str) -> None:
        super().__init__()
        self.network, self.fault = network, fault

    def forward(self, x: torch.Tensor, edge_index: torch.Tensor) -> torch.Tensor:
        g = self.network
        if self.fault == "ends":
            return g(x, edge_index.flip(0))
        source, target = edge_index[0], edge_index[1]
        node = g.node_encoder({"x": (g.node_values(x), None)})
        edge = g.edge_encoder(g.edge_blocks(x, edge_index))
        for edges, nodes in zip(g.edge_networks, g.node_networks, strict=True):
            step = edges({"edge": (edge, None), "source": (node, source), "target": (node, target)})
            edge = step if self.fault == "edge residual" else edge + step
            incoming, outgoing = segment_sum(edge, target, x.shape[0]), segment_sum(edge, source, x.shape[0])
            if self.fault == "reduction":
                incoming = torch.index_put(torch.zeros_like(incoming), (target,), edge)
            step = nodes({"node": (node, None), "incoming": (incoming, None), "outgoing": (outgoing, None)})
            node = step if self.fault == "node residual" else node + step
        return g.classifier({"edge": (edge, None), "source": (node, source), "target": (node, target)})


@pytest.mark.parametrize("fault", ["none", "ends", "edge residual", "node residual", "reduction"])
def test_torchscript_mutant_is_caught(fault: str, tiny_export: TinyExport, expected: Expected) -> None:
    network = load_network(tiny_export.source, "gnn")
    graphs = failed("gnn", torchscript_bytes("gnn", _Mutant(network, fault).eval(), 3), "torchscript", expected)
    assert ("event" in graphs) == (fault != "none")


class _Careless(torch.nn.Module):
    """Right numbers, wrong manners."""

    def __init__(self, fault: str) -> None:
        super().__init__()
        self.fault = fault

    def forward(self, x: torch.Tensor, edge_index: torch.Tensor) -> torch.Tensor:
        rows = torch.index_select(x, 0, edge_index[0])
        if self.fault == "writes its input":
            x.add_(0.0).mul_(0.5)
        if self.fault == "not contiguous":
            return rows.T.contiguous().T
        return rows.double() if self.fault == "double" else rows[:, :2].contiguous() if self.fault == "narrow" else rows


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("none", ""),
        ("writes its input", "writes into its inputs"),
        ("not contiguous", "not contiguous"),
        ("double", "float64, expected float32"),
        ("narrow", "shape"),
    ],
)
def test_torchscript_with_wrong_manners_is_caught(fault: str, message: str, expected: Expected) -> None:
    wanted = [
        Expectation(e.case, e.case.x[e.case.edge_index[0]].astype(np.float64), np.full((e.case.edge_index.shape[1], 3), 1e-6))
        for e in expected["gnn"][:3]
    ]
    rows = check_file("m.pt", "gnn", torchscript_bytes("gnn", _Careless(fault).eval(), 3), "torchscript", wanted)
    assert all(message in row.problem for row in rows)
    assert [row.passed for row in rows] == [fault == "none"] * 3


def rename_output(graph: Graph) -> None:
    flip_sign(graph)
    graph.node[-1].op_type, graph.node[-1].output[0], graph.output[0].name = "Identity", "logits", "logits"


def add_output(graph: Graph) -> None:
    graph.node.append(helper.make_node("Identity", ["output"], ["second"]))
    graph.output.append(helper.make_tensor_value_info("second", onnx.TensorProto.FLOAT, ["num_edges", 1]))


def freeze_edges(graph: Graph) -> None:
    graph.input[1].type.tensor_type.shape.dim[1].dim_value = 7


def racing(graph: Graph) -> None:
    for node in graph.node:
        if node.op_type == "ScatterElements":
            node.op_type = "ScatterND"
            kept = [item for item in node.attribute if item.name != "axis"]
            del node.attribute[:]
            node.attribute.extend(kept)


def drop_rank(graph: Graph) -> None:
    flip_sign(graph)
    graph.initializer.append(numpy_helper.from_array(np.array([1]), "last"))
    graph.node[-1].CopyFrom(helper.make_node("Squeeze", ["positive", "last"], ["output"]))
    del graph.output[0].type.tensor_type.shape.dim[1]


DOORS = [
    (rename_output, "outputs are logits"),
    (add_output, "second FLOAT"),
    (freeze_edges, "edge_index INT64 [2, 7]"),
    (drop_rank, "outputs are output FLOAT [num_edges], expected output FLOAT [num_edges, 1]"),
    (drop_reductions, "reduction 'none' where indices may repeat"),
    (racing, "has reduction 'add', expected ScatterElements, which never races"),
]


@pytest.mark.parametrize(("mutant", "message"), DOORS, ids=[m.__name__ for m, _ in DOORS])
def test_wrong_doors_are_named(
    mutant: Callable[[Graph], None], message: str, files: dict[str, bytes], tiny_export: TinyExport
) -> None:
    metadata = onnx_metadata(tiny_export.source.spec, "gnn", "ort-cuda")
    assert problems_at_the_doors(files["ort-cuda/gnn.onnx"], "gnn", 3, 1, metadata, "ort-cuda") == []
    found = problems_at_the_doors(mutated(files["ort-cuda/gnn.onnx"], mutant), "gnn", 3, 1, metadata, "ort-cuda")
    assert any(message in problem for problem in found), found


def test_a_maximum_is_right_at_the_doors_and_wrong_where_a_sum_was_meant(
    files: dict[str, bytes], expected: Expected, tiny_export: TinyExport
) -> None:
    """Networks with maxima are exported too; which reduction is right only the network knows."""
    metadata = onnx_metadata(tiny_export.source.spec, "gnn", "ort-cuda")
    model = mutated(files["ort-cuda/gnn.onnx"], largest_instead_of_sum)
    assert problems_at_the_doors(model, "gnn", 3, 1, metadata, "ort-cuda") == []
    assert failed("gnn", model, "onnx", expected)


def test_an_output_renamed_or_a_broken_file_fails_to_run(files: dict[str, bytes], expected: Expected) -> None:
    assert failed("gnn", mutated(files["gnn.onnx"], rename_output), "onnx", expected) == [e.case.name for e in expected["gnn"]]
    assert failed("gnn", files["gnn.onnx"][:1000], "onnx", expected) == ["load"]
    assert failed("gnn", files["gnn.pt"][:1000], "torchscript", expected) == ["load"]
    assert problems_at_the_doors(b"nothing", "gnn", 3, 1, {})[0].startswith("not a valid ONNX file")


def test_metadata_of_another_spec_is_seen(files: dict[str, bytes], tiny_export: TinyExport) -> None:
    spec = tiny_export.source.spec
    other = dataclasses.replace(spec, features=(dataclasses.replace(spec.features[0], scale=1.0), *spec.features[1:]))
    problems = problems_at_the_doors(files["gnn.onnx"], "gnn", 3, 1, onnx_metadata(other, "gnn"))
    assert problems == ["metadata pkg.trkx.spec is not that of this export"]


def _swap_scales(spec):
    r, phi, z = spec.features
    return (dataclasses.replace(r, scale=phi.scale), dataclasses.replace(phi, scale=r.scale), z)


SPECS = {
    "not applied": lambda spec: tuple(dataclasses.replace(f, scale=1.0) for f in spec.features),
    "z not applied": lambda spec: (*spec.features[:2], dataclasses.replace(spec.features[2], scale=1.0)),
    "swapped": _swap_scales,
    "half": lambda spec: (dataclasses.replace(spec.features[0], scale=2 * spec.features[0].scale), *spec.features[1:]),
    "order": lambda spec: spec.features[::-1],
    "one missing": lambda spec: spec.features[:2],
}


@pytest.mark.parametrize("fault", ["none", *SPECS])
def test_a_scale_that_is_not_applied_is_caught(fault: str, tiny_export: TinyExport) -> None:
    spec = tiny_export.source.spec
    # a plain holder: a spec without z is refused earlier, and here the door alone is on trial
    written = spec if fault == "none" else _Spec(SPECS[fault](spec))
    rows = check_features(spec, written, tiny_export.event)
    assert all(row.passed for row in rows) == (fault == "none")
    if fault not in ("none", "one missing"):
        assert any("the scale is not applied" in row.problem for row in rows)


@dataclasses.dataclass(frozen=True)
class _Spec:
    features: tuple


def test_a_runtime_that_forgets_the_scales_is_caught(tiny_export: TinyExport, monkeypatch: pytest.MonkeyPatch) -> None:
    from trkx.export import door

    spec = tiny_export.source.spec
    plain = door.node_features
    unscaled = lambda event, features: plain(event, [dataclasses.replace(f, scale=1.0) for f in features])  # noqa: E731
    monkeypatch.setattr(door, "node_features", unscaled)
    failed_rows = [row.stage for row in check_features(spec, spec, tiny_export.event) if not row.passed]
    assert failed_rows == ["feature r", "feature phi", "feature z"]


def test_weights_that_are_not_the_checkpoints_are_caught(files: dict[str, bytes], tiny_export: TinyExport) -> None:
    states = {stage: load_network(tiny_export.source, stage).state_dict() for stage in STAGES}
    assert all(row.passed for row in check_weights(files["weights.safetensors"], states))
    held = load(files["weights.safetensors"])
    key = next(k for k in held if k.startswith("gnn."))
    nudged = {**held, key: torch.nextafter(held[key], torch.tensor(9.0))}
    missing = {k: v for k, v in held.items() if k != key}
    extra = {**held, "filter.extra": torch.zeros(1)}
    for tensors, stage in ((nudged, "gnn"), (missing, "gnn"), (extra, "filter")):
        assert [row.stage for row in check_weights(save(tensors), states) if not row.passed] == [stage]
    assert not check_weights(b"nothing", states)[0].passed


def test_the_networks_of_another_training_are_caught(files: dict[str, bytes], expected: Expected, tmp_path) -> None:
    other = open_source(tiny_pipeline(tmp_path, seed=2))
    for stage in STAGES:
        wanted = {stage: expectations(stage, load_network(other, stage), [e.case for e in expected[stage]])}
        assert "event" in failed(stage, files[f"{stage}.onnx"], "onnx", wanted)


def test_a_network_that_rounding_drowns_proves_nothing(expected: Expected) -> None:
    class Chaos(torch.nn.Module):
        def forward(self, x: torch.Tensor, edge_index: torch.Tensor) -> torch.Tensor:
            return torch.sin(1e7 * x[edge_index[0]][:, :1])

    found = expectations("gnn", Chaos(), [expected["gnn"][0].case])[0]
    assert "faults can hide" in found.problem
