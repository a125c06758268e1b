"""The metrics of a run as a small table to read."""

from __future__ import annotations

import math
from collections.abc import Mapping

from lsd.train.configuration import Trained
from lsd.train.judgement import Judgement

ROWS = {
    ("kfold", "all"): "out of fold, p > .5",
    ("kfold", "land"): "out of fold, p > .5, land",
    ("nested", "all"): "calibrated and cut, nested",
    ("nested", "land"): "calibrated and cut, land",
    ("leave_cluster_out", "all"): "clusters left out, p > .5",
    ("leave_cluster_out", "land"): "clusters left out, land",
}
COLUMNS = {
    "f1": "F1",
    "precision": "precision",
    "recall": "recall",
    "auc": "AUC",
    "average_precision": "AP",
    "ece": "ECE",
}


def table_of(trained: Trained, configuration: str, recipe: str) -> str:
    """Aligned text: one line a way of evaluation, each metric with half the width of its 95 % interval, - for none."""
    lines = [
        f"{configuration}, recipe {recipe}, threshold {trained.threshold:.4f}, calibration {trained.calibration.method}"
    ]
    width = max(map(len, ROWS.values()))
    lines.append(" " * width + "".join(f"{title:>17}" for title in COLUMNS.values()))
    for (way, scope), title in ROWS.items():
        metrics = trained.report[way].get(scope)
        if metrics is None:
            continue
        lines.append(f"{title:<{width}}" + "".join(f"{_cell(metrics[name]):>17}" for name in COLUMNS))
    return "\n".join(lines)


def table_of_configurations(judged: Mapping[str, Judgement], recipe: str) -> str:
    """Aligned text for a network: two lines a configuration that it serves."""
    lines = []
    width = max(map(len, ROWS.values()))
    for name, one in judged.items():
        lines.append(f"{name}, recipe {recipe}, threshold {one.threshold:.4f}, calibration {one.calibration.method}")
        lines.append(" " * width + "".join(f"{title:>17}" for title in COLUMNS.values()))
        for way in ("kfold", "nested"):
            metrics = one.metrics[way]["all"]
            cells = "".join(f"{_cell(metrics[column]):>17}" for column in COLUMNS)
            lines.append(f"{ROWS[way, 'all']:<{width}}{cells}")
    return "\n".join(lines)


def _cell(metric: Mapping[str, float]) -> str:
    if math.isnan(metric["value"]):  # precision where nothing is called
        return "-"
    return f"{metric['value']:.4f} +-{(metric['high'] - metric['low']) / 2:.4f}"
