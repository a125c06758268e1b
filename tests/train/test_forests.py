from __future__ import annotations

import json
from dataclasses import replace

import lightgbm
import numpy as np
import pytest
import xgboost

from lsd.train.crossvalidate import combined, out_of_fold
from lsd.train.forests import fit
from lsd.train.recipe import MemberRecipe, Recipe

PARAMETERS = {
    "lightgbm": {"num_leaves": 7, "bagging_fraction": 0.7, "bagging_freq": 1, "feature_fraction": 0.5, "max_bin": 63},
    "xgboost": {"max_depth": 3, "subsample": 0.7, "colsample_bytree": 0.5},
}
MEMBERS = [MemberRecipe(library, library, "table-85", 12, values) for library, values in PARAMETERS.items()]
RECIPE = Recipe("both", "", tuple(MEMBERS), (0.25, 0.75))


def sample(n=240, seed=0):
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(n, 8)).astype(np.float32)
    rows[rng.random(rows.shape) < 0.05] = np.nan
    labels = (np.nan_to_num(rows[:, 0]) + rng.normal(size=n) > 0.5).astype(np.int8)
    return rows, labels, (np.arange(n) % 4).astype(np.int8)


@pytest.mark.parametrize("member", MEMBERS, ids=lambda member: member.library)
def test_a_seed_gives_one_forest_and_another_seed_another(member, tmp_path):
    rows, labels, _ = sample()
    files = []
    for number, seed in enumerate((1, 1, 2)):
        (tmp_path / str(number)).mkdir()
        files.append(fit(member, rows, labels, seed, 1).save(tmp_path / str(number), member.id).read_bytes())
    assert files[0] == files[1] != files[2]


@pytest.mark.parametrize("member", MEMBERS, ids=lambda member: member.library)
def test_saved_models_are_the_libraries_own_and_say_the_same(member, tmp_path):
    rows, labels, _ = sample()
    forest = fit(member, rows, labels, 1, 1)
    file = str(forest.save(tmp_path, member.id))
    if member.library == "lightgbm":
        theirs = lightgbm.Booster(model_file=file).predict(rows)
    else:
        theirs = xgboost.Booster(model_file=file).predict(xgboost.DMatrix(rows))
    np.testing.assert_allclose(forest.probabilities(rows), theirs, atol=1e-6)
    gains = forest.gains(rows.shape[1])
    assert gains.sum() == pytest.approx(1) and gains.argmax() == 0


def test_a_prediction_out_of_fold_does_not_know_its_label():
    rows, labels, fold = sample()
    before = out_of_fold(RECIPE, {"table-85": rows}, labels, fold, 1)
    turned = np.where(fold == 2, 1 - labels, labels).astype(np.int8)
    after = out_of_fold(RECIPE, {"table-85": rows}, turned, fold, 1)
    for member in before:
        np.testing.assert_array_equal(before[member][fold == 2], after[member][fold == 2])
        assert not np.array_equal(before[member][fold == 1], after[member][fold == 1])


def test_members_are_averaged_by_weight():
    parts = {"lightgbm": np.array([0.0, 1.0]), "xgboost": np.array([1.0, 0.0])}
    np.testing.assert_allclose(combined(RECIPE, parts), [0.75, 0.25])
    assert json.loads(json.dumps(replace(RECIPE).to_json()))["weights"] == [0.25, 0.75]
