"""Apply a plan: casts at boundaries only, constants converted once, everything else as it was."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from lsd.export.precision.element import ELEMENTS, slots_of
from lsd.export.precision.graph import TYPE_BLIND, Graph
from lsd.export.precision.plan import PrecisionPlan

PRECISION_KEY = "lsd_precision"


def converted(graph: Graph, plan: PrecisionPlan) -> bytes:
    """The graph at the precision of a plan for fp16 or bf16: an ONNX file, the same bytes for the same arguments.

    A tensor is cast once, however many nodes take it, and never there and back. Inputs that an operator takes as
    float32 only stay so. Input and output of the graph stay float32.
    """
    conversion = _Conversion(graph, plan)
    for node in graph.nodes:
        conversion.add(node)
    model = ModelProto()
    model.CopyFrom(graph.model)
    del model.graph.node[:], model.graph.initializer[:]
    model.graph.node.extend(conversion.nodes)
    model.graph.initializer.extend(conversion.constants.values())
    return serialised(model, plan.precision)


def serialised(model: ModelProto, precision: str) -> bytes:
    """Name the precision in the graph, check it in full, and write it; the same bytes for the same graph."""
    helper.set_model_props(model, {one.key: one.value for one in model.metadata_props} | {PRECISION_KEY: precision})
    onnx.checker.check_model(model, full_check=True)
    content: bytes = model.SerializeToString(deterministic=True)
    return content


class _Conversion:
    """Builds nodes and constants of the new graph, node by node."""

    def __init__(self, graph: Graph, plan: PrecisionPlan) -> None:
        self.graph, self.plan, self.element = graph, plan, ELEMENTS[plan.precision]
        self.low, self.clamped = frozenset(plan.low), frozenset(plan.clamped)
        self.nodes: list[NodeProto] = []
        self.constants: dict[str, TensorProto] = {}
        self.is_low: set[str] = set()  # tensors that nodes give at the low precision
        self.casts: dict[tuple[str, bool], str] = {}
        self.taken_wide = {
            name
            for node in graph.nodes
            for i, name in enumerate(node.input)
            if name in graph.constants and i not in self._low_inputs(node)
        }

    def add(self, original: NodeProto) -> None:
        """Append the node, after the casts of its inputs."""
        node = NodeProto.FromString(original.SerializeToString())
        low_inputs = self._low_inputs(node)
        for i, name in enumerate(original.input):
            if name in self.graph.constants:
                node.input[i] = self._constant(name, i in low_inputs)
            elif self.graph.is_float(name) and node.op_type not in TYPE_BLIND:
                node.input[i] = self._tensor(name, i in low_inputs)
        self.nodes.append(node)
        for i, name in enumerate(original.output):
            if original.name not in self.low or not self.graph.is_float(name):
                continue
            if name == self.graph.output:
                node.output[i] = self.casts[name, True] = f"{name}__{self.element.precision}"
                self.nodes.append(_cast(node.output[i], name, TensorProto.FLOAT))
            else:
                self.is_low.add(name)

    def _low_inputs(self, node: NodeProto) -> frozenset[int]:
        """Positions of the float inputs that the node takes at the low precision."""
        if node.name not in self.low:
            return frozenset()
        slots = slots_of(node, self.graph.opset, self.element)
        return frozenset(i for i in slots.inputs if self.graph.is_float(node.input[i]))

    def _constant(self, name: str, low: bool) -> str:
        stored = self.graph.constants[name]
        if low:
            values = numpy_helper.to_array(stored).astype(self.element.dtype)
            name = f"{name}__{self.element.precision}" if name in self.taken_wide else name
            stored = self.constants.get(name) or numpy_helper.from_array(values, name)
        self.constants[name] = stored
        return name

    def _tensor(self, name: str, low: bool) -> str:
        if low == (name in self.is_low):
            return name
        if (name, low) not in self.casts:
            target = self.casts[name, low] = f"{name}__{self.element.precision if low else 'fp32'}"
            source = self._clamp(name) if low and name in self.clamped else name
            self.nodes.append(_cast(source, target, self.element.type if low else TensorProto.FLOAT))
        return self.casts[name, low]

    def _clamp(self, name: str) -> str:
        bounds = []
        for sign, bound in ((-1, "lowest"), (1, "highest")):
            bounds.append(f"{self.element.precision}__{bound}")
            value = np.array(sign * (self.plan.limit or np.inf), np.float32)
            self.constants[bounds[-1]] = numpy_helper.from_array(value, bounds[-1])
        self.nodes.append(helper.make_node("Clip", [name, *bounds], [f"{name}__clamped"], f"{name}__clamp"))
        return f"{name}__clamped"


def _cast(source: str, target: str, to: int) -> NodeProto:
    return helper.make_node("Cast", [source], [target], f"{target}__cast", to=to)
