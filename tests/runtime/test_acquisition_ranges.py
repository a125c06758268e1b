"""The training card's ranges: made from a table, read from a manifest, held against a tile."""

from __future__ import annotations

import json

import numpy as np
import pytest
from faulty_scenes import land, range_document

from lsd.runtime.acquisition.gate import judged
from lsd.runtime.acquisition.ranges import QUANTILES, ranges_of
from lsd.runtime.acquisition.sample import SampledScene
from lsd.runtime.errors import BundleError
from lsd.train.samples import Samples
from lsd.train.training_ranges import band_ranges

DOCUMENT = range_document(red=(1200.0, 2000.0), desc_vv=(-40.0, 16.0))


def table(**statistics: np.ndarray) -> Samples:
    n = len(next(iter(statistics.values())))
    ids = tuple(map(str, range(n)))
    return Samples(ids, np.zeros(n, np.int8), statistics, "t.csv", "0" * 64)


def test_ranges_of_a_table():
    rng = np.random.default_rng(0)
    mean = rng.normal(1500, 100, 2000).astype(np.float32)
    columns = {"red_mean": mean, "red_min": mean - 200, "red_max": mean + 400, "blue_mean": mean}
    columns["red_max"] = columns["red_max"].copy()
    columns["red_max"][:100] = np.nan
    found = band_ranges(table(**columns))
    assert json.loads(json.dumps(found)) == found
    assert list(found["bands"]) == ["red"] and found["rows"] == 2000  # blue lacks two statistics
    np.testing.assert_allclose(found["bands"]["red"]["mean"], np.quantile(mean, QUANTILES), rtol=1e-6)
    np.testing.assert_allclose(found["bands"]["red"]["max"], np.quantile(mean[100:] + 400, QUANTILES), rtol=1e-6)
    one = ranges_of({"band_ranges": found})["red"]
    assert one.middle == pytest.approx(1500, abs=10) and one.spread == pytest.approx(100, rel=0.1)


def test_of_the_card_or_of_its_runs_or_of_none():
    assert list(ranges_of({"band_ranges": DOCUMENT})) == ["red", "desc_vv"]
    other = range_document(red=(0.0, 1.0), nir=(2000.0, 4000.0))
    found = ranges_of({"all": {"band_ranges": DOCUMENT}, "optical": {"band_ranges": other}, "x": {"data": {}}})
    assert set(found) == {"red", "nir", "desc_vv"} and found["red"].middle == 1600
    assert ranges_of({"all": {"recipe": {}}}) is None and ranges_of({}) is None


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"schema_version": 2}, "should be of schema_version 1, is 2"),
        ({"quantiles": [0.5]}, "should hold the quantiles"),
        ({"bands": {"B99": {}}}, "names the band 'B99'"),
        ({"bands": {"red": {"mean": [1, 2, 3, 4, 5], "min": [1, 2, 3, 4, 5]}}}, "max of red should be 5 rising"),
        ({"bands": {"red": {"mean": [5, 4, 3, 2, 1], "min": [1, 2, 3, 4, 5], "max": [1, 2, 3, 4, 5]}}}, "mean of red"),
        ({"bands": {"red": {"mean": "high", "min": [1, 2, 3, 4, 5], "max": [1, 2, 3, 4, 5]}}}, "mean of red"),
    ],
)
def test_a_damaged_card_is_refused(change, expected):
    with pytest.raises(BundleError, match=expected):
        ranges_of({"band_ranges": {**DOCUMENT, **change}})
    with pytest.raises(BundleError, match="schema_version"):
        ranges_of({"band_ranges": None})


def said(samples) -> list[str]:
    verdict = judged(SampledScene(samples), ranges_of({"band_ranges": DOCUMENT}))
    assert all(one.certainty == "likely" for one in verdict.findings)
    return [one.text for one in verdict.findings if one.check == "training-range"]


def test_a_tile_within_the_range():
    assert said(land(red=np.linspace(1250, 1990, 5000))) == []


def test_a_median_that_no_patch_had_and_pixels_beyond():
    (line,) = said(land(red=np.linspace(2050, 2090, 5000)))
    assert line.startswith("red has the median 2070 DN; of 1,000 training patches 998 have a mean of 1200 to 2000 DN")
    some = np.linspace(1250, 1990, 5000)
    some[::20] = 2200.0
    (line,) = said(land(red=some))
    assert line.startswith("5% of red lies outside of 1120 to 2080 DN")
    some = np.linspace(1250, 1990, 5000)
    some[::200] = 2200.0
    assert said(land(red=some)) == []


def test_without_a_card_or_pixels_nothing_is_said():
    assert judged(SampledScene(land()), None).findings == ()
    few = np.full(5000, np.nan)
    few[:100] = 5000.0
    verdict = judged(SampledScene({"red": few}), ranges_of({"band_ranges": DOCUMENT}))
    assert verdict.findings == () and "training-range" in {one.check for one in verdict.unjudged}
