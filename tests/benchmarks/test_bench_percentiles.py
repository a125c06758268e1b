"""Percentiles are told with enough samples only, and their intervals hold what they promise."""

from __future__ import annotations

import numpy as np
import pytest

from lsd.benchmarks.bench.percentiles import QUANTILES, curve, is_measured, percentiles, samples_needed


@pytest.mark.parametrize(("name", "needed"), [("p50", 20), ("p90", 100), ("p99", 1_000), ("p99.9", 10_000)])
def test_a_percentile_needs_ten_samples_beyond_it(name, needed):
    assert samples_needed(QUANTILES[name]) == needed
    enough = np.random.default_rng(0).random(needed)
    assert is_measured(percentiles(enough)[name])
    few = percentiles(enough[1:])[name]
    assert few == {"not_measured": f"{needed - 1:,} samples; {name} needs {needed:,}"}


def test_the_sample_of_the_nearest_rank_is_told():
    found = percentiles(np.arange(10_000, 0, -1, dtype=np.float64))
    assert {name: one["s"] for name, one in found.items()} == {"p50": 5000, "p90": 9000, "p99": 9900, "p99.9": 9990}


def test_intervals_hold_the_true_percentile_in_19_of_20_cases():
    rng = np.random.default_rng(0)
    held = dict.fromkeys(("p50", "p90"), 0)
    for _ in range(1000):
        found = percentiles(rng.exponential(1.0, 500))
        for name in held:
            held[name] += found[name]["low_s"] <= -np.log(1 - QUANTILES[name]) <= found[name]["high_s"]
    assert all(930 <= count <= 970 for count in held.values()), held


def test_the_curve_rises_and_ends_where_samples_do():
    found = curve(np.random.default_rng(1).random(1000))
    assert [share for share, _ in found][-1] == 0.99
    assert [value for _, value in found] == sorted(value for _, value in found)
    assert curve(np.array([1.0])) == []


def test_zero_is_measured_and_a_reason_is_not():
    assert is_measured(0.0) and is_measured(False)
    assert not is_measured(None) and not is_measured({"not_measured": "why"})
