"""Rules about scatters: the faults of exporters and engines, and the graphs that only look like them."""

import io
import logging
import warnings

import onnx
import pytest
import torch
from onnx import helper
from support.onnx_models import model_of, said, subject_of
from torch import nn

from trkx.export.lint.apply import findings_of
from trkx.export.lint.rules import (
    half_scatter,
    mean_as_none,
    old_opset,
    racing_scatter_nd,
    running_sum,
    scatter_overwrites,
    scatter_shapes,
    sort_over_edges,
    unsupported_reduction,
)
from trkx.export.lowerings.lower import lowered
from trkx.export.lowerings.table import LOWERINGS
from trkx.export.onnx_file import example_inputs
from trkx.export.onnx_graph import SCATTERS, attribute
from trkx.export.targets import TARGETS
from trkx.export.translation import translations

MINE = tuple(module.RULE for module in (
    scatter_overwrites, old_opset, racing_scatter_nd, mean_as_none, half_scatter, scatter_shapes, sort_over_edges, running_sum,
    unsupported_reduction,
))
OUT = "float[num_hits, 3] output"
ZEROS = "n3 = Shape (x) zeros = ConstantOfShape <value = float[1] {0}> (n3) where_ = Unsqueeze (target, last) e3 = Shape (b) "
WEIGHTS = "int64[1] last = {-1}, float one = {1}, float low = {-1}, int64[1] none = {0}"


def summed(scatter, body="", opset=18, weights="", out=OUT):
    """Return a graph of hits a, b [E, 3] and zeros [N, 3] in which `rows` is the target of each edge, [E, 3]."""
    weights = ", ".join(filter(None, (WEIGHTS, weights)))
    begin = f"{ZEROS} rows = Expand (where_, e3) {body} "
    if opset < 13:
        begin = begin.replace("Unsqueeze (target, last)", "Unsqueeze <axes = [1]> (target)")
    return model_of(begin + scatter, outputs=(out,), weights=weights, opset=opset, ir=8 if opset < 16 else 10)


ADD = 'output = ScatterElements <axis = 0, reduction = "add"> (zeros, rows, b)'
ADD32, INT32 = ADD.replace("rows", "r32"), "r32 = Cast <to = 6> (rows)"
HALVES = "zh = Cast <to = 10> (zeros) bh = Cast <to = 10> (b)"
BRAINS = HALVES.replace("to = 10", "to = 16")
HALF = 'sh = ScatterElements <axis = 0, reduction = "add"> (zh, rows, bh) output = Cast <to = 1> (sh)'
FEW, TWO = "few = Slice (rows, none, two1, last)", "int64[1] two1 = {2}"
ADD_FEW, FEW_BOTH = ADD.replace("rows, b)", "few, bf)"), f"{FEW} bf = Slice (b, none, two1, last)"
NONE = "output = ScatterElements <axis = 0> (zeros, rows, b)"


def ids(model, target="ort-cpu"):
    return [f"{item.rule.id} {item.severity}" for item in findings_of(subject_of(model, target), MINE)]


GRAPHS = [
    ("a sum", summed(ADD), "ort-cpu", []),
    ("no reduction", summed(NONE), "ort-cpu", ["TRKX001 error"]),
    ("no reduction, said so", summed(NONE.replace("axis = 0", 'axis = 0, reduction = "none"')), "ort-cpu", ["TRKX001 error"]),
    ("no reduction in an old opset", summed(NONE, opset=12), "ort-cpu", ["TRKX001 error", "TRKX002 error"]),
    ("Scatter of opset 9", summed(NONE.replace("ScatterElements", "Scatter"), opset=9), "ort-cpu",
     ["TRKX001 error", "TRKX002 error"]),
    ("a sum in an old opset", summed(ADD, opset=12), "ort-cpu", ["TRKX002 error"]),
    ("ScatterND without reduction", summed("output = ScatterND (zeros, where_, b)"), "ort-cpu", ["TRKX001 error"]),
    ("into hits, not zeros", summed("output = ScatterElements <axis = 0> (x, rows, b)"), "ort-cpu", ["TRKX001 error"]),
    ("along the columns", summed("output = ScatterElements <axis = 1> (b, rows, b)"), "ort-cpu", ["TRKX001 error"]),
    ("in a body", summed("""yes = Greater (one, low) output = If (yes) <
        then_branch = g1 () => (float[i, j] t) { t = ScatterElements <axis = 0> (zeros, rows, b) },
        else_branch = g2 () => (float[k, l] s) { s = ScatterElements <axis = 0, reduction = "add"> (zeros, rows, b) }>"""),
     "ort-cpu", ["TRKX001 error"]),
    ("ScatterND that adds", summed('output = ScatterND <reduction = "add"> (zeros, where_, b)'), "ort-cpu", ["TRKX003 error"]),
    ("on TensorRT", summed('output = ScatterND <reduction = "add"> (zeros, where_, b)'), "tensorrt", ["TRKX003 error"]),
    ("for ACTS", summed('output = ScatterND <reduction = "max"> (zeros, where_, b)'), "acts-onnx", ["TRKX003 error"]),
    ("atomic on CUDA", summed('output = ScatterND <reduction = "add"> (zeros, where_, b)'), "ort-cuda", []),
    ("double on CUDA", summed("zd = Cast <to = 11> (zeros) bd = Cast <to = 11> (b) "
                              'sd = ScatterND <reduction = "add"> (zd, where_, bd) output = Cast <to = 1> (sd)'),
     "ort-cuda", ["TRKX009 error"]),
    ("a mean that ONNX has not", summed(ADD.replace("add", "mean")), "tensorrt", ["TRKX009 error"]),
    ("max in opset 16", summed(ADD.replace("add", "max"), opset=16), "ort-cpu", ["TRKX009 error"]),
    ("max in opset 18", summed(ADD.replace("add", "max")), "ort-cpu", []),
    ("sum in opset 16", summed(ADD, opset=16), "ort-cpu", []),
    ("INT32 indices for TensorRT", summed(ADD32, INT32), "tensorrt", ["TRKX009 error"]),
    ("INT32 indices elsewhere", summed(ADD32, INT32), "ort-cpu", []),
    ("counts in INT32 on CUDA", summed(
        'z32 = Cast <to = 6> (zeros) b32 = Cast <to = 6> (b) s = ScatterElements <axis = 0, reduction = "add"> (z32, rows, b32) '
        "output = Cast <to = 1> (s)"), "ort-cuda", ["TRKX009 warning"]),
    ("a sum in half", summed(HALF, HALVES), "ort-cuda", ["TRKX005 error"]),
    ("a sum in bfloat16", summed(HALF, BRAINS), "tensorrt", ["TRKX005 error"]),
    ("overwriting in half", summed(HALF.replace("add", "none"), HALVES), "ort-cuda", ["TRKX001 error", "TRKX005 error"]),
    ("a maximum in half", summed(HALF.replace("add", "max"), HALVES), "ort-cpu", []),
    ("a maximum in bfloat16", summed(HALF.replace("add", "max"), BRAINS), "ort-cpu", ["TRKX005 error"]),
    ("a maximum in bfloat16 elsewhere", summed(HALF.replace("add", "max"), BRAINS), "ort-cuda", []),
    ("float32 island in half", summed(ADD.replace(", b)", ", bf)"), f"{HALVES} bf = Cast <to = 1> (bh)"), "ort-cuda", []),
    ("fewer columns of indices", summed(ADD.replace("rows", "few"), FEW, weights=TWO), "ort-cpu", ["TRKX006 error"]),
    ("fewer columns on TensorRT", summed(ADD_FEW, FEW_BOTH, weights=TWO), "tensorrt", ["TRKX006 error"]),
    ("fewer columns elsewhere", summed(ADD_FEW, FEW_BOTH, weights=TWO), "ort-cpu", []),
    ("tuples and updates that do not fit", summed("bw = Concat <axis = 1> (b, b) output = ScatterND (zeros, where_, bw)"),
     "ort-cuda", ["TRKX001 error", "TRKX006 error"]),
]


@pytest.mark.parametrize("model, target, expected", [case[1:] for case in GRAPHS], ids=[case[0] for case in GRAPHS])
def test_scatters(model, target, expected):
    assert ids(model, target) == expected


COUNTS = "ones = Expand (one, e3) count = ScatterElements <axis = 0> (zeros, rows, ones)"
FILLS = [
    ("hits that have an edge", f"{COUNTS} output = Mul (count, x)", ["TRKX001 note"]),
    ("hits that have an edge, added to something", f"{COUNTS} output = Add (count, x)", []),
    ("larger of two such", f"{COUNTS} other = Abs (x) output = Max (count, other)", []),
    ("rows set to a number", "fill = Expand (low, e3) output = ScatterElements <axis = 0> (x, rows, fill)", []),
    ("rows set to zero", "fill = Expand (nought, e3) c = ScatterElements <axis = 0> (zeros, rows, fill) output = Div (x, c)", []),
    ("a mean divided by it", f"{COUNTS} output = Div (x, count)", ["TRKX001 error"]),
    ("a count, at least 1", f"{COUNTS} most = Max (count, one) output = Div (x, most)", ["TRKX001 error"]),
    ("a count, clipped", f"{COUNTS} most = Clip (count, one) output = Div (x, most)", ["TRKX001 error"]),
    ("a count of neighbours and the hit itself", f"{COUNTS} more = Add (count, one) root = Sqrt (more) output = Div (x, root)",
     ["TRKX001 error"]),
    ("a count as torch wrote scatter_add", f"{COUNTS} total = Add (zeros, count) output = Mul (total, x)", ["TRKX001 error"]),
    ("an overwritten hit as divisor of nothing", f"{COUNTS} output = Div (count, x)", []),
    ("a count, 1 where it is 0", f"{COUNTS} none_ = Equal (count, nought) most = Where (none_, one, count) "
     "output = Div (x, most)", ["TRKX001 error"]),
    ("the same, asked the other way", f"{COUNTS} some = Greater (count, nought) most = Where (some, count, one) "
     "output = Div (x, most)", ["TRKX001 error"]),
    ("1 more where it is 0", f"{COUNTS} none_ = Equal (count, nought) add_ = Cast <to = 1> (none_) most = Add (count, add_) "
     "output = Div (x, most)", ["TRKX001 error"]),
    ("neighbours beyond the first", f"{COUNTS} less = Sub (count, one) more = Relu (less) most = Add (more, one) "
     "output = Div (x, most)", ["TRKX001 error"]),
    ("the root of a multiple", f"{COUNTS} more = Mul (count, two) root = Sqrt (more) output = Mul (x, root)", ["TRKX001 error"]),
    ("a curve of it", f"{COUNTS} more = Mul (count, two) root = Tanh (more) output = Mul (x, root)", ["TRKX001 error"]),
    ("more than two of them", f"{COUNTS} many = Greater (count, two) output = Where (many, x, zeros)", ["TRKX001 error"]),
    ("exactly two of them", f"{COUNTS} many = Equal (count, two) output = Where (many, x, zeros)", ["TRKX001 error"]),
    ("count[target] += 1", "old = GatherND (zeros, where_) more = Add (old, one) output = ScatterND (zeros, where_, more)",
     ["TRKX001 error"]),
    ("a column of it before a layer", f"{COUNTS} l = Gather <axis = 1> (count, last) output = MatMul (l, w3)", ["TRKX001 note"]),
    ("hits that have none", f"{COUNTS} free = Sub (one, count) output = Mul (free, x)", ["TRKX001 note"]),
    ("hits chosen by it", f"{COUNTS} some = Greater (count, nought) output = Where (some, x, zeros)", []),
    ("hits chosen by half", f"{COUNTS} some = GreaterOrEqual (count, half) output = Where (some, x, zeros)", []),
    ("scores pushed away", f"{COUNTS} more = Mul (count, two) output = Sub (x, more)", []),
    ("never below zero, as an index is asked", f"{COUNTS} some = Less (count, nought) output = Where (some, x, zeros)", []),
    ("cut to what a mask is", f"{COUNTS} most = Clip (count, nought, one) rest = Sub (two, most) output = Div (x, rest)", []),
    ("the same with Min", f"{COUNTS} most = Min (count, one) rest = Sub (two, most) output = Div (x, rest)", []),
]


@pytest.mark.parametrize("body, expected", [case[1:] for case in FILLS], ids=[case[0] for case in FILLS])
def test_one_number_scattered_is_a_mask_unless_it_is_used_as_a_count(body, expected):
    weights = "float nought = {0}, float half = {0.5}, float two = {2}, float[1, 3] w3 = {1, 2, 3}"
    assert ids(summed(body, weights=weights)) == expected


def test_messages_name_node_source_and_opset():
    (found,) = said(scatter_overwrites.RULE, summed(NONE))
    assert "output" in found and "'edge_index'" in found and "no reduction" in found
    (old,) = said(old_opset.RULE, summed(NONE, opset=12))
    assert "opset 12" in old and "1 scatter" in old


SORTED = [
    ("all edges", "e = Shape (target) s, i = TopK <axis = 0> (target, e) kept = Cast <to = 1> (s)", True),
    ("all hits", "all = Shape <start = 0, end = 1> (x) s, i = TopK <axis = 0> (x, all) kept = Identity (s)", True),
    ("five thousand", "s, i = TopK <axis = 0> (x, many) kept = Identity (s)", True),
    ("ten", "s, i = TopK <axis = 0> (x, ten) kept = Identity (s)", False),
    ("ten or fewer", "all = Shape <start = 0, end = 1> (x) k = Min (all, ten) s, i = TopK <axis = 0> (x, k) kept = Identity (s)",
     False),
    ("columns", "all = Shape <start = 1> (x) s, i = TopK <axis = 1> (x, all) kept = Identity (s)", False),
]


@pytest.mark.parametrize("body, hit", [case[1:] for case in SORTED], ids=[case[0] for case in SORTED])
def test_sorts(body, hit):
    model = summed(f"{body} output = Add (zeros, one)", weights="int64[1] many = {5000}, int64[1] ten = {10}")
    for target, row in TARGETS.items():
        if row.format == "onnx":
            assert bool(said(sort_over_edges.RULE, model, target)) == (hit and not row.sort), target


TAKEN = "a_ = Gather (sums, source) b_ = Gather (sums, target) d_ = Sub (b_, a_) output = Cast <to = 1> (d_)"
RUN = f"sums = CumSum (v, first) {TAKEN}"
RUNNING = [
    ("float32", f"v = Identity (b) {RUN}", [True, True]),
    ("float64", f"v = Cast <to = 11> (b) {RUN}", [False, True]),
    ("float64, difference in float32", "v = Cast <to = 11> (b) wide = CumSum (v, first) sums = Cast <to = 1> (wide) " + TAKEN,
     [True, True]),
    ("whole numbers", f"v = Cast <to = 7> (b) {RUN}", [False, False]),
    ("half", f"v = Cast <to = 10> (b) {RUN}", [True, True]),
    ("with a zero before", "running = CumSum (b, first) sums = Concat <axis = 0> (zeros, running) " + TAKEN, [True, True]),
    ("taken once, neighbours subtracted", "sums = CumSum (b, first) g = Gather (sums, target) l = Slice (g, one1, end1, none) "
     "r = Slice (g, none, last, none) output = Sub (l, r)", [True, True]),
    ("a running sum alone", "output = CumSum (b, first)", [False, False]),
    ("less what it began with", "sums = CumSum (b, first) output = Sub (sums, b)", [False, False]),
    ("over the three columns", f"sums = CumSum (b, second) {TAKEN}", [False, False]),
]


@pytest.mark.parametrize("body, hits", [case[1:] for case in RUNNING], ids=[case[0] for case in RUNNING])
def test_differences_of_running_sums(body, hits):
    model = summed(body, weights="int64[1] one1 = {1}, int64[1] end1 = {9223372036854775807}", out="float[any, 3] output")
    assert [bool(said(running_sum.RULE, model, target)) for target in ("ort-cpu", "tensorrt")] == hits


def test_mean_is_told_by_its_name_its_note_or_its_pair_of_scatters():
    named = summed(NONE)
    scatter = named.graph.node[-1]
    scatter.name = "node_scatter_reduce_3"
    assert ids(named) == ["TRKX004 error"]
    scatter.name = ""
    note = scatter.metadata_props.add(key="pkg.torch.onnx.fx_node", value="")
    for call, rule in (("aten.scatter_reduce.two](args = (%z, 0, %i, %m, mean), kwargs = {})", "TRKX004 error"),
                       ("aten.scatter_reduce.two](args = (%z, 0, %i, %m, sum), kwargs = {})", "TRKX001 error"),
                       ("aten.scatter_add.default](args = (%z, 0, %i, %m), kwargs = {})", "TRKX001 error"),
                       ("aten.scatter.src](args = (%z, 0, %i, %m), kwargs = {})", "TRKX001 warning"),
                       ("aten.index_put.default](args = (%z, [%i], %m), kwargs = {})", "TRKX001 warning"),
                       ("aten.index_put.default](args = (%z, [%i], %m, True), kwargs = {})", "TRKX001 error")):
        note.value = f"%made : [num_users=1] = call_function[target=torch.ops.{call}"
        assert ids(named) == [rule], call
    pair = summed("fill = Expand (nought, e3) cleared = ScatterElements <axis = 0> (zeros, rows, fill) "
                  "output = ScatterElements <axis = 0> (cleared, rows, b)", weights="float nought = {0}")
    assert ids(pair) == ["TRKX004 error"]


class Right(nn.Module):
    """Sums as torch_geometric writes them, and overwriting of rows that can't meet."""

    def forward(self, x, edge_index):
        source, target = edge_index[0], edge_index[1]
        messages, zeros, hits = x[source] * 2, torch.zeros_like(x), x.shape[0]
        rows = target[:, None].expand_as(messages)
        total = zeros.scatter_add(0, rows, messages)
        count = torch.zeros(hits).scatter_add(0, target, torch.ones_like(target, dtype=x.dtype)).clamp(min=1)
        largest = zeros.scatter_reduce(0, rows, messages, "amax", include_self=False)
        best = x[:, 0].topk(3).indices
        kept = (x[:, 0] > 0.3).nonzero()[:, 0]
        copied = zeros.index_copy(0, torch.arange(hits).flip(0), x) + zeros.index_copy(0, best, x[best])
        filled = zeros.index_fill(0, target, 1.0) + zeros.index_copy(0, kept, x[kept])
        changed = x.clone()
        changed[:, 1:3] = x[:, 0:2]
        changed[x[:, 0] > 0.5] = 0.0
        return total / count[:, None] + largest + copied + filled + changed


class Aggregated(nn.Module):
    """A sum and a mean of twice, over targets."""

    def forward(self, x, edge_index):
        messages, zeros = torch.relu(x[edge_index[0]]), torch.zeros_like(x)
        rows = edge_index[1][:, None].expand_as(messages)
        mean = zeros.scatter_reduce(0, rows, messages * 2, "mean", include_self=False)
        return zeros.index_add(0, edge_index[1], messages) + mean


class Wrong(nn.Module):
    """What torch's default exporter gets wrong, each in another way."""

    def forward(self, x, edge_index):
        target = edge_index[1]
        messages, zeros = x[edge_index[0]] * 2, torch.zeros_like(x)
        rows = target[:, None].expand_as(messages)
        added = zeros.index_add(0, target, messages)
        put = zeros.index_put((target,), messages * 5, accumulate=True)
        mean = zeros.scatter_reduce(0, rows, messages + 1, "mean")
        alone = zeros.scatter_reduce(0, rows, messages + 2, "mean", include_self=False)
        short = zeros.scatter_add(0, rows[:, :2], messages)
        assigned = zeros.scatter(0, rows, messages)
        return added + put + mean + alone + short + assigned


class Old(nn.Module):
    """What torch's older exporter gets wrong."""

    def forward(self, x, edge_index):
        target = edge_index[1]
        messages, zeros = x[edge_index[0]] * 2, torch.zeros_like(x)
        added = zeros.index_add(0, target, messages)
        put = zeros.index_put((target,), messages, accumulate=True)
        return added + put + self.sums(x, target, messages)

    def sums(self, x, target, messages):
        total = torch.zeros_like(x).scatter_add(0, target[:, None].expand_as(messages), messages)
        count = torch.zeros(x.shape[0]).scatter_add(0, target, torch.ones_like(target, dtype=x.dtype))
        return total / count.clamp(min=1)[:, None]


EXAMPLE = example_inputs("gnn", 4)
NAMES = {"input_names": ["x", "edge_index"], "output_names": ["output"]}


@pytest.fixture(scope="module")
def exported():
    """Return a function: network to the model that torch's default exporter, or with `opset` its older one, makes of it."""

    def export(network, opset=None, table=None):
        logging.disable(logging.ERROR)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                if opset is None:
                    dynamic = {"x": {0: torch.export.Dim.DYNAMIC}, "edge_index": {1: torch.export.Dim.DYNAMIC}}
                    program = torch.onnx.export(network.eval(), EXAMPLE, dynamic_shapes=dynamic, opset_version=18, verbose=False,
                                                custom_translation_table=table, **NAMES)
                    return program.model_proto
                buffer, axes = io.BytesIO(), {"x": {0: "num_hits"}, "edge_index": {1: "num_edges"}}
                torch.onnx.export(network.eval(), EXAMPLE, buffer, dynamo=False, opset_version=opset, dynamic_axes=axes, **NAMES)
                return onnx.load_model_from_string(buffer.getvalue())
        finally:
            logging.disable(logging.NOTSET)

    return export


def test_right_exports_raise_no_alarm(exported):
    model = exported(Right())
    assert sum(node.op_type in SCATTERS for node in model.graph.node) >= 9
    assert ids(model) == []


def test_faults_of_the_default_exporter_are_found(exported):
    found = sorted(ids(exported(Wrong())))
    assert found == ["TRKX001 warning", *["TRKX003 error"] * 2, *["TRKX004 error"] * 2, "TRKX006 error"]


def test_faults_of_the_older_exporter_are_found(exported):
    assert sorted(ids(exported(Old(), 14))) == [*["TRKX001 error"] * 4, "TRKX002 error"]
    assert sorted(ids(exported(Old(), 18))) == ["TRKX001 error"] * 2  # index_add and index_put, in every opset


def test_our_lowerings_raise_no_alarm_and_a_missing_reduction_does(exported):
    model = exported(Aggregated(), table=translations())
    for name, lowering in LOWERINGS.items():
        ours = lowered(onnx.load_model_from_string(model.SerializeToString()), lowering)[0]
        for target, row in TARGETS.items():
            if name in row.lowerings:
                assert ids(ours, target) == [], (target, name)
        if lowering.sorts:
            assert "TRKX007 error" in ids(ours, "tensorrt"), name
        if name == "prefix64":
            assert "TRKX008 error" in ids(ours, "tensorrt")
        if name in ("scatter", "buckets"):
            assert "TRKX001 error" in ids(without_reductions(ours)), name


def without_reductions(model):
    for node in model.graph.node:
        if attribute(node, "reduction") is not None:
            kept = [item for item in node.attribute if item.name != "reduction"]
            del node.attribute[:]
            node.attribute.extend(kept)
    return model


def test_the_published_network_of_2021_is_found(golden):
    found = ids(onnx.load(golden / "lrt" / "gnn.onnx"))
    assert found == ["TRKX001 error"] * 16 + ["TRKX002 error"]


def test_damaged_scatters_do_not_stop_the_rules():
    model = summed(ADD)
    model.graph.node.extend([
        helper.make_node("ScatterElements", [], []), helper.make_node("ScatterElements", ["zeros", "", "b"], ["p"]),
        helper.make_node("ScatterND", ["zeros", "rows", "nowhere"], ["q"], reduction=b"\xff\xfe"),
        helper.make_node("ScatterElements", ["x", "x", "x"], ["r"], axis=99), helper.make_node("TopK", ["x"], ["s"]),
        helper.make_node("CumSum", ["x"], ["t"]), helper.make_node("CumSum", ["nowhere", "nowhere"], ["u"]),
        helper.make_node("Sub", ["u", "u"], ["v"]), helper.make_node("TopK", [], []),
    ])
    for target in ("ort-cpu", "tensorrt", "ort-cuda"):
        found = findings_of(subject_of(model, target), MINE)
        assert not [item for item in found if "failed" in item.message], found
        assert any(item.rule.id == "TRKX001" for item in found)
