"""The metrics of an ensemble as small tables to read."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from lsd.train.ensembles.training import TrainedEnsemble

COLUMNS = (
    ("F1, p > .5", "at_half", "f1"),
    ("AUC", "at_half", "auc"),
    ("F1, nested", "nested", "f1"),
    ("log loss, nested", "nested", "log_loss"),
    ("ECE, nested", "nested", "ece"),
)


def tables_of(trained: TrainedEnsemble, configuration: str) -> str:
    """Aligned text: every way of predicting with half the width of its 95 % intervals, weights, what each member adds,
    the path of pruning, and correlations."""
    report = trained.report
    parts = (
        _head(trained, configuration),
        _ways(report["ways"]),
        _weights(trained),
        _adds(report["adds"]),
        _pruning(report["pruning"]),
        _correlation(report["correlation"]),
    )
    return "\n\n".join("\n".join(part) for part in parts)


def _head(trained: TrainedEnsemble, configuration: str) -> Iterable[str]:
    report, outcome = trained.report, trained.outcome
    yield (
        f"{configuration}, ensemble of {len(trained.kept)}, method {outcome.final.method}, "
        f"calibration {outcome.calibration.method}, threshold {outcome.threshold:.4f}"
    )
    yield f"{report['samples']} samples common to all members, {report['positives']} of them positive"
    for name, left_out in report["left_out"].items():
        if left_out:
            yield f"left out of {name}, because not all others have them: {left_out}"


def _ways(ways: Mapping[str, Any]) -> Iterable[str]:
    width = max(map(len, ways))
    yield " " * width + "".join(f"{title:>18}" for title, _, _ in COLUMNS)
    for name, one in ways.items():
        yield f"{name:<{width}}" + "".join(f"{_half_width(one[cut][metric]):>18}" for _, cut, metric in COLUMNS)


def _weights(trained: TrainedEnsemble) -> Iterable[str]:
    final, names = trained.outcome.final, trained.joint.names
    width = max(*map(len, names), len("intercept"))
    methods = ", ".join(one.method for one in trained.outcome.by_fold)
    yield f"weights on all samples, and least and greatest without one fold (there chosen: {methods})"
    for at, name in enumerate(names):
        by_fold = [one.weights[at] for one in trained.outcome.by_fold]
        removed = "" if at in trained.kept else "  removed"
        yield f"{name:<{width}} {final.weights[at]:8.4f}  ({min(by_fold):.4f} .. {max(by_fold):.4f}){removed}"
    if final.method == "logit":
        yield f"{'intercept':<{width}} {final.intercept:8.4f}"


def _adds(adds: Mapping[str, Any]) -> Iterable[str]:
    width = max(map(len, adds))
    yield "what each member adds to all others, nested, with 95 % intervals; a log loss below 0 is a gain"
    yield " " * width + "".join(f"{title:>29}" for title in ("F1", "AUC", "log loss"))
    for name, one in adds.items():
        yield f"{name:<{width}}" + "".join(f"{_interval(one[metric]):>29}" for metric in ("f1", "auc", "log_loss"))


def _pruning(pruning: Mapping[str, Any]) -> Iterable[str]:
    removed = [step["removed"] or "" for step in pruning["steps"]]
    width = max(*map(len, removed), len("removed"))
    yield "pruning: the member that is missed least goes first; change of the stacking log loss against all members"
    yield f"{'removed':<{width}} {'left':>5} {'change':>20} {'F1, nested':>12} {'AUC':>8} {'log loss':>9}"
    for step in pruning["steps"]:
        change = f"{step['change']:+.5f} +-{step['standard_error']:.5f}" if step["removed"] else "-"
        nested = step["nested"]
        yield (
            f"{step['removed'] or '':<{width}} {len(step['members']):>5} {change:>20} {nested['f1']['value']:>12.4f} "
            f"{nested['auc']['value']:>8.4f} {nested['log_loss']['value']:>9.4f}{'  hurts' if step['hurts'] else ''}"
        )
    if pruning["asked"]:
        yield f"removed: {', '.join(pruning['removed']) or 'none'}"
    else:
        yield f"could go without harm (--prune removes them): {', '.join(pruning['could_go']) or 'none'}"


def _correlation(correlation: Mapping[str, Mapping[str, float]]) -> Iterable[str]:
    width = max(map(len, correlation))
    yield "correlation of the members' probabilities"
    for number, (name, row) in enumerate(correlation.items()):
        yield f"{name:<{width}}" + "".join(f"{value:>8.3f}" for value in list(row.values())[: number + 1])


def _half_width(metric: Mapping[str, float]) -> str:
    if math.isnan(metric["value"]):
        return "-"
    return f"{metric['value']:.4f} +-{(metric['high'] - metric['low']) / 2:.4f}"


def _interval(metric: Mapping[str, float]) -> str:
    return f"{metric['value']:+.4f} [{metric['low']:+.4f}, {metric['high']:+.4f}]"
