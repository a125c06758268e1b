"""Treelite's model -> the canonical forest table (lsd.runtime.forest.table)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsd.runtime.errors import BundleError
from lsd.runtime.forest.table import MAX_FEATURES, MAX_NODES_PER_TREE, Accumulator, ForestTable

LESS_THAN, LESS_OR_EQUAL = 2, 3  # treelite.Operator, as the tree accessor returns it (Treelite 4.x, enum Operator)
# LightGBM's predictors read a value of magnitude <= kZeroThreshold as 0 (include/LightGBM/meta.h and the row readers of
# src/c_api.cpp), which Treelite's model does not say: a row holding exactly -kZeroThreshold would go the other way.
LIGHTGBM_ZERO = np.float32(1e-35)
ACCUMULATORS: dict[str, Accumulator] = {"lightgbm": "float64", "xgboost": "float32"}


def treelite_from_file(path: Path, library: str) -> Any:
    """Treelite model of a LightGBM text file or an XGBoost UBJSON file.

    Raises:
        BundleError: Treelite cannot read it.
    """
    import treelite

    try:
        if library == "lightgbm":
            return treelite.frontend.load_lightgbm_model(str(path))
        return treelite.frontend.load_xgboost_model(str(path), format_choice="ubjson")
    except treelite.TreeliteError as error:
        raise BundleError(f"{path}: Treelite cannot read this {library} model: {str(error).splitlines()[0]}") from error


def xgboost_base_margin(path: Path) -> float:
    """Where XGBoost's float32 sum starts: its own prediction of a forest without trees.

    The model file holds a probability; its log-odds in float32 differ in the last bit between libraries (Treelite's
    are 1 unit off for three of six values tried), so XGBoost is asked.
    """
    import json

    import xgboost

    settings = json.loads(xgboost.Booster(model_file=str(path)).save_config())["learner"]["learner_model_param"]
    no_row = xgboost.DMatrix(np.zeros((1, 1), np.float32), label=[0.0])
    parameters = {
        "objective": "binary:logistic",
        "base_score": float(settings["base_score"].strip("[]")),
        "nthread": 1,
    }
    return float(xgboost.train(parameters, no_row, num_boost_round=0).predict(no_row, output_margin=True)[0])


def forest_from_file(path: Path, library: str) -> ForestTable:
    """Canonical table of a model file that `lsd-train` wrote; raises as `forest_from_treelite`."""
    base_margin = xgboost_base_margin(path) if library == "xgboost" else 0.0
    return forest_from_treelite(treelite_from_file(path, library), library, base_margin)


def forest_from_treelite(model: Any, library: str, base_margin: float) -> ForestTable:
    """Canonical table of a binary classification forest.

    Args:
        model: treelite.Model with numerical splits, one output, additive leaves, sigmoid link.
        library: `lightgbm` or `xgboost`; decides the accumulator and how values next to zero are read.
        base_margin: where the sum starts (0 for LightGBM, whose first tree holds it).
    Raises:
        BundleError: categorical splits, several outputs, another link, or a tree beyond the table's limits.
    """
    header = model.get_header_accessor()
    link = str(header.get_field("postprocessor"))
    additive = int(header.get_field("average_tree_output")[0]) == 0 and float(header.get_field("sigmoid_alpha")[0]) == 1
    if (
        model.num_feature > MAX_FEATURES
        or link != "sigmoid"
        or not additive
        or list(header.get_field("num_class")) != [1]
    ):
        raise BundleError(
            f"forest with link {link!r}, classes {list(header.get_field('num_class'))} and {model.num_feature} "
            f"features: expected an additive binary forest with a plain sigmoid and at most {MAX_FEATURES} features"
        )
    accumulator = ACCUMULATORS[library]
    parts: dict[str, list[NDArray[Any]]] = {name: [] for name in _PARTS}
    node_counts, leaf_counts = [0], [0]
    for tree in range(model.num_tree):
        columns = _tree(model.get_tree_accessor(tree), tree)
        for name, column in zip(_PARTS, columns, strict=True):
            parts[name].append(column)
        node_counts.append(len(columns[0]))
        leaf_counts.append(len(columns[-1]))
    joined = {name: np.concatenate(columns) for name, columns in parts.items()}
    forest = ForestTable(
        accumulator=accumulator,
        base_margin=base_margin,
        n_features=int(model.num_feature),
        node_offset=np.cumsum(node_counts, dtype=np.int32),
        leaf_offset=np.cumsum(leaf_counts, dtype=np.int32),
        feature=joined["feature"].astype(np.uint16),
        threshold=_read_zero_as_lightgbm(joined["threshold"]) if library == "lightgbm" else joined["threshold"],
        default_left=joined["default_left"].astype(np.uint8),
        left=joined["left"].astype(np.int16),
        right=joined["right"].astype(np.int16),
        leaf_value=joined["leaf_value"].astype(accumulator),
    )
    forest.check()
    return forest


def _read_zero_as_lightgbm(threshold: NDArray[np.float32]) -> NDArray[np.float32]:
    """Thresholds within +-LIGHTGBM_ZERO moved so that values of that size go where 0 goes."""
    near = np.abs(threshold) <= LIGHTGBM_ZERO
    moved = np.where(threshold < 0, np.nextafter(-LIGHTGBM_ZERO, np.float32(-np.inf)), LIGHTGBM_ZERO)
    return np.where(near, moved, threshold).astype(np.float32)


_PARTS = ("feature", "threshold", "default_left", "left", "right", "leaf_value")


def _tree(tree: Any, number: int) -> tuple[NDArray[Any], ...]:
    """Columns of one tree, nodes and leaves renumbered in breadth-first order so that parents precede children."""
    left, right = tree.get_field("cleft"), tree.get_field("cright")
    if int(tree.get_field("has_categorical_split")[0]):
        raise BundleError(f"tree {number} splits on a category; only numerical splits can be exported")
    order = [0]
    for node in order:  # the list grows while it is walked
        if left[node] >= 0:
            order += [int(left[node]), int(right[node])]
    inner = [node for node in order if left[node] >= 0]
    leaves = [node for node in order if left[node] < 0]
    if len(inner) > MAX_NODES_PER_TREE:
        raise BundleError(f"tree {number} has {len(inner)} splits, at most {MAX_NODES_PER_TREE} can be exported")
    number_of = {node: i for i, node in enumerate(inner)} | {node: ~i for i, node in enumerate(leaves)}
    inner_at = np.array(inner, int)
    return (
        tree.get_field("split_index")[inner_at],
        largest_float32_going_left(tree.get_field("threshold")[inner_at], tree.get_field("cmp")[inner_at], number),
        tree.get_field("default_left")[inner_at],
        np.array([number_of[int(left[node])] for node in inner], int),
        np.array([number_of[int(right[node])] for node in inner], int),
        tree.get_field("leaf_value")[np.array(leaves, int)],
    )


def largest_float32_going_left(
    threshold: NDArray[np.floating], operator: NDArray[np.int8], tree: int
) -> NDArray[np.float32]:
    """The float32 t' with: x goes left <=> x <= t', for every float32 x.

    `x <= t` becomes t rounded down to float32; `x < t` the largest float32 below t.

    Raises:
        BundleError: a comparison other than < and <=, or a threshold that is NaN or below all float32 numbers.
    """
    if not np.isin(operator, (LESS_THAN, LESS_OR_EQUAL)).all() or np.isnan(threshold).any():
        raise BundleError(f"tree {tree} compares with an operator other than < and <=, or with NaN")
    exact = threshold.astype(np.float64)
    with np.errstate(over="ignore"):
        rounded = exact.astype(np.float32)
    too_high = np.where(operator == LESS_THAN, rounded >= exact, rounded > exact)
    result = np.where(too_high, np.nextafter(rounded, np.float32(-np.inf)), rounded).astype(np.float32)
    if np.isneginf(result).any():
        raise BundleError(f"tree {tree} has a threshold below every float32 number")
    return result
