from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from tables import write_table

from lsd.runtime.bands import BAND_NAMES, of_modality
from lsd.runtime.errors import RecipeError, TableError
from lsd.train.configuration import REFERENCE_STATISTICS, feature_sets_of, fits_of, train_configuration
from lsd.train.crossvalidate import combined, out_of_fold
from lsd.train.folds import clusters, k_folds
from lsd.train.forests import fit
from lsd.train.recipe import MemberRecipe, Recipe
from lsd.train.table import read_table

QUICK = {"num_leaves": 5, "learning_rate": 0.2, "min_data_in_leaf": 5, "max_bin": 31}
MEMBERS = (
    MemberRecipe("boosted", "lightgbm", "table-85", 8, {**QUICK, "bagging_fraction": 0.7, "bagging_freq": 1}),
    MemberRecipe("related", "lightgbm", "second-order", 8, QUICK),
    MemberRecipe("other", "xgboost", "table-85", 8, {"max_depth": 3, "subsample": 0.8}),
)
RECIPE = Recipe("mixed", "", MEMBERS, (0.5, 0.25, 0.25))


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    sets = feature_sets_of(RECIPE, BAND_NAMES).values()
    path = write_table(tmp_path_factory.mktemp("table") / "t.csv", 260)
    return read_table(path, [name for one in sets for name in one.statistics], REFERENCE_STATISTICS)


@pytest.fixture(scope="module")
def trained(samples):
    calls = []
    found = train_configuration(samples, RECIPE, BAND_NAMES, 4, 42, advance=lambda: calls.append(1))
    assert len(calls) == fits_of(RECIPE, 4) == 27
    return found


def test_predictions_are_those_of_the_folds_and_weights(samples, trained):
    np.testing.assert_array_equal(trained.fold, k_folds(len(samples), 4, 42))
    again = out_of_fold(RECIPE, trained.matrices, samples.labels, trained.fold, 42)
    for member, p in trained.member_oof.items():
        np.testing.assert_array_equal(p, again[member])
    np.testing.assert_array_equal(trained.mean_oof, combined(RECIPE, again))
    by_hand = 0.5 * again["boosted"] + 0.25 * again["related"] + 0.25 * again["other"]
    np.testing.assert_allclose(trained.mean_oof, by_hand, rtol=0, atol=1e-15)


def test_no_cluster_is_split_and_its_forests_did_not_see_it(samples, trained):
    groups = clusters({name: samples.statistics[name] for name in REFERENCE_STATISTICS})
    assert trained.report["clusters"] == len(set(groups.tolist()))
    for group in set(groups.tolist()):
        assert len(set(trained.cluster_fold[groups == group].tolist())) == 1
    again = combined(RECIPE, out_of_fold(RECIPE, trained.matrices, samples.labels, trained.cluster_fold, 42))
    np.testing.assert_array_equal(trained.cluster_oof, again)


def test_exported_forests_are_fitted_on_all_samples(samples, trained):
    for member in MEMBERS:
        rows = trained.matrices[member.feature_set]
        again = fit(member, rows, samples.labels, 42, 1)
        np.testing.assert_array_equal(trained.forests[member.id].probabilities(rows), again.probabilities(rows))


def test_one_seed_one_result_another_seed_another(samples, trained):
    again = train_configuration(samples, RECIPE, BAND_NAMES, 4, 42)
    assert again.report == trained.report and again.threshold == trained.threshold
    np.testing.assert_array_equal(again.nested.probability, trained.nested.probability)
    other = train_configuration(samples, RECIPE, BAND_NAMES, 4, 43)
    assert not np.array_equal(other.mean_oof, trained.mean_oof)


def test_land_alone_has_the_same_slides_and_fewer_patches(samples):
    sea = np.where(np.arange(len(samples)) % 5 == 0, np.float32(-30), np.float32(-15))
    sea[samples.labels == 1] = -15
    coast = replace(samples, statistics={**samples.statistics, "desc_vh_mean": sea})
    one = Recipe("one", "", MEMBERS[:1], (1.0,))
    found = train_configuration(coast, one, of_modality("optical"), 3, 42)
    report, quiet_land = found.report, (sea > -28) & (samples.labels == 0)
    assert report["land"] == {"share": float((sea > -28).mean()), "positives": int(samples.labels.sum())}
    for way in ("kfold", "nested", "leave_cluster_out"):
        assert report[way]["land"]["recall"]["value"] == pytest.approx(report[way]["all"]["recall"]["value"])
    for way, p in (("kfold", found.mean_oof), ("leave_cluster_out", found.cluster_oof)):
        rate = float((p[quiet_land] > 0.5).mean())
        assert report[way]["land"]["false_positive_rate"]["value"] == pytest.approx(rate)


def test_land_is_not_told_apart_without_radar(samples):
    kept = {name: values for name, values in samples.statistics.items() if not name.startswith(("desc", "asc"))}
    one = Recipe("one", "", MEMBERS[:1], (1.0,))
    report = train_configuration(replace(samples, statistics=kept), one, of_modality("optical"), 3, 42).report
    assert report["land"] is None and set(report["kfold"]) == {"all"}


@pytest.mark.parametrize(
    ("member", "reason"),
    [
        (MemberRecipe("a", "lightgbm", "table-85", 3, {"num_leaves": 1}), r"member 'a': Check failed: \(num_leaves\)"),
        (MemberRecipe("b", "xgboost", "table-85", 3, {"subsample": 7}), "member 'b': value 7 for Parameter subsample"),
    ],
)
def test_a_value_that_a_library_refuses_is_the_recipes_error(samples, member, reason):
    with pytest.raises(RecipeError, match=reason) as caught:
        train_configuration(samples, Recipe("bad", "", (member,), (1.0,)), BAND_NAMES, 3, 42)
    assert "\n" not in str(caught.value) and ".cpp" not in str(caught.value)


def test_too_few_samples_for_the_folds(samples):
    few = slice(0, 30)
    small = replace(
        samples,
        ids=samples.ids[few],
        labels=samples.labels[few],
        statistics={name: values[few] for name, values in samples.statistics.items()},
    )
    with pytest.raises(TableError, match="5 folds need at least as many groups, found 2; give fewer --folds"):
        train_configuration(small, RECIPE, BAND_NAMES, 5, 42)
