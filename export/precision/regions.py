"""Where a node stands in an encoder graph: before the first learned layer, in the middle, or behind the last one."""

from __future__ import annotations

from dataclasses import dataclass

from onnx import NodeProto

from lsd.export.precision.graph import FLOP_OPS, Graph

NORMALISATIONS = ("LayerNormalization", "RMSNormalization", "InstanceNormalization", "GroupNormalization",
                  "BatchNormalization", "LpNormalization", "MeanVarianceNormalization")  # fmt: skip
REDUCTIONS = ("ReduceMean", "ReduceSum", "ReduceSumSquare", "ReduceL1", "ReduceL2", "ReduceLogSum",
              "ReduceLogSumExp", "ReduceProd", "GlobalAveragePool")  # fmt: skip


@dataclass(frozen=True)
class Regions:
    """Sets of node names, but for `measured_input`: tensors.

    first: learned layers (Conv, MatMul, Gemm of a constant) with none before them. learned: first, and what depends on
    them by value. last: FLOP-carrying nodes with none behind them. behind: what follows those. chains: the elementwise
    steps of normalisations that are written out. measured_input: tensors computed from the graph's input by value.
    """

    first: frozenset[str]
    learned: frozenset[str]
    last: frozenset[str]
    behind: frozenset[str]
    chains: frozenset[str]
    measured_input: frozenset[str]


def regions_of(graph: Graph) -> Regions:
    """Dependence counts along float tensors only: a shape that is read from an activation makes nothing learned."""
    from_input, after_learned = {graph.input}, set[str]()
    first, learned = set[str](), set[str]()
    for node in graph.nodes:
        floats = graph.floats(node.input)
        moving = [name for name in floats if name in from_input]
        if moving:
            from_input.update(graph.floats(node.output))
        if any(name in after_learned for name in floats):
            learned.add(node.name)
        elif node.op_type in FLOP_OPS and moving and len(moving) < len(floats):
            first.add(node.name)
            learned.add(node.name)
        if node.name in learned:
            after_learned.update(graph.floats(node.output))
    before_flops, last, behind = set[str](), set[str](), set[str]()
    for node in reversed(graph.nodes):
        if not any(name in before_flops for name in node.output):
            (last if node.op_type in FLOP_OPS else behind).add(node.name)
        if node.op_type in FLOP_OPS or any(name in before_flops for name in node.output):
            before_flops.update(graph.floats(node.input))
    return Regions(*map(frozenset, (first, learned, last, behind & learned, _norm_chains(graph), from_input)))


def _norm_chains(graph: Graph) -> set[str]:
    """Steps of LayerNorm or RMSNorm around each square root of a mean: rather one step too many than too few."""
    chains = set[str]()
    for root in graph.nodes:
        if root.op_type == "Sqrt":
            chain = _back(graph, root.input[0], reduced=False)
            if any(node.op_type in REDUCTIONS for node in chain):
                chains.update(node.name for node in [*chain, root, *_divisions(graph, root.output[0])])
    return chains


def _back(graph: Graph, name: str, reduced: bool) -> list[NodeProto]:
    """From a square root's input to the mean below it, then to the square and the difference that it averages."""
    node = graph.producers.get(name)
    if node is None:
        return []
    if node.op_type not in (("Pow", "Mul", "Sub", *REDUCTIONS) if reduced else ("Add", "Max", "Clip", *REDUCTIONS)):
        return []
    reduced = reduced or node.op_type in REDUCTIONS
    return [node, *(found for name in dict.fromkeys(node.input) for found in _back(graph, name, reduced))]


def _divisions(graph: Graph, name: str) -> list[NodeProto]:
    """What divides by the tensor: Div, or Reciprocal and the products with it."""
    users = graph.consumers.get(name, [])
    inverse = [node for node in users if node.op_type == "Reciprocal"]
    products = [node for one in inverse for node in graph.consumers.get(one.output[0], []) if node.op_type == "Mul"]
    return [*(node for node in users if node.op_type == "Div"), *inverse, *products]
