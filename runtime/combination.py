"""How the probabilities of the parts of an ensemble become one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsd.runtime.errors import BundleError

Array = NDArray[np.float64]

METHODS = ("mean", "probability", "logit")
SMALLEST = 1e-6  # members' probabilities are kept this far from 0 and 1, so that no single one decides alone


def logit(probability: Array) -> Array:
    """Log-odds of probabilities kept `SMALLEST` from 0 and 1."""
    kept = np.clip(probability, SMALLEST, 1 - SMALLEST)
    return np.asarray(np.log(kept) - np.log1p(-kept))


@dataclass(frozen=True)
class Combination:
    """A rule over members in a fixed order. Immutable; threads may share it.

    method: `mean` and `probability`: sum of weight * probability, weights >= 0 with sum 1 (equal for `mean`); `logit`:
    sigmoid(intercept + sum of weight * logit(probability)), weights >= 0. A member with weight 0 is not asked.
    """

    method: str
    weights: tuple[float, ...]
    intercept: float = 0.0

    def __post_init__(self) -> None:
        weights = np.array(self.weights)
        fits = self.method in METHODS and len(weights) > 0 and bool(np.isfinite(weights).all() and (weights >= 0).all())
        if not fits or not np.isfinite(self.intercept) or (self.method != "logit" and abs(weights.sum() - 1) > 1e-9):
            raise BundleError(
                f"combination {self.method!r} with weights {self.weights} is none; expected one of "
                f"{', '.join(METHODS)}, weights of 0 or more and, except for logit, with sum 1"
            )

    def apply(self, probability: Array) -> Array:
        """float64 (n,), 0..1, from float64 (n, member); NaN of a member makes NaN."""
        parts = logit(probability) if self.method == "logit" else probability
        summed = np.full(len(parts), self.intercept)
        for weight, part in zip(self.weights, parts.T, strict=True):  # one after the other: the same sum on any machine
            if weight > 0:
                summed += weight * part
        return 0.5 * (1.0 + np.tanh(0.5 * summed)) if self.method == "logit" else np.clip(summed, 0.0, 1.0)

    def to_json(self) -> dict[str, Any]:
        """For run.json and the report."""
        return {"method": self.method, "weights": list(self.weights), "intercept": self.intercept}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Combination:
        """Raises BundleError for what is no combination, KeyError for a missing part."""
        weights = tuple(float(weight) for weight in stored["weights"])
        return cls(str(stored["method"]), weights, float(stored["intercept"]))


def equal(members: int) -> Combination:
    """The plain mean, as in the paper."""
    return Combination("mean", (1.0 / members,) * members)
