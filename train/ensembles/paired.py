"""Bootstrap intervals of log loss, and of differences between two ensembles over the same samples.

As in `lsd.train.metrics`: a bootstrap sample is a vector of multinomial weights, here the same for both sides, so that
what both find hard cancels.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from lsd.runtime.combination import Array
from lsd.train.calibrate import Nested
from lsd.train.ensembles.nesting import losses
from lsd.train.metrics import BOOTSTRAPS, paired_f1_gain

_CHUNK = 100  # bootstrap samples held in memory together
Statistic = Callable[[Array], Array]  # weights (sample, n) -> (sample,)


def mean_of(values: Array) -> Statistic:
    """Weighted mean of a value of each row."""
    return lambda weights: np.asarray(weights @ values / weights.sum(axis=1))


def auc_of(probability: Array, labels: NDArray[np.int8]) -> Statistic:
    """Weighted share of pairs (positive, negative) in the right order; ties count half."""
    order = np.argsort(probability, kind="stable")
    positive = labels[order] == 1
    sorted_p = probability[order]
    first = np.searchsorted(sorted_p, sorted_p, side="left")
    after = np.searchsorted(sorted_p, sorted_p, side="right")

    def statistic(weights: Array) -> Array:
        w = weights[:, order]
        negatives = np.pad(np.cumsum(np.where(positive, 0.0, w), axis=1), ((0, 0), (1, 0)))
        below = (negatives[:, first] + negatives[:, after]) / 2
        w_positive = np.where(positive, w, 0.0)
        pairs = w_positive.sum(axis=1) * negatives[:, -1]
        with np.errstate(invalid="ignore"):  # 0 / 0 where a bootstrap sample has one class only
            return np.asarray((w_positive * below).sum(axis=1) / pairs)

    return statistic


def with_interval(statistic: Statistic, n: int, seed: int = 0) -> dict[str, float]:
    """Value over the n rows with its 95 % percentile interval over those of 1,000 bootstrap samples that have one."""
    rng = np.random.default_rng(seed)
    found = []
    for start in range(0, BOOTSTRAPS, _CHUNK):
        size = min(_CHUNK, BOOTSTRAPS - start)
        found.append(statistic(rng.multinomial(n, np.full(n, 1 / n), size).astype(np.float64)))
    low, high = np.nanquantile(np.concatenate(found), (0.025, 0.975))
    return {"value": float(statistic(np.ones((1, n)))[0]), "low": float(low), "high": float(high)}


def gains(ours: Nested, theirs: Nested, labels: NDArray[np.int8]) -> dict[str, dict[str, float]]:
    """What one way of predicting has over another: `f1`, `auc`, `log_loss` (below 0 is better), with intervals.

    Both sides are calibrated and cut, nested, over the same rows.
    """
    our_auc, their_auc = auc_of(ours.probability, labels), auc_of(theirs.probability, labels)
    loss = mean_of(losses(ours.probability, labels) - losses(theirs.probability, labels))
    return {
        "f1": paired_f1_gain([ours.decision], [theirs.decision], labels),
        "auc": with_interval(lambda weights: our_auc(weights) - their_auc(weights), len(labels)),
        "log_loss": with_interval(loss, len(labels)),
    }
