"""Combination, calibration and threshold in which no sample has a say about itself.

Whatever is chosen for the samples of one fold (members, method, weights, calibration, threshold) is chosen on the other
folds, and where a choice needs held-out predictions it holds out folds among those again. `out` is the set of folds
that must not be looked at. The members' probabilities themselves are taken as given: each is out of fold already, by
whatever folds its run had.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from lsd.runtime.calibration import Calibration
from lsd.runtime.combination import METHODS, SMALLEST, Array, Combination
from lsd.train.calibrate import Nested, best_threshold, choose_calibration, log_loss, look_threshold
from lsd.train.ensembles.pruning import Members, Step, kept, removal_path
from lsd.train.ensembles.weights import fit_combination

CHOSEN = "chosen"  # the method with the lowest log loss, instead of a fixed one
MIN_FOLDS, MAX_FOLDS = 4, 10  # two folds are held out of the choice of a method, which holds out one more
Out = frozenset[int]
NOTHING: Out = frozenset()


def losses(probability: Array, labels: NDArray[np.int8]) -> Array:
    """Log loss of each sample, float64 (n,)."""
    of_label = np.where(labels == 1, probability, 1 - probability)
    return np.asarray(-np.log(np.clip(of_label, SMALLEST, 1 - SMALLEST)))


class Nesting:
    """Fits over all needed sets of folds, each made once. Not for several threads.

    Args:
        probability: float64 (n, member), out of fold.
        labels: int8 (n,).
        fold: (n,), 4 to 10 folds over these samples.
        method: one of `combination.METHODS`, or `chosen`.
        prune: leave out members whose removal does not hurt.
    """

    def __init__(
        self,
        probability: Array,
        labels: NDArray[np.int8],
        fold: NDArray[np.int8],
        method: str = CHOSEN,
        prune: bool = False,
    ) -> None:
        self.probability, self.labels, self.fold = probability, labels, fold
        self.folds = tuple(int(number) for number in np.unique(fold))
        if not MIN_FOLDS <= len(self.folds) <= MAX_FOLDS:
            raise ValueError(f"expected {MIN_FOLDS}..{MAX_FOLDS} folds, found {len(self.folds)}")
        self.methods = METHODS if method == CHOSEN else (method,)
        self.prune = prune
        self._fitted: Callable[[str, Members, Out], Combination] = cache(self._fit)
        self.chosen: Callable[[Out], Combination] = cache(self._choose)

    def path(self, out: Out = NOTHING) -> tuple[Step, ...]:
        """The order in which members go, judged without the folds of `out`."""
        inside = ~self._in(out)

        def losses_of(members: Members) -> Array:
            return losses(self._held_out("logit", members, out)[inside], self.labels[inside])

        return removal_path(losses_of, tuple(range(self.probability.shape[1])))

    def combined(self, out: Out = NOTHING) -> Array:
        """float64 (n,): each sample by what was chosen without its fold and `out`; NaN in the folds of `out`."""
        return self._by_fold(out, self.chosen)

    def _choose(self, out: Out) -> Combination:
        """What the samples outside of `out` choose: members, the method with the lowest log loss, weights."""
        everyone = tuple(range(self.probability.shape[1]))
        members = kept(self.path(out)) if self.prune else everyone
        inside = ~self._in(out)
        held = {
            method: log_loss(self._held_out(method, members, out)[inside], self.labels[inside])
            for method in (self.methods if len(self.methods) > 1 else ())
        }
        method = min(held, key=lambda one: held[one]) if held else self.methods[0]
        return self._fitted(method, members, out)

    def _held_out(self, method: str, members: Members, out: Out) -> Array:
        return self._by_fold(out, lambda more: self._fitted(method, members, more))

    def _by_fold(self, out: Out, combination: Callable[[Out], Combination]) -> Array:
        found = np.full(len(self.labels), np.nan)
        for number in self.folds:
            if number not in out:
                rows = self.fold == number
                found[rows] = combination(out | {number}).apply(self.probability[rows])
        return found

    def _fit(self, method: str, members: Members, out: Out) -> Combination:
        """Fitted on the samples outside of `out`; members that are not asked have weight 0."""
        rows = ~self._in(out)
        one = fit_combination(method, self.probability[rows][:, list(members)], self.labels[rows])
        weights = np.zeros(self.probability.shape[1])
        weights[list(members)] = one.weights
        return Combination(method, tuple(weights.tolist()), one.intercept)

    def _in(self, out: Out) -> NDArray[np.bool_]:
        return np.isin(self.fold, list(out))


@dataclass(frozen=True)
class Outcome:
    """A nested ensemble and the one made of all samples.

    mean: float64 (n,), combined by what the other folds chose, not calibrated. nested: calibrated and cut so too.
    by_fold: the combination of each fold. final, calibration, threshold, look_threshold: chosen on all samples, for new
    ones.
    """

    mean: Array
    nested: Nested
    by_fold: tuple[Combination, ...]
    final: Combination
    calibration: Calibration
    threshold: float
    look_threshold: float


def outcome_of(nesting: Nesting) -> Outcome:
    """Choose, calibrate and cut, nested throughout, and once more on all samples."""
    labels, fold = nesting.labels, nesting.fold
    mean = nesting.combined()
    calibration = choose_calibration(mean, labels, fold)
    calibrated = calibration.apply(mean)
    threshold = best_threshold(calibrated, labels)
    return Outcome(
        mean=mean,
        nested=_nested(nesting, mean),
        by_fold=tuple(nesting.chosen(frozenset({number})) for number in nesting.folds),
        final=nesting.chosen(NOTHING),
        calibration=calibration,
        threshold=threshold,
        look_threshold=look_threshold(calibrated, labels, threshold),
    )


def _nested(nesting: Nesting, mean: Array) -> Nested:
    """As `calibrate.nested`, but what calibrates a fold was combined without that fold as well."""
    labels, fold = nesting.labels, nesting.fold
    probability = np.empty(len(labels))
    decision, look = np.empty(len(labels), bool), np.empty(len(labels), bool)
    methods, thresholds = [], []
    for number in nesting.folds:
        held = fold == number
        others = nesting.combined(frozenset({number}))[~held]
        calibration = choose_calibration(others, labels[~held], fold[~held])
        calibrated = calibration.apply(others)
        threshold = best_threshold(calibrated, labels[~held])
        probability[held] = calibration.apply(mean[held])
        decision[held] = probability[held] > threshold
        worth = probability[held] > look_threshold(calibrated, labels[~held], threshold)
        look[held] = worth & ~decision[held]
        methods.append(calibration.method)
        thresholds.append(threshold)
    return Nested(probability, decision, look, tuple(methods), tuple(thresholds))
