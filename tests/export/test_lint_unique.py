"""Proofs that scatters do not meet: what is proven is checked against numbers, what repeats is never proven."""

import math

import numpy as np
import onnx
import pytest
from onnx import helper, parser
from onnx.reference import ReferenceEvaluator

from trkx.export.lint.extents import rank_of
from trkx.export.lint.intervals import Intervals
from trkx.export.lint.uniform import uniform
from trkx.export.lint.unique import indices_unique
from trkx.export.onnx_graph import Graph

INPUTS = "float[num_hits, 3] x, int64[2, num_edges] edge_index, float[num_hits] score, int64[any] data, int64[1] one_edge"
CONSTANTS = """int64 zero = {0}, int64 one = {1}, int64 two = {2}, int64 minus = {-1}, int64[1] zeros = {0}, int64[1] ones = {1},
int64[1] last = {-1}, int64[1] three = {3}, int64[1] end = {9223372036854775807}, int64[1] far = {-9223372036854775808},
int64[2] column = {-1, 1}, int64[2] row = {1, -1}, int64[4] picked = {3, 1, 0, 2}, int64[4] twice = {3, 1, 3, 2},
int64[4] signs = {0, 1, -1, 2}, int64[2,2] square = {0, 1, 1, 0}, int64[2,2] columns = {0, 0, 1, 1}, float half = {0.5}"""
HITS = "n1 = Shape <start = 0, end = 1> (x) n = Squeeze (n1, zeros) hits = Range (zero, n, one)"
OVER = "over = Greater (score, half) places = NonZero (over) kept = Squeeze (places, zeros)"
EDGES = "target = Gather <axis = 0> (edge_index, one)"


def graph_of(body, index, scatter="ScatterElements <axis = 0> (data, index, updates)", data="int64[any]", rank=1):
    """Return a graph that ends with a scatter at `index`, and the scatter. Its updates are numbers of the index's shape."""
    inputs = INPUTS.replace("int64[any] data", f"{data} data")
    text = f"""<ir_version: 10, opset_import: ["" : 18]> g ({inputs}) => (out) <{CONSTANTS}> {{
        {body} index = Identity ({index}) updates = Identity (index) out = {scatter} }}"""
    model = parser.parse_model(text.replace("=> (out)", "=> (int64[any] out)"))
    graph = Graph(model)
    assert rank is None or rank_of(graph, "index") == rank
    return graph, graph.producer("out")


PROVEN = [
    ("constant", "", "picked"),
    ("hits", HITS, "hits"),
    ("every second hit", f"{HITS} few = Slice (hits, zeros, end, zeros, three)", "few"),
    ("hits backwards", f"{HITS} back = Slice (hits, last, far, zeros, last)", "back"),
    ("hits shifted", f"{HITS} more = Add (hits, two)", "more"),
    ("hits stretched", f"{HITS} more = Mul (two, hits)", "more"),
    ("hits as int32 and back", f"{HITS} small = Cast <to = 6> (hits) back = Cast <to = 7> (small)", "back"),
    ("hits above a cut", OVER, "kept"),
    ("best hits", "best, which = TopK <axis = 0> (score, three)", "which"),
    ("sorted hits", f"{HITS} sorted_, which = TopK <axis = 0, largest = 0> (score, n1)", "which"),
    ("hits of the best hits", f"{HITS} best, which = TopK (score, three) back = Slice (hits, last, far, zeros, last) "
     "found = Gather (back, which)", "found"),
    ("the same with GatherND", f"{HITS} best, which = TopK (score, three) places = Unsqueeze (which, last) "
     "found = GatherND (hits, places)", "found"),
    ("numbers without repeats", f"{EDGES} once, first, inverse, counts = Unique (target)", "first"),
    ("running sum of ones", f"{EDGES} e = Shape (target) unit = ConstantOfShape <value = int64[1] {{1}}> (e) "
     "sums = CumSum (unit, zero)", "sums"),
    ("places from the end", f"{HITS} most = Sub (n, one) back = Sub (most, hits)", "back"),
    ("the same, the length taken twice", f"{HITS} m1 = Shape <start = 0, end = 1> (x) m = Squeeze (m1) most = Add (m, minus) "
     "back = Sub (most, hits)", "back"),
    ("one edge", "", "one_edge"),
    ("first edge", f"{EDGES} first = Gather (target, zero) index_ = Unsqueeze (first, zeros)", "index_"),
]
REPEATING = [
    ("constant that repeats", "", "twice"),
    ("constant of both signs", "", "signs"),
    ("targets of edges", EDGES, "target"),
    ("targets of sorted edges", f"{EDGES} e = Shape (target) sorted_, order = TopK <largest = 0> (target, e)", "sorted_"),
    ("targets of some edges", f"{EDGES} kept = Slice (target, zeros, three, zeros)", "kept"),
    ("halves of hits", f"{HITS} half_ = Div (hits, two)", "half_"),
    ("hits modulo", f"{HITS} rest = Mod (hits, two)", "rest"),
    ("hits times zero", f"{HITS} none = Mul (hits, zero)", "none"),
    ("hits in int8", f"{HITS} small = Cast <to = 3> (hits) back = Cast <to = 7> (small)", "back"),
    ("hits in float16", f"{HITS} small = Cast <to = 10> (hits) back = Cast <to = 7> (small)", "back"),
    ("hits that begin below zero", f"{HITS} less = Sub (hits, two)", "less"),
    ("hits to the edges", f"{HITS} {EDGES} there = Gather (hits, target)", "there"),
    ("hits plus something", f"{HITS} odd = Mul (hits, hits) more = Sub (odd, hits)", "more"),
    ("one hit for all", f"{HITS} {EDGES} e = Shape (target) first = Slice (hits, zeros, ones, zeros) "
     "all = Expand (first, e)", "all"),
    ("one hit for three", f"{OVER} all = Expand (kept, three)", "all"),
    ("inverse of Unique", f"{EDGES} once, first, inverse, counts = Unique (target)", "inverse"),
    ("running sum of zeros", f"{EDGES} e = Shape (target) unit = ConstantOfShape <value = int64[1] {{0}}> (e) "
     "sums = CumSum (unit, zero)", "sums"),
    ("places from beyond the start", f"{HITS} most = Sub (n, two) back = Sub (most, hits)", "back"),
    ("places from the end of another length", f"{HITS} {EDGES} e1 = Shape (target) e = Squeeze (e1) most = Sub (e, one) "
     "back = Sub (most, hits)", "back"),
    ("a Range of one, spread", f"{HITS} {EDGES} e = Shape (target) k = Div (n, n) single_ = Range (zero, k, one) "
     "all = Expand (single_, e)", "all"),
    ("all but one hit, spread", f"{HITS} {EDGES} e = Shape (target) k = Sub (n, one) few = Range (zero, k, one) "
     "all = Expand (few, e)", "all"),
    ("a Range as long as what passes a cut, spread", f"{OVER} {EDGES} e = Shape (target) k1 = Shape (kept) k = Squeeze (k1) "
     "few = Range (zero, k, one) all = Expand (few, e)", "all"),
    ("the best of all, spread", f"{EDGES} e = Shape (target) n1 = Shape <start = 1> (x) k = Div (n1, n1) "
     "best, which = TopK <axis = 0> (score, k) all = Expand (which, e)", "all"),
    ("the best of all, spread by a sum", f"{EDGES} e = Shape (target) n1 = Shape <start = 1> (x) k = Div (n1, n1) "
     "best, which = TopK <axis = 0> (score, k) noughts = ConstantOfShape <value = int64[1] {0}> (e) all = Add (which, noughts)",
     "all"),
    ("every third hit, spread over all", f"{HITS} few = Slice (hits, zeros, end, zeros, three) all = Expand (few, n1)", "all"),
    ("hits but the first, spread over all", f"{HITS} few = Slice (hits, ones, end, zeros) all = Expand (few, n1)", "all"),
    ("what passes a cut, spread", f"{OVER} {EDGES} e = Shape (target) all = Expand (kept, e)", "all"),
    ("the one target of all edges, spread", f"{EDGES} once, first, i, c = Unique (target) e = Shape (target) "
     "all = Expand (once, e)", "all"),
    ("hits twice", f"{HITS} both = Concat <axis = 0> (hits, hits)", "both"),
    ("tiled hits", f"{HITS} both = Tile (hits, three)", "both"),
    ("an input of any length", "", "data"),
]
WIDE = "ScatterElements <axis = 0> (data, index, updates)"
DEEP = "ScatterElements <axis = 1> (data, index, updates)"
PAIRS = "ScatterND (data, index, one_edge)"
TWO_AXES = [
    ("a row of hits in every column", f"{HITS} up = Reshape (hits, column) to = Shape (x)", "Expand (up, to)", WIDE, True),
    ("twice as many as hits in every column", f"{HITS} two_n = Mul (n, two) r = Range (zero, two_n, one) "
     "up = Unsqueeze (r, ones) to = Concat <axis = 0> (ones, three)", "Expand (up, to)", WIDE, True),
    ("what passes a cut, in every column of what it chooses", f"{OVER} rows = Gather (x, kept) up = Unsqueeze (kept, ones) "
     "to = Shape (rows)", "Expand (up, to)", WIDE, True),
    ("what passes a cut, in three columns", f"{OVER} up = Unsqueeze (kept, ones) to = Concat <axis = 0> (ones, three)",
     "Expand (up, to)", WIDE, True),
    ("the better half, in every column of what it chooses", f"{HITS} h1 = Div (n1, two) "
     "best, which = TopK <axis = 0> (score, h1) rows = Gather (x, which) up = Unsqueeze (which, ones) to = Shape (rows)",
     "Expand (up, to)", WIDE, True),
    ("the better half, in every column of all hits", f"{HITS} h1 = Div (n1, two) best, which = TopK <axis = 0> (score, h1) "
     "up = Unsqueeze (which, ones) to = Shape (x)", "Expand (up, to)", WIDE, False),
    ("the first column, as torch's default exporter writes y[:, 0] = v", "v = Gather <axis = 1> (x, zero) "
     "up = Unsqueeze (v, ones) to = Shape (up)", "Expand (zero, to)", DEEP, True),
    ("the first of all columns", "to = Shape (x)", "Expand (zero, to)", DEEP, False),
    ("the same along the columns", f"{HITS} up = Reshape (hits, column) to = Shape (x)", "Expand (up, to)", DEEP, False),
    ("targets in every column", f"{EDGES} up = Unsqueeze (target, ones) w = Concat <axis = 0> (ones, three)", "Expand (up, w)",
     WIDE, False),
    ("a constant along its columns", "", "Identity (square)", WIDE, True),
    ("a constant that repeats along one axis only", "", "Identity (columns)", WIDE, True),
    ("and along the other", "", "Identity (columns)", DEEP, False),
    ("one column, scattered along it", f"{EDGES} up = Unsqueeze (target, ones)", "Identity (up)", DEEP, True),
    ("transposed", f"{HITS} up = Reshape (hits, row) to = Shape (x) turned = Transpose (up) wide = Expand (turned, to)",
     "Identity (wide)", WIDE, True),
    ("best of each column", "best, which = TopK <axis = 0> (x, three)", "Identity (which)", WIDE, True),
    ("best of each column, along rows", "best, which = TopK <axis = 0> (x, three)", "Identity (which)", DEEP, False),
    ("pairs above a cut", "over = Greater (x, half) where_ = NonZero (over)", "Transpose (where_)", PAIRS, True),
    ("pairs of edges", "", "Transpose (edge_index)", PAIRS, False),
    ("hits, as tuples of one", f"{HITS} up = Unsqueeze (hits, last)", "Identity (up)", PAIRS, True),
    ("targets, as tuples of one", f"{EDGES} up = Unsqueeze (target, last)", "Identity (up)", PAIRS, False),
    ("ranks of hits beside their numbers", f"{HITS} best, rank_ = TopK (score, n1) tens = Mod (rank_, two) "
     "a = Unsqueeze (hits, last) b = Unsqueeze (tens, last)", "Concat <axis = -1> (b, a)", PAIRS, True),
]


@pytest.mark.parametrize("body, index", [case[1:] for case in PROVEN], ids=[case[0] for case in PROVEN])
def test_different_indices_are_proven_so(body, index):
    graph, node = graph_of(body, index)
    assert indices_unique(graph, node)


@pytest.mark.parametrize("body, index", [case[1:] for case in REPEATING], ids=[case[0] for case in REPEATING])
def test_what_may_repeat_is_not_proven(body, index):
    graph, node = graph_of(body, index)
    assert not indices_unique(graph, node)


@pytest.mark.parametrize("body, index, scatter, proven", [case[1:] for case in TWO_AXES], ids=[case[0] for case in TWO_AXES])
def test_two_axes(body, index, scatter, proven):
    graph, node = graph_of(f"{body} ready = {index}", "ready", scatter, "int64[any, other]", 2)
    assert indices_unique(graph, node) == proven


def test_a_grid_of_rows_and_columns_is_told_by_both():
    grid = f"""{HITS} up = Reshape (hits, column) cols = Range (zero, two, one) to = Concat <axis = 0> (n1, two1)
        a = Expand (up, to) b = Expand (cols, to) a3 = Unsqueeze (a, last) b3 = Unsqueeze (b, last)"""
    body = grid.replace("two1", "pair")
    for pair, proven in (("Concat <axis = -1> (a3, b3)", True), ("Concat <axis = -1> (a3, a3)", False)):
        graph, node = graph_of(f"pair = Add (ones, ones) {body} ready = {pair}", "ready", "ScatterND (data, index, one_edge)",
                               "int64[any, other]", 3)
        assert indices_unique(graph, node) == proven


@pytest.mark.parametrize("spread, proven", [("Shape (up)", True), ("Shape (x)", False)])
def test_a_column_of_every_row_as_the_older_exporter_writes_it(spread, proven):
    """y[:, 0] = v in opset 17: pairs of row and column, expanded to a shape in which -1 would mean 1."""
    body = f"""{HITS} up = Reshape (hits, column) s = {spread} r = Shape (s)
        unit = ConstantOfShape <value = int64[1] {{1}}> (r) never = Mul (unit, minus) odd = Equal (s, never)
        to = Where (odd, unit, s) a = Expand (up, to) b = Expand (zeros, to) a3 = Unsqueeze (a, last) b3 = Unsqueeze (b, last)
        pair = Concat <axis = -1> (a3, b3)"""
    graph, node = graph_of(body, "pair", "ScatterND (data, index, one_edge)", "int64[any, other]", 3)
    assert indices_unique(graph, node) == proven


def test_negative_numbers_of_a_constant_wrap_where_the_length_is_known():
    for length, proven in ((4, True), (3, False)):  # of 3 elements -1 is 2
        graph, node = graph_of("", "signs", data=f"int64[{length}]")
        assert indices_unique(graph, node) == proven


def test_a_note_in_the_file_proves_nothing():
    """A file may say of a value that it has one element; only inputs and operators are believed."""
    graph, node = graph_of(EDGES, "target")
    model = graph.model
    for name in ("index", "updates"):
        model.graph.value_info.append(helper.make_tensor_value_info(name, onnx.TensorProto.INT64, [1]))
    lying = Graph(model, infer=False)
    assert lying.shape("index") == (1,)
    assert not indices_unique(lying, node)


def test_a_default_of_an_input_is_no_constant():
    """A caller may give another index; before IR version 4 every weight was an input."""
    graph, _ = graph_of("", "picked")
    model = graph.model
    model.graph.input.append(helper.make_tensor_value_info("picked", onnx.TensorProto.INT64, [4]))
    for version, proven in ((3, True), (4, False), (10, False)):
        model.ir_version = version
        again = Graph(model)
        assert indices_unique(again, again.producer("out")) == proven
        assert (again.constant("picked") is None) == (not proven)


def test_an_input_of_a_body_is_not_the_node_of_that_name_outside():
    graph, _ = graph_of(HITS, "hits")
    inner = helper.make_graph(
        [helper.make_node("ScatterElements", ["data", "hits", "hits"], ["made"], axis=0)], "body",
        [helper.make_tensor_value_info("hits", onnx.TensorProto.INT64, ["k"])],
        [helper.make_tensor_value_info("made", onnx.TensorProto.INT64, None)],
    )
    body = Graph(graph.model, inner, graph)
    assert not indices_unique(body, body.nodes[0])


def test_damaged_graphs_prove_nothing():
    graph, _ = graph_of(HITS, "hits")
    for scatter in (helper.make_node("ScatterElements", ["data", "index"], ["o"]),
                    helper.make_node("ScatterElements", ["data", "index", "updates"], ["o"], axis=7),
                    helper.make_node("ScatterElements", ["data", "nowhere", "updates"], ["o"])):
        assert not indices_unique(graph, scatter)
    for op_type in ("Gather", "Add", "Range", "CumSum", "Slice", "Expand", "TopK", "Concat", "NonZero"):
        model = onnx.ModelProto()
        model.CopyFrom(graph.model)
        made = next(item for item in model.graph.node if item.output[0] == "hits")
        made.op_type = op_type
        del made.input[1:]
        lying = Graph(model)
        assert not indices_unique(lying, lying.producer("out")), op_type


def test_long_and_circular_chains_end():
    model = graph_of(HITS, "hits")[0].model
    chain = [helper.make_node("Add", ["hits" if n == 0 else f"c{n}", "one"], [f"c{n + 1}"]) for n in range(3000)]
    looped = [helper.make_node("Add", ["l1", "l2"], ["l2"]), helper.make_node("Add", ["l2", "l2"], ["l1"])]
    model.graph.node.extend([*chain, *looped])
    for name in ("c3000", "l1"):
        model.graph.node.append(helper.make_node("ScatterElements", ["data", name, name], [f"o{name}"], axis=0))
        graph = Graph(model)
        assert not indices_unique(graph, graph.producer(f"o{name}"))
        assert uniform(graph, name) is False
    assert Intervals(Graph(model)).of("c3000")[0] <= 3000


STEPS = [
    "Slice (v, zeros, end, zeros, three)", "Slice (v, last, far, zeros, last)", "Add (v, two)", "Sub (v, one)", "Sub (two, v)",
    "Mul (v, two)", "Mul (v, minus)", "Neg (v)", "Abs (v)", "Mod (v, two)", "Div (v, two)", "Min (v, three)", "Max (v, one)",
    "Gather (v, picked)", "Gather (v, twice)", "Gather (hits, v)", "Gather (v, kept)", "Concat <axis = 0> (v, v)", "Add (v, v)",
    "Mul (v, v)", "Reshape (v, last)", "Cast <to = 6> (v)", "Cast <to = 3> (v)", "CumSum (v, zero)", "Expand (v, three)",
    "Tile (v, three)", "Sub (v, v)", "Expand (v, n1)", "Sub (most, v)", "Gather (hits, kept)", "Range (zero, few, one)",
    "Add (v, noughts)", "Gather (v, order)", "Where (over, v, hits)",
]


def chain_of(rng):
    """Return (source, operators, graph, scatter) of a chain of operators drawn at random, every result int64 again."""
    source = rng.choice(["hits", "kept", "order", "picked", "target", "twice"])
    steps = [STEPS[choice] for choice in rng.integers(0, len(STEPS), rng.integers(1, 5))]
    lines, name = [], source
    for place, step in enumerate(steps):
        step = step.replace("(v", f"({name}").replace(", v", f", {name}")
        lines.append(f"s{place} = {step} c{place} = Cast <to = 7> (s{place})")
        name = f"c{place}"
    body = f"""{HITS} {OVER} {EDGES} best, order = TopK (score, n1) most = Sub (n, one) k1 = Shape (kept)
        few = Squeeze (k1) noughts = ConstantOfShape <value = int64[1] {{0}}> (n1) {' '.join(lines)}"""
    return source, steps, *graph_of(body, name, rank=None)


def inputs_of(rng, hits):
    x, score = rng.normal(size=(hits, 3)).astype(np.float32), rng.random(hits).astype(np.float32)
    edges = rng.integers(0, hits, (2, 2 * hits))
    return {"x": x, "edge_index": edges, "score": score, "data": np.zeros(64, np.int64), "one_edge": np.zeros(1, np.int64)}


def test_what_is_proven_is_true(rng):
    """Chains drawn at random: wherever a proof is given, the numbers agree; and proofs are given."""
    checked = 0
    for _ in range(1500):
        source, steps, graph, node = chain_of(rng)
        if not indices_unique(graph, node):
            continue
        model = graph.model
        del model.graph.node[-1:]
        model.graph.output[0].name = "index"
        evaluator, (low, high) = ReferenceEvaluator(model), Intervals(Graph(model)).of("index")
        for hits in (1, 3, 9):
            try:
                index = evaluator.run(None, inputs_of(rng, hits))[0]
            except (IndexError, TypeError, ValueError, RuntimeError):  # out of range, or of other lengths: no scatter
                continue
            assert index.size == 0 or (low <= index.min() and index.max() <= high), (source, steps)
            for length in (64, int(index.max(initial=0)) + 1):
                places = index[(index >= -length) & (index < length)] % length
                assert len(np.unique(places)) == len(places), (source, steps)
            checked += 1
    assert checked > 200


UNIFORM = [
    ("ConstantOfShape <value = float[1] {2}> (n1)", True), ("Expand (half, n1)", True), ("Identity (half)", True),
    ("Identity (score)", False), ("Sigmoid (halves)", True), ("Mul (halves, score)", False),
    ("Slice (halves, zeros, ones)", True),
    ("Cast <to = 1> (one_edge)", True), ("Cast <to = 1> (picked)", False),
]


@pytest.mark.parametrize("made, equal", UNIFORM)
def test_one_number_everywhere(made, equal):
    graph, _ = graph_of(f"{HITS} halves = Expand (half, n1) value = {made}", "hits")
    assert uniform(graph, "value") == equal


def test_intervals_of_counts_and_remainders():
    graph, _ = graph_of(f"{HITS} rest = Mod (hits, two) near = Min (n1, three) tiny = Cast <to = 3> (hits) "
                        "more = Add (rest, two) off = Sub (rest, two)", "hits")
    intervals = Intervals(graph)
    assert intervals.of("rest") == (0, 1) and intervals.of("near") == (0, 3) and intervals.of("more") == (2, 3)
    assert intervals.of("off") == (-2, -1) and intervals.of("tiny") == (-128, 127) and intervals.of("edge_index")[0] == -(2**63)
    assert math.log2(intervals.of("hits")[1]) <= 40
