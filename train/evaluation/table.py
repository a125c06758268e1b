"""Runs side by side: one column a run, one line a figure; as aligned text or as Markdown."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

SYNTHETIC = "SYNTHETIC pixels: these figures test the machinery and say nothing about real ground"
LARGEST_GROUPS = 30
# What ranks samples is taken from uncalibrated probabilities: calibration fitted fold by fold shifts the folds of
# out-of-fold answers against each other, while the one that a run is used with keeps their order
_FIGURES = (
    ("F1", "calibrated", "f1"),
    ("precision", "calibrated", "precision"),
    ("recall", "calibrated", "recall"),
    ("false positive rate", "calibrated", "false_positive_rate"),
    ("F1, uncalibrated, p > .5", "uncalibrated", "f1"),
    ("AUC", "uncalibrated", "auc"),
    ("average precision", "uncalibrated", "average_precision"),
    ("Brier score", "calibrated", "brier"),
    ("ECE", "calibrated", "ece"),
    ("precision at recall .8", "uncalibrated", "precision_at_recall_0.8"),
    ("precision at recall .9", "uncalibrated", "precision_at_recall_0.9"),
)
_ON_LAND = ("F1", "precision", "recall", "AUC", "average precision")

Rows = list[list[str]]


def table_of(report: Mapping[str, Any], markdown: bool = False) -> str:
    """The report of `lsd.train.evaluation.report.report_of` as text, ending with a line break."""
    samples = report["samples"]
    parts = [f"{samples['number']} samples of {samples['source']}, {samples['slides']} with a slide"]
    if report["synthetic"]:
        parts.insert(0, SYNTHETIC)
    title = "## " + ". ".join(parts) if markdown else "\n".join(parts)
    draw = _markdown if markdown else _aligned
    notes = "\n".join(f"- {line}" if markdown else line for line in report["honesty"])
    blocks = [title, notes, draw(_figures(report))]
    for kind in report["runs"][0]["groups"]:
        blocks.append(f"F1 by {kind}, calibrated; slides found and false positives where a class has too few samples")
        blocks.append(draw(_groups(report["runs"], kind)))
        further = len(report["runs"][0]["groups"][kind]) - LARGEST_GROUPS
        if further > 0:
            blocks.append(f"{further} smaller ones are in the JSON report")
    return "\n\n".join(blocks) + "\n"


def cell(metric: Mapping[str, float] | None) -> str:
    """Value with half the width of its 95 % interval; - where there is none."""
    if metric is None or math.isnan(metric["value"]):
        return "-"
    return f"{metric['value']:.4f} +-{(metric['high'] - metric['low']) / 2:.4f}"


def _figures(report: Mapping[str, Any]) -> Rows:
    runs = report["runs"]
    rows = [
        ["", *(run["title"] for run in runs)],
        ["pixels", *(run["pixels"] for run in runs)],
        ["size", *(run["size"] for run in runs)],
        ["samples, new / out of fold", *(f"{run['new']} / {run['out_of_fold']}" for run in runs)],
        ["calibration, threshold", *(f"{run['calibration']}, {run['threshold']:.4f}" for run in runs)],
    ]
    rates = [
        (f"precision at {100 * prevalence:g} % slides", "calibrated", f"precision_at_prevalence_{prevalence:g}")
        for prevalence in report["prevalences"]
    ]
    for title, way, metric in (*_FIGURES, *rates):
        rows.append([title, *(cell(run["all"][way][metric]) for run in runs)])
    for title, way, metric in (*_FIGURES, *rates):
        if (title in _ON_LAND or (title, way, metric) in rates) and any(run["land"] for run in runs):
            rows.append([f"land: {title}", *(cell(run["land"] and run["land"][way][metric]) for run in runs)])
    if len(runs) > 1:
        rows.append(["F1 gain over the first", *(_gain(run["f1_gain"]) for run in runs)])
    return rows


def _gain(gain: Mapping[str, float] | None) -> str:
    return "-" if gain is None else f"{gain['value']:+.4f} ({gain['low']:+.4f}..{gain['high']:+.4f})"


def _groups(runs: Sequence[Mapping[str, Any]], kind: str) -> Rows:
    rows = [[kind, "samples", "slides", *(run["title"] for run in runs)]]
    for name, first in list(runs[0]["groups"][kind].items())[:LARGEST_GROUPS]:
        found = [run["groups"][kind][name] for run in runs]
        rows.append([name, str(first["samples"]), str(first["slides"]), *map(_group_cell, found)])
    return rows


def _group_cell(group: Mapping[str, Any]) -> str:
    if group["metrics"] is not None:
        return cell(group["metrics"]["f1"])
    return f"{group['hits']} found, {group['called'] - group['hits']} false"


def _aligned(rows: Rows) -> str:
    widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))]
    lines = []
    for first, *rest in rows:
        lines.append(
            "  ".join([first.ljust(widths[0]), *(text.rjust(w) for text, w in zip(rest, widths[1:], strict=True))])
        )
    return "\n".join(line.rstrip() for line in lines)


def _markdown(rows: Rows) -> str:
    escaped = [[text.replace("|", "\\|") for text in row] for row in rows]
    escaped.insert(1, ["---", *["---:"] * (len(rows[0]) - 1)])
    return "\n".join("| " + " | ".join(row) + " |" for row in escaped)
