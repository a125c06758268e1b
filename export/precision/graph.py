"""The normal form of an ONNX graph: what ranges, plans and conversions can rely on, whichever exporter wrote it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from onnx import ModelProto, NodeProto, TensorProto, helper, inliner, numpy_helper, shape_inference

from lsd.runtime.errors import UsageError

FLOP_OPS = ("Conv", "MatMul", "Gemm")  # nearly all arithmetic of an encoder is in these
TYPE_BLIND = ("Shape", "Size")  # they take a tensor of any type and look at none of its values


@dataclass(frozen=True)
class Graph:
    """A graph without subgraphs, functions, Constant nodes, Identity and casts to the same type; node names differ.

    model: owned; who changes it takes a copy. types: tensor -> element type (TensorProto.FLOAT, ...), of all tensors.
    """

    model: ModelProto
    types: dict[str, int]

    @property
    def nodes(self) -> list[NodeProto]:
        """In topological order."""
        return list(self.model.graph.node)

    @property
    def input(self) -> str:
        """The one input."""
        return str(self.model.graph.input[0].name)

    @property
    def output(self) -> str:
        """The one output."""
        return str(self.model.graph.output[0].name)

    @cached_property
    def opset(self) -> int:
        """Version of ONNX's own operators."""
        return opset_of(self.model)

    @cached_property
    def constants(self) -> dict[str, TensorProto]:
        """Initializers by name."""
        return {one.name: one for one in self.model.graph.initializer}

    @cached_property
    def producers(self) -> dict[str, NodeProto]:
        """Tensor -> the node it comes from."""
        return {name: node for node in self.nodes for name in node.output if name}

    @cached_property
    def consumers(self) -> dict[str, list[NodeProto]]:
        """Tensor -> nodes that take it, in order."""
        found: dict[str, list[NodeProto]] = {}
        for node in self.nodes:
            for name in dict.fromkeys(node.input):
                found.setdefault(name, []).append(node)
        return found

    def is_float(self, name: str) -> bool:
        """True for float32 tensors."""
        return self.types.get(name) == TensorProto.FLOAT

    def floats(self, names: Iterable[str]) -> list[str]:
        """Those of the names that are float32 tensors."""
        return [name for name in names if self.is_float(name)]


def graph_from_bytes(content: bytes) -> Graph:
    """Read a graph of the contract and bring it to normal form; the bytes stay as they are.

    Args:
        content: an ONNX file without external data: one float32 input, one float32 output, float arithmetic in FP32.
    Raises:
        UsageError: it is no such graph.
    """
    try:
        model = onnx.load_model_from_string(content)
    except DecodeError as error:
        raise UsageError(f"expected an ONNX file, found {len(content)} bytes that are none; export it again") from error
    if model.functions:
        model = inliner.inline_local_functions(model)
    _refuse_unsupported(model)
    del model.graph.value_info[:]  # inferred anew
    _inline_constants(model)
    types = element_types(model)
    _remove_copies(model, types)
    _name_nodes(model)
    graph = Graph(model, types)
    ends = [*model.graph.input, *model.graph.output]
    if len(ends) != 2 or not all(graph.is_float(end.name) for end in ends):
        found = ", ".join(f"{end.name} {TensorProto.DataType.Name(types[end.name])}" for end in ends)
        raise UsageError(f"expected one float32 input and one float32 output, found {found}; export the network again")
    low = sorted({TensorProto.DataType.Name(one) for one in types.values()} & {"FLOAT16", "BFLOAT16", "DOUBLE"})
    if low:
        raise UsageError(f"expected an FP32 graph, found {', '.join(low)} inside; give the FP32 export")
    return graph


def opset_of(model: ModelProto) -> int:
    """Version of ONNX's own operators."""
    return next(int(one.version) for one in model.opset_import if one.domain in ("", "ai.onnx"))


def element_types(model: ModelProto) -> dict[str, int]:
    """Element type of every tensor, from shape and type inference.

    Raises:
        UsageError: a tensor's type cannot be inferred.
    """
    inferred = shape_inference.infer_shapes(model).graph
    infos = [*inferred.input, *inferred.output, *inferred.value_info]
    types = {one.name: one.type.tensor_type.elem_type for one in infos}
    types |= {one.name: one.data_type for one in inferred.initializer}
    unknown = [name for node in inferred.node for name in node.output if name and not types.get(name)]
    if unknown:
        raise UsageError(f"expected tensors of known type, found none for {unknown[0]}; export the network again")
    return types


def _refuse_unsupported(model: ModelProto) -> None:
    for node in model.graph.node:
        if node.domain not in ("", "ai.onnx"):
            raise UsageError(f"expected ONNX's own operators, found {node.domain}.{node.op_type}; export without it")
        if any(one.type in (onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS) for one in node.attribute):
            raise UsageError(f"expected a graph without branches, found {node.op_type} {node.name}; export without it")


def _inline_constants(model: ModelProto) -> None:
    """Make initializers of Constant nodes."""
    kept = []
    for node in model.graph.node:
        if node.op_type != "Constant":
            kept.append(node)
            continue
        value = helper.get_attribute_value(node.attribute[0])
        if not isinstance(value, TensorProto):
            dtype = np.float32 if node.attribute[0].name.startswith("value_float") else np.int64
            value = numpy_helper.from_array(np.array(value, dtype))
        constant = model.graph.initializer.add()
        constant.CopyFrom(value)
        constant.name = node.output[0]
    _set_nodes(model, kept)


def _remove_copies(model: ModelProto, types: dict[str, int]) -> None:
    """Drop Identity and casts to the type that a tensor has already, but for one that gives the graph's output."""
    outputs = {one.name for one in model.graph.output}
    original: dict[str, str] = {}
    kept = []
    for node in model.graph.node:
        node.input[:] = [original.get(name, name) for name in node.input]
        same = node.op_type in ("Identity", "Cast") and types[node.input[0]] == types[node.output[0]]
        if same and node.output[0] not in outputs:
            original[node.output[0]] = node.input[0]
        else:
            kept.append(node)
    _set_nodes(model, kept)


def _name_nodes(model: ModelProto) -> None:
    """Give a name to nodes without one or with one that is taken."""
    taken: set[str] = set()
    for i, node in enumerate(model.graph.node):
        if not node.name or node.name in taken:
            node.name = f"{node.op_type}_at_{i}"
        taken.add(node.name)


def _set_nodes(model: ModelProto, nodes: list[NodeProto]) -> None:
    copies = [NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del model.graph.node[:]
    model.graph.node.extend(copies)
