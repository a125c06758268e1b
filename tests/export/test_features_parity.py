"""Our statistics against scipy on hard patches, and against the published table on the one real patch."""

from __future__ import annotations

import csv
import gzip

import numpy as np
import pytest
from scipy import stats

from lsd.export.adversarial import adversarial_patches, simulated_patches
from lsd.export.references import scipy_statistic
from lsd.runtime.bands import BAND_NAMES, INDEX_NAMES
from lsd.runtime.features.sets import feature_set, named_statistics
from lsd.runtime.features.statistics import STATISTICS

NAMES = [f"{channel}_{statistic}" for channel in (*BAND_NAMES, *INDEX_NAMES) for statistic in STATISTICS]


def both(pixels):
    """(ours, scipy's) statistics of every channel, float64 (n, statistic)."""
    found = named_statistics(pixels, BAND_NAMES, NAMES)
    ours = np.stack([found[name] for name in NAMES], axis=1)
    return ours, np.array([[scipy_statistic(patch, BAND_NAMES, name) for name in NAMES] for patch in pixels])


def test_statistics_equal_scipy_to_1e_9_on_simulated_patches():
    ours, reference = both(simulated_patches(8, seed=3))
    np.testing.assert_allclose(ours, reference, rtol=1e-9, atol=1e-12)


def test_statistics_equal_scipy_on_adversarial_patches():
    names, pixels = adversarial_patches()
    ours, reference = both(pixels)
    for i, name in enumerate(names):
        np.testing.assert_array_equal(np.isnan(ours[i]), np.isnan(reference[i]), err_msg=name)
        # sums that cancel (a patch half +x, half -x has mean 0) have no relative precision: 1e-9 of the channel's size
        np.testing.assert_allclose(ours[i], reference[i], rtol=1e-9, atol=1e-9, err_msg=name)


@pytest.fixture(scope="module")
def real(shared_data):
    folder = shared_data / "zindi-landslide"
    pixels = np.load(folder / "patches" / "ID_005GY8.npy", allow_pickle=False)
    with gzip.open(folder / "features.csv.gz", "rt") as lines:
        row = next(row for row in csv.DictReader(lines) if row["ID"] == "ID_005GY8")
    return pixels.transpose(2, 0, 1), row


def published(row, channel, statistic):
    return np.float32(row[f"{channel}_{'kurt' if statistic == 'kurtosis' else statistic}"])


def test_float32_arithmetic_reproduces_the_published_row_bit_for_bit(real):
    pixels, row = real
    formulas = {
        "mean": np.mean,
        "std": np.std,
        "min": np.min,
        "max": np.max,
        "kurtosis": stats.kurtosis,
        "skew": stats.skew,
    }
    equal = [
        np.float32(formula(pixels[band].astype(np.float32).ravel())) == published(row, f"band{band + 1}", statistic)
        for band in range(12)
        for statistic, formula in formulas.items()
    ]
    assert (sum(equal), len(equal)) == (72, 72)


def test_ours_agrees_with_the_published_row_within_1e_6(real):
    pixels, row = real
    wanted = feature_set("table-85", BAND_NAMES)
    ours = dict(zip(wanted.names, wanted.of_patches(pixels[None].astype(np.float32), BAND_NAMES)[0], strict=True))
    names = {"brightness": "cloud_score_brightness"}
    for i, band in enumerate(BAND_NAMES, start=1):
        names |= {f"{band}_{s}": f"band{i}_{'kurt' if s == 'kurtosis' else s}" for s in STATISTICS}
    for name, value in ours.items():
        theirs = np.float32(row[names.get(name, name.replace("kurtosis", "kurt"))])
        assert value == pytest.approx(theirs, rel=1e-6), name
