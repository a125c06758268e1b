"""Small ONNX graphs with the ends of an encoder and one type in between, as strongly typed builders want."""

from __future__ import annotations

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="onnx is not installed: the graphs are made with it")

BANDS = "red,green,blue,nir"
TYPES = {"fp32": onnx.TensorProto.FLOAT, "fp16": onnx.TensorProto.FLOAT16, "bf16": onnx.TensorProto.BFLOAT16}


def graph(computes="fp16", claims=None, op="Conv", output="logit", quantised=False):
    """ONNX bytes: cast, convolution, mean, product, cast; `computes` is the type in between, `claims` the metadata."""
    helper = onnx.helper
    kind = TYPES[computes]
    rng = np.random.default_rng(0)

    def constant(name, shape):
        return helper.make_tensor(name, kind, shape, rng.normal(size=np.prod(shape)).tolist())

    data, weight, around = "cast", "w", []
    values = [constant("w", (8, 4, 3, 3)), constant("g", (8, 1))]
    if quantised:
        values += [
            helper.make_tensor("s", kind, (), [0.05]),
            helper.make_tensor("z", onnx.TensorProto.INT8, (), [0]),
        ]
        for name in ("cast", "w"):
            around.append(helper.make_node("QuantizeLinear", [name, "s", "z"], [f"{name}.q"]))
            around.append(helper.make_node("DequantizeLinear", [f"{name}.q", "s", "z"], [f"{name}.dq"]))
        data, weight = "cast.dq", "w.dq"
    nodes = [
        helper.make_node("Cast", ["patches"], ["cast"], to=kind),
        *around,
        helper.make_node(op, [data, weight], ["c"], name="stem"),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("GlobalAveragePool", ["r"], ["p"]),
        helper.make_node("Flatten", ["p"], ["f"]),
        helper.make_node("MatMul", ["f", "g"], ["m"], name="head"),
        helper.make_node("Cast", ["m"], ["k"], to=TYPES["fp32"]),
        helper.make_node("Squeeze", ["k", "axis"], [output]),
    ]
    values.append(helper.make_tensor("axis", onnx.TensorProto.INT64, (1,), [1]))
    made = helper.make_graph(
        nodes,
        "encoder",
        [helper.make_tensor_value_info("patches", TYPES["fp32"], ["n", 4, 64, 64])],
        [helper.make_tensor_value_info(output, TYPES["fp32"], ["n"])],
        values,
    )
    opset = 22 if computes == "bf16" else 17
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    helper.set_model_props(model, {"lsd_bands": BANDS, "lsd_precision": claims or computes})
    return model.SerializeToString()
