"""Random forests of any size and shape, and rows that sit on their thresholds; deterministic for a seed."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from lsd.runtime.forest.table import Accumulator, ForestTable

Grow = Callable[[np.random.Generator, int], int]  # which of n open places splits next
SHAPES: dict[str, Grow] = {
    "random": lambda rng, n: int(rng.integers(n)),
    "chain": lambda rng, n: n - 1,
    "balanced": lambda rng, n: 0,
}


def random_tree(rng: np.random.Generator, n_nodes: int, shape: str) -> tuple[list[int], list[int]]:
    """Left and right children of one tree: nodes come before their children, leaves are numbered at random."""
    children = [[0, 0] for _ in range(n_nodes)]
    open_places: list[tuple[int, int]] = []
    for node in range(n_nodes):
        if node:
            parent, side = open_places.pop(SHAPES[shape](rng, len(open_places)))
            children[parent][side] = node
        places = [(node, 0), (node, 1)]
        open_places += places if rng.random() < 0.5 else places[::-1]
    for leaf, (parent, side) in zip(rng.permutation(n_nodes + 1).tolist(), open_places, strict=bool(n_nodes)):
        children[parent][side] = ~leaf
    return [pair[0] for pair in children], [pair[1] for pair in children]


def forest_of(
    seed: int,
    sizes: Sequence[int],
    *,
    n_features: int = 6,
    accumulator: Accumulator = "float64",
    shape: str = "random",
    grid: bool = True,
) -> ForestTable:
    """A checked forest.

    Args:
        sizes: nodes of each tree; 0 is a single leaf.
        shape: a key of SHAPES.
        grid: thresholds on a coarse grid, so that trees share tests and rows hit them, with some odd ones (zeros of
            either sign, infinities, the smallest numbers) among them; else all different.
    """
    rng = np.random.default_rng(seed)
    trees = [random_tree(rng, size, shape) for size in sizes]
    n_nodes = int(sum(sizes))
    threshold = rng.integers(-8, 9, n_nodes) / 4 if grid else rng.normal(size=n_nodes)
    threshold = threshold.astype(np.float32)
    if grid:
        odd = rng.random(n_nodes) < 0.1
        threshold[odd] = rng.choice(np.float32([-0.0, np.inf, -np.inf, 1e-45, -1e-45, 3.4028235e38]), int(odd.sum()))
    nodes = np.cumsum([0, *sizes])
    forest = ForestTable(
        accumulator=accumulator,
        base_margin=0.25,
        n_features=n_features,
        node_offset=nodes.astype(np.int32),
        leaf_offset=(nodes + np.arange(len(nodes))).astype(np.int32),
        feature=rng.integers(0, n_features, n_nodes).astype(np.uint16),
        threshold=threshold,
        default_left=rng.integers(0, 2, n_nodes).astype(np.uint8),
        left=np.array([child for left, _ in trees for child in left], np.int16),
        right=np.array([child for _, right in trees for child in right], np.int16),
        leaf_value=(rng.normal(size=n_nodes + len(sizes)) * 10.0 ** rng.integers(-3, 3)).astype(accumulator),
    )
    forest.check()
    return forest


def rows_for(forest: ForestTable, seed: int, n: int) -> np.ndarray:
    """float32 (n, feature): thresholds of the feature, their neighbours, NaN, infinities, zeros of either sign."""
    rng = np.random.default_rng(seed)
    shape = (n, forest.n_features)
    rows = rng.normal(size=shape).astype(np.float32)
    for feature in range(forest.n_features):
        thresholds = forest.threshold[forest.feature == feature]
        if len(thresholds):
            rows[:, feature] = np.where(rng.random(n) < 0.6, rng.choice(thresholds, n), rows[:, feature])
    kind = rng.integers(0, 12, shape)
    with np.errstate(over="ignore"):
        rows = np.where(kind == 0, np.nextafter(rows, np.float32(np.inf)), rows)
        rows = np.where(kind == 1, np.nextafter(rows, np.float32(-np.inf)), rows)
    for i, value in enumerate((np.nan, np.inf, -np.inf, 0.0, -0.0), start=2):
        rows[kind == i] = value
    return rows
