"""Random small forests, written as canonical tables: no library needed, deterministic for a seed."""

from __future__ import annotations

import numpy as np

from lsd.runtime.forest.table import ForestTable


def random_forest(seed: int, n_features: int = 6, n_trees: int = 20, accumulator: str = "float64") -> ForestTable:
    """Trees of 1 to 16 leaves, grown by splitting a random leaf; thresholds on a coarse grid that rows can hit."""
    rng = np.random.default_rng(seed)
    columns: dict[str, list[int | float]] = {
        name: [] for name in ("feature", "threshold", "default_left", "left", "right")
    }
    node_offset, leaf_offset, leaf_value = [0], [0], []
    for _ in range(n_trees):
        nodes: list[list[int]] = []  # [left, right], children as in the table
        leaves = 1
        for _ in range(int(rng.integers(0, 16))):
            if not nodes:
                nodes.append([~0, ~1])
            else:
                parent, side = rng.choice([(i, s) for i, pair in enumerate(nodes) for s in (0, 1) if pair[s] < 0])
                leaf = nodes[parent][side]
                nodes[parent][side] = len(nodes)
                nodes.append([leaf, ~leaves])
            leaves += 1
        columns["feature"] += rng.integers(0, n_features, len(nodes)).tolist()
        columns["threshold"] += (rng.integers(-8, 9, len(nodes)) / 4).tolist()
        columns["default_left"] += rng.integers(0, 2, len(nodes)).tolist()
        columns["left"] += [pair[0] for pair in nodes]
        columns["right"] += [pair[1] for pair in nodes]
        node_offset.append(node_offset[-1] + len(nodes))
        leaf_offset.append(leaf_offset[-1] + leaves)
        leaf_value += rng.normal(size=leaves).tolist()
    return ForestTable(
        accumulator=accumulator,  # type: ignore[arg-type]
        base_margin=0.25,
        n_features=n_features,
        node_offset=np.array(node_offset, np.int32),
        leaf_offset=np.array(leaf_offset, np.int32),
        feature=np.array(columns["feature"], np.uint16),
        threshold=np.array(columns["threshold"], np.float32),
        default_left=np.array(columns["default_left"], np.uint8),
        left=np.array(columns["left"], np.int16),
        right=np.array(columns["right"], np.int16),
        leaf_value=np.array(leaf_value, accumulator),
    )


def random_rows(seed: int, n: int, n_features: int = 6) -> np.ndarray:
    """Rows on the same coarse grid as the thresholds, with float32 neighbours, NaN and infinities among them."""
    rng = np.random.default_rng(seed)
    rows = (rng.integers(-9, 10, (n, n_features)) / 4).astype(np.float32)
    kind = rng.integers(0, 10, rows.shape)
    rows = np.where(kind == 0, np.nextafter(rows, np.float32(np.inf)), rows)
    rows = np.where(kind == 1, np.nextafter(rows, np.float32(-np.inf)), rows)
    rows[kind == 2], rows[kind == 3], rows[kind == 4] = np.nan, np.inf, -np.inf
    return rows
