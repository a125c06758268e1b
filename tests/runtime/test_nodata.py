"""Zeros that mean no data, by one rule wherever pixels come from."""

from __future__ import annotations

import numpy as np
from tiles import L2A_NEW, write_band_folder

from lsd.runtime.bands import BAND_NAMES, BY_NAME
from lsd.runtime.nodata import mask_zeros
from lsd.runtime.reader import TileReader
from lsd.runtime.sources import tiles_of
from lsd.runtime.tiles import Tile
from lsd.train.datasets.npy import read_patch

NAN = np.nan


def masked(bands: list[str], *pixels: list[float]) -> list[list[float]]:
    """Each pixel is a list of its bands."""
    found = np.array(pixels, np.float32).T
    mask_zeros(found, bands)
    return found.T.tolist()


def test_zero_is_nodata_in_all_optical_bands_and_in_any_radar_band():
    bands = ["desc_vv", "red", "asc_dvh", "nir"]
    dark, edge, lost, level, change = masked(
        bands, [-9, 0, 1, 7], [-9, 0, 1, 0], [-9, NAN, 1, 0], [0, 5, 1, 7], [-9, 5, 0, 7]
    )
    np.testing.assert_array_equal(dark, [-9, 0, 1, 7])
    np.testing.assert_array_equal(edge, [-9, NAN, 1, NAN])
    np.testing.assert_array_equal(lost, [-9, NAN, 1, NAN])
    np.testing.assert_array_equal(level, [NAN, 5, 1, 7])
    np.testing.assert_array_equal(change, [-9, 5, NAN, 7])


def test_one_kind_of_band_alone():
    np.testing.assert_array_equal(masked(["desc_vv"], [0], [-3]), [[NAN], [-3]])
    np.testing.assert_array_equal(masked(["red"], [0], [3]), [[NAN], [3]])


def test_a_patch_of_the_data_set_and_a_tile_of_the_same_pixels_are_read_alike(tmp_path):
    rng = np.random.default_rng(0)
    pixels = np.empty((12, 64, 64), np.float32)
    for i, name in enumerate(BAND_NAMES):
        middle = {"optical": 1500.0, "sar": -12.0, "sar_diff": 0.5}[BY_NAME[name].modality]
        pixels[i] = middle + rng.normal(0, 0.1, (64, 64))
    pixels[rng.random(pixels.shape) < 0.3] = 0
    pixels[:4, 10:20] = 0
    pixels[rng.random(pixels.shape) < 0.1] = np.nan
    np.save(tmp_path / "patch.npy", pixels.transpose(1, 2, 0))
    names = {"red": "B04", "green": "B03", "blue": "B02", "nir": "B08"}
    stored = {names.get(name, name): band for name, band in zip(BAND_NAMES, pixels, strict=True)}
    write_band_folder(tmp_path / "in" / L2A_NEW, stored)
    (tile,) = tiles_of([tmp_path / "in"])
    assert isinstance(tile, Tile)
    with TileReader(tile) as reader:
        assert reader.bands == BAND_NAMES
        found, _, _ = reader.read(0, 0, 64, 64)
    np.testing.assert_array_equal(found, read_patch(tmp_path / "patch.npy"))
