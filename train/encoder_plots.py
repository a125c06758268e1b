"""One page of plots of a network's run: loss by epoch, precision and recall, reliability, F1 against threshold."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lsd.train.judgement import Judgement
from lsd.train.panels import CALIBRATED, RAW, Curve, f1_by_threshold, finish, page, precision_recall, reliability

if TYPE_CHECKING:
    from lsd.train.fitting.cross_validation import Fitted


def write_encoder_plots(
    path: Path, fitted: Fitted, name: str, judged: Judgement, labels: NDArray[np.int8], title: str
) -> None:
    """Draw the page as PNG; precision and recall for every configuration."""
    raw = fitted.probabilities[name]
    ranked = [Curve(key, p, f"C{i}") for i, (key, p) in enumerate(fitted.probabilities.items())]
    both = [
        Curve("as the networks say", raw, RAW),
        Curve("calibrated, nested", judged.nested.probability, CALIBRATED),
    ]
    with page(path, title) as axes:
        _loss(axes[0, 0], fitted)
        precision_recall(axes[0, 1], ranked, labels)
        reliability(axes[1, 0], both, labels)
        f1_by_threshold(axes[1, 1], both, labels, judged.threshold)


def _loss(axis: Any, fitted: Fitted) -> None:
    for i, (number, rows) in enumerate(fitted.history.items()):
        epochs = [row["epoch"] for row in rows]
        axis.plot(epochs, [row["loss"] for row in rows], color=f"C{i}", label=f"fold {number}")
        held_out = [row.get("held_out_log_loss", np.nan) for row in rows]
        axis.plot(epochs, held_out, color=f"C{i}", linestyle="--")
    axis.set(title="Loss of training (lines), log loss held out (dashes)", xlabel="epoch", ylabel="loss")
    finish(axis, "upper right")
