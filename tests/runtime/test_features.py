from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lsd.runtime.bands import BAND_NAMES, of_modality
from lsd.runtime.errors import BundleError
from lsd.runtime.features.formulas import Feature, evaluate
from lsd.runtime.features.sets import SETS, FeatureSet, feature_set, split
from lsd.runtime.features.statistics import STATISTICS, channel_statistics


def patches(n, seed=0):
    rng = np.random.default_rng(seed)
    level = np.where(np.arange(12) < 4, 2000, -12)[None, :, None, None]
    spread = np.where(np.arange(12) < 4, 400, 4)[None, :, None, None]
    return (level + spread * rng.normal(size=(n, 12, 64, 64))).astype(np.float32)


def test_paper_set_has_126_columns_in_the_papers_order():
    names = feature_set("paper-126", BAND_NAMES).names
    assert len(names) == 126
    assert names[:8] == (
        "blue_mean", "blue_median", "blue_min", "blue_max", "blue_std", "blue_skew", "blue_kurtosis", "green_mean",
    )  # fmt: skip
    assert names[84:91] == tuple(f"nir_blue_{statistic}" for statistic in STATISTICS)
    assert names[-1] == "green_blue_kurtosis"


def test_table_set_has_85_columns_and_radar_alone_48():
    assert len(feature_set("table-85", BAND_NAMES).names) == 85
    assert len(feature_set("table-85", of_modality("sar", "sar_diff")).names) == 48


def test_constant_channel_gives_nan_shape_statistics_and_zero_std():
    values = channel_statistics(np.full((1, 1, 8, 8), 0.1))
    found = dict(zip(STATISTICS, values[0, 0], strict=True))
    assert found["std"] == pytest.approx(0, abs=1e-16)
    assert np.isnan(found["skew"]) and np.isnan(found["kurtosis"])


def test_holes_are_left_out_and_an_empty_channel_is_nan():
    rng = np.random.default_rng(1)
    whole = rng.normal(size=(1, 1, 8, 8))
    holed = whole.copy()
    holed[0, 0, :2] = np.nan
    np.testing.assert_allclose(channel_statistics(holed), channel_statistics(whole[:, :, 2:]), rtol=1e-12)
    assert np.isnan(channel_statistics(np.full((1, 1, 8, 8), np.nan))).all()


@settings(max_examples=20)
@given(st.integers(1, 9), st.integers(0, 2**32 - 1), st.sampled_from(sorted(SETS)))
def test_a_row_does_not_depend_on_its_batch(n, seed, name):
    pixels = patches(n, seed)
    pixels[0, 2, :5] = np.nan
    wanted = feature_set(name, BAND_NAMES)
    together = wanted.of_patches(pixels, BAND_NAMES)
    alone = np.concatenate([wanted.of_patches(pixels[i : i + 1], BAND_NAMES) for i in range(n)])
    np.testing.assert_array_equal(together, alone)


@pytest.mark.parametrize("name", sorted(SETS))
def test_band_order_of_the_input_does_not_matter(name):
    pixels = patches(2)
    wanted = feature_set(name, BAND_NAMES)
    np.testing.assert_array_equal(
        wanted.of_patches(pixels[:, ::-1].copy(), BAND_NAMES[::-1]), wanted.of_patches(pixels, BAND_NAMES)
    )


@pytest.mark.parametrize("name", sorted(SETS))
@pytest.mark.parametrize("bands", [BAND_NAMES, of_modality("optical"), of_modality("sar", "sar_diff")])
def test_definition_survives_json_and_a_changed_one_is_refused(name, bands):
    wanted = feature_set(name, bands)
    assert FeatureSet.from_json(wanted.to_json()) == wanted
    assert len(set(wanted.names)) == len(wanted.names)
    changed = wanted.to_json()
    changed["features"][3][0] = "another"
    with pytest.raises(BundleError, match="its list has"):
        FeatureSet.from_json(changed)


def test_a_definition_of_our_name_that_is_not_ours_is_refused():
    ours = feature_set("table-85", BAND_NAMES)
    theirs = FeatureSet(ours.name, ours.version, ours.bands, ours.features[:-1])
    with pytest.raises(BundleError, match="of the bundle has definition"):
        FeatureSet.from_json(theirs.to_json())


def test_formulas_run_on_rounded_statistics():
    statistics = {"red_mean": np.array([1 / 3]), "nir_mean": np.array([2 / 3])}
    found = evaluate([Feature("x", "difference", ("nir_mean", "red_mean"))], statistics)
    assert found[0, 0] == np.float32(np.float64(np.float32(2 / 3)) - np.float64(np.float32(1 / 3)))


def test_a_column_may_use_columns_to_its_left_only():
    q05, change = Feature("x", "sum", ("red_mean", "red_std")), Feature("y", "difference", ("x", "red_mean"))
    statistics = {"red_mean": np.float32([3]), "red_std": np.float32([2])}
    np.testing.assert_array_equal(evaluate([q05, change], statistics), [[5, 2]])
    stored = FeatureSet("mine", 1, ("red",), (change, q05)).to_json()
    with pytest.raises(BundleError, match="unknown statistic 'x'"):
        FeatureSet.from_json(stored)


def test_approximate_quantiles_of_normal_pixels_are_close_and_stay_inside():
    rng = np.random.default_rng(0)
    pixels = np.zeros((1, 12, 64, 64), np.float32)
    pixels[0, 4:] = rng.normal(-12, 3, (8, 64, 64))
    wanted = feature_set("second-order", of_modality("sar", "sar_diff"))
    found = dict(zip(wanted.names, wanted.of_patches(pixels, BAND_NAMES)[0], strict=True))
    for name, share in (("q05", 0.05), ("q50", 0.5), ("q95", 0.95)):
        assert found[f"asc_vv_{name}"] == pytest.approx(np.quantile(pixels[0, 8], share), abs=0.15)
    assert found["asc_vv_min"] <= found["asc_vv_q05"] <= found["asc_vv_q95"] <= found["asc_vv_max"]


def test_second_order_columns():
    counts = [len(feature_set("second-order", bands).names) for bands in (BAND_NAMES, BAND_NAMES[:4], BAND_NAMES[4:])]
    assert counts == [376, 144, 232]
    assert not any("median" in name for name in feature_set("second-order", BAND_NAMES).statistics)


def test_unknown_operator_operand_and_set_are_refused():
    with pytest.raises(BundleError, match="needs the operator 'cube'"):
        Feature("x", "cube", ("red_mean",))
    with pytest.raises(BundleError, match="ratio takes 2 operands, found 1"):
        Feature("x", "ratio", ("red_mean",))
    with pytest.raises(BundleError, match="unknown statistic 'purple_mean'"):
        split("purple_mean")
    with pytest.raises(BundleError, match="unknown feature set 'best'"):
        feature_set("best", BAND_NAMES)
