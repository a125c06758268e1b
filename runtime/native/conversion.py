"""Stored bands made canonical by the native library: from arrays, or from the blocks of an uncompressed file.

The results are those of the numpy code in `lsd.runtime.layers`. A plain GeoTIFF is read around GDAL's block cache: its
values are copied once from the system's cache and once, converted, to where they are to lie. GDAL says where the blocks
are; files that are compressed, packed, remote, sparse or of another byte order are left to it.
"""

from __future__ import annotations

import ctypes
import os
import sys
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rasterio.io import DatasetReader

from lsd.runtime.native.layout import check
from lsd.runtime.native.library import BEST

STORED = ("uint8", "int8", "uint16", "int16", "float32")  # enum lsd_stored; every value of these is one of float32
CONVERSIONS = ("none", "add_1000", "reflectance_to_dn")  # enum lsd_conversion
NOT_READ = 3  # LSD_NOT_READ
_LITTLE_ENDIAN = b"II"  # how such a TIFF begins (TIFF 6.0, section 2)


class Rule(ctypes.Structure):
    """struct lsd_rule: how the values of one band are stored, which are not valid, and what makes them canonical."""

    _fields_ = (
        ("stored", ctypes.c_int32),
        ("conversion", ctypes.c_int32),
        ("nodata", ctypes.c_float),
        ("zero", ctypes.c_float),
        ("least", ctypes.c_float),
        ("most", ctypes.c_float),
    )

    @classmethod
    def of(
        cls, dtype: str, conversion: str, nodata: float | None, zero_is_valid: bool, least: float, most: float
    ) -> Rule:
        """dtype: one of `STORED`. conversion: one of `CONVERSIONS`. nodata: a value that is not valid besides NaN and
        infinity. least, most: plausible canonical values, used where others are marked."""
        with np.errstate(over="ignore"):  # the float64 of a file may be none of float32: then no value is it
            declared = np.nan if nodata is None else np.float32(nodata)
        zero = np.nan if zero_is_valid else 0.0
        return cls(STORED.index(dtype), CONVERSIONS.index(conversion), declared, zero, least, most)


class _Blocks(ctypes.Structure):
    """struct lsd_blocks. It does not own the offsets."""

    _fields_ = (
        ("offsets", ctypes.c_void_p),
        *((name, ctypes.c_int64) for name in ("across", "block_height", "block_width")),
    )


@dataclass(frozen=True)
class Blocks:
    """Where a band lies in an open file. offsets: int64 (down, across), of each block in bytes. file: descriptor, owned
    by whoever opened it. block_height, block_width: in pixels."""

    file: int
    offsets: NDArray[np.int64]
    block_height: int
    block_width: int


def blocks_of(path: Path, dataset: DatasetReader, index: int, stack: ExitStack) -> Blocks | None:
    """The blocks of a band of a GeoTIFF, if they can be read without GDAL; None if they cannot.

    Args:
        dataset: the open file. index: 1-based band. stack: closes the file that is opened beside GDAL's.
    """
    dtype = dataset.dtypes[index - 1]
    is_plain = (
        dataset.driver == "GTiff"
        and dataset.compression is None
        and (dataset.count == 1 or dataset.tags(ns="IMAGE_STRUCTURE").get("INTERLEAVE") == "BAND")
        and dtype in STORED
        and "NBITS" not in dataset.tags(index, ns="IMAGE_STRUCTURE")
    )
    if not is_plain or sys.byteorder != "little" or not path.is_file():
        return None
    height, width = dataset.block_shapes[index - 1]
    down, across = -(-dataset.height // height), -(-dataset.width // width)
    offsets = [
        dataset.get_tag_item(f"BLOCK_OFFSET_{x}_{y}", "TIFF", bidx=index) for y in range(down) for x in range(across)
    ]
    if None in offsets:  # sparse: a block that is not stored
        return None
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        stack.callback(os.close, file)
        if os.pread(file, len(_LITTLE_ENDIAN), 0) != _LITTLE_ENDIAN:
            return None
    except OSError:  # too many files are open, say; GDAL has this one
        return None
    return Blocks(file, np.array(offsets, np.int64).reshape(down, across), height, width)


@dataclass(frozen=True)
class Into:
    """Where canonical values go: arrays of one shape, C order.

    out: float32, NaN where not valid. unseen: bool, stays True where the value is 0 or not valid, before it is
    converted. marked: bool, becomes True where the canonical value is out of range. None: not asked.
    """

    out: NDArray[np.float32]
    unseen: NDArray[np.bool_] | None = None
    marked: NDArray[np.bool_] | None = None

    @property
    def addresses(self) -> tuple[ctypes.c_void_p, ...]:
        """As C takes them; valid as long as the arrays live."""
        arrays = (self.out, self.unseen, self.marked)
        return tuple(ctypes.c_void_p(None if one is None else one.ctypes.data) for one in arrays)


def convert(library: ctypes.CDLL, stored: NDArray[np.generic], rule: Rule, into: Into, isa: int = BEST) -> None:
    """Make stored values canonical; the GIL is released.

    Args:
        stored: of the shape of `into` and the dtype that the rule names, C order; may be `into.out`.
    """
    size, source = ctypes.c_int64(into.out.size), ctypes.c_void_p(stored.ctypes.data)
    check(library.lsd_convert(source, size, ctypes.byref(rule), isa, *into.addresses))


def convert_blocks(
    library: ctypes.CDLL, blocks: Blocks, y: int, x: int, rule: Rule, into: Into, isa: int = BEST
) -> None:
    """`convert` for a window of a band, read from its file; the GIL is released.

    Args:
        y, x: first row and column of the window, which has the shape of `into`, (y, x), and lies inside of the band.
    Raises:
        OSError: the file ends before, or cannot be read.
    """
    offsets = blocks.offsets
    where = _Blocks(offsets.ctypes.data, offsets.shape[1], blocks.block_height, blocks.block_width)
    window = [ctypes.c_int64(one) for one in (y, x, *into.out.shape)]
    status = library.lsd_convert_blocks(
        blocks.file, ctypes.byref(where), *window, ctypes.byref(rule), isa, *into.addresses
    )
    if status == NOT_READ:
        raise OSError("it ends early, or the disk refuses")
    check(status)
