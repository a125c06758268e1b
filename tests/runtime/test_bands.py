from __future__ import annotations

import pytest

from lsd.runtime.bands import BAND_NAMES, BANDS, INDICES, in_order, indices_of, of_modality, resolve
from lsd.runtime.errors import BandError


def test_twelve_bands_in_the_order_of_the_data_set():
    assert BAND_NAMES == (
        "blue", "green", "red", "nir",
        "desc_vv", "desc_vh", "desc_dvv", "desc_dvh",
        "asc_vv", "asc_vh", "asc_dvv", "asc_dvh",
    )  # fmt: skip
    assert of_modality("optical") == BAND_NAMES[:4]
    assert of_modality("sar_diff") == ("desc_dvv", "desc_dvh", "asc_dvv", "asc_dvh")
    assert [index.name for index in INDICES[:6]] == [
        "nir_blue", "nir_green", "nir_red", "red_green", "red_blue", "green_blue",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("alias", "name"),
    [("B04", "red"), ("b4", "red"), ("RED", "red"), ("B8", "nir"), ("vv_desc", "desc_vv"), ("ASC_DVH", "asc_dvh")],
)
def test_alias_resolves(alias, name):
    assert resolve(alias) == name


def test_no_alias_names_two_bands_once_the_orbit_is_known():
    for band in BANDS:
        for name in (band.name, band.product_band if band.modality == "sar" else band.name, *band.aliases):
            assert resolve(name, band.orbit) == band.name


def test_vv_needs_an_orbit():
    assert resolve("VV", "ascending") == "asc_vv"
    assert resolve("dVH", "descending") == "desc_dvh"
    with pytest.raises(BandError, match="'VV' is ambiguous: it may be desc_vv or asc_vv"):
        resolve("VV")


def test_unknown_band_names_the_nearest():
    with pytest.raises(BandError, match=r"unknown band 'B44', did you mean 'b\w+'"):
        resolve("B44")


def test_order_and_indices_follow_the_bands():
    assert in_order(["nir", "red"]) == ("red", "nir")
    assert [index.name for index in indices_of(["red", "nir"])] == ["nir_red"]
    with pytest.raises(BandError, match="unknown band 'B04'"):
        in_order(["B04"])
