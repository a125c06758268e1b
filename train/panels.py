"""Panels of plots that every kind of run has: precision and recall, reliability, F1 against threshold."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsd.train.metrics import ECE_BINS

RAW, CALIBRATED, CLUSTERS = "tab:blue", "tab:orange", "tab:green"  # one meaning each, on all plots


@dataclass(frozen=True)
class Curve:
    """Probabilities float64 (n,) with the name and colour that they have on the page."""

    name: str
    probability: NDArray[np.float64]
    colour: str


@contextmanager
def page(path: Path, title: str, rows: int = 2, columns: int = 2) -> Iterator[Any]:
    """Axes (row, column) of a page that is written as PNG when the block ends well."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(rows, columns, figsize=(5.5 * columns, 4.5 * rows), layout="constrained")
    figure.suptitle(title)
    try:
        yield axes
        figure.savefig(path, dpi=110, metadata={"Software": None})
    finally:
        pyplot.close(figure)


def precision_recall(axis: Any, curves: Sequence[Curve], labels: NDArray[np.int8]) -> None:
    """Precision against recall, a dot where p > .5."""
    for curve in curves:
        order = np.argsort(-curve.probability, kind="stable")
        hits, called = np.cumsum(labels[order]), np.arange(1, len(order) + 1)
        recall, precision = hits / hits[-1], hits / called
        last_of_ties = np.append(np.diff(curve.probability[order]) != 0, True)
        axis.plot(recall[last_of_ties], precision[last_of_ties], color=curve.colour, label=curve.name)
        at = int((curve.probability > 0.5).sum()) - 1
        if at >= 0:
            axis.plot(recall[at], precision[at], "o", color=curve.colour, label="  p > .5")
    axis.axhline(labels.mean(), color="grey", linestyle=":", label="share of slides in the samples")
    axis.set(title="Precision and recall", xlabel="recall", ylabel="precision", xlim=(0, 1.02), ylim=(0, 1.02))
    finish(axis, "lower left")


def reliability(axis: Any, curves: Sequence[Curve], labels: NDArray[np.int8]) -> None:
    """Share of slides against predicted probability, in the bins of the calibration error."""
    axis.plot([0, 1], [0, 1], color="grey", linestyle=":")
    for curve in curves:
        bins = np.minimum((curve.probability * ECE_BINS).astype(int), ECE_BINS - 1)
        used = [number for number in range(ECE_BINS) if (bins == number).any()]
        mean = [curve.probability[bins == number].mean() for number in used]
        share = [labels[bins == number].mean() for number in used]
        size = [8 + 400 * (bins == number).mean() for number in used]
        axis.plot(mean, share, color=curve.colour, label=curve.name)
        axis.scatter(mean, share, size, color=curve.colour, alpha=0.7)
    title = "Reliability; area of a dot: share of samples"
    axis.set(
        title=title, xlabel="predicted probability", ylabel="share of slides", xlim=(-0.03, 1.03), ylim=(-0.03, 1.03)
    )
    finish(axis, "upper left")


def f1_by_threshold(axis: Any, curves: Sequence[Curve], labels: NDArray[np.int8], chosen: float) -> None:
    """F1 against the threshold, a line at the one chosen for the calibrated probabilities."""
    thresholds = np.linspace(0.01, 0.99, 99)
    for curve in curves:
        called = curve.probability[None, :] > thresholds[:, None]
        hits = (called & (labels == 1)).sum(axis=1)
        axis.plot(thresholds, 2 * hits / (called.sum(axis=1) + labels.sum()), color=curve.colour, label=curve.name)
    axis.axvline(chosen, color=CALIBRATED, linestyle=":", label=f"chosen for the calibrated, {chosen:.3f}")
    axis.set(title="F1 against threshold", xlabel="threshold", ylabel="F1", xlim=(0, 1.02), ylim=(0, 1.02))
    finish(axis, "lower center")


def finish(axis: Any, legend: str) -> None:
    """Grid and legend."""
    axis.grid(alpha=0.3)
    axis.legend(loc=legend, fontsize=8)
