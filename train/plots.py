"""One page of plots of a run: precision and recall, reliability, F1 against threshold, importance."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsd.train.configuration import Trained
from lsd.train.metrics import ECE_BINS

TOP_FEATURES = 25


def write_plots(path: Path, trained: Trained, labels: NDArray[np.int8], title: str) -> None:
    """Draw the page as PNG."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(2, 2, figsize=(11, 9), layout="constrained")
    figure.suptitle(title)
    _precision_recall(axes[0, 0], trained, labels)
    _reliability(axes[0, 1], trained, labels)
    _threshold(axes[1, 0], trained, labels)
    _importance(axes[1, 1], trained)
    figure.savefig(path, dpi=110, metadata={"Software": None})
    pyplot.close(figure)


def _precision_recall(axis: Any, trained: Trained, labels: NDArray[np.int8]) -> None:
    curves = {
        "kfold": ("out of fold", trained.mean_oof),
        "leave_cluster_out": ("clusters left out", trained.cluster_oof),
    }
    for way, (name, probability) in curves.items():
        order = np.argsort(-probability, kind="stable")
        hits, called = np.cumsum(labels[order]), np.arange(1, len(order) + 1)
        recall, precision = hits / hits[-1], hits / called
        last_of_ties = np.append(np.diff(probability[order]) != 0, True)
        average = trained.report[way]["all"]["average_precision"]["value"]
        (line,) = axis.plot(recall[last_of_ties], precision[last_of_ties], label=f"{name}, AP {average:.3f}")
        at = int((probability > 0.5).sum()) - 1
        if at >= 0:
            axis.plot(recall[at], precision[at], "o", color=line.get_color(), label="p > .5")
    axis.axhline(labels.mean(), color="grey", linewidth=0.8, label="share of slides in the samples")
    axis.set(title="Precision and recall", xlabel="recall", ylabel="precision", ylim=(0, 1.02))
    axis.legend(loc="lower left")


def _reliability(axis: Any, trained: Trained, labels: NDArray[np.int8]) -> None:
    axis.plot([0, 1], [0, 1], color="grey", linewidth=0.8)
    for name, probability in (
        ("as the forests say", trained.mean_oof),
        ("calibrated, nested", trained.nested.probability),
    ):
        bins = np.minimum((probability * ECE_BINS).astype(int), ECE_BINS - 1)
        used = [number for number in range(ECE_BINS) if (bins == number).any()]
        mean = [probability[bins == number].mean() for number in used]
        share = [labels[bins == number].mean() for number in used]
        axis.plot(mean, share, "o-", markersize=4, label=name)
    axis.set(title="Reliability", xlabel="predicted probability", ylabel="share of slides")
    axis.legend()


def _threshold(axis: Any, trained: Trained, labels: NDArray[np.int8]) -> None:
    thresholds = np.linspace(0.02, 0.98, 97)
    for name, probability in (
        ("as the forests say", trained.mean_oof),
        ("calibrated, nested", trained.nested.probability),
    ):
        called = probability[None, :] > thresholds[:, None]
        hits = (called & (labels == 1)).sum(axis=1)
        axis.plot(thresholds, 2 * hits / (called.sum(axis=1) + labels.sum()), label=name)
    axis.axvline(trained.threshold, color="grey", linewidth=0.8, label=f"chosen, {trained.threshold:.3f}")
    axis.set(title="F1 against threshold", xlabel="threshold", ylabel="F1")
    axis.legend()


def _importance(axis: Any, trained: Trained) -> None:
    gain = trained.report["importance"]
    top = list(gain)[:TOP_FEATURES][::-1]
    axis.barh(top, [gain[feature] for feature in top])
    axis.tick_params(axis="y", labelsize=7)
    axis.set(title=f"Share of split gain, first {len(top)} of {len(gain)} features")
