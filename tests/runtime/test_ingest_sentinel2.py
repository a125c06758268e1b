"""The offset decision is a table: evidence in, verdict or refusal out."""

from __future__ import annotations

import numpy as np
import pytest
from tiles import L2A_NEW, L2A_OLD

from lsd.runtime.errors import TileError, UnprovenUnitError, UsageError
from lsd.runtime.ingest.sentinel2 import offset, refuse_level_1c

BRIGHT = np.full((3, 4000), 1500.0)
DARK = np.concatenate([np.full((3, 3900), 1500.0), np.full((3, 100), 300.0)], axis=1)
UNDECLARED = (1.0, 0.0)


def decide(names=(), metadata=None, scaling=UNDECLARED, visible=BRIGHT, declared="auto"):
    return offset("the product", names, metadata or {}, scaling, visible, declared)[0]


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
