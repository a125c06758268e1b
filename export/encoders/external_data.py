"""Weights beside the graph instead of in it: a protobuf message holds less than 2 GiB."""

from __future__ import annotations

import onnx
from onnx.external_data_helper import set_external_data

EXTERNAL_ABOVE_BYTES = 2_000_000_000  # of weights; the rest up to 2**31 - 1 is left to the graph
ALIGNMENT_BYTES = 4096  # pages, so that a runtime can map the file (onnx.proto, TensorProto.external_data)
INLINE_BYTES = 1024  # shapes and other small constants stay in the graph, where parsers need them


def move_weights(model: onnx.ModelProto, name: str, above_bytes: int = EXTERNAL_ABOVE_BYTES) -> dict[str, bytes]:
    """Move weights out of a model, in place, if they are more than `above_bytes` together.

    Args:
        name: of the file, relative to the folder of the graph.
    Returns:
        name -> content of the file; empty if nothing was moved.
    """
    weights = [tensor for tensor in model.graph.initializer if len(tensor.raw_data) >= INLINE_BYTES]
    if sum(len(tensor.raw_data) for tensor in weights) <= above_bytes:
        return {}
    content = bytearray()
    for tensor in weights:
        content.extend(bytes(-len(content) % ALIGNMENT_BYTES))
        offset = len(content)
        content.extend(tensor.raw_data)
        set_external_data(tensor, location=name, offset=offset, length=len(content) - offset)
        tensor.ClearField("raw_data")
    return {name: bytes(content)}
