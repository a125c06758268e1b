from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.model_selection import KFold

from lsd.runtime.errors import TableError
from lsd.train.folds import both_classes_in_training, clusters, group_folds, k_folds


def test_folds_are_scikit_learns():
    fold = k_folds(103, 5, 42)
    for number, (_, held_out) in enumerate(KFold(5, shuffle=True, random_state=42).split(np.zeros(103))):
        np.testing.assert_array_equal(np.flatnonzero(fold == number), held_out)


@settings(max_examples=25)
@given(st.lists(st.integers(0, 12), min_size=60, max_size=120), st.integers(2, 5))
def test_a_group_is_never_split(groups, folds):
    labels = np.array(groups, np.int32)
    if len(set(groups)) < folds:
        with pytest.raises(TableError, match="at least as many groups"):
            group_folds(labels, folds)
        return
    fold = group_folds(labels, folds)
    assert sorted(set(fold.tolist())) == list(range(folds))
    for group in set(groups):
        assert len(set(fold[labels == group].tolist())) == 1


def test_clusters_find_ground_that_differs_and_repeat():
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 2, 400)
    statistics = {f"{band}_mean": (rng.normal(size=400) + 20 * truth).astype(np.float32) for band in ("red", "nir")}
    statistics["red_std"] = rng.normal(size=400).astype(np.float32)
    statistics["nir_mean"][3] = np.nan
    found = clusters(statistics)
    np.testing.assert_array_equal(found, clusters(statistics))
    for one in set(found.tolist()):
        members = np.delete(truth, 3)[np.delete(found, 3) == one]
        assert len(set(members.tolist())) <= 1


def test_too_few_samples_and_one_class_in_training():
    with pytest.raises(TableError, match="8 folds of 5 samples"):
        k_folds(5, 8, 0)
    with pytest.raises(TableError, match="without fold 1 all labels are 0"):
        both_classes_in_training(np.array([0, 1, 0, 0], np.int8), np.array([0, 1, 0, 1], np.int8))
