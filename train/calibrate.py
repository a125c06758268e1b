"""Calibration and threshold, chosen and fitted on out-of-fold probabilities; nested, so that reported numbers hold."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lsd.runtime.calibration import METHODS, SMALLEST, Calibration

Array = NDArray[np.float64]
Labels = NDArray[np.int8]


def fit_calibration(method: str, probability: Array, labels: Labels) -> Calibration:
    """A calibration of one method, fitted on these samples.

    Platt: logistic regression on the log-odds, labels smoothed as in Platt (1999): (n+ + 1) / (n+ + 2), 1 / (n- + 2).
    Isotonic: least squares non-decreasing (pool adjacent violators), linear between its knots.
    """
    if method == "none":
        return Calibration()
    if method == "isotonic":
        from sklearn.isotonic import IsotonicRegression

        fitted = IsotonicRegression(y_min=0.0, y_max=1.0, out_of_bounds="clip").fit(probability, labels)
        knots = np.stack([fitted.X_thresholds_, fitted.y_thresholds_], axis=1)
        return Calibration("isotonic", tuple(float(value) for value in knots.ravel()))
    return Calibration("platt", _platt(probability, labels))


def _platt(probability: Array, labels: Labels) -> tuple[float, float]:
    from scipy.optimize import minimize

    kept = np.clip(probability, SMALLEST, 1 - SMALLEST)
    margin = np.log(kept) - np.log1p(-kept)
    positives = int(labels.sum())
    negatives = len(labels) - positives
    target = np.where(labels == 1, (positives + 1) / (positives + 2), 1 / (negatives + 2))

    def loss(parameters: Array) -> tuple[float, Array]:
        z = np.exp(parameters[0]) * margin + parameters[1]  # slope > 0 keeps the order of the probabilities
        value = np.logaddexp(0, z) - target * z
        error = 0.5 * (1 + np.tanh(0.5 * z)) - target
        gradient = np.array([np.mean(error * margin) * np.exp(parameters[0]), np.mean(error)])
        return float(value.mean()), gradient

    found = minimize(loss, np.zeros(2), jac=True, method="BFGS", options={"gtol": 1e-9}).x
    return float(np.exp(found[0])), float(found[1])


def log_loss(probability: Array, labels: Labels) -> float:
    """Mean negative log-likelihood; probabilities are kept 1e-6 from 0 and 1: one isotonic 0 must not be infinite."""
    kept = np.clip(probability, 1e-6, 1 - 1e-6)
    return float(-np.mean(np.where(labels == 1, np.log(kept), np.log1p(-kept))))


def choose_calibration(probability: Array, labels: Labels, fold: NDArray[np.int8]) -> Calibration:
    """The method with the lowest log loss on samples held out of its fit, refitted on all of these samples."""
    losses = {}
    for method in METHODS:
        held = np.empty(len(labels))
        for number in np.unique(fold):
            out = fold == number
            held[out] = fit_calibration(method, probability[~out], labels[~out]).apply(probability[out])
        losses[method] = log_loss(held, labels)
    return fit_calibration(min(losses, key=lambda method: losses[method]), probability, labels)


def best_threshold(probability: Array, labels: Labels) -> float:
    """The threshold t >= 0 that maximises F1 of `probability > t`, midway to the next lower probability."""
    order = np.argsort(-probability, kind="stable")
    sorted_p, hits = probability[order], np.cumsum(labels[order])
    called = np.arange(1, len(order) + 1)
    last_of_ties = np.append(sorted_p[1:] != sorted_p[:-1], True)
    f1 = np.where(last_of_ties & (sorted_p > 0), 2 * hits / (called + labels.sum()), -1.0)
    at = int(np.argmax(f1))
    lower = float(sorted_p[at + 1]) if at + 1 < len(order) else 0.0
    midway = (float(sorted_p[at]) + lower) / 2
    return midway if midway < sorted_p[at] else lower  # between two neighbouring numbers there is none


LOOK_RECALL = 0.95  # share of the slides that detections and patches to look at hold together


def look_threshold(probability: Array, labels: Labels, threshold: float) -> float:
    """The probability, at most `threshold`, above which the share `LOOK_RECALL` of the positives lies."""
    positives = np.sort(probability[labels == 1])
    missed = int(np.floor((1.0 - LOOK_RECALL) * len(positives)))
    at = float(np.nextafter(positives[missed], -1.0))
    return max(0.0, min(at, threshold))


@dataclass(frozen=True)
class Nested:
    """Calibrated probabilities and decisions in which no sample had a say about itself; methods, thresholds by fold.

    look: bool (n,), True for a patch worth a look: not called, but above the look threshold of the other folds.
    """

    probability: Array
    decision: NDArray[np.bool_]
    look: NDArray[np.bool_]
    methods: tuple[str, ...]
    thresholds: tuple[float, ...]


def nested(probability: Array, labels: Labels, fold: NDArray[np.int8]) -> Nested:
    """Calibrate and cut each fold with what the other folds chose.

    Args:
        probability: float64 (n,), out-of-fold, not calibrated.
        fold: (n,), the folds of these predictions, 3 or more.
    """
    calibrated = np.empty(len(labels))
    decision = np.empty(len(labels), bool)
    look = np.empty(len(labels), bool)
    methods, thresholds = [], []
    for number in np.unique(fold):
        out = fold == number
        one = choose_calibration(probability[~out], labels[~out], fold[~out])
        others = one.apply(probability[~out])
        threshold = best_threshold(others, labels[~out])
        calibrated[out] = one.apply(probability[out])
        decision[out] = calibrated[out] > threshold
        look[out] = ~decision[out] & (calibrated[out] > look_threshold(others, labels[~out], threshold))
        methods.append(one.method)
        thresholds.append(threshold)
    return Nested(calibrated, decision, look, tuple(methods), tuple(thresholds))
