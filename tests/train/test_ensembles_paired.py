from __future__ import annotations

import numpy as np
import pytest
from out_of_fold import evidence
from sklearn.metrics import log_loss, roc_auc_score

from lsd.train.calibrate import nested
from lsd.train.ensembles.nesting import losses
from lsd.train.ensembles.paired import auc_of, gains, mean_of, with_interval
from lsd.train.metrics import evaluate


@pytest.mark.parametrize("digits", [1, 15])
def test_weighted_auc_is_scikit_learns(digits):
    p, labels, _ = evidence(300)
    p = np.round(p[:, 0], digits)
    weights = np.random.default_rng(0).integers(0, 4, (5, 300)).astype(float)
    found = auc_of(p, labels)(weights)
    expected = [roc_auc_score(labels, p, sample_weight=one) for one in weights]
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_log_loss_and_its_interval():
    p, labels, _ = evidence(2000)
    one = losses(p[:, 0], labels)
    found = with_interval(mean_of(one), len(labels))
    assert found["value"] == pytest.approx(log_loss(labels, p[:, 0]), rel=1e-6)
    half = 1.96 * one.std() / np.sqrt(len(one))
    assert (found["high"] - found["low"]) / 2 == pytest.approx(half, rel=0.1)
    assert found == with_interval(mean_of(one), len(labels))


def test_an_interval_of_auc_is_that_of_the_metrics():
    p, labels, _ = evidence(500)
    found, expected = with_interval(auc_of(p[:, 0], labels), 500), evaluate(p[:, 0], labels)["auc"]
    assert found == pytest.approx(expected, abs=1e-12)


def test_bootstrap_samples_of_one_class_are_left_out():
    labels = np.r_[1, 1, np.zeros(60)].astype(np.int8)  # one in seven samples has no positive
    p = np.linspace(0.9, 0.1, 62)
    found = with_interval(auc_of(p, labels), len(labels))
    assert found == {"value": 1.0, "low": 1.0, "high": 1.0}


def test_the_better_side_gains_and_a_pair_is_sharper_than_two_intervals():
    p, labels, fold = evidence(600)
    better, worse = nested((p[:, 0] + p[:, 1]) / 2, labels, fold), nested(p[:, 0], labels, fold)
    found = gains(better, worse, labels)
    assert found["f1"]["low"] > 0 and found["auc"]["low"] > 0 and found["log_loss"]["high"] < 0
    for metric in ("f1", "auc", "log_loss"):
        assert found[metric]["low"] < found[metric]["value"] < found[metric]["high"]
        assert gains(worse, better, labels)[metric]["value"] == pytest.approx(-found[metric]["value"])
        assert set(gains(worse, worse, labels)[metric].values()) == {0.0}
    near = nested(0.97 * p[:, 0] + 0.03 * p[:, 1], labels, fold)
    width = gains(near, worse, labels)["auc"]["high"] - gains(near, worse, labels)["auc"]["low"]
    alone = evaluate(worse.probability, labels)["auc"]
    assert width < 0.5 * (alone["high"] - alone["low"])
