"""The one way to another precision: measure, plan, convert."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lsd.export.precision.convert import converted
from lsd.export.precision.element import LowPrecision
from lsd.export.precision.graph import graph_from_bytes
from lsd.export.precision.opset import with_bf16_operators
from lsd.export.precision.plan import PrecisionPlan, plan_precision
from lsd.export.precision.quantize import quantized
from lsd.export.precision.ranges import measure_ranges
from lsd.runtime.errors import GateError, UsageError


def at_precision(
    fp32: bytes, precision: LowPrecision, patches: NDArray[np.float32], threads: int | None = None
) -> tuple[bytes, PrecisionPlan]:
    """The same network at a lower precision; input and output stay float32.

    Args:
        fp32: an ONNX file of the contract (docs of `lsd.export.precision.graph`); not changed.
        precision: fp16 and bf16 are mixed, as the plan says; int8 has Q/DQ pairs around what the plan names, else FP32.
        patches: float32 (n, band, 64, 64), NaN where invalid, n >= 1. Ranges are measured and int8 is calibrated on
            them: for fp16 they must hold the worst patches there can be, adversarial ones included.
        threads: of ONNX Runtime while it measures ranges; None is its default. Calibration always has the default.
    Returns:
        an ONNX file, the same bytes for the same arguments, and what was decided.
    Raises:
        UsageError: the graph or the patches are not as expected.
        GateError: nothing of the network can run at that precision on these patches.
    """
    graph = graph_from_bytes(fp32)
    if precision not in ("fp16", "bf16", "int8"):
        raise UsageError(f"expected a precision of fp16, bf16 or int8, found {precision}")
    shape = [one.dim_value for one in graph.model.graph.input[0].type.tensor_type.shape.dim]
    if patches.dtype != np.float32 or not len(patches) or list(patches.shape[1:]) != shape[1:]:
        wanted = ", ".join(["n", *map(str, shape[1:])])
        raise UsageError(f"expected float32 patches ({wanted}) with n >= 1, found {patches.dtype} {patches.shape}")
    if precision == "bf16":
        graph = with_bf16_operators(graph)
    plan = plan_precision(graph, measure_ranges(graph, patches, threads), precision, len(patches))
    if not plan.low_share:
        counts = len([one for one in plan.kept if one.op in ("Conv", "MatMul", "Gemm")])
        raise GateError(
            f"at {precision} none of {counts} Conv, MatMul and Gemm can leave FP32, the first because it "
            f"{next((one.reason for one in plan.kept if one.op in ('Conv', 'MatMul', 'Gemm')), 'does not exist')}; "
            "choose another precision"
        )
    if precision == "int8":
        return quantized(graph, plan, patches), plan
    return converted(graph, plan), plan
