"""BF16 came to some operators late: the same graph under a later opset."""

from __future__ import annotations

from onnx import ModelProto, version_converter

from lsd.export.precision.graph import Graph, graph_from_bytes

BF16_OPSET = 22  # Conv, pooling, Sin, Cos and InstanceNormalization take bfloat16 from here on (ONNX, Changelog)
MEANT_ALIKE_FROM = 18  # from here to 22 operators gained types and attributes only ...
CHANGED_MEANING = ("GroupNormalization", "GridSample", "AveragePool", "DFT")  # ... but for these (ONNX, Changelog)


def with_bf16_operators(graph: Graph) -> Graph:
    """The graph at opset 22; one of before 18 stays as it is: its Conv then stay FP32, and the plan says so.

    Where an operator changed its meaning, onnx's own converter does it, which takes minutes for a large graph.
    """
    ops = {node.op_type for node in graph.nodes}
    if not MEANT_ALIKE_FROM <= graph.opset < BF16_OPSET:
        return graph
    if ops & set(CHANGED_MEANING):
        return graph_from_bytes(version_converter.convert_version(graph.model, BF16_OPSET).SerializeToString())
    model = ModelProto()
    model.CopyFrom(graph.model)
    for one in model.opset_import:
        if one.domain in ("", "ai.onnx"):
            one.version = BF16_OPSET
    return Graph(model, graph.types)
