"""Make an ensemble of joint predictions, and measure it beside its members, the plain mean and smaller ensembles."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsd.runtime.combination import METHODS, Array
from lsd.runtime.errors import TableError
from lsd.train.calibrate import Nested, nested
from lsd.train.ensembles.joint import Joint
from lsd.train.ensembles.nesting import CHOSEN, MIN_FOLDS, Nesting, Outcome, losses, outcome_of
from lsd.train.ensembles.paired import gains, mean_of, with_interval
from lsd.train.ensembles.pruning import Members, Step, kept
from lsd.train.folds import k_folds
from lsd.train.judgement import look
from lsd.train.metrics import evaluate

NOTE = (
    "Members are joined by ID; each of their probabilities is out of fold, not calibrated. ways: each member alone, "
    "all members by each method, and the ensemble. at_half: combined, cut at p > .5. nested: calibrated and cut too, "
    "everything by what the other folds of the ensemble chose (weights, method and calibration by log loss, threshold "
    "by F1). kfold is the plain mean of all members at_half, nested is the ensemble. adds: all members against all but "
    "one, nested, same rows; a log loss below 0 is a gain. pruning: the member that is missed least goes first, by the "
    "log loss of logit stacking on held-out folds; change is against all members, and hurts above its standard error."
)
MEAN, ENSEMBLE = "mean of all", "ensemble"


@dataclass(frozen=True)
class TrainedEnsemble:
    """Everything a run folder of an ensemble holds, before it is written.

    fold: int8 (n,), of the ensemble. kept: columns of the joint predictions that the ensemble asks. plain: the mean of
    all members, nested.
    """

    joint: Joint
    fold: NDArray[np.int8]
    outcome: Outcome
    plain: Outcome
    path: tuple[Step, ...]
    kept: Members
    report: dict[str, Any]


def steps_of(members: int) -> int:
    """How often `train_ensemble` advances: each way of predicting, and each subset of the members."""
    return members + len(METHODS) + 1 + members + (members - 1)


def train_ensemble(
    joint: Joint,
    method: str = CHOSEN,
    prune: bool = False,
    folds: int = 5,
    seed: int = 42,
    advance: Callable[[], object] = lambda: None,
) -> TrainedEnsemble:
    """Combine, calibrate, cut and measure.

    Args:
        method: `mean`, `probability`, `logit`, or `chosen` for the one with the lowest log loss.
        prune: leave out members whose removal does not hurt; decided anew without each fold.
        folds, seed: of KFold(folds, shuffle, seed) over the joint samples, 4 to 10 folds.
        advance: called after each of `steps_of` steps.
    Raises:
        TableError: too few samples or positives for the folds.
    """
    labels = joint.labels
    fold = k_folds(len(joint), folds, seed)
    _both_classes_in_every_fit(labels, fold)
    everyone = tuple(range(len(joint.members)))
    made: dict[Members, Outcome] = {}

    def of_members(members: Members) -> Outcome:
        if members not in made:
            made[members] = outcome_of(Nesting(joint.probability[:, list(members)], labels, fold, method))
        return made[members]

    nesting = Nesting(joint.probability, labels, fold, method, prune)
    path = nesting.path()
    ensemble = outcome_of(nesting) if prune else of_members(everyone)
    ways: dict[str, Any] = {}
    for at, name in enumerate(joint.names):
        p = joint.probability[:, at]
        ways[name] = _metrics(p, nested(p, labels, fold), labels)
        advance()
    of_method = {one: outcome_of(Nesting(joint.probability, labels, fold, one)) for one in METHODS}
    for one, outcome in {**of_method, ENSEMBLE: ensemble}.items():
        ways[one if one == ENSEMBLE else f"{one} of all"] = _metrics(outcome.mean, outcome.nested, labels)
        advance()
    adds = {}
    for at, name in enumerate(joint.names):
        without = of_members(tuple(one for one in everyone if one != at))
        adds[name] = gains(of_members(everyone).nested, without.nested, labels)
        advance()
    steps = [_step(path[0], joint.names, of_members(everyone).nested, labels)]
    for step in path[1:]:
        steps.append(_step(step, joint.names, of_members(step.members).nested, labels))
        advance()

    by_rule = kept(path)
    asked = by_rule if prune else everyone
    report = {
        "note": NOTE,
        "samples": len(joint),
        "positives": int(labels.sum()),
        "left_out": joint.left_out,
        "kfold": {"all": ways[MEAN]["at_half"]},
        "nested": {"all": ways[ENSEMBLE]["nested"]},
        "ways": ways,
        "gain_over_mean": gains(ensemble.nested, of_method["mean"].nested, labels),
        "combination": ensemble.final.to_json(),
        "combination_by_fold": [one.to_json() for one in ensemble.by_fold],
        "nested_choices": {"calibration": list(ensemble.nested.methods), "threshold": list(ensemble.nested.thresholds)},
        "look": look(ensemble.nested, labels),
        "correlation": _correlation(joint),
        "adds": adds,
        "pruning": {
            "asked": prune,
            "removed": [name for at, name in enumerate(joint.names) if at not in asked],
            "could_go": [
                joint.names[step.removed] for step in path if step.removed is not None and step.removed not in by_rule
            ],
            "steps": steps,
        },
    }
    return TrainedEnsemble(joint, fold, ensemble, of_method["mean"], path, asked, report)


def _both_classes_in_every_fit(labels: NDArray[np.int8], fold: NDArray[np.int8]) -> None:
    """Raise TableError if a class is in so few folds that holding three of them out could leave none of it."""
    for value in (0, 1):
        found = len(np.unique(fold[labels == value]))
        if found < MIN_FOLDS:
            raise TableError(
                f"{int((labels == value).sum())} samples with label {value} lie in {found} of the folds, expected "
                f"{MIN_FOLDS} or more: give more samples"
            )


def _metrics(probability: Array, cut: Nested, labels: NDArray[np.int8]) -> dict[str, Any]:
    return {
        "at_half": _with_log_loss(probability, labels),
        "nested": _with_log_loss(cut.probability, labels, cut.decision),
    }


def _with_log_loss(
    probability: Array, labels: NDArray[np.int8], decision: NDArray[np.bool_] | None = None
) -> dict[str, Any]:
    found = evaluate(probability, labels, decision=decision)
    return {**found, "log_loss": with_interval(mean_of(losses(probability, labels)), len(labels))}


def _step(step: Step, names: tuple[str, ...], cut: Nested, labels: NDArray[np.int8]) -> dict[str, Any]:
    metrics = _with_log_loss(cut.probability, labels, cut.decision)
    return {
        "removed": None if step.removed is None else names[step.removed],
        "members": [names[at] for at in step.members],
        "stacking_log_loss": step.log_loss,
        "change": step.change,
        "standard_error": step.standard_error,
        "hurts": step.hurts,
        "nested": {name: metrics[name] for name in ("f1", "auc", "log_loss", "ece")},
    }


def _correlation(joint: Joint) -> dict[str, dict[str, float]]:
    """Pearson's, of the probabilities; NaN for a member that says the same of every sample."""
    with np.errstate(invalid="ignore", divide="ignore"):
        matrix = np.asarray(np.corrcoef(joint.probability.T))
    constant = np.ptp(joint.probability, axis=0) == 0
    matrix[constant], matrix[:, constant] = np.nan, np.nan  # rounding would make up a number
    return {
        name: dict(zip(joint.names, row.tolist(), strict=True)) for name, row in zip(joint.names, matrix, strict=True)
    }
