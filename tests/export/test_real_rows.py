"""Bit-for-bit margins on all 7,147 rows of the real table and on adversarial rows made from them."""

from __future__ import annotations

import numpy as np
import pytest

from lsd.export.adversarial import adversarial_rows
from lsd.export.forest_from_treelite import forest_from_file
from lsd.export.references import library_margins
from lsd.runtime.bands import BAND_NAMES
from lsd.runtime.features.sets import feature_set
from lsd.runtime.forest.walk import TableWalk
from lsd.train.forests import fit
from lsd.train.recipe import MemberRecipe
from lsd.train.table import read_table

SETTINGS = {
    "lightgbm": {"num_leaves": 24, "learning_rate": 0.1, "feature_fraction": 0.15, "scale_pos_weight": 5},
    "xgboost": {"max_depth": 6, "learning_rate": 0.1, "colsample_bytree": 0.15, "scale_pos_weight": 5},
}


@pytest.fixture(scope="module")
def samples(shared_data):
    wanted = feature_set("second-order", BAND_NAMES)
    return read_table(shared_data / "zindi-landslide" / "features.csv.gz", wanted.statistics)


@pytest.mark.parametrize("library", ["lightgbm", "xgboost"])
def test_margins_equal_the_library_on_every_real_row(library, samples, tmp_path):
    rows = feature_set("second-order", BAND_NAMES).of_statistics(samples.statistics)
    assert rows.shape == (7147, 376)
    member = MemberRecipe("forest", library, "second-order", 60, SETTINGS[library])
    path = fit(member, rows, samples.labels, seed=1, threads=1).save(tmp_path, "forest")
    forest = forest_from_file(path, library)
    hard = np.concatenate([rows, adversarial_rows(forest, rows, 3000, seed=2)])
    np.testing.assert_array_equal(TableWalk(forest).margins(hard), library_margins(path, library, hard))
