"""The real samples: what each becomes, and why it is refused where it is."""

from __future__ import annotations

import numpy as np
import pytest
import rasterio

from lsd.runtime.inspection import inspection
from lsd.runtime.patches import PatchGrid
from lsd.runtime.reader import read_windows
from lsd.runtime.sources import SourceOptions, TileFailure, tiles_of
from lsd.runtime.tiles import Tile

CLOUD = "no cloud layer read: clouds are not masked"


def tiles(*paths) -> list[Tile]:
    found = list(tiles_of(paths))
    assert not [one for one in found if isinstance(one, TileFailure)], found
    return found


def test_bigearthnet_pairs(shared_data):
    found = tiles(shared_data / "bigearthnet-pairs")
    assert len(found) == 6
    directions = [next(key for key in tile.acquired if "sentinel-1" in key).split()[-1] for tile in found]
    assert sorted(directions) == ["ascending"] + ["descending"] * 5
    for tile in found:
        assert len(tile.bands) == 6
        assert {tile.bands[name].conversion for name in ("red", "green", "blue", "nir")} == {"add_1000"}
        assert not any("aligned" in decision.choice for decision in tile.decisions)
        (window,) = read_windows(tile, PatchGrid(120, 120), rows_per_window=2)
        with rasterio.open(tile.bands["red"].path) as dataset:
            np.testing.assert_array_equal(
                window.pixels[window.bands.index("red")], dataset.read(1).astype(np.float32) + 1000
            )
    snow = [tile.id for tile in found if len(inspection(tile).tile.warnings) > 1]
    assert snow == ["S2B_MSIL2A_20180204T94161_57_38"]


def test_ssl4eo_place(shared_data):
    found = tiles(shared_data / "ssl4eo-0000200")
    assert [tile.acquired["sentinel-2"] for tile in found] == ["2020-06-04T05:46:39Z", "2020-08-13T05:46:39Z"]
    for tile in found:
        assert len(tile.bands) == 8
        assert tile.grid.is_ten_metre
        assert tile.warnings == (CLOUD,)
        assert tile.acquired["sentinel-1 descending"] == "2020-06-07T01:08:00Z"
        assert tile.acquired["sentinel-1 ascending"] == "2020-09-03T13:12:12Z"
        grid = PatchGrid(tile.grid.width_px, tile.grid.height_px)
        (window,) = read_windows(tile, grid, rows_per_window=9)
        for pixels, source in zip(window.pixels, tile.bands.values(), strict=True):
            assert np.isnan(pixels).mean() < 0.04  # corners that the grid in degrees does not cover
            with rasterio.open(source.path) as dataset:
                stored = np.median(dataset.read(1)) + (1000 if source.conversion == "add_1000" else 0)
            assert np.nanmedian(pixels) == pytest.approx(stored, rel=0.03)


def test_cloudy_scene_keeps_its_dn_and_is_flagged(shared_data):
    (tile,) = tiles(shared_data / "sentinel2-scene")
    assert {source.conversion for source in tile.bands.values()} == {"none"}
    assert tile.warnings == () and tile.clouds is not None and tile.clouds.kind == "mask" and tile.clouds.trusted
    seen = inspection(tile).tile
    assert seen.clouds is not None and not seen.clouds.trusted
    (warning,) = seen.warnings
    assert "its cloud layer calls clear" in warning and "look at the picture" in warning


def test_level_1c_chip_and_files_of_other_formats_are_refused(shared_data):
    chip = shared_data / "sentinel1-sentinel2-chip"
    others = [
        shared_data / "landslide4sense",
        shared_data / "landslide4sense" / "image_31.h5",
        shared_data / "zindi-landslide" / "patches" / "ID_005GY8.npy",
    ]
    found = list(tiles_of([chip, *others]))
    assert all(isinstance(one, TileFailure) for one in found)
    says = " ".join(str(one.error) for one in found)
    for words in ("Level-1C", "B10", "without direction of flight", "no name for band 1", ".h5", ".npy"):
        assert words in says


def test_radar_chip_in_degrees_is_read_once_its_direction_is_declared(shared_data):
    path = shared_data / "sentinel1-sentinel2-chip" / "Spain_7370579_S1Hand.tif"
    (tile,) = tiles_of([path], SourceOptions(orbit="descending"))
    assert isinstance(tile, Tile)
    assert list(tile.bands) == ["desc_vv", "desc_vh"]
    assert tile.grid.crs.to_epsg() == 32630
