"""What a graph really computes in, read from the graph itself: an FP32 graph under an FP16 name shows."""

from __future__ import annotations

from collections import Counter

import onnx
from onnx import ModelProto, NodeProto, TensorProto

from lsd.export.precision.graph import FLOP_OPS, element_types

NAMES: dict[int, str] = {
    TensorProto.FLOAT: "fp32",
    TensorProto.FLOAT16: "fp16",
    TensorProto.BFLOAT16: "bf16",
    TensorProto.INT8: "int8",
    TensorProto.UINT8: "int8",
}


def precision_shares(content: bytes) -> dict[str, float]:
    """Share of the FLOP-carrying nodes (Conv, MatMul, Gemm) by the element type they compute in.

    A node of dequantized values alone counts by the type these were stored in, as compilers of Q/DQ graphs run it.

    Returns:
        fp32, fp16, bf16, int8 or another type's ONNX name -> share in 0..1, those that occur; empty without such nodes.
    Raises:
        UsageError: a tensor's type cannot be inferred.
    """
    model = onnx.load_model_from_string(content)
    types = element_types(model)
    dequantized = {
        node.output[0]: types[node.input[0]] for node in model.graph.node if node.op_type == "DequantizeLinear"
    }
    found = Counter(_type(node, types, dequantized) for node in model.graph.node if node.op_type in FLOP_OPS)
    return {
        NAMES.get(one) or TensorProto.DataType.Name(one): count / found.total()
        for one, count in sorted(found.items(), key=lambda item: -item[1])
    }


def count_nodes(model: ModelProto, op: str) -> int:
    """How many nodes of one kind."""
    return sum(node.op_type == op for node in model.graph.node)


def _type(node: NodeProto, types: dict[str, int], dequantized: dict[str, int]) -> int:
    if all(name in dequantized for name in node.input[:2]):
        return dequantized[node.input[0]]
    return types[node.output[0]]
