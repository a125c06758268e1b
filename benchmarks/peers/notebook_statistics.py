"""The notebook way: one numpy or scipy call for each statistic of each channel, written anew from the definition.

7 statistics of 12 bands and 6 ratio indices (METHOD, the nine members): mean, median, minimum, maximum, population
standard deviation, biased Fisher skew and kurtosis, in float64 from raw values.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy.stats
from numpy.typing import NDArray

from lsd.runtime.bands import INDEX_BY_NAME

Array = NDArray[np.float64]


def notebook_channels(patch: NDArray[np.float32], bands: Sequence[str], indices: Sequence[str]) -> dict[str, Array]:
    """Name -> float64 (y, x) of the bands of a patch float32 (band, y, x), then of its ratio indices."""
    found = {band: patch[number].astype(np.float64) for number, band in enumerate(bands)}
    for name in indices:
        index = INDEX_BY_NAME[name]
        a, b = found[index.numerator], found[index.denominator]
        found[name] = (a - b) / (a + b + index.epsilon) + index.offset
    return found


def notebook_statistics(
    patch: NDArray[np.float32], bands: Sequence[str], indices: Sequence[str], medians: bool
) -> dict[str, np.floating[Any]]:
    """`red_mean` and the like of one patch without invalid pixels."""
    found = {}
    for name, channel in notebook_channels(patch, bands, indices).items():
        pixels = channel.ravel()
        found[f"{name}_mean"] = np.mean(pixels)
        if medians:
            found[f"{name}_median"] = np.median(pixels)
        found[f"{name}_min"] = np.min(pixels)
        found[f"{name}_max"] = np.max(pixels)
        found[f"{name}_std"] = np.std(pixels)
        found[f"{name}_skew"] = scipy.stats.skew(pixels)
        found[f"{name}_kurtosis"] = scipy.stats.kurtosis(pixels)
    return found
