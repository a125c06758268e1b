from __future__ import annotations

import json

import pytest
from tiles import S1_DESCENDING

from lsd.runtime.errors import TileError, UsageError
from lsd.runtime.ingest.radar_products import RECOGNISERS, RadarFacts, radar_facts
from lsd.runtime.ingest.times import iso, utc_of
from lsd.runtime.sources.product import Declared, SourceOptions

HYP3 = "S1A_IW_20200607T010800_DVP_RTC10_G_gpuned_A1B2"
OPERA = "OPERA_L2_RTC-S1_T011-022345-IW2_20240403T012345Z_20240403T234512Z_S1A_30_v1.0"
COARSE = SourceOptions(force_coarse_radar=True)


def facts(*names: str, options: SourceOptions | None = None, declared: Declared | None = None, path="x", **metadata):
    keys = {key.replace("__", ":"): value for key, value in metadata.items()}
    return radar_facts(path, names, keys, declared or Declared(), options or SourceOptions(), 73.0)


def told(found: RadarFacts) -> tuple:
    return found.product, found.backscatter, found.unit, found.spacing_m, found.gives_levels


@pytest.mark.parametrize(
    ("name", "metadata", "expected"),
    [
        (HYP3, {}, ("ASF HyP3 RTC", "gamma0", "power", 10.0, False)),
        (f"{HYP3}_VV", {}, ("ASF HyP3 RTC", "gamma0", "power", 10.0, False)),
        (HYP3.replace("gpuned", "sdwncm"), {}, ("ASF HyP3 RTC", "sigma0", "db", 10.0, False)),
        (HYP3.replace("RTC10", "RTC20").replace("gp", "ga"), {}, ("ASF HyP3 RTC", "gamma0", "amplitude", 20.0, False)),
        (f"{S1_DESCENDING}_rtc", {}, ("Planetary Computer Sentinel-1 RTC", "gamma0", "power", 10.0, False)),
        (
            "anything",
            {"stac__collection": "sentinel-1-rtc"},
            ("Planetary Computer Sentinel-1 RTC", "gamma0", "power", 10.0, False),
        ),
        (
            "anything",
            {"stac__id": f"{S1_DESCENDING}_rtc"},
            ("Planetary Computer Sentinel-1 RTC", "gamma0", "power", 10.0, False),
        ),
        (
            "S1A_IW_GRDH_1SDV_20170613T165043_33UUP_87_48",
            {},
            ("BigEarthNet Sentinel-1", "sigma0", "db", 10.0, True),
        ),
        (
            S1_DESCENDING,
            {"S1TBX_Calibration_vers": "7.0.2"},
            ("Sentinel-1 GRD, terrain-corrected by SNAP", "sigma0", None, 10.0, True),
        ),
        (f"{S1_DESCENDING}_Cal_TF_TC", {}, ("terrain-flattened Sentinel-1", "gamma0", None, None, False)),
        (
            "S1A__IW___A_20200607T010800_VV_gamma0-rtc",
            {},
            ("terrain-flattened Sentinel-1", "gamma0", None, None, False),
        ),
        (S1_DESCENDING, {}, ("Sentinel-1 of unknown processing", "sigma0", None, None, True)),
        ("fort_lee_tf", {}, ("Sentinel-1 of unknown processing", "sigma0", None, None, True)),
        ("mine", {}, ("Sentinel-1 of unknown processing", "sigma0", None, None, True)),
    ],
)
def test_products_are_recognised(name, metadata, expected):
    assert told(facts(name, **metadata)) == expected


def test_opera_is_taken_only_if_forced_and_tells_its_track():
    with pytest.raises(TileError, match=r"OPERA RTC-S1 of 30 m; .*--force-coarse-radar"):
        facts(OPERA)
    found = facts(f"{OPERA}_VV", options=COARSE)
    assert told(found) == ("OPERA RTC-S1", "gamma0", "power", 30.0, False)
    assert (found.relative_orbit, iso(found.acquired)) == (11, "2024-04-03T01:23:45Z")
    tags = {"ORBIT_PASS_DIRECTION": "DESCENDING", "TRACK_NUMBER": "11", "ABSOLUTE_ORBIT_NUMBER": "53258"}
    assert facts(OPERA, options=COARSE, **tags).orbit == "descending"
    convention = "PROCESSING_INFORMATION_OUTPUT_BACKSCATTER_NORMALIZATION_CONVENTION"
    by_tags = facts("burst", options=COARSE, **{convention: "gamma0"}, **tags)
    assert (by_tags.product, by_tags.relative_orbit, by_tags.spacing_m) == ("OPERA RTC-S1", 11, 30.0)
    with pytest.raises(TileError, match="speckle-filtered"):
        facts(OPERA, options=COARSE, PROCESSING_INFORMATION_FILTERING_APPLIED="True")


def test_30_m_of_hyp3_is_refused_unless_forced():
    coarse = HYP3.replace("RTC10", "RTC30")
    with pytest.raises(TileError, match="of 30 m"):
        facts(coarse)
    assert facts(coarse, options=COARSE).spacing_m == 30.0


@pytest.mark.parametrize(
    ("name", "path", "metadata"),
    [
        (f"{S1_DESCENDING}.SAFE", "x", {}),
        ("iw-vv", f"/data/{S1_DESCENDING}.SAFE/measurement/iw-vv.tiff", {}),
        (S1_DESCENDING, f"/data/{S1_DESCENDING}.SAFE.zip", {}),
        ("s1a-iw-grd-vv-20200607t010800-20200607t010825-032904-03cfba-001", "x", {}),
        ("item", "x", {"stac__collection": "sentinel-1-grd"}),
        ("item", "x", {"stac__collection": "sentinel-1-slc"}),
    ],
)
def test_level_1_is_refused_with_what_to_do(name, path, metadata):
    with pytest.raises(TileError, match=r"Level-1 .*neither calibrated nor geocoded.*Terrain Correction"):
        facts(name, path=path, **metadata)


def test_a_plain_product_name_is_no_proof_of_level_1():
    assert facts(S1_DESCENDING, path=f"/data/{S1_DESCENDING}/VV.tif").backscatter == "sigma0"


@pytest.mark.parametrize(
    ("name", "metadata", "words"),
    [
        (S1_DESCENDING.replace("_IW_", "_EW_"), {}, "mode EW"),
        (HYP3.replace("_IW_", "_WV_"), {}, "mode WV"),
        ("x", {"instrumentMode": "SM"}, "mode SM"),
        ("x", {"sar__instrument_mode": "EW"}, "mode EW"),
        (S1_DESCENDING.replace("1SDV", "1SDH"), {}, "1SDH"),
        (S1_DESCENDING.replace("1SDV", "1SSH"), {}, "1SSH"),
        ("S1A_IW_GRDH_1SSV_20170613T165043_33UUP_87_48", {}, "1SSV"),
        (HYP3.replace("_DVP_", "_DHP_"), {}, "the name"),
        ("x", {"sar__polarizations": ["HH", "HV"]}, "sar:polarizations HH, HV"),
        ("x", {"transmitterReceiverPolarisation": ["VV"]}, "transmitterReceiverPolarisation VV"),
        (HYP3.replace("gpuned", "gpufed"), {}, "speckle-filtered"),
        (f"{S1_DESCENDING}_Orb_Cal_Spk_TC", {}, "speckle-filtered"),
    ],
)
def test_scenes_that_the_models_cannot_use_are_refused(name, metadata, words):
    with pytest.raises(TileError, match=words):
        facts(name, **metadata)


def test_every_fact_has_a_decision_with_its_reason():
    found = facts(HYP3, sat__orbit_state="descending", sat__relative_orbit=107)
    by_subject = {decision.subject: decision for decision in found.decisions}
    expected = {
        "product": "ASF HyP3 RTC",
        "backscatter": "gamma0",
        "unit": "power",
        "spacing": "10 m",
        "time": "2020-06-07T01:08:00Z",
        "direction": "descending",
        "relative orbit": "107",
    }
    assert {subject: by_subject[f"{subject} of {HYP3}"].choice for subject in expected} == expected
    assert all(decision.reason for decision in found.decisions)


def test_the_source_granule_in_the_metadata_tells_the_track_of_hyp3():
    assert facts(HYP3).relative_orbit is None
    assert facts(HYP3, granule=S1_DESCENDING).relative_orbit == 107


def test_processing_is_equal_for_scenes_made_alike_only():
    later = HYP3.replace("0607", "0619").replace("A1B2", "C3D4")
    assert facts(HYP3).processing == facts(later).processing
    others = (HYP3.replace("RTC10", "RTC20"), HYP3.replace("_gp", "_sp"), HYP3.replace("ned", "nem"), S1_DESCENDING)
    assert all(facts(HYP3).processing != facts(other).processing for other in others)
    assert facts(HYP3).processing == facts(HYP3.replace("_gp", "_gd")).processing  # the unit is converted


def test_declared_time_orbit_and_track_win_and_contradict_nothing():
    declared = Declared(time=utc_of("2020-06-07T01:08:00Z", "time"), orbit="descending", relative_orbit=107)
    found = facts("mine", declared=declared)
    assert (iso(found.acquired), found.orbit, found.relative_orbit) == ("2020-06-07T01:08:00Z", "descending", 107)
    assert facts("mine", options=SourceOptions(orbit="ascending")).orbit == "ascending"
    assert facts("mine", declared=declared, options=SourceOptions(orbit="ascending")).orbit == "descending"
    with pytest.raises(UsageError, match="its metadata say 2020-06-19T01:08:00Z"):
        facts("mine", declared=declared, datetime="2020-06-19T01:08:00Z")
    assert facts("processed_20240101T000000", declared=declared).acquired == declared.time


def test_recognisers_are_unique_and_the_last_takes_all():
    assert len({kind.name for kind in RECOGNISERS}) == len(RECOGNISERS)
    assert RECOGNISERS[-1].names is RECOGNISERS[-1].collections is None


def test_real_scenes(shared_data):
    for path in sorted((shared_data / "ssl4eo-0000200" / "s1").glob("*/metadata.json")):
        found = radar_facts(
            str(path.parent), [path.parent.name], json.loads(path.read_text()), Declared(), SourceOptions(), 73.0
        )
        assert told(found) == ("Sentinel-1 GRD, terrain-corrected by SNAP", "sigma0", None, 10.0, True)
        assert (found.orbit, found.relative_orbit) in (("descending", 107), ("ascending", 173))
    for path in sorted((shared_data / "bigearthnet-pairs" / "BigEarthNet-S1-Example").glob("*/*.json")):
        metadata = json.loads(path.read_text())
        found = radar_facts(str(path.parent), [path.parent.name], metadata, Declared(), SourceOptions(), None)
        assert told(found) == ("BigEarthNet Sentinel-1", "sigma0", "db", 10.0, True)
        assert found.relative_orbit is not None
