"""Faults that only the pixels tell; ordinary scenes stay without a word."""

from __future__ import annotations

import re

import numpy as np
import pytest

from lsd.runtime.errors import TileError
from lsd.runtime.ingest.plausibility import refuse_swapped_channels, warnings_of

N = 5000


def land(seed: int = 0, **changes: np.ndarray) -> dict[str, np.ndarray]:
    """Half forest, half dry ground; two radar directions."""
    rng = np.random.default_rng(seed)
    bare = rng.random(N) < 0.5
    shade = rng.normal(0, 30, N)
    samples = {
        "red": np.where(bare, 2100.0, 1300.0) + 2 * shade,
        "green": np.where(bare, 1900.0, 1450.0) + 1.5 * shade,
        "blue": np.where(bare, 1600.0, 1250.0) + shade,
        "nir": np.where(bare, 3000.0, 3900.0) + 4 * shade,
    }
    for short in ("desc", "asc"):
        vv, vh = rng.normal(-10, 4, N), rng.normal(-17, 4, N)
        samples |= {f"{short}_vv": vv, f"{short}_vh": vh}
        samples |= {f"{short}_dvv": rng.normal(0, 2, N), f"{short}_dvh": rng.normal(0.2, 2.5, N)}
    return samples | changes


def test_ordinary_ground():
    assert warnings_of(land(), "tile T") == []


def test_swapped_channels_are_refused():
    samples = land()
    samples["asc_vv"], samples["asc_vh"] = samples["asc_vh"], samples["asc_vv"]
    with pytest.raises(TileError, match=r"tile T: ascending: VH exceeds VV by 7\.\d dB.*correct the names"):
        warnings_of(samples, "tile T")
    refuse_swapped_channels(samples["asc_vh"], samples["asc_vv"], "x")
    with pytest.raises(TileError, match="scene S: VH exceeds"):
        refuse_swapped_channels(samples["asc_vv"], samples["asc_vh"], "scene S")


@pytest.mark.parametrize("level", [0.0, 1.3, -20.0])
def test_a_difference_that_is_the_same_everywhere_is_refused(level):
    with pytest.raises(TileError, match=r"desc_dvv is .* dB everywhere"):
        warnings_of(land(desc_dvv=np.full(N, level)), "tile T")


def test_a_difference_without_a_pixel_is_told():
    (line,) = warnings_of(land(desc_dvh=np.full(N, np.nan)), "T")
    assert "desc_dvh is 0 or nodata throughout" in line


@pytest.mark.parametrize(
    ("bands", "change", "expected"),
    [
        (("red", "green", "blue", "nir"), lambda x: x + 1000, "added twice"),
        (("red", "green", "blue", "nir"), lambda x: x - 1000, "offset of 1,000 is missing"),
        (("desc_vv", "desc_vh"), lambda x: 0.5 * x, "VV exceeds VH by 3"),
        (("desc_vv", "desc_vh"), lambda x: 2 * x, "on land"),
        (("desc_vv", "desc_vh"), lambda x: x + 25, "outside of -36..5 dB"),
        (("desc_dvv",), lambda x: x + 3, r"median \+3\.\d dB over the scene"),
        (("desc_dvv",), lambda x: x / 4, "varies by 0.5. dB only"),
    ],
)
def test_a_fault_is_told(bands, change, expected):
    samples = land()
    lines = warnings_of(samples | {band: change(samples[band]) for band in bands}, "T")
    assert any(re.search(expected, line) for line in lines), lines


def test_red_and_blue_swapped():
    samples = land()
    samples["red"], samples["blue"] = samples["blue"], samples["red"]
    (line,) = warnings_of(samples, "T")
    assert "red and blue are not swapped" in line


def test_one_decibel_is_no_fault():
    samples = land()
    assert (
        warnings_of({name: x + (1 if name.endswith(("_vv", "_vh")) else 0) for name, x in samples.items()}, "T") == []
    )


def test_too_few_pixels_or_bands_tell_nothing():
    wild = {name: -x[:500] for name, x in land().items()}
    assert warnings_of(wild, "T") == []
    assert warnings_of({"red": np.full(N, 9000.0)}, "T") == []
    assert warnings_of({}, "T") == []


def test_under_cloud_the_offset_is_not_judged():
    samples = land()
    cloud = np.arange(N) % 5 > 0
    for band in ("red", "green", "blue", "nir"):
        samples[band] = np.where(cloud, 8000.0, samples[band] + 1000)
    assert not any("twice" in line for line in warnings_of(samples, "T"))
