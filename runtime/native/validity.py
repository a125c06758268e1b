"""Pixels counted or masked by the native library: invalid ones, those out of range, those that look like cloud."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lsd.runtime.native.layout import PatchLayout, check
from lsd.runtime.native.library import BEST

Counts = NDArray[np.int64]


def invalid_px(library: ctypes.CDLL, pixels: NDArray[np.float32], isa: int = BEST) -> Counts:
    """int64 (n, band): NaN pixels of float32 (n, band, y, x)."""
    out = np.empty(pixels.shape[:2], np.int64)
    patches = PatchLayout.of(pixels).patches()
    check(library.lsd_invalid_px(ctypes.byref(patches), isa, ctypes.c_void_p(out.ctypes.data)))
    return out


def invalid_in_any_px(
    library: ctypes.CDLL,
    pixels: NDArray[np.float32],
    positions: Sequence[int],
    chosen: NDArray[np.intp],
    isa: int = BEST,
) -> Counts:
    """int64 (len(chosen),): pixels of these patches of float32 (n, band, y, x) that are NaN in any of the bands."""
    out = np.empty(len(chosen), np.int64)
    layout = PatchLayout.of(pixels)
    patches, bands = layout.patches(chosen), (ctypes.c_int32 * len(positions))(*positions)
    into = ctypes.c_void_p(out.ctypes.data)
    check(library.lsd_invalid_in_any(ctypes.byref(patches), bands, ctypes.c_int64(len(positions)), isa, into))
    return out


def hazy_px(library: ctypes.CDLL, pixels: NDArray[np.float32], red: int, blue: int, isa: int = BEST) -> Counts:
    """int64 (n,): pixels of float32 (n, band, y, x) for which `is_hazy` holds; the two bands by position."""
    out = np.empty(len(pixels), np.int64)
    layout = PatchLayout.of(pixels)
    patches, into = layout.patches(), ctypes.c_void_p(out.ctypes.data)
    check(library.lsd_hazy_px(ctypes.byref(patches), ctypes.c_int32(red), ctypes.c_int32(blue), isa, into))
    return out


def mask_out_of_range(
    library: ctypes.CDLL,
    pixels: NDArray[np.float32],
    least: Sequence[float],
    most: Sequence[float],
    isa: int = BEST,
) -> NDArray[np.bool_]:
    """Set values outside a band's range to NaN, in place; bool (y, x), True where one was.

    Args:
        pixels: float32 (band, y, x), C order. least, most: of each band, rounded to float32 as numpy would.
    Raises:
        ValueError: pixels are not float32 in C order.
    """
    if pixels.dtype != np.float32 or not (pixels.flags.c_contiguous and pixels.flags.writeable):
        raise ValueError(f"pixels should be writeable float32 in C order, are {pixels.dtype}, strides {pixels.strides}")
    marked = np.empty(pixels.shape[1:], np.bool_)
    low, high = np.array(least, np.float32), np.array(most, np.float32)
    addresses = [ctypes.c_void_p(one.ctypes.data) for one in (pixels, low, high, marked)]
    sizes = ctypes.c_int64(len(pixels)), ctypes.c_int64(marked.size)
    check(library.lsd_mask_out_of_range(addresses[0], *sizes, *addresses[1:3], isa, addresses[3]))
    return marked
