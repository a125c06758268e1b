"""INT8 by Q/DQ pairs, all symmetric: scales come from calibration patches, weights have one scale a channel."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto, helper

from lsd.export.precision.convert import serialised
from lsd.export.precision.graph import FLOP_OPS, Graph
from lsd.export.precision.plan import PrecisionPlan
from lsd.export.precision.shares import count_nodes
from lsd.runtime.errors import GateError

CALIBRATION_BATCH = 4
# Symmetric, and biases left in FP32: TensorRT takes no zero points and no INT32 biases in Q/DQ networks (TensorRT
# developer guide, "Working with quantized types"; ONNX Runtime, quantization, "Quantization on GPU")
SYMMETRIC = {"ActivationSymmetric": True, "WeightSymmetric": True, "QuantizeBias": False}
PREPARED = "onnx.quant.pre_process"  # without it ONNX Runtime advises a preparation that the normal form makes needless


def quantized(graph: Graph, plan: PrecisionPlan, patches: NDArray[np.float32]) -> bytes:
    """The graph with Q/DQ pairs around the nodes of an int8 plan: an ONNX file, the same bytes for the same arguments.

    Args:
        patches: float32 (n, band, 64, 64), for calibration: the largest |value| of each tensor on them becomes 127.
    Raises:
        GateError: a node of the plan got no Q/DQ pairs.
    """
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static

    model = ModelProto()
    model.CopyFrom(graph.model)
    properties = {one.key: one.value for one in model.metadata_props}
    helper.set_model_props(model, properties | {PREPARED: "onnxruntime.quant"})
    with tempfile.TemporaryDirectory(prefix="lsd-int8-") as folder:
        source, target = Path(folder, "fp32.onnx"), Path(folder, "int8.onnx")
        onnx.save_model(model, source)
        quantize_static(
            source,
            target,
            _reader(graph.input, patches),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=list(FLOP_OPS),
            nodes_to_quantize=list(plan.low),
            per_channel=True,
            activation_type=QuantType.QInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.MinMax,
            extra_options=SYMMETRIC,
        )
        model = onnx.load_model(target)
    helper.set_model_props(model, properties)
    _check(model, plan)
    return serialised(model, "int8")


def _check(model: ModelProto, plan: PrecisionPlan) -> None:
    """Every planned node takes two dequantized values, and there are as many Q as activations need."""
    dequantized = {node.output[0] for node in model.graph.node if node.op_type == "DequantizeLinear"}
    nodes = {node.name: node for node in model.graph.node}
    bare = [name for name in plan.low if not dequantized.issuperset(nodes[name].input[:2])]
    if bare or not count_nodes(model, "QuantizeLinear"):
        raise GateError(
            f"expected Q/DQ pairs around {len(plan.low)} nodes, found none around {len(bare)} of them, the first "
            f"{bare[0] if bare else '-'}; this version of onnxruntime cannot quantize them: export without int8"
        )


def _reader(name: str, patches: NDArray[np.float32]) -> object:
    from onnxruntime.quantization import CalibrationDataReader

    class Batches(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.batches: Iterator[dict[str, NDArray[np.float32]]] = (
                {name: patches[i : i + CALIBRATION_BATCH]} for i in range(0, len(patches), CALIBRATION_BATCH)
            )

        def get_next(self) -> dict[str, NDArray[np.float32]] | None:
            return next(self.batches, None)

    return Batches()
