"""Calibration: a monotone map from a forest's probability to one that matches observed frequencies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsd.runtime.errors import BundleError

METHODS = ("none", "platt", "isotonic")
SMALLEST = 1e-12  # probabilities are kept this far from 0 and 1 before their log-odds are taken


@dataclass(frozen=True)
class Calibration:
    """How probabilities are corrected. Immutable; threads may share it.

    method: `none`; `platt`: sigmoid(slope * logit(p) + intercept), parameters (slope, intercept) with slope > 0
    (J. Platt, Probabilistic outputs for support vector machines, 1999, on log-odds); `isotonic`: linear between knots,
    parameters x_1, y_1, x_2, y_2, ... both non-decreasing, constant outside.
    """

    method: str = "none"
    parameters: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        steps = np.diff(np.reshape(self.parameters, (-1, 2)), axis=0) if self.method == "isotonic" else np.zeros((0, 2))
        fits = {
            "none": len(self.parameters) == 0,
            "platt": len(self.parameters) == 2 and self.parameters[0] > 0,
            "isotonic": len(self.parameters) >= 2 and bool((steps >= 0).all()),
        }
        if not fits.get(self.method, False) or not np.isfinite(self.parameters).all():
            raise BundleError(
                f"calibration {self.method!r} with {len(self.parameters)} parameters is not a monotone map; "
                f"expected one of {', '.join(METHODS)}"
            )

    def apply(self, probability: NDArray[np.float64]) -> NDArray[np.float64]:
        """Calibrated probabilities.

        Args:
            probability: float64 (n,), 0..1; NaN stays NaN.
        Returns:
            float64 (n,), 0..1, in the same order of size.
        """
        if self.method == "platt":
            slope, intercept = self.parameters
            kept = np.clip(probability, SMALLEST, 1.0 - SMALLEST)
            margin = slope * (np.log(kept) - np.log1p(-kept)) + intercept
            result: NDArray[np.float64] = 0.5 * (1.0 + np.tanh(0.5 * margin))
            return result
        if self.method == "isotonic":
            knots = np.reshape(self.parameters, (-1, 2))
            return np.where(np.isnan(probability), np.nan, np.interp(probability, knots[:, 0], knots[:, 1]))
        return np.asarray(probability, np.float64)

    def to_json(self) -> dict[str, Any]:
        """For the manifest and the run folder."""
        return {"method": self.method, "parameters": list(self.parameters)}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Calibration:
        """Raises BundleError for an unknown method or parameters that are not monotone."""
        return cls(str(stored["method"]), tuple(float(value) for value in stored["parameters"]))
