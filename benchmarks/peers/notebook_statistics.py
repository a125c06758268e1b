"""The notebook way: one numpy or scipy call for each statistic of each channel, written anew from METHOD's definition.

7 statistics of 12 bands and 6 ratio indices, in METHOD's order: mean, median, minimum, maximum, population standard
deviation, biased Fisher skew and kurtosis, in float64 from raw values.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence

import numpy as np
import scipy.stats
from numpy.typing import NDArray

from lsd.runtime.bands import BAND_NAMES, Index

Array = NDArray[np.float64]


def _ratio(numerator: str, denominator: str) -> Index:
    return Index(f"{numerator}_{denominator}", numerator, denominator, offset=0.5, epsilon=1e-10)


# METHOD, task: channels 12 to 17. The last three are mirror images (1 - x) of the runtime's green_blue, red_blue and
# red_green, which come in another order.
INDICES = (
    _ratio("nir", "red"), _ratio("nir", "green"), _ratio("nir", "blue"),
    _ratio("blue", "green"), _ratio("blue", "red"), _ratio("green", "red"),
)  # fmt: skip
MIRRORED = {index.name: f"{index.denominator}_{index.numerator}" for index in INDICES[3:]}


def notebook_channels(patch: NDArray[np.float32], indices: Sequence[Index] = INDICES) -> dict[str, Array]:
    """Name -> float64 (y, x) of the bands of a patch float32 (12, y, x), then of its ratio indices."""
    found = {band: pixels.astype(np.float64) for band, pixels in zip(BAND_NAMES, patch, strict=True)}
    for index in indices:
        a, b = found[index.numerator], found[index.denominator]
        found[index.name] = (a - b) / (a + b + index.epsilon) + index.offset
    return found


def notebook_statistics(
    patch: NDArray[np.float32], medians: bool = True, indices: Sequence[Index] = INDICES
) -> dict[str, float]:
    """`red_mean` and the like: 126 float64 of METHOD's indices, 108 without medians.

    Args:
        patch: float32 (12, 64, 64) in canonical units and band order, without invalid pixels.
    Returns:
        The bands as they lie in the patch, then the indices; skew and kurtosis of a constant channel are NaN.
    """
    found: dict[str, float] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # scipy's, about the NaN of a constant channel
        for name, channel in notebook_channels(patch, indices).items():
            pixels = channel.ravel()
            found[f"{name}_mean"] = float(np.mean(pixels))
            if medians:
                found[f"{name}_median"] = float(np.median(pixels))
            found[f"{name}_min"] = float(np.min(pixels))
            found[f"{name}_max"] = float(np.max(pixels))
            found[f"{name}_std"] = float(np.std(pixels))
            found[f"{name}_skew"] = float(scipy.stats.skew(pixels))
            found[f"{name}_kurtosis"] = float(scipy.stats.kurtosis(pixels))
    return found


def under_runtime_names(found: Mapping[str, float]) -> dict[str, float]:
    """Statistics of METHOD's channels as `lsd.runtime.features` names them, `MIRRORED` indices turned over."""
    renamed = {}
    for name, value in found.items():
        channel, _, statistic = name.rpartition("_")
        if channel in MIRRORED:
            statistic, value = _turned(statistic, value)
        renamed[f"{MIRRORED.get(channel, channel)}_{statistic}"] = value
    return renamed


def _turned(statistic: str, value: float) -> tuple[str, float]:
    """What a statistic of x says of 1 - x."""
    if statistic in ("std", "kurtosis"):
        return statistic, value
    if statistic == "skew":
        return statistic, -value
    return {"min": "max", "max": "min"}.get(statistic, statistic), 1.0 - value
