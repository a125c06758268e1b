"""Which nodes of a graph run in FP16 or BF16, which stay FP32, and why: decided by place, kind and measured range."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from onnx import NodeProto, TensorProto, numpy_helper

from lsd.export.precision.element import ELEMENTS, FP16_LIMIT, Element, LowPrecision, slots_of
from lsd.export.precision.graph import FLOP_OPS, TYPE_BLIND, Graph
from lsd.export.precision.ranges import Range
from lsd.export.precision.regions import NORMALISATIONS, REDUCTIONS, Regions, regions_of

SCALAR_ERROR = 0.01  # a scalar that loses more than that when it is rounded, such as an epsilon, was below the format


@dataclass(frozen=True)
class KeptNode:
    """A node that stays FP32. max_abs: the largest |value| measured at its inputs and outputs, None without any."""

    name: str
    op: str
    reason: str
    max_abs: float | None


@dataclass(frozen=True)
class PrecisionPlan:
    """What a conversion does.

    low: names of the nodes that run at the precision. kept: those that stay FP32; nodes without float values are in
    neither, at int8 only nodes of FLOP_OPS are in either. clamped: FP32 tensors, computed from the raw input, that are
    clamped to +-limit before they enter FP16: no change for the patches measured, and no infinity for others.
    low_share: share of FLOP-carrying nodes (Conv, MatMul, Gemm) in `low`. patches: how many were measured.
    """

    precision: LowPrecision
    low: tuple[str, ...]
    kept: tuple[KeptNode, ...]
    clamped: tuple[str, ...]
    limit: float | None
    low_share: float
    patches: int

    def to_json(self) -> dict[str, Any]:
        """For the bundle; without infinities."""
        return asdict(self)


def plan_precision(graph: Graph, ranges: dict[str, Range], precision: LowPrecision, patches: int) -> PrecisionPlan:
    """Decide for every node with float values.

    Args:
        ranges: of every float tensor (`measure_ranges`), on patches that hold the worst ones: what was not seen is not
            guarded but for `clamped`.
        patches: how many were measured.
    """
    regions = regions_of(graph)
    if precision == "int8":
        reasons = {
            one.name: _reason_int8(graph, regions, ranges, one) for one in graph.nodes if one.op_type in FLOP_OPS
        }
        return _plan(graph, ranges, reasons, precision, (), FP16_LIMIT, patches)
    element = ELEMENTS[precision]
    nodes = [one for one in graph.nodes if one.op_type not in TYPE_BLIND and graph.floats([*one.input, *one.output])]
    reasons = {one.name: _reason(graph, regions, ranges, one, element) for one in nodes}
    _keep_islands(graph, nodes, reasons)
    clamped = _clamped(graph, regions, reasons) if math.isfinite(element.limit) else ()
    limit = element.limit if math.isfinite(element.limit) else None
    return _plan(graph, ranges, reasons, precision, clamped, limit, patches)


def _plan(
    graph: Graph,
    ranges: dict[str, Range],
    reasons: dict[str, str | None],
    precision: LowPrecision,
    clamped: tuple[str, ...],
    limit: float | None,
    patches: int,
) -> PrecisionPlan:
    low = tuple(name for name, reason in reasons.items() if reason is None)
    kept = tuple(
        KeptNode(node.name, node.op_type, reason, _max_abs(graph, ranges, node))
        for node in graph.nodes
        if (reason := reasons.get(node.name))
    )
    flops = [node.name for node in graph.nodes if node.op_type in FLOP_OPS]
    share = sum(name in low for name in flops) / len(flops) if flops else 0.0
    return PrecisionPlan(precision, low, kept, clamped, limit, share, patches)


def _reason(graph: Graph, regions: Regions, ranges: dict[str, Range], node: NodeProto, element: Element) -> str | None:
    """Why the node stays FP32; None if it need not."""
    place = _place(graph, regions, node)
    if place:
        return place
    if node.op_type in NORMALISATIONS or node.name in regions.chains:
        return "normalisation"
    if node.op_type in ("Softmax", "LogSoftmax"):
        return "softmax"
    if node.op_type in REDUCTIONS:
        return "sum of many values"
    slots = slots_of(node, graph.opset, element)
    floats = [i for i, name in enumerate(node.input) if graph.is_float(name)]
    results = {i for i, name in enumerate(node.output) if graph.is_float(name)}
    if not (floats and floats[0] in slots.inputs and results <= slots.outputs):
        return f"{node.op_type} of opset {graph.opset} takes no {element.precision}"
    for name in graph.floats([*node.input, *node.output]):
        if ranges[name].non_finite:
            return f"not finite in {ranges[name].non_finite} patches: {name}"
        if ranges[name].max_abs > element.limit:
            return f"reaches {ranges[name].max_abs:.4g}, at most {element.limit:.4g} at {element.precision}: {name}"
    lost = [name for name in node.input if name in graph.constants and _is_lost(graph.constants[name], element)]
    return f"constant too small for {element.precision}: {lost[0]}" if lost else None


def _reason_int8(graph: Graph, regions: Regions, ranges: dict[str, Range], node: NodeProto) -> str | None:
    place = _place(graph, regions, node)
    if place:
        return place
    if node.name in regions.first:
        return "first learned layer"
    if sum(name not in graph.constants for name in node.input[:2]) != 1:
        return "product of two activations"
    largest = _max_abs(graph, ranges, node) or 0.0
    if largest > FP16_LIMIT:
        return f"reaches {largest:.4g}, which leaves no steps of int8 for ordinary values"
    return None


def _place(graph: Graph, regions: Regions, node: NodeProto) -> str | None:
    if node.name not in regions.learned:
        moving = any(name in regions.measured_input for name in node.input)
        return "before the first learned layer" if moving else "computed from constants and shapes"
    if node.name in regions.last:
        return "final logit layer"
    return "behind the final logit layer" if node.name in regions.behind else None


def _is_lost(constant: TensorProto, element: Element) -> bool:
    if constant.data_type != TensorProto.FLOAT or math.prod(constant.dims) != 1:
        return False
    value = float(numpy_helper.to_array(constant).reshape(()))
    with np.errstate(over="ignore", under="ignore"):
        rounded = float(np.float32(value).astype(element.dtype))
    return abs(rounded - value) > SCALAR_ERROR * abs(value)


def _keep_islands(graph: Graph, nodes: list[NodeProto], reasons: dict[str, str | None]) -> None:
    """Keep FP32 what stands between kept nodes only: two casts would buy nothing. FLOP-carrying nodes stay low."""
    changed = True
    while changed:
        changed = False
        for node in nodes:
            if reasons[node.name] is not None or node.op_type in FLOP_OPS:
                continue
            sources = [graph.producers[name] for name in graph.floats(node.input) if name in graph.producers]
            users = [user for name in graph.floats(node.output) for user in graph.consumers.get(name, [])]
            if all(reasons.get(one.name, "") is not None for one in [*sources, *users]):
                reasons[node.name] = "between nodes that stay FP32"
                changed = True


def _clamped(graph: Graph, regions: Regions, reasons: dict[str, str | None]) -> tuple[str, ...]:
    names: Iterable[str] = dict.fromkeys(
        name for node in graph.nodes if reasons.get(node.name, "") is None for name in graph.floats(node.input)
    )
    return tuple(
        name
        for name in names
        if name in regions.measured_input
        and (name not in graph.producers or graph.producers[name].name not in regions.learned)
    )


def _max_abs(graph: Graph, ranges: dict[str, Range], node: NodeProto) -> float | None:
    return max((ranges[name].max_abs for name in graph.floats([*node.input, *node.output])), default=None)
