"""One page of plots of a forest run: precision and recall, reliability, F1 against threshold, importance."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsd.train.configuration import Trained
from lsd.train.panels import CALIBRATED, CLUSTERS, RAW, Curve, f1_by_threshold, page, precision_recall, reliability

TOP_FEATURES = 25


def write_plots(path: Path, trained: Trained, labels: NDArray[np.int8], title: str) -> None:
    """Draw the page as PNG."""
    ways = (
        ("kfold", "out of fold", trained.mean_oof, RAW),
        ("leave_cluster_out", "clusters left out", trained.cluster_oof, CLUSTERS),
    )
    ranked = [
        Curve(f"{name}, AP {trained.report[way]['all']['average_precision']['value']:.3f}", probability, colour)
        for way, name, probability, colour in ways
    ]
    before_and_after = [
        Curve("as the forests say", trained.mean_oof, RAW),
        Curve("calibrated, nested", trained.nested.probability, CALIBRATED),
    ]
    with page(path, title) as axes:
        precision_recall(axes[0, 0], ranked, labels)
        reliability(axes[0, 1], before_and_after, labels)
        f1_by_threshold(axes[1, 0], before_and_after, labels, trained.threshold)
        _importance(axes[1, 1], trained)


def _importance(axis: Any, trained: Trained) -> None:
    gain = trained.report["importance"]
    top = list(gain)[:TOP_FEATURES][::-1]
    axis.barh(top, [gain[feature] for feature in top], color="tab:grey")
    axis.tick_params(axis="y", labelsize=7)
    axis.set(title=f"First {len(top)} of {len(gain)} features", xlabel="share of the split gain")
    axis.grid(axis="x", alpha=0.3)
