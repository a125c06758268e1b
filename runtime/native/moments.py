"""Moments of patches by the native library: how numpy arrays reach `lsd_moments`, and what comes back."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from threading import Thread

import numpy as np
from numpy.typing import NDArray

from lsd.runtime.bands import INDEX_BY_NAME
from lsd.runtime.native.layout import PatchLayout, check
from lsd.runtime.native.library import BEST

MOMENTS = ("mean", "m2", "m3", "m4", "min", "max", "median", "count")  # enum lsd_moment of lsd_native.h
POWERS, EXTREMES, MEDIAN = 1, 2, 4  # enum lsd_wanted

Array = NDArray[np.float64]


class Channel(ctypes.Structure):
    """struct lsd_channel."""

    _fields_ = (
        ("numerator", ctypes.c_int32),
        ("denominator", ctypes.c_int32),
        ("epsilon", ctypes.c_double),
        ("offset", ctypes.c_double),
        ("wanted", ctypes.c_uint32),
        ("unused", ctypes.c_uint32),
    )


def moments(
    library: ctypes.CDLL,
    pixels: NDArray[np.float32],
    bands: Sequence[str],
    channels: Sequence[str],
    wanted: Sequence[int],
    threads: int = 1,
    isa: int = BEST,
) -> Array:
    """Moments of the valid values of every channel of every patch; the GIL is released.

    Args:
        pixels: float32 (n, band, y, x), NaN where invalid; not modified. A view of a tile's rows will do: only pixels
            within a row must be adjacent (an array where they are not is copied first).
        bands: canonical names along axis 1. channels: names of bands and index channels.
        wanted: for each channel `POWERS` | `EXTREMES` | `MEDIAN`; mean and count come always.
        threads: that share the patches; no result depends on it. isa: instruction set, for tests.
    Returns:
        float64 (len(MOMENTS), channel, n): mean, means of powers of the deviation from it, extremes, median, number of
        valid values. NaN where not wanted or no value is valid.
    Raises:
        KeyError: a channel needs a band that is not there. MemoryError: the library found none.
        ValueError: this processor has no such instruction set.
    """
    layout = PatchLayout.of(pixels)
    described = _described(bands, channels, wanted)
    n = len(pixels)
    out = np.empty((n, len(channels), len(MOMENTS)))
    failures: list[BaseException] = []

    def work(first: int, last: int) -> None:
        patches, into = layout.patches(slice(first, last)), ctypes.c_void_p(out[first:].ctypes.data)
        try:
            check(library.lsd_moments(ctypes.byref(patches), described, ctypes.c_int64(len(channels)), isa, into))
        except (MemoryError, ValueError) as failure:
            failures.append(failure)

    cuts = [n * i // max(1, min(threads, n)) for i in range(max(1, min(threads, n)) + 1)]
    helpers = [Thread(target=work, args=pair) for pair in zip(cuts[1:-1], cuts[2:], strict=True)]
    for helper in helpers:
        helper.start()
    work(cuts[0], cuts[1])
    for helper in helpers:
        helper.join()
    if failures:
        raise failures[0]
    return np.ascontiguousarray(out.transpose(2, 1, 0))


def _described(bands: Sequence[str], channels: Sequence[str], wanted: Sequence[int]) -> ctypes.Array[Channel]:
    position = {band: i for i, band in enumerate(bands)}
    described = (Channel * len(channels))()
    for one, name, flags in zip(described, channels, wanted, strict=True):
        if name in position:
            one.numerator, one.denominator = position[name], -1
        else:
            index = INDEX_BY_NAME[name]
            one.numerator, one.denominator = position[index.numerator], position[index.denominator]
            one.epsilon, one.offset = index.epsilon, index.offset
        one.wanted = flags
    return described
