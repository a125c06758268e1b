from __future__ import annotations

import numpy as np

from lsd.runtime.haze import hazy_share, is_hazy


def test_haze_is_told_from_dry_ground():
    cloud = np.full(100, 2600.0), np.full(100, 2900.0)
    dry = np.full(100, 4500.0), np.full(100, 2600.0)
    assert hazy_share(*cloud) == 1
    assert hazy_share(*dry) == 0


def test_the_test_is_that_of_fmask_in_reflectance():
    rng = np.random.default_rng(0)
    red, blue = rng.uniform(1000, 6000, (2, 500))
    expected = (blue - 1000) / 10000 - 0.5 * (red - 1000) / 10000 - 0.08 > 0
    np.testing.assert_array_equal(is_hazy(red, blue), expected)
    assert 0.05 < expected.mean() < 0.95


def test_invalid_pixels_are_neither_hazy_nor_counted():
    red, blue = np.array([2600.0, np.nan, 2600.0, 4500.0]), np.array([2900.0, 2900.0, np.nan, 2600.0])
    assert is_hazy(red, blue).tolist() == [True, False, False, False]
    assert hazy_share(red, blue) == 0.5
    assert hazy_share(np.full(3, np.nan), np.full(3, np.nan)) == 0
