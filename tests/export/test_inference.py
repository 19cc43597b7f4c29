"""Shape inference of files that were made to use up all memory: refused, quickly; of real ones: done."""

import re
import time

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from support.onnx_models import model_of
from support.scatter_models import asked

from trkx.errors import ExportError
from trkx.export import loops
from trkx.export.functions import growth_problem, unfolded, without_functions
from trkx.export.inference import bounded, inferred, plausible
from trkx.export.lint.run import lint_file
from trkx.export.loops import endless_loop
from trkx.export.onnx_graph import Graph
from trkx.export.repair.files import repair_file
from trkx.export.repair.float64 import evaluator
from trkx.export.validation.lone import validate_file
from trkx.export.validation.onnx_float64 import Float64Graph


def model(nodes, inputs=(("x", TensorProto.FLOAT, [3, 4]),), constants=()):
    doors = [helper.make_tensor_value_info(*item) for item in inputs]
    out = [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)]
    graph = helper.make_graph(list(nodes), "g", doors, out, list(constants))
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])


def doubled(op_type, count, first="Shape", **attributes):
    yield helper.make_node(first, ["x"], ["v0"])
    for number in range(count):
        yield helper.make_node(op_type, [f"v{number}"] * 2, [f"v{number + 1}"], **attributes)
    yield helper.make_node("Reshape", ["x", f"v{count}"], ["y"])


LYING = TensorProto(name="c", data_type=TensorProto.INT64, dims=[2**40], raw_data=b"\0" * 8)
BRANCH = helper.make_graph(list(doubled("Concat", 40, axis=0)), "b", [], [helper.make_tensor_value_info("y", 1, None)])
INT = (("x", TensorProto.INT64, [3, 4]),)
HOSTILE = {
    "a shape twice as long in each node": model(doubled("Concat", 40, axis=0)),
    "the same in a branch": model([
        helper.make_node("If", ["x"], ["y"], then_branch=BRANCH, else_branch=BRANCH)]),
    "twice the rank in each node": model(doubled("Gather", 40, "Identity"), INT),
    "a constant that declares more than it holds": model([helper.make_node("Mul", ["c", "c"], ["y"])], constants=[LYING]),
    "the same in a node": model([
        helper.make_node("Constant", [], ["c"], value=LYING), helper.make_node("Mul", ["c", "c"], ["y"])]),
    "negative dimensions": model([helper.make_node("Mul", ["c", "c"], ["y"])], constants=[
        TensorProto(name="c", data_type=TensorProto.INT64, dims=[-4, -(2**38)], raw_data=b"\0" * 8)]),
    "a rank that an input declares": model([helper.make_node("ConstantOfShape", ["x"], ["y"])], (
        ("x", TensorProto.INT64, [2**31]),)),
    "a thousand axes at once": model([helper.make_node("Unsqueeze", ["x", "c"], ["y"])], constants=[
        numpy_helper.from_array(np.arange(5000), "c")]),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_would_not_end_is_not_begun(name):
    start = time.monotonic()
    assert not plausible(HOSTILE[name]) and not bounded(HOSTILE[name])
    assert inferred(HOSTILE[name]) is HOSTILE[name]
    assert Graph(HOSTILE[name]).shape("y") is None
    assert time.monotonic() - start < 5


@pytest.mark.parametrize("name", HOSTILE)
def test_lint_refuses_such_a_file(name, tmp_path):
    (tmp_path / "gnn.onnx").write_bytes(HOSTILE[name].SerializeToString())
    (found,) = lint_file(tmp_path / "gnn.onnx")
    assert found.rule.id == "TRKX000" and "plausible" in found.message


def test_local_functions_are_not_unfolded():
    body = model([helper.make_node("Twice", ["x"], ["y"], domain="mine")])
    body.functions.append(helper.make_function("mine", "Twice", ["a"], ["b"], [helper.make_node("Add", ["a", "a"], ["b"])],
                                               [helper.make_opsetid("", 18)]))
    assert plausible(body) and not bounded(body)


def calling(bodies):
    """Return a model that calls the first of functions f0, f1, …; `bodies`: the node types in each, fK calls the function K."""
    start = model([helper.make_node("f0", ["x"], ["y"], domain="mine")])
    start.opset_import.append(helper.make_opsetid("mine", 1))
    for number, names in enumerate(bodies):
        chain = [helper.make_node(name, [f"v{at}"], [f"v{at + 1}"], domain="mine" if name.startswith("f") else "")
                 for at, name in enumerate(names)]
        opsets = [helper.make_opsetid("", 18), helper.make_opsetid("mine", 1)]
        start.functions.append(helper.make_function("mine", f"f{number}", ["v0"], [f"v{len(names)}"], chain, opsets))
    return start


UNFIT = {
    "each calls the next one twice": (calling([*([f"f{n + 1}"] * 2 for n in range(40)), ["Relu"]]), "would become 3.3e.12 nodes"),
    "one calls itself": (calling([["Relu", "f0"]]), "call themselves: f0 calls f0"),
    "two call each other": (calling([["f1"], ["f0"]]), "call themselves"),
    "a thousand deep": (calling([*([f"f{n + 1}"] for n in range(1000)), ["Relu"]]), "1001 deep"),
}


@pytest.mark.parametrize("name", UNFIT)
def test_functions_that_grow_without_measure_are_counted_not_unfolded(name, tmp_path):
    hostile, message = UNFIT[name]
    start = time.monotonic()
    with pytest.raises(ExportError, match=message):
        without_functions(hostile)
    assert unfolded(hostile) is hostile
    path = tmp_path / "gnn.onnx"
    path.write_bytes(hostile.SerializeToString())
    errors = [item for item in lint_file(path) if item.rule.id == "TRKX013"]
    assert len(errors) == 1 and errors[0].severity == "error" and re.search(message, errors[0].message)
    problems = repair_file(asked(path=path), tmp_path / "out.onnx").problems
    assert any(re.search(message, problem) for problem in problems)
    assert not (tmp_path / "out.onnx").exists()
    with pytest.raises(ExportError, match=message):
        validate_file(path)
    assert time.monotonic() - start < 30


def test_large_bodies_that_are_called_often_are_counted_in_bytes():
    hostile = calling([["f1"] * 200, ["f2"] * 200, ["Relu"]])
    weights = numpy_helper.from_array(np.zeros(20_000, np.float32), "c")
    hostile.functions[2].node.append(helper.make_node("Constant", [], ["c"], value=weights))
    assert "bytes" in growth_problem(hostile)


def test_functions_that_call_functions_are_unfolded():
    nested = calling([["f1", "Relu", "f1"], ["Exp", "f2"], ["Neg"]])
    plain = without_functions(nested)
    assert [node.op_type for node in plain.graph.node] == ["Exp", "Neg", "Relu", "Exp", "Neg"]
    assert not plain.functions and [item.domain for item in plain.opset_import] == [""]
    assert Graph(plain).shape("y") == (3, 4)
    assert without_functions(plain) is plain


def looping(count, go_on=True, ends=False, inner=()):
    """Return a model with a loop of `count` rounds (None: as long as it goes on), which `ends` by what x says."""
    door = helper.make_tensor_value_info
    handed = helper.make_node("Identity", ["c"], ["d"])
    if ends:
        handed = helper.make_node("Cast", ["i"], ["d"], to=TensorProto.BOOL)
    body = helper.make_graph(
        [handed, *inner, helper.make_node("Identity", ["v"], ["w"])], "b",
        [door("i", TensorProto.INT64, []), door("c", TensorProto.BOOL, []), door("v", TensorProto.FLOAT, None)],
        [door("d", TensorProto.BOOL, []), door("w", TensorProto.FLOAT, None)],
    )
    constants = [numpy_helper.from_array(np.array(go_on), "t")]
    if isinstance(count, int):
        constants.append(numpy_helper.from_array(np.array(count), "n"))
    names = ["n" if isinstance(count, int) else count or "", "t", "x"]
    return model([helper.make_node("Loop", names, ["y"], body=body)], constants=constants)


NESTED = looping(2**40).graph.node[0]
ENDLESS = {"2^62 rounds": looping(2**62), "for ever": looping(None)}


@pytest.mark.parametrize("name", ENDLESS)
def test_loops_without_end_are_refused_before_they_run(name, tmp_path):
    path = tmp_path / "gnn.onnx"
    path.write_bytes(ENDLESS[name].SerializeToString())
    with pytest.raises(ExportError, match=r"rounds|for ever"):
        repair_file(asked(path=path), tmp_path / "out.onnx")
    with pytest.raises(ExportError, match=r"rounds|for ever"):
        validate_file(path)


def test_loops_that_end_are_no_reason():
    for right in (looping(200_000), looping(2**62, go_on=False), looping(2**62, ends=True), looping("x"), model_of()):
        assert endless_loop(Graph(right, infer=False)) == ""
    hidden = looping(3)
    branch = helper.make_graph([NESTED], "g", [], [helper.make_tensor_value_info("y", 1, None)])
    hidden.graph.node.append(helper.make_node("If", ["t"], ["z"], then_branch=branch, else_branch=branch))
    hidden.graph.initializer.append(numpy_helper.from_array(np.array(2**40), "n2"))
    hidden.graph.initializer[1].CopyFrom(numpy_helper.from_array(np.array(2**40), "n"))
    assert "1.1e+12 rounds" in endless_loop(Graph(hidden, infer=False))


def test_loops_whose_rounds_are_computed_are_stopped(monkeypatch):
    """The number comes from an input: only running tells. Rounds of all loops count together, on each graph anew."""
    monkeypatch.setattr(loops, "MOST_ROUNDS", 100)
    counted = looping("m")
    counted.graph.input.append(helper.make_tensor_value_info("m", TensorProto.INT64, []))
    feeds = {"x": np.ones((3, 4), np.float32), "m": np.array(60)}
    for run in (evaluator(counted, "y"), Float64Graph(counted).run):
        for _ in range(2):
            assert run(feeds).shape == (3, 4)
        with pytest.raises(ExportError, match="more than 100 rounds"):
            run(feeds | {"m": np.array(2**40)})


def test_a_node_that_inference_would_crash_on_is_seen_before():
    for change in (lambda node: setattr(node.attribute[0], "type", onnx.AttributeProto.STRING), lambda node: node.input.pop(),
                   lambda node: node.attribute.add(name="axis", type=onnx.AttributeProto.INT)):
        damaged = model([helper.make_node("GatherND", ["x", "x"], ["y"], batch_dims=0)], INT)
        assert inferred(damaged) is not damaged
        change(damaged.graph.node[0])
        assert bounded(damaged) and inferred(damaged) is damaged
    foreign = model([helper.make_node("Nowhere", ["x"], ["z"]), helper.make_node("Mine", ["z"], ["w"], domain="my.own"),
                     helper.make_node("Identity", ["x"], ["y"])])
    foreign.opset_import.append(helper.make_opsetid("my.own", 1))
    assert Graph(foreign).shape("y") == (3, 4)


def test_usual_graphs_are_inferred(golden):
    assert Graph(model_of()).shape("d") == ("num_edges", 3)
    published = onnx.load(golden / "lrt" / "gnn.onnx")
    assert bounded(published) and Graph(published).dtype(published.graph.node[-1].output[0]) == TensorProto.FLOAT
    few = model(doubled("Concat", 3, axis=0))
    assert bounded(few)
    weights = [numpy_helper.from_array(np.zeros((500, 500), np.float32), "w"), numpy_helper.from_array(np.arange(10**6), "i")]
    assert bounded(model([helper.make_node("Gather", ["w", "i"], ["y"])], constants=weights))
