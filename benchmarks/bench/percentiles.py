"""Percentiles of latencies, told only where enough samples stand behind them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

QUANTILES: Mapping[str, float] = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p99.9": 0.999}
# A percentile that rests on fewer slower samples than this is chance: p99.9 needs 10,000 samples, p50 needs 20
LEAST_BEYOND = 10
_Z95 = 1.959964  # of the normal distribution, two-sided 95 %
_CURVE = (*(number / 100 for number in range(1, 100)), 0.995, 0.999, 0.9995, 0.9999)


@dataclass(frozen=True)
class NotMeasured:
    """A figure that there is not, and why."""

    reason: str

    def to_json(self) -> dict[str, str]:
        """As it stands in a result."""
        return {"not_measured": self.reason}


def is_measured(figure: Any) -> bool:
    """Whether a figure of a stored result was measured."""
    return figure is not None and not (isinstance(figure, Mapping) and "not_measured" in figure)


def samples_needed(quantile: float) -> int:
    """Number of samples of which `LEAST_BEYOND` lie above the quantile (0..1)."""
    return math.ceil(round(LEAST_BEYOND / (1.0 - quantile), 6))


def percentiles(latencies_s: NDArray[np.float64]) -> dict[str, Any]:
    """Name -> {"s", "low_s", "high_s"} or why it was not measured, for every name of `QUANTILES`.

    Nearest rank (the smallest sample that at least that share of the samples does not exceed), and a 95 % interval from
    the ranks that a binomial count of independent samples reaches, in its normal approximation (W. J. Conover,
    Practical Nonparametric Statistics, 3rd ed., 3.2).

    Args:
        latencies_s: float64 (n,), seconds, in any order.
    """
    ordered = np.sort(latencies_s)
    found: dict[str, Any] = {}
    for name, quantile in QUANTILES.items():
        needed = samples_needed(quantile)
        if len(ordered) < needed:
            found[name] = NotMeasured(f"{len(ordered):,} samples; {name} needs {needed:,}").to_json()
            continue
        middle, reach = quantile * len(ordered), _Z95 * math.sqrt(len(ordered) * quantile * (1.0 - quantile))
        low, at, high = (_ranked(ordered, rank) for rank in (middle - reach, middle, middle + reach))
        found[name] = {"s": at, "low_s": low, "high_s": high}
    return found


def curve(latencies_s: NDArray[np.float64]) -> list[tuple[float, float]]:
    """(quantile 0..1, seconds) for a plot, as far as there are enough samples."""
    ordered = np.sort(latencies_s)
    return [
        (quantile, _ranked(ordered, quantile * len(ordered)))
        for quantile in _CURVE
        if len(ordered) >= samples_needed(quantile)
    ]


def _ranked(ordered: NDArray[np.float64], rank: float) -> float:
    """The sample of a rank that counts from 1, rounded up; the nearest one beyond either end."""
    return float(ordered[min(max(math.ceil(round(rank, 6)), 1), len(ordered)) - 1])
