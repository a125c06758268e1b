"""The probability of a patch that left early: calibrated on patches that left, by how often these held a slide."""

from __future__ import annotations

from typing import Any

import numpy as np

from lsd.runtime.calibration import Calibration
from lsd.runtime.exits import held
from lsd.train.calibrate import choose_calibration
from lsd.train.cascade.ladder import Rung, limits_of
from lsd.train.cascade.pairs import Pair
from lsd.train.cascade.views import Array, Mask, View
from lsd.train.metrics import evaluate

MEASURES = ("f1", "ece", "brier", "auc")


def exit_calibration(view: View, pair: Pair, look_threshold: float, threshold: float) -> tuple[Calibration, bool]:
    """Fitted on the samples that leave, then held on the right side of both thresholds; and whether that changed it.

    Args:
        look_threshold, threshold: of the ensemble, on its calibrated probability.
    """
    leaves = (view.first < pair.low) | (view.first > pair.high)
    fitted = _fitted(view, leaves)
    return held(fitted, (pair.low, pair.high), look_threshold, threshold)


def with_exits(view: View, rung: Rung) -> dict[str, Any]:
    """F1, calibration error, Brier score and AUC of all patches, with exits and without, nested throughout.

    Each fold's exits are calibrated on what left in the other folds, by these folds' pair; not held at thresholds.
    """
    low, high = limits_of(view, rung.by_fold[view.name])
    probability = view.whole.copy()
    leaves = (view.first < low) | (view.first > high)
    for number, pair in zip(np.unique(view.fold), rung.by_fold[view.name], strict=True):
        here = leaves & (view.fold == number)
        others = (view.fold != number) & ((view.first < pair.low) | (view.first > pair.high))
        probability[here] = _fitted(view, others).apply(view.first[here])
    decision = np.where(view.first < low, False, np.where(view.first > high, True, view.decision))
    return {
        "with_exits": _measures(view, probability, decision),
        "whole": _measures(view, view.whole, view.decision),
    }


def _fitted(view: View, rows: Mask) -> Calibration:
    return choose_calibration(view.first[rows], view.labels[rows], view.fold[rows])


def _measures(view: View, probability: Array, decision: Mask) -> dict[str, Any]:
    found = evaluate(probability, view.labels, decision=decision)
    return {name: found[name] for name in MEASURES}
