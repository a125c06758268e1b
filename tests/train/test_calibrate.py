from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.isotonic import IsotonicRegression
from sklearn.metrics import f1_score

from lsd.train.calibrate import best_threshold, choose_calibration, fit_calibration, nested


def sample(n=600, seed=0):
    rng = np.random.default_rng(seed)
    margin = rng.normal(-1, 2, n)
    labels = (rng.random(n) < 1 / (1 + np.exp(-margin))).astype(np.int8)
    return margin, labels, (np.arange(n) % 5).astype(np.int8)


def test_isotonic_is_scikit_learns():
    margin, labels, _ = sample()
    p = 1 / (1 + np.exp(-margin))
    ours = fit_calibration("isotonic", p, labels)
    theirs = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip").fit(p, labels)
    probes = np.r_[0, 1, np.random.default_rng(1).random(500)]
    np.testing.assert_allclose(ours.apply(probes), theirs.predict(probes), atol=1e-12)


def test_platt_undoes_a_known_distortion():
    margin, labels, _ = sample(40_000)
    slope, intercept = fit_calibration("platt", 1 / (1 + np.exp(-(2 * margin + 1))), labels).parameters
    assert slope == pytest.approx(0.5, abs=0.03)
    assert intercept == pytest.approx(-0.5, abs=0.05)


def test_a_distorted_sample_is_given_platt_a_stepped_one_isotonic():
    margin, labels, fold = sample(6000)
    assert choose_calibration(1 / (1 + np.exp(-(3 * margin + 2))), labels, fold).method == "platt"
    rng = np.random.default_rng(2)
    p = rng.random(6000)
    stepped = (rng.random(6000) < np.where(p < 0.7, 0.1, 0.9)).astype(np.int8)
    assert choose_calibration(p, stepped, fold).method == "isotonic"


def test_best_threshold_beats_every_other():
    margin, labels, _ = sample()
    p = np.round(1 / (1 + np.exp(-margin)), 2)
    best = f1_score(labels, p > best_threshold(p, labels))
    assert best == pytest.approx(max(f1_score(labels, p > t) for t in np.r_[-1, np.unique(p)]))


def test_no_sample_has_a_say_about_its_own_fold():
    margin, labels, fold = sample()
    p = 1 / (1 + np.exp(-(3 * margin + 2)))  # distorted: a calibration is chosen in every fold
    before = nested(p, labels, fold)
    turned = np.where(fold == 2, 1 - labels, labels).astype(np.int8)
    after = nested(p, turned, fold)
    np.testing.assert_array_equal(before.probability[fold == 2], after.probability[fold == 2])
    np.testing.assert_array_equal(before.decision[fold == 2], after.decision[fold == 2])
    assert before.thresholds[2] == after.thresholds[2]
    assert "none" not in before.methods
    assert not np.array_equal(before.probability[fold == 1], after.probability[fold == 1])


@settings(max_examples=100)
@given(
    st.lists(
        st.tuples(st.sampled_from([0.0, 5e-324, 0.3, np.nextafter(0.3, 1), 0.5, 1.0]), st.integers(0, 1)),
        min_size=1,
        max_size=12,
    ).filter(lambda rows: sum(label for _, label in rows) > 0)
)
def test_no_threshold_from_zero_up_beats_the_best(rows):
    p, labels = np.array([p for p, _ in rows]), np.array([label for _, label in rows], np.int8)

    def f1(threshold):
        called = p > threshold
        return 2 * int((called & (labels == 1)).sum()) / (int(called.sum()) + int(labels.sum()))

    found = best_threshold(p, labels)
    assert 0 <= found <= 1
    assert f1(found) == max(f1(threshold) for threshold in [0.0, *p.tolist()])


@pytest.mark.parametrize("reversed_order", [False, True])
def test_platt_keeps_the_order_even_of_a_forest_that_is_wrong(reversed_order):
    margin, labels, _ = sample()
    p = 1 / (1 + np.exp(margin if reversed_order else -margin))
    found = fit_calibration("platt", p, labels)
    assert found.parameters[0] > 0
    order = np.argsort(p)
    assert (np.diff(found.apply(p)[order]) >= 0).all()
