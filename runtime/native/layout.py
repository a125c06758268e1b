"""How an array of patches is described to the native library, and what its answers mean."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

FLOAT_BYTES = 4
DONE, NO_MEMORY, NO_SUCH_ISA = 0, 1, 2  # enum lsd_status of lsd_native.h


class Patches(ctypes.Structure):
    """struct lsd_patches. It does not own the arrays it points to: its `PatchLayout` does."""

    _fields_ = (
        ("pixels", ctypes.c_void_p),
        ("starts", ctypes.c_void_p),
        *((name, ctypes.c_int64) for name in ("patches", "bands", "height", "width", "band_stride", "row_stride")),
    )


@dataclass(frozen=True)
class PatchLayout:
    """Where the patches of an array lie. pixels: float32 (n, band, y, x); starts: int64 (n,), in floats."""

    pixels: NDArray[np.float32]
    starts: NDArray[np.int64]

    @classmethod
    def of(cls, pixels: NDArray[np.float32]) -> PatchLayout:
        """The layout of (n, band, y, x); pixels are copied only where those within a row are not adjacent."""
        if not _is_readable(pixels):
            pixels = np.ascontiguousarray(pixels, np.float32)
        return cls(pixels, np.arange(len(pixels), dtype=np.int64) * (pixels.strides[0] // FLOAT_BYTES))

    def patches(self, chosen: slice | NDArray[np.intp] = slice(None)) -> Patches:
        """These patches, as C takes them. Valid as long as the returned object and this layout live."""
        starts = np.ascontiguousarray(self.starts[chosen])
        band_stride, row_stride = (stride // FLOAT_BYTES for stride in self.pixels.strides[1:3])
        found = Patches(
            self.pixels.ctypes.data, starts.ctypes.data, len(starts), *self.pixels.shape[1:], band_stride, row_stride
        )
        found.kept = starts
        return found


def check(status: int) -> None:
    """Raise what a status means.

    Raises:
        MemoryError, ValueError: see the message.
    """
    if status == NO_MEMORY:
        raise MemoryError("the native library found no memory")
    if status == NO_SUCH_ISA:
        raise ValueError("this processor does not have the instruction set asked for")


def _is_readable(pixels: NDArray[Any]) -> bool:
    return (
        pixels.dtype == np.float32
        and pixels.flags.aligned
        and (pixels.strides[3] == FLOAT_BYTES or pixels.shape[3] == 1)
        and all(stride % FLOAT_BYTES == 0 for stride in pixels.strides)
    )
