"""The low element types, and what ONNX's operators take of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import ml_dtypes
import numpy as np
from onnx import NodeProto, TensorProto, defs

LowPrecision = Literal["fp16", "bf16", "int8"]


@dataclass(frozen=True)
class Element:
    """limit: largest |value| let into it. dtype: of numpy arrays. named: as operator schemas call it."""

    precision: str
    type: int
    dtype: Any
    named: str
    limit: float


# FP16 ends at 65,504. A quarter of it leaves two powers of two for patches that were not measured, and for sums of
# products that some kernels keep in FP16. BF16 reaches as far as FP32.
FP16_LIMIT = 65_504 / 4
ELEMENTS = {
    "fp16": Element("fp16", TensorProto.FLOAT16, np.dtype(np.float16), "tensor(float16)", FP16_LIMIT),
    "bf16": Element("bf16", TensorProto.BFLOAT16, np.dtype(ml_dtypes.bfloat16), "tensor(bfloat16)", float("inf")),
}


@dataclass(frozen=True)
class Slots:
    """Positions of a node's inputs and outputs that may take an element type."""

    inputs: frozenset[int]
    outputs: frozenset[int]


def slots_of(node: NodeProto, opset: int, element: Element) -> Slots:
    """What the operator's schema allows at that opset; inputs fixed to float32 (the scales of Resize) do not."""
    schema = defs.get_schema(node.op_type, opset, node.domain)
    allowed = {one.type_param_str: one.allowed_type_strs for one in schema.type_constraints}

    def fitting(names: Any, formals: Any) -> frozenset[int]:
        formal = [formals[min(i, len(formals) - 1)] for i in range(len(names))]  # the last may be variadic
        return frozenset(i for i, one in enumerate(formal) if element.named in allowed.get(one.type_str, ()))

    return Slots(fitting(node.input, schema.inputs), fitting(node.output, schema.outputs))
