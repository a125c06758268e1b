"""Choosing exits: the pair, its bounds, what is judged nested, and the named policies."""

from __future__ import annotations

import numpy as np
import pytest
from cascades import easy_view, view_of
from hypothesis import given, settings
from hypothesis import strategies as st
from out_of_fold import sigmoid
from scipy.stats import binom

from lsd.runtime.calibration import Calibration
from lsd.train.cascade.bounds import counted, upper_bound
from lsd.train.cascade.calibrated import exit_calibration, with_exits
from lsd.train.cascade.judged import Costs, f1_with_and_without, judged
from lsd.train.cascade.ladder import (
    BY_POINT,
    CERTIFIED,
    MOST_CHANGED,
    MOST_LOST,
    Rung,
    ladder_of,
    last_that_meets,
    limits_of,
    nested_pairs,
    policies_of,
    rung_of,
)
from lsd.train.cascade.pairs import Pair, best_pair
from lsd.train.cascade.views import CLUSTERS, KFOLD, cluster_view


@pytest.mark.parametrize(("number", "of"), [(0, 100), (1, 100), (7, 7146), (31, 1255), (99, 100)])
def test_the_bound_is_where_so_few_would_be_seen_once_in_twenty(number, of):
    """By its definition, from the binomial distribution itself."""
    bound = upper_bound(number, of)
    assert binom.cdf(number, of, bound) == pytest.approx(0.05, abs=1e-9)
    assert number / of < bound < 1


def test_bounds_at_the_ends():
    assert upper_bound(0, 1000) == pytest.approx(1 - 0.05 ** (1 / 1000))  # the rule of three, exact
    assert upper_bound(5, 5) == 1.0
    assert counted(0, 0) == {"number": 0, "of": 0, "share": 0.0, "upper": 1.0}


def brute(first, whole, decision, labels, share):
    """Least cost over all pairs between distinct values by which at least the share leaves."""
    values = np.concatenate([[-1.0], np.unique(first)])
    best = None
    for low in values:  # leaves low: first <= low
        for high in values:  # leaves high: first > high
            if high < low:
                continue
            below, above = first <= low, first > high
            if (below | above).sum() < np.ceil(share * len(first)):
                continue
            wrong = (below & decision).sum() + (below & decision & (labels == 1)).sum() + (above & ~decision).sum()
            best = wrong if best is None else min(best, wrong)
    return best


@settings(max_examples=60)
@given(st.integers(4, 14), st.integers(0, 10_000), st.sampled_from([0.3, 0.5, 0.75, 0.9]), st.integers(3, 30))
def test_no_other_pair_lets_as_many_leave_for_less(n, seed, share, levels):
    rng = np.random.default_rng(seed)
    first = (rng.integers(0, levels, n) + 0.5) / levels  # many ties
    labels, decision = (rng.random(n) < 0.4).astype(np.int8), rng.random(n) < 0.4
    whole = np.where(decision, 0.8, 0.1)
    pair = best_pair(first, whole, decision, labels, share)
    low, high = first < pair.low, first > pair.high
    assert 0 <= pair.low <= pair.high <= 1
    assert not (low & high).any() and (low | high).sum() >= np.ceil(share * n)
    wrong = (low & decision).sum() + (low & decision & (labels == 1)).sum() + (high & ~decision).sum()
    assert wrong == brute(first, whole, decision, labels, share)


def test_among_equal_pairs_the_one_with_less_doubt():
    """No label changes whoever leaves; the ensemble is surer of the low ones."""
    first = np.linspace(0.01, 0.99, 50)
    decision = first > 0.5
    whole = np.where(decision, 0.9, 0.001)
    pair = best_pair(first, whole, decision, decision.astype(np.int8), 0.5)
    assert pair.low == pytest.approx(0.5, abs=0.02) and (first > pair.high).sum() <= 1


def test_equal_probabilities_leave_together():
    first = np.array([0.1] * 6 + [0.9] * 4)
    decision = first > 0.5
    pair = best_pair(first, first, decision, decision.astype(np.int8), 0.3)
    leaves = (first < pair.low) | (first > pair.high)
    assert leaves.sum() in (4, 6)


def test_a_row_counts_what_it_says():
    first = np.array([0.01, 0.02, 0.03, 0.5, 0.6, 0.97, 0.98, 0.99])
    labels = np.array([0, 1, 1, 0, 1, 1, 0, 1], np.int8)
    whole = np.array([0.1, 0.2, 0.9, 0.1, 0.9, 0.9, 0.1, 0.9])
    view = view_of(first, whole, labels, folds=4)
    row = judged(view, np.full(8, 0.05), np.full(8, 0.95), np.ones(8, bool), Costs(10.0, 1000.0))
    assert row["exit"] == {"number": 6, "of": 8, "share": 0.75}
    assert (row["left_low"], row["left_high"]) == (3, 3)
    assert (row["label_changes"]["number"], row["label_changes"]["of"]) == (2, 8)  # one lost, one called
    assert (row["found_slides_lost"]["number"], row["found_slides_lost"]["of"]) == (1, 4)
    assert (row["slides_left_low"]["number"], row["slides_left_low"]["of"]) == (2, 5)
    assert (row["false_left_high"]["number"], row["false_left_high"]["of"]) == (1, 3)
    assert row["expected_us"] == 10 + 0.25 * 1000
    # whole: 4 hits of 4 calls, 5 slides; with exits: 3 hits of 4 calls
    assert row["f1_whole"]["value"] == pytest.approx(2 * 4 / (4 + 5))
    assert row["f1"]["value"] == pytest.approx(2 * 3 / (4 + 5))
    assert row["f1_change"]["value"] == pytest.approx(row["f1"]["value"] - row["f1_whole"]["value"])
    half = judged(view, np.full(8, 0.05), np.full(8, 0.95), np.arange(8) < 4, None)
    assert half["exit"]["of"] == 4 and half["expected_us"] is None


def test_the_interval_of_f1_is_that_of_a_bootstrap_over_samples():
    rng = np.random.default_rng(3)
    labels = (rng.random(800) < 0.2).astype(np.int8)
    whole = (labels == 1) ^ (rng.random(800) < 0.05)
    exits = whole ^ (rng.random(800) < 0.03)
    found = f1_with_and_without(labels, whole, exits)

    def f1(rows, called):
        return 2 * (called[rows] & (labels[rows] == 1)).sum() / (called[rows].sum() + labels[rows].sum())

    drawn = [rng.integers(0, 800, 800) for _ in range(1500)]
    for name, values in (
        ("f1", [f1(rows, exits) for rows in drawn]),
        ("f1_change", [f1(rows, exits) - f1(rows, whole) for rows in drawn]),
    ):
        low, high = np.quantile(values, (0.025, 0.975))
        assert found[name]["low"] == pytest.approx(low, abs=0.006)
        assert found[name]["high"] == pytest.approx(high, abs=0.006)


def test_a_fold_has_no_say_about_its_own_exits():
    view = easy_view(1000)
    pairs = nested_pairs(view, 0.7)
    mine = view.fold == 2
    first, labels = view.first.copy(), view.labels.copy()
    first[mine], labels[mine] = np.random.default_rng(1).random(mine.sum()), 1 - labels[mine]
    turned = view_of(first, np.where(mine, 1 - view.whole, view.whole), labels)
    assert nested_pairs(turned, 0.7)[2] == pairs[2]
    assert nested_pairs(turned, 0.7)[1] != pairs[1]
    low, _ = limits_of(view, pairs)
    assert set(low[mine]) == {pairs[2].low}


def test_new_patches_get_a_pair_that_all_views_chose_together():
    views = (easy_view(1500, 1), easy_view(1500, 2, name=CLUSTERS))
    rung = rung_of(views, 0.8)
    assert set(rung.nested) == {KFOLD, CLUSTERS} == set(rung.in_sample)
    left = [row["all"]["exit"]["number"] for row in rung.in_sample.values()]
    assert sum(left) == pytest.approx(0.8 * 3000, abs=2)
    costs = [row["all"]["label_changes"]["number"] for row in rung.in_sample.values()]
    for view in views:  # neither view's own pair does better on both together
        one = best_pair(view.first, view.whole, view.decision, view.labels, 0.8)
        rows = [judged(v, np.full(1500, one.low), np.full(1500, one.high), v.scopes["all"], None) for v in views]
        if sum(row["exit"]["number"] for row in rows) >= 2400:
            assert sum(costs) <= sum(
                row["label_changes"]["number"] + row["found_slides_lost"]["number"] for row in rows
            )


@pytest.fixture(scope="module")
def ladder():
    return ladder_of([easy_view(6000, noise=2.5)])


def test_certified_exits_hold_their_limits_by_the_upper_bound_and_the_next_share_does_not(ladder):
    found = policies_of(ladder)
    certified, by_point = found[CERTIFIED], found[BY_POINT]
    assert certified is not None and by_point is not None and certified.share <= by_point.share
    for row in certified.rows():
        assert row["label_changes"]["upper"] <= MOST_CHANGED and row["found_slides_lost"]["upper"] <= MOST_LOST
    after = ladder[[rung.share for rung in ladder].index(certified.share) + 1]
    assert 0.3 < certified.share < by_point.share < 0.95
    assert any(
        row["label_changes"]["upper"] > MOST_CHANGED or row["found_slides_lost"]["upper"] > MOST_LOST
        for row in after.rows()
    )
    assert {name for name, rung in found.items() if rung is not None} >= {"exit-75", "exit-85", "exit-90"}
    for name, share in (("exit-75", 0.75), ("exit-90", 0.90)):
        row = found[name].nested[KFOLD]["all"]
        assert row["exit"]["share"] == pytest.approx(share, abs=0.02)


def test_the_ladder_stops_at_the_first_miss_however_good_it_gets_again():
    def rung(share, changed):
        row = {"label_changes": {"upper": changed}, "found_slides_lost": {"upper": 0.0}}
        return Rung(share, {}, {KFOLD: {"all": row}}, Pair(0, 1), {})

    ladder = [rung(0.3, 0.0), rung(0.4, 0.0005), rung(0.5, 0.002), rung(0.6, 0.0)]
    assert last_that_meets(ladder, "upper").share == 0.4
    assert last_that_meets(ladder[2:], "upper") is None


def test_one_view_or_scope_that_misses_is_enough():
    good = {"label_changes": {"upper": 0.0}, "found_slides_lost": {"upper": 0.0}}
    bad = {"label_changes": {"upper": 0.0}, "found_slides_lost": {"upper": 0.1}}
    for nested in ({KFOLD: {"all": good, "land": bad}}, {KFOLD: {"all": good}, CLUSTERS: {"all": bad}}):
        assert last_that_meets([Rung(0.3, {}, nested, Pair(0, 1), {})], "upper") is None


def test_an_ensemble_that_disagrees_has_no_certified_exits():
    rng = np.random.default_rng(0)
    labels = (rng.random(3000) < 0.2).astype(np.int8)
    view = view_of(rng.random(3000), np.where(labels == 1, 0.9, 0.1), labels)
    found = policies_of(ladder_of([view]))
    assert found[CERTIFIED] is None and found[BY_POINT] is None and found["exit-75"] is not None


def test_exits_are_calibrated_on_what_leaves():
    """The forest says .99 where .8 hold a slide: a patch that left high must not read .99."""
    rng = np.random.default_rng(5)
    first = np.where(np.arange(6000) % 2 == 0, 0.002, 0.99) + rng.normal(0, 0.0005, 6000)
    labels = np.where(first > 0.5, rng.random(6000) < 0.8, rng.random(6000) < 0.01).astype(np.int8)
    view = view_of(first, first, labels)
    calibration, was_held = exit_calibration(view, Pair(0.1, 0.9), 0.2, 0.4)
    low, high = calibration.apply(np.array([0.002, 0.99]))
    assert low == pytest.approx(0.01, abs=0.006) and high == pytest.approx(0.8, abs=0.02) and not was_held
    held, was_held = exit_calibration(view, Pair(0.1, 0.9), 0.005, 0.95)
    assert was_held and isinstance(held, Calibration)
    low, high = held.apply(np.array([0.002, 0.99]))
    assert low <= 0.005 and high > 0.95


def test_measures_with_exits_are_nested_and_without_are_the_ensembles():
    view = easy_view(1200)
    found = with_exits(view, rung_of([view], 0.75))
    hits = (view.decision & (view.labels == 1)).sum()
    assert found["whole"]["f1"]["value"] == pytest.approx(2 * hits / (view.decision.sum() + view.labels.sum()))
    assert found["with_exits"]["f1"]["value"] == pytest.approx(found["whole"]["f1"]["value"], abs=0.05)
    assert 0 <= found["with_exits"]["ece"]["value"] < 0.1


def test_regions_are_left_out_of_forest_combination_threshold_and_exits():
    rng = np.random.default_rng(2)
    n = 800
    labels = (rng.random(n) < 0.3).astype(np.int8)
    both = sigmoid(rng.normal(0, 1.5, (n, 2)) + 3.0 * labels[:, None] - 1.5)
    worse = sigmoid(rng.normal(0, 2.0, n) + 2.0 * labels - 1.0)
    fold, scopes = (rng.permutation(n) % 5).astype(np.int8), {"all": np.ones(n, bool)}
    view = cluster_view(both, 0, worse, fold, labels, "logit", scopes)
    assert view.name == CLUSTERS and view.first is worse and (view.fold == fold).all()
    assert ((view.whole > 0.5) == (labels == 1)).mean() > 0.8
    turned = labels.copy()
    turned[fold == 1] = 1 - turned[fold == 1]
    again = cluster_view(both, 0, worse, fold, turned, "logit", scopes)
    np.testing.assert_array_equal(again.whole[fold == 1], view.whole[fold == 1])
    assert "2 folds" in cluster_view(both, 0, worse, fold % 2, labels, "logit", scopes)
    rare = np.where((fold == 0) & (labels == 1), 1, 0).astype(np.int8)
    assert "label 1" in cluster_view(both, 0, worse, fold, rare, "logit", scopes)
