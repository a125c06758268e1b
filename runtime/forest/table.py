"""The canonical forest: flat tables in one file, made from Treelite's model at export, walked here without Treelite.

File layout (little endian): 8 bytes magic, uint32 header length, JSON header, zero padding to 64 bytes, then the arrays
of the header in order, each at the 64-byte aligned offset that the header states. A reader needs no library; a native
kernel can map it. Every inner node means `x <= threshold goes left`, NaN goes to its default side; thresholds are
float32, which loses nothing because features are float32 (a threshold t of either kind is replaced by the largest
float32 that still goes left). Nodes of a tree come before their children, so a walk always ends.
"""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass, fields
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from lsd.runtime.errors import BundleError

MAGIC = b"LSDFRST\x01"
ALIGNMENT_BYTES = 64
MAX_FEATURES = 65_535
MAX_NODES_PER_TREE = 32_767  # children are int16, leaves of a tree are stored as ~leaf

Accumulator = Literal["float64", "float32"]


@dataclass(frozen=True)
class ForestTable:
    """One forest. Arrays are read-only; threads may share it.

    accumulator: type in which leaf values are added, in tree order: float64 for LightGBM, float32 for XGBoost.
    base_margin: where the sum starts, exactly representable in the accumulator.
    n_features: columns of the feature matrix.
    node_offset, leaf_offset: int32 (tree + 1,), first node and leaf of each tree; a tree of one leaf has no node.
    feature: uint16 (node,). threshold: float32 (node,). default_left: uint8 (node,), 1 if NaN goes left.
    left, right: int16 (node,), >= 0 the child node counted within the tree, < 0 the leaf ~child within the tree.
    leaf_value: (leaf,) of the accumulator's type, margin (log-odds).
    """

    accumulator: Accumulator
    base_margin: float
    n_features: int
    node_offset: NDArray[np.int32]
    leaf_offset: NDArray[np.int32]
    feature: NDArray[np.uint16]
    threshold: NDArray[np.float32]
    default_left: NDArray[np.uint8]
    left: NDArray[np.int16]
    right: NDArray[np.int16]
    leaf_value: NDArray[np.floating]

    @property
    def n_trees(self) -> int:
        """Number of trees."""
        return len(self.node_offset) - 1

    def check(self) -> None:
        """Raise BundleError unless every index stays inside its tree and every walk ends."""
        if not (self._offsets_fit() and self._trees_are_closed()):
            raise BundleError("forest table is malformed: an index leaves its tree; export the bundle again")

    def _offsets_fit(self) -> bool:
        """The offsets rise from 0 to what the arrays hold. Nothing larger than these arrays is made to find out."""
        sizes = {len(getattr(self, name)) for name in ("feature", "threshold", "default_left", "left", "right")}
        if len(self.node_offset) != len(self.leaf_offset) or not len(self.node_offset) or len(sizes) != 1:
            return False
        nodes, leaves = (np.diff(offset.astype(np.int64)) for offset in (self.node_offset, self.leaf_offset))
        return (
            bool(self.node_offset[0] == 0 and self.leaf_offset[0] == 0)
            and bool((nodes >= 0).all() and (leaves == nodes + 1).all())
            and sizes == {int(self.node_offset[-1])}
            and len(self.leaf_value) == int(self.leaf_offset[-1])
        )

    def _trees_are_closed(self) -> bool:
        nodes, leaves = np.diff(self.node_offset), np.diff(self.leaf_offset)
        local = np.arange(len(self.feature), dtype=np.int32) - np.repeat(self.node_offset[:-1], nodes)
        inner, leaf = np.repeat(nodes, nodes), np.repeat(leaves, nodes)
        fits = (
            bool((nodes <= MAX_NODES_PER_TREE).all())
            and bool((self.feature < self.n_features).all())
            and not bool(np.isnan(self.threshold).any())
            and bool(np.isfinite(self.leaf_value).all() and np.isfinite(self.base_margin))
        )
        for child in (self.left, self.right):
            fits = fits and bool(((child > local) & (child < inner) | (child < 0) & (~child < leaf)).all())
        return fits


_ARRAYS = tuple(field.name for field in fields(ForestTable))[3:]
_DTYPES = {
    "node_offset": "<i4",
    "leaf_offset": "<i4",
    "feature": "<u2",
    "threshold": "<f4",
    "default_left": "|u1",
    "left": "<i2",
    "right": "<i2",
}


def forest_to_bytes(forest: ForestTable) -> bytes:
    """The file of a forest: the same forest gives the same bytes."""
    arrays, listing, offset = [], [], 0
    for name in _ARRAYS:
        dtype = _DTYPES.get(name, "<f8" if forest.accumulator == "float64" else "<f4")
        data = np.ascontiguousarray(getattr(forest, name), dtype).tobytes()
        listing.append({"name": name, "dtype": dtype, "length": len(getattr(forest, name)), "offset": offset})
        arrays.append(data + b"\0" * (-len(data) % ALIGNMENT_BYTES))
        offset += len(arrays[-1])
    header = {
        "accumulator": forest.accumulator,
        "base_margin": float(forest.base_margin).hex(),
        "n_features": forest.n_features,
        "arrays": listing,
    }
    text = json.dumps(header, sort_keys=True, separators=(",", ":")).encode()
    head = MAGIC + struct.pack("<I", len(text)) + text
    return head + b"\0" * (-len(head) % ALIGNMENT_BYTES) + b"".join(arrays)


def forest_from_bytes(data: bytes, name: str) -> ForestTable:
    """Read and check a forest file whose hash was checked before.

    Args:
        data: the whole file.
        name: how messages call it.
    Raises:
        BundleError: not a forest file, truncated, or malformed.
    """
    try:
        header, arrays = _unpack(data)
        forest = ForestTable(
            accumulator=header["accumulator"],
            base_margin=float.fromhex(header["base_margin"]),
            n_features=int(header["n_features"]),
            **arrays,
        )
        if forest.accumulator not in ("float64", "float32") or not 0 < forest.n_features <= MAX_FEATURES:
            raise BundleError(f"accumulator {forest.accumulator!r}, {forest.n_features} features")
        forest.check()
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError, struct.error) as error:
        raise BundleError(f"{name}: not a forest table of this version ({error}); export the bundle again") from error
    return forest


def _unpack(data: bytes) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    if data[: len(MAGIC)] != MAGIC:
        raise ValueError(f"starts with {data[: len(MAGIC)]!r}, expected {MAGIC!r}")
    (length,) = struct.unpack_from("<I", data, len(MAGIC))
    end = len(MAGIC) + 4 + length
    header = json.loads(data[len(MAGIC) + 4 : end])
    start = end + -end % ALIGNMENT_BYTES
    listed = {item["name"]: item for item in header["arrays"]}
    if tuple(listed) != _ARRAYS:
        raise ValueError(f"arrays {', '.join(listed)}")
    arrays = {}
    for name, item in listed.items():
        dtype = _DTYPES.get(name, "<f8" if header["accumulator"] == "float64" else "<f4")
        if item["dtype"] != dtype or item["offset"] % ALIGNMENT_BYTES or item["offset"] < 0 or item["length"] < 0:
            raise ValueError(f"array {name} is stored as {item}")
        arrays[name] = np.frombuffer(data, dtype, item["length"], start + item["offset"])
    return header, arrays
