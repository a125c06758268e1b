from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from out_of_fold import drawn, evidence, sigmoid

from lsd.runtime.combination import Combination, equal
from lsd.runtime.errors import BundleError
from lsd.train.calibrate import log_loss
from lsd.train.ensembles.weights import fit_combination


def probabilities(n, seed=0):
    return sigmoid(np.random.default_rng(seed).normal(-1, 2, (n, 3)))


def test_a_pool_of_known_weights_is_found_again():
    p = probabilities(60_000)
    found = fit_combination("probability", p, drawn(p @ [0.7, 0.3, 0.0]))
    assert found.method == "probability" and sum(found.weights) == pytest.approx(1)
    np.testing.assert_allclose(found.weights, [0.7, 0.3, 0.0], atol=0.015)


def test_a_stack_of_known_weights_is_found_again():
    p = probabilities(60_000)
    margins = np.log(p) - np.log1p(-p)
    found = fit_combination("logit", p, drawn(sigmoid(margins @ [0.8, 0.4, 0.0] - 0.5)))
    np.testing.assert_allclose(found.weights, [0.8, 0.4, 0.0], atol=0.03)
    assert found.intercept == pytest.approx(-0.5, abs=0.05)


def test_a_member_that_is_wrong_gets_nothing_rather_than_less():
    p, labels, _ = evidence()
    p = np.c_[p[:, :2], 1 - p[:, 0]]
    for method in ("probability", "logit"):
        assert fit_combination(method, p, labels).weights[2] == 0.0


@settings(max_examples=30)
@given(seed=st.integers(0, 200), method=st.sampled_from(["probability", "logit"]))
def test_no_other_weights_have_a_lower_loss(seed, method):
    p, labels, _ = evidence(300, seed)
    found = fit_combination(method, p, labels)
    rng = np.random.default_rng(seed)

    def loss(combination):
        penalty = np.sum((np.array(combination.weights) - 1 / 3) ** 2) / (2 * len(labels)) if method == "logit" else 0
        return log_loss(combination.apply(p), labels) + penalty

    for size in (0.3, 0.03, 0.003):
        moved = np.maximum(np.array(found.weights) + rng.normal(0, size, 3), 0)
        moved = moved if method == "logit" else moved / moved.sum()
        intercept = found.intercept + rng.normal(0, size) if method == "logit" else 0.0
        assert loss(found) <= loss(Combination(method, tuple(moved), intercept)) + 1e-9


def test_two_of_the_same_share_their_weight():
    p, labels, _ = evidence()
    for method in ("probability", "logit"):
        first, second, _ = fit_combination(method, p[:, [0, 0, 1]], labels).weights
        assert first == pytest.approx(second, abs=1e-4)


def test_certain_members_do_not_break_the_fit():
    p, labels, _ = evidence(400)
    p[:40, 0], p[40:80, 1] = 1.0, 0.0
    for method in ("probability", "logit"):
        combined = fit_combination(method, p, labels).apply(p)
        assert np.isfinite(combined).all() and combined.min() >= 0 and combined.max() <= 1


def test_combinations_by_hand():
    p = np.array([[0.2, 0.6], [0.9, 0.5], [0.3, np.nan]])
    np.testing.assert_allclose(equal(2).apply(p), [0.4, 0.7, np.nan])
    np.testing.assert_allclose(Combination("probability", (0.25, 0.75)).apply(p)[:2], [0.5, 0.6])
    by_hand = 1 / (1 + (0.2 / 0.8) ** -2 * (0.6 / 0.4) ** -1 * np.exp(0.5))
    assert Combination("logit", (2.0, 1.0), -0.5).apply(p)[0] == pytest.approx(by_hand)
    assert Combination("probability", (1.0, 0.0)).apply(p)[2] == 0.3  # who has no weight is not asked


def test_a_combination_travels_as_json_and_nonsense_is_refused():
    one = Combination("logit", (0.5, 0.0), -0.25)
    assert Combination.from_json(one.to_json()) == one
    for method, weights in (
        ("median", (1.0,)),
        ("mean", (0.5, 0.6)),
        ("probability", (-0.5, 1.5)),
        ("logit", ()),
        ("logit", (float("nan"),)),
    ):
        with pytest.raises(BundleError, match="is none; expected one of mean, probability, logit"):
            Combination(method, weights)
