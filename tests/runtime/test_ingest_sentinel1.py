from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import pytest
from tiles import S1_DESCENDING

from lsd.runtime.errors import BandError, UnprovenUnitError, UsageError
from lsd.runtime.ingest.sentinel1 import direction, unit
from lsd.runtime.ingest.times import acquired, iso

DB = np.random.default_rng(0).normal(-12, 4, 1000)
POWER = 10 ** (DB / 10)
FILE = Path("vv.tif")


def test_negative_median_is_db_and_declared_units_are_taken():
    assert unit("desc_vv", FILE, None, DB)[0] == "none"
    assert unit("desc_vv", FILE, "dB", DB)[0] == "none"
    assert unit("desc_vv", FILE, "power", POWER)[0] == "linear_to_db"
    assert unit("desc_vv", FILE, "amplitude", POWER**0.5)[0] == "amplitude_to_db"


@pytest.mark.parametrize(("declared", "values"), [(None, POWER), ("dB", POWER), ("power", DB), ("furlong", POWER)])
def test_other_units_are_refused(declared, values):
    with pytest.raises(UnprovenUnitError, match=r"vv\.tif"):
        unit("desc_vv", FILE, declared, values)


def test_undeclared_power_is_told_both_formulas():
    with pytest.raises(UnprovenUnitError, match=r"10 log10.*20 log10"):
        unit("desc_vv", FILE, None, POWER)


@pytest.mark.parametrize(
    ("hour_utc", "longitude", "expected"),
    [(6.0, 0.0, "descending"), (18.0, 0.0, "ascending"), (1.15, 73.3, "descending"), (23.0, 105.0, "descending")],
)
def test_direction_from_local_solar_time(hour_utc, longitude, expected):
    time = datetime(2020, 6, 7, int(hour_utc), int(hour_utc % 1 * 60), tzinfo=timezone.utc)
    assert direction("x", {}, time, longitude, None)[0] == expected


def test_direction_that_nothing_tells_is_refused():
    noon = datetime(2020, 6, 7, 12, tzinfo=timezone.utc)
    with pytest.raises(BandError, match=r"12\.0 h local solar time"):
        direction("x", {}, noon, 0.0, None)
    with pytest.raises(BandError, match="--orbit"):
        direction("x", {}, None, 0.0, None)
    assert direction("x", {}, noon, 0.0, "ascending")[0] == "ascending"


def test_metadata_tell_the_direction_and_contradict_a_declaration():
    metadata = {"orbitProperties_pass": "DESCENDING"}
    assert direction("x", metadata, None, 0.0, None)[0] == "descending"
    with pytest.raises(UsageError, match="--orbit ascending contradicts"):
        direction("x", metadata, None, 0.0, "ascending")


def test_times_come_from_metadata_then_names():
    assert iso(acquired({}, ["no time", S1_DESCENDING])) == "2020-06-07T05:08:00Z"
    assert iso(acquired({"acquisition_date": "2018-02-04 09:41:56"}, [S1_DESCENDING])) == "2018-02-04T09:41:56Z"
    assert acquired({}, ["S2B_MSIL2A_20180204T94161_57_38", "x_20209999T999999"]) is None
