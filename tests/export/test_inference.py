"""Shape inference of files that were made to use up all memory: refused, quickly; of real ones: done."""

import time

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from support.onnx_models import model_of

from trkx.export.inference import bounded, inferred, plausible
from trkx.export.lint.run import lint_file
from trkx.export.onnx_graph import Graph


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
