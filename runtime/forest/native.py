"""Forests by the native library: the margins of `TableWalk`, bit for bit, hundreds of times faster."""

from __future__ import annotations

import threading
import weakref
from ctypes import c_double, c_int, c_size_t, c_uint32, c_void_p
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lsd.runtime.errors import BackendError, BundleError
from lsd.runtime.forest.table import ForestTable
from lsd.runtime.native.library import BEST, ISA_NAMES, absence, native_library

NO_MEMORY, NO_SUCH_ISA = 1, 2  # enum lsd_forest_status (forest.h)


class _SingleRow(NamedTuple):
    """Memory for one row and its margin, and the C call on it; one a thread."""

    row: NDArray[np.float32]
    margin: NDArray[np.floating]
    arguments: tuple[c_void_p, c_void_p, c_size_t, c_void_p, c_int]


class NativeForest:
    """Margins of a forest. Threads may share it; the GIL is released while it works."""

    name = "native"

    def __init__(self, forest: ForestTable, threads: int = 1, isa: int = BEST) -> None:
        """Keep the forest; it is laid out for the kernel when the first rows come.

        Args:
            forest: the table, checked.
            threads: of one call, 64 at most, where there are rows enough for more than one (512 with AVX-512, 256 with
                AVX2, else 128). The library starts them, and they end with the call.
            isa: instruction set (lsd.runtime.native.library); all give the same bits.
        Raises:
            BackendError: there is no native library here.
        """
        library = native_library()
        if library is None:
            raise BackendError(f"no native forests here: {absence()}; or use --backend table")
        self.forest = forest
        self.threads = threads
        self._isa = isa
        self._library = library
        self._call = library.lsd_forest_margins
        self._shape_of_one = (1, forest.n_features)
        self._of_thread = threading.local()
        self._building = threading.Lock()

    @cached_property
    def _built(self) -> c_void_p:
        """The forest in the kernel's layout, freed with this object."""
        forest, library = self.forest, self._library
        arrays = (
            np.ascontiguousarray(forest.node_offset, np.int32),
            np.ascontiguousarray(forest.leaf_offset, np.int32),
            np.ascontiguousarray(forest.feature, np.uint16),
            np.ascontiguousarray(forest.threshold, np.float32),
            np.ascontiguousarray(forest.default_left, np.uint8),
            np.ascontiguousarray(forest.left, np.int16),
            np.ascontiguousarray(forest.right, np.int16),
            np.ascontiguousarray(forest.leaf_value, forest.accumulator),
        )
        n_nodes, n_leaves = len(forest.feature), len(forest.leaf_value)
        lengths = (forest.n_trees + 1,) * 2 + (n_nodes,) * 5 + (n_leaves,)
        address = None
        if tuple(len(array) for array in arrays) == lengths:
            library.lsd_forest_new.restype = c_void_p
            address = library.lsd_forest_new(
                c_int(forest.accumulator == "float64"),
                c_double(forest.base_margin),
                c_uint32(forest.n_features),
                c_uint32(forest.n_trees),
                c_uint32(n_nodes),
                c_uint32(n_leaves),
                *(c_void_p(array.ctypes.data) for array in arrays),
            )
        if address is None:
            raise BundleError(
                f"forest table of {forest.n_trees} trees and {n_nodes} nodes: an index leaves its tree, or there is no "
                f"memory for it; free some, or export the bundle again"
            )
        weakref.finalize(self, library.lsd_forest_free, c_void_p(address)).atexit = False
        return c_void_p(address)

    def _handle(self) -> c_void_p:
        with self._building:
            return self._built

    def _single_row(self) -> _SingleRow:
        """This thread's; what a call for one row needs is converted once."""
        row, margin = np.empty(self._shape_of_one, np.float32), np.empty(1, self.forest.accumulator)
        addresses = c_void_p(row.ctypes.data), c_void_p(margin.ctypes.data)
        single = _SingleRow(row, margin, (self._handle(), addresses[0], c_size_t(1), addresses[1], c_int(self._isa)))
        self._of_thread.single = single
        return single

    def margins(self, rows: NDArray[np.float32]) -> NDArray[np.floating]:
        """As `TableWalk.margins`: sum of leaf values from `base_margin`, in tree order, in the accumulator's type.

        Args:
            rows: float32 (n, n_features), NaN is missing, infinities compare as numbers.
        Returns:
            (n,) float64 or float32; a row's value does not depend on the others.
        Raises:
            ValueError: rows of another width.
            BackendError: no memory, or an instruction set that this processor does not have.
            BundleError: the forest does not pass the kernel's own check, or there is no memory for it.
        """
        if rows.shape == self._shape_of_one:
            try:
                single: _SingleRow = self._of_thread.single
            except AttributeError:
                single = self._single_row()
            single.row[...] = rows
            self._done(self._call(*single.arguments))
            return single.margin.copy()
        rows = np.ascontiguousarray(rows, np.float32)
        if rows.ndim != 2 or rows.shape[1] != self.forest.n_features:
            raise ValueError(f"rows of shape (n, {self.forest.n_features}) expected, got {rows.shape}")
        margins = np.empty(len(rows), self.forest.accumulator)
        addresses = c_void_p(rows.ctypes.data), c_size_t(len(rows)), c_void_p(margins.ctypes.data)
        self._done(
            self._library.lsd_forest_margins_by_threads(
                self._handle(), *addresses, c_int(self._isa), c_int(self.threads)
            )
        )
        return margins

    def _done(self, status: int) -> None:
        if status == NO_SUCH_ISA:
            raise BackendError(f"this processor does not have {ISA_NAMES.get(self._isa, self._isa)}")
        if status == NO_MEMORY:
            raise BackendError("no memory for the planes of a forest (a few MB a thread); free some")
