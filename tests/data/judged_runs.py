"""Predictors that know their answers beforehand, and subjects to ask them about."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from lsd.runtime.bands import BAND_NAMES
from lsd.runtime.calibration import Calibration
from lsd.train.evaluation.judged import judge
from lsd.train.evaluation.subject import Subject
from lsd.train.predictors import Configuration, Predictor


def judged(predictor, subject):
    return judge(predictor, predictor.configurations[0], subject, lambda n: None)


def fixed(probability, name="fake", ids=(), synthetic=False, bands=BAND_NAMES, **changes):
    """A predictor that knows its answers beforehand."""
    asked = []

    def probability_of(subject, configuration, advance):
        asked.append((subject.ids, configuration.name))
        return np.array([probability[one] for one in subject.ids])

    one = Configuration("all", bands, Calibration(), 0.4, 0.1)
    made = Predictor(
        name, Path(name), "encoder", (one,), 0, 7, (), frozenset(ids), "canonical", synthetic, probability_of
    )
    return replace(made, **changes), asked


def small_subject(labels, **more):
    ids = tuple(f"S{i}" for i in range(len(labels)))
    return Subject(ids, np.array(labels, np.int8), {}, "labels.csv", "0" * 64, **more)
