from __future__ import annotations

import json
from datetime import datetime, timezone

import pytest
from tiles import S1_DESCENDING

from lsd.runtime.errors import TileError, UsageError
from lsd.runtime.ingest.times import acquired, iso
from lsd.runtime.ingest.tracks import direction, relative_from_absolute, relative_orbit, unknown_direction

DAWN = datetime(2020, 6, 7, 6, tzinfo=timezone.utc)
NOON = datetime(2020, 6, 7, 12, tzinfo=timezone.utc)


@pytest.mark.parametrize(
    ("hour_utc", "longitude", "expected"),
    [(6.0, 0.0, "descending"), (18.0, 0.0, "ascending"), (1.15, 73.3, "descending"), (23.0, 105.0, "descending")],
)
def test_direction_from_local_solar_time(hour_utc, longitude, expected):
    time = datetime(2020, 6, 7, int(hour_utc), int(hour_utc % 1 * 60), tzinfo=timezone.utc)
    assert direction("x", {}, time, longitude, None)[0] == expected


@pytest.mark.parametrize(
    ("hour", "minute", "expected"),
    [
        (4, 29, None),
        (4, 30, "descending"),
        (7, 30, "descending"),
        (7, 31, None),
        (16, 29, None),
        (16, 30, "ascending"),
        (19, 30, "ascending"),
        (19, 31, None),
    ],
)
def test_limits_of_the_local_solar_time(hour, minute, expected):
    assert direction("x", {}, datetime(2020, 6, 7, hour, minute, tzinfo=timezone.utc), 0.0, None)[0] == expected


def test_direction_that_nothing_tells_is_unknown_with_a_reason():
    found, decision = direction("x", {}, NOON, 0.0, None)
    assert found is None
    assert (decision.choice, "12.0 h local solar time" in decision.reason) == ("unknown", True)
    assert direction("x", {}, None, 0.0, None)[0] is None
    assert direction("x", {}, DAWN, None, None)[0] is None
    assert direction("x", {}, NOON, 0.0, "ascending")[0] == "ascending"


def test_the_message_of_an_unknown_direction_names_the_option():
    assert "12.0 h local solar time, neither 4.5-7.5 h" in unknown_direction("x", NOON, 0.0)
    assert "2020-06-07T12:00:00Z its local solar time is neither" in unknown_direction("x", NOON)
    assert "x holds VV or VH without direction of flight or time" in unknown_direction("x", None)
    assert all("--orbit" in unknown_direction("x", time) for time in (NOON, None))


@pytest.mark.parametrize("key", ["orbitProperties_pass", "sat:orbit_state", "ORBIT_PASS_DIRECTION"])
@pytest.mark.parametrize("stated", ["DESCENDING", "descending"])
def test_metadata_tell_the_direction_and_contradict_a_declaration(key, stated):
    assert direction("x", {key: stated}, None, 0.0, None)[0] == "descending"
    with pytest.raises(UsageError, match="--orbit ascending contradicts"):
        direction("x", {key: stated}, None, 0.0, "ascending")


def test_a_declaration_or_metadata_against_the_sun_are_refused():
    with pytest.raises(UsageError, match=r"6\.0 h local solar time, which is descending"):
        direction("x", {}, DAWN, 0.0, "ascending")
    with pytest.raises(TileError, match=r"sat:orbit_state say ascending, but .*which is descending; correct"):
        direction("x", {"sat:orbit_state": "ascending"}, DAWN, 0.0, None)
    assert direction("x", {"sat:orbit_state": "ascending"}, DAWN, 60.0, None)[0] == "ascending"  # 10 h tell nothing


@pytest.mark.parametrize(
    ("platform", "absolute", "track"),
    [
        ("S1A", 32904, 107),  # both in the metadata of SSL4EO's samples
        ("S1A", 34195, 173),
        ("S1A", 72, 175),
        ("S1A", 73, 1),
        ("S1B", 11056, 5),
        ("S1C", 1681, 110),
        ("S1C", 8018, 147),
        ("S1C", 8019, 46),
        ("S1D", 2389, 73),
        ("S1E", 1, None),
    ],
)
def test_relative_orbit_from_absolute(platform, absolute, track):
    assert relative_from_absolute(platform, absolute) == track


@pytest.mark.parametrize(
    ("metadata", "by_product", "track"),
    [
        ({"sat:relative_orbit": 5, "orbitNumber_start": 32904, "platform_number": "A"}, (9, "name"), 5),
        ({"relativeOrbitNumber_start": 6}, (9, "name"), 6),
        ({"TRACK_NUMBER": "87"}, None, 87),
        ({"sat:relative_orbit": 0}, (9, "name"), 9),
        ({"orbitNumber_start": 32904, "platform_number": "A"}, None, 107),
        ({"sat:absolute_orbit": 32904, "platform": "sentinel-1a"}, None, 107),
        ({"ABSOLUTE_ORBIT_NUMBER": "32904", "PLATFORM": "Sentinel-1A"}, None, 107),
        ({"sat:absolute_orbit": 32904}, None, None),  # of which satellite?
        ({"sat:relative_orbit": True}, None, None),
        ({"scene_source": S1_DESCENDING}, None, 107),
        ({"granules": [f"{S1_DESCENDING}.SAFE"]}, None, 107),
        ({}, None, None),
    ],
)
def test_sources_of_the_relative_orbit(metadata, by_product, track):
    found, decision = relative_orbit("x", metadata, ["VV"], None, by_product)
    assert found == track
    assert decision.choice == ("unknown" if track is None else str(track))


def test_the_name_of_the_product_tells_its_orbit_unless_two_are_named():
    assert relative_orbit("x", {}, [f"{S1_DESCENDING}_VV"])[0] == 107
    other = S1_DESCENDING.replace("032904", "033079")  # the same track 12 days later, another scene all the same
    assert relative_orbit("x", {}, [S1_DESCENDING, other])[0] is None


def test_a_declared_track_fills_a_gap_and_contradicts_nothing():
    assert relative_orbit("x", {}, [], 107) == (107, relative_orbit("x", {}, [], 107)[1])
    assert relative_orbit("x", {}, [S1_DESCENDING], 107)[0] == 107
    with pytest.raises(UsageError, match=r"relative orbit 5 contradicts x: it is 107 by absolute orbit 32904"):
        relative_orbit("x", {}, [S1_DESCENDING], 5)
    with pytest.raises(UsageError, match=r"1\.\.175"):
        relative_orbit("x", {}, [], 176)


def test_formula_and_metadata_agree_on_real_scenes(shared_data):
    for path in sorted((shared_data / "ssl4eo-0000200" / "s1").glob("*/metadata.json")):
        metadata = json.loads(path.read_text())
        stated = metadata["relativeOrbitNumber_start"]
        assert relative_orbit("x", {}, [path.parent.name])[0] == stated
        assert relative_from_absolute("S1A", metadata["orbitNumber_start"]) == stated
        assert direction("x", metadata, None, None, None)[0] == metadata["orbitProperties_pass"].casefold()
        time = acquired({"system:time_start": metadata["system:time_start"]}, ())
        assert time == acquired({}, [path.parent.name])


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [
        ({"acquisition_date": "2018-02-04 09:41:56"}, "2018-02-04T09:41:56Z"),
        ({"datetime": "2018-02-04T09:41:56.1234567Z"}, "2018-02-04T09:41:56Z"),
        ({"datetime": None, "start_datetime": "2018-02-04T09:41:56Z"}, "2018-02-04T09:41:56Z"),
        ({"datetime": "2018-02-04T11:41:56+02:00"}, "2018-02-04T09:41:56Z"),
        ({"PRODUCT_START_TIME": "2018-02-04T09:41:56.024Z"}, "2018-02-04T09:41:56Z"),
        ({"ZERO_DOPPLER_START_TIME": "2018-02-04T09:41:56.5Z"}, "2018-02-04T09:41:56Z"),
        ({"acquisition_date": "2018-02-04"}, "2020-06-07T05:08:00Z"),  # a day alone is no time: the name
        ({"datetime": "2018-13-45T99:00:00Z"}, "2020-06-07T05:08:00Z"),
        ({"system:time_start": 1517737316000}, "2020-06-07T05:08:00Z"),
    ],
)
def test_times_come_from_metadata_then_names(metadata, expected):
    assert iso(acquired(metadata, ["no time", S1_DESCENDING])) == expected


def test_times_of_names_and_of_earth_engine():
    assert iso(acquired({}, ["OPERA_L2_RTC-S1_T011-022345-IW2_20240403T012345Z_20240403T234512Z_S1A_30_v1.0"])) == (
        "2024-04-03T01:23:45Z"
    )
    assert iso(acquired({"system:time_start": 1517737316000}, [])) == "2018-02-04T09:41:56Z"
    assert acquired({"system:time_start": "soon"}, ["S2B_MSIL2A_20180204T94161_57_38", "x_20209999T999999"]) is None
