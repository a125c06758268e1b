"""A cloud layer is believed unless what it calls clear is bright as cloud."""

from __future__ import annotations

import numpy as np
import pytest
from affine import Affine
from faulty_scenes import range_document
from tiles import L2A_NEW, ORIGIN, optical, radar, write_tiff

from lsd.runtime.acquisition.ranges import ranges_of
from lsd.runtime.errors import TileError
from lsd.runtime.inspection import inspection, sampled
from lsd.runtime.sources import tiles_of
from lsd.runtime.tiles import Tile

NAMES = ["red", "green", "blue", "nir"]
HAZY = (4000, 4200, 4400, 4500)  # red, green, blue, nir of cloud


def scene(folder, hazy_rows=0, scl=None, height=192, width=192):
    """A tile of clear ground whose first rows are cloud, with an SCL of 20 m if given."""
    pixels = optical(height, width, low=1100, high=1500)
    pixels[3] += 1500
    pixels[0] = np.random.default_rng(2).integers(1100, 1700, pixels[0].shape)
    cloud = np.random.default_rng(3).integers(0, 400, (4, hazy_rows, width))
    pixels[:, :hazy_rows] = np.array(HAZY)[:, None, None] + cloud
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
    tile = inspection(scene(tmp_path, hazy_rows=96, scl=96)).tile
    assert tile.clouds.trusted and believed(tile) == ["believed"] and tile.warnings == ()


@pytest.mark.parametrize("scl", [0, 48])
def test_a_layer_that_calls_clouds_clear_is_not_believed(tmp_path, scl):
    tile = inspection(scene(tmp_path, hazy_rows=96, scl=scl)).tile
    assert not tile.clouds.trusted and believed(tile) == ["not believed: the haze test stays in force"]
    (line,) = tile.warnings
    assert "of what its cloud layer calls clear is bright as cloud, haze or snow" in line


def test_a_little_haze_is_no_reason_against_a_layer(tmp_path):
    tile = inspection(scene(tmp_path, hazy_rows=12, scl=0)).tile
    assert tile.clouds.trusted and tile.warnings == ()


def test_without_a_layer_haze_is_a_warning(tmp_path):
    tile = inspection(scene(tmp_path, hazy_rows=96)).tile
    assert tile.clouds is None and believed(tile) == []
    assert any(
        line.endswith("of the scene is bright as cloud, haze or snow: look at the picture before trusting it")
        for line in tile.warnings
    )
    clear = inspection(scene(tmp_path / "clear")).tile
    assert clear.warnings == ("no cloud layer read: clouds are not masked",)


def test_a_layer_that_hides_everything_is_believed(tmp_path):
    tile = inspection(scene(tmp_path, hazy_rows=192, scl=192)).tile
    assert tile.clouds.trusted and tile.warnings == ()


def test_the_sample_holds_canonical_units_without_what_is_hidden(tmp_path):
    tile = scene(tmp_path, hazy_rows=96, scl=96)
    found = sampled(tile)
    assert list(found) == ["blue", "green", "red", "nir"] and {len(one) for one in found.values()} == {16 * 64 * 64}
    assert np.nanmax(found["blue"]) < 1500 and 0.2 < np.isnan(found["blue"]).mean() < 0.8


def radar_tile(folder, vh_above_vv=0.0):
    """A tile of ready-made descending levels; VH lies above VV by so many dB if asked."""
    pixels = radar(192, 192)
    if vh_above_vv:
        pixels[1] = pixels[0] + vh_above_vv
    write_tiff(folder / "levels.tif", pixels, ["desc_vv", "desc_vh"], units=["dB", "dB"])
    (tile,) = tiles_of([folder])
    assert isinstance(tile, Tile), tile
    return tile


def test_a_certain_fault_is_refused_and_force_is_recorded(tmp_path):
    tile = radar_tile(tmp_path, vh_above_vv=5.0)
    with pytest.raises(TileError, match=r"^tile levels: descending: VH exceeds VV by 5\.0 dB.*--force vv-and-vh"):
        inspection(tile)
    with pytest.raises(TileError, match="--force vv-and-vh"):
        inspection(tile, {"offset"})
    for force in (True, {"vv-and-vh"}, {"all"}):
        used = inspection(tile, force).tile
        (decision,) = [one for one in used.decisions if one.choice == "overruled by --force"]
        assert decision.subject == "acquisition check vv-and-vh" and "VH exceeds VV by 5.0 dB" in decision.reason
        assert any("VH exceeds VV by 5.0 dB" in line for line in used.warnings)


def test_the_training_card_is_asked_where_there_is_one(tmp_path):
    tile = radar_tile(tmp_path)
    ranges = ranges_of({"band_ranges": range_document(desc_vv=(-30.0, -20.0))})
    assert not [line for line in inspection(tile).tile.warnings if "training patches" in line]
    seen = inspection(tile, ranges=ranges)
    assert [one.check for one in seen.verdict.findings] == ["training-range"]
    assert any("desc_vv has the median -1" in line for line in seen.tile.warnings)
    assert set(seen.samples) == {"desc_vv", "desc_vh"}


def test_what_could_not_be_judged_is_in_the_decisions(tmp_path):
    tile = inspection(scene(tmp_path, hazy_rows=192)).tile
    assert {one.subject for one in tile.decisions if one.choice == "not judged"} == {
        "acquisition check offset",
        "acquisition check red-and-blue",
    }


def test_a_tile_of_one_patch(tmp_path):
    found = sampled(scene(tmp_path, height=64, width=64))
    assert {len(one) for one in found.values()} == {64 * 64}
