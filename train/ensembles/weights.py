"""Fit the weights of a combination on out-of-fold probabilities.

Both problems are convex, so what is found does not depend on where the search starts. The logit form is stacking with
non-negative weights (D. Wolpert, Stacked generalization, Neural Networks 5, 1992; L. Breiman, Stacked regressions,
Machine Learning 24, 1996); the probability form is a linear pool weighted by likelihood.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsd.runtime.combination import SMALLEST, Array, Combination, equal, logit

NEGLIGIBLE = 1e-6  # a weight of the pool below this is 0: where the search stops short of the border
PENALTY = 1.0  # on the squared distance of logit weights from equal ones, in units of one sample's log loss


def fit_combination(method: str, probability: Array, labels: NDArray[np.int8]) -> Combination:
    """The combination of one method with the lowest log loss on these samples.

    Args:
        method: `mean` (nothing is fitted), `probability` or `logit`.
        probability: float64 (n, member).
        labels: (n,), 0 or 1.
    """
    if method == "mean":
        return equal(probability.shape[1])
    ordered = np.ascontiguousarray(probability)  # the order in memory decides the last bit of a sum
    return _pool(ordered, labels) if method == "probability" else _stack(ordered, labels)


def _pool(probability: Array, labels: NDArray[np.int8]) -> Combination:
    """Weights >= 0 with sum 1 that give the labels the greatest likelihood."""
    of_label = np.clip(np.where(labels[:, None] == 1, probability, 1 - probability), SMALLEST, None)

    def loss(weights: Array) -> tuple[float, Array]:
        likelihood = np.maximum(of_label @ weights, SMALLEST)
        return float(-np.log(likelihood).mean()), -(of_label / likelihood[:, None]).mean(axis=0)

    members = probability.shape[1]
    sum_is_one = {"type": "eq", "fun": lambda w: w.sum() - 1.0, "jac": np.ones_like}
    found = _minimum(loss, np.full(members, 1 / members), "SLSQP", [(0.0, 1.0)] * members, constraints=sum_is_one)
    weights = np.where(found < NEGLIGIBLE, 0.0, found)
    return Combination("probability", tuple((weights / weights.sum()).tolist()))


def _stack(probability: Array, labels: NDArray[np.int8]) -> Combination:
    """Logistic regression on the members' log-odds: weights >= 0, drawn a little towards equal ones, free intercept."""
    margins = logit(probability)
    n, members = margins.shape
    pull = PENALTY / n

    def loss(parameters: Array) -> tuple[float, Array]:
        weights, intercept = parameters[:-1], parameters[-1]
        z = margins @ weights + intercept
        away = weights - 1 / members
        error = 0.5 * (1 + np.tanh(0.5 * z)) - labels
        value = np.mean(np.logaddexp(0, z) - labels * z) + 0.5 * pull * np.sum(away**2)
        return float(value), np.append(margins.T @ error / n + pull * away, error.mean())

    start = np.append(np.full(members, 1 / members), 0.0)
    bounds: list[tuple[float | None, float | None]] = [(0.0, None)] * members + [(None, None)]
    found = _minimum(loss, start, "L-BFGS-B", bounds, gtol=1e-8)
    return Combination("logit", tuple(found[:-1].tolist()), float(found[-1]))


def _minimum(loss: Any, start: Array, method: str, bounds: Any, constraints: Any = (), **options: float) -> Array:
    from scipy.optimize import minimize

    settings = {"ftol": 1e-13, "maxiter": 1000, **options}
    found = minimize(loss, start, jac=True, method=method, bounds=bounds, constraints=constraints, options=settings)
    return np.asarray(found.x, np.float64)
