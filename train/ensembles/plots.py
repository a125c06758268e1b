"""One page of plots of an ensemble: precision and recall, reliability, weights, pruning."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from lsd.train.ensembles.training import TrainedEnsemble
from lsd.train.panels import CALIBRATED, RAW, Curve, finish, page, precision_recall, reliability

ALONE = "tab:grey"


def write_plots(path: Path, trained: TrainedEnsemble, title: str) -> None:
    """Draw the page as PNG."""
    joint, outcome, ways = trained.joint, trained.outcome, trained.report["ways"]
    best = min(range(len(joint.names)), key=lambda at: float(ways[joint.names[at]]["nested"]["log_loss"]["value"]))
    plain = Curve("plain mean", trained.plain.mean, RAW)
    curves = (
        Curve(f"{joint.names[best]} alone", joint.probability[:, best], ALONE),
        plain,
        Curve("ensemble, nested", outcome.mean, CALIBRATED),
    )
    calibrated = Curve("ensemble, calibrated, nested", outcome.nested.probability, CALIBRATED)
    with page(path, title) as axes:
        precision_recall(axes[0, 0], curves, joint.labels)
        reliability(axes[0, 1], (plain, calibrated), joint.labels)
        _weights(axes[1, 0], trained)
        _pruning(axes[1, 1], trained)


def _weights(axis: Any, trained: TrainedEnsemble) -> None:
    names = trained.joint.names
    rows = np.arange(len(names))[::-1]
    axis.barh(rows, trained.outcome.final.weights, color=CALIBRATED, alpha=0.7, label="all samples")
    for number, one in enumerate(trained.outcome.by_fold):
        axis.plot(one.weights, rows, "|", color="black", markersize=14, label=None if number else "without one fold")
    axis.set_yticks(rows, names)
    axis.set(title=f"Weights, method {trained.outcome.final.method}", xlabel="weight")
    finish(axis, "best")


def _pruning(axis: Any, trained: TrainedEnsemble) -> None:
    steps = trained.report["pruning"]["steps"]
    x = np.arange(len(steps))
    change = [step["change"] for step in steps]
    axis.errorbar(x, change, [step["standard_error"] for step in steps], color=CALIBRATED, marker="o", capsize=4)
    axis.axhline(0, color="black", linestyle=":")
    axis.set_xticks(x, ["all", *(f"- {step['removed']}" for step in steps[1:])], rotation=20, ha="right")
    axis.set(title="Removing the member that is missed least", ylabel="change of the log loss, with standard error")
    axis.grid(alpha=0.3)
