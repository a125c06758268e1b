"""Walk a forest table with vectorised numpy: the reference that runs everywhere (the native kernel comes beside it)."""

from __future__ import annotations

from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from lsd.runtime.forest.table import ForestTable

ROWS_PER_BLOCK = 64  # keeps the (tree, row) work arrays of a few thousand trees in the cache


class TableWalk:
    """Margins of a forest. Holds no state between calls; threads may share it."""

    name = "table"

    def __init__(self, forest: ForestTable) -> None:
        self.forest = forest

    @cached_property
    def _tables(self) -> tuple[NDArray[np.int32], ...]:
        """Children and roots with indices counted over the whole forest: >= 0 a node, < 0 the leaf ~index."""
        forest = self.forest
        nodes = np.diff(forest.node_offset)
        node_start = np.repeat(forest.node_offset[:-1], nodes)
        leaf_start = np.repeat(forest.leaf_offset[:-1], nodes)

        def whole(child: NDArray[np.int16]) -> NDArray[np.int32]:
            local = child.astype(np.int32)
            return np.where(local >= 0, local + node_start, ~(~local + leaf_start)).astype(np.int32)

        single = ~forest.leaf_offset[:-1]
        roots = np.where(nodes > 0, forest.node_offset[:-1], single).astype(np.int32)
        return whole(forest.left), whole(forest.right), roots

    def margins(self, rows: NDArray[np.float32]) -> NDArray[np.floating]:
        """Sum of leaf values from `base_margin`, in tree order, in the forest's accumulator type.

        Args:
            rows: float32 (n, n_features), NaN is missing, infinities compare as numbers.
        Returns:
            (n,) float64 or float32; a row's value does not depend on the others.
        """
        rows = np.ascontiguousarray(rows, np.float32)
        out = np.empty(len(rows), self.forest.accumulator)
        for start in range(0, len(rows), ROWS_PER_BLOCK):
            block = slice(start, start + ROWS_PER_BLOCK)
            out[block] = self._block(rows[block])
        return out

    def _block(self, rows: NDArray[np.float32]) -> NDArray[np.floating]:
        forest = self.forest
        left, right, roots = self._tables
        values, n = rows.ravel(), len(rows)
        reached = np.repeat(roots, n)  # (tree, row) flattened
        place = np.flatnonzero(reached >= 0)
        node = reached[place]
        row_start = place % n * rows.shape[1]
        while place.size:
            value = values[row_start + forest.feature[node]]
            go_left = (value <= forest.threshold[node]) | (np.isnan(value) & (forest.default_left[node] == 1))
            node = np.where(go_left, left[node], right[node])
            reached[place] = node
            going = node >= 0
            place, node, row_start = place[going], node[going], row_start[going]
        terms = np.empty((forest.n_trees + 1, n), forest.accumulator)
        terms[0] = forest.base_margin
        terms[1:] = forest.leaf_value[~reached].reshape(forest.n_trees, n)
        # accumulate, not sum: np.sum may add in pairs, the libraries add tree after tree
        sums: NDArray[np.floating] = np.add.accumulate(terms, axis=0)[-1]
        return sums
