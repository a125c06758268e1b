"""How large the values of a graph get: the measurement that decides what may run in FP16."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper, numpy_helper

from lsd.export.precision.graph import Graph

REDUCTIONS = {"max": "ReduceMax", "min": "ReduceMin", "sum": "ReduceSum"}


@dataclass(frozen=True)
class Range:
    """Of one float tensor. max_abs: the largest finite |value|, 0 without one. non_finite: in how many of the patches
    it held NaN or an infinity (a constant counts as one patch)."""

    max_abs: float
    non_finite: int


def measure_ranges(graph: Graph, patches: NDArray[np.float32], threads: int | None = None) -> dict[str, Range]:
    """Run the graph in FP32 on ONNX Runtime and see how large each float tensor gets.

    The extremes are taken inside the graph, patch by patch, so that no more memory is needed than for running it.

    Args:
        graph: FP32.
        patches: float32 (n, band, 64, 64), NaN where invalid.
        threads: of ONNX Runtime; None is its default.
    Returns:
        tensor -> range, of every float32 tensor, constants included.
    """
    from onnxruntime import GraphOptimizationLevel, InferenceSession, SessionOptions

    names = graph.floats(graph.producers)
    options = SessionOptions()
    options.graph_optimization_level = GraphOptimizationLevel.ORT_DISABLE_ALL  # measured is what the file says
    options.intra_op_num_threads = threads or 0
    options.log_severity_level = 3
    session = InferenceSession(_with_extremes(graph, names), options, providers=["CPUExecutionProvider"])
    max_abs, non_finite = np.zeros(len(names)), np.zeros(len(names), int)
    for patch in patches:
        values = np.array(session.run(None, {graph.input: patch[None]}), np.float64).reshape(len(names), 3)
        extremes = np.abs(values[:, :2])
        max_abs = np.maximum(max_abs, np.where(np.isfinite(extremes), extremes, 0).max(axis=1))
        non_finite += ~np.isfinite(values).all(axis=1)  # the sum shows every NaN; ReduceMax overlooks some
    ranges = {name: Range(float(a), int(n)) for name, a, n in zip(names, max_abs, non_finite, strict=True)}
    ranges[graph.input] = _range_of(patches, int((~np.isfinite(patches)).any(axis=(1, 2, 3)).sum()))
    for name in graph.floats(graph.constants):
        values = numpy_helper.to_array(graph.constants[name])
        ranges[name] = _range_of(values, int(not np.isfinite(values).all()))
    return ranges


def _range_of(values: NDArray[np.generic], non_finite: int) -> Range:
    finite = np.where(np.isfinite(values), values, 0)
    return Range(float(np.abs(finite).max(initial=0.0)), non_finite)


def _with_extremes(graph: Graph, names: list[str]) -> bytes:
    """The graph with three scalars a tensor as its outputs."""
    model = ModelProto()
    model.CopyFrom(graph.model)
    del model.graph.output[:]
    for name in names:
        for kind, op in REDUCTIONS.items():
            scalar = f"{name}__{kind}"
            model.graph.node.append(helper.make_node(op, [name], [scalar], keepdims=0))
            model.graph.output.append(helper.make_tensor_value_info(scalar, TensorProto.FLOAT, []))
    content: bytes = model.SerializeToString()
    return content
