from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics as reference

from lsd.train import metrics
from lsd.train.metrics import ECE_BINS, evaluate, is_open_sea, paired_f1_gain
from lsd.train.table import read_table


def sample(n=400, seed=0, ties=False):
    rng = np.random.default_rng(seed)
    labels = (rng.random(n) < 0.3).astype(np.int8)
    p = 1 / (1 + np.exp(-(rng.normal(size=n) * 1.5 + 2 * labels - 1)))
    return (np.round(p, 1) if ties else p), labels


@pytest.mark.parametrize("ties", [False, True])
def test_values_are_scikit_learns(ties):
    p, labels = sample(ties=ties)
    found = evaluate(p, labels, 0.4)
    expected = {
        "f1": reference.f1_score(labels, p > 0.4),
        "precision": reference.precision_score(labels, p > 0.4),
        "recall": reference.recall_score(labels, p > 0.4),
        "auc": reference.roc_auc_score(labels, p),
        "average_precision": reference.average_precision_score(labels, p),
        "brier": reference.brier_score_loss(labels, p),
    }
    precision, recall, _ = reference.precision_recall_curve(labels, p)
    for wanted in (0.8, 0.9):  # sklearn's curve runs from the lowest threshold to the highest
        expected[f"precision_at_recall_{wanted:g}"] = precision[np.flatnonzero(recall >= wanted)[-1]]
    for name, value in expected.items():
        assert found[name]["value"] == pytest.approx(value, abs=1e-12), name


def test_expected_calibration_error_by_hand():
    p = np.array([0.01, 0.02, 0.5, 0.52, 0.99, 1.0])
    labels = np.array([0, 1, 1, 0, 1, 1], np.int8)
    by_hand = (abs(0.01 + 0.02 - 1) + abs(0.5 + 0.52 - 1) + abs(0.99 + 1.0 - 2)) / 6  # bins 0, 7 and 14 of 15
    assert ECE_BINS == 15
    assert evaluate(p, labels)["ece"]["value"] == pytest.approx(by_hand)


def test_precision_at_field_prevalence_is_the_one_of_the_method():
    labels = np.r_[np.ones(1000), np.zeros(10000)].astype(np.int8)
    called = np.r_[np.arange(1000) < 835, np.arange(10000) < 280]  # recall .835, false positives 2.8 %
    found = evaluate(called * 0.8 + 0.1, labels, 0.5)
    for prevalence, expected in ((0.02, 0.38), (0.01, 0.23), (0.002, 0.06)):
        assert found[f"precision_at_prevalence_{prevalence:g}"]["value"] == pytest.approx(expected, abs=0.005)


def test_intervals_hold_the_value_are_repeatable_and_as_wide_as_theory():
    p, labels = sample(4000)
    found = evaluate(p, labels, seed=3)
    assert found == evaluate(p, labels, seed=3)
    for name, one in found.items():
        assert one["low"] <= one["value"] <= one["high"] or name == "ece", name  # resampling inflates ECE
    recall, n = found["recall"], int(labels.sum())
    theory = 1.96 * np.sqrt(recall["value"] * (1 - recall["value"]) / n)
    assert (recall["high"] - recall["low"]) / 2 == pytest.approx(theory, rel=0.15)


def test_nothing_called_gives_no_precision_and_no_warning():
    p, labels = sample()
    found = evaluate(p / 10, labels, 0.5)
    assert np.isnan(found["precision"]["value"]) and np.isnan(found["precision"]["low"])
    assert found["f1"]["value"] == found["recall"]["value"] == 0


def test_a_gain_is_paired_and_its_interval_holds_it():
    p, labels = sample(2000)
    ours, theirs = p > 0.5, (p + np.random.default_rng(5).normal(0, 0.3, 2000)) > 0.5
    found = paired_f1_gain([ours], [theirs], labels)
    expected = reference.f1_score(labels, ours) - reference.f1_score(labels, theirs)
    assert found["value"] == pytest.approx(expected) and 0 < found["low"] < found["value"] < found["high"]
    assert paired_f1_gain([ours], [ours], labels) == {"value": 0, "low": 0, "high": 0}


def test_open_sea_of_the_real_table_holds_no_slide(shared_data):
    real = read_table(shared_data / "zindi-landslide" / "features.csv.gz", ["desc_vh_mean"])
    sea = is_open_sea(real.statistics["desc_vh_mean"])
    assert real.labels[sea].sum() == 0
    assert sea.mean() == pytest.approx(0.185, abs=0.01)  # METHOD: 18.5 %


def test_an_interval_shrinks_with_the_number_of_rows():
    def width(n):
        found = evaluate(*sample(n))["f1"]
        return found["high"] - found["low"]

    assert width(1600) == pytest.approx(width(100) / 4, rel=0.4)  # as 1 / sqrt(n)


def test_bootstrap_samples_without_a_positive_have_no_precision():
    p = np.linspace(0.05, 0.95, 40)
    found = evaluate(p, (p > 0.94).astype(np.int8))  # one positive: absent from 36 % of the samples
    for name in ("auc", "average_precision", "recall", "precision_at_recall_0.8"):
        assert found[name]["value"] == 1 and found[name]["high"] == 1, name
    assert found["precision_at_recall_0.8"]["low"] == 1  # it is drawn first in every sample that holds it


def test_a_gain_is_that_of_a_plain_loop(monkeypatch):
    rng = np.random.default_rng(9)
    labels = (rng.random(150) < 0.4).astype(np.int8)
    ours = [rng.random(150) < 0.2 + 0.6 * labels for _ in range(3)]
    theirs = [rng.random(150) < 0.3 + 0.4 * labels for _ in range(3)]
    monkeypatch.setattr(metrics, "BOOTSTRAPS", 100)
    found = paired_f1_gain(ours, theirs, labels, seed=4)
    gains = []
    for weights in np.random.default_rng(4).multinomial(150, np.full(150, 1 / 150), 100):
        rows = np.repeat(np.arange(150), weights)
        each = [
            reference.f1_score(labels[rows], a[rows]) - reference.f1_score(labels[rows], b[rows])
            for a, b in zip(ours, theirs, strict=True)
        ]
        gains.append(np.mean(each))
    assert (found["low"], found["high"]) == pytest.approx(tuple(np.quantile(gains, (0.025, 0.975))), abs=1e-12)
