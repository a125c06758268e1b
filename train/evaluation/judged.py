"""A run's answer for each sample, each by models that did not see the sample."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from lsd.runtime.errors import UsageError
from lsd.train.calibrate import nested
from lsd.train.evaluation.subject import Subject
from lsd.train.predictions import OutOfFold
from lsd.train.predictors import Configuration, Predictor

NEW, OUT_OF_FOLD, LEFT_OUT = 0, 1, 2


@dataclass(frozen=True)
class Judged:
    """One run in one configuration on n samples.

    probability: float64 (n,), not calibrated; calibrated: float64 (n,). decision: bool (n,), a slide is called. look:
    bool (n,), not called but worth a look. origin: int8 (n,): `NEW`, the run has not seen the sample; `OUT_OF_FOLD`, it
    was trained on it, so the answer is that of the models that did not see it; `LEFT_OUT`, there is no such answer, and
    probabilities are NaN.
    """

    title: str
    predictor: Predictor
    configuration: Configuration
    probability: NDArray[np.float64]
    calibrated: NDArray[np.float64]
    decision: NDArray[np.bool_]
    look: NDArray[np.bool_]
    origin: NDArray[np.int8]

    def subset(self, positions: NDArray[np.intp]) -> Judged:
        """These samples only, in this order."""
        return replace(
            self,
            probability=self.probability[positions],
            calibrated=self.calibrated[positions],
            decision=self.decision[positions],
            look=self.look[positions],
            origin=self.origin[positions],
        )


def judge(
    predictor: Predictor, configuration: Configuration, subject: Subject, advance: Callable[[int], object]
) -> Judged:
    """Answers for every sample; only what is new to the run is computed.

    A sample is known by its ID. If the run was trained on it, it gets its out-of-fold probability, calibrated and cut
    by what the other folds chose. It is left out if the run has no out-of-fold probability for it (only a member of an
    ensemble saw it), or if run and subject are not both synthetic or both real: the pixels differ though the ID is the
    same.

    Args:
        advance: called with the number of samples done.
    Raises:
        UsageError: a sample that the run was trained on has another label here.
    """
    known = predictor.trained_ids or frozenset()
    trained = np.array([name in known for name in subject.ids], bool)
    origin = np.where(trained, LEFT_OUT, NEW).astype(np.int8)
    probability, calibrated = np.full((2, len(subject)), np.nan)
    decision, look = np.zeros((2, len(subject)), bool)

    new = np.flatnonzero(~trained)
    if new.size:
        probability[new] = predictor.probabilities(subject.subset(new), configuration, advance)
        calibrated[new] = configuration.calibration.apply(probability[new])
        decision[new] = calibrated[new] > configuration.threshold
        look[new] = ~decision[new] & (calibrated[new] > configuration.look_threshold)

    if trained.any() and predictor.synthetic == subject.synthetic:
        held_out = predictor.out_of_fold(configuration)
        here, there = _same_samples(subject, held_out)
        _check_labels(subject, here, held_out, there)
        assert held_out.labels is not None and held_out.fold is not None  # every run has both
        cut = nested(held_out.probability, held_out.labels, held_out.fold.astype(np.int8))
        probability[here], calibrated[here] = held_out.probability[there], cut.probability[there]
        decision[here], look[here] = cut.decision[there], cut.look[there]
        origin[here] = OUT_OF_FOLD
    advance(int(trained.sum()))
    title = predictor.name if len(predictor.configurations) == 1 else f"{predictor.name}: {configuration.name}"
    return Judged(title, predictor, configuration, probability, calibrated, decision, look, origin)


def _same_samples(subject: Subject, held_out: OutOfFold) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Positions of the common IDs in both."""
    places = {name: at for at, name in enumerate(held_out.ids)}
    here = [at for at, name in enumerate(subject.ids) if name in places]
    return np.array(here, np.intp), np.array([places[subject.ids[at]] for at in here], np.intp)


def _check_labels(subject: Subject, here: NDArray[np.intp], held_out: OutOfFold, there: NDArray[np.intp]) -> None:
    assert held_out.labels is not None
    differ = np.flatnonzero(subject.labels[here] != held_out.labels[there])
    if differ.size:
        at, other = int(here[differ[0]]), int(there[differ[0]])
        raise UsageError(
            f"{differ.size} of {len(here)} samples that {held_out.name} was trained on have another label here, the "
            f"first is {subject.ids[at]!r}: {held_out.labels[other]} there, {subject.labels[at]} here; if these are "
            "other samples of the same names, rename them; if labels were corrected, train again"
        )
