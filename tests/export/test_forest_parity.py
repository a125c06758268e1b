"""Margins of the canonical table against the libraries that trained the forest, on rows made to break it."""

from __future__ import annotations

import lightgbm
import numpy as np
import pytest
import xgboost

from lsd.export.adversarial import adversarial_rows
from lsd.export.forest_from_treelite import forest_from_file, largest_float32_going_left, treelite_from_file
from lsd.export.references import gtil_margins, library_margins
from lsd.runtime.errors import BundleError
from lsd.runtime.forest.native import NativeForest
from lsd.runtime.forest.walk import TableWalk
from lsd.runtime.native.library import ISA_NAMES, absence, instruction_sets


def training_rows(seed, missing):
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(1500, 8)).astype(np.float32)
    labels = (rows[:, 0] + rows[:, 1] * rows[:, 2] > rng.normal(size=1500) * 0.3 + 0.5).astype(int)
    if missing:
        rows[rng.random(rows.shape) < 0.1] = np.nan
    return rows, labels


def fitted(library, folder, seed, missing=True):
    rows, labels = training_rows(seed, missing)
    if library == "lightgbm":
        settings = {"objective": "binary", "num_leaves": 24, "verbose": -1, "num_threads": 1, "seed": seed}
        path = folder / "forest.txt"
        lightgbm.train(settings, lightgbm.Dataset(rows, labels), 60).save_model(path)
    else:
        settings = {"objective": "binary:logistic", "max_depth": 6, "nthread": 1, "seed": seed}
        path = folder / "forest.ubj"
        xgboost.train(settings, xgboost.DMatrix(rows, labels), 60).save_model(path)
    return path, rows


@pytest.mark.parametrize("library", ["lightgbm", "xgboost"])
@pytest.mark.parametrize("missing", [True, False], ids=["trained with NaN", "trained without NaN"])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_margins_equal_the_library_bit_for_bit(library, missing, seed, tmp_path):
    path, rows = fitted(library, tmp_path, seed, missing)
    forest = forest_from_file(path, library)
    hard = np.concatenate([rows, adversarial_rows(forest, rows, 3000, seed)])
    assert np.isnan(hard).any() and np.isinf(hard).any()
    assert np.isin(hard[:, 0], forest.threshold[forest.feature == 0]).sum() > 20
    theirs = library_margins(path, library, hard)
    np.testing.assert_array_equal(TableWalk(forest).margins(hard), theirs)
    assert absence() is None, absence()
    for isa in instruction_sets():
        kernel = NativeForest(forest, isa=isa)
        np.testing.assert_array_equal(kernel.margins(hard), theirs, err_msg=ISA_NAMES[isa])
        one_by_one = np.concatenate([kernel.margins(hard[i : i + 1]) for i in range(300)])
        np.testing.assert_array_equal(one_by_one, theirs[:300], err_msg=f"{ISA_NAMES[isa]}, single rows")


@pytest.mark.parametrize(("library", "tolerance"), [("lightgbm", 0), ("xgboost", 1e-5)])
def test_gtil_agrees(library, tolerance, tmp_path):
    path, rows = fitted(library, tmp_path, 4)
    forest = forest_from_file(path, library)
    hard = adversarial_rows(forest, rows, 500, 4)
    theirs = gtil_margins(treelite_from_file(path, library), library, hard)
    np.testing.assert_allclose(TableWalk(forest).margins(hard), theirs, rtol=0, atol=tolerance)


def test_lightgbm_reads_its_zero_limit_as_zero(tmp_path):
    """A row at exactly -1e-35 goes where 0 goes: LightGBM's reader drops it. Treelite's model does not say so."""
    path, rows = fitted("lightgbm", tmp_path, 5, missing=False)
    forest = forest_from_file(path, "lightgbm")
    near = np.tile(np.float32([0.0, -0.0, 1e-35, -1e-35, 1e-40, -1e-40, 2e-35, -2e-35]), (8, 1)).T.copy()
    near[:, 3:] = rows[:8, 3:]
    np.testing.assert_array_equal(TableWalk(forest).margins(near), library_margins(path, "lightgbm", near))


def test_rounding_of_thresholds():
    one = np.float64(np.float32(0.1))
    above, below = np.nextafter(np.float32(0.1), np.float32(1)), np.nextafter(np.float32(0.1), np.float32(0))
    exact = np.array([one, np.nextafter(one, 1), np.nextafter(one, 0), 1e300])
    np.testing.assert_array_equal(
        largest_float32_going_left(exact, np.full(4, 3), 0), np.float32([0.1, 0.1, below, np.finfo(np.float32).max])
    )
    np.testing.assert_array_equal(
        largest_float32_going_left(np.float64([one, above]), np.full(2, 2), 0), np.float32([below, 0.1])
    )
    with pytest.raises(BundleError, match="operator other than"):
        largest_float32_going_left(exact, np.full(4, 5), 0)


def test_categorical_split_is_refused(tmp_path):
    rng = np.random.default_rng(0)
    rows = rng.integers(0, 6, (600, 2)).astype(float)
    settings = {"objective": "binary", "verbose": -1, "num_threads": 1, "min_data_per_group": 1, "cat_smooth": 1}
    data = lightgbm.Dataset(rows, np.isin(rows[:, 0], (1, 4)).astype(int), categorical_feature=[0])
    lightgbm.train(settings, data, 3).save_model(tmp_path / "forest.txt")
    with pytest.raises(BundleError, match="splits on a category"):
        forest_from_file(tmp_path / "forest.txt", "lightgbm")


@pytest.mark.parametrize("one_hot_limit", [1, 100], ids=["sets of categories", "one category"])
def test_categorical_split_of_xgboost_is_refused(one_hot_limit, tmp_path):
    rows = np.random.default_rng(0).integers(0, 6, (600, 2)).astype(np.float32)
    labels = np.isin(rows[:, 0], (1, 4)).astype(int)
    data = xgboost.DMatrix(rows, labels, feature_types=["c", "q"], enable_categorical=True)
    settings = {"objective": "binary:logistic", "nthread": 1, "max_cat_to_onehot": one_hot_limit}
    xgboost.train(settings, data, 3).save_model(tmp_path / "forest.ubj")
    with pytest.raises(BundleError, match="splits on a category"):
        forest_from_file(tmp_path / "forest.ubj", "xgboost")


def test_unreadable_model_file(tmp_path):
    (tmp_path / "forest.txt").write_text("not a model")
    with pytest.raises(BundleError, match="Treelite cannot read this lightgbm model"):
        forest_from_file(tmp_path / "forest.txt", "lightgbm")
