"""How close surrogate patches come to the rows that they were made from, statistic by statistic."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsd.train.surrogate import INDICES, STATISTICS

Array = NDArray[np.float64]

IN_UNITS = ("mean", "std", "min", "max")  # carry the unit of the channel, so that they can be told in its std
OF_INDICES = ("mean", "std")  # what the coupling of the bands steers; it is not asked for more
SUMMARY = ("median", "p99", "max")


def closeness(wanted: Array, found: Array, channels: Sequence[str]) -> dict[str, Any]:
    """Deviations of what the pixels have from what their rows say.

    Args:
        wanted: float64 (n, channel, 6), the rows, statistics in the order of `surrogate.STATISTICS`; NaN where the
            table says nothing.
        found: the same of the pixels, as `lsd.runtime.features` computes them.
        channels: names along axis 1: bands, then `ndvi` and `ndwi` where the table has them.
    Returns:
        `patches` and `channels`: channel -> statistic -> `absolute` (unit of the statistic) and `relative_to_std` (in
        standard deviations of the row's own pixels; None for skew and kurtosis, which have no unit), each with
        `median`, `p99` and `max` over the patches. A constant band has no skew, no kurtosis and nothing relative.
    """
    out: dict[str, Any] = {}
    for at, channel in enumerate(channels):
        std = wanted[:, at, STATISTICS.index("std")]
        out[channel] = {}
        for name in OF_INDICES if channel in INDICES else STATISTICS:
            i = STATISTICS.index(name)
            miss = np.abs(found[:, at, i] - wanted[:, at, i])
            relative = np.divide(miss, std, out=np.full_like(miss, np.nan), where=std > 0)
            out[channel][name] = {
                "absolute": _summary(miss),
                "relative_to_std": _summary(relative) if name in IN_UNITS else None,
            }
    return {"patches": len(wanted), "channels": out}


def _summary(miss: Array) -> dict[str, float]:
    known = miss[np.isfinite(miss)]
    if not known.size:
        return dict.fromkeys(SUMMARY, float("nan"))
    return {"median": float(np.median(known)), "p99": float(np.quantile(known, 0.99)), "max": float(known.max())}


def table_of_closeness(found: Mapping[str, Any]) -> str:
    """Aligned text: one line a channel, 99th percentile and maximum of each statistic's deviation."""
    width = max(map(len, found["channels"]))
    lines = [
        f"deviation of {found['patches']} patches from their rows, 99th percentile / maximum;",
        "mean, std, min, max in standard deviations of the row, skew and kurtosis as they are",
        " " * width + "".join(f"{name:>18}" for name in STATISTICS),
    ]
    for channel, statistics in found["channels"].items():
        cells = [_cell(statistics.get(name)) for name in STATISTICS]
        lines.append(f"{channel:<{width}}" + "".join(f"{cell:>18}" for cell in cells).rstrip())
    for index in (name for name in INDICES if name in found["channels"]):
        spread = found["channels"][index]["std"]
        lines.append(
            f"spread of {index.upper()} is missed by {100 * spread['relative_to_std']['median']:.1f} % (median) and "
            f"{100 * spread['relative_to_std']['p99']:.1f} % (99th percentile) of itself"
        )
    return "\n".join(lines)


def _cell(deviation: Mapping[str, Any] | None) -> str:
    if deviation is None:
        return ""
    told = deviation["relative_to_std"] or deviation["absolute"]
    return f"{told['p99']:.1e} / {told['max']:.1e}"
