"""Out-of-fold probabilities, judged: calibration, thresholds, and metrics in which no sample had a say about itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsd.runtime.calibration import Calibration
from lsd.train.calibrate import Nested, best_threshold, choose_calibration, look_threshold, nested
from lsd.train.metrics import evaluate


@dataclass(frozen=True)
class Judgement:
    """What a run decides by, and how good that is.

    metrics: `kfold` (uncalibrated, at .5), `nested` (calibrated and cut by what the other folds chose), each by scope
    (`all`, `land`), and `look`.
    """

    calibration: Calibration
    threshold: float
    look_threshold: float
    nested: Nested
    metrics: dict[str, Any]

    def to_json(self) -> dict[str, Any]:
        """The keys of run.json."""
        return {
            "calibration": self.calibration.to_json(),
            "threshold": self.threshold,
            "look_threshold": self.look_threshold,
            "metrics": self.metrics,
        }


def judge(
    probability: NDArray[np.float64],
    labels: NDArray[np.int8],
    fold: NDArray[np.int8],
    land: NDArray[np.bool_] | None = None,
) -> Judgement:
    """Choose on all samples what will be used, and measure by folds how that choice does.

    Args:
        probability: float64 (n,), out of fold, not calibrated. fold: (n,), 3 folds or more. land: bool (n,), not sea.
    """
    cut = nested(probability, labels, fold)
    calibration = choose_calibration(probability, labels, fold)
    calibrated = calibration.apply(probability)
    threshold = best_threshold(calibrated, labels)
    metrics = {
        "kfold": scopes(probability, labels, land),
        "nested": scopes(cut.probability, labels, land, cut.decision),
        "look": look(cut, labels),
    }
    return Judgement(calibration, threshold, look_threshold(calibrated, labels, threshold), cut, metrics)


def look(cut: Nested, labels: NDArray[np.int8]) -> dict[str, float]:
    """What the band between `no slide` and `slide` costs and finds, nested: shares of all patches and of the slides."""
    slides = labels == 1
    return {
        "share": float(cut.look.mean()),
        "precision": float(slides[cut.look].mean()) if cut.look.any() else 0.0,
        "recall_with_detections": float((cut.look | cut.decision)[slides].mean()),
    }


def scopes(
    probability: NDArray[np.float64],
    labels: NDArray[np.int8],
    land: NDArray[np.bool_] | None,
    decision: NDArray[np.bool_] | None = None,
) -> Mapping[str, Any]:
    """Metrics of all samples and, where it is known and has both classes, of land alone."""
    found = {"all": evaluate(probability, labels, decision=decision)}
    if land is not None and 0 < labels[land].sum() < land.sum():
        found["land"] = evaluate(probability[land], labels[land], decision=None if decision is None else decision[land])
    return found
