"""Which runs can stand in one table, and in which of their configurations the samples can be judged."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace

from lsd.runtime.errors import UsageError
from lsd.train.datasets.base import PatchDataset
from lsd.train.evaluation.judged import Judged, judge
from lsd.train.evaluation.subject import Subject
from lsd.train.predictors import Configuration, Predictor


def comparable(predictors: Sequence[Predictor]) -> tuple[Predictor, ...]:
    """The runs, with names that tell them apart: that of the folder, or its path where two folders are named alike.

    Raises:
        UsageError: a run is given twice, or runs of surrogate and of real pixels are mixed.
    """
    for path, times in Counter(one.path.resolve() for one in predictors).items():
        if times > 1:
            raise UsageError(f"{path.name} is given {times} times; give each run once")
    made_up = [one.name for one in predictors if one.synthetic]
    real = [one.name for one in predictors if not one.synthetic]
    if made_up and real:
        raise UsageError(
            f"runs trained on surrogate pixels ({', '.join(made_up)}) never stand in a table beside runs of real ones "
            f"({', '.join(real)}); evaluate them apart"
        )
    times_of = Counter(one.name for one in predictors)
    return tuple(replace(one, name=str(one.path)) if times_of[one.name] > 1 else one for one in predictors)


def served(predictor: Predictor, dataset: PatchDataset) -> tuple[Configuration, ...]:
    """The configurations of a run that these patches can be judged in, its own first.

    Raises:
        UsageError: none has all its bands, or the run was trained on other units.
    """
    bands = dataset.bands
    if predictor.units != dataset.units:
        raise UsageError(
            f"{predictor.name} was trained on {predictor.units} units, the patches have {dataset.units} ones"
        )
    found = tuple(one for one in predictor.configurations if set(one.bands) <= set(bands))
    if not found:
        first = predictor.configurations[0].bands
        absent = ", ".join(name for name in first if name not in bands)
        raise UsageError(f"{predictor.name} reads {', '.join(first)}; these samples have no {absent}")
    return found


def asked_of(predictors: Sequence[Predictor], subject: Subject) -> tuple[tuple[Predictor, Configuration], ...]:
    """Every run with every configuration that these samples can be judged in."""
    dataset = subject.dataset
    return tuple(
        (predictor, configuration)
        for predictor in predictors
        for configuration in (predictor.configurations if dataset is None else served(predictor, dataset))
    )


def judge_all(
    predictors: Sequence[Predictor], subject: Subject, advance: Callable[[int], object]
) -> tuple[Judged, ...]:
    """Every run in every configuration that it serves, in order; the columns of a table were checked as it was read.

    Args:
        advance: called with the number of samples done, `len(subject)` in all for each run and configuration.
    """
    return tuple(judge(predictor, one, subject, advance) for predictor, one in asked_of(predictors, subject))
