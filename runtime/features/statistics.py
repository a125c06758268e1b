"""Per-channel statistics of patches, in float64.

Definitions (the paper's, see METHOD of the data set): population standard deviation (divisor n); biased Fisher skew
m3 / m2^1.5 and kurtosis m4 / m2^2 - 3 (D. N. Joanes and C. A. Gill, The Statistician 47(1), 1998: g1 and g2); both NaN
on a constant channel, by the rule of scipy.stats: m2 <= (1e-15 * mean)^2. Invalid (NaN) pixels are left out; a channel
with no valid pixel gives NaN everywhere.

The moments come from the native library where there is one, from numpy where there is none, and are the same bits; all
that follows from them is computed here, once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import reduce
from operator import or_

import numpy as np
from numpy.typing import NDArray

from lsd.runtime.bands import INDEX_BY_NAME
from lsd.runtime.native.library import native_library
from lsd.runtime.native.moments import EXTREMES, MEDIAN, POWERS, moments

STATISTICS = ("mean", "median", "min", "max", "std", "skew", "kurtosis")  # the paper's order
CONSTANT_RESOLUTION = 1e-15  # np.finfo(float64).resolution, the constant in scipy.stats.skew and kurtosis

Array = NDArray[np.float64]
_PASSES = {"median": MEDIAN, "min": EXTREMES, "max": EXTREMES, "std": POWERS, "skew": POWERS, "kurtosis": POWERS}


def patch_statistics(
    pixels: NDArray[np.float32], bands: Sequence[str], wanted: Mapping[str, Sequence[str]], threads: int = 1
) -> dict[tuple[str, str], Array]:
    """Statistics of bands and index channels of raw patches.

    Args:
        pixels: float32 (n, band, y, x), stored DN or dB, NaN where invalid; not modified. A view will do.
        bands: canonical names along axis 1.
        wanted: channel (band or index name) -> which of `STATISTICS`.
        threads: of the native library; no result depends on it.
    Returns:
        (channel, statistic) -> float64 (n,). Each patch's numbers do not depend on the others in the batch.
    """
    library = native_library()
    found: dict[tuple[str, str], Array] = {}
    if library is None:
        for channel, some in wanted.items():  # one channel at a time keeps the float64 copies in the cache
            values = channel_statistics(channels(pixels, bands, [channel]), some)
            found.update({(channel, statistic): values[:, 0, i] for i, statistic in enumerate(some)})
        return found
    passes = [reduce(or_, (_PASSES.get(one, 0) for one in some), 0) for some in wanted.values()]
    measured = moments(library, pixels, bands, list(wanted), passes, threads)
    together = _from_moments(measured, tuple({one: None for some in wanted.values() for one in some}))
    for i, (channel, some) in enumerate(wanted.items()):
        found.update({(channel, statistic): together[statistic][i] for statistic in some})
    return found


def channels(pixels: NDArray[np.float32], bands: Sequence[str], names: Sequence[str]) -> Array:
    """Bands and index channels of patches, in float64.

    Args:
        pixels: float32 (n, band, y, x), stored DN or dB, NaN where invalid; not modified.
        bands: canonical names along axis 1.
        names: the channels wanted: band names or index names.
    Returns:
        float64 (n, len(names), y, x). An index is NaN where one of its bands is.
    """
    position = {band: i for i, band in enumerate(bands)}
    out = np.empty((len(pixels), len(names), *pixels.shape[2:]), np.float64)
    for i, name in enumerate(names):
        if name in position:
            out[:, i] = pixels[:, position[name]]
        else:
            index = INDEX_BY_NAME[name]
            a = pixels[:, position[index.numerator]].astype(np.float64)
            b = pixels[:, position[index.denominator]].astype(np.float64)
            with np.errstate(divide="ignore", invalid="ignore"):
                out[:, i] = (a - b) / (a + b + index.epsilon) + index.offset
    return out


def channel_statistics(values: Array, statistics: Sequence[str] = STATISTICS) -> Array:
    """Statistics of every channel of every patch, by numpy: the reference that the native library is held to.

    Args:
        values: float64 (n, channel, y, x), NaN where invalid; not modified.
        statistics: which of `STATISTICS`, in the order wanted.
    Returns:
        float64 (n, channel, len(statistics)). Each patch's numbers do not depend on the others in the batch.
    """
    flat = values.reshape(*values.shape[:2], -1)
    out = np.empty((*flat.shape[:2], len(statistics)), np.float64)
    whole = np.isfinite(flat).all(axis=2)
    out[whole] = _of_rows(flat[whole], statistics)
    for patch, channel in zip(*np.nonzero(~whole), strict=True):  # the few channels with holes, one by one
        valid = flat[patch, channel][~np.isnan(flat[patch, channel])]
        out[patch, channel] = _of_rows(valid[None, :], statistics)[0] if valid.size else np.nan
    return out


def _of_rows(rows: Array, statistics: Sequence[str]) -> Array:
    """float64 (row, pixel) without NaN -> (row, statistic)."""
    if not rows.size:
        return np.empty((len(rows), len(statistics)))
    passes = {_PASSES.get(statistic, 0) for statistic in statistics}
    nothing = np.full(len(rows), np.nan)
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        mean = rows.mean(axis=1)
        m2 = m3 = m4 = least = most = median = nothing
        if POWERS in passes:
            deviation = rows - mean[:, None]
            square = deviation * deviation
            m2, m3, m4 = (square.mean(axis=1), (square * deviation).mean(axis=1), (square * square).mean(axis=1))
        if EXTREMES in passes:
            least, most = rows.min(axis=1), rows.max(axis=1)
        if MEDIAN in passes:
            median = np.median(rows, axis=1)
    found = _from_moments(np.stack([mean, m2, m3, m4, least, most, median]), statistics)
    return np.stack([found[name] for name in statistics], axis=1)


def _from_moments(measured: Array, statistics: Sequence[str]) -> dict[str, Array]:
    """Statistic -> array, from (moment, ...) in the order of `MOMENTS`. No zero is negative: which of the two zeros a
    minimum or a sum has depends on the order in which equal values are met."""
    mean, m2, m3, m4, least, most, median = measured[:7] + 0.0
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        constant = m2 <= (CONSTANT_RESOLUTION * mean) ** 2
        found = {"mean": mean, "median": median, "min": least, "max": most, "std": np.sqrt(m2)}
        if "skew" in statistics:
            found["skew"] = np.where(constant, np.nan, m3 / m2**1.5)
        if "kurtosis" in statistics:
            found["kurtosis"] = np.where(constant, np.nan, m4 / (m2 * m2) - 3.0)
    return found
