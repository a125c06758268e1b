"""The real samples: clean ones pass without a word, cloud and snow are told, planted faults are found."""

from __future__ import annotations

import numpy as np
import pytest
from faulty_scenes import swapped

from lsd.runtime.acquisition.gate import judged
from lsd.runtime.acquisition.sample import SampledScene
from lsd.runtime.bands import BAND_NAMES
from lsd.runtime.inspection import inspection, sampled
from lsd.runtime.sources import SourceOptions, tiles_of

SNOW = "S2B_MSIL2A_20180204T94161_57_38"
OPTICAL = ("red", "green", "blue", "nir")


@pytest.fixture(scope="module")
def clean(shared_data):
    """Name -> sample of the clean real tiles."""
    chip = shared_data / "sentinel1-sentinel2-chip" / "Spain_7370579_S1Hand.tif"
    tiles = [*tiles_of([shared_data / "bigearthnet-pairs"]), *tiles_of([shared_data / "ssl4eo-0000200"])]
    tiles += tiles_of([chip], SourceOptions(orbit="descending"))
    return {tile.id: sampled(tile) for tile in tiles if tile.id != SNOW}


def checks(samples, certainty=None) -> set[str]:
    return {one.check for one in judged(SampledScene(samples)).findings if certainty in (None, one.certainty)}


def test_nothing_is_said_of_clean_tiles(clean):
    assert len(clean) == 8
    assert {name: checks(samples) for name, samples in clean.items()} == {name: set() for name in clean}


def test_snow_and_the_cloud_that_the_mask_calls_clear_are_told(shared_data):
    found = {}
    for folder in ("bigearthnet-pairs", "sentinel2-scene"):
        for tile in tiles_of([shared_data / folder]):
            found[tile.id] = [one.check for one in inspection(tile).verdict.findings]
    assert found.pop(SNOW) == ["bright-scene"]
    (cloudy,) = [name for name in found if "_N0400_" in name]
    assert found.pop(cloudy) == ["bright-scene"]
    assert not any(found.values())


def test_swapped_channels_of_real_radar_are_certain(clean):
    for samples in clean.values():
        (short,) = {name.split("_")[0] for name in samples if name.endswith("_vv")} - (
            {"asc"} if "desc_vv" in samples else set()
        )
        assert checks(swapped(samples, f"{short}_vv", f"{short}_vh"), "certain") == {"vv-and-vh"}


@pytest.mark.parametrize(("shift_dn", "expected"), [(1000, {"offset", "bright-scene"}), (-1000, {"offset"})])
def test_the_offset_of_real_optical_bands(clean, shift_dn, expected):
    optical = [samples for samples in clean.values() if "red" in samples]
    assert len(optical) == 7
    for samples in optical:
        assert checks(samples | {band: samples[band] + shift_dn for band in OPTICAL}) & expected


def test_red_and_blue_of_real_optical_bands(clean):
    for samples in clean.values():
        if "red" in samples:
            assert "red-and-blue" in checks(swapped(samples, "red", "blue"))


@pytest.fixture(scope="module")
def patch(shared_data):
    """The one real patch with differences: band -> float64 (4096,)."""
    pixels = np.load(shared_data / "zindi-landslide" / "patches" / "ID_005GY8.npy")
    return dict(zip(BAND_NAMES, pixels.transpose(2, 0, 1).reshape(len(BAND_NAMES), -1), strict=True))


def test_differences_of_a_real_patch_go_with_their_levels(patch):
    assert "difference-pairing" not in checks(patch)
    for name in ("desc_dvv", "desc_dvh", "asc_dvv", "asc_dvh"):
        assert "difference-pairing" in checks(patch | {name: -patch[name]}), name
    for a, b in (("desc_dvv", "desc_dvh"), ("asc_dvv", "asc_dvh"), ("desc_dvv", "asc_dvv"), ("desc_dvh", "asc_dvh")):
        assert "difference-pairing" in checks(swapped(patch, a, b)), (a, b)
