"""The same figures for each event, each group of ground, or each cluster of similar ground."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsd.train.evaluation.judged import Judged
from lsd.train.evaluation.subject import Subject
from lsd.train.folds import clusters
from lsd.train.metrics import evaluate

LEAST_OF_A_CLASS = 10  # slides, and patches without: a group with fewer gets counts only


@dataclass(frozen=True)
class Grouping:
    """A way to part the samples. kind: `event`, `group` or `cluster`. of: str (n,), name of each sample's group."""

    kind: str
    of: NDArray[np.str_]

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the groups, greatest first, then by name."""
        names, counts = np.unique(self.of, return_counts=True)
        return tuple(names[i] for i in np.lexsort((names, -counts)))


def groupings_of(subject: Subject) -> tuple[Grouping, ...]:
    """By event and by group where the data name them, else by clusters of ground, else none (no band means)."""
    named = {"event": subject.events, "group": subject.groups}
    found = tuple(Grouping(kind, np.array(names, str)) for kind, names in named.items() if names is not None)
    if found or not any(name.endswith("_mean") for name in subject.statistics):
        return found
    return (Grouping("cluster", np.array([f"{number:02d}" for number in clusters(subject.statistics)])),)


def report_of_groups(judged: Judged, labels: NDArray[np.int8], grouping: Grouping) -> dict[str, dict[str, Any]]:
    """Group -> samples, slides, called, hits and, if it has enough of both classes, `metrics` as of all samples."""
    found: dict[str, dict[str, Any]] = {}
    for name in grouping.names:
        inside = grouping.of == name
        decision, truth = judged.decision[inside], labels[inside]
        counts = {
            "samples": len(truth),
            "slides": int(truth.sum()),
            "called": int(decision.sum()),
            "hits": int((decision & (truth == 1)).sum()),
        }
        enough = LEAST_OF_A_CLASS <= counts["slides"] <= counts["samples"] - LEAST_OF_A_CLASS
        metrics = evaluate(judged.calibrated[inside], truth, decision=decision) if enough else None
        found[str(name)] = {**counts, "metrics": metrics}
    return found
