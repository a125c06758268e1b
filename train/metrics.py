"""Metrics of binary classification with bootstrap intervals.

All are computed for all bootstrap samples at once: a sample is a vector of multinomial weights over the rows (B. Efron
and R. Tibshirani, An Introduction to the Bootstrap, 1993: percentile interval, chapter 13).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

ECE_BINS = 15  # equal width, as in C. Guo et al., On Calibration of Modern Neural Networks, ICML 2017
PREVALENCES = (0.02, 0.01, 0.002)  # METHOD: what is met in the field
RECALLS = (0.8, 0.9)
BOOTSTRAPS = 1000
_CHUNK = 100  # bootstrap samples held in memory together


def is_open_sea(desc_vh_mean_db: NDArray[np.float32]) -> NDArray[np.bool_]:
    """True for patches of open sea: mean descending VH below -28 dB, near the noise floor of the sensor.

    On the published table it marks 19.1 % of the patches, none with a slide (METHOD: 18.5 %). NaN counts as land.
    """
    return np.asarray(desc_vh_mean_db < -28.0)


def evaluate(
    probability: Array,
    labels: NDArray[np.int8],
    threshold: float = 0.5,
    seed: int = 0,
    decision: NDArray[np.bool_] | None = None,
) -> dict[str, Any]:
    """All metrics as {"value", "low", "high"}, the last two a 95 % percentile interval over 1,000 bootstrap samples.

    Args:
        probability: float64 (n,), 0..1.
        labels: (n,), 0 or 1, both present.
        threshold: positive is p > threshold; ignored where `decision` is given.
        decision: bool (n,), where thresholds differ by fold.
    """
    called = probability > threshold if decision is None else decision
    curve = _Curve(probability, labels, called)
    ones = np.ones((1, len(labels)))
    point = curve.metrics(ones)
    rng = np.random.default_rng(seed)
    parts = []
    for start in range(0, BOOTSTRAPS, _CHUNK):
        size = min(_CHUNK, BOOTSTRAPS - start)
        weights = rng.multinomial(len(labels), np.full(len(labels), 1 / len(labels)), size).astype(np.float64)
        parts.append(curve.metrics(weights))
    found: dict[str, Any] = {}
    for name, value in point.items():
        samples = np.concatenate([part[name] for part in parts])
        defined = samples[~np.isnan(samples)]  # where nothing is called there is no precision
        low, high = np.quantile(defined, (0.025, 0.975)) if len(defined) else (np.nan, np.nan)
        found[name] = {"value": float(value[0]), "low": float(low), "high": float(high)}
    return found


class _Curve:
    """What does not change between bootstrap samples: order, ties, bins."""

    def __init__(self, probability: Array, labels: NDArray[np.int8], called: NDArray[np.bool_]) -> None:
        self.order = np.argsort(-probability, kind="stable")
        p = probability[self.order]
        self.last_of_ties = np.append(np.flatnonzero(p[1:] != p[:-1]), len(p) - 1)
        self.positive = labels[self.order] == 1
        self.called = called[self.order]
        self.squared_error = (p - self.positive) ** 2
        bins = np.minimum((p * ECE_BINS).astype(int), ECE_BINS - 1)
        self.in_bin = np.zeros((len(p), ECE_BINS))
        self.in_bin[np.arange(len(p)), bins] = p - self.positive

    def metrics(self, weights: Array) -> dict[str, Array]:
        """name -> (sample,) for weights (sample, n) in the original order of the rows."""
        w = weights[:, self.order]
        w_positive = w * self.positive
        positives, total = w_positive.sum(axis=1), w.sum(axis=1)
        negatives = total - positives
        with np.errstate(invalid="ignore", divide="ignore"):
            hits, calls = w_positive @ self.called, w @ self.called
            recall, false_rate = hits / positives, (calls - hits) / negatives
            found = {
                "f1": 2 * hits / (calls + positives),
                "precision": hits / calls,
                "recall": recall,
                "false_positive_rate": false_rate,
                "brier": (w @ self.squared_error) / total,
                "ece": np.abs(w @ self.in_bin).sum(axis=1) / total,
            }
            tp = np.cumsum(w_positive, axis=1)[:, self.last_of_ties]
            fp = np.cumsum(w - w_positive, axis=1)[:, self.last_of_ties]
            found |= _ranking(tp, fp, positives, negatives)
            for prevalence in PREVALENCES:
                found[f"precision_at_prevalence_{prevalence:g}"] = _precision(recall, false_rate, prevalence)
        return found


def _ranking(tp: Array, fp: Array, positives: Array, negatives: Array) -> dict[str, Array]:
    """AUC (trapezoids, ties count half), average precision (step sum), precision where a recall is first reached."""
    tpr, fpr = tp / positives[:, None], fp / negatives[:, None]
    before_tpr = np.pad(tpr, ((0, 0), (1, 0)))[:, :-1]
    before_fpr = np.pad(fpr, ((0, 0), (1, 0)))[:, :-1]
    precision = np.nan_to_num(tp / (tp + fp))
    found = {
        "auc": ((fpr - before_fpr) * (tpr + before_tpr) / 2).sum(axis=1),
        "average_precision": ((tpr - before_tpr) * precision).sum(axis=1),
    }
    sample = np.arange(len(tp))
    for recall in RECALLS:
        at = np.argmax(tpr >= recall - 1e-12, axis=1)
        reached, false_rate = tpr[sample, at], fpr[sample, at]
        found[f"precision_at_recall_{recall:g}"] = np.where(positives > 0, precision[sample, at], np.nan)
        for prevalence in PREVALENCES:
            name = f"precision_at_recall_{recall:g}_and_prevalence_{prevalence:g}"
            found[name] = _precision(reached, false_rate, prevalence)
    return found


def _precision(recall: Array, false_rate: Array, prevalence: float) -> Array:
    """Precision that these rates give where a share `prevalence` of the patches is positive (Bayes)."""
    true = recall * prevalence
    return np.asarray(true / (true + false_rate * (1 - prevalence)))


def paired_f1_gain(
    ours: list[NDArray[np.bool_]], theirs: list[NDArray[np.bool_]], labels: NDArray[np.int8], seed: int = 0
) -> dict[str, float]:
    """Mean over repeats of the F1 difference, with a 95 % interval over rows drawn for both alike.

    Args:
        ours, theirs: decisions bool (n,), one a repeat (fold seed), in the same order.
    """

    def f1(decision: NDArray[np.bool_], weights: Array) -> Array:
        return np.asarray(2 * (weights @ (decision & (labels == 1))) / (weights @ decision + weights @ labels))

    rng = np.random.default_rng(seed)
    weights = rng.multinomial(len(labels), np.full(len(labels), 1 / len(labels)), BOOTSTRAPS).astype(np.float64)
    weights = np.concatenate([np.ones((1, len(labels))), weights])
    gains = np.mean([f1(a, weights) - f1(b, weights) for a, b in zip(ours, theirs, strict=True)], axis=0)
    low, high = np.quantile(gains[1:], (0.025, 0.975))
    return {"value": float(gains[0]), "low": float(low), "high": float(high)}
