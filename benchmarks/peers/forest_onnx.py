"""A forest table as an ONNX graph of one node, TreeEnsembleRegressor, for ONNX Runtime.

ai.onnx.ml 3, TreeEnsembleRegressor (the operator's specification): BRANCH_LEQ goes to the true side where x <= value;
nodes_missing_value_tracks_true sends NaN there. Values and sums are float32, as converters write them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsd.runtime.forest.table import ForestTable

INPUT, OUTPUT = "rows", "margins"


def onnx_of_forest(forest: ForestTable) -> bytes:
    """The file; its graph takes float32 (n, n_features) and gives float32 (n, 1)."""
    from onnx import TensorProto, helper

    attributes: dict[str, Any] = _attributes(forest)
    node = helper.make_node(
        "TreeEnsembleRegressor", [INPUT], [OUTPUT], domain="ai.onnx.ml", n_targets=1, aggregate_function="SUM",
        post_transform="NONE", base_values=[float(forest.base_margin)], **attributes,
    )  # fmt: skip
    graph = helper.make_graph(
        [node],
        "forest",
        [helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, [None, forest.n_features])],
        [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, [None, 1])],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]
    content: bytes = helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString()
    return content


def _numbered(child: NDArray[np.int16], inner: int) -> NDArray[np.int32]:
    """Children of the table as node numbers of the graph."""
    numbers = child.astype(np.int32)
    return np.where(numbers >= 0, numbers, inner + ~numbers).astype(np.int32)


def _attributes(forest: ForestTable) -> dict[str, list[Any]]:
    """Nodes tree by tree, inner nodes first: node i of a tree keeps its number, its leaf j becomes node inner + j."""
    inner, leaves = np.diff(forest.node_offset), np.diff(forest.leaf_offset)
    found: dict[str, list[Any]] = {
        f"nodes_{name}": []
        for name in (
            "treeids", "nodeids", "featureids", "modes", "values", "truenodeids", "falsenodeids",
            "missing_value_tracks_true",
        )
    }  # fmt: skip
    found |= {f"target_{name}": [] for name in ("treeids", "nodeids", "ids", "weights")}
    for tree in range(forest.n_trees):
        nodes = slice(forest.node_offset[tree], forest.node_offset[tree + 1])
        values = forest.leaf_value[forest.leaf_offset[tree] : forest.leaf_offset[tree + 1]]
        n, m = int(inner[tree]), int(leaves[tree])
        left, right = (_numbered(child[nodes], n) for child in (forest.left, forest.right))
        none = [0] * m
        found["nodes_treeids"] += [tree] * (n + m)
        found["nodes_nodeids"] += range(n + m)
        found["nodes_featureids"] += forest.feature[nodes].tolist() + none
        found["nodes_modes"] += ["BRANCH_LEQ"] * n + ["LEAF"] * m
        found["nodes_values"] += forest.threshold[nodes].tolist() + [0.0] * m
        found["nodes_truenodeids"] += left.tolist() + none
        found["nodes_falsenodeids"] += right.tolist() + none
        found["nodes_missing_value_tracks_true"] += forest.default_left[nodes].tolist() + none
        found["target_treeids"] += [tree] * m
        found["target_nodeids"] += range(n, n + m)
        found["target_ids"] += none
        found["target_weights"] += values.tolist()
    return found
