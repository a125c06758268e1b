"""The notebook way's statistics: METHOD's definition, and the runtime's own numbers."""

from __future__ import annotations

import numpy as np
import pytest

from lsd.benchmarks.peers.notebook_statistics import (
    INDICES,
    notebook_channels,
    notebook_statistics,
    under_runtime_names,
)
from lsd.export.adversarial import simulated_patches
from lsd.runtime.bands import BAND_NAMES, INDEX_BY_NAME
from lsd.runtime.features.sets import TABLE_INDICES, feature_set, named_statistics

STATISTICS = ("mean", "median", "min", "max", "std", "skew", "kurtosis")  # METHOD, training: in this order

RATIOS = ("nir_red", "nir_green", "nir_blue", "blue_green", "blue_red", "green_red")  # METHOD, task: channels 12 to 17


@pytest.fixture(scope="module")
def patches():
    found = np.ascontiguousarray(simulated_patches(4, seed=11))
    found[0, 4] = -12.0  # a constant channel
    return found


def test_the_order_is_that_of_the_method(patches):
    """12 bands (in the order of the patch), then channels 12 to 17, 7 statistics each; 18 fewer without medians."""
    wanted = [f"{channel}_{statistic}" for channel in (*BAND_NAMES, *RATIOS) for statistic in STATISTICS]
    assert list(notebook_statistics(patches[1])) == wanted and len(wanted) == 126
    without = [name for name in wanted if not name.endswith("_median")]
    assert list(notebook_statistics(patches[1], medians=False)) == without and len(without) == 108


def test_a_ratio_is_that_of_the_method(patches):
    """(a - b) / (a + b + 1e-10) + 0.5, by arithmetic of Python on one pixel."""
    found = notebook_channels(patches[1])
    value = {band: float(patches[1, at, 3, 7]) for at, band in enumerate(BAND_NAMES)}
    for name in RATIOS:
        a, b = name.split("_")
        assert found[name][3, 7] == (value[a] - value[b]) / (value[a] + value[b] + 1e-10) + 0.5


def test_moments_are_those_of_the_definition(patches):
    """Population spread, biased Fisher skew and kurtosis, written out."""
    found, red = notebook_statistics(patches[1]), patches[1, BAND_NAMES.index("red")].astype(np.float64)
    m2, m3, m4 = (np.mean((red - red.mean()) ** power) for power in (2, 3, 4))
    wanted = [red.mean(), np.sort(red, axis=None)[2047:2049].mean(), red.min(), red.max(), m2**0.5, m3 / m2**1.5]
    wanted.append(m4 / m2**2 - 3)
    np.testing.assert_allclose([found[f"red_{statistic}"] for statistic in STATISTICS], wanted, rtol=1e-9)


def test_the_runtime_finds_the_same(patches):
    """All 126 of the runtime's `paper-126`, its mirrored indices included; NaN in the same places."""
    names = feature_set("paper-126", BAND_NAMES).names
    ours = named_statistics(patches, BAND_NAMES, names)
    rows = [under_runtime_names(notebook_statistics(patch)) for patch in patches]
    assert all(set(row) == set(names) for row in rows)
    theirs = {name: np.array([row[name] for row in rows]) for name in names}
    for name in names:
        np.testing.assert_allclose(theirs[name], ours[name], rtol=1e-9, atol=1e-9, err_msg=name)
    dark = {name for name in names if np.isnan(ours[name]).any()}
    assert dark == {f"{BAND_NAMES[4]}_skew", f"{BAND_NAMES[4]}_kurtosis"}


def test_other_indices_may_be_asked_for(patches):
    """Those of the published table, which the runtime names alike."""
    indices = [INDEX_BY_NAME[name] for name in TABLE_INDICES]
    found = under_runtime_names(notebook_statistics(patches[2], medians=False, indices=indices))
    ours = named_statistics(patches[2:3], BAND_NAMES, list(found))
    assert len(found) == 14 * 6
    np.testing.assert_allclose(list(found.values()), [ours[name][0] for name in found], rtol=1e-9, atol=1e-9)


def test_only_mirrored_names_are_turned():
    turned = under_runtime_names({"blue_red_min": 0.2, "blue_red_skew": 3.0, "blue_red_std": 0.1, "nir_red_min": 0.2})
    assert turned == {"red_blue_max": 0.8, "red_blue_skew": -3.0, "red_blue_std": 0.1, "nir_red_min": 0.2}
    assert {index.name for index in INDICES} - set(INDEX_BY_NAME) == {"blue_green", "blue_red", "green_red"}
