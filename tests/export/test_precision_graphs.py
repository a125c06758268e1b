"""Plans and conversions of small graphs made by hand, each with one thing that could go wrong."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnxruntime import InferenceSession, SessionOptions

from lsd.export.precision.convert import converted
from lsd.export.precision.element import ELEMENTS
from lsd.export.precision.graph import graph_from_bytes
from lsd.export.precision.lower import at_precision
from lsd.export.precision.opset import with_bf16_operators
from lsd.export.precision.plan import plan_precision
from lsd.export.precision.ranges import Range, measure_ranges
from lsd.export.precision.simulate import simulated
from lsd.runtime.errors import GateError, UsageError

SQUARES = np.linspace(-2, 2, 12, dtype=np.float32).reshape(3, 1, 2, 2)


def run(content, pixels):
    options = SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    return InferenceSession(content, options, providers=["CPUExecutionProvider"]).run(None, {"patches": pixels})[0]


def ops(content):
    return Counter(node.op_type for node in onnx.load_model_from_string(content).graph.node)


def by_hand(nodes, constants, opset=18, functions=(), domains=()):
    """patches (n, 1, 2, 2) -> logit (n,): the steps given, from a first Gemm `a` (n, 4) to a last one."""
    generator = np.random.default_rng(0)
    stored = {"w": generator.normal(size=(4, 4)), "last": generator.normal(size=(4, 1)), **constants}
    steps = [
        helper.make_node("Flatten", ["patches"], ["flat"]),
        helper.make_node("Gemm", ["flat", "w"], ["a"]),
        *nodes,
        helper.make_node("Gemm", ["b", "last"], ["column"]),
        helper.make_node("Flatten", ["column"], ["row"], axis=0),
        helper.make_node("Squeeze", ["row", "first"], ["logit"]),
    ]
    initializers = [
        numpy_helper.from_array(
            np.asarray(value, np.int64 if np.asarray(value).dtype == np.int64 else np.float32), name
        )
        for name, value in {**stored, "first": np.array([0])}.items()
    ]
    graph = helper.make_graph(
        steps,
        "by hand",
        [helper.make_tensor_value_info("patches", TensorProto.FLOAT, ["n", 1, 2, 2])],
        [helper.make_tensor_value_info("logit", TensorProto.FLOAT, ["n"])],
        initializers,
    )
    imports = [helper.make_opsetid("", opset), *(helper.make_opsetid(one, 1) for one in domains)]
    return helper.make_model(graph, opset_imports=imports, functions=functions, ir_version=10).SerializeToString()


def node(op, inputs, outputs, **attributes):
    return helper.make_node(op, inputs, outputs, op.lower(), **attributes)


def planned(content, precision="fp16", pixels=SQUARES):
    graph = graph_from_bytes(content)
    return plan_precision(graph, measure_ranges(graph, pixels, 1), precision, len(pixels))


def reasons_of(content, **options):
    return {one.name: one.reason for one in planned(content, **options).kept}


def test_a_written_out_norm_stays_whole_and_a_square_does_not():
    norm = [
        node("Pow", ["a", "two"], ["square"]),
        node("ReduceMean", ["square", "axes"], ["mean"]),
        node("Add", ["mean", "epsilon"], ["above"]),
        node("Sqrt", ["above"], ["root"]),
        node("Reciprocal", ["root"], ["inverse"]),
        node("Mul", ["a", "inverse"], ["b"]),
    ]
    constants = {"two": 2.0, "axes": np.array([1]), "epsilon": 1e-6}
    reasons = reasons_of(by_hand(norm, constants))
    assert {reasons.get(one) for one in ("pow", "reducemean", "add", "sqrt", "reciprocal", "mul")} == {"normalisation"}
    assert "pow" not in reasons_of(by_hand([node("Pow", ["a", "two"], ["b"])], {"two": 2.0}))


def test_values_beyond_the_margin_and_constants_below_the_format_stay():
    large = reasons_of(by_hand([node("Mul", ["a", "much"], ["b"])], {"much": 1e4}))
    assert large["mul"].startswith("reaches") and large["mul"].endswith("at fp16: b")
    assert reasons_of(by_hand([node("Mul", ["a", "much"], ["b"])], {"much": 1e4}), precision="bf16").keys() == {
        one for one in large if one != "mul"
    }
    tiny = reasons_of(by_hand([node("Add", ["a", "epsilon"], ["b"])], {"epsilon": 1e-10}))
    assert tiny["add"] == "constant too small for fp16: epsilon"
    endless = reasons_of(by_hand([node("Div", ["a", "zero"], ["b"])], {"zero": 0.0}))
    assert endless["div"] == "not finite in 3 patches: b"


def test_ranges_are_those_of_numpy_and_overlook_no_nan():
    graph = graph_from_bytes(by_hand([node("Relu", ["a"], ["b"])], {}))
    pixels = SQUARES.copy()
    pixels[1, 0, 1, 1] = np.nan
    ranges = measure_ranges(graph, pixels, 1)
    weights = numpy_helper.to_array(graph.constants["w"])
    products = np.delete(pixels.reshape(3, 4), 1, axis=0) @ weights
    assert ranges["a"].non_finite == 1 and ranges["a"].max_abs == pytest.approx(np.abs(products).max(), rel=1e-6)
    assert ranges["patches"] == Range(2.0, 1) and ranges["w"] == Range(float(np.abs(weights).max()), 0)


def test_shared_constants_scales_and_shapes_are_handled():
    steps = [
        node("Mul", ["a", "shared"], ["low"]),
        node("Softmax", ["low"], ["soft"]),
        helper.make_node("Mul", ["soft", "shared"], ["soft2"], "behind_softmax"),
        helper.make_node("Reshape", ["low", "image"], ["square"]),
        node("Resize", ["square", "", "scales"], ["wide"], mode="nearest"),
        helper.make_node("Shape", ["a"], ["shape"]),
        helper.make_node("Reshape", ["wide", "shape"], ["narrow"]),
        helper.make_node("Add", ["narrow", "soft2"], ["b"]),
    ]
    constants = {"shared": 3.0, "image": np.array([-1, 1, 2, 2]), "scales": [1.0, 1.0, 1.0, 1.0]}
    source = by_hand(steps, constants)
    plan = planned(source)
    content = converted(
        graph_from_bytes(source), replace(plan, low=tuple(x for x in plan.low if x != "behind_softmax"))
    )
    types = {one.name: one.data_type for one in onnx.load_model_from_string(content).graph.initializer}
    assert types["shared"] == TensorProto.FLOAT and types["shared__fp16"] == TensorProto.FLOAT16
    assert types["scales"] == TensorProto.FLOAT and types["w"] == TensorProto.FLOAT16 and "w__fp16" not in types
    np.testing.assert_allclose(run(content, SQUARES), run(source, SQUARES), atol=0.02)


def test_a_tensor_that_may_grow_is_clamped_before_fp16():
    source = by_hand([node("Relu", ["a"], ["b"])], {"w": np.full((4, 4), 0.5)})
    content, plan = at_precision(source, "fp16", SQUARES, 1)
    assert plan.clamped == ("flat",) and ops(content)["Clip"] == 1
    np.testing.assert_allclose(run(content, SQUARES), run(source, SQUARES), atol=0.01)
    unclamped = converted(graph_from_bytes(source), replace(plan, clamped=()))
    assert np.isfinite(run(simulated(content), SQUARES * 1e6)).all()
    assert not np.isfinite(run(simulated(unclamped), SQUARES * 1e6)).all()


def test_bf16_is_simulated_to_the_bit():
    source = by_hand([node("Relu", ["a"], ["b"])], {})
    content, _ = at_precision(source, "bf16", SQUARES, 1)
    assert onnx.load_model_from_string(content).opset_import[0].version == 22
    graph = with_bf16_operators(graph_from_bytes(source))
    short = ELEMENTS["bf16"].dtype
    weights = [numpy_helper.to_array(graph.constants[name]) for name in ("w", "last")]
    flat = SQUARES.reshape(3, 4).astype(short).astype(np.float32)
    hidden = np.maximum((flat @ weights[0].astype(short).astype(np.float32)).astype(short), 0).astype(np.float32)
    np.testing.assert_allclose(run(simulated(content), SQUARES), (hidden @ weights[1]).ravel(), rtol=1e-6)


def test_constant_nodes_and_functions_are_inlined():
    twice = helper.make_function(
        "own", "Twice", ["x"], ["y"], [helper.make_node("Add", ["x", "x"], ["y"])], [helper.make_opsetid("", 18)]
    )
    steps = [
        helper.make_node("Constant", [], ["two"], value_float=2.0),
        helper.make_node("Identity", ["a"], ["same"]),
        helper.make_node("Mul", ["same", "two"], ["double"]),
        helper.make_node("Twice", ["double"], ["b"], domain="own"),
    ]
    source = by_hand(steps, {}, functions=[twice], domains=["own"])
    content, _ = at_precision(source, "fp16", SQUARES, 1)
    assert not ops(content).keys() & {"Constant", "Identity", "Twice"}
    np.testing.assert_allclose(run(content, SQUARES), run(source, SQUARES), atol=0.02)


def test_what_cannot_be_converted_is_one_line():
    branch = helper.make_graph([node("Neg", ["a"], ["z"])], "one", [], [helper.make_tensor_value_info("z", 1, None)])
    yes = helper.make_node("Constant", [], ["yes"], value=numpy_helper.from_array(np.array(True)))
    choice = helper.make_node("If", ["yes"], ["b"], "choice", then_branch=branch, else_branch=branch)
    plain = by_hand([node("Relu", ["a"], ["b"])], {})
    low, _ = at_precision(plain, "fp16", SQUARES, 1)
    huge = by_hand([node("Relu", ["a"], ["b"])], {"w": np.full((4, 4), 1e5)})
    for content, precision, pixels, error, line in [
        (by_hand([yes, choice], {}), "fp16", SQUARES, UsageError, "without branches, found If choice"),
        (b"nothing", "fp16", SQUARES, UsageError, "expected an ONNX file, found 7 bytes"),
        (low, "fp16", SQUARES, UsageError, "expected an FP32 graph, found FLOAT16 inside"),
        (plain, "fp8", SQUARES, UsageError, "found fp8"),
        (
            plain,
            "fp16",
            SQUARES[:, :, :1],
            UsageError,
            r"patches \(n, 1, 2, 2\) with n >= 1, found float32 \(3, 1, 1, 2\)",
        ),
        (huge, "fp16", SQUARES, GateError, "at fp16 none of 2 Conv, MatMul and Gemm can leave FP32"),
    ]:
        with pytest.raises(error, match=line) as caught:
            at_precision(content, precision, pixels, 1)
        assert "\n" not in str(caught.value)
