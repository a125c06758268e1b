"""The offset decision is a table: evidence in, verdict or refusal out."""

from __future__ import annotations

import numpy as np
import pytest
from tiles import L2A_NEW, L2A_OLD

from lsd.runtime.errors import TileError, UnprovenUnitError, UsageError
from lsd.runtime.ingest.sentinel2 import offset, refuse_level_1c

BRIGHT = np.full((3, 4000), 1500.0)
DARK = np.concatenate([np.full((3, 3900), 1500.0), np.full((3, 100), 300.0)], axis=1)
NEGATIVE = np.concatenate([np.full((3, 3900), 1500.0), np.full((3, 100), -300.0)], axis=1)
UNDECLARED = (1.0, 0.0)
UNKNOWN = L2A_NEW.replace("N0400", "N9999")
REMOVED = {"earthsearch:boa_offset_applied": True}
NEW_STAC = {"s2:processing_baseline": "05.09"}


def decide(names=(), metadata=None, scaling=UNDECLARED, visible=BRIGHT, declared="auto", stated_unit=None):
    return offset("the product", names, metadata or {}, scaling, visible, declared, stated_unit)[0]


def raster(scale, add):
    return {"stac:raster": {"red": {"scale": scale, "offset": add, "nodata": 0}, "scl": {"nodata": 0}}}


@pytest.mark.parametrize(
    ("evidence", "conversion"),
    [
        ({"names": [L2A_NEW]}, "none"),
        ({"names": [L2A_OLD]}, "add_1000"),
        ({"names": ["S2A_MSIL2A_20230101T000000_N0509_R007_T33NZA_20230101T000000"]}, "none"),
        (
            {"metadata": {"DATASTRIP_ID": "S2B_OPER_MSI_L2A_DS_EPAE_20200604T094332_S20200604T054831_N02.14"}},
            "add_1000",
        ),
        ({"metadata": {"DATATAKE_IDENTIFIER": "GS2B_20220604T054639_016948_N04.00"}}, "none"),
        ({"metadata": {"PROCESSING_BASELINE": "05.09"}}, "none"),
        (
            {"metadata": {"tile_source": "S2A_MSIL1C_20170613T101031_N0205_R022_T33UUP_20170613T101608.SAFE"}},
            "add_1000",
        ),
        ({"scaling": (1e-4, -0.1)}, "none"),
        ({"scaling": (1e-4, 0.0)}, "add_1000"),
        ({"visible": DARK}, "add_1000"),
        ({"declared": "present"}, "none"),
        ({"declared": "absent"}, "add_1000"),
        # a provider removed the offset and kept ESA's name: the data back the declaration
        ({"names": [L2A_NEW], "visible": DARK, "declared": "absent"}, "add_1000"),
        # MTD_MSIL2A.xml
        ({"metadata": {"BOA_ADD_OFFSET": -1000.0}}, "none"),
        ({"metadata": {"BOA_ADD_OFFSET": "-1000"}}, "none"),
        ({"metadata": {"BOA_ADD_OFFSET": [-1000, -1000]}}, "none"),
        ({"metadata": {"BOA_ADD_OFFSET": 0}}, "add_1000"),
        ({"metadata": {"BOA_ADD_OFFSET": -1000.0, "PROCESSING_BASELINE": "04.00"}, "names": [L2A_NEW]}, "none"),
        # STAC
        ({"metadata": NEW_STAC}, "none"),
        ({"metadata": {"s2:processing_baseline": "02.14"}}, "add_1000"),
        ({"metadata": {"s2:processing_baseline": 5.09}}, "none"),
        ({"metadata": {**NEW_STAC, "earthsearch:boa_offset_applied": False}}, "none"),
        ({"names": [L2A_NEW], "metadata": {"earthsearch:boa_offset_applied": False}}, "none"),
        ({"metadata": raster(1e-4, -0.1)}, "none"),
        ({"metadata": raster(0.0001, 0)}, "add_1000"),
        ({"metadata": {**raster(1e-4, None), **NEW_STAC}}, "none"),
        ({"metadata": {**raster("1e-4", {}), **NEW_STAC}}, "none"),
        ({"metadata": {**raster(2e-5, -0.1), **NEW_STAC}}, "none"),  # of another product: tells nothing
        ({"metadata": {"stac:collection": "sentinel-2-l2a-harmonized"}}, "add_1000"),
        ({"metadata": {"stac:id": "COPERNICUS/S2_SR_HARMONIZED/20220706T085611"}}, "add_1000"),
        ({"names": ["S2_SR_HARMONIZED_20220706T085611_T33NZA"]}, "add_1000"),
        ({"metadata": REMOVED, "visible": BRIGHT - 600}, "add_1000"),
        ({"metadata": REMOVED, "declared": "absent"}, "add_1000"),
        ({"metadata": {**REMOVED, "s2:processing_baseline": "02.14"}}, "add_1000"),  # bright, and the baseline agrees
        # evidence that disagrees is settled by the data, else by the user
        ({"metadata": {**REMOVED, **NEW_STAC}, "visible": DARK}, "add_1000"),
        ({"metadata": {**REMOVED, **NEW_STAC}, "declared": "absent"}, "add_1000"),
        ({"metadata": {**REMOVED, **NEW_STAC}, "declared": "present"}, "none"),
        ({"names": [L2A_NEW], "metadata": {"BOA_ADD_OFFSET": 0}, "visible": DARK}, "add_1000"),
        ({"names": [L2A_NEW], "scaling": (1e-4, 0.0), "visible": DARK}, "add_1000"),
        # an unknown baseline leaves it to the user
        ({"names": [UNKNOWN], "declared": "present"}, "none"),
        ({"names": [UNKNOWN], "declared": "absent"}, "add_1000"),
        ({"names": [UNKNOWN], "metadata": {"BOA_ADD_OFFSET": -1000}, "declared": "present"}, "none"),
        # reflectance
        ({"visible": BRIGHT / 10_000, "declared": "reflectance"}, "reflectance_to_dn"),
        ({"visible": BRIGHT / 10_000, "stated_unit": "Reflectance"}, "reflectance_to_dn"),
        ({"visible": np.zeros((3, 10)), "declared": "reflectance"}, "reflectance_to_dn"),
        ({"stated_unit": "reflectance", "names": [L2A_NEW]}, "none"),  # says what DN are about, not that they are 0..1
        # harmonised as signed integers
        ({"visible": NEGATIVE}, "add_1000"),
        ({"metadata": {**REMOVED, **NEW_STAC}, "visible": NEGATIVE}, "add_1000"),
    ],
)
def test_evidence_decides(evidence, conversion):
    assert decide(**evidence) == conversion


@pytest.mark.parametrize(
    ("evidence", "error", "says"),
    [
        ({}, UnprovenUnitError, "--s2-offset present"),
        ({"names": [L2A_NEW], "visible": DARK}, UnprovenUnitError, "--s2-offset absent"),
        ({"names": [L2A_NEW, L2A_OLD]}, UnprovenUnitError, "sources disagree"),
        ({"names": [L2A_NEW], "scaling": (1e-4, 0.0)}, UnprovenUnitError, "sources disagree"),
        ({"visible": DARK, "declared": "present"}, UsageError, "contradicts the data"),
        ({"names": [L2A_OLD], "declared": "present"}, UsageError, "processing baseline 02.14"),
        ({"names": [L2A_NEW], "declared": "absent"}, UsageError, "processing baseline 04.00"),
        ({"visible": BRIGHT / 10000}, UnprovenUnitError, "reflectance x 10,000 + 1,000"),
        ({"visible": BRIGHT / 10000, "names": [L2A_NEW]}, UnprovenUnitError, "--s2-offset reflectance"),
        ({"declared": "reflectance"}, UsageError, "99th percentile 1500, not 0..1"),
        ({"names": [UNKNOWN]}, UnprovenUnitError, f"processing baseline 99.99 in name {UNKNOWN} is no baseline"),
        ({"names": [UNKNOWN], "visible": DARK}, UnprovenUnitError, "is no baseline that is known"),
        ({"metadata": {"PROCESSING_BASELINE": "99.99"}}, UnprovenUnitError, "99.99 in metadata PROCESSING_BASELINE"),
        ({"metadata": {"s2:processing_baseline": "latest"}}, UnprovenUnitError, "baseline 'latest' in metadata s2:"),
        ({"metadata": {"BOA_ADD_OFFSET": -500}}, UnprovenUnitError, "BOA_ADD_OFFSET is -500, expected -1000 or 0"),
        ({"metadata": {"BOA_ADD_OFFSET": [-1000, 0]}}, UnprovenUnitError, "BOA_ADD_OFFSET is [-1000, 0], expected"),
        ({"metadata": {"BOA_ADD_OFFSET": "none"}}, UnprovenUnitError, "BOA_ADD_OFFSET is 'none', expected"),
        ({"names": [L2A_OLD], "metadata": {"BOA_ADD_OFFSET": -1000}}, UnprovenUnitError, "sources disagree"),
        ({"metadata": {**REMOVED, **NEW_STAC}}, UnprovenUnitError, "earthsearch:boa_offset_applied is true"),
        ({"metadata": {**REMOVED, **NEW_STAC}}, UnprovenUnitError, "processing baseline 05.09 in metadata s2:"),
        ({"metadata": REMOVED}, UnprovenUnitError, "that flag errs on some items: say --s2-offset present"),
        ({"metadata": {**NEW_STAC, **raster(1e-4, 0)}}, UnprovenUnitError, "the STAC item's asset red declares"),
        ({"names": ["S2_HARMONISED"], "metadata": NEW_STAC}, UnprovenUnitError, "sources disagree"),
        ({"metadata": {**REMOVED, **NEW_STAC}, "visible": DARK, "declared": "present"}, UsageError, "contradicts the"),
        ({"names": [UNKNOWN], "metadata": {"BOA_ADD_OFFSET": 0}, "declared": "present"}, UsageError, "BOA_ADD_OFFSET"),
        # neither DN nor reflectance: a picture of 8 bits, percent
        ({"visible": BRIGHT / 10}, UnprovenUnitError, "values up to 150 (99th percentile of the visible), neither DN"),
        ({"visible": BRIGHT / 10, "names": [L2A_OLD]}, UnprovenUnitError, "a picture of 8 bits, or percent"),
        ({"visible": BRIGHT / 100, "declared": "absent"}, UnprovenUnitError, "values up to 15 "),
    ],
)
def test_what_is_not_proved_or_contradicts_is_refused(evidence, error, says):
    with pytest.raises(error, match="the product") as caught:
        decide(**evidence)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_few_dark_pixels_prove_nothing():
    few = BRIGHT.copy()
    few[0, :10] = 300  # 10 of 12,000: less than one in a thousand
    with pytest.raises(UnprovenUnitError):
        decide(visible=few)
    assert decide(names=[L2A_NEW], visible=few) == "none"


def test_zero_and_nan_are_no_dark_pixels():
    holes = BRIGHT.copy()
    holes[:, :2000] = 0
    holes[:, 2000:3000] = np.nan
    assert decide(names=[L2A_NEW], visible=holes) == "none"


def test_level_1c_is_refused_but_not_for_the_source_of_a_level_2a_patch():
    with pytest.raises(TileError, match="Level-1C"):
        refuse_level_1c("x", [L2A_OLD.replace("L2A", "L1C")], {}, [])
    with pytest.raises(TileError, match="B10"):
        refuse_level_1c("x", ["x"], {}, ["B09", "B10"])
    refuse_level_1c("x", [L2A_OLD], {"tile_source": L2A_OLD.replace("L2A", "L1C")}, ["B09"])


def test_decisions_say_what_is_done_and_why():
    def decision(**evidence):
        arguments = {"names": [], "metadata": {}, "scaling": UNDECLARED, "visible": BRIGHT, **evidence}
        return offset("the product", **arguments)[1]

    kept = decision(metadata={"BOA_ADD_OFFSET": -1000.0, "PROCESSING_BASELINE": "04.00"})
    assert (kept.choice, kept.reason) == ("DN kept: they hold the offset of 1,000", "metadata BOA_ADD_OFFSET -1000.0")
    settled = decision(metadata={**REMOVED, **NEW_STAC}, visible=NEGATIVE)
    assert settled.choice == "1,000 added to every DN but 0"
    assert settled.reason.startswith("sources disagree (processing baseline 05.09") and "DN below 500" in settled.reason
    scaled = decision(visible=BRIGHT / 10_000, stated_unit="reflectance")
    assert scaled.choice == "reflectance x 10,000 + 1,000" and scaled.reason.startswith("the file declares its unit")


def test_a_nodata_value_that_nobody_declared_is_no_dark_pixel():
    holes = BRIGHT.copy()
    holes[:, :100] = -9999
    with pytest.raises(UnprovenUnitError):
        decide(visible=holes)
    assert decide(names=[L2A_NEW], visible=holes) == "none"


def test_names_may_be_read_once_only():
    assert decide(names=iter([L2A_OLD]), metadata=REMOVED) == "add_1000"


@pytest.mark.parametrize("stated", [{"red": "x"}, {"red": {"scale": "x", "offset": None}}, [1]])
def test_assets_described_by_something_else_say_nothing(stated):
    with pytest.raises(UnprovenUnitError, match="nothing tells"):
        offset("the product", [], {"stac:raster": stated}, UNDECLARED, BRIGHT)


def test_a_small_sample_without_a_dark_pixel_does_not_contradict_the_flag():
    removed = {"earthsearch:boa_offset_applied": True}
    assert offset("the product", [], removed, UNDECLARED, BRIGHT[:, :300])[0] == "add_1000"
    with pytest.raises(UnprovenUnitError, match="that flag errs"):
        offset("the product", [], removed, UNDECLARED, BRIGHT[:, :400])


@pytest.mark.parametrize("stated", [5.09, 4.0, "05.09"])
def test_a_baseline_may_be_written_as_a_number(stated):
    assert offset("the product", [], {"s2:processing_baseline": stated}, UNDECLARED, BRIGHT)[0] == "none"


def test_reflectance_declared_by_user_and_file_over_dn_is_refused():
    with pytest.raises(UsageError, match="reflectance contradicts the data"):
        offset("the product", [L2A_NEW], {}, UNDECLARED, BRIGHT, "reflectance", stated_unit="reflectance")
