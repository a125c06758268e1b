"""What a FP16 or BF16 graph gives on hardware that really computes so, worked out in FP32 on a CPU."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper

from lsd.export.precision.convert import serialised
from lsd.export.precision.graph import element_types

LOW_TYPES = (TensorProto.FLOAT16, TensorProto.BFLOAT16)
# They hand values on as they are: nothing to round again
MOVING_OPS = ("Concat", "Expand", "Flatten", "Gather", "GatherElements", "GatherND", "Identity", "Relu", "Reshape",
              "Slice", "Split", "Squeeze", "Tile", "Transpose", "Unsqueeze", "Where")  # fmt: skip


def simulated(low: bytes) -> bytes:
    """An FP32 graph that gives what the FP16 or BF16 graph gives, for proof on a CPU: a simulation, not that graph.

    Every low node takes rounded values, computes in FP32 (as tensor cores add up products) and has its result rounded
    to its format, infinities included, by a pair of casts. Needed because ONNX Runtime's CPU kernels cannot show what
    a GPU will do: they have no BF16 arithmetic at all, and run chains of FP16 nodes in FP32 without rounding between,
    so that a value beyond 65,504 passes unseen (1.32). A kernel that adds up in FP16 may still differ.

    Args:
        low: an ONNX file by `converted`.
    Returns:
        an ONNX file, `lsd_precision` fp32.
    """
    model = onnx.load_model_from_string(low)
    types = element_types(model)
    nodes: list[NodeProto] = []
    for original in model.graph.node:
        node = NodeProto.FromString(original.SerializeToString())
        nodes.append(node)
        if node.op_type == "Cast" and types[node.input[0]] in LOW_TYPES and types[node.output[0]] == TensorProto.FLOAT:
            nodes[-1] = helper.make_node("Identity", list(node.input), list(node.output), node.name)
        for i, name in enumerate(original.output):
            if types.get(name) not in LOW_TYPES or node.op_type in MOVING_OPS:
                continue
            narrow = f"{name}__narrow"
            if node.op_type == "Cast":
                node.output[i] = narrow
            else:
                node.output[i] = f"{name}__exact"
                nodes.append(helper.make_node("Cast", [node.output[i]], [narrow], f"{name}__round", to=types[name]))
            nodes.append(helper.make_node("Cast", [narrow], [name], f"{name}__widen", to=TensorProto.FLOAT))
    del model.graph.node[:], model.graph.value_info[:]
    model.graph.node.extend(nodes)
    for constant in model.graph.initializer:
        if constant.data_type in LOW_TYPES:
            values = numpy_helper.to_array(constant).astype(np.float32)
            constant.CopyFrom(numpy_helper.from_array(values, constant.name))
    return serialised(model, "fp32")
