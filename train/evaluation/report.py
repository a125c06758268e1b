"""Everything that is known of runs on the same samples, as one JSON document."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsd.runtime.errors import UsageError
from lsd.train.calibrate import Nested
from lsd.train.evaluation.errors import worst_errors
from lsd.train.evaluation.groups import Grouping, groupings_of, report_of_groups
from lsd.train.evaluation.judged import NEW, OUT_OF_FOLD, Judged
from lsd.train.evaluation.prevalence import precision_at_prevalence
from lsd.train.evaluation.subject import Subject
from lsd.train.judgement import look
from lsd.train.metrics import PREVALENCES, evaluate, paired_f1_gain

WAYS = (
    "calibrated: probability calibrated and cut as the run does; where it was trained on the sample, as the other "
    "folds chose. uncalibrated: mean of the models, p > .5. land: without open sea. Intervals are 95 %, over samples "
    "drawn with replacement. f1_gain: calibrated, over the first run, the same samples drawn for both."
)


def judged_by_all(
    subject: Subject, columns: Sequence[Judged], new_only: bool = False
) -> tuple[Subject, tuple[Judged, ...]]:
    """The samples for which every run has an honest answer, so that all are compared on the same ones.

    Args:
        new_only: out-of-fold answers do not count: samples that any run was trained on are left out.
    Raises:
        UsageError: none is left, or all that are left have the same label.
    """
    honest = (NEW,) if new_only else (NEW, OUT_OF_FOLD)
    answered = np.array([np.isin(one.origin, honest) for one in columns])
    kept = np.flatnonzero(answered.all(axis=0))
    labels = subject.labels[kept]
    if not len(kept) or labels.min() == labels.max():
        counts = ", ".join(f"{one.title} {n}" for one, n in zip(columns, (~answered).sum(axis=1), strict=True))
        left = "no sample is left" if not len(kept) else f"the {len(kept)} samples that are left have one label only"
        raise UsageError(
            f"of {len(subject)} samples {left}: runs were trained on the others{_without_answer(new_only)} ({counts}); "
            "give samples that the runs have not seen"
        )
    return subject.subset(kept), tuple(one.subset(kept) for one in columns)


def _without_answer(new_only: bool) -> str:
    return "" if new_only else " and have no out-of-fold probability for these pixels"


def honesty_of(subject: Subject, columns: Sequence[Judged], left_out: int, new_only: bool, skipped: int) -> list[str]:
    """Sentences that say how much of this is a held-out test, one a run, and what was left out."""
    said = []
    for one in {column.predictor.name: column for column in columns}.values():
        seen = int((one.origin == OUT_OF_FOLD).sum())
        if one.predictor.trained_ids is None:
            said.append(
                f"{one.predictor.name}: what it was trained on is not recorded; this is a held-out test only if these "
                "samples were no part of it."
            )
        elif not seen:
            said.append(f"{one.predictor.name}: trained on none of the {len(subject)} samples.")
        elif seen == len(subject):
            said.append(
                f"{one.predictor.name}: trained on all {seen} samples: these are its out-of-fold results, no test on "
                "new samples."
            )
        else:
            said.append(
                f"{one.predictor.name}: trained on {seen} of the {len(subject)} samples, judged there by its "
                "out-of-fold probabilities."
            )
    if skipped:
        said.append(f"{skipped} samples skipped: they cannot be used.")
    if left_out:
        said.append(f"{left_out} samples left out: runs were trained on them{_without_answer(new_only)}.")
    return said


def report_of(
    subject: Subject,
    columns: Sequence[Judged],
    left_out: int = 0,
    skipped: Sequence[tuple[str, str]] = (),
    prevalences: Sequence[float] = (),
    worst: int = 8,
    new_only: bool = False,
) -> dict[str, Any]:
    """The report.

    Args:
        columns: runs in their configurations, each on all samples of `subject` (`judged_by_all`); the first is what the
            others are compared with.
        left_out: samples that `judged_by_all` dropped. new_only: as it was given there.
        skipped: ID and reason of samples that cannot be used, so that are not in `subject`.
        prevalences: shares of slides to state precision for, beside those of lsd.train.metrics.
        worst: errors of each kind to list by ID.
    """
    land = subject.land
    groupings = groupings_of(subject)
    return {
        "synthetic": subject.synthetic or columns[0].predictor.synthetic,
        "note": WAYS,
        "honesty": honesty_of(subject, columns, left_out, new_only, len(skipped)),
        "samples": {
            "source": subject.source,
            "sha256": subject.sha256,
            "number": len(subject),
            "slides": int(subject.labels.sum()),
            "left_out": left_out,
            "skipped": [list(one) for one in skipped],
            "land": None if land is None else {"number": int(land.sum()), "slides": int(subject.labels[land].sum())},
        },
        "prevalences": sorted({*PREVALENCES, *prevalences}, reverse=True),
        "runs": [_run(one, columns[0], subject, land, groupings, prevalences, worst) for one in columns],
    }


def _run(
    one: Judged,
    first: Judged,
    subject: Subject,
    land: NDArray[np.bool_] | None,
    groupings: Sequence[Grouping],
    prevalences: Sequence[float],
    worst: int,
) -> dict[str, Any]:
    predictor, configuration, labels = one.predictor, one.configuration, subject.labels
    found: dict[str, Any] = {
        "title": one.title,
        "run": predictor.name,
        "kind": predictor.kind,
        "configuration": configuration.name,
        "bands": list(configuration.bands),
        "pixels": "surrogate" if predictor.synthetic else "real",
        "trees": predictor.trees,
        "parameters": predictor.parameters,
        "size": predictor.size,
        "calibration": configuration.calibration.method,
        "threshold": configuration.threshold,
        "new": int((one.origin == NEW).sum()),
        "out_of_fold": int((one.origin == OUT_OF_FOLD).sum()),
        "all": _ways(one, labels, prevalences),
        "land": None,
        "look": look(Nested(one.calibrated, one.decision, one.look, (), ()), labels),
        "f1_gain": None if one is first else paired_f1_gain([one.decision], [first.decision], labels),
        "worst": worst_errors(one, labels, worst).named(subject.ids),
        "groups": {grouping.kind: report_of_groups(one, labels, grouping) for grouping in groupings},
    }
    if land is not None and 0 < labels[land].sum() < land.sum():
        found["land"] = _ways(one.subset(np.flatnonzero(land)), labels[land], prevalences)
    return found


def _ways(one: Judged, labels: NDArray[np.int8], prevalences: Sequence[float]) -> dict[str, Any]:
    """Calibrated and cut, and as the models say at .5."""
    ways = {"calibrated": (one.calibrated, one.decision), "uncalibrated": (one.probability, one.probability > 0.5)}
    return {
        way: {
            **evaluate(probability, labels, decision=decision),
            **{
                f"precision_at_prevalence_{prevalence:g}": precision_at_prevalence(decision, labels, prevalence)
                for prevalence in prevalences
            },
        }
        for way, (probability, decision) in ways.items()
    }
