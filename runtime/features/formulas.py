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

STATISTIC = "statistic"  # the operator of a feature that is one statistic as it stands
OPERATORS: dict[str, tuple[int, Callable[..., Array]]] = {  # name: (operands, formula)
    STATISTIC: (1, lambda a: a),
    "difference": (2, lambda a, b: a - b),
    "sum": (2, lambda a, b: a + b),
    "ratio": (2, lambda a, b: a / b),
    "ratio_to_magnitude": (2, lambda a, b: a / np.abs(b)),
    "normalised_difference": (2, lambda a, b: (a - b) / (a + b)),
    "standardised_difference": (3, lambda a, b, scale: (a - b) / scale),
    "mean_of_three": (3, lambda a, b, c: (a + b + c) / 3.0),
}


@dataclass(frozen=True)
class Feature:
    """One column: `operator` applied to the statistics named by `operands` (`red_mean`, `desc_vv_std`, ...)."""

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
    rounded: dict[str, Array] = {}

    def operand(name: str) -> Array:
        if name not in rounded:
            rounded[name] = np.asarray(statistics[name], np.float32).astype(np.float64)
        return rounded[name]

    columns = []
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        for feature in features:
            formula = OPERATORS[feature.operator][1]
            columns.append(np.float32(formula(*(operand(name) for name in feature.operands))))
    return np.ascontiguousarray(np.stack(columns, axis=1), np.float32)
