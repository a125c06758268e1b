from __future__ import annotations

import struct
from dataclasses import replace

import numpy as np
import pytest
from forests import random_forest, random_rows
from hypothesis import given, settings
from hypothesis import strategies as st

from lsd.runtime.errors import BundleError
from lsd.runtime.forest.table import forest_from_bytes, forest_to_bytes
from lsd.runtime.forest.walk import TableWalk


def slow_margin(forest, row):
    """One row, one tree after the other, plain Python."""
    total = forest.leaf_value.dtype.type(forest.base_margin)
    for tree in range(forest.n_trees):
        first, leaves = forest.node_offset[tree], forest.leaf_offset[tree]
        node = 0 if forest.node_offset[tree + 1] > first else -1
        while node >= 0:
            value = row[forest.feature[first + node]]
            goes_left = (
                bool(forest.default_left[first + node]) if np.isnan(value) else value <= forest.threshold[first + node]
            )
            node = int((forest.left if goes_left else forest.right)[first + node])
        total = total + forest.leaf_value[leaves + ~node]
    return total


@settings(max_examples=25)
@given(st.integers(0, 10**6), st.sampled_from(["float64", "float32"]))
def test_walk_equals_the_slow_walk_bit_for_bit(seed, accumulator):
    forest, rows = random_forest(seed, accumulator=accumulator), random_rows(seed, 70)
    margins = TableWalk(forest).margins(rows)
    assert margins.dtype == accumulator
    np.testing.assert_array_equal(margins, [slow_margin(forest, row) for row in rows])


@settings(max_examples=10)
@given(st.integers(0, 10**6), st.integers(1, 150))
def test_a_row_does_not_depend_on_its_batch(seed, cut):
    walk, rows = TableWalk(random_forest(seed)), random_rows(seed, 150)
    np.testing.assert_array_equal(
        walk.margins(rows), np.concatenate([walk.margins(rows[:cut]), walk.margins(rows[cut:])])
    )


@pytest.mark.parametrize("accumulator", ["float64", "float32"])
def test_file_gives_the_same_forest_and_the_same_bytes(accumulator):
    forest = random_forest(1, accumulator=accumulator)
    data = forest_to_bytes(forest)
    again = forest_from_bytes(data, "x")
    assert forest_to_bytes(again) == data
    rows = random_rows(2, 50)
    np.testing.assert_array_equal(TableWalk(again).margins(rows), TableWalk(forest).margins(rows))


def test_not_a_forest_file():
    with pytest.raises(BundleError, match="forests/x: not a forest table of this version"):
        forest_from_bytes(b"PK\x03\x04 something else", "forests/x")


@settings(max_examples=30)
@given(st.integers(0, 5000))
def test_truncated_file_is_refused(length):
    data = forest_to_bytes(random_forest(1))
    with pytest.raises(BundleError, match="not a forest table"):
        forest_from_bytes(data[: min(length, len(data) - 65)], "x")


@pytest.mark.parametrize("place", [0, 5, -1])
@pytest.mark.parametrize("value", [2**31 - 1, -(2**31), 2**30])
@pytest.mark.parametrize("array", ["node_offset", "leaf_offset"])
def test_an_offset_that_would_need_gigabytes_is_refused_at_once(array, value, place):
    forest = random_forest(1)
    changed = getattr(forest, array).copy()
    changed[place] = value
    with pytest.raises(BundleError, match="malformed"):
        forest_from_bytes(forest_to_bytes(replace(forest, **{array: changed})), "x")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"n_features":6', b'"n_features":Infinity'),
        (b'"n_features":6', b'"n_features":' + b"[" * 100_000),
        (b'"base_margin":"0x1.0000000000000p-2"', b'"base_margin":"0x1p99999"'),
        (b'"base_margin":"0x1.0000000000000p-2"', b'"base_margin":"nan"'),
        (b'"offset":0', b'"offset":18446744073709551616'),
    ],
)
def test_a_header_with_an_absurd_value_is_refused(old, new):
    data = forest_to_bytes(random_forest(1))
    (length,) = struct.unpack_from("<I", data, 8)
    head, rest = data[12 : 12 + length], data[12 + length + -(12 + length) % 64 :]
    assert old in head
    head = head.replace(old, new, 1)
    changed = data[:8] + struct.pack("<I", len(head)) + head
    with pytest.raises(BundleError, match="not a forest table of this version"):
        forest_from_bytes(changed + b"\0" * (-len(changed) % 64) + rest, "x")


@pytest.mark.parametrize(
    ("array", "value"),
    [("left", 30_000), ("left", -30_000), ("right", 0), ("feature", 6), ("threshold", np.nan), ("leaf_value", np.inf)],
)
def test_an_index_that_leaves_its_tree_is_refused(array, value):
    forest = random_forest(1)
    changed = getattr(forest, array).copy()
    changed[3] = value
    with pytest.raises(BundleError, match="malformed"):
        forest_from_bytes(forest_to_bytes(replace(forest, **{array: changed})), "x")
