"""One page of plots of a run: precision and recall, reliability, F1 against threshold, importance."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsd.train.configuration import Trained
from lsd.train.metrics import ECE_BINS

TOP_FEATURES = 25
RAW, CALIBRATED, CLUSTERS = "tab:blue", "tab:orange", "tab:green"  # one meaning each, on all plots


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
    curves = (
        ("kfold", "out of fold", trained.mean_oof, RAW),
        ("leave_cluster_out", "clusters left out", trained.cluster_oof, CLUSTERS),
    )
    for way, name, probability, colour in curves:
        order = np.argsort(-probability, kind="stable")
        hits, called = np.cumsum(labels[order]), np.arange(1, len(order) + 1)
        recall, precision = hits / hits[-1], hits / called
        last_of_ties = np.append(np.diff(probability[order]) != 0, True)
        average = trained.report[way]["all"]["average_precision"]["value"]
        label = f"{name}, AP {average:.3f}"
        axis.plot(recall[last_of_ties], precision[last_of_ties], color=colour, label=label)
        at = int((probability > 0.5).sum()) - 1
        if at >= 0:
            axis.plot(recall[at], precision[at], "o", color=colour, label="  p > .5")
    axis.axhline(labels.mean(), color="grey", linestyle=":", label="share of slides in the samples")
    axis.set(title="Precision and recall", xlabel="recall", ylabel="precision", xlim=(0, 1.02), ylim=(0, 1.02))
    _finish(axis, "lower left")


def _reliability(axis: Any, trained: Trained, labels: NDArray[np.int8]) -> None:
    axis.plot([0, 1], [0, 1], color="grey", linestyle=":")
    for name, probability, colour in _before_and_after(trained):
        bins = np.minimum((probability * ECE_BINS).astype(int), ECE_BINS - 1)
        used = [number for number in range(ECE_BINS) if (bins == number).any()]
        mean = [probability[bins == number].mean() for number in used]
        share = [labels[bins == number].mean() for number in used]
        size = [8 + 400 * (bins == number).mean() for number in used]
        axis.plot(mean, share, color=colour, label=name)
        axis.scatter(mean, share, size, color=colour, alpha=0.7)
    title = "Reliability; area of a dot: share of samples"
    axis.set(
        title=title, xlabel="predicted probability", ylabel="share of slides", xlim=(-0.03, 1.03), ylim=(-0.03, 1.03)
    )
    _finish(axis, "upper left")


def _threshold(axis: Any, trained: Trained, labels: NDArray[np.int8]) -> None:
    thresholds = np.linspace(0.01, 0.99, 99)
    for name, probability, colour in _before_and_after(trained):
        called = probability[None, :] > thresholds[:, None]
        hits = (called & (labels == 1)).sum(axis=1)
        axis.plot(thresholds, 2 * hits / (called.sum(axis=1) + labels.sum()), color=colour, label=name)
    chosen = f"chosen for the calibrated, {trained.threshold:.3f}"
    axis.axvline(trained.threshold, color=CALIBRATED, linestyle=":", label=chosen)
    axis.set(title="F1 against threshold", xlabel="threshold", ylabel="F1", xlim=(0, 1.02), ylim=(0, 1.02))
    _finish(axis, "lower center")


def _before_and_after(trained: Trained) -> tuple[tuple[str, NDArray[np.float64], str], ...]:
    """Name, probabilities and colour: as the forests say, and calibrated."""
    return (
        ("as the forests say", trained.mean_oof, RAW),
        ("calibrated, nested", trained.nested.probability, CALIBRATED),
    )


def _finish(axis: Any, legend: str) -> None:
    axis.grid(alpha=0.3)
    axis.legend(loc=legend, fontsize=8)


def _importance(axis: Any, trained: Trained) -> None:
    gain = trained.report["importance"]
    top = list(gain)[:TOP_FEATURES][::-1]
    axis.barh(top, [gain[feature] for feature in top], color="tab:grey")
    axis.tick_params(axis="y", labelsize=7)
    axis.set(title=f"First {len(top)} of {len(gain)} features", xlabel="share of the split gain")
    axis.grid(axis="x", alpha=0.3)
