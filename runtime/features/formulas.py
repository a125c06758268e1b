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


@dataclass(frozen=True)
class _Step:
    """Columns with one operator whose operands are known by then. rows: of the operands, (operand, column) -> position
    in the table of values; columns: their positions in the result, (column,)."""

    operator: str
    rows: NDArray[np.intp]
    columns: NDArray[np.intp]


@dataclass(frozen=True)
class Plan:
    """How a list of features is computed: columns of one operator together. Immutable; threads may share it.

    statistics: the names needed, which fill the first rows of the table of values; the columns follow.
    """

    statistics: tuple[str, ...]
    steps: tuple[_Step, ...]
    width: int

    @classmethod
    def of(cls, features: Sequence[Feature]) -> Plan:
        """An operand is the column of that name to the left, unless a statistic of that name was used before it."""
        statistics: dict[str, int] = {}
        column_of: dict[str, int] = {}
        depths: list[int] = []
        groups: dict[tuple[int, str], list[tuple[int, list[int]]]] = {}
        for i, feature in enumerate(features):
            for name in feature.operands:
                if name not in column_of:
                    statistics.setdefault(name, len(statistics))
            rows = [-1 - statistics[name] if name in statistics else column_of[name] for name in feature.operands]
            depth = 1 + max((depths[row] for row in rows if row >= 0), default=0)
            depths.append(depth)
            groups.setdefault((depth, feature.operator), []).append((i, rows))
            if feature.name not in statistics:
                column_of.setdefault(feature.name, i)
        steps = []
        for (_, operator), members in sorted(groups.items()):
            rows_of = np.array([rows for _, rows in members], np.intp).T
            rows_of = np.where(rows_of < 0, -1 - rows_of, rows_of + len(statistics))
            steps.append(_Step(operator, rows_of, np.array([i for i, _ in members], np.intp)))
        return cls(tuple(statistics), tuple(steps), len(features))

    def evaluate(self, statistics: Mapping[str, NDArray[np.floating]]) -> NDArray[np.float32]:
        """As the function `evaluate`."""
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            given = np.array([statistics[name] for name in self.statistics], np.float32)
            values = np.empty((len(given) + self.width, *given.shape[1:]))  # float32 numbers, widened
            values[: len(given)] = given
            for step in self.steps:
                found = OPERATORS[step.operator][1](*(values[rows] for rows in step.rows))
                values[len(given) + step.columns] = np.asarray(found, np.float32)
        return np.ascontiguousarray(values[len(given) :].T, np.float32)


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
    return Plan.of(features).evaluate(statistics)
