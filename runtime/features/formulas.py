"""The few operators that features are made of. A feature is data: a name, an operator, the statistics it is applied to.

Operands are statistics rounded to float32 (what a feature table stores); the formula runs in float64 and its result is
rounded to float32, so that a table and a patch give the same value. Division follows IEEE 754: 0 / 0 is NaN, which the
trees send to their missing branch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lsd.runtime.errors import BundleError

Array = NDArray[np.float64]


def approximate_quantile(z: float) -> Callable[..., Array]:
    """Quantile of a channel from its statistics, where the median itself is not at hand (or too dear to compute).

    Third-order Cornish-Fisher expansion (E. A. Cornish and R. A. Fisher, Moments and cumulants in the specification of
    distributions, 1938) at the normal quantile `z`, with skew kept in -2..2 and kurtosis in -1..6, since
    the expansion diverges for larger ones, and the result kept between minimum and maximum. NaN if skew or kurtosis is.
    """

    def formula(mean: Array, std: Array, least: Array, most: Array, skew: Array, kurtosis: Array) -> Array:
        s, k = np.clip(skew, -2.0, 2.0), np.clip(kurtosis, -1.0, 6.0)
        w = z + (z**2 - 1) * s / 6 + (z**3 - 3 * z) * k / 24 - (2 * z**3 - 5 * z) * s**2 / 36
        return np.minimum(np.maximum(mean + std * w, least), most)

    return formula


STATISTIC = "statistic"  # the operator of a feature that is one statistic as it stands
OPERATORS: dict[str, tuple[int, Callable[..., Array]]] = {  # name: (operands, formula)
    STATISTIC: (1, lambda a: a),
    "difference": (2, lambda a, b: a - b),
    "sum": (2, lambda a, b: a + b),
    "ratio": (2, lambda a, b: a / b),
    "ratio_to_magnitude": (2, lambda a, b: a / np.abs(b)),
    "normalised_difference": (2, lambda a, b: (a - b) / (a + b)),
    "standardised_difference": (3, lambda a, b, scale: (a - b) / scale),
    "approximate_quantile_05": (6, approximate_quantile(-1.645)),
    "approximate_quantile_50": (6, approximate_quantile(0.0)),
    "approximate_quantile_95": (6, approximate_quantile(1.645)),
    "mean_of_three": (3, lambda a, b, c: (a + b + c) / 3.0),
}


@dataclass(frozen=True)
class Feature:
    """One column: `operator` applied to what `operands` name: statistics (`red_mean`), or columns further left."""

    name: str
    operator: str
    operands: tuple[str, ...]

    def __post_init__(self) -> None:
        if self.operator not in OPERATORS:
            raise BundleError(
                f"feature {self.name!r} needs the operator {self.operator!r}, this version knows "
                f"{', '.join(OPERATORS)}; install a newer lsd-edge"
            )
        if len(self.operands) != OPERATORS[self.operator][0]:
            raise BundleError(
                f"feature {self.name!r}: {self.operator} takes {OPERATORS[self.operator][0]} operands, "
                f"found {len(self.operands)}"
            )


def evaluate(features: Sequence[Feature], statistics: Mapping[str, NDArray[np.floating]]) -> NDArray[np.float32]:
    """Feature matrix from statistics.

    Args:
        features: what to compute, in column order.
        statistics: name -> (n,) array; rounded to float32 here before anything else happens.
    Returns:
        float32 (n, len(features)), C order.
    Raises:
        KeyError: a statistic is missing.
    """
    known: dict[str, Array] = {}  # rounded to float32, widened again

    def operand(name: str) -> Array:
        if name not in known:
            known[name] = np.asarray(statistics[name], np.float32).astype(np.float64)
        return known[name]

    columns = []
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        for feature in features:
            formula = OPERATORS[feature.operator][1]
            column = np.asarray(formula(*(operand(name) for name in feature.operands)), np.float32)
            known.setdefault(feature.name, column.astype(np.float64))
            columns.append(column)
    return np.ascontiguousarray(np.stack(columns, axis=1), np.float32)
