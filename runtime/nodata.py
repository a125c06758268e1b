"""Zeros that mean no data: one rule for tiles as they arrive and for patches of a data set."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lsd.runtime.bands import BY_NAME


def mask_zeros(pixels: NDArray[np.float32], bands: Sequence[str]) -> None:
    """Set zeros that are no measurement to NaN, in place.

    Zero in all optical bands is nodata, zero in one of them is a dark pixel; a radar level or difference of exactly 0
    is nodata.

    Args:
        pixels: (band, ...), as stored, NaN where invalid already.
        bands: canonical names along axis 0.
    """
    optical = [i for i, name in enumerate(bands) if BY_NAME[name].modality == "optical"]
    unseen: NDArray[np.bool_] | None = None
    for i in optical:
        dark = ~(np.abs(pixels[i]) > 0)  # 0 or NaN
        unseen = dark if unseen is None else unseen & dark
        if not unseen.any():  # the usual end, after the first band
            break
    else:
        for i in optical:
            pixels[i][unseen] = np.nan
    for i in sorted(set(range(len(bands))) - set(optical)):
        zero = pixels[i] == 0
        if zero.any():
            pixels[i][zero] = np.nan
