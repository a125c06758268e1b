from __future__ import annotations

import numpy as np
import pytest
from out_of_fold import drawn, evidence, sigmoid

from lsd.runtime.combination import Combination
from lsd.train.calibrate import log_loss, nested
from lsd.train.ensembles.nesting import Nesting, losses, outcome_of
from lsd.train.ensembles.weights import fit_combination

WAYS = [("mean", False), ("probability", False), ("logit", False), ("chosen", False), ("chosen", True)]


@pytest.mark.parametrize(("method", "prune"), WAYS)
def test_no_sample_has_a_say_about_itself(method, prune):
    p, labels, fold = evidence(500)
    before = outcome_of(Nesting(p, labels, fold, method, prune))
    held = fold == 2
    turned = np.where(held, 1 - labels, labels).astype(np.int8)
    after = outcome_of(Nesting(p, turned, fold, method, prune))
    for one in ("probability", "decision", "look"):
        np.testing.assert_array_equal(getattr(before.nested, one)[held], getattr(after.nested, one)[held])
    np.testing.assert_array_equal(before.mean[held], after.mean[held])
    assert before.by_fold[2] == after.by_fold[2] and before.nested.thresholds[2] == after.nested.thresholds[2]
    assert before.nested.thresholds[0] != after.nested.thresholds[0]  # the others did look at fold 2


def test_a_member_that_knows_the_labels_of_one_fold_has_no_weight_there():
    p, labels, fold = evidence()
    leak = np.random.default_rng(5).random(len(labels))
    leak[fold == 2] = np.where(labels == 1, 0.999, 0.001)[fold == 2]
    leaking = np.c_[p[:, :2], leak]
    found = outcome_of(Nesting(leaking, labels, fold, "logit"))
    assert found.by_fold[2].weights[2] == 0.0
    assert all(found.by_fold[number].weights[2] > 0.25 for number in (0, 1, 3, 4))
    assert found.final.weights[2] > 0.25
    pool = outcome_of(Nesting(leaking, labels, fold, "probability"))
    assert pool.by_fold[2].weights[2] == 0.0 < pool.by_fold[4].weights[2]
    clean = outcome_of(Nesting(leaking[:, :2], labels, fold, "logit"))
    pruned = outcome_of(Nesting(leaking, labels, fold, "logit", prune=True))
    assert pruned.by_fold[2] == Combination("logit", (*clean.by_fold[2].weights, 0.0), clean.by_fold[2].intercept)
    np.testing.assert_array_equal(pruned.mean[fold == 2], clean.mean[fold == 2])


def test_the_plain_mean_is_cut_as_calibrate_cuts_it():
    p, labels, fold = evidence(800)
    found = outcome_of(Nesting(p, labels, fold, "mean"))
    np.testing.assert_allclose(found.mean, p.mean(axis=1), rtol=1e-12)
    expected = nested(found.mean, labels, fold)
    np.testing.assert_array_equal(found.nested.probability, expected.probability)
    np.testing.assert_array_equal(found.nested.decision, expected.decision)
    np.testing.assert_array_equal(found.nested.look, expected.look)
    assert found.nested.methods == expected.methods and found.nested.thresholds == expected.thresholds


def test_weights_of_a_fold_are_fitted_on_the_others():
    p, labels, fold = evidence()
    found = outcome_of(Nesting(p, labels, fold, "logit"))
    for number in range(5):
        rest = fold != number
        assert found.by_fold[number] == fit_combination("logit", p[rest], labels[rest])
        np.testing.assert_array_equal(found.mean[~rest], found.by_fold[number].apply(p[~rest]))
    assert found.final == fit_combination("logit", p, labels)


def test_the_method_with_the_lowest_loss_is_chosen():
    rng = np.random.default_rng(3)
    p = sigmoid(rng.normal(-1, 2, (2000, 2)))
    margins = np.log(p) - np.log1p(-p)
    fold = (np.arange(2000) % 5).astype(np.int8)
    truths = {"logit": sigmoid(margins @ [1.0, 0.8] - 1), "probability": p @ [0.9, 0.1], "mean": p.mean(axis=1)}
    for method, truth in truths.items():
        labels = drawn(truth, 9)
        found = outcome_of(Nesting(p, labels, fold))
        assert {one.method for one in found.by_fold} == {method} and found.final.method == method
        others = [log_loss(outcome_of(Nesting(p, labels, fold, one)).mean, labels) for one in truths if one != method]
        assert log_loss(found.mean, labels) < min(others)


def test_both_halves_of_the_truth_beat_either():
    p, labels, fold = evidence()
    both = outcome_of(Nesting(p, labels, fold)).nested.probability
    for at in range(3):
        assert losses(both, labels).mean() < losses(nested(p[:, at], labels, fold).probability, labels).mean() - 0.05


def test_pruning_is_decided_without_the_fold():
    p, labels, fold = evidence()
    found = outcome_of(Nesting(p, labels, fold, "mean", prune=True))
    assert found.final.weights == (0.5, 0.5, 0.0)
    assert all(one.weights == (0.5, 0.5, 0.0) for one in found.by_fold)


def test_too_few_folds_are_refused():
    p, labels, fold = evidence(100)
    with pytest.raises(ValueError, match=r"expected 4\.\.10 folds, found 3"):
        Nesting(p, labels, fold % 3)
