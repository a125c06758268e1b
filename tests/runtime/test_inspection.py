"""A cloud layer is believed unless what it calls clear is bright as cloud."""

from __future__ import annotations

import numpy as np
import pytest
from affine import Affine
from tiles import L2A_NEW, ORIGIN, optical, write_tiff

from lsd.runtime.inspection import inspected, sampled
from lsd.runtime.sources import tiles_of
from lsd.runtime.tiles import Tile

NAMES = ["red", "green", "blue", "nir"]
HAZY = (4000, 4200, 4400, 4500)  # red, green, blue, nir of cloud


def scene(folder, hazy_rows=0, scl=None, height=192, width=192):
    """A tile of clear ground whose first rows are cloud, with an SCL of 20 m if given."""
    pixels = optical(height, width, low=1100, high=1500)
    pixels[3] += 1500
    pixels[0] = np.random.default_rng(2).integers(1100, 1700, pixels[0].shape)
    pixels[:, :hazy_rows] = np.array(HAZY, np.uint16)[:, None, None]
    if scl is not None:
        classes = np.full((height // 2, width // 2), 4, np.uint8)
        classes[: scl // 2] = 9
        write_tiff(folder / f"{L2A_NEW}_SCL.tif", classes, transform=Affine(20, 0, ORIGIN.c, 0, -20, ORIGIN.f))
        for name, band in zip(("B04", "B03", "B02", "B08"), pixels, strict=True):
            write_tiff(folder / f"{L2A_NEW}_{name}.tif", band)
    else:
        write_tiff(folder / f"{L2A_NEW}.tif", pixels, NAMES)
    (tile,) = tiles_of([folder])
    assert isinstance(tile, Tile), tile
    return tile


def believed(tile):
    return [one.choice for one in tile.decisions if one.subject == "cloud layer"]


def test_a_layer_that_hides_the_clouds_is_believed(tmp_path):
    tile = inspected(scene(tmp_path, hazy_rows=96, scl=96))
    assert tile.clouds.trusted and believed(tile) == ["believed"] and tile.warnings == ()


@pytest.mark.parametrize("scl", [0, 48])
def test_a_layer_that_calls_clouds_clear_is_not_believed(tmp_path, scl):
    tile = inspected(scene(tmp_path, hazy_rows=96, scl=scl))
    assert not tile.clouds.trusted and believed(tile) == ["not believed: the haze test stays in force"]
    (line,) = tile.warnings
    assert "of what its cloud layer calls clear is bright as cloud, haze or snow" in line


def test_a_little_haze_is_no_reason_against_a_layer(tmp_path):
    tile = inspected(scene(tmp_path, hazy_rows=12, scl=0))
    assert tile.clouds.trusted and tile.warnings == ()


def test_without_a_layer_haze_is_a_warning(tmp_path):
    tile = inspected(scene(tmp_path, hazy_rows=96))
    assert tile.clouds is None and believed(tile) == []
    assert any(
        line.endswith("of the scene is bright as cloud, haze or snow: look at the picture before trusting it")
        for line in tile.warnings
    )
    clear = inspected(scene(tmp_path / "clear"))
    assert clear.warnings == ("no cloud layer read: clouds are not masked",)


def test_a_layer_that_hides_everything_is_believed(tmp_path):
    tile = inspected(scene(tmp_path, hazy_rows=192, scl=192))
    assert tile.clouds.trusted and tile.warnings == ()


def test_the_sample_holds_canonical_units_without_what_is_hidden(tmp_path):
    tile = scene(tmp_path, hazy_rows=96, scl=96)
    found = sampled(tile)
    assert list(found) == ["blue", "green", "red", "nir"] and {len(one) for one in found.values()} == {16 * 64 * 64}
    assert np.nanmax(found["blue"]) < 1500 and 0.2 < np.isnan(found["blue"]).mean() < 0.8


def test_a_tile_of_one_patch(tmp_path):
    found = sampled(scene(tmp_path, height=64, width=64))
    assert {len(one) for one in found.values()} == {64 * 64}
